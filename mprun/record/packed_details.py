"""Packs what the record says of each planned task beside its name, for `tasks_planned`.

Neighbours that have the same are one entry, so a dependency on all instances of a task takes no more than
on one. `task_details.py` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.model import PASSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mprun.scheduling.plan import PlannedTask


def pack_needs(tasks: Iterable[PlannedTask]) -> tuple[Any, ...]:
    """For each task what it depends on; empty if none of them depends on any.

    A number is a task that has to pass; with another condition, or for more than one task, it is the first
    number, the last one, and the condition.
    """
    needs = [planned.needs for planned in tasks]
    return tuple([one and pack_pairs(one) for one in needs]) if any(needs) else ()


def pack_pairs(needs: Sequence[tuple[int, str]]) -> tuple[Any, ...]:
    """What one task depends on, in this form: the numbers of tasks, with conditions."""
    if not needs:
        return ()
    if len(needs) == 1:
        number, condition = needs[0]
        return (number,) if condition == PASSED else ((number, number, condition),)
    packed: list[Any] = []
    first, last, of = needs[0][0], needs[0][0] - 1, needs[0][1]
    for number, condition in (*needs, (-1, "")):
        if number == last + 1 and condition == of:
            last = number
            continue
        packed.append(first if first == last and of == PASSED else (first, last, of))
        first, last, of = number, number, condition
    return tuple(packed)


def pack_values(first: int, values: Sequence[Any]) -> tuple[Any, ...]:
    """The values of tasks, the first of which has this number; empty ones are left out.

    Each is the number of the first task with this value, of the last one, and the value.
    """
    packed: list[list[Any]] = []
    for number, value in enumerate(values, first) if any(values) else ():
        if not value:
            continue
        if packed and packed[-1][1] == number - 1 and packed[-1][2] == value:
            packed[-1][1] = number
        else:
            packed.append([number, number, value])
    return tuple(packed)
