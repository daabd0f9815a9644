"""Forecasts a run from earlier runs: the best order of its tasks, its duration, its critical path."""

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

# The share of a run's duration that another order has to save, else the order of the file stays.
MIN_GAIN = 0.01

# Up to this many tasks both orders are simulated. A simulation takes 15 to 20 µs per task, and the
# launcher imports in the meantime (`python benchmarks/order.py`).
MAX_SIMULATED_TASKS = 2000


class Forecast(Frozen):
    """What is expected of a run, by the durations of `runs` earlier runs.

    `plan` has priorities if the run will follow them. `seconds` is the duration of the run, and
    `order` has the indices of the tasks in the order of their start; both are None if they cannot be
    known. `new` counts the tasks without a duration in an earlier run. `path` is the critical path,
    as indices of the plan.
    """

    plan: Plan
    runs: int
    new: int
    seconds: float | None
    order: tuple[int, ...] | None
    path: tuple[int, ...]
    path_seconds: float


def prioritized(plan: Plan, runs: Sequence[RunTimings]) -> Plan:
    """The plan, with priorities if they make the run shorter; `runs` must not be empty."""
    estimates = Estimates(runs)
    return _chosen(plan, estimates, Priorities(plan, estimates))[0]


def forecast_run(plan: Plan, runs: Sequence[RunTimings]) -> Forecast:
    """The forecast for a plan; `runs` must not be empty."""
    estimates = Estimates(runs)
    priorities = Priorities(plan, estimates)
    chosen, simulated = _chosen(plan, estimates, priorities)
    simulated = simulated or simulate(chosen, estimates)
    return Forecast(
        plan=chosen,
        runs=estimates.runs,
        new=priorities.new,
        seconds=simulated.seconds if simulated else None,
        order=simulated.order if simulated else None,
        path=priorities.path,
        path_seconds=priorities.seconds,
    )


def _chosen(plan: Plan, estimates: Estimates, priorities: Priorities) -> tuple[Plan, Simulation | None]:
    """The plan in the better order, and its simulation if there was one.

    Starting the critical path first can make a run longer (R. L. Graham, Bounds on Multiprocessing
    Timing Anomalies, 1969), above all with tokens. So both orders are simulated. If that takes too
    long, priorities are used unless there are tokens: without tokens, they were never worse in
    plans of this size (docs/order.md).
    """
    if not is_crowded(plan):
        return plan, None
    claimed = bool(plan.job.resources)
    if not claimed and not _may_gain(plan, priorities):
        return plan, None
    prioritized_plan = plan.replace(priorities=priorities)
    if priorities.tasks > MAX_SIMULATED_TASKS:
        return (plan if claimed else prioritized_plan), None
    by_file, by_priority = simulate(plan, estimates), simulate(prioritized_plan, estimates)
    if by_file is None or by_priority is None or by_priority.seconds > by_file.seconds * (1 - MIN_GAIN):
        return plan, by_file
    return prioritized_plan, by_priority


def _may_gain(plan: Plan, priorities: Priorities) -> bool:
    """Whether any order can save that much; without tokens this is known without a simulation.

    No order is shorter than the critical path, or than the work divided by the slots; and no order
    that leaves no slot free without need is longer than Graham's bound.
    """
    slots = plan.max_parallel
    daemons = any(planned.task.daemon for planned in plan.tasks)
    # While a task waits for a daemon to be ready, all slots may be free.
    idle = priorities.seconds if daemons else priorities.seconds * (1 - 1 / slots)
    longest = priorities.work / slots + idle
    return max(priorities.work / slots, priorities.seconds) <= longest * (1 - MIN_GAIN)
