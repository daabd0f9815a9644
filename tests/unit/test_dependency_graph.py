"""The graph of dependencies in the report: its columns, its nodes for many instances, and its limit."""

import pytest

from mprun.record.task_state import TaskState
from mprun.reporters.report.dependency_graph import MAX_NODES, Graph
from mprun.reporters.report.report_data import TaskRow


def rows(*names, **outcomes):
    return [
        TaskRow(number, TaskState(name), name, outcomes.get(name, "succeeded"), "")
        for number, name in enumerate(names)
    ]


def columns(graph):
    """The texts of the nodes by column, from the left."""
    found = {}
    for node in graph.nodes:
        found.setdefault(node["x"], []).append(node["text"])
    return [found[x] for x in sorted(found)]


def test_a_task_is_right_of_all_that_it_depends_on():
    graph = Graph(rows("a", "b", "c", "d"), {1: [0], 2: [1, 0]})
    assert columns(graph) == [["a", "d"], ["b"], ["c"]]
    assert len(graph.edges) == 3


def test_instances_are_one_node_with_the_outcome_of_the_worst():
    found = rows("load[0]", "load[1]", "end")
    found[1].outcome = "failed"
    graph = Graph(found, {2: [0, 1]})
    assert columns(graph) == [["load ×2"], ["end"]]
    assert [node["outcome"] for node in graph.nodes] == ["failed", "succeeded"]
    assert len(graph.edges) == 1


def test_instances_that_depend_on_each_other_through_others_are_drawn():
    graph = Graph(rows("a[0]", "b[0]", "a[1]", "b[1]"), {1: [0], 2: [1], 3: [2]})
    assert columns(graph) == [["a ×2"], ["b ×2"]]
    assert len(graph.edges) == 2


@pytest.mark.parametrize("needs", [{}, {0: []}])
def test_without_dependencies_there_is_no_graph(needs):
    graph = Graph(rows("a", "b"), needs)
    assert (graph.nodes, graph.omitted) == ([], 0)


def test_a_graph_that_no_one_could_read_is_not_drawn_and_it_is_said():
    names = [f"t{number}" for number in range(MAX_NODES + 1)]
    graph = Graph(rows(*names), {1: [0]})
    assert (graph.nodes, graph.omitted) == ([], MAX_NODES + 1)
