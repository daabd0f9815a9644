"""The tasks of a run together: what the outcome of one means for those that depend on it."""

from __future__ import annotations

import pytest
from support.plans import plan

from mprun.outcomes import Outcome
from mprun.scheduling.task_run import TaskRun
from mprun.scheduling.task_runs import TaskRuns


def task_runs(spec, **more):
    """The tasks of such a plan, and the instructions that they give."""
    instructions = []
    return TaskRuns(plan(spec, **more), instructions, TaskRun), instructions


def start(one, now=1.0, lacked=""):
    one.dispatch(lacked)
    one.start(now)


def finish(runs, number, outcome=Outcome.SUCCEEDED, reason=""):
    runs.finish(runs.all[number], outcome, reason)
    runs.announce_outcome(runs.all[number])


def released(runs):
    return [one.planned.name for one in runs.released]


def test_a_task_is_released_once_its_last_condition_is_met():
    runs, instructions = task_runs({"a": (), "b": (), "c": ("a", "b")})
    assert released(runs) == ["a", "b"]
    runs.released.clear()
    finish(runs, 0)
    assert released(runs) == []
    finish(runs, 1)
    assert released(runs) == ["c"]
    assert [(one.task, one.outcome) for one in instructions] == [(0, "succeeded"), (1, "succeeded")]


def test_a_failure_skips_all_that_can_never_start_with_the_reason_of_each():
    runs, instructions = task_runs({"a": (), "b": ("a",), "c": ("b",), "d": ("a:finished",)})
    runs.released.clear()
    finish(runs, 0, Outcome.FAILED, "exit 1")
    assert [str(one) for one in runs.outcomes if one] == ["failed", "skipped", "skipped"]
    assert released(runs) == ["d"]
    assert [one.reason.partition(" ")[0] for one in instructions] == [
        "exit",
        "`a`",
        "`b`",
    ]


def test_what_was_announced_before_the_end_counts_once():
    runs, _ = task_runs({"a": (), "b": ("a:started",)})
    runs.released.clear()
    start(runs.all[0])
    runs.announce(runs.all[0], "started")
    assert released(runs) == ["b"]
    finish(runs, 0, Outcome.FAILED, "exit 1")
    assert released(runs) == ["b"]
    assert runs.outcomes[1] is None


@pytest.mark.parametrize("how", ["the run ends", "stopped"])
def test_a_task_that_will_not_start_learns_nothing(how):
    runs, _ = task_runs({"a": (), "b": ("a",)})
    runs.released.clear()
    runs.is_ending = how == "the run ends"
    if how == "stopped":
        runs.all[1].refuse_attempts()
    finish(runs, 0)
    assert released(runs) == []
    assert runs.is_cancelled(runs.all[1])


def test_daemons_are_not_waited_for():
    runs, _ = task_runs({"a": (), "d": ()}, daemons=("d",))
    assert runs.unfinished == 1
    finish(runs, 1, Outcome.STOPPED)
    assert runs.unfinished == 1
    finish(runs, 0)
    assert runs.unfinished == 0


def test_a_task_that_may_have_run_on_a_lost_host_has_not_just_been_skipped():
    runs, _ = task_runs({"a": ()})
    start(runs.all[0])
    runs.all[0].lose_attempt(replaced=True)
    finish(runs, 0, Outcome.CANCELLED, "stopped")
    assert runs.outcomes == ["unknown"]


def test_the_executor_has_started_all_but_these():
    runs, _ = task_runs({"a": (), "b": (), "c": ("a",)})
    start(runs.all[0])
    runs.all[1].dispatch("")
    runs.all[2].hold()
    assert runs.unstarted() == [(1, 1), (2, 1)]


def test_how_long_an_attempt_waited_is_known_until_the_next_one():
    runs, _ = task_runs({"a": ()})
    runs.all[0].become_ready(1.0, 1)
    start(runs.all[0], 3.5, "db")
    assert runs.queued(0, 1) == (2.5, "db")
    runs.all[0].dispatch("")
    assert runs.queued(0, 1) is None


def test_a_group_needs_its_instances_and_these_what_it_needs():
    runs, _ = task_runs({"a": (), "g": ("a",), "b": ("g",)}, late=("g",))
    assert [*runs.needs_of(2)] == [1]
    group = runs.all[1]
    instances = [group.planned.replace(name=f"g[{n}]", needs=()) for n in range(2)]
    assert [*runs.expand(group, instances)] == [3, 4]
    assert runs.needs_of(4) == ()
    added = runs.add_instances(group, instances)
    assert [one.number for one in added] == [3, 4]
    assert [*runs.needs_of(1)] == [3, 4]
    assert [*runs.needs_of(3)] == [0]
    assert runs.expanded == {1}
    assert runs.unfinished == 4
    runs.add_dependents(runs.all[3], [(2, "succeeded")])
    assert runs.planned()[3].needed_by == (*group.planned.needed_by, (2, "succeeded"))
