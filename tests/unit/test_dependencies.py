"""Dependencies between tasks: names, groups, patterns, and cycles of any length."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import task
from support.timing import cpu_seconds, growth

from mprun.jobfile.dependencies import MAX_DEPENDENCIES, DependencyError, find_cycle, link
from mprun.jobfile.model import Instance
from mprun.jobfile.names import NameIndex


def instances(spec):
    """Instances by name: their dependencies, or a pair of dependencies and groups."""
    made = []
    for number, (name, after) in enumerate(spec.items()):
        groups, after = after if isinstance(after, tuple) else ((), after)
        made.append(Instance(name=name, groups=tuple(groups), task=task(name, number, after=tuple(after))))
    return made


def linked(spec):
    made = instances(spec)
    return link(made, NameIndex(made))


def dependency_error(spec):
    with pytest.raises(DependencyError) as caught:
        linked(spec)
    return caught.value


# -- dependencies


def test_needs_are_numbers_and_conditions_each_once():
    assert linked({"a": [], "b": ["a", "a:finished", "a*"], "c": ["b:ready"]}) == (
        (),
        ((0, "passed"), (0, "finished")),
        ((1, "ready"),),
    )


def test_a_pattern_that_matches_the_task_itself_leaves_it_out():
    assert linked({"a": [], "b": [], "last": ["*"]})[2] == ((0, "passed"), (1, "passed"))
    assert linked({"alone": ["*"]}) == ((),)


@pytest.mark.parametrize(
    ("spec", "place", "need", "message"),
    [
        ({"a": ["a"]}, 0, "a", "task `a` depends on itself"),
        ({"b": [], "a": ["b", "a:finished"]}, 1, "a", "task `a` depends on itself"),
        ({"t[n=1]": (["t"], ["t"])}, 0, "t", "task `t` depends on itself"),
        ({"x": [], "t[n=1]": (["t"], ["*", "t[n=1]"])}, 1, "t[n=1]", "task `t[n=1]` depends on itself"),
    ],
)
def test_a_task_that_names_itself_is_refused(spec, place, need, message):
    found = dependency_error(spec)
    assert (found.task, found.need, str(found), found.known) == (place, need, message, True)


def test_an_unknown_name_is_reported_as_written():
    found = dependency_error({"a": [], "b": ["a", "missing:ready"]})
    assert (found.task, found.need, found.known) == (1, "missing", False)
    assert dependency_error({"a": ["x*"]}).known is False


@pytest.mark.parametrize(
    ("spec", "place", "need", "circle"),
    [
        ({"a": ["b"], "b": ["a"]}, 0, "b", "`a` -> `b` -> `a`"),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, 1, "b", "`a` -> `b` -> `c` -> `a`"),
        ({"a": ["b*"], "b1": [], "b2": ["a"]}, 0, "b*", "`a` -> `b2` -> `a`"),
        (
            {"t[n=1]": (["t"], []), "t[n=2]": (["t"], ["u"]), "u": ["t"]},
            1,
            "u",
            "`t[n=2]` -> `u` -> `t[n=2]`",
        ),
        (
            {f"t{n}": [f"t{(n + 1) % 9}"] for n in range(9)},
            0,
            "t1",
            "`t0` -> `t1` -> `t2` -> `t3` -> … -> `t7` -> `t8` -> `t0`",
        ),
    ],
)
def test_a_dependency_cycle_is_refused_with_its_path(spec, place, need, circle):
    found = dependency_error(spec)
    assert (found.task, found.need) == (place, need)
    assert str(found) == f"dependency cycle: {circle}"


def test_instances_of_one_task_share_their_dependencies():
    shared = task("t", 1, after=("first",))
    made = [Instance(name="first", task=task("first", 0))]
    made += [Instance(name=f"t[{n}]", groups=("t",), task=shared) for n in range(1000)]
    needs = link(made, NameIndex(made))
    assert all(found is needs[1] for found in needs[1:])


def test_more_dependencies_than_a_machine_can_hold_are_refused():
    side = int(MAX_DEPENDENCIES**0.5) + 1
    late = task("late", 1, after=("early",))
    early = task("early", 0)
    made = [Instance(name=f"early[{n}]", groups=("early",), task=early) for n in range(side)]
    made += [Instance(name=f"late[{n}]", groups=("late",), task=late) for n in range(side)]
    with pytest.raises(DependencyError, match="too many dependencies") as caught:
        link(made, NameIndex(made))
    assert caught.value.need == "early"


# -- cycles


@pytest.mark.parametrize(
    ("needs", "cycle"),
    [
        ({}, []),
        ({"a": ("b",), "b": ("c",), "c": ()}, []),
        ({"a": ("b", "c"), "b": ("c",), "c": ()}, []),
        ({"a": ("a",)}, ["a", "a"]),
        ({"a": ("b",), "b": ("a",)}, ["a", "b", "a"]),
        ({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("a",)}, ["a", "b", "c", "a"]),
        ({"a": ("missing",)}, []),
        ({"a": ("b", "b"), "b": ()}, []),
    ],
)
def test_a_cycle_is_a_path_back_to_its_first_task(needs, cycle):
    assert find_cycle(needs) == cycle


@given(st.lists(st.lists(st.integers(0, 7), max_size=4), max_size=8))
def test_a_cycle_is_found_if_there_is_one(needs):
    graph = dict(enumerate(needs))
    reached = {number: set(after) & graph.keys() for number, after in graph.items()}
    for _ in graph:
        reached = {
            number: after.union(*(reached[other] for other in after)) for number, after in reached.items()
        }
    cycle = find_cycle(graph)
    assert bool(cycle) == any(number in after for number, after in reached.items())
    assert all(after in graph[before] for before, after in pairwise(cycle))
    assert cycle[:1] == cycle[-1:]


def chain(length):
    return instances({f"t{n}": [f"t{n + 1}"] if n < length - 1 else [] for n in range(length)})


def took(length):
    made = chain(length)
    return cpu_seconds(lambda: link(made, NameIndex(made)))


def test_a_long_chain_needs_no_recursion_and_linear_time():
    # Ten times as long if the time is linear, a hundred times if it is quadratic.
    assert growth(lambda: took(2_000), lambda: took(20_000)) < 30


def test_a_cycle_of_a_hundred_thousand_tasks_is_found():
    needs = {f"t{n}": (f"t{n + 1}",) for n in range(100_000)}
    assert find_cycle(needs) == []
    needs["t99999"] = ("t0",)
    assert len(find_cycle(needs)) == 100_001
