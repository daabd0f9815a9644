"""How long the way to the end of the run is from each task, which says who goes first; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.plan import start_order

if TYPE_CHECKING:
    from mprun.estimates import Estimates
    from mprun.job import Needs
    from mprun.plan import Plan, PlannedTask

    # Of those who wait for one condition of a task, the one with the longest way, and that way.
    Ways = dict[str, tuple[float, int]]


# Into so many steps the longest way is divided: ways that differ by less are as long, and
# the order of the file counts, else chance would shuffle the starts of equal tasks.
STEPS = 100


class Ranks:
    """The upward ranks of a plan's tasks, by the durations that are expected.

    A task's way to the end is what it takes itself and the longest way of what waits for it,
    all as if there were places and tokens for everybody. What waits for `ready` or `started`
    does not wait for the end; what waits for a failure is not expected to run. A daemon
    takes nothing itself: the run does not wait for it. `path` is the longest way through
    the plan, in places of it, `seconds` its length, `work` what all `tasks` take together
    that need a place; of `new` ones of these no earlier run tells how long they take.
    """

    def __init__(self, plan: Plan, estimates: Estimates) -> None:
        self._estimates = estimates
        self._ways = [0.0] * len(plan.tasks)
        # Of tasks that are spread over a list: what the longest of their instances takes.
        self._longest: dict[int, float] = {}
        self._next = [-1] * len(plan.tasks)
        self.work = 0.0
        self.tasks = self.new = 0
        # Of a matrix many share what needs them, and a million times the same is not looked at.
        shared: dict[int, Ways] = {}
        # Nothing comes before what it waits for, so backwards everything that waits is known.
        for number in reversed(start_order(plan)):
            planned = plan.tasks[number]
            ways = shared.get(id(planned.needed_by))
            if ways is None:
                ways = shared[id(planned.needed_by)] = self._after(planned.needed_by)
            self._take(number, planned, ways)
        self.path = self._longest_path()
        self.seconds = self._ways[self.path[0]] if self.path else 0.0

    def of(self, number: int) -> int:
        """The rank of a task of the plan, by its place, in steps."""
        return self._in_steps(self._ways[number])

    def of_instance(self, group: int, name: str) -> int:
        """The rank of a task that came about on the way, in steps: at most that of its group."""
        longest = self._longest.get(group, 0.0)
        return self._in_steps(self._ways[group] - longest + min(longest, self._estimates.duration(name)))

    def _in_steps(self, way: float) -> int:
        return round(way / self.seconds * STEPS) if self.seconds else 0

    def _after(self, needed_by: Needs) -> Ways:
        ways: Ways = {}
        for number, condition in needed_by:
            way = self._ways[number]
            if condition not in ways or way > ways[condition][0]:
                ways[condition] = way, number
        return ways

    def _take(self, number: int, planned: PlannedTask, ways: Ways) -> None:
        own = self._duration(number, planned)
        before = {"ready": self._estimates.until_ready(planned.name), "started": 0.0}
        longest = 0.0 if planned.task.daemon else own
        for condition, (way, after) in ways.items():
            if condition != "failed" and (total := before.get(condition, own) + way) > longest:
                longest, self._next[number] = total, after
        self._ways[number] = longest

    def _duration(self, number: int, planned: PlannedTask) -> float:
        name, estimates = planned.name, self._estimates
        if planned.skipped or planned.carried is not None:
            return 0.0
        if planned.task.daemon:
            return estimates.duration(name) if estimates.knows(name) else 0.0
        names = [name] if planned.task.foreach is None else estimates.instances(name)
        durations = [estimates.duration(instance) for instance in names]
        self.tasks += len(names)
        self.new += sum(not estimates.knows(instance) for instance in names)
        self.work += sum(durations)
        longest = max(durations)
        if planned.task.foreach is not None:
            self._longest[number] = longest
        return longest

    def _longest_path(self) -> tuple[int, ...]:
        if not self._ways:
            return ()
        number = max(range(len(self._ways)), key=self._ways.__getitem__)
        path: list[int] = []
        while number >= 0:
            after = self._next[number]
            # What takes nothing, as it is skipped or was carried over, does not lead the way.
            if path or after < 0 or self._ways[number] > self._ways[after]:
                path.append(number)
            number = after
        return tuple(path)
