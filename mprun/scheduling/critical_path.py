"""How long the way to the end of the run is from each task, which says who goes first; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.scheduling.estimates import median
from mprun.scheduling.plan import start_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.jobfile.model import Needs
    from mprun.scheduling.estimates import Estimates
    from mprun.scheduling.plan import Plan, PlannedTask, Reused

    # Of those who wait for one condition of a task, the one with the longest way, and that way.
    Ways = dict[str, tuple[float, int]]


# Into so many steps the longest way is divided: ways that differ by less are as long, and
# the order of the file counts, else chance would shuffle the starts of equal tasks.
STEPS = 100


class _Group:
    """What a task was spread over: how long each instance will take, and those that are new."""

    __slots__ = ("_durations", "_typical", "longest")

    def __init__(self, durations: dict[str, float]) -> None:
        self._durations = durations
        self._typical = median(durations.values())
        self.longest = max(durations.values(), default=0.0)

    def duration(self, name: str) -> float:
        return self._durations.get(name, self._typical)


_NO_GROUP = _Group({})


class Priorities:
    """The upward priorities of a plan's tasks, by the durations that are expected.

    A task's way to the end is what it takes itself and the longest way of what waits for it,
    all as if there were places and tokens for everybody. What waits for `ready` or `started`
    does not wait for the end; what waits for a failure is not expected to run. A daemon
    takes nothing itself: the run does not wait for it. `path` is the longest way through
    the plan, in places of it, `seconds` its length, `work` what all `tasks` take together
    that need a place; of `new` ones of these no earlier run tells how long they take.
    """

    def __init__(self, plan: Plan, estimates: Estimates) -> None:
        self._ways = [0.0] * len(plan.tasks)
        # Those that are spread over a list.
        self._groups: dict[int, _Group] = {}
        # Who is next on the longest way from each.
        following = [-1] * len(plan.tasks)
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
            own = self._duration(number, planned, estimates, plan.reused)
            spans = {"succeeded": own, "finished": own, "started": 0.0}
            spans["ready"] = estimates.until_ready(planned.name)
            least = 0.0 if planned.task.daemon else own
            self._ways[number], following[number] = _longest(least, spans, ways)
        self.path = self._longest_path(following)
        self.seconds = self._ways[self.path[0]] if self.path else 0.0

    def of(self, number: int) -> int:
        """The rank of a task of the plan, by its place, in steps."""
        return self._in_steps(self._ways[number])

    def of_instance(self, group: int, name: str) -> int:
        """The rank of a task that came about on the way, in steps: at most that of its group."""
        found = self._groups.get(group, _NO_GROUP)
        return self._in_steps(self._ways[group] - found.longest + found.duration(name))

    def _in_steps(self, way: float) -> int:
        return round(way / self.seconds * STEPS) if self.seconds else 0

    def _after(self, needed_by: Needs) -> Ways:
        ways: Ways = {}
        for number, condition in needed_by:
            way = self._ways[number]
            if condition not in ways or way > ways[condition][0]:
                ways[condition] = way, number
        return ways

    def _duration(
        self, number: int, planned: PlannedTask, estimates: Estimates, reused: Mapping[str, Reused]
    ) -> float:
        name = planned.name
        if planned.skipped or planned.reused is not None:
            return 0.0
        if planned.task.daemon:
            return estimates.duration(name) if estimates.knows(name) else 0.0
        if planned.task.foreach is None:
            return self._count({name: estimates.duration(name)}, estimates)
        names = (instance for instance in estimates.instances(name) if instance not in reused)
        durations = {instance: estimates.duration(instance) for instance in names}
        self._groups[number] = _Group(durations)
        return self._count(durations, estimates)

    def _count(self, durations: dict[str, float], estimates: Estimates) -> float:
        """Add tasks to the work; what the longest takes."""
        self.tasks += len(durations)
        self.new += sum(not estimates.knows(name) for name in durations)
        self.work += sum(durations.values())
        return max(durations.values(), default=0.0)

    def _longest_path(self, following: list[int]) -> tuple[int, ...]:
        if not self._ways:
            return ()
        number = max(range(len(self._ways)), key=self._ways.__getitem__)
        path: list[int] = []
        while number >= 0:
            after = following[number]
            # What takes nothing, as it is skipped or was reused, does not lead the way.
            if path or after < 0 or self._ways[number] > self._ways[after]:
                path.append(number)
            number = after
        return tuple(path)


def _longest(least: float, spans: dict[str, float], ways: Ways) -> tuple[float, int]:
    """The longest way from a task, and who is next on it, -1 for nobody; `spans` until a condition holds."""
    longest, following = least, -1
    for condition, (way, after) in ways.items():
        # What waits for a failure has none.
        if condition in spans and spans[condition] + way > longest:
            longest, following = spans[condition] + way, after
    return longest, following
