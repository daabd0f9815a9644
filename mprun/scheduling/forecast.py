"""What earlier runs let expect of a run: who goes first, how long it takes, what it waits for; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.scheduling.critical_path import Priorities
from mprun.scheduling.estimates import Estimates
from mprun.scheduling.plan import is_crowded
from mprun.scheduling.simulation import Simulation, simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.scheduling.estimates import RunTimings
    from mprun.scheduling.plan import Plan

# What another order has to save of the time of a run to go before that of the file.
MIN_GAIN = 0.01

# Up to so many tasks both orders are rehearsed. Each takes 15 to 20 µs a task, and the
# launcher imports meanwhile (`python benchmarks/order.py`).
MAX_SIMULATED_TASKS = 2000


class Forecast(Frozen):
    """What is expected of a run, by the durations of `runs` earlier ones; seconds in virtual time.

    `plan` has the priorities where the run will go by them. `seconds` and `order`, the places of
    the tasks in the order of their start, are None where nobody can tell. `new` counts the
    tasks of which no run tells how long they take. `path` is the critical path.
    """

    plan: Plan
    runs: int
    new: int
    seconds: float | None
    order: tuple[int, ...] | None
    path: tuple[int, ...]
    path_seconds: float


def prioritized(plan: Plan, runs: Sequence[RunTimings]) -> Plan:
    """The plan, with priorities where these are worth it; `runs` is not empty."""
    estimates = Estimates(runs)
    return _chosen(plan, estimates, Priorities(plan, estimates))[0]


def forecast_run(plan: Plan, runs: Sequence[RunTimings]) -> Forecast:
    """What to expect of the run of a plan; `runs` is not empty."""
    estimates = Estimates(runs)
    priorities = Priorities(plan, estimates)
    chosen, rehearsed = _chosen(plan, estimates, priorities)
    rehearsed = rehearsed or simulate(chosen, estimates)
    return Forecast(
        plan=chosen,
        runs=estimates.runs,
        new=priorities.new,
        seconds=rehearsed.seconds if rehearsed else None,
        order=rehearsed.order if rehearsed else None,
        path=priorities.path,
        path_seconds=priorities.seconds,
    )


def _chosen(plan: Plan, estimates: Estimates, priorities: Priorities) -> tuple[Plan, Simulation | None]:
    """The plan in the better order, and its rehearsal if there was one.

    To start what has the longest way first may make a run longer (R. L. Graham, Bounds on
    Multiprocessing Timing Anomalies, 1969), most of all where tokens are claimed. So both
    orders are rehearsed. Where that would take too long, the priorities have their way unless
    there are tokens: in plans so large, without, they were never worse (docs/order.md).
    """
    if not is_crowded(plan):
        return plan, None
    claimed = bool(plan.job.resources)
    if not claimed and not _may_gain(plan, priorities):
        return plan, None
    ranked = plan.replace(priorities=priorities)
    if priorities.tasks > MAX_SIMULATED_TASKS:
        return (plan if claimed else ranked), None
    by_file, by_rank = simulate(plan, estimates), simulate(ranked, estimates)
    if by_file is None or by_rank is None or by_rank.seconds > by_file.seconds * (1 - MIN_GAIN):
        return plan, by_file
    return ranked, by_rank


def _may_gain(plan: Plan, priorities: Priorities) -> bool:
    """Whether any order can save that much; known without a rehearsal where no tokens are claimed.

    No order is shorter than the longest path, or than the work shared by all places; and
    none that leaves no place free without need is longer than Graham's bound.
    """
    places = plan.max_parallel
    daemons = any(planned.task.daemon for planned in plan.tasks)
    # While one waits for a daemon to be ready, every place may be free.
    idle = priorities.seconds if daemons else priorities.seconds * (1 - 1 / places)
    longest = priorities.work / places + idle
    return max(priorities.work / places, priorities.seconds) <= longest * (1 - MIN_GAIN)
