"""When a silent run reports its progress, and how: in virtual time."""

import pytest
from support.records import FINISHED, STARTED, started

from mprun.record.event_reader import from_record
from mprun.record.run_state import RunState
from mprun.record.state_dir import RunDirectory
from mprun.reporters.console import FIRST_SILENCE, LONGEST_SILENCE, Console


class View:
    """A console with a clock and events from the test."""

    def __init__(self, directory, capsys, **options):
        self.now = 0.0
        self._capsys = capsys
        self._state = RunState()
        self.directory = RunDirectory(str(directory))
        self.console = Console(
            self.directory,
            ["a"],
            stop_signal=lambda: None,
            stop_limit=None,
            clock=lambda: self.now,
            **options,
        )
        self.happens(STARTED)
        self.printed()

    def happens(self, *records):
        for record in records:
            event = from_record(record)
            self._state.apply(event)
            self.console.handle(event, self._state)

    def passes(self, seconds):
        """The lines that are printed while time passes, each with its time."""
        end, lines = self.now + seconds, []
        while self.now < end:
            self.now = round(self.now + 0.1, 1)
            self.console.tick()
            lines += [(self.now, line) for line in self.printed()]
        return lines

    def printed(self):
        return self._capsys.readouterr().err.splitlines()


@pytest.fixture
def view(tmp_path, capsys):
    made = []

    def make(**options):
        (tmp_path / "logs").mkdir()
        made.append(View(tmp_path, capsys, **options))
        return made[-1]

    yield make
    for one in made:
        one.console.close()


def test_silent_run_reports_progress_ever_more_rarely(view):
    run = view(total=3)
    run.happens(started("a"), {**FINISHED, "task": "a"}, started("b", pid=101))
    lines = run.passes(3000)
    assert lines[0] == (10.1, "after 10.1s: 1 of 3 tasks done, 1 running: b")
    assert [round(now) for now, _ in lines] == [10, 30, 70, 150, 310, 631, 1231, 1831, 2431]
    assert lines[-1][1] == "after 40m30s: 1 of 3 tasks done, 1 running: b"
    assert (FIRST_SILENCE, LONGEST_SILENCE) == (10.0, 600.0)


def test_failed_tasks_are_not_done(view):
    """C27. A failure that is allowed does not fail the run."""
    run = view(total=4)
    failed = {**FINISHED, "outcome": "failed", "reason": "exit 1"}
    run.happens({**failed, "task": "a"}, {**failed, "task": "b", "allowed": True}, {**FINISHED, "task": "c"})
    run.printed()
    ((_, line),) = run.passes(11)
    assert line == "after 10.1s: 2 of 4 tasks done, 1 failed, none running"


def test_run_that_prints_reports_no_progress(view):
    run = view(total=1)
    run.happens(started("a"))
    log = run.directory.log("a", 1)
    shown = []
    for _ in range(20):
        with open(log, "a") as file:
            file.write("still there\n")
        shown += run.passes(9.5)
    assert shown == []
    assert [round(now) for now, _ in run.passes(1)] == [191]


def test_hidden_output_counts_as_silence(view):
    run = view(total=1, output="none")
    run.happens(started("a"))
    with open(run.directory.log("a", 1), "a") as file:
        file.write("not shown\n")
    assert [now for now, _ in run.passes(11)] == [10.1]


@pytest.mark.parametrize("verbosity", [-1, 1])
def test_only_the_default_verbosity_reports_progress(view, verbosity):
    run = view(total=1, verbosity=verbosity)
    run.happens(started("a"))
    run.printed()
    assert run.passes(60) == []


def test_longest_running_tasks_are_named(view):
    run = view(total=9)
    run.happens(*(started(name, pid=200 + number) for number, name in enumerate("abcde")))
    ((_, line),) = run.passes(11)
    assert line == "after 10.1s: 0 of 9 tasks done, 5 running: a, b, c and 2 more"


def test_unknown_total_is_left_out(view):
    run = view(lists=["a"])
    run.happens(started("a[0]"), {**FINISHED, "task": "a[0]"})
    ((_, line),) = run.passes(11)
    assert line == "after 10.1s: 1 task done, none running"


def test_a_name_cannot_act_on_a_terminal(view):
    run = view(total=1)
    run.happens(started("\x1b[31m"))
    ((_, line),) = run.passes(11)
    assert "\x1b" not in line
