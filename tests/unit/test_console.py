"""What the console writes on stderr: the message at a stop, and which tasks the last table omits."""

import os

import pytest
from support.reporting import STAMP, exited, finished, started, state_of

from mprun.record import events
from mprun.record.state_dir import RunDirectory
from mprun.reporters.console import Console


@pytest.mark.parametrize(
    ("good", "bad", "rows", "notes"),
    [
        (500, 0, 500, []),
        (501, 0, 0, ["501 of 501 tasks (succeeded or skipped) not shown"]),
        (500, 2, 2, ["500 of 502 tasks (succeeded or skipped) not shown"]),
        (0, 501, 500, ["500 of the 501 tasks that did not succeed shown"]),
        (
            1,
            501,
            500,
            [
                "500 of the 501 tasks that did not succeed shown",
                "1 of 502 tasks (succeeded or skipped) not shown",
            ],
        ),
    ],
)
def test_long_table_says_which_tasks_it_omits(good, bad, rows, notes, tmp_path, capsys):
    state = state_of(
        *(finished(f"good{number}", "succeeded") for number in range(good)),
        *(finished(f"bad{number}", "cancelled", "fail_fast") for number in range(bad)),
    )
    directory = RunDirectory(str(tmp_path / "state" / "runs" / "r"))
    console = Console(directory, [], is_ended=lambda: False)
    over = events.RunFinished(**STAMP, outcome="failed", exit_code=0, duration=1.0, counts={})
    console.handle(over, state)
    shown = capsys.readouterr().err.splitlines()
    assert len([line for line in shown if line.startswith(("good", "bad"))]) == rows
    command = f"mprun show --state-dir {os.path.relpath(tmp_path / 'state')}"
    expected = ["; ".join([*notes, f"`{command}` lists all"])] if notes else []
    assert [line for line in shown if "lists all" in line] == expected


@pytest.mark.parametrize(
    ("graces", "running", "time"),
    [
        ({}, ["a"], "5s"),
        ({"a": 90.0}, ["a"], "1m30s"),
        ({"a": 0.5, "b": 0.5}, ["a", "b"], "500ms"),
        ({"a": 90.0}, ["a", "b"], "up to 1m30s"),
        ({"a": 90.0}, ["b"], "5s"),
        ({"fetch": 20.0}, ["fetch[0]", "fetch[1]"], "20s"),
    ],
)
def test_stop_message_names_the_grace_of_running_tasks(graces, running, time, tmp_path, capsys):
    state = state_of(*map(started, [*running, "ended"]), exited("ended"), finished("ended", "succeeded"))
    console = Console(RunDirectory(str(tmp_path)), [], is_ended=lambda: True, graces=graces)
    stopping = {"attempt": 1, "signal": "SIGTERM", "reason": "user"}
    for _ in range(2):
        console.handle(events.TaskStopping(**STAMP, task=running[0], **stopping), state)
    line = f"Stopping: tasks have {time} to finish. Press Ctrl-C again to kill them now.\n"
    assert capsys.readouterr().err == line


def told(tmp_path, capsys, *happened, retries=None, verbosity=0, total=9):
    """The lines that a console writes about events, except for other lines of theirs."""
    console = Console(
        RunDirectory(str(tmp_path)),
        [],
        is_ended=lambda: False,
        retries=retries,
        verbosity=verbosity,
        total=total,
    )
    state = state_of()
    for event in happened:
        state.apply(event)
        console.handle(event, state)
    return [line for line in capsys.readouterr().err.splitlines() if not line[0].isdigit()]


def again(task, attempt, delay=0.4, reason="retry"):
    return events.TaskRetrying(**STAMP, task=task, attempt=attempt, delay=delay, reason=reason)


REFUSED = {"type": "ConnectionError", "message": "no"}


def test_what_goes_wrong_is_told_at_once(tmp_path, capsys):
    """C27, with failures apart in the counter of a pipe."""
    lines = told(
        tmp_path,
        capsys,
        started("connect"),
        exited("connect", exit_code=1, error=REFUSED),
        again("connect", 2),
        started("web"),
        exited("web", exit_code=-9, signal="SIGKILL"),
        again("web", 2, 0.0, "restart"),
        started("fine"),
        exited("fine"),
        finished("fine", "succeeded"),
        started("lint"),
        exited("lint", exit_code=1, error={"type": "ValueError", "message": "no\n\x1b[31m"}, duration=1.02),
        finished("lint", "failed", "exit 1"),
        finished("deploy", "skipped", "`lint` failed"),
        finished("stopped", "stopped", "user"),
        finished("allowed", "timed_out", "timeout after 0.5s").replace(allowed=True),
        finished("reused", "skipped").replace(reused=True),
        retries={"connect": 3},
    )
    assert lines == [
        "[0/9] RETRY 1/3 connect  ConnectionError, again in 0.4s",
        "[0/9] RESTART 1 web  killed by SIGKILL, again at once",
        r"[1/9, 1 failed] FAIL      lint  exit 1 (ValueError: no \x1b[31m) after 1.02s",
        "[2/9, 1 failed] SKIP      deploy  `lint` failed",
        "[4/9, 1 failed] FAIL      allowed  timeout after 0.5s (allowed)",
    ]


def test_only_quiet_runs_do_not_tell_what_goes_wrong(tmp_path, capsys):
    happened = [started("a"), exited("a", exit_code=1), finished("a", "failed", "exit 1")]
    line = "[0/?, 1 failed] FAIL      a  exit 1 after 1.50s"
    for verbosity, lines in ((-1, []), (0, [line]), (1, [line])):
        assert told(tmp_path, capsys, *happened, verbosity=verbosity, total=None) == lines


def test_thousands_of_skips_are_not_told_one_by_one(tmp_path, capsys):
    lines = told(tmp_path, capsys, *(finished(f"t{number}", "skipped") for number in range(2000)))
    assert len(lines) == 501
    assert lines[-1] == "[501/9] SKIP      … (no more of these lines)"
