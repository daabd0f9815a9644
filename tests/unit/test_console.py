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
