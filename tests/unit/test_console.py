"""What the console writes on stderr: the message at a stop, and which tasks the last table omits."""

import signal

import pytest
from support.reporting import STAMP, exited, finished, started, state_of

from mprun.record import events
from mprun.record.commands import short_path
from mprun.record.state_dir import RunDirectory
from mprun.reporters import stop_notice
from mprun.reporters.console import Console
from mprun.reporters.format import display_width
from mprun.scheduling.stop_limit import StopLimit


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
    console = Console(directory, [], stop_signal=lambda: None, stop_limit=None)
    over = events.RunFinished(**STAMP, outcome="failed", exit_code=0, duration=1.0, counts={})
    console.handle(over, state)
    shown = capsys.readouterr().err.splitlines()
    assert len([line for line in shown if line.startswith(("good", "bad"))]) == rows
    command = f"mprun show --state-dir {short_path(str(tmp_path / 'state'))}"
    expected = ["; ".join([*notes, f"`{command}` lists all"])] if notes else []
    assert [line for line in shown if "lists all" in line] == expected


class Stopping:
    """A console whose tasks `running` are being stopped; `number` is the signal that stops the run."""

    def __init__(self, tmp_path, running, limit, verbosity=0):
        self.now, self.number = 0.0, None
        self.asked = []
        self.console = Console(
            RunDirectory(str(tmp_path)),
            [],
            stop_signal=lambda: self.number,
            stop_limit=lambda names: self.asked.append(list(names)) or limit,
            clock=lambda: self.now,
            output="none",
            verbosity=verbosity,
        )
        self.state = state_of(
            *map(started, [*running, "ended"]), exited("ended"), finished("ended", "succeeded")
        )
        self.console._state = self.state

    def task_stopping(self, task, reason):
        event = events.TaskStopping(**STAMP, task=task, attempt=1, signal="SIGTERM", reason=reason)
        self.console.handle(event, self.state)

    def at(self, now):
        self.now = now
        self.console.tick()


FIVE = StopLimit(seconds=5.0)


@pytest.mark.parametrize(
    ("limit", "running", "line"),
    [
        (FIVE, ["a"], "1 task has 5s to finish (a)."),
        (FIVE, ["a", "b"], "2 tasks have 5s to finish (a, b)."),
        (StopLimit(seconds=90.0, is_exact=False), ["a", "b"], "2 tasks have up to 1m30s to finish (a, b)."),
        (
            StopLimit(seconds=15.0, has_steps=True, is_exact=False),
            ["db", "web", "proxy"],
            "3 tasks have up to 15s to finish, dependents first (proxy, web, db).",
        ),
        (FIVE, list("abcdefg"), "7 tasks have 5s to finish (a, b, c, d, e and 2 more)."),
    ],
)
@pytest.mark.parametrize("verbosity", [-1, 0])
def test_stop_message_names_tasks_and_the_worst_case(limit, running, line, verbosity, tmp_path, capsys):
    """C16; -q hides no answer to a signal."""
    stopping = Stopping(tmp_path, running, limit, verbosity)
    stopping.number = signal.SIGTERM
    for _ in range(2):
        stopping.task_stopping(running[0], "user")
        stopping.at(9.0)
    assert capsys.readouterr().err == f"Stopping: {line}\n"
    assert stopping.asked == [running]


@pytest.mark.parametrize(
    ("number", "in_foreground", "hint"),
    [
        (signal.SIGINT, True, " Press Ctrl-C again to kill it now."),
        (signal.SIGTERM, True, " Press Ctrl-C to kill it now."),
        (None, True, " Press Ctrl-C twice to kill it now."),
        (signal.SIGINT, False, ""),
        (signal.SIGTERM, False, ""),
        (None, False, ""),
    ],
)
def test_stop_message_says_how_ctrl_c_kills(number, in_foreground, hint, monkeypatch):
    """C16"""
    monkeypatch.setattr(stop_notice, "is_in_foreground", lambda: in_foreground)
    line = stop_notice.stop_line(["a"], FIVE, number)
    assert line == f"Stopping: 1 task has 5s to finish (a).{hint}"


@pytest.mark.parametrize("reason", ["run_finished", "fail_fast", "run_timeout", "record_write_failed"])
def test_a_stop_without_a_signal_is_mentioned_if_it_takes_long(reason, tmp_path, capsys):
    """C16"""
    stopping = Stopping(tmp_path, ["a"], FIVE)
    stopping.task_stopping("a", reason)
    stopping.at(0.9)
    assert capsys.readouterr().err == ""
    for now in (1.0, 1.1, 9.0):
        stopping.at(now)
    assert capsys.readouterr().err.count("Stopping: 1 task has 5s to finish (a).") == 1
    stopping.number = signal.SIGINT
    stopping.at(9.1)
    stopping.at(9.2)
    assert capsys.readouterr().err.count("Stopping: 1 task has 5s to finish (a).") == 1


@pytest.mark.parametrize(("verbosity", "reason"), [(-1, "run_finished"), (0, "timeout"), (0, "user")])
def test_no_other_stop_is_mentioned(verbosity, reason, tmp_path, capsys):
    """-q shows no stop without a signal; and a task that times out, or that a user stops, is not the run."""
    stopping = Stopping(tmp_path, ["a"], FIVE, verbosity)
    stopping.task_stopping("a", reason)
    stopping.at(9.0)
    assert capsys.readouterr().err == ""


