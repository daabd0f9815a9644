"""Finds the critical path of a run, and gives each task a priority by the path from it to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.jobfile.model import PASSED
from mprun.scheduling.estimates import median
from mprun.scheduling.plan import start_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.jobfile.model import Needs
    from mprun.scheduling.estimates import Estimates
    from mprun.scheduling.plan import Plan, PlannedTask, Reused

    # For each condition on a task, the longest path of a dependent with this condition, in seconds,
    # and the dependent.
    LongestPaths = dict[str, tuple[float, int]]


# The critical path is divided into so many steps. Paths that differ by less than a step have the same
# priority, and the order of the file counts: otherwise chance would shuffle the starts of equal tasks.
STEPS = 100


class _Group:
    """The expected instances of a task with `foreach`, and how long each takes."""

    __slots__ = ("_durations", "_typical", "longest")

    def __init__(self, durations: dict[str, float]) -> None:
        self._durations = durations
        self._typical = median(durations.values())
        self.longest = max(durations.values(), default=0.0)

    def duration(self, name: str) -> float:
        return self._durations.get(name, self._typical)


_NO_GROUP = _Group({})


class Priorities:
    """The priorities of a plan's tasks: their upward ranks (HEFT) by the expected durations.

    The path of a task is its own duration and the longest path of its dependents, as if there were
    slots and tokens for all tasks. A dependent that waits for `ready` or `started` does not wait for
    the end; one that waits for a failure is not expected to run. A daemon takes no time itself,
    because the run does not wait for it.

    `path` is the critical path, as indices of the plan, and `seconds` its length. `work` is the sum
    of the durations of all `tasks` that take a slot; of `new` ones no earlier run has a duration.
    """

    def __init__(self, plan: Plan, estimates: Estimates) -> None:
        self._paths = [0.0] * len(plan.tasks)
        # The tasks with `foreach`.
        self._groups: dict[int, _Group] = {}
        # The next task on the longest path from each task.
        following = [-1] * len(plan.tasks)
        self.work = 0.0
        self.tasks = self.new = 0
        # Instances of a matrix share their dependents: they are looked at once, not a million times.
        shared: dict[int, LongestPaths] = {}
        # In the reverse start order the dependents of a task come before the task.
        for number in reversed(start_order(plan)):
            planned = plan.tasks[number]
            paths = shared.get(id(planned.needed_by))
            if paths is None:
                paths = shared[id(planned.needed_by)] = self._longest_paths(planned.needed_by)
            own = self._duration(number, planned, estimates, plan.reused)
            delays = {PASSED: own, "succeeded": own, "finished": own, "started": 0.0}
            delays["ready"] = estimates.until_ready(planned.name)
            least = 0.0 if planned.task.daemon else own
            self._paths[number], following[number] = _longest(least, delays, paths)
        self.path = self._critical_path(following)
        self.seconds = self._paths[self.path[0]] if self.path else 0.0

    def of(self, number: int) -> int:
        """The priority of a task, by its index in the plan: its path in steps."""
        return self._in_steps(self._paths[number])

    def seconds_from(self, number: int) -> float:
        """How long the longest path from a task to the end takes, its own duration included, in seconds."""
        return self._paths[number]

    def of_instance(self, group: int, name: str) -> int:
        """The priority of an instance that is created during the run: at most that of its group."""
        found = self._groups.get(group, _NO_GROUP)
        return self._in_steps(self._paths[group] - found.longest + found.duration(name))

    def _in_steps(self, path: float) -> int:
        return round(path / self.seconds * STEPS) if self.seconds else 0

    def _longest_paths(self, needed_by: Needs) -> LongestPaths:
        paths: LongestPaths = {}
        for number, condition in needed_by:
            path = self._paths[number]
            if condition not in paths or path > paths[condition][0]:
                paths[condition] = path, number
        return paths

    def _duration(
        self, number: int, planned: PlannedTask, estimates: Estimates, reused: Mapping[str, Reused]
    ) -> float:
        name = planned.name
        if planned.skipped or planned.reused is not None:
            return 0.0
        if planned.task.daemon:
            return estimates.duration(name) if estimates.knows(name) else 0.0
        if planned.task.foreach is None:
            return self._add_work({name: estimates.duration(name)}, estimates)
        names = (instance for instance in estimates.instances(name) if instance not in reused)
        durations = {instance: estimates.duration(instance) for instance in names}
        self._groups[number] = _Group(durations)
        return self._add_work(durations, estimates)

    def _add_work(self, durations: dict[str, float], estimates: Estimates) -> float:
        """Add tasks to the work; the duration of the longest one."""
        self.tasks += len(durations)
        self.new += sum(not estimates.knows(name) for name in durations)
        self.work += sum(durations.values())
        return max(durations.values(), default=0.0)

    def _critical_path(self, following: list[int]) -> tuple[int, ...]:
        if not self._paths:
            return ()
        number = max(range(len(self._paths)), key=self._paths.__getitem__)
        path: list[int] = []
        while number >= 0:
            after = following[number]
            # A task that takes no time, because it is skipped or reused, is not the start of the path.
            if path or after < 0 or self._paths[number] > self._paths[after]:
                path.append(number)
            number = after
        return tuple(path)


def _longest(least: float, delays: dict[str, float], paths: LongestPaths) -> tuple[float, int]:
    """The longest path from a task, and the next task on it, -1 for none.

    `delays` has the seconds from the start of the task until it meets a condition.
    """
    longest, following = least, -1
    for condition, (path, after) in paths.items():
        # A dependent that waits for a failure is not expected to run.
        if condition in delays and delays[condition] + path > longest:
            longest, following = delays[condition] + path, after
    return longest, following
