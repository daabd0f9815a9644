"""Estimates of durations: of known tasks, of their siblings, and of new tasks."""

from __future__ import annotations

import pytest

from mprun.scheduling.estimates import Estimates, RunTimings, median


def of(*runs):
    return Estimates([RunTimings(durations=run, until_ready={}) for run in runs])


def test_the_estimate_of_a_task_is_the_median_of_its_runs():
    assert of({"a": 9.0}, {"a": 1.0}, {"a": 2.0}).duration("a") == 2.0


def test_the_estimate_from_two_runs_is_their_mean():
    assert of({"a": 1.0}, {"a": 3.0}).duration("a") == 2.0


def test_a_run_without_the_task_does_not_count():
    assert of({"b": 5.0}, {"a": 1.0, "b": 7.0}).duration("a") == 1.0


def test_a_new_task_takes_as_long_as_its_siblings():
    known = of({"w[n=1]": 10.0, "w[n=2]": 12.0, "w[n=3]": 11.0, "a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0})
    assert known.duration("w[n=4]") == 11.0
    assert not known.knows("w[n=4]")


def test_the_siblings_of_a_task_of_a_recipe_are_those_of_the_same_task():
    known = of({"r[d=1]/get": 1.0, "r[d=1]/put": 9.0, "r[d=2]/get": 3.0})
    assert known.duration("r[d=3]/get") == 2.0


def test_a_new_task_without_siblings_takes_as_long_as_the_median_task():
    assert of({"a": 1.0, "b": 2.0, "c": 30.0}).duration("new") == 2.0


def test_a_list_has_the_instances_of_the_newest_run_that_expanded_it():
    known = of({"a": 1.0}, {"w[0]": 1.0, "w[1]": 1.0}, {"w[0]": 1.0})
    assert known.instances("w") == ["w[0]", "w[1]"]
    assert known.instances("new") == ["new[0]"]


def test_a_task_that_was_never_seen_ready_is_ready_at_once():
    known = Estimates([RunTimings(durations={"a": 1.0}, until_ready={"db": 3.0})])
    assert known.until_ready("db") == 3.0
    assert known.until_ready("a") == 0.0


@pytest.mark.parametrize(("values", "middle"), [((), 0.0), ((3,), 3), ((1, 2), 1.5), ((9, 1, 2), 2)])
def test_median(values, middle):
    assert median(values) == middle
