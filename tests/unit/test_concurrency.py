"""How many tasks can run at the same time, and the word for it (C07)."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from support.plans import plan
from support.random_plans import random_plan
from support.timing import quick

from mprun.jobfile.model import Ready
from mprun.scheduling.concurrency import MAX_KINDS, most_together
from mprun.scheduling.plan import Reused


def most(spec, *, cpus=2, **more):
    made = plan(spec, cpus=cpus, **more)
    return made.max_concurrency, made.mode


def claiming(**numbers):
    """The keys of tasks that claim so many of a token."""
    return {name: {"resources": {"db": number}} for name, number in numbers.items()}


@pytest.mark.parametrize(
    ("spec", "more", "expected"),
    [
        ({"a": ()}, {}, (1, "sequential")),
        ({"a": (), "b": ()}, {}, (2, "parallel")),
        ({"a": (), "b": (), "c": ()}, {}, (3, "concurrent")),
        ({"a": (), "b": (), "c": ()}, {"slots": 1}, (1, "sequential")),
        ({"a": (), "b": (), "c": ()}, {"slots": 2}, (2, "parallel")),
        ({"a": (), "b": ("a",)}, {}, (1, "sequential")),
        ({"b": ("a",), "c": ("b:finished",), "a": ()}, {}, (1, "sequential")),
        ({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}, {}, (2, "parallel")),
        ({"a": (), "b": ("a:failed",), "c": ("b:succeeded",)}, {}, (1, "sequential")),
        ({"a": (), "ok": ("a",), "bad": ("a:failed",)}, {}, (1, "sequential")),
        ({"a": (), "ok": ("a",), "on": ("ok",), "bad": ("a:failed",), "go": ("bad",)}, {}, (1, "sequential")),
        ({"a": (), "ok": ("a",), "bad": ("a:failed",), "both": ("a:finished",)}, {}, (2, "parallel")),
        # If `x` fails, `c` is skipped before `b` has ended, and `d` starts.
        ({"x": (), "b": ("x:finished",), "c": ("x", "b"), "d": ("c:finished",)}, {}, (2, "parallel")),
        ({"a": (), "b": ("a:started",)}, {}, (2, "parallel")),
        ({"a": (), "b": ("a:started",), "c": ("a",)}, {}, (2, "parallel")),
        ({"a": (), "b": ("a:started",), "c": ("b",)}, {}, (2, "parallel")),
        ({"d": (), "a": ("d",), "b": ("a",)}, {"daemons": "d"}, (2, "parallel")),
        ({"d": (), "a": (), "b": ()}, {"daemons": "d", "slots": 1}, (2, "parallel")),
        ({"d": ()}, {"daemons": "d"}, (1, "sequential")),
    ],
)
def test_the_most_that_can_run_together_by_the_graph_and_the_slots(spec, more, expected):
    assert most(spec, **more) == expected


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"a": 1, "b": 1, "c": 1}, 2),
        ({"a": 2, "b": 2, "c": 2}, 1),
        ({"a": 2, "b": 1}, 2),
        ({"a": 2, "b": 2}, 2),
        ({}, 3),
    ],
)
def test_tokens_limit_how_many_run_together(claims, expected):
    spec = {"a": (), "b": (), "c": ()}
    assert most(spec, keys=claiming(**claims), resources={"db": 2})[0] == expected


def test_fewer_of_one_kind_may_leave_tokens_for_more_of_another():
    claims = {"p": {"a": 2}, "q": {"b": 1}, "r": {"a": 1}}
    keys = {
        f"{kind}{n}": {"resources": claims[kind]} for kind in "pqr" for n in range(2 if kind == "r" else 3)
    }
    # One `p`, three `q`, two `r`.
    assert most(dict.fromkeys(keys, ()), keys=keys, resources={"a": 4, "b": 3})[0] == 6


def test_an_allowed_failure_does_not_keep_both_ways_apart():
    spec = {"a": (), "on": ("a",), "bad": ("a:failed",)}
    assert most(spec, keys={"a": {"allow_failure": True}}) == (2, "parallel")


def test_tasks_that_do_not_run_are_not_counted():
    first, *others = plan({"a": (), "b": ("a",), "c": ("a",)}).tasks
    reused = first.replace(reused=Reused(outcome="succeeded", attempts=1))
    assert most_together([reused, *others], 8, {}) == 2
    assert most_together([first, others[0].replace(skipped=True), others[1]], 8, {}) == 1
    # A task that is skipped does not wait: what comes after it may run beside what comes before it.
    a, b, c = plan({"a": (), "b": ("a",), "c": ("b",)}).tasks
    assert most_together([a, b, c], 8, {}) == 1
    assert most_together([a, b.replace(skipped=True), c], 8, {}) == 2


def test_a_list_that_a_task_returns_may_have_many_items():
    keys = {"each": {"foreach": "x"}}
    assert most({"list": (), "each": ("list",)}, keys=keys, slots=7) == (7, "concurrent")
    assert most({"list": (), "each": ("list",)}, keys=keys, slots=1) == (1, "sequential")
    keys["each"]["resources"] = {"db": 1}
    assert most({"list": (), "each": ("list",)}, keys=keys, slots=7, resources={"db": 2}) == (2, "parallel")


def test_a_service_that_is_ready_runs_beside_what_waits_for_it():
    spec = {"svc": (), "a": ("svc:ready",), "b": ("a",)}
    ready = {"svc": {"ready": Ready(kind="tcp", what="80")}}
    assert most(spec, daemons=("svc",), keys=ready) == (2, "parallel")


# ---- compared with all sets of tasks


def brute_force(made, tokens):
    """The size of the largest set of tasks that may be running at the same time."""
    before = {number: ended_before(made.tasks, number) for number in range(len(made.tasks))}
    running = [number for number, planned in enumerate(made.tasks) if not planned.skipped]
    sizes = [
        size
        for size in range(2, len(running) + 1)
        if any(fits(made, tokens, chosen, before) for chosen in combinations(running, size))
    ]
    return max(sizes, default=1)


def fits(made, tokens, chosen, before):
    tasks = [made.tasks[number] for number in chosen]
    if sum(not planned.task.daemon for planned in tasks) > made.max_parallel:
        return False
    for name, total in tokens.items():
        if sum(planned.task.resources.get(name, 0) for planned in tasks) > total:
            return False
    return not any(one in before[other] for one in chosen for other in chosen)


def ended_before(tasks, number):
    """The tasks that have certainly ended when this one starts."""
    found = set()
    for need, condition in tasks[number].needs:
        if tasks[need].skipped:
            continue
        if condition == "finished":
            found |= ended_with(tasks, need)
        else:
            # It has run.
            found |= ended_before(tasks, need)
            found |= set() if condition in ("started", "ready") else {need}
    return found


def ended_with(tasks, number):
    """The tasks that have certainly ended when this one has its outcome."""
    # It has run, or was skipped because of the end of one of its dependencies.
    ways = [ended_with(tasks, need) for need, _ in tasks[number].needs if not tasks[need].skipped]
    return {number} | set.intersection(ended_before(tasks, number), *ways)


CONDITIONS = ["", "", "", ":succeeded", ":finished", ":started"]
TOKENS = {"db": 2, "gpu": 1}


def small_plan(random):
    names = [f"t{number}" for number in range(random.randint(2, 8))]
    daemons = {name for name in names if random.random() < 0.2}
    spec = {}
    for number, name in enumerate(names):
        needs = random.sample(names[:number], min(number, random.choice([0, 1, 1, 2])))
        spec[name] = tuple(need + ("" if need in daemons else random.choice(CONDITIONS)) for need in needs)
    keys = {
        name: {"resources": random.choice([{"db": 1}, {"db": 2}, {"gpu": 1}, {"db": 1, "gpu": 1}])}
        for name in names
        if random.random() < 0.4
    }
    skipped = {name for name in names if random.random() < 0.1}
    slots = random.randint(1, 4)
    return plan(spec, daemons=daemons, slots=slots, keys=keys, resources=TOKENS, skipped=skipped)


def test_random_plans_agree_with_a_search_of_all_sets():
    random = Random(7)
    seen = set()
    for _ in range(400):
        made = small_plan(random)
        expected = brute_force(made, TOKENS)
        assert most_together(made.tasks, made.max_parallel, TOKENS) == expected, made.tasks
        seen.add(expected)
    assert len(seen) > 4


def test_random_runs_have_plans_of_all_sizes():
    """`test_scheduler_random` checks that no more tasks run together than the plan says."""
    sizes = {len(random_plan(Random(seed)).tasks) for seed in range(300)}
    assert max(sizes) > MAX_KINDS


# ---- large plans


def most_quickly(made, seconds=2):
    with quick(seconds):
        return most_together(made.tasks, made.max_parallel, made.job.resources)


def test_a_chain_of_any_length_is_sequential():
    made = plan({f"t{n}": (f"t{n - 1}",) if n else () for n in range(20_000)})
    assert (most_quickly(made), made.mode) == (1, "sequential")


def test_many_chains_side_by_side_are_counted():
    spec = {f"t{n}": (f"t{n - 5}",) if n >= 5 else () for n in range(5000)}
    assert most_quickly(plan(spec)) == 5
    assert most_quickly(plan(spec, slots=3)) == 3


def test_many_instances_between_two_tasks_are_one_kind():
    spec = {"first": (), **{f"t{n}": ("first",) for n in range(5000)}, "last": ("t*",)}
    assert most_quickly(plan(spec, slots=64)) == 64


def test_a_token_for_one_makes_a_large_plan_sequential():
    keys = {f"t{n}": {"resources": {"db": 1}} for n in range(MAX_KINDS + 9)}
    spec = {name: (f"t{n - 7}:started",) if n >= 7 else () for n, name in enumerate(keys)}
    assert most(spec, keys=keys, resources={"db": 1}) == (1, "sequential")


def test_a_search_that_takes_too_many_steps_ends():
    random = Random(3)
    names = [f"t{number}" for number in range(MAX_KINDS)]
    spec = {
        name: tuple(random.sample(names[:number], min(number, random.choice([0, 1, 2, 3]))))
        for number, name in enumerate(names)
    }
    keys = {name: {"resources": {random.choice("ab"): random.randint(1, 3)}} for name in names}
    assert 1 < most_quickly(plan(spec, keys=keys, resources={"a": 40, "b": 30}), 10) <= 70
