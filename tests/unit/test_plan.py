"""Job to Plan: numbers, orders, joins; circles, of any length."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import job, plan, task

from mprun.plan import expand, find_cycle, plan_tasks, start_order, to_json


@pytest.mark.parametrize(
    ("asked", "said", "cpus", "meant"),
    [(None, None, 2, 32), (None, None, 16, 64), (None, 3, 2, 3), (5, 3, 2, 5)],
)
def test_places_come_from_the_option_the_job_or_the_cores(asked, said, cpus, meant):
    made = plan_tasks(
        job((task("a", 0),)).replace(max_parallel=said), cpus=cpus, default_method="fork", max_parallel=asked
    )
    assert made.max_parallel == meant


@pytest.mark.parametrize(
    ("count", "daemons", "places", "cpus", "at_once", "mode"),
    [
        (1, 0, 32, 1, 1, "parallel"),
        (2, 0, 32, 1, 2, "concurrent"),
        (9, 0, 2, 2, 2, "parallel"),
        (9, 3, 2, 4, 5, "concurrent"),
        (3, 3, 1, 3, 3, "parallel"),
    ],
)
def test_the_mode_says_whether_each_can_have_a_core(count, daemons, places, cpus, at_once, mode):
    names = {f"t{n}": () for n in range(count)}
    made = plan(names, daemons=tuple(names)[:daemons], places=places, cpus=cpus)
    assert (made.at_once, made.mode) == (at_once, mode)


@pytest.mark.parametrize(
    ("option", "of_task", "of_job", "meant"),
    [
        (None, None, None, "fork"),
        (None, None, "spawn", "spawn"),
        (None, "forkserver", "spawn", "forkserver"),
        ("spawn", "forkserver", "fork", "spawn"),
    ],
)
def test_the_start_method_is_the_options_the_tasks_the_jobs_or_the_platforms(option, of_task, of_job, meant):
    made = plan_tasks(
        job((task("a", 0).replace(start_method=of_task),)).replace(start_method=of_job),
        cpus=1,
        default_method="fork",
        start_method=option,
    )
    assert made.tasks[0].start_method == meant


def test_needs_are_positions_both_ways():
    made = plan({"a": ("c",), "b": ("a", "c"), "c": ()})
    assert [planned.needs for planned in made.tasks] == [
        ((2, "succeeded"),),
        ((0, "succeeded"), (2, "succeeded")),
        (),
    ]
    assert [planned.needed_by for planned in made.tasks] == [
        ((1, "succeeded"),),
        (),
        ((0, "succeeded"), (1, "succeeded")),
    ]


def test_the_join_order_is_the_files_or_all_that_are_no_daemons():
    joins = [(entry.task, entry.timeout) for entry in plan({"a": (), "d": (), "b": ()}, daemons=("d",)).join]
    assert joins == [(0, None), (2, None)]
    made = plan({"a": (), "b": ()}, join=[("b", 0.5), ("a", None)])
    assert [(entry.task, entry.timeout) for entry in made.join] == [(1, 0.5), (0, None)]
    assert plan({"a": ()}, join=[]).join == ()


def test_a_dependent_starts_late_and_others_in_file_order():
    made = plan({"a": ("z",), "b": (), "c": ("a",), "z": ()})
    assert start_order(made) == [1, 3, 0, 2]


@given(
    st.integers(1, 12).flatmap(
        lambda count: st.lists(st.sets(st.integers(0, 11)), min_size=count, max_size=count)
    )
)
def test_every_task_is_in_the_order_once_and_after_what_it_needs(needs):
    spec = {f"t{n}": tuple(f"t{m}" for m in sorted(found) if m < n) for n, found in enumerate(needs)}
    made = plan(spec)
    order = start_order(made)
    assert sorted(order) == list(range(len(spec)))
    pairs = [(need, n) for n, planned in enumerate(made.tasks) for need, _ in planned.needs]
    assert all(order.index(need) < order.index(n) for need, n in pairs)


@pytest.mark.parametrize(
    ("needs", "cycle"),
    [
        ({}, []),
        ({"a": ("b",), "b": ("c",), "c": ()}, []),
        ({"a": ("b", "c"), "b": ("c",), "c": ()}, []),
        ({"a": ("a",)}, ["a", "a"]),
        ({"a": ("b",), "b": ("a",)}, ["a", "b", "a"]),
        ({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("a",)}, ["a", "b", "c", "a"]),
        ({"a": ("nobody",)}, []),
        ({"a": ("b", "b"), "b": ()}, []),
    ],
)
def test_a_circle_is_a_path_back_to_its_first(needs, cycle):
    assert find_cycle(needs) == cycle


def test_a_circle_of_a_hundred_thousand_needs_no_recursion():
    needs = {f"t{n}": (f"t{n + 1}",) for n in range(100_000)}
    assert find_cycle(needs) == []
    needs["t99999"] = ("t0",)
    assert len(find_cycle(needs)) == 100_001


def test_a_plan_is_json():
    made = plan({"a": (), "b": ("a",)}, join=[("b", 1.5)])
    value = json.loads(json.dumps(to_json(made)))
    assert (value["job"], value["order"], value["join"]) == (
        "test",
        ["a", "b"],
        [{"task": "b", "timeout": 1.5}],
    )
    assert value["tasks"][1]["depends_on"] == {"a": "succeeded"}


def test_no_pattern_takes_long():
    names = ["a" * 100, "a" * 50 + "b" + "a" * 49]
    begun = time.process_time()
    assert expand("*a" * 40 + "*b", names) == []
    assert expand("*a" * 40 + "*", names) == names
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("t*", "t,te,test,t[a=1]"),
        ("t?", "te"),
        ("*t", "t,test"),
        ("t[a=?]", "t[a=1]"),
        ("*e*t", "test"),
        ("x*", ""),
    ],
)
def test_patterns_match_as_in_a_shell_but_for_brackets(pattern, matched):
    names = ["t", "te", "test", "t[a=1]"]
    assert ",".join(expand(pattern, names)) == matched
