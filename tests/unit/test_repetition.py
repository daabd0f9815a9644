"""Copies of tasks: their names, dependencies and order, before a run and during it."""

from random import Random

import pytest
from support.plans import job, plan, task
from support.records import FINISHED, STARTED
from support.scheduling import Run

from mprun.engine.repeat import repeated
from mprun.errors import UsageError
from mprun.record.copies import copy_number, interval, without_copy
from mprun.record.event_reader import from_record
from mprun.record.run_state import RunState
from mprun.reporters.view_state import ViewState
from mprun.scheduling.more_copies import MoreCopies
from mprun.scheduling.plan import plan_tasks
from mprun.scheduling.repetition import BATCH, blocks
from mprun.scheduling.stop_limit import stop_limit_by_name


def job_of(spec, daemons=()):
    return job(
        tuple(
            task(name, number, after=after, daemon=name in daemons)
            for number, (name, after) in enumerate(spec.items())
        )
    )


def copies(spec, count, seed=1, daemons=(), selection=None):
    return repeated(job_of(spec, daemons), selection, count, None, seed)[0]


def names(found):
    return [instance.name for instance in found.tasks]


def needs(found):
    return {
        instance.name: {found.tasks[need].name for need, _ in found.needs[number]}
        for number, instance in enumerate(found.tasks)
    }


def test_each_task_has_so_many_copies_with_numbers():
    found = names(copies({"a": (), "b": ()}, 6))
    assert sorted(found) == sorted(f"{name}@{copy}" for name in "ab" for copy in range(1, 7))


def test_a_copy_depends_on_the_same_copy():
    found = needs(copies({"dep": (), "a": ("dep",), "b": ("a", "dep")}, 3))
    for copy in (1, 2, 3):
        assert found[f"a@{copy}"] == {f"dep@{copy}"}
        assert found[f"b@{copy}"] == {f"dep@{copy}", f"a@{copy}"}


def test_a_service_and_what_it_depends_on_run_once():
    spec = {"migrate": (), "db": ("migrate",), "a": ("db",), "b": ("migrate",)}
    found = copies(spec, 2, daemons=("db",))
    assert names(found)[:2] == ["migrate", "db"]
    assert needs(found)["a@2"] == {"db"}
    assert needs(found)["b@1"] == {"migrate"}
    assert len(found.tasks) == 6


def test_services_alone_cannot_be_repeated():
    with pytest.raises(UsageError, match="nothing to repeat"):
        copies({"db": ()}, 2, daemons=("db",))


def test_a_task_with_the_name_of_a_copy_is_refused():
    with pytest.raises(UsageError, match="cannot repeat `a`: its copies have names such as `a@1`"):
        copies({"a": (), "a@12": ()}, 2)
    assert "a@x@1" in names(copies({"a": (), "a@x": ()}, 1))


def test_the_same_seed_gives_the_same_order_also_of_fewer_tasks():
    spec = dict.fromkeys("abcdef", ())
    order = names(copies(spec, 40, seed=7))
    assert order == names(copies(spec, 40, seed=7))
    assert order != names(copies(spec, 40, seed=8))
    assert names(copies(spec, 9, seed=7)) == [name for name in order if copy_number(name) <= 9]
    two = names(copies(spec, 40, seed=7, selection=[1, 4]))
    assert two == [name for name in order if name[0] in "be"]


def test_the_order_of_a_seed_does_not_change():
    """It is recorded, and repeated by a later version of mprun and of Python."""
    order = "b@1 b@2 b@3 b@4 a@3 a@4 a@1 a@2"
    assert names(copies({"a": (), "b": ()}, 4, seed=5)) == order.split()


def test_each_copy_has_another_one_beside_it():
    """Also in a job in which all tasks depend on one."""
    for spec in (dict.fromkeys("abc", ()), {"setup": (), **dict.fromkeys("abc", ("setup",))}):
        order = names(copies(spec, 40, seed=3))
        for place, name in enumerate(order):
            beside = order[max(0, place - 1) : place] + order[place + 1 : place + 2]
            assert without_copy(name) in map(without_copy, beside), name


def test_each_task_has_its_turn_in_each_batch():
    found = blocks([("a",), ("b",), ("c",)], lambda key: Random(key).random)
    for first in (1, 1 + BATCH):
        batch = {}
        while sum(map(len, batch.values())) < 3 * BATCH:
            block = next(found)
            batch.setdefault(block.component, []).extend(block.copies)
        assert {number: sorted(ones) for number, ones in batch.items()} == {
            number: list(range(first, first + BATCH)) for number in range(3)
        }


# ---- during the run


def open_plan(spec, daemons=(), seed=1):
    made, repetition = repeated(job_of(spec, daemons), None, None, 10.0, seed)
    found = plan_tasks(made, cpus=2, default_method="fork", max_parallel=100)
    found = found.replace(repetition=repetition)
    return found, MoreCopies(found, repetition, lambda key: Random(f"{seed}/{key}").random)


