"""How often the processes of a group are looked at that was asked to end, while its leader has ended."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mprun.launcher import group_grace
from mprun.launcher.group_grace import OpenEnds

LEADER, MEMBER, TRACKER, OTHER = 100, 101, 102, 200


class Attempt:
    def __init__(self, pid):
        self.handle, self.group_asked = SimpleNamespace(pid=pid), True


def process(group, *, is_alive=True):
    return SimpleNamespace(group=group, is_alive=is_alive)


@pytest.fixture
def machine(monkeypatch):
    """The processes of a machine, the present time and how often all processes were looked at."""
    machine = SimpleNamespace(processes={}, now=50.0, looks=0)

    def look():
        machine.looks += 1
        return machine.processes

    monkeypatch.setattr(group_grace, "monotonic", lambda: machine.now)
    monkeypatch.setattr(group_grace.procfs, "processes", look)
    monkeypatch.setattr(group_grace.procfs, "is_resource_tracker", lambda pid: pid == TRACKER)
    return machine


@pytest.mark.parametrize(
    "others",
    [
        {},
        {MEMBER: process(LEADER, is_alive=False)},
        {TRACKER: process(LEADER)},
        {OTHER: process(OTHER)},
    ],
)
def test_a_group_of_which_nothing_else_is_alive_is_not_waited_for(machine, others):
    machine.processes = {LEADER: process(LEADER, is_alive=False), **others}
    ends = OpenEnds()
    assert not ends.hold(Attempt(LEADER))
    assert ends.next_look == float("inf")


def test_an_end_is_open_until_its_own_group_has_ended(machine):
    one, other = Attempt(LEADER), Attempt(OTHER)
    machine.processes = {MEMBER: process(LEADER), OTHER + 1: process(OTHER)}
    ends = OpenEnds()
    assert ends.hold(one)
    assert ends.hold(other)
    assert ends.take_ended(machine.now) == []
    del machine.processes[MEMBER]
    assert ends.take_ended(machine.now) == [one]
    assert (one.group_asked, other.group_asked) == (False, True)
    machine.processes.clear()
    assert ends.take_ended(machine.now) == [other]
    assert ends.next_look == float("inf")


def test_a_long_grace_takes_few_looks(machine):
    """Each may take 10 ms. The end of a group is seen soon, by how long it took."""
    machine.processes = {MEMBER: process(LEADER)}
    ends = OpenEnds()
    assert ends.hold(Attempt(LEADER))
    begun = machine.now
    while machine.now < begun + 60:
        pause = ends.pause(machine.now)
        assert pause <= max(0.02, 0.1 * (machine.now - begun)) + 1e-9
        machine.now += pause
        assert ends.take_ended(machine.now) == []
    assert machine.looks < 300
