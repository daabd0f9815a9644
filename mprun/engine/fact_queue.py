"""Keeps what has happened in a run and was decided, in this order, until events are made of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.scheduling.instructions import CancelStart, Expand, Resolve, Start

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mprun.executors.base import Report
    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.plan import PlannedTask

# Of so many facts events are made in one turn of the engine's loop: some 20 ms.
MAX_FACTS_PER_TURN = 1000


class OwnDecisions(Frozen):
    """A mark in a turn's facts: those before it follow from reports, the others from the engine itself."""


OWN_DECISIONS = OwnDecisions()


class Planned(Frozen):
    """Some tasks of the plan, from the number `first` on."""

    first: int
    tasks: Sequence[PlannedTask]


if TYPE_CHECKING:
    # What happens in a turn, of which the events are built.
    Fact = Report | Instruction | OwnDecisions | Planned

_WITHOUT_EVENTS = (Resolve, Start, CancelStart, OwnDecisions)


class FactQueue:
    """The facts of the present turn, and those of earlier turns of which no events were made yet.

    None is lost, and none overtakes another. `take` returns so much in one turn: between two turns the
    engine notices signals, ends and timeouts, and decides what follows from them. The queue is true while it
    has facts.
    """

    def __init__(self) -> None:
        self._present: list[Fact] = []
        # The facts of each turn, and when they were decided; None for the rest of a turn.
        self._turns: deque[tuple[float | None, list[Fact]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._present or self._turns)

    @property
    def size(self) -> int:
        """How much of it has no events yet: how far the record is behind."""
        return sum(_size(fact) for _, facts in (*self._turns, (None, self._present)) for fact in facts)

    def add(self, facts: Iterable[Fact]) -> None:
        """Add what has happened or was decided in the present turn."""
        self._present += facts

    def end_turn(self, decided: float) -> None:
        """What was added so far was decided by this time, of the monotonic clock."""
        if self._present:
            self._turns.append((decided, self._present))
            self._present = []

    def take(self) -> list[tuple[float | None, list[Fact]]]:
        """The next facts of turns that have ended, for `EventBuilder.to_events`, with its `decided`."""
        taken: list[tuple[float | None, list[Fact]]] = []
        room = MAX_FACTS_PER_TURN
        while self._turns and room > 0:
            decided, facts = self._turns.popleft()
            count = 0
            for fact in facts:
                room -= _size(fact)
                count += 1
                if room <= 0:
                    break
            if count < len(facts):
                self._turns.appendleft((None, facts[count:]))
                facts = facts[:count]
            taken.append((decided, facts))
        return taken


def _size(fact: Fact) -> int:
    """How many facts of other kinds take as long."""
    if type(fact) is Planned:
        return len(fact.tasks)
    if type(fact) is Expand:
        return fact.count
    return 0 if type(fact) in _WITHOUT_EVENTS else 1


def planned_facts(tasks: Sequence[PlannedTask]) -> list[Fact]:
    """The facts that say which tasks the plan has."""
    size = MAX_FACTS_PER_TURN
    return [Planned(first=at, tasks=tasks[at : at + size]) for at in range(0, len(tasks), size)]


def says_more_than_started(tasks: Sequence[PlannedTask]) -> bool:
    """Whether there is more to say of the tasks of the plan than the start of the only one says."""
    return len(tasks) > 1 or any(one.task.resources or one.task.env or one.task.foreach for one in tasks)
