"""What differs between two runs: outcomes, values beyond the noise, tasks, params, files."""

import random

import pytest
from support.records import STARTED, exited, started

from mprun.record.comparison import DURATION, MEMORY, changed_files, changed_params, compare, judge, median
from mprun.record.event_reader import from_record
from mprun.record.run_state import RunState

NO_SAMPLES = {DURATION.name: {}, MEMORY.name: {}}
STAMP = {"time": STARTED["time"], "run": STARTED["run"]}


def state(tasks=(), **more):
    """A run with these tasks: pairs of a name and what their `task_finished` adds to a success."""
    found = RunState()
    found.apply(from_record({**STARTED, **more}))
    for name, facts in dict(tasks).items():
        seconds, rss = facts.pop("duration", 1.0), facts.pop("max_rss", 10 << 20)
        found.apply(from_record(started(name, daemon=facts.pop("daemon", False))))
        found.apply(from_record({**exited(name), "duration": seconds, "max_rss": rss}))
        finished = {"event": "task_finished", **STAMP, "task": name, "outcome": "succeeded", "attempts": 1}
        found.apply(from_record({**finished, "reason": "", **facts}))
    return found


def words(task):
    return (
        f"{task.finished.outcome} {task.finished.attempts} {task.finished.reason}" if task.finished else "?"
    )


def compared(old, new, samples=NO_SAMPLES):
    return compare(state(old), state(new), words, samples)


def test_a_run_is_equal_to_itself():
    run = state({"a": {}, "b": {"outcome": "failed", "reason": "exit 1"}})
    found = compare(run, run, words, NO_SAMPLES)
    assert (found.is_worse, found.changed, found.new_tasks, found.gone_tasks) == (False, [], (), ())


FAILED = {"outcome": "failed", "reason": "exit 1"}
ENDS = [
    {},
    {"attempts": 2, "flaky": True},
    {"outcome": "skipped", "reason": "`x` did not succeed"},
    FAILED,
]


@pytest.mark.parametrize("before", range(len(ENDS)))
@pytest.mark.parametrize("after", range(len(ENDS)))
def test_an_outcome_gets_worse_in_this_order(before, after):
    found = compared({"a": dict(ENDS[before])}, {"a": dict(ENDS[after])})
    assert found.is_worse is (after > before)
    assert [change.task for change in found.outcomes] == (["a"] if after != before else [])


def test_what_is_allowed_or_planned_is_not_worse_than_a_failure():
    assert not compared({"a": dict(FAILED)}, {"a": {**FAILED, "allowed": True}}).is_worse
    stopped = {"outcome": "stopped", "reason": "run_finished"}
    assert not compared({"a": dict(stopped)}, {"a": dict(stopped)}).is_worse
    assert compared({"a": dict(stopped)}, {"a": {"outcome": "stopped", "reason": "user"}}).is_worse


def test_a_new_task_is_worse_only_if_it_fails():
    found = compared({"a": {}}, {"a": {}, "b": {}})
    assert (found.is_worse, found.new_tasks, found.gone_tasks) == (False, ("b",), ())
    assert compared({"a": {}}, {"a": {}, "b": dict(FAILED)}).is_worse
    found = compared({"a": {}, "b": {}}, {"a": {}})
    assert (found.is_worse, found.new_tasks, found.gone_tasks) == (False, (), ("b",))


def test_without_earlier_runs_only_large_changes_count():
    def change(old, new):
        found = compared({"a": {"duration": old}}, {"a": {"duration": new}})
        return [one.worse for one in found.durations]

    assert change(1.0, 2.0) == [True]
    assert change(2.0, 1.0) == [False]
    # Below the ratio, and below the floor.
    assert change(10.0, 14.0) == []
    assert change(0.01, 0.4) == []


def test_a_change_counts_if_it_is_beyond_the_noise_of_earlier_runs():
    noisy, steady = [1.0, 1.5, 0.8, 1.3, 0.9], [1.0, 1.01, 0.99, 1.0, 1.02]
    assert judge(DURATION, 1.0, 1.6, noisy) is None
    found = judge(DURATION, 1.0, 1.6, steady)
    assert (found.worse, found.median, found.runs) == (True, 1.0, 5)
    assert found.mad == pytest.approx(0.01)
    # One run that was slow moves neither the median nor the deviation.
    assert judge(DURATION, 1.0, 1.6, [*steady, 60.0]) is not None
    # The old run was the exception: the new one is as all others.
    assert judge(DURATION, 5.0, 1.0, steady) is None
    # Below the floor.
    assert judge(DURATION, 0.01, 0.09, [0.01] * 5) is None


@pytest.mark.parametrize("runs", [3, 5, 10, 20])
def test_noise_alone_is_seldom_a_change(runs):
    chance = random.Random(1)
    found = 0
    for _ in range(2000):
        old, new, *sample = (10 * chance.gauss(1, 0.1) for _ in range(runs + 2))
        found += judge(DURATION, old, new, sample) is not None
    assert found <= 6


def test_twice_as_long_is_found_among_noise():
    chance = random.Random(2)
    found = 0
    for _ in range(500):
        old, new, *sample = (10 * chance.gauss(1, 0.1) for _ in range(22))
        found += judge(DURATION, old, 2 * new, sample) is not None
    assert found > 450


def test_memory_counts_likewise():
    found = compared({"a": {"max_rss": 50 << 20}}, {"a": {"max_rss": 150 << 20}})
    assert [(one.task, one.worse) for one in found.memory] == [("a", True)]
    samples = {DURATION.name: {}, MEMORY.name: {"a": [50 << 20] * 5}}
    assert compared({"a": {"max_rss": 50 << 20}}, {"a": {"max_rss": 80 << 20}}, samples).is_worse


@pytest.mark.parametrize("more", [{"daemon": True}, {"reused": True}, dict(FAILED)])
def test_what_did_not_run_to_its_end_by_itself_has_no_duration(more):
    found = compared({"a": {"duration": 1.0}}, {"a": {"duration": 50.0, **more}})
    assert found.durations == ()


def test_changed_params_and_files():
    old = state(params={"n": 1, "gone": 2, "same": 3}, files=[{"path": "/a", "sha256": "1"}, {"path": "/b"}])
    new = state(params={"n": 2, "new": 4, "same": 3}, files=[{"path": "/a", "sha256": "2"}, "damage", {}])
    assert changed_params(old, new) == {"n": (1, 2), "gone": (2, None), "new": (None, 4)}
    assert changed_files(old, new) == ["/a"]
    assert changed_files(old, old) == []


def test_median():
    assert (median([3, 1, 2]), median([4, 1, 3, 2]), median([7])) == (2, 2.5, 7)
