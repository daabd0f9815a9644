"""Decides which tasks of a resumed run do not run again: those whose outcome still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.jobfile.model import PASSED, SiblingDependency
from mprun.jobfile.names import NameIndex, compile_glob
from mprun.jobfile.result_dependencies import result_references
from mprun.outcomes import Outcome
from mprun.record import results
from mprun.scheduling.plan import Reused
from mprun.scheduling.selection import pattern_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.record.resume import EarlierRun
    from mprun.scheduling.plan import Plan


def choose_reused(plan: Plan, earlier: EarlierRun, rerun: Sequence[str] = ()) -> dict[str, Reused]:
    """The outcomes of an earlier run that the tasks of a plan keep, by name.

    `rerun` are names and patterns: the tasks that match, and all that depend on them, run again. So do
    the tasks that had null for the result of a task that failed, because that runs again, and tasks
    whose result is not JSON, if one that runs refers to it. Of a recipe that is taken as one, all tasks run
    again or none; none if the exit status of one is unknown.
    """
    chooser = _Chooser(plan, earlier)
    chooser.keep_unknown_recipes()
    for pattern in rerun:
        chooser.add(pattern)
    chooser.add_dependents_of_failures()
    chooser.add_dependents()
    chooser.add_needed_results()
    while chooser.add_recipes():
        chooser.add_dependents()
        chooser.add_needed_results()
    return chooser.reused


def unmatched(plan: Plan, earlier: EarlierRun, rerun: Sequence[str]) -> list[str]:
    """A message for each of `rerun` that matches no task."""
    if not rerun:
        return []
    chooser = _Chooser(plan, earlier)
    return [
        pattern_message(chooser.names(), "--rerun", pattern) for pattern in rerun if not chooser.add(pattern)
    ]


class _Chooser:
    """Takes out of `reused` the tasks that run again."""

    def __init__(self, plan: Plan, earlier: EarlierRun) -> None:
        self._plan = plan
        self._earlier = earlier
        self._index = NameIndex(plan.tasks, plan.job.empty)
        self.reused = dict(earlier.reused)
        # The instances of each `foreach` over a result, by the number of its task: they are not in the plan.
        self._instances: dict[int, list[str]] = {}
        for name in {*earlier.known_tasks, *earlier.reused}:
            if (group := self._group(name)) is not None:
                self._instances.setdefault(group, []).append(name)
        # The tasks whose results a task refers to, by its number.
        self._referred: dict[int, set[int]] = {}
        # The tasks whose dependents run again, too, and those whose dependents are known to do so.
        self._changed: set[int] = set()
        self._followed: set[int] = set()
        # The tasks, daemons aside, of each recipe that is taken as one.
        self._recipes: dict[str, list[int]] = {}
        for number, planned in enumerate(plan.tasks):
            whole = planned.task.whole
            if whole is not None and not planned.task.daemon and not planned.skipped:
                self._recipes.setdefault(whole.name, []).append(number)

    def names(self) -> set[str]:
        """Every name of a task of the plan, of an instance and of a group."""
        return {*self._index.all(), *(name for names in self._instances.values() for name in names)}

    def keep_unknown_recipes(self) -> None:
        """Let nothing run of a recipe that is taken as one, if the exit status of a task of it is unknown."""
        for recipe, numbers in self._recipes.items():
            names = [self._plan.tasks[number].name for number in numbers]
            known = [self.reused[name] for name in names if name in self.reused]
            if not any(one.outcome == Outcome.UNKNOWN for one in known):
                continue
            reason = f"a task of {quote(recipe)} has an unknown exit status; `--rerun-unknown` runs it again"
            unknown = Reused(outcome=Outcome.UNKNOWN, attempts=0, reason=reason)
            for name in names:
                self.reused.setdefault(name, unknown)

    def add_recipes(self) -> bool:
        """Run all of each recipe again that is taken as one, if a task of it runs; whether there is one."""
        found = False
        for recipe in [recipe for recipe, numbers in self._recipes.items() if any(map(self._runs, numbers))]:
            numbers = self._recipes.pop(recipe)
            found = True
            for number in numbers:
                self._drop(number)
            self._changed.update(numbers)
        return found

    def _runs(self, number: int) -> bool:
        """Whether a task runs; not if it was skipped, and still is if what it depends on is the same."""
        name = self._plan.tasks[number].name
        return name not in self.reused and (name not in self._earlier.skipped or number in self._changed)

    def add(self, pattern: str) -> bool:
        """Run the tasks that match a pattern again, and what depends on them; whether there are any."""
        found = set(self._index.resolve(pattern))
        for number in found:
            self._drop(number)
        matches = compile_glob(pattern)
        for number, names in self._instances.items():
            for name in filter(matches, names):
                self.reused.pop(name, None)
                found.add(number)
        self._changed |= found
        # A matrix may be empty.
        return bool(found) or pattern in self._index.groups

    def add_dependents_of_failures(self) -> None:
        """Run the tasks again that had null for the result of a failed task, because that runs again."""
        # Each task once: all instances of a `foreach` may have failed.
        failed = {
            number
            for name in self._earlier.failed
            if (number := self._index.numbers.get(name, self._group(name))) is not None
            and name not in self.reused
            and not self._plan.tasks[number].task.daemon
        }
        needed_by = [(number, *need) for number in failed for need in self._plan.tasks[number].needed_by]
        # Others have not run at all, or only wanted to know that it ended.
        have_run = {after for after in {after for _, after, _ in needed_by} if self._has_run(after)}
        for number, after, condition in needed_by:
            if after not in have_run or self._selects(after, number):
                continue
            if condition == PASSED or self._refers(after, number):
                have_run.remove(after)
                self._drop(after)
                self._changed.add(after)

    def _has_run(self, number: int) -> bool:
        names = (self._plan.tasks[number].name, *self._instances.get(number, ()))
        return any(name in self.reused for name in names)

    def _selects(self, number: int, other: int) -> bool:
        """Whether the instances of a task that ran selected others than those that failed."""
        group = self._plan.tasks[other]
        dependencies = self._plan.tasks[number].task.depends_on
        selects = any(isinstance(one, SiblingDependency) and one.task == group.name for one in dependencies)
        # After a failure that is not allowed, what had selected it was skipped.
        return selects and not group.task.allow_failure

    def _refers(self, number: int, other: int) -> bool:
        if number not in self._referred:
            planned = self._plan.tasks[number]
            references = result_references(planned.task, planned.values) if planned.task.refers else ()
            names = {reference.name for reference in references}
            self._referred[number] = {found for name in names for found in self._index.resolve(name)}
        return other in self._referred[number]

    def add_dependents(self) -> None:
        """Run the dependents of what changes again, and theirs."""
        pending = list(self._changed - self._followed)
        while pending:
            for after, _ in self._plan.tasks[pending.pop()].needed_by:
                if after not in self._changed:
                    self._changed.add(after)
                    self._drop(after)
                    pending.append(after)
        self._followed |= self._changed

    def add_needed_results(self) -> None:
        """Run the tasks again whose result cannot be passed on to a task that runs."""
        pending = [
            number for number, planned in enumerate(self._plan.tasks) if planned.name not in self.reused
        ]
        while pending:
            planned = self._plan.tasks[pending.pop()]
            if not planned.task.refers:
                continue
            # Of the instances that a name means, a task may need only its sibling.
            needs = {need for need, _ in planned.needs}
            for name in {reference.name for reference in result_references(planned.task, planned.values)}:
                for needed, number in self._providers(name):
                    if number not in needs:
                        continue
                    if needed in self.reused and not self._can_be_passed_on(needed):
                        del self.reused[needed]
                        pending.append(number)

    def _providers(self, name: str) -> Iterator[tuple[str, int]]:
        """The tasks that a reference to a result names, each with the number of its task in the plan."""
        for number in self._index.resolve(name):
            yield self._plan.tasks[number].name, number
            for instance in self._instances.get(number, ()):
                yield instance, number
        if (group := self._group(name)) is not None:
            yield name, group

    def _can_be_passed_on(self, name: str) -> bool:
        attempts = self.reused[name].attempts
        return not attempts or results.is_passable(self._earlier.directory.result_files(name, attempts))

    def _drop(self, number: int) -> None:
        self.reused.pop(self._plan.tasks[number].name, None)
        for name in self._instances.get(number, ()):
            self.reused.pop(name, None)

    def _group(self, name: str) -> int | None:
        """The task over a list from a result that a name is an instance of; None if there is none."""
        # A recipe with instances has brackets in its name, too, and so may a value.
        for place, character in enumerate(name):
            number = self._index.numbers.get(name[:place]) if character == "[" else None
            if number is not None and self._plan.tasks[number].task.foreach is not None:
                return number
        return None
