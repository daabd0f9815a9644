"""Tasks that will not start are finished in parts, and until then they neither start nor are skipped."""

from __future__ import annotations

from support.plans import plan

from mprun.jobfile.model import Instance, Retry
from mprun.scheduling.checked_scheduler import CheckedScheduler
from mprun.scheduling.instance_plan import plan_instance
from mprun.scheduling.instructions import USER, Expand, Finish, Start
from mprun.scheduling.retry import AttemptResult

FAILED = AttemptResult(succeeded=False, reason="exit 1", exit_code=1)


def scheduler(made):
    """A scheduler that adds and cancels two tasks in one decision."""
    return CheckedScheduler(made, ahead=0, max_held=0, max_taken=4)


def finished(instructions):
    return [(one.task, one.outcome) for one in instructions if isinstance(one, Finish)]


def proceed(made):
    """All that follows, a list of instructions for each decision."""
    decisions = []
    while made.has_more:
        decisions.append(made.proceed(1.0))
    return decisions


def test_a_stopped_run_finishes_its_tasks_in_parts():
    made = scheduler(plan(dict.fromkeys("abcdefg", ()), slots=1))
    made.begin(0.0)
    made.handle_started(0, 0.0)
    assert len(finished(made.stop(USER, 1.0))) == 2
    assert not made.finished
    assert [len(finished(each)) for each in proceed(made)] == [2, 2]
    made.handle_exited(0, FAILED, 2.0)
    assert made.finished
    assert made.outcomes[1:] == ["cancelled"] * 6


def test_what_fails_while_the_run_is_being_stopped_skips_no_task():
    """Else the outcome of a task would depend on when its turn comes."""
    made = scheduler(plan({"a": (), "b": (), "c": (), "d": (), "e": ("a",), "f": ("a",)}, slots=1))
    made.begin(0.0)
    made.handle_started(0, 0.0)
    made.stop(USER, 1.0)
    assert made.outcomes[4] is None
    made.handle_exited(0, FAILED, 1.0)
    proceed(made)
    assert made.finished
    assert made.outcomes[4:] == ["cancelled", "cancelled"]


def test_no_stopped_task_starts_before_it_is_finished():
    made = scheduler(plan(dict.fromkeys("abcdefgh", ()), slots=1))
    made.begin(0.0)
    made.handle_started(0, 0.0)
    first = made.stop_tasks(range(2, 8), 1.0)
    after = made.handle_exited(0, FAILED, 1.0)
    decisions = [first, after, *proceed(made)]
    assert not [one for each in decisions for one in each if isinstance(one, Start) and one.task > 1]
    assert [task for each in decisions for task, outcome in finished(each) if outcome == "cancelled"] == [
        *range(2, 8)
    ]
    assert max(len([1 for task, _ in finished(each) if task > 1]) for each in decisions) == 2


def test_no_stopped_task_gets_another_attempt_before_it_is_finished():
    retry = {"retry": Retry(retries=1, delay=0.5)}
    made = scheduler(plan(dict.fromkeys("abcd", ()), keys=dict.fromkeys("abcd", retry), slots=4))
    made.begin(0.0)
    for number in range(4):
        made.handle_started(number, 0.0)
        made.handle_exited(number, FAILED, 0.0)
    made.stop_tasks(range(4), 0.1)
    assert not [one for one in made.handle_deadline(1.0) if isinstance(one, Start)]
    proceed(made)
    assert made.outcomes == ["failed"] * 4


def expand(made, count):
    (group,) = made.tasks
    runs = scheduler(made)
    runs.begin(0.0)
    instances = [plan_instance(Instance(name=f"g[{n}]", task=group.task), group) for n in range(count)]
    return runs, runs.handle_expanded(0, instances, 0.0)


def test_instances_are_recorded_in_parts_and_before_they_start():
    runs, first = expand(plan({"g": ()}, late=("g",)), 5)
    decisions = [first, *proceed(runs)]
    parts = [(one.first, one.count) for each in decisions for one in each if isinstance(one, Expand)]
    assert parts == [(1, 2), (3, 2), (5, 1)]
    assert runs.outcomes == [None] * 6


def test_instances_that_were_not_added_at_the_end_of_the_run_are_recorded_as_cancelled():
    runs, _ = expand(plan({"g": ()}, late=("g",)), 5)
    runs.stop(USER, 1.0)
    proceed(runs)
    assert runs.finished
    assert runs.outcomes == [None, *["cancelled"] * 5]


def test_all_are_finished_at_once_if_nothing_can_follow():
    runs, _ = expand(plan({"g": ()}, late=("g",)), 5)
    runs.handle_executor_lost("lost", (), 1.0)
    assert runs.finished
    assert runs.outcomes == [None, *["cancelled"] * 5]


def test_an_instance_can_be_stopped_before_it_was_added():
    runs, _ = expand(plan({"g": ()}, late=("g",)), 5)
    runs.stop_tasks([5], 1.0)
    assert runs.outcomes[5] == "cancelled"
