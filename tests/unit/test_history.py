"""The durations of tasks in earlier records; no record can stop a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mprun.record import events, history, line_format, lock, recorder
from mprun.record.history import past_runs, past_runs_in_steps
from mprun.record.state_dir import RunDirectory

FILE = "/jobs/job.yaml"
RECORDS = Path(__file__).parents[1] / "records"


def at(seconds, run="r"):
    return {"time": f"2026-01-01T12:00:{seconds:09.6f}Z", "run": run}


def run_started(file=FILE, **more):
    facts = {"job": "j", "host": "h", "pid": 1, "main_pid": 2, "cpus": 2, "tasks": 1, "at_once": 1}
    facts |= {"max_parallel": 2, "mode": "parallel", "start_method": "fork", "boot_id": None, "python": "3"}
    return events.RunStarted(**at(0), file=file, params={}, options={}, files=(), **{**facts, **more})


def exited(task, duration, attempt=1, **more):
    facts = {"pid": 9, "exit_code": 0, "signal": None, "cpu": 0.1, "max_rss": 1, "threads": 1, "error": None}
    return events.TaskExited(
        **at(2), task=task, attempt=attempt, duration=duration, orphans=(), **{**facts, **more}
    )


def finished(task, outcome="succeeded", **more):
    return events.TaskFinished(**at(2), task=task, outcome=outcome, attempts=1, reason="", **more)


def went(**durations):
    """The events of a run in which each of these tasks has succeeded."""
    return [event for name, span in durations.items() for event in (exited(name, span), finished(name))]


@pytest.fixture
def state(tmp_path):
    """A function that writes a record: its number, the newest last, and its events or bytes."""

    def write(number, lines):
        directory = tmp_path / "runs" / f"20260101-120000.{number:03d}-abcd"
        directory.mkdir(parents=True)
        data = lines if isinstance(lines, bytes) else line_format.encode(lines)
        (directory / "events.jsonl").write_bytes(data)

    write.path = str(tmp_path)
    return write


def durations(state, *services):
    return [run.durations for run in past_runs(state.path, FILE, services)]


def test_the_newest_runs_of_the_job_file_are_used_newest_first(state):
    for number in range(history.MAX_RUNS_USED + 2):
        state(number, [run_started(), *went(a=float(number))])
    newest = history.MAX_RUNS_USED + 1
    assert durations(state) == [{"a": float(newest - back)} for back in range(history.MAX_RUNS_USED)]


def test_a_large_record_is_read_in_steps(state):
    """The live view reads it during a run, which must not stand still."""
    spans = {f"t{number}": 1.0 for number in range(3 * history.LINES_A_STEP)}
    state(0, [run_started(), *went(**spans)])
    *before, found = past_runs_in_steps(state.path, FILE)
    assert before == [None] * 6
    assert [run.durations for run in found] == [spans]


def test_a_run_of_another_file_has_no_timings(state):
    state(1, [run_started("/jobs/other.yaml"), *went(a=1.0)])
    assert durations(state) == []


def test_a_missing_state_directory_has_no_timings(tmp_path):
    assert past_runs(str(tmp_path / "none"), FILE) == []


def test_only_tasks_that_succeeded_have_timings(state):
    lines = [run_started(), exited("a", 1.0, exit_code=1), finished("a", "failed"), exited("b", 2.0)]
    state(1, [*lines, finished("c", reused=True), *went(d=4.0)])
    assert durations(state) == [{"d": 4.0}]


def test_only_the_attempt_that_succeeded_counts(state):
    state(1, [run_started(), exited("a", 9.0, exit_code=1), exited("a", 1.0, attempt=2), finished("a")])
    assert durations(state) == [{"a": 1.0}]


def test_the_run_that_asks_is_left_out_and_so_are_later_ones(state):
    """Some of its tasks may have ended: the live view asks in the middle of it."""
    state(1, [run_started(), *went(a=1.0)])
    state(2, [run_started(), *went(b=2.0)])
    state(3, [run_started(), *went(c=3.0)])
    found = past_runs(state.path, FILE, before="20260101-120000.002-abcd")
    assert [run.durations for run in found] == [{"a": 1.0}]


def test_a_run_without_timings_is_left_out(state):
    state(1, [run_started(), *went(a=1.0)])
    for number in range(2, 9):
        state(number, [run_started()])
    assert durations(state) == [{"a": 1.0}]


@pytest.mark.parametrize("name", ["跳舞", 'a "b" \\c', "w[n=1,s=a]", "tab\there", "\udc80"])
def test_every_kind_of_name_is_read_as_it_was_written(state, name):
    state(1, [run_started(), *went(**{name: 1.5})])
    assert durations(state) == [{name: 1.5}]


def test_a_result_that_looks_like_an_event_is_not_one(state):
    fake = '{"event":"task_exited","time":"","run":"","task":"b","duration":7,'
    failed = exited("a", 1.0, error={"type": "E", "message": fake + '\n"duration":9.0,'})
    state(1, [run_started(), failed, finished("a", result={"event": "task_exited", "text": fake})])
    assert durations(state) == [{"a": 1.0}]


def test_the_time_until_a_service_is_ready_is_read_on_request(state):
    def begins(task, seconds):
        facts = {"pid": 1, "ppid": 1, "start_ticks": 1, "host": "h", "daemon": True, "target": "m:f"}
        return events.TaskStarted(**at(seconds), task=task, attempt=1, **facts)

    ready = events.TaskReady(**at(3.5), task="db", attempt=1)
    state(1, [run_started(), begins("db", 1), begins("a", 1), ready, *went(a=1.0)])
    (asked,) = past_runs(state.path, FILE, {"db"})
    assert asked.until_ready == {"db": 2.5}
    (unasked,) = past_runs(state.path, FILE)
    assert unasked.until_ready == {}


GOOD = line_format.encode([run_started(), *went(a=1.0)])


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\n",
        b"\xff\xfe" * 100,
        b"[1]\n" + GOOD,
        b"[" * 100_000,
        b"x" * (line_format.MAX_FIRST_LINE + 100),
        line_format.encode([run_started(format=events.FORMAT + 1), *went(a=1.0)]),
        line_format.encode([run_started(format=True), *went(a=1.0)]),
        line_format.encode([run_started(format="1"), *went(a=1.0)]),
        line_format.encode(went(a=1.0)),
    ],
    ids=["empty", "line feed", "bytes", "list", "deep", "long", "newer", "true", "text", "no beginning"],
)
def test_a_corrupt_or_newer_record_is_left_out(state, damaged):
    state(1, GOOD)
    state(2, damaged)
    assert durations(state) == [{"a": 1.0}]


@pytest.mark.parametrize(
    "line",
    [
        GOOD.splitlines()[1].replace(b"1.0,", b"1e999,") + b"\n",
        GOOD.splitlines()[1].replace(b"1.0,", b"nan,") + b"\n",
        GOOD.splitlines()[1].replace(b"1.0,", b"-1.0,") + b"\n",
        GOOD.splitlines()[1].replace(b"1.0,", b"1.-e,") + b"\n",
        GOOD.splitlines()[1].replace(b'"a"', b'"\xff"') + b"\n",
        GOOD.splitlines()[1].replace(b'"a"', b'"\\x"') + b"\n",
        b"\xff\n",
        b"{}\n",
    ],
)
def test_a_corrupt_line_is_left_out(state, line):
    rest = line_format.encode([finished("a"), *went(b=2.0)])
    state(1, line_format.encode([run_started()]) + line + rest + b'{"event":"task_exited","ti')
    assert durations(state) == [{"b": 2.0}]


def test_a_record_that_is_not_a_file_is_left_out(state):
    state(1, GOOD)
    for number, make in ((2, os.mkdir), (3, os.mkfifo), (4, lambda path: os.symlink(path, path))):
        state(number, b"")
        path = RunDirectory(f"{state.path}/runs/20260101-120000.{number:03d}-abcd").events
        os.unlink(path)
        make(path)
    assert durations(state) == [{"a": 1.0}]


def test_large_records_are_not_read_in_full(state, monkeypatch):
    monkeypatch.setattr(history, "STOP_AFTER_BYTES", len(GOOD))
    monkeypatch.setattr(history, "MAX_BYTES_PER_RECORD", len(GOOD))
    for number in range(3):
        state(number, [run_started(), *went(a=float(number)), *went(b=1.0)])
    assert durations(state) == [{"a": 2.0}]


def test_only_the_newest_runs_are_searched(state, monkeypatch):
    monkeypatch.setattr(history, "MAX_RUNS_SEARCHED", 3)
    state(1, GOOD)
    for number in range(2, 5):
        state(number, [run_started("/jobs/other.yaml")])
    assert durations(state) == []


def test_reading_the_record_that_this_process_writes_keeps_its_lock(state):
    state(1, GOOD)
    directory = RunDirectory(f"{state.path}/runs/20260101-120000.001-abcd")
    writer = recorder.Recorder(directory)
    assert durations(state) == [{"a": 1.0}]
    # The kernel shows another process which one holds the lock.
    if (child := os.fork()) == 0:
        lock._held.clear()
        os._exit(lock.find_writer(directory) != os.getppid())
    assert os.waitpid(child, 0)[1] == 0
    writer.close()


@pytest.mark.parametrize("name", ["format-1.jsonl", "format-1-resumed.jsonl", "format-2.jsonl"])
def test_a_record_in_any_format_is_read(name, state):
    data = (RECORDS / name).read_bytes()
    # A task that succeeded here, and not in an earlier run.
    data = data.replace(b'"outcome":"failed"', b'"outcome":"succeeded"')
    file = json.loads(data.splitlines()[0])["file"]
    state(1, data)
    (found,) = past_runs(state.path, file)
    assert found.durations


def test_a_time_without_a_zone_is_left_out(state):
    started = {"pid": 1, "ppid": 2, "start_ticks": 3, "host": "h", "daemon": True, "target": "t:t"}
    service = [
        events.TaskStarted(**at(0), task="s", attempt=1, **started),
        events.TaskReady(**{**at(1), "time": "2026-01-01T12:00:01.000000"}, task="s", attempt=1),
    ]
    state(1, [run_started(), *service, *went(a=2.0)])
    assert durations(state, "s") == [{"a": 2.0}]
