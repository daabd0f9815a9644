"""Compares two runs: what ended differently, what took longer or more memory, what is new or gone; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen
from mprun.outcomes import BAD, Outcome
from mprun.record.retried import is_flaky
from mprun.scheduling.instructions import RUN_FINISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mprun.record.run_state import RunState
    from mprun.record.task_state import TaskState

# From so many earlier runs on, their spread says what is noise.
MIN_SAMPLES = 3
# A normal distribution has this many times the median absolute deviation as its standard deviation.
_MAD_TO_DEVIATION = 1.4826
# A change is beyond the noise if it is more than so many deviations and more than this share of the median,
# both larger if few runs say what the noise is, and more than the floor of its quantity. Of 1,000 tasks that
# only vary, by a standard deviation of 10 %, at most two are reported then, with any number of earlier runs.
_DEVIATIONS = (4.0, 12.0)
_SHARE = (0.1, 1.5)
# Without enough earlier runs: the larger value is at least this many times the smaller one.
_RATIO = 1.5


class Quantity(Frozen):
    """Something that is measured of each attempt; smaller changes than `floor` are noise.

    `coarse_floor` counts if there are too few earlier runs to know the noise.
    """

    name: str
    floor: float
    coarse_floor: float


# In seconds and in bytes.
DURATION = Quantity(name="duration", floor=0.1, coarse_floor=0.5)
MEMORY = Quantity(name="memory", floor=8 << 20, coarse_floor=32 << 20)


class OutcomeChange(Frozen):
    """A task ended differently; `old` and `new` are how, in words. `task` of a new one has no `old`."""

    task: str
    old: str | None
    new: str | None
    worse: bool


class ValueChange(Frozen):
    """A value changed beyond the noise of `runs` earlier runs.

    `median` and `mad`, the median absolute deviation, are those of the earlier runs; None if there are fewer
    than MIN_SAMPLES.
    """

    task: str
    old: float
    new: float
    worse: bool
    runs: int
    median: float | None = None
    mad: float | None = None


class Comparison(Frozen):
    """What differs between two runs; `new_tasks` and `gone_tasks` are tasks that only one of them has."""

    outcomes: tuple[OutcomeChange, ...]
    durations: tuple[ValueChange, ...]
    memory: tuple[ValueChange, ...]
    new_tasks: tuple[str, ...]
    gone_tasks: tuple[str, ...]

    @property
    def is_worse(self) -> bool:
        """Whether something got worse."""
        return any(change.worse for change in self._changes)

    @property
    def changed(self) -> list[str]:
        """The tasks that ended differently, then those whose values changed."""
        return list(dict.fromkeys(change.task for change in self._changes))

    @property
    def _changes(self) -> list[OutcomeChange | ValueChange]:
        return [*self.outcomes, *self.durations, *self.memory]


def compare(
    old: RunState,
    new: RunState,
    words: Callable[[TaskState], str],
    samples: Mapping[str, Mapping[str, Sequence[float]]],
) -> Comparison:
    """Compare two runs task by task. `words` says how a task ended, without what differs in each run.

    `samples` has, by the name of a quantity and by task, its values in earlier runs.
    """
    outcomes = []
    values: dict[str, list[ValueChange]] = {DURATION.name: [], MEMORY.name: []}
    for name in new.known_names():
        after, before = new.tasks.get(name), old.tasks.get(name)
        if after is None:
            continue
        if before is None:
            if _rank(after) >= _BAD_RANK:
                outcomes.append(OutcomeChange(task=name, old=None, new=words(after), worse=True))
            continue
        if (was := words(before)) != (now := words(after)):
            worse = _rank(after) > _rank(before)
            outcomes.append(OutcomeChange(task=name, old=was, new=now, worse=worse))
        for quantity in (DURATION, MEMORY):
            change = _value_change(quantity, name, before, after, samples[quantity.name].get(name, ()))
            if change is not None:
                values[quantity.name].append(change)
    known, earlier = set(new.known_names()), set(old.known_names())
    return Comparison(
        outcomes=tuple(sorted(outcomes, key=lambda change: not change.worse)),
        durations=tuple(sorted(values[DURATION.name], key=_by_growth)),
        memory=tuple(sorted(values[MEMORY.name], key=_by_growth)),
        new_tasks=tuple(name for name in new.known_names() if name not in earlier),
        gone_tasks=tuple(name for name in old.known_names() if name not in known),
    )


_BAD_RANK = 3


def _rank(task: TaskState) -> int:
    """How bad the end of a task is, from 0, a success at once."""
    finished = task.finished
    if finished is None or (finished.outcome in BAD and not finished.allowed):
        return _BAD_RANK
    if finished.outcome == Outcome.SUCCEEDED:
        return int(is_flaky(finished.to_record()))
    return 0 if finished.reason == RUN_FINISHED else 2


def _value_change(
    quantity: Quantity, name: str, before: TaskState, after: TaskState, sample: Sequence[float]
) -> ValueChange | None:
    old, new = value_of(quantity, before), value_of(quantity, after)
    if old is None or new is None:
        return None
    found = judge(quantity, old, new, sample)
    return None if found is None else found.replace(task=name)


def judge(quantity: Quantity, old: float, new: float, sample: Sequence[float]) -> ValueChange | None:
    """Whether a value changed beyond the noise that `sample`, its values in earlier runs, shows.

    With n of them, at least MIN_SAMPLES, both the old value and their median must be further away from the
    new one than 4 + 12 / n deviations, 10 % + 150 % / n of the median, and the floor of the quantity. The
    deviation is estimated from the median absolute deviation, which one bad run does not move. With fewer,
    one of both values must be 1.5 times the other one, and further away than a larger floor.
    """
    if len(sample) < MIN_SAMPLES:
        low, high = min(old, new), max(old, new)
        if high - low <= quantity.coarse_floor or high < _RATIO * low:
            return None
        return ValueChange(task="", old=old, new=new, worse=new > old, runs=len(sample))
    middle = median(sample)
    mad = median([abs(value - middle) for value in sample])
    deviations, share = (least + more / len(sample) for least, more in (_DEVIATIONS, _SHARE))
    noise = max(deviations * _MAD_TO_DEVIATION * mad, share * middle, quantity.floor)
    if abs(new - middle) <= noise or abs(new - old) <= noise or (new > middle) != (new > old):
        return None
    return ValueChange(task="", old=old, new=new, worse=new > old, runs=len(sample), median=middle, mad=mad)


def median(values: Sequence[float]) -> float:
    """The middle one of at least one value, or the mean of the two in the middle."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def value_of(quantity: Quantity, task: TaskState) -> float | None:
    """A quantity of the last attempt of a task that succeeded in this run; None if it has none."""
    finished, attempts = task.finished, task.attempts
    if finished is None or finished.outcome != Outcome.SUCCEEDED or finished.reused or not attempts:
        return None
    exited = attempts[-1].exited
    if exited is None or attempts[-1].started.daemon:
        return None
    return exited.duration if quantity is DURATION else exited.max_rss


def _by_growth(change: ValueChange) -> tuple[bool, float]:
    return not change.worse, -abs(change.new - change.old)


def changed_params(old: RunState, new: RunState) -> dict[str, tuple[Any, Any]]:
    """The params that differ, by name: the old value and the new one, None where there is none."""
    before = old.started.params if old.started else {}
    after = new.started.params if new.started else {}
    names = dict.fromkeys((*before, *after))
    return {
        name: (before.get(name), after.get(name))
        for name in names
        if name not in before or name not in after or before[name] != after[name]
    }


def changed_files(old: RunState, new: RunState) -> list[str]:
    """The files that both runs have read, and whose content has changed."""
    before, after = _hashes(old), _hashes(new)
    return [path for path, digest in after.items() if before.get(path, digest) != digest]


def _hashes(state: RunState) -> dict[str, str]:
    # Another program may have written the record.
    files: Any = state.started.files if state.started else ()
    pairs = ((one.get("path"), one.get("sha256")) for one in files if isinstance(one, dict))
    return {path: digest for path, digest in pairs if isinstance(path, str) and isinstance(digest, str)}
