"""The state of a run: the events of a finished task are packed, and unpacked on demand."""

from __future__ import annotations

import pytest
from support.records import FINISHED, STAMP, exited, started

from mprun.record import task_state
from mprun.record.event_reader import from_record
from mprun.record.run_state import RunState

FACTS = [
    started("a"),
    {"event": "task_ready", **STAMP, "task": "a", "attempt": 1},
    {"event": "task_stopping", **STAMP, "task": "a", "attempt": 1, "signal": "SIGTERM", "reason": "timeout"},
    exited("a", exit_code=-15, signal="SIGTERM", orphans=[4, 5], error={"type": "E", "message": "\udc80"}),
    {"event": "task_retrying", **STAMP, "task": "a", "attempt": 2, "delay": 0.5, "reason": "retry"},
    started("a", attempt=2, pid=2**40),
    exited("a", attempt=2, pid=2**40, cpu=None, max_rss=None),
]
END = {**FINISHED, "attempts": 2, "result": {"deep": [1, None, {"x": 0.1}]}, "result_kind": "json"}


def fold(*records):
    state = RunState()
    for one in records:
        state.apply(from_record(one))
    return state


def facts(task):
    found = [[one.started, one.ready, one.stopping, one.exited, one.retrying] for one in task.attempts]
    return [fact for attempt in found for fact in attempt if fact is not None]


def unpack_another():
    """Unpack the events of another task, so that those of no other are known."""
    first, second = (fold(started(name), {**FINISHED, "task": name}).tasks[name] for name in "xy")
    assert (len(first.attempts), len(second.attempts)) == (1, 1)


@pytest.mark.parametrize("then", [lambda: None, unpack_another])
def test_a_finished_task_has_all_its_events(then):
    before, after = fold(*FACTS).tasks["a"], fold(*FACTS, END).tasks["a"]
    then()
    assert facts(after) == facts(before) == [from_record(fact) for fact in FACTS]
    assert (before.finished, before.outcome) == (None, None)
    assert (after.finished, after.outcome) == (from_record(END), "succeeded")
    assert [one.started.pid for one in after.attempts] == [100, 2**40]


def test_the_events_of_the_task_that_has_just_finished_are_not_unpacked(monkeypatch):
    state = fold(*FACTS, END)
    unpacked = []
    monkeypatch.setattr(task_state, "_unpack_events", lambda packed: unpacked.append(packed) or ([], None))
    assert (len(state.tasks["a"].attempts), state.tasks["a"].finished) == (2, from_record(END))
    assert not unpacked
    state.apply(from_record(started("b")))
    state.apply(from_record({**END, "task": "b"}))
    assert not state.tasks["a"].attempts
    assert len(unpacked) == 1


def test_a_task_is_running_from_its_start_to_its_exit():
    assert fold(started("a")).tasks["a"].is_running
    assert not fold(*FACTS).tasks["a"].is_running
    assert not fold(started("a"), END).tasks["a"].is_running


def test_an_event_after_the_end_of_a_task_is_added():
    task = fold(*FACTS, END, started("a", attempt=3)).tasks["a"]
    assert [one.started.attempt for one in task.attempts] == [1, 2, 3]
    assert task.finished == from_record(END)
    late = fold(started("a"), {**END, "attempts": 1}, exited("a")).tasks["a"]
    assert late.attempts[0].exited == from_record(exited("a"))


def test_a_second_outcome_replaces_the_first():
    task = fold(*FACTS, END, {**END, "outcome": "failed"}).tasks["a"]
    assert (task.outcome, task.finished.outcome, len(task.attempts)) == ("failed", "failed", 2)


def test_a_result_that_cannot_be_packed_is_kept_as_it_is():
    deep = []
    for _ in range(3000):
        deep = [deep]
    task = fold(*FACTS, {**END, "result": deep}).tasks["a"]
    assert task.finished.result is deep
    assert len(task.attempts) == 2


@pytest.mark.parametrize(
    ("planned", "began", "shown"),
    [
        ("abc", "abc", "abc"),
        ("abc", "cab", "abc"),
        ("abc", "b", "b"),
        ("aba", "ab", "ba"),
        ("aa", "ab", "ab"),
        ("ab", "dabc", "abdc"),
        ("", "ba", "ba"),
    ],
)
def test_tasks_are_in_the_order_of_the_file_however_they_began(planned, began, shown):
    plan = {"event": "tasks_planned", **STAMP, "group": "", "tasks": list(planned), "items": {}}
    state = fold(plan, *map(started, began))
    assert [task.name for task in state.in_order()] == list(shown)
