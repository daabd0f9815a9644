"""What is shown of a run on several hosts, from a handmade record: each view has one group for each host."""

import json
import re

import pytest
from support.records import FINISHED, STAMP, STARTED, ended, exited, record, started
from support.runs import mprun

HOSTS = [
    {"host": "alpha", "worker": "tcp://10.0.0.1:1", "main_pid": 11, "slots": 1, "boot_id": "a"},
    {"host": "beta", "worker": "tcp://10.0.0.2:1", "main_pid": 11, "slots": 1, "boot_id": "b"},
]
PLANNED = {"event": "tasks_planned", **STAMP, "group": "", "tasks": ["one", "two", "three"], "items": {}}


def lines(hosts):
    found = [{**STARTED, "tasks": 3, "hosts": hosts}, PLANNED]
    for number, (task, host) in enumerate((("one", "alpha"), ("two", "beta"), ("three", "alpha"))):
        found.append(started(task, pid=100 + number, ppid=11, host=host))
        found.append(exited(task, pid=100 + number))
        found.append({**FINISHED, "task": task})
    return [*found, ended()]


@pytest.fixture
def place(tmp_path):
    record(tmp_path, lines(HOSTS))
    return tmp_path


def test_the_table_has_the_host_of_each_task(place):
    rows = [line.split() for line in mprun("show", cwd=place).stdout.splitlines()]
    (head,) = (row for row in rows if row[:1] == ["TASK"])
    assert head[-1] == "HOST"
    assert [row[-1] for row in rows if row[0] in ("one", "two", "three")] == ["alpha", "beta", "alpha"]


def test_two_workers_of_one_host_are_one_host(tmp_path):
    record(tmp_path, lines([HOSTS[0], {**HOSTS[0], "main_pid": 12}]))
    assert "HOST" not in mprun("show", cwd=tmp_path).stdout


@pytest.mark.parametrize("hosts", [[{}, {}], [{"host": ["a"]}, {"host": 2}, {"host": "a"}]])
def test_hosts_that_no_run_writes_do_no_harm(tmp_path, hosts):
    record(tmp_path, lines(hosts))
    shown = mprun("show", cwd=tmp_path)
    assert (shown.code, shown.stderr) == (0, "")
    assert "HOST" not in shown.stdout


def test_the_tree_has_a_main_process_for_each_host(place):
    tree = mprun("tree", cwd=place).stdout
    names = [line.strip("│├└─ ").split("  ")[0] for line in tree.splitlines()]
    assert [name for name in names if name.startswith(("main", "one", "two", "three"))] == [
        *("main on alpha", "one", "three", "main on beta", "two")
    ]


def test_a_trace_has_a_process_for_each_host(place):
    assert mprun("export", "--trace", "trace.json", cwd=place).code == 0
    trace = json.loads((place / "trace.json").read_text())["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in trace if event["name"] == "process_name"}
    assert {"alpha", "beta"} <= set(names.values())
    slices = {event["name"]: names[event["pid"]] for event in trace if event["ph"] == "X"}
    assert {name: slices[name] for name in ("one", "two", "three")} == {
        **{"one": "alpha", "two": "beta", "three": "alpha"}
    }


def test_spans_have_the_name_of_their_host(place):
    assert mprun("export", "--otlp", "otlp.json", cwd=place).code == 0
    found = {}
    for line in (place / "otlp.json").read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            values = {one["key"]: one["value"] for one in resource["resource"]["attributes"]}
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    found[span["name"]] = values["host.name"]["stringValue"]
    assert [found[name] for name in ("one", "two", "three")] == ["alpha", "beta", "alpha"]


def test_junit_has_the_host_of_each_test_case(place):
    assert mprun("export", "--junit", "junit.xml", cwd=place).code == 0
    text = (place / "junit.xml").read_text()
    assert text.count('<property name="host" value="alpha"') == 2
    assert text.count('<property name="host" value="beta"') == 1


def test_the_report_has_the_host_of_each_task_and_its_main_process(place):
    assert mprun("report", "-o", "page.html", cwd=place).code == 0
    page = (place / "page.html").read_text()
    assert page.count('<th scope="col">Host</th>') == 1
    assert (page.count("<td>alpha</td>"), page.count("<td>beta</td>")) == (2, 1)
    assert page.index("main on alpha") < page.index("main on beta")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    data = json.loads(data)
    assert (data["hosts"], data["places"]) == (["alpha", "beta"], [[0], [1], [0]])


def test_the_report_of_a_run_on_one_host_has_no_column_for_it(tmp_path):
    record(tmp_path, lines([HOSTS[0]]))
    assert mprun("report", "-o", "page.html", cwd=tmp_path).code == 0
    page = (tmp_path / "page.html").read_text()
    assert '<th scope="col">Host</th>' not in page
    assert '"places":' not in page
