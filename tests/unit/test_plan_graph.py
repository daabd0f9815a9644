"""A plan as a graph: its nodes, edges and boxes, and labels that are the names of tasks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import dot_nodes, draw, mermaid_nodes
from support.plans import job, plan, task

from mprun.cli.views.plan_graph import dot_lines, mermaid_lines
from mprun.cli.views.plan_json import plan_json
from mprun.cli.views.plan_text import plan_lines
from mprun.jobfile.reference_syntax import parse
from mprun.scheduling.plan import plan_tasks


def test_a_graph_has_nodes_edges_and_recipes():
    made = plan(
        {
            "serve": (),
            "etl/fetch": (),
            "etl/sub/load[p=a/b]": ("etl/fetch",),
            "etl/end": ("etl/sub/load[p=a/b]:finished", "serve:ready"),
            "each": (),
            "no": (),
        },
        daemons=("serve",),
        keys={"each": {"foreach": parse("${tasks.x.result}")}, "no": {"when": False}},
    )
    assert list(mermaid_lines(made)) == [
        "flowchart TD",
        '  n0(["serve"])',
        '  subgraph g0["etl"]',
        '    n1["fetch"]',
        '    subgraph g1["sub"]',
        '      n2["load#91;p=a/b#93;"]',
        "    end",
        '    n3["end"]',
        "  end",
        '  n4[["each"]]',
        '  n5["no"]:::skipped',
        "  n1 --> n2",
        "  n2 -->|finished| n3",
        "  n0 -->|ready| n3",
        "  classDef skipped stroke-dasharray: 5 5",
    ]
    assert list(dot_lines(made)) == [
        "digraph {",
        '  graph [label="test", labelloc=t]',
        "  node [shape=box]",
        '  n0 [label="serve", shape=oval]',
        '  subgraph cluster_0 { label="etl"',
        '    n1 [label="fetch"]',
        '    subgraph cluster_1 { label="sub"',
        '      n2 [label="load[p=a/b]"]',
        "    }",
        '    n3 [label="end"]',
        "  }",
        '  n4 [label="each", peripheries=2]',
        '  n5 [label="no", style=dashed]',
        "  n1 -> n2",
        '  n2 -> n3 [label="finished"]',
        '  n0 -> n3 [label="ready"]',
        "}",
    ]


def test_interrupted_recipe_is_one_box():
    made = plan({"a/x": (), "b": (), "a/y": (), "c/a/x": ()})
    opened = [line.strip() for line in dot_lines(made) if "subgraph" in line]
    assert opened == [
        'subgraph cluster_0 { label="a"',
        'subgraph cluster_0 { label="a"',
        'subgraph cluster_1 { label="c"',
        'subgraph cluster_2 { label="a"',
    ]


def test_empty_plan_is_a_graph():
    empty = plan_tasks(job((task("a", 0),)), cpus=2, default_method="fork", selection=[])
    assert list(mermaid_lines(empty)) == ["flowchart TD"]
    assert dot_nodes(empty) == mermaid_nodes(empty) == {}


@pytest.mark.parametrize(
    "name",
    [
        'say "hi"',
        "a\\b",
        "a\\",
        "\\N",
        "<b>bold",
        "&lt;",
        "a;b",
        "1. first",
        "- item",
        "#35;",
        "`x`",
        "end",
        "__init__",
        "跳舞 😀",
        "a -> b",
        "x]y",
        "**",
        "$x$",
        "a|b",
        "%% c",
    ],
)
def test_labels_are_task_names(name):
    made = plan({name: (), "b": (name,)})
    draw(made)
    assert dot_nodes(made)["n0"] == name
    assert mermaid_nodes(made)["n0"] == name
    assert not set('"`<>&\\|;%$*') & set(
        "".join(re.findall('"([^"]*)"', "\n".join(mermaid_lines(made)))).replace(";", "")
    )


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/[]"), min_size=1, max_size=8),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_any_names_give_graphs_that_parse(names):
    made = plan(dict.fromkeys(names, ()))
    assert len(dot_nodes(made)) == len(mermaid_nodes(made)) == len(names)
    for view in (plan_lines, plan_json, mermaid_lines, dot_lines):
        for line in view(made):
            assert "\n" not in line
            assert "\x1b" not in line
