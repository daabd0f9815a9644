"""How each view of a plan shows the forecast from earlier runs."""

from __future__ import annotations

import json

from support.plans import plan

from mprun.cli.views.plan_graph import dot_lines, mermaid_lines
from mprun.cli.views.plan_json import plan_json
from mprun.cli.views.plan_text import MAX_PATH_TASKS, WIDTH, plan_lines
from mprun.scheduling.estimates import RunTimings
from mprun.scheduling.forecast import forecast_run

SPEC = {"s1": (), "s2": (), "a": (), "b": ("a",)}


def shown(view, made, runs=1, **durations):
    return list(view(made, forecast_run(made, [RunTimings(durations=durations, until_ready={})] * runs)))


def test_a_plan_shows_the_time_the_order_and_the_critical_path():
    made = plan(SPEC, slots=2)
    assert shown(plan_lines, made, runs=3, s1=1.0, s2=1.0, a=1.0, b=1.25) == [
        "test: 4 tasks, parallel (at most 2 at once on 2 cores), fork",
        "expected: 2.25s from 3 earlier runs, critical path first",
        "critical path: a > b, 2.25s",
        "   1. a  m:f()",
        "   2. s1  m:f()",
        "   3. b  m:f()  [after a]",
        "   4. s2  m:f()",
        "join: s1, s2, a, b",
    ]


def test_a_plan_shows_the_number_of_new_tasks():
    made = plan({"a": (), "b": ()}, slots=2)
    assert shown(plan_lines, made, a=1.0)[1:3] == [
        "expected: 1.00s from 1 earlier run, 1 task of unknown duration",
        "critical path: a, 1.00s",
    ]


def test_without_earlier_runs_nothing_is_expected():
    made = plan(SPEC)
    text = "\n".join([*plan_lines(made), *mermaid_lines(made), *dot_lines(made)])
    assert not {"expected", "critical", "penwidth"} & set(text.replace(":", " ").replace("=", " ").split())
    assert json.loads("\n".join(plan_json(made)))["expected"] is None


def test_a_plan_of_a_run_that_would_not_end_shows_only_the_critical_path():
    made = plan({"d": (), "after": ("d:finished",)}, daemons=("d",))
    lines = shown(plan_lines, made, after=1.0)
    assert not any(line.startswith("expected") for line in lines)
    assert "critical path: after, 1.00s" in lines


def test_a_long_critical_path_is_cut_in_its_middle_and_folded():
    names = [f"link number {number}" for number in range(500)]
    made = plan({name: (names[number - 1],) if number else () for number, name in enumerate(names)})
    lines = shown(plan_lines, made, **dict.fromkeys(names, 1.0))
    start = next(number for number, line in enumerate(lines) if line.startswith("critical path"))
    text = " ".join(line.strip() for line in lines[start : start + 3])
    assert text.count("link number") == MAX_PATH_TASKS
    assert f"link number 4 > … {500 - MAX_PATH_TASKS} more … > link number 495" in text
    assert max(map(len, lines[start : start + 3])) <= WIDTH


def test_a_name_cannot_act_on_a_terminal_from_a_critical_path():
    made = plan({"a\x1b[2J": ()})
    assert "\x1b" not in "".join(shown(plan_lines, made, other=1.0))


def test_the_json_plan_has_seconds_and_names():
    made = plan(SPEC, slots=2)
    found = json.loads("\n".join(shown(plan_json, made, s1=1.0, a=1.0, b=1.5)))
    assert found["expected"] == {
        "seconds": 2.5,
        "runs": 1,
        "tasks_of_unknown_duration": 1,
        "critical_path_first": True,
        "critical_path": ["a", "b"],
        "critical_path_seconds": 2.5,
    }
    assert found["order"] == ["a", "s1", "b", "s2"]


def test_graphs_draw_the_critical_path_bold():
    made = plan(SPEC, slots=2)
    mermaid, dot = shown(mermaid_lines, made, b=1.5), shown(dot_lines, made, b=1.5)
    assert [line for line in mermaid if "critical" in line] == [
        '  n2["a"]:::critical',
        '  n3["b"]:::critical',
        "  classDef critical stroke-width: 4px",
    ]
    assert [line for line in dot if "penwidth" in line] == [
        '  n2 [label="a", penwidth=3]',
        '  n3 [label="b", penwidth=3]',
    ]


def test_a_skipped_task_on_the_critical_path_is_not_drawn_bold():
    made = plan({"a": (), "b": ("a",), "c": ("b",)}, skipped={"b"})
    assert [line for line in shown(mermaid_lines, made, a=1.0, c=1.0) if ":::" in line] == [
        '  n0["a"]:::critical',
        '  n1["b"]:::skipped',
        '  n2["c"]:::critical',
    ]