def test_copies_that_are_added_continue_the_order_of_the_seed():
    spec = {"a": (), "b": ("a",), "c": ()}
    found, more = open_plan(spec, seed=4)
    order = [planned.name for planned in found.tasks]
    while len(order) < 60:
        order += [planned.name for planned in more.next_block(len(order), {})]
    assert order == names(copies(spec, 40, seed=4))[: len(order)]


def test_added_copies_depend_on_each_other_and_on_services():
    found, more = open_plan({"db": (), "a": ("db",), "b": ("a",)}, daemons=("db",))
    first = len(found.tasks)
    tasks = [*found.tasks, *more.next_block(first, {})]
    for number, planned in enumerate(tasks[first:], first):
        task_name, copy = without_copy(planned.name), planned.copy
        wanted = {"a": "db", "b": f"a@{copy}"}[task_name]
        assert [tasks[need].name for need, _ in planned.needs] == [wanted]
        dependents = [tasks[after].name for after, _ in planned.needed_by]
        assert dependents == ([f"b@{copy}"] if task_name == "a" else [])
        assert number == tasks.index(planned)


def test_an_added_task_waits_for_what_it_needs_and_the_run_for_it():
    spec = plan({"db": (), "a": ("db",)}, daemons=("db",))
    run = Run(spec)
    run.scheduler.expects_tasks = True
    run.started("db").started("a").exited("a")
    assert not run.scheduler.finished
    # The service has been started already.
    copy = spec.tasks[1].replace(name="a@2", copy=2, needed_by=((3, "passed"),))
    after = copy.replace(name="b@2", needs=((2, "passed"),), needed_by=())
    starts = run.scheduler.add_tasks([copy, after], 5.0)
    assert [one.task for one in starts] == [2]
    run.names += ["a@2", "b@2"]
    run.started("a@2").exited("a@2")
    assert run.last[-1] == "start b@2"
    run.started("b@2").exited("b@2")
    assert run.log[-1] == "join b@2 3/3"
    run.apply(run.scheduler.expect_no_tasks(6.0))
    assert run.last == ["SIGTERM db run_finished"]


# ---- rates


@pytest.mark.parametrize(("failures", "runs"), [(1, 200), (9, 200), (5, 10), (1, 2), (199, 200)])
def test_bounds_are_the_rates_for_which_what_was_seen_is_1_96_deviations_off(failures, runs):
    for bound in interval(failures, runs):
        deviation = (bound * (1 - bound) / runs) ** 0.5
        assert abs(failures / runs - bound) == pytest.approx(1.959964 * deviation)


def test_bounds_of_no_failure_and_of_failures_alone():
    assert interval(0, 200) == (0.0, pytest.approx(0.0188, abs=5e-5))
    assert interval(200, 200) == (pytest.approx(0.9812, abs=5e-5), 1.0)
    assert interval(0, 0) == (0.0, 1.0)


def test_names_of_copies_are_told_from_others():
    pairs = {"a@3": ("a", 3), "a": ("a", 0), "a@x": ("a@x", 0), "@3": ("@3", 0), "a[@1]@2": ("a[@1]", 2)}
    pairs |= {"a@²": ("a@²", 0), "a@" + "9" * 5000: ("a", 999_999_999)}
    for name, expected in pairs.items():
        assert (without_copy(name), copy_number(name)) == expected


def test_the_live_view_counts_copies_by_task():
    state = RunState()
    state.apply(from_record({**STARTED, "options": {"seed": 1, "repeat": 150}}))
    names = [f"{task}@{copy}" for task in ("a", "b[n=1]") for copy in range(1, 151)]
    planned = {"event": "tasks_planned", "time": STARTED["time"], "run": STARTED["run"], "group": ""}
    state.apply(from_record({**planned, "tasks": names, "items": {}}))
    view = ViewState(state, lambda _: 0.0)
    finished = from_record({**FINISHED, "task": "a@7"})
    state.apply(finished)
    view.apply(finished)
    assert view.groups == {"a": [1, 0, 150], "b": [0, 0, 150]}


def test_a_copy_that_was_added_is_stopped_like_the_first_one():
    found, _ = open_plan({"a": ()})
    assert stop_limit_by_name(found, ["a@99", "a[3]@99"]).seconds == found.tasks[0].task.stop.grace
    assert stop_limit_by_name(found, ["b@99"]).seconds == 0


def test_instances_of_a_matrix_and_tasks_of_a_recipe_stay_in_file_order():
    """The result of a group is the list of its results in this order."""
    spec = {"s": (), **dict.fromkeys(("m[a=1]", "m[a=2]", "m[a=3]", "r/x", "r/y", "c", "d"), ("s",))}
    orders = set()
    for seed in range(20):
        found = [without_copy(name) for name in names(copies(spec, 4, seed=seed)) if copy_number(name) == 1]
        for group in ("m[", "r/"):
            members = [name for name in found if name.startswith(group)]
            assert members == sorted(members)
        orders.add(tuple(found))
    assert len(orders) > 10
