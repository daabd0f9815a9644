"""The table of tasks, which grows when a task is expanded."""

from __future__ import annotations

from support.plans import plan

from mprun.engine.task_table import TaskTable
from mprun.jobfile.names import NameIndex


def expanded():
    """A table of three tasks, the second of which was expanded to two instances."""
    made = plan({"a": (), "each": (), "z": ()})
    table = TaskTable(made)
    instance = made.tasks[1].replace(groups=("each",), values=(0,))
    table.expand(1, [instance.replace(name="each[0]"), instance.replace(name="each[1]")])
    return table


def test_plan_comes_first():
    table = TaskTable(plan({"a": (), "b": ()}))
    assert [task.name for task in table.tasks] == ["a", "b"]
    assert list(table.instances(1)) == [1]
    assert not table.is_expanded(1)


def test_instances_come_last_and_replace_their_task():
    table = expanded()
    assert [task.name for task in table.tasks] == ["a", "each", "z", "each[0]", "each[1]"]
    assert table.is_expanded(1)
    assert list(table.instances(1)) == [3, 4]
    assert list(table.instances(0)) == [0]


def test_names_follow_the_table():
    made = plan({"a": (), "each": ()})
    table = TaskTable(made)
    assert list(table.names.resolve("each*")) == [1]
    table.expand(1, [made.tasks[1].replace(name="each[0]")])
    assert list(table.names.resolve("each*")) == [1, 2]
    assert list(table.names.resolve("each[0]")) == [2]


def test_names_are_indexed_once():
    """Each copy of a repeated task may be expanded: an index of all tasks each time would be quadratic."""
    made = plan({"a": (), "each": ()})
    table = TaskTable(made)
    names = table.names
    for copy in range(3):
        instance = made.tasks[1].replace(name=f"each[0]@{copy}", groups=("each", f"each@{copy}"))
        table.expand(1, [instance])
    assert table.names is names
    anew = NameIndex(table.tasks)
    assert (names.numbers, names.groups) == (anew.numbers, anew.groups)
    assert list(table.names.resolve("each@1")) == [3]


def test_table_of_one_run_does_not_change_the_plan():
    made = plan({"a": ()})
    TaskTable(made).expand(0, [made.tasks[0].replace(name="a[0]")])
    assert len(made.tasks) == 1


def test_expansion_to_nothing_leaves_no_instances():
    table = TaskTable(plan({"a": ()}))
    table.expand(0, [])
    assert list(table.instances(0)) == []
