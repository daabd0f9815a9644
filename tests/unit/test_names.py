"""A name is resolved to a task, to a group, or to all tasks that a pattern matches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans import task
from support.timing import quick

from mprun.jobfile.model import Instance
from mprun.jobfile.names import NameIndex, compile_glob


def instances(groups_by_name):
    return [
        Instance(name=name, groups=tuple(groups), task=task(name, number))
        for number, (name, groups) in enumerate(groups_by_name.items())
    ]


MATRIX = {
    "list": [],
    "t[n=1]": ["t"],
    "t[n=2]": ["t"],
    "etl/a": ["etl"],
    "etl/b[x]": ["etl", "etl/b"],
}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("list", [0]),
        ("t", [1, 2]),
        ("t[n=2]", [2]),
        ("etl", [3, 4]),
        ("etl/b", [4]),
        ("etl/*", [3, 4]),
        ("t*", [1, 2]),
        ("t[n=?]", [1, 2]),
        ("*", [0, 1, 2, 3, 4]),
        ("?", [1, 2]),
        ("missing", []),
        ("no*body", []),
        ("", []),
        ("[t]", []),
    ],
)
def test_a_name_means_a_task_a_group_or_what_its_pattern_matches(name, meant):
    assert list(NameIndex(instances(MATRIX)).resolve(name)) == meant


def test_a_tasks_own_name_goes_before_a_groups_and_a_patterns():
    names = NameIndex(instances({"t": [], "u": ["t"], "a*": [], "ab": []}))
    assert list(names.resolve("t")) == [0]
    assert list(names.resolve("a*")) == [2]


def test_all_names_are_those_of_tasks_and_of_groups():
    assert set(NameIndex(instances(MATRIX)).all()) == {*MATRIX, "t", "etl", "etl/b"}


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("t*", "t,te,test,t[a=1]"),
        ("t?", "te"),
        ("*t", "t,test"),
        ("t[a=?]", "t[a=1]"),
        ("*e*t", "test"),
        ("x*", ""),
        ("t.*", ""),
        ("*", "t,te,test,t[a=1],\\d,a\nb"),
        ("\\?", "\\d"),
        ("a?b", "a\nb"),
    ],
)
def test_patterns_match_as_in_a_shell_but_for_brackets(pattern, matched):
    names = ["t", "te", "test", "t[a=1]", "\\d", "a\nb"]
    assert ",".join(filter(compile_glob(pattern), names)) == matched


def plainly(pattern, name):
    if not pattern:
        return not name
    if pattern[0] == "*":
        return plainly(pattern[1:], name) or (bool(name) and plainly(pattern, name[1:]))
    return bool(name) and pattern[0] in ("?", name[0]) and plainly(pattern[1:], name[1:])


@given(st.text("ab*?[", max_size=6), st.text("ab[", max_size=7))
def test_patterns_match_as_two_lines_of_recursion_do(pattern, name):
    assert bool(compile_glob(pattern)(name)) == plainly(pattern, name)


def test_no_pattern_takes_long():
    names = ["a" * 100, "a" * 50 + "b" + "a" * 49]
    with quick(1):
        assert list(filter(compile_glob("*a" * 40 + "*b"), names)) == []
        assert list(filter(compile_glob("*a" * 40 + "*"), names)) == names
