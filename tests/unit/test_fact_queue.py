"""The facts of a run until events are made of them: in their order, and so many in one turn."""

from __future__ import annotations

import pytest
from support.plans import plan

from mprun.engine import fact_queue
from mprun.engine.fact_queue import OWN_DECISIONS, FactQueue, Planned, planned_facts, says_more_than_started
from mprun.scheduling.instructions import Expand, Join, Start

TASKS = plan(dict.fromkeys("abcdefg", ())).tasks


@pytest.fixture(autouse=True)
def _three_in_a_turn(monkeypatch):
    monkeypatch.setattr(fact_queue, "MAX_FACTS_PER_TURN", 3)


def joins(*numbers):
    return [Join(task=number, position=1, of=9) for number in numbers]


def start(number):
    return Start(task=number, attempt=1, after=())


def test_the_facts_of_a_turn_are_taken_with_its_time():
    queue = FactQueue()
    assert not queue
    queue.add(joins(1))
    queue.add((OWN_DECISIONS,))
    assert queue
    assert queue.take() == []
    queue.end_turn(5.0)
    assert queue.take() == [(5.0, [*joins(1), OWN_DECISIONS])]
    assert not queue


def test_a_turn_in_which_nothing_happened_has_no_facts():
    queue = FactQueue()
    queue.end_turn(5.0)
    assert not queue
    assert queue.take() == []


def test_the_rest_of_a_turn_comes_before_the_next_one_and_has_no_time_of_its_own():
    queue = FactQueue()
    queue.add(joins(1, 2, 3, 4, 5))
    queue.end_turn(5.0)
    queue.add(joins(6, 7))
    queue.end_turn(6.0)
    assert queue.size == 7
    assert queue.take() == [(5.0, joins(1, 2, 3))]
    assert queue.size == 4
    assert queue.take() == [(None, joins(4, 5)), (6.0, joins(6))]
    assert queue.take() == [(None, joins(7))]
    assert queue.size == 0


def test_what_has_no_event_takes_no_room_and_what_has_many_tasks_takes_much():
    queue = FactQueue()
    queue.add([start(1), start(2), start(3), start(4), *joins(1)])
    queue.add([Expand(task=0, first=7, count=2), *joins(2)])
    queue.end_turn(5.0)
    ((_, facts),) = queue.take()
    assert facts == [start(1), start(2), start(3), start(4), *joins(1), Expand(task=0, first=7, count=2)]
    assert queue.size == 1


def test_the_plan_is_in_facts_of_which_each_fills_a_turn():
    assert planned_facts(TASKS) == [
        Planned(first=first, tasks=TASKS[first:end]) for first, end in ((0, 3), (3, 6), (6, 7))
    ]


def test_the_start_of_the_only_task_says_all_of_a_plain_one():
    assert not says_more_than_started(plan({"a": ()}).tasks)
    assert says_more_than_started(plan({"a": (), "b": ()}).tasks)
    assert says_more_than_started(
        plan({"a": ()}, keys={"a": {"resources": {"db": 1}}}, resources={"db": 1}).tasks
    )
    assert says_more_than_started(plan({"a": ()}, keys={"a": {"env": {"A": "1"}}}).tasks)
