"""What is shown of a run on several hosts, from a handmade record: each view has one group for each host."""

import json
import re

import pytest
from support import schemas
from support.records import FINISHED, STAMP, STARTED, ended, exited, record, started
from support.runs import mprun

from mprun.record import reader
from mprun.record.state_dir import RunDirectory
from mprun.reporters.step_summary import step_summary

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


JOINED = {**HOSTS[1], "host": "gamma", "worker": "tcp://10.0.0.3:1"}
CHANGES = [
    {"change": "joined", **JOINED},
    {"change": "lost", "host": "alpha", "worker": "tcp://10.0.0.1:1", "reason": "its worker has ended"},
    {"change": "refused", "host": "delta", "worker": "tcp://10.0.0.4:1", "reason": "it has other <code>"},
    {
        "change": "late_answer",
        "host": "alpha",
        "reason": "attempt 1 of one ended",
        "task": "one",
        "attempt": 1,
    },
]


def with_changes(changes):
    *before, end = lines(HOSTS)
    return [*before, *({"event": "host_changed", **STAMP, **change} for change in changes), end]


@pytest.fixture
def changed(tmp_path):
    """A run whose hosts have changed."""
    record(tmp_path, with_changes(CHANGES))
    return tmp_path


def test_a_run_shows_which_hosts_came_and_went_and_when(changed):
    text = mprun("show", cwd=changed).stdout
    time = r"\d\d:\d\d:\d\d\.\d+"
    (section,) = re.findall(r"^hosts:\n((?:  .*\n)+)", text, re.MULTILINE)
    found = [re.sub(time, "TIME", line.strip()) for line in section.splitlines()]
    assert found == [
        "TIME alpha there from the start (worker tcp://10.0.0.1:1, 1 slot)",
        "TIME beta there from the start (worker tcp://10.0.0.2:1, 1 slot)",
        "TIME gamma joined (worker tcp://10.0.0.3:1, 1 slot)",
        "TIME alpha lost (worker tcp://10.0.0.1:1): its worker has ended",
        "TIME delta refused (worker tcp://10.0.0.4:1): it has other <code>",
        "TIME alpha late answer: attempt 1 of one ended",
    ]


def test_hosts_that_have_stayed_are_not_listed(place):
    assert "hosts:" not in mprun("show", cwd=place).stdout
    assert json.loads(mprun("show", "--json", cwd=place).stdout)["host_changes"] == []


def test_the_changes_of_hosts_are_json(changed):
    value = json.loads(mprun("show", "--json", cwd=changed).stdout)
    assert [(one["host"], one["change"]) for one in value["host_changes"]] == [
        (one["host"], one["change"]) for one in CHANGES
    ]
    assert schemas.refusals("show", value) == []


def test_the_report_has_a_table_of_the_hosts_that_came_and_went(changed):
    assert mprun("report", "-o", "report.html", cwd=changed).code == 0
    page = (changed / "report.html").read_text()
    assert '<a href="#hosts">' in page
    assert "lost (worker tcp://10.0.0.1:1): its worker has ended" in page
    assert "other &lt;code&gt;" in page


def test_traces_have_a_mark_for_each_change_of_a_host(changed):
    assert mprun("export", "--trace", "trace.json", "--otlp", "otlp.json", cwd=changed).code == 0
    trace = json.loads((changed / "trace.json").read_text())["traceEvents"]
    names = ["host gamma joined", "host alpha lost", "host delta refused", "host alpha late_answer"]
    assert [event["name"] for event in trace if event.get("cat") == "host"] == names
    (lost,) = [event for event in trace if event["name"] == "host alpha lost"]
    assert lost["args"] == {"worker": "tcp://10.0.0.1:1", "reason": "its worker has ended"}
    assert (changed / "otlp.json").read_text().count('"name":"host ') == len(CHANGES)


def test_changes_that_no_run_writes_do_no_harm(tmp_path):
    odd = [{"change": 1, "host": ["a"], "slots": "x"}, {"change": "joined", "host": {}, "worker": 7}]
    record(tmp_path, with_changes(odd))
    for words in (("show",), ("show", "--json"), ("report", "-o", "r.html"), ("export", "--trace", "t.json")):
        done = mprun(*words, cwd=tmp_path)
        assert done.code == 0, done.stderr


RERUN = {"event": "task_retrying", **STAMP, "task": "one", "attempt": 2, "delay": 0.0, "reason": "host_lost"}


def test_what_was_replaced_after_a_loss_is_not_a_failure_and_is_said(tmp_path):
    before, rest = with_changes(CHANGES)[:3], with_changes(CHANGES)[3:]
    lost = {**exited("one", pid=100), "exit_code": None}
    again = [started("one", pid=110, ppid=11, host="beta", attempt=2), exited("one", pid=110, attempt=2)]
    record(tmp_path, [*before, lost, RERUN, *again, *rest[1:]])
    assert mprun("export", "--junit", "junit.xml", cwd=tmp_path).code == 0
    text = (tmp_path / "junit.xml").read_text()
    assert 'tests="3" failures="0" errors="0"' in text
    assert text.count('<property name="attempts lost with a host" value="1"') == 1
    assert "flakyFailure" not in text
    state, _ = reader.read_state(RunDirectory(tmp_path / ".mprun" / "runs" / STAMP["run"]))
    summary = step_summary(state, [], lambda task: [], {}, 10_000)
    assert "Hosts lost: alpha" in summary
    assert "flaky" not in summary
