"""Groups that are expanded during the run: one after the other, and so many instances in one decision."""

from __future__ import annotations

from support.plans import plan

from mprun.jobfile.model import Instance
from mprun.scheduling.group_expansion import Expansions
from mprun.scheduling.instance_plan import plan_instance
from mprun.scheduling.instructions import Expand
from mprun.scheduling.join_order import JoinOrder
from mprun.scheduling.task_run import TaskRun
from mprun.scheduling.task_runs import TaskRuns

MADE = plan({"a": (), "b": (), "c": ()}, late=("a", "b"))


def expansions(max_added=2):
    """The expansions of a run, its tasks, and its list of instructions."""
    instructions = []
    task_runs = TaskRuns(MADE, instructions, TaskRun)
    return Expansions(task_runs, JoinOrder(MADE), instructions, max_added), task_runs, instructions


def instances(group, count):
    found = [Instance(name=f"{group.task.name}[{n}]", task=group.task) for n in range(count)]
    return [plan_instance(one, group) for one in found]


def begin(made, task_runs, number, count):
    group = task_runs.all[number]
    return [run.planned.name for run in made.begin(group, instances(group.planned, count))]


def test_the_first_instances_are_added_at_once_and_the_others_in_parts():
    made, task_runs, instructions = expansions()
    assert not made
    assert begin(made, task_runs, 0, 5) == ["a[0]", "a[1]"]
    assert made
    assert [run.number for run in made.add_more()] == [5, 6]
    assert [run.number for run in made.add_more()] == [7]
    assert not made
    assert instructions == [
        Expand(task=0, first=first, count=count) for first, count in ((3, 2), (5, 2), (7, 1))
    ]


def test_a_group_waits_for_the_one_before_it_and_has_its_numbers_already():
    made, task_runs, instructions = expansions()
    begin(made, task_runs, 0, 3)
    assert begin(made, task_runs, 1, 2) == []
    assert task_runs.expanded == {0, 1}
    assert len(task_runs.outcomes) == 3 + 3 + 2
    assert [run.planned.name for run in made.add_more()] == ["a[2]"]
    assert [run.planned.name for run in made.add_more()] == ["b[0]", "b[1]"]
    assert instructions[-1] == Expand(task=1, first=6, count=2)
    assert not made


def test_the_next_key_is_that_of_the_instance_that_is_added_next():
    made, task_runs, _ = expansions()
    assert made.next_key is None
    begin(made, task_runs, 1, 3)
    assert made.next_key == (1, 5)
    begin(made, task_runs, 0, 3)
    assert made.next_key == (1, 5)
    made.add_more()
    assert made.next_key == (0, 6)
    made.add_more()
    made.add_more()
    assert made.next_key is None
