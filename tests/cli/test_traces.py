"""A run as a trace and as OTLP: what is in them, that both are the same live and later, and TRACEPARENT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.report_records import large_run
from support.runs import mprun, write
from support.traces import ChromeTrace, read_otlp, spans_of, values_of

NAME = '<img src=x onerror=alert(1)> \u202e"'
JOB = """
    name: demo
    resources: {db: 1}
    max_parallel: 2
    tasks:
      - {name: serve, command: [sh, -c, "echo up; exec sleep 60"], daemon: true, ready: {log: up}}
      - {name: give, command: [echo, "[1, 2]"], capture: json, depends_on: serve}
      - {name: take, command: "true ${item}", foreach: "${tasks.give.result}", resources: {db: 1}}
      - {name: again, target: "work:fail", retry: 1, allow_failure: true}
      - {name: late, command: [sleep, "60"], timeout: 0.1, allow_failure: true}
      - {name: never, command: "true", when: false}
      - {name: "<img src=x onerror=alert(1)> \\u202e\\"", command: "exit 3", allow_failure: true}
      - {name: last, command: "true", depends_on: take}
    """
WORK = """
    def fail():
        raise ValueError("</script> \\x1b[31m")
    """
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def export(directory, *arguments, code=0):
    run = mprun("export", *arguments, cwd=directory)
    assert run.code == code, run.stderr
    return run


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A run with all that a trace shows: its directory, and the run."""
    directory = tmp_path_factory.mktemp("traced")
    write(directory, work=WORK, job=JOB)
    run = mprun("job.yaml", "--trace", "live.json", "--otlp", "spans.json", cwd=directory)
    assert run.code == 0, run.stderr
    return directory, run


def test_exporting_later_gives_the_same_files(traced):
    directory, run = traced
    export(directory, run.directory.run_id, "--trace", "later.json", "--otlp", "later-spans.json")
    for live, later in (("live.json", "later.json"), ("spans.json", "later-spans.json")):
        assert (directory / live).read_bytes() == (directory / later).read_bytes()
    assert export(directory, "--trace", "-").stdout == (directory / "live.json").read_text()


def test_a_trace_has_attempts_on_slots_with_what_they_used(traced):
    directory, run = traced
    trace = ChromeTrace((directory / "live.json").read_text())
    for name in ("give", "take[0]", "again", "late", "last"):
        started, exited = run.of("task_started", name), run.of("task_exited", name)
        slices = trace.of(name)
        assert len(slices) == len(started)
        for one, begun, ended in zip(slices, started, exited, strict=True):
            assert trace.track(one) in ("slot 1", "slot 2")
            about = one["args"]
            assert (about["pid"], about["ppid"]) == (begun["pid"], begun["ppid"])
            used = [ended[key] for key in ("exit_code", "cpu", "max_rss")]
            assert [about["exit_code"], about["cpu"], about["max_rss"]] == used
    assert trace.of("take[1]")[0]["args"]["tokens"] == {"db": 1}
    (service,) = trace.of("serve")
    assert (trace.track(service), service["cat"]) == ("service 1", "service")
    assert trace.names[1, None] == run.one("run_started")["host"]
    assert any("onerror" in one["name"] and one["args"]["exit_code"] == 3 for one in trace.slices)


def test_a_trace_has_dependencies_marks_and_counters(traced):
    directory, _ = traced
    trace = ChromeTrace((directory / "live.json").read_text())
    arrows = trace.arrows()
    assert {("give", "take[0]"), ("give", "take[1]")} <= arrows
    assert {before.partition("[")[0] for before, after in arrows if after == "last"} == {"take"}
    marks = {(one["cat"], one["name"]) for one in trace.instants}
    assert {("retry", "retry"), ("ready", "ready"), ("stop", "SIGTERM"), ("join", "join last")} <= marks
    assert ("outcome", "skipped never") in marks
    assert trace.counters["tasks"][-1][1] == {"running": 0, "waiting": 0}
    assert max(values["running"] for _, values in trace.counters["tasks"]) >= 2
    assert max(values["bytes"] for _, values in trace.counters["memory"]) > 0


def test_otlp_has_a_span_for_the_run_and_one_for_each_attempt(traced):
    directory, run = traced
    groups = read_otlp((directory / "spans.json").read_text())
    resource = values_of(groups[0].resource)
    started = run.one("run_started")
    assert resource["service.name"] == "mprun"
    assert (resource["host.name"], resource["process.pid"]) == (started["host"], started["pid"])
    root, *spans = spans_of(groups)
    assert not root.parent_span_id
    assert (root.name, values_of(root)["cicd.pipeline.name"]) == ("RUN demo", "demo")
    assert values_of(root)["cicd.pipeline.result"] == "success"
    assert len({span.span_id for span in (root, *spans)}) == len(spans) + 1
    assert all((span.trace_id, span.parent_span_id) == (root.trace_id, root.span_id) for span in spans)
    named = {}
    for span in spans:
        named.setdefault(span.name, []).append(span)
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        values = values_of(span)
        assert values["cicd.pipeline.run.id"] == run.directory.run_id
        if "process.pid" in values:
            (begun,) = [event for event in run.of("task_started") if event["pid"] == values["process.pid"]]
            assert (values["process.parent_pid"], values["mprun.attempt"]) == (
                begun["ppid"],
                begun["attempt"],
            )
    results = {name: values_of(found[-1])["cicd.pipeline.task.run.result"] for name, found in named.items()}
    expected = {
        "serve": "cancellation",
        "again": "failure",
        "late": "timeout",
        "never": "skip",
        "last": "success",
    }
    assert {name: results[name] for name in expected} == expected


def test_otlp_says_what_failed_and_what_was_waited_for(traced):
    directory, _ = traced
    spans = spans_of(read_otlp((directory / "spans.json").read_text()))
    first, second = [span for span in spans if span.name == "again"]
    assert [event.name for event in first.events] == ["retry", "exception"]
    error = values_of(second.events[-1])
    assert (error["exception.type"], error["exception.message"]) == ("ValueError", "</script> \\x1b[31m")
    for span in (first, second):
        lines = values_of(span.events[-1])["exception.stacktrace"].splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[-1] == "ValueError: </script> \\x1b[31m"
        assert any('work.py", line' in line for line in lines)
    assert [span.status.code for span in (first, second)] == [2, 2]
    assert values_of(second)["error.type"] == "ValueError"
    assert [link.span_id for link in second.links] == [first.span_id]
    (late,) = [span for span in spans if span.name == "late"]
    assert (values_of(late)["error.type"], late.status.code) == ("timed_out", 2)
    assert "stop" in [event.name for event in late.events]
    give, take = (next(span for span in spans if span.name == name) for name in ("give", "take[0]"))
    assert [link.span_id for link in take.links] == [give.span_id]
    assert (take.status.code, take.status.message) == (0, "")


def test_a_run_joins_the_trace_of_its_parent_and_its_tasks_join_the_run(tmp_path):
    work = (
        "import os\n\n    def show():\n        return [os.environ['TRACEPARENT'], os.environ['TRACESTATE']]\n"
    )
    job = """
        tasks:
          - {name: a, target: "work:show"}
          - {name: b, target: "work:show", start_method: spawn}
          - {name: own, target: "work:show", env: {TRACEPARENT: mine}}
        """
    write(tmp_path, work=f"    {work}", job=job)
    environment = {"TRACEPARENT": PARENT, "TRACESTATE": "vendor=1"}
    run = mprun("job.yaml", "--otlp", "spans.json", cwd=tmp_path, env=environment)
    assert run.code == 0, run.stderr
    assert run.one("run_started")["trace"] == {"parent": PARENT, "state": "vendor=1"}
    root, *spans = spans_of(read_otlp((tmp_path / "spans.json").read_text()))
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == tuple(PARENT.split("-")[1:3])
    assert root.trace_state == "vendor=1"
    for span in spans[:2]:
        text = f"00-{root.trace_id.hex()}-{span.span_id.hex()}-01"
        assert run.result(span.name) == [text, "vendor=1"]
    assert run.result("own")[0] == "mine"


def test_an_invalid_parent_begins_a_new_trace(tmp_path):
    work = """
        import os

        def show():
            return [os.environ["TRACEPARENT"], os.environ["TRACESTATE"]]
        """
    write(tmp_path, work=work, job="tasks: [{name: a, target: 'work:show'}]")
    for invalid in ("00-0-0-01", PARENT.upper(), f"{PARENT}-more"):
        run = mprun("job.yaml", cwd=tmp_path, env={"TRACEPARENT": invalid, "TRACESTATE": "vendor=1"})
        assert (run.code, run.one("run_started").get("trace")) == (0, None), run.stderr
        root, span = spans_of(read_otlp(export(tmp_path, "--otlp", "-").stdout))
        assert not root.parent_span_id
        assert not root.trace_state
        assert run.result("a") == [f"00-{root.trace_id.hex()}-{span.span_id.hex()}-01", ""]


def test_a_killed_run_and_a_record_without_its_beginning_can_be_exported(traced, tmp_path):
    directory, run = traced
    lines = Path(run.directory.events).read_text().splitlines(keepends=True)
    for number, kept in enumerate((lines[: len(lines) // 2], lines[1:])):
        state = tmp_path / str(number) / ".mprun" / "runs" / run.directory.run_id
        state.mkdir(parents=True)
        (state / "events.jsonl").write_text("".join(kept))
        export(tmp_path / str(number), "--trace", "t.json", "--otlp", "o.json")
        trace = ChromeTrace((tmp_path / str(number) / "t.json").read_text())
        spans = spans_of(read_otlp((tmp_path / str(number) / "o.json").read_text()))
        assert len(trace.slices) <= len(spans)
        assert trace.of("give")
    assert directory


def test_another_file_is_not_overwritten_and_one_of_these_is(traced, tmp_path):
    directory, _ = traced
    other = tmp_path / "other.json"
    other.write_text('{"traceEvents": []}')
    run = export(directory, "--trace", str(other), code=2)
    assert "is not a trace of mprun" in run.stderr
    assert other.read_text() == '{"traceEvents": []}'
    assert "needs a format" in export(directory, code=2).stderr
    assert "only one format" in export(directory, "--trace", "-", "--otlp", "-", code=2).stderr
    run = mprun("job.yaml", "--otlp", str(other), cwd=directory)
    assert run.code == 2
    for _ in range(2):
        export(directory, "--trace", str(tmp_path / "t.json"))


def test_ten_thousand_tasks_take_some_megabytes(tmp_path):
    large_run(tmp_path, 10_000)
    export(tmp_path, "--trace", "t.json", "--otlp", "o.json")
    trace, spans = (tmp_path / name for name in ("t.json", "o.json"))
    assert len(json.loads(trace.read_text())["traceEvents"]) < 60_000
    assert trace.stat().st_size < 12e6
    assert spans.read_text().count('"spanId"') == 10_001
    assert spans.stat().st_size < 20e6
