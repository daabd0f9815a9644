"""What the record has of planned tasks: dependencies, tokens and variables, in short and back again."""

from __future__ import annotations

import json

import pytest
from support.plans import plan

from mprun.record import events
from mprun.record.event_reader import from_record
from mprun.record.line_format import encode_line
from mprun.record.packed_details import pack_needs, pack_values
from mprun.record.task_details import TaskDetails

STAMP = {"time": "2026-01-01T00:00:00.000000Z", "run": "r"}


def planned(tasks, group="", first=0, **more):
    """The event about these tasks, as it is read back."""
    event = events.TasksPlanned(
        **STAMP,
        group=group,
        tasks=tuple(task.name for task in tasks),
        items={},
        needs=pack_needs(tasks),
        resources=pack_values(first, [task.task.resources for task in tasks]),
        env=pack_values(first, [tuple(task.task.env) for task in tasks]),
    ).replace(**more)
    return from_record(json.loads(encode_line(event)))


def read(*found):
    details = TaskDetails()
    for event in found:
        details.add(event)
    return details


def needs(details, name):
    """What a task depended on, by name, with conditions."""
    return {
        (details.names[need], condition)
        for numbers, condition in details.needs(details.numbers[name])
        for need in numbers
    }


def test_dependencies_are_read_as_they_were_planned():
    spec = {"a": (), "b": ("a",), "c": ("a", "b"), "d": {"a": "finished", "b": "passed", "c": "finished"}}
    tasks = plan(spec).tasks
    details = read(planned(tasks))
    for task in tasks:
        found = {(tasks[need].name, condition) for need, condition in task.needs}
        assert needs(details, task.name) == found, task.name


def test_a_dependency_on_neighbours_is_one_entry():
    names = [f"t{number}" for number in range(1000)]
    tasks = plan({**dict.fromkeys(names, ()), "last": tuple(names)}).tasks
    event = planned(tasks)
    assert event.needs[-1] == [[0, 999, "passed"]]
    assert len(needs(read(event), "last")) == 1000


def test_tasks_without_any_of_it_take_a_few_bytes():
    event = planned(plan({"a": (), "b": ()}).tasks)
    assert (event.needs, event.resources, event.env) == ([], [], [])


def test_tokens_and_variables_are_those_of_each_task():
    keys = {"b": {"resources": {"db": 1}, "env": {"X": "1"}}, "c": {"resources": {"db": 1}}}
    event = planned(plan({"a": (), "b": (), "c": ()}, resources={"db": 2}, keys=keys).tasks)
    assert event.resources == [[1, 2, {"db": 1}]]
    details = read(event)
    assert [details.tokens(number) for number in range(3)] == [{}, {"db": 1}, {"db": 1}]
    assert [details.variables(number) for number in range(3)] == [[], ["X"], []]


def test_instances_take_the_place_of_their_task_and_need_what_it_needs():
    tasks = plan({"give": (), "take": ("give",), "last": ("take",)}).tasks
    instances = [tasks[0].replace(name="take[0]"), tasks[0].replace(name="take[1]")]
    details = read(planned(tasks), planned(instances, "take", 3))
    assert needs(details, "take[1]") == {("give", "passed")}
    assert needs(details, "last") == {("take[0]", "passed"), ("take[1]", "passed")}


def test_who_waits_for_a_list_alone_does_not_depend_on_its_instances():
    tasks = plan({"give": (), "take": ("give",), "next": ()}).tasks
    event = planned(tasks, needs=((), (0,), ((1, 1, "expanded"),)))
    details = read(event, planned([tasks[0].replace(name="take[0]")], "take", 3))
    assert needs(details, "next") == {("take", "expanded")}


@pytest.mark.parametrize(
    "junk",
    [
        *([5], [None], ["x"], [True], [[]], [[9]], [[-1]], [[True]], [[[0, 5, "passed"]]]),
        *([[[1, 0, "passed"]]], [[[0, 0, 3]]], [[[0, 0]]], [{}], [[0], [0], [0], [0]]),
    ],
)
def test_what_is_corrupt_is_left_out(junk):
    tasks = plan({"a": (), "b": ()}).tasks
    details = read(
        planned(tasks, needs=tuple(junk), resources=tuple(junk), env=tuple(junk)),
        planned([tasks[0]], "no such task", 2),
        planned([tasks[0]], "a", 2),
    )
    for number in range(4):
        assert all(need < 4 for numbers, _ in details.needs(number) for need in numbers)
        assert details.tokens(number) == {}
        assert details.variables(number) == []
