"""What a run that repeated its tasks says of each of them: how many copies failed, and how sure that is."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen
from mprun.outcomes import BAD, Outcome
from mprun.record.retried import is_flaky

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.record.events import RunStarted, TaskFinished
    from mprun.record.run_state import RunState
    from mprun.record.task_state import TaskState

# Standard deviations on each side of the mean that contain 95 % of a normal distribution.
_Z = 1.959964
_MINUS_LOG_OF_5_PERCENT = 3.0

# So many tasks that ran beside a failure are part of the command that repeats it.
_MAX_NEIGHBOURS = 20


class RepeatedTask(Frozen):
    """A task with its copies that came to an end by themselves: `runs` of them, of which `failures` failed.

    `flaky` is how many succeeded at a later attempt. `low` and `high` are the bounds of the 95 % interval
    of the rate of failures, from 0 to 1.
    """

    task: str
    runs: int
    failures: int
    flaky: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """The share of the copies that failed, from 0 to 1."""
        return self.failures / self.runs if self.runs else 0.0


class RepeatSummary(Frozen):
    """The tasks of a run that repeated them, those that fail most often first.

    `first_failure` is the name of the copy that failed first, None if none did; `beside` are the tasks
    whose copies ran at the same time, itself among them. With `copies` copies of each, that one and all
    beside it are there, and in 19 of 20 runs one of its task fails if chance decides.
    """

    seed: int | None
    tasks: tuple[RepeatedTask, ...]
    first_failure: str | None = None
    beside: tuple[str, ...] = ()
    copies: int = 0

    def to_json(self) -> dict[str, Any]:
        """The summary as a JSON object."""
        return {
            "seed": self.seed,
            "tasks": [{**task.to_dict(), "rate": task.rate} for task in self.tasks],
            "first_failure": self.first_failure,
        }


def is_repeated(started: RunStarted | None) -> bool:
    """Whether a run has repeated its tasks."""
    return started is not None and "seed" in started.options


def without_copy(name: str) -> str:
    """The name of the task that a copy is of: `task` for `task@3`, and itself for any other name."""
    task, _, copy = name.rpartition("@")
    return task if task and copy.isdecimal() and copy.isascii() else name


def copy_number(name: str) -> int:
    """The number of a copy, 0 for a task that is not repeated."""
    task = without_copy(name)
    # More digits than any copy has: another program wrote the record.
    return int(name[len(task) + 1 :][:9]) if task != name else 0


def interval(failures: int, runs: int) -> tuple[float, float]:
    """The bounds, from 0 to 1, of the 95 % interval of a rate: Wilson's score interval.

    Unlike the mean and its deviation it also holds for few runs and for rates near 0: after 200 runs without
    a failure, the rate is at most 1.9 %. (E. B. Wilson, 1927, doi:10.1080/01621459.1927.10502953.)
    """
    if not runs:
        return 0.0, 1.0
    rate, z2 = failures / runs, _Z * _Z
    centre = (rate + z2 / (2 * runs)) / (1 + z2 / runs)
    half = _Z / (1 + z2 / runs) * sqrt(rate * (1 - rate) / runs + z2 / (4 * runs * runs))
    # Exact at the ends, where rounding would leave some 1e-18.
    return max(0.0, centre - half) if failures else 0.0, min(1.0, centre + half) if failures < runs else 1.0


def repeat_summary(state: RunState) -> RepeatSummary | None:
    """What the copies of a run add up to, None if it repeated nothing."""
    if not is_repeated(state.started):
        return None
    from mprun.scheduling.repetition import BATCH

    counts: dict[str, list[int]] = {}
    first: TaskFinished | None = None
    for task in state.in_order():
        finished = task.finished
        if finished is None or not copy_number(task.name):
            continue
        failed = finished.outcome in BAD
        if not failed and finished.outcome != Outcome.SUCCEEDED:
            continue
        count = counts.setdefault(without_copy(task.name), [0, 0, 0])
        count[0] += 1
        count[1] += failed
        count[2] += is_flaky(finished.to_record())
        if failed and (first is None or finished.time < first.time):
            first = finished
    tasks = [
        RepeatedTask(task=name, runs=runs, failures=failures, flaky=flaky, low=low, high=high)
        for name, (runs, failures, flaky) in counts.items()
        for low, high in [interval(failures, runs)]
    ]
    tasks.sort(key=lambda task: (-task.rate, -task.flaky, task.task))
    seed = state.started.options.get("seed") if state.started else None
    summary = RepeatSummary(seed=seed if isinstance(seed, int) else None, tasks=tuple(tasks))
    if first is None:
        return summary
    names = _beside(state, state.tasks[first.task])
    rate = next(task.rate for task in tasks if task.task == without_copy(first.task))
    # (1 - rate) ** n < 0.05
    by_chance = ceil(_MINUS_LOG_OF_5_PERCENT / rate)
    return summary.replace(
        first_failure=first.task,
        beside=tuple(sorted({without_copy(name) for name in names})),
        copies=-(-max(by_chance, *map(copy_number, names)) // BATCH) * BATCH,
    )


def _beside(state: RunState, failed: TaskState) -> Sequence[str]:
    """The copies that ran while a task did, itself first."""
    names = [failed.name]
    if not failed.attempts:
        return names
    begun, ended = failed.attempts[0].started.time, failed.finished.time if failed.finished else ""
    for task in state.tasks.values():
        if len(names) > _MAX_NEIGHBOURS or not task.attempts or not copy_number(task.name):
            continue
        over = task.finished.time if task.finished else ended
        if task.name != failed.name and task.attempts[0].started.time <= ended and over >= begun:
            names.append(task.name)
    return names