def told(tmp_path, capsys, *happened, retries=None, verbosity=0, total=9, lists=(), stop_signal=None):
    """The lines that a console writes about events, except for other lines of theirs."""
    console = Console(
        RunDirectory(str(tmp_path)),
        [],
        stop_signal=lambda: stop_signal,
        stop_limit=None,
        retries=retries,
        verbosity=verbosity,
        total=total,
        lists=lists,
    )
    state = state_of()
    for event in happened:
        state.apply(event)
        console.handle(event, state)
    return [line for line in capsys.readouterr().err.splitlines() if not line[0].isdigit()]


def again(task, attempt, delay=0.4, reason="retry"):
    return events.TaskRetrying(**STAMP, task=task, attempt=attempt, delay=delay, reason=reason)


def test_a_retry_is_said_once_where_the_lineage_has_it(tmp_path, capsys):
    happened = started("a"), exited("a", exit_code=1), again("a", 2)
    assert told(tmp_path, capsys, *happened) == ["[0/9] RETRY 1   a  exit 1, again in 0.4s"]
    assert told(tmp_path, capsys, *happened, verbosity=1) == []


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
        started("serve"),
        exited("serve", orphans=(4711,)),
        finished("serve", "succeeded"),
        started("many"),
        exited("many", orphans=tuple(range(10, 20))),
        finished("many", "succeeded"),
        finished("deploy", "skipped", "`lint` failed"),
        started("stopped"),
        exited("stopped", exit_code=-15, signal="SIGTERM"),
        finished("stopped", "stopped", "user"),
        finished("never", "cancelled", "user"),
        finished("daemon", "stopped", "run_finished"),
        finished("allowed", "timed_out", "timeout after 0.5s").replace(allowed=True),
        finished("reused", "skipped").replace(reused=True),
        retries={"connect": 3},
    )
    assert lines == [
        "[0/9] RETRY 1/3 connect  ConnectionError: no, again in 0.4s",
        "[0/9] RESTART 1 web  killed by SIGKILL, again at once",
        r"[1/9, 1 failed] FAIL      lint  exit 1 (ValueError: no \x1b[31m) after 1.02s",
        "[2/9, 1 failed] KILLED    serve  1 process that it had left running: 4711; "
        "use `daemon: true` for a service",
        "[3/9, 1 failed] KILLED    many  10 processes that it had left running: 10, 11, 12, 13, 14, …; "
        "use `daemon: true` for a service",
        "[4/9, 1 failed] SKIP      deploy  `lint` failed",
        "[5/9, 1 failed] STOP      stopped  stopped by user after 1.50s",
        "[6/9, 1 failed] STOP      never  cancelled: stopped by user",
        "[8/9, 1 failed] FAIL      allowed  timeout after 0.5s (allowed)",
    ]


def test_stops_of_tasks_are_not_told_one_by_one_if_a_signal_stops_the_run(tmp_path, capsys):
    happened = [finished("a", "stopped", "user"), finished("b", "cancelled", "user")]
    assert told(tmp_path, capsys, *happened, stop_signal=2) == []


def test_only_quiet_runs_do_not_tell_what_goes_wrong(tmp_path, capsys):
    happened = [started("a"), exited("a", exit_code=1), finished("a", "failed", "exit 1")]
    line = "[0/?, 1 failed] FAIL      a  exit 1 after 1.50s"
    for verbosity, lines in ((-1, []), (0, [line]), (1, [line])):
        assert told(tmp_path, capsys, *happened, verbosity=verbosity, total=None, lists=["b"]) == lines


def test_the_counter_has_its_total_once_the_lists_are_expanded(tmp_path, capsys):
    def planned(names, group=""):
        return events.TasksPlanned(**STAMP, group=group, tasks=tuple(names), items={})

    def ended(task):
        return [started(task), exited(task, exit_code=1), finished(task, "failed", "exit 1")]

    lines = told(
        tmp_path,
        capsys,
        planned(["list", "a", "b", "c"]),
        *ended("list"),
        planned(["a[0]"], "a"),
        planned(["a[1]"], "a"),
        *ended("a[0]"),
        finished("b", "skipped", "`list` failed"),
        *ended("a[1]"),
        planned([], "c"),
        *ended("c"),
        total=None,
        lists=["a", "b"],
    )
    assert [line.partition("]")[0] for line in lines] == [
        "[0/?, 1 failed",
        "[0/?, 2 failed",
        "[1/5, 2 failed",
        "[1/5, 3 failed",
        "[1/5, 4 failed",
    ]


def test_thousands_of_skips_are_not_told_one_by_one(tmp_path, capsys):
    lines = told(tmp_path, capsys, *(finished(f"t{number}", "skipped") for number in range(2000)))
    assert len(lines) == 501
    assert lines[-1] == "[501/9] SKIP      … (no more of these lines)"


def test_long_message_of_an_exception_is_cut_in_every_line(tmp_path, capsys):
    """Also one of wide characters; all of it is in the log of the task."""
    over = events.RunFinished(**STAMP, outcome="failed", exit_code=1, duration=1.0, counts={"failed": 1})
    for message, shown in (("x" * 2000, "x" * 187 + "…"), ("ー" * 2000, "ー" * 93 + "…")):
        error = {"type": "ValueError", "message": message}
        ends = [exited("a", exit_code=1, error=error), finished("a", "failed", "exit 1")]
        lines = told(tmp_path, capsys, started("a"), *ends, over)
        assert lines[0] == f"[0/9, 1 failed] FAIL      a  exit 1 (ValueError: {shown}) after 1.50s"
        assert f"a failed: exit 1 (ValueError: {shown})" in lines
        assert max(map(display_width, lines)) < 260
