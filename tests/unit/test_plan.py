"""Plans of jobs: numbers, start order, join order, and what is known before the run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import job, plan, task

from mprun.jobfile.model import Instance
from mprun.jobfile.reference_syntax import compiled, parse
from mprun.jobfile.references import Scope
from mprun.scheduling.instance_plan import plan_instance
from mprun.scheduling.plan import is_crowded, plan_tasks, start_order


@pytest.mark.parametrize(
    ("asked", "declared", "cpus", "meant"),
    [(None, None, 2, 32), (None, None, 16, 64), (None, 3, 2, 3), (5, 3, 2, 5)],
)
def test_slots_come_from_the_option_the_job_or_the_cores(asked, declared, cpus, meant):
    made = plan_tasks(
        job((task("a", 0),)).replace(max_parallel=declared),
        cpus=cpus,
        default_method="fork",
        max_parallel=asked,
    )
    assert made.max_parallel == meant


@pytest.mark.parametrize(
    ("count", "daemons", "slots", "cpus", "max_concurrency", "mode"),
    [
        (1, 0, 32, 1, 1, "sequential"),
        (9, 0, 1, 2, 1, "sequential"),
        (2, 0, 32, 1, 2, "concurrent"),
        (9, 0, 2, 2, 2, "parallel"),
        (9, 3, 2, 4, 5, "concurrent"),
        (3, 3, 1, 3, 3, "parallel"),
    ],
)
def test_the_mode_says_whether_each_can_have_a_core(count, daemons, slots, cpus, max_concurrency, mode):
    names = {f"t{n}": () for n in range(count)}
    made = plan(names, daemons=tuple(names)[:daemons], slots=slots, cpus=cpus)
    assert (made.max_concurrency, made.mode) == (max_concurrency, mode)


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
        ((2, "passed"),),
        ((0, "passed"), (2, "passed")),
        (),
    ]
    assert [planned.needed_by for planned in made.tasks] == [
        ((1, "passed"),),
        (),
        ((0, "passed"), (1, "passed")),
    ]


def test_the_join_order_is_the_files_or_all_tasks_but_daemons():
    joins = [(entry.task, entry.timeout) for entry in plan({"a": (), "d": (), "b": ()}, daemons=("d",)).join]
    assert joins == [(0, None), (2, None)]
    made = plan({"a": (), "b": ()}, join=[("b", 0.5), ("a", None)])
    assert [(entry.task, entry.timeout) for entry in made.join] == [(1, 0.5), (0, None)]
    assert plan({"a": ()}, join=[]).join == ()


def test_a_dependent_starts_after_its_dependencies_and_others_in_file_order():
    made = plan({"a": ("z",), "b": (), "c": ("a",), "z": ()})
    assert start_order(made) == [1, 3, 0, 2]


@given(
    st.integers(1, 12).flatmap(
        lambda count: st.lists(st.sets(st.integers(0, 11)), min_size=count, max_size=count)
    )
)
def test_every_task_is_in_the_start_order_once_after_its_dependencies(needs):
    spec = {f"t{n}": tuple(f"t{m}" for m in sorted(found) if m < n) for n, found in enumerate(needs)}
    made = plan(spec)
    order = start_order(made)
    assert sorted(order) == list(range(len(spec)))
    pairs = [(need, n) for n, planned in enumerate(made.tasks) for need, _ in planned.needs]
    assert all(order.index(need) < order.index(n) for need, n in pairs)


def test_a_plan_of_selected_tasks_has_new_numbers():
    whole = job((task("a", 0), task("b", 1, after=("a",)), task("c", 2, after=("a", "b:finished"))))
    made = plan_tasks(whole, cpus=1, default_method="fork", selection=[1, 2])
    assert [planned.name for planned in made.tasks] == ["b", "c"]
    assert [planned.needs for planned in made.tasks] == [(), ((0, "finished"),)]
    assert [planned.needed_by for planned in made.tasks] == [((1, "finished"),), ()]
    assert [entry.task for entry in made.join] == [0, 1]


def test_a_join_entry_that_was_not_selected_is_left_out():
    whole = job((task("a", 0), task("b", 1)), join=[("b", 1.0), ("a", None)])
    made = plan_tasks(whole, cpus=1, default_method="fork", selection=[0])
    assert [(entry.task, entry.timeout) for entry in made.join] == [(0, None)]


def test_a_join_entry_may_mean_many_and_each_is_joined_once():
    made = plan({"t1": (), "u": (), "t2": ()}, join=[("t*", 2.0), ("u", None), ("t1", None)])
    assert [(entry.task, entry.timeout) for entry in made.join] == [(0, 2.0), (2, 2.0), (1, None)]


def test_a_command_is_forked_whatever_the_start_method_is():
    made = plan_tasks(
        job((task("a", 0, target=None, command=("true",), start_method="spawn"),)),
        cpus=1,
        default_method="fork",
        start_method="spawn",
    )
    assert made.tasks[0].start_method == "fork"


def test_a_list_that_is_not_known_yet_may_fill_every_slot():
    made = plan(
        {"list": (), "each": ("list",)}, slots=7, keys={"each": {"foreach": parse("${tasks.list.result}")}}
    )
    assert made.max_concurrency == 7


SCOPE = Scope(params={"on": True, "off": "no", "secret": "0"}, secrets=frozenset({"secret"}), env={})


@pytest.mark.parametrize(
    ("when", "skipped", "late"),
    [
        (True, False, False),
        (False, True, False),
        ("off", True, False),
        ("${params.on}", False, False),
        ("${params.off}", True, False),
        ("${params.secret}", True, False),
        ("${tasks.a.result}", False, True),
        ("x${tasks.a.result}", False, True),
        ("${matrix.n}", True, False),
    ],
)
def test_a_task_whose_when_is_known_to_be_false_is_skipped_before_the_run(when, skipped, late):
    whole = job((task("a", 0),))
    instance = Instance(
        name="b",
        task=task("b", 1, when=parse(when) if isinstance(when, str) else when, scope=SCOPE, axes=("n",)),
        values=(0,),
    )
    made = plan_tasks(
        whole.replace(tasks=(*whole.tasks, instance), needs=((), ())), cpus=1, default_method="fork"
    )
    assert (made.tasks[1].skipped, made.tasks[1].late) == (skipped, late)


@pytest.mark.parametrize("key", ["args", "kwargs", "env", "command", "cwd", "foreach"])
def test_a_task_that_refers_to_a_result_anywhere_is_late(key):
    node = compiled({"k": "${tasks.a.result}"} if key in ("kwargs", "env") else ["${tasks.a.result}"])
    made = plan({"a": (), "b": ("a",)}, keys={"b": {key: node, "scope": SCOPE}})
    assert [planned.late for planned in made.tasks] == [False, True]


def test_an_instance_created_during_the_run_is_planned_like_its_group():
    made = plan({"list": (), "each": ("list",), "last": ("each",)})
    group = made.tasks[1].replace(start_method="spawn")
    instance = Instance(
        name="each[0]", groups=("each",), task=group.task.replace(axes=("item",)), values=("x",)
    )
    planned = plan_instance(instance, group)
    assert (planned.name, planned.groups, planned.values) == ("each[0]", ("each",), ("x",))
    assert (planned.start_method, planned.late, planned.needs) == ("spawn", True, ())
    assert planned.needed_by == ((2, "passed"),)


def test_a_plan_is_crowded_if_tasks_may_wait_for_slots_or_tokens():
    claims = {"a": {"resources": {"db": 2}}, "b": {"resources": {"db": 1}}}
    assert is_crowded(plan({"a": (), "b": (), "c": ()}, slots=2))
    assert is_crowded(plan({"a": (), "b": ()}, keys=claims, resources={"db": 2}))
    assert is_crowded(plan({"a": ()}, keys={"a": {"foreach": "x"}}))


def test_a_plan_is_not_crowded_if_all_tasks_have_slots_and_tokens():
    claims = {"a": {"resources": {"db": 2}}, "b": {"resources": {"db": 1}}}
    assert not is_crowded(plan({"a": (), "b": (), "d": ()}, slots=2, daemons=("d",)))
    assert not is_crowded(plan({"a": (), "b": (), "d": ()}, slots=1))
    assert not is_crowded(plan({"a": (), "b": (), "c": ()}, slots=2, skipped={"c"}))
    assert not is_crowded(plan({"a": (), "b": ()}, keys=claims, resources={"db": 3}))
    assert not is_crowded(plan({}))
