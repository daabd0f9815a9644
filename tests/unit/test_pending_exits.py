"""The reports of ends that are held back until what their attempts have printed is known."""

from __future__ import annotations

import select

import pytest
from support.plans import plan

from mprun.engine.output_checks import OutputChecks
from mprun.engine.pending_exits import PendingExits
from mprun.executors.base import Exited, Started
from mprun.jobfile.model import Expect, Ready
from mprun.scheduling.instructions import RUN_FINISHED, USER

KEY = (0, 1)
START = Started(key=KEY, clock=1.0, pid=10, ppid=9, start_ticks=5)
LOG, TCP = Ready(kind="log", what="up"), Ready(kind="tcp", what="80")


def end(code=0):
    return Exited(
        key=KEY,
        clock=1.1,
        pid=10,
        exit_code=code,
        core_dumped=False,
        duration=0.1,
        cpu=None,
        max_rss=None,
        threads=1,
        orphans=(),
    )


class Monitor:
    """Reads the log of an attempt to its end, from the turn after its start on."""

    def __init__(self):
        self.known = self.reading = self.done = False

    def may_prove_late(self, ready):
        return ready.kind == "log"

    def read_to_end(self, _key):
        self.reading = self.known
        return self.reading

    def was_read_to_end(self, _key):
        return self.done or not self.reading


class Table:
    def __init__(self, ready, expect=None):
        keys = {"s": {"ready": ready, "expect": expect}}
        self.tasks = plan({"s": ()}, daemons=("s",), keys=keys).tasks


class Clock:
    """The present time, in seconds."""

    now = 100.0

    def timed(self):
        return self.now


class Directory:
    def log_file(self, name, attempt):
        return f"{name}.{attempt}"


class Poller:
    def __init__(self):
        self.descriptors = []

    def add(self, descriptor):
        self.descriptors.append(descriptor)

    def is_awake(self):
        return bool(select.select(self.descriptors, [], [], 0)[0])


@pytest.fixture
def begin():
    made = []

    def make(ready):
        monitor, poller = Monitor(), Poller()
        made.append(PendingExits(poller, monitor, Table(ready), None, None))
        return made[-1], monitor, poller

    yield make
    for one in made:
        one.close()


def test_a_log_is_read_to_its_end_also_if_start_and_end_are_reported_together(begin):
    """C02: else a service that printed its line in between was never ready, with a busy machine."""
    pending, monitor, poller = begin(LOG)
    assert pending.admit([START, end()], None) == [START]
    # The next turn follows at once, and by then the monitor knows the attempt.
    assert poller.is_awake()
    monitor.known = True
    assert pending.admit([], None) == []
    assert not poller.is_awake()
    monitor.done = True
    assert pending.admit([], None) == [end()]
    assert pending.admit([], None) == []


@pytest.mark.parametrize(("ready", "code"), [(TCP, 0), (LOG, None), (None, 0)])
def test_what_a_log_cannot_show_is_not_waited_for(begin, ready, code):
    pending, _, _ = begin(ready)
    assert pending.admit([START, end(code)], None) == [START, end(code)]


def test_an_end_that_the_monitor_need_not_read_is_handled_in_the_next_turn(begin):
    pending, monitor, _ = begin(LOG)
    pending.admit([START, end()], None)
    monitor.known = False
    assert pending.admit([], None) == [end()]
    assert pending.admit([], None) == []


def test_a_held_end_is_given_up_once_with_the_executor(begin):
    from mprun.executors.base import ExecutorLost

    lost = ExecutorLost(how="gone")
    pending, _, _ = begin(LOG)
    assert pending.admit([START, end(), lost], None) == [START, end(), lost]
    assert pending.admit([], None) == []


@pytest.fixture
def expecting(monkeypatch):
    """What holds back an end until its output is matched, which never happens."""
    monkeypatch.setattr(OutputChecks, "check", lambda *_: None)
    clock = Clock()
    made = PendingExits(Poller(), Monitor(), Table(None, Expect(output="x")), Directory(), clock)
    assert made.admit([end()], None) == []
    yield made, clock
    made.close()


@pytest.mark.parametrize("reason", [None, RUN_FINISHED])
def test_a_run_that_goes_to_its_end_waits_for_every_answer(expecting, reason):
    pending, clock = expecting
    clock.now += 1000
    assert pending.admit([], reason) == []
    clock.now += 1000
    assert pending.admit([], reason) == []


def test_a_run_that_ends_early_waits_five_seconds_for_an_answer(expecting):
    pending, clock = expecting
    clock.now += 1000
    assert pending.admit([], USER) == []
    clock.now += 4.9
    assert pending.admit([], USER) == []
    clock.now += 0.2
    assert pending.admit([], USER) == [end()]
    assert pending.take_output_problem(KEY).endswith(": it was not matched before the end of the run")
    assert pending.take_output_problem(KEY) == ""
