"""Finds references to results that are always null: those of commands without `capture`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import Diagnostic, quote
from mprun.jobfile.references import SiblingReference
from mprun.jobfile.result_dependencies import result_references

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.jobfile.model import Instance, Needs, Task
    from mprun.jobfile.names import NameIndex
    from mprun.jobfile.references import Reference

# No one would read more.
MAX_WARNINGS = 100


def null_results(
    tasks: Sequence[Instance], needs: Sequence[Needs], names: NameIndex, known: int = 0
) -> list[Diagnostic]:
    """A warning for each reference to results that are all null, each place once, in the order of the tasks.

    There are `known` warnings already; together they are at most `MAX_WARNINGS`.
    """
    found: dict[object, Diagnostic] = {}
    seen: set[int] = set()
    for instance, needed in zip(tasks, needs, strict=True):
        task = instance.task
        # Instances that differ in what they refer to have tasks of their own.
        if id(task) in seen or not any(_is_null(tasks[other].task) for other, _ in needed):
            continue
        seen.add(id(task))
        for reference in result_references(task, instance.values):
            referred = names.resolve(reference.name)
            # The list of a recipe's results has null for its other commands.
            if not referred or not all(_is_null(tasks[other].task) for other in referred):
                continue
            from mprun.jobfile.locate import position

            source, span = position(reference, task.origin)
            name = tasks[referred[0]].task.name
            what = (
                "its results are all null"
                if _is_list(reference, tasks, names)
                else "its result is always null"
            )
            message = f"{quote(name)} is a command without `capture`, so {what}"
            warning = Diagnostic(message=message, source=source, span=span, help="add `capture: text`")
            found.setdefault(warning.sort_key(), warning)
            if len(found) + known >= MAX_WARNINGS:
                return list(found.values())
    return list(found.values())


def _is_null(task: Task) -> bool:
    return task.command is not None and task.capture is None


def _is_list(reference: Reference, tasks: Sequence[Instance], names: NameIndex) -> bool:
    """Whether a reference is to a list of results: of a group, which may be made during the run."""
    if isinstance(reference, SiblingReference):
        return False
    number = names.numbers.get(reference.name)
    return number is None or tasks[number].task.foreach is not None
