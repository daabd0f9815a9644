"""The table of a task's states is complete, obeyed by the code, and printed in the documentation."""

from __future__ import annotations

import ast
from itertools import groupby
from pathlib import Path

import pytest
from support.model import Model
from support.plans import plan
from support.random_run import run_seed
from support.round_run import run_rounds
from support.scheduling import Run

from mprun.jobfile.model import Retry, Whole
from mprun.scheduling.checked_scheduler import (
    EVENTS,
    CheckedRoundScheduler,
    CheckedScheduler,
    CheckedTaskRun,
    ImpossibleEvent,
    InvalidState,
)
from mprun.scheduling.plan import Reused
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import Scheduler
from mprun.scheduling.task_run import TaskRun, TaskState
from mprun.scheduling.transitions import TRANSITIONS

ROOT = Path(__file__).parents[2]
SUCCEEDED = AttemptResult(succeeded=True, reason="", exit_code=0)
# So many random runs reach almost every row.
RUNS = 300


# ---- every row is reached


def reuse_an_outcome():
    made = plan({"a": (), "b": ("a",)})
    reused = made.tasks[0].replace(reused=Reused(outcome="succeeded", attempts=1))
    run = Run(made.replace(tasks=(reused, made.tasks[1])))
    assert run.log == ["succeeded a", "start b"]


def find_a_task_unchanged():
    run = Run(plan({"a": (), "b": ("a",)}, late=("a",)))
    run.apply(run.scheduler.handle_unchanged(0, Reused(outcome="succeeded", attempts=1), 1.0))
    assert run.last == ["succeeded a", "start b"]


def cancel_a_start_whose_dependency_has_succeeded_in_the_meantime():
    run = Run(plan({"a": (), "b": ("a",)}), held=1).started("a")
    run.exited("a")
    assert run.start_cancelled("b") == ["start b"]


def stop_a_task_that_is_being_resolved():
    run = Run(plan({"a": ()}, late=("a",)))
    assert run.stopped("a") == ["cancelled a"]
    run.resolved("a")
    assert run.last == []


def stop_a_group_that_was_expanded():
    run = Run(plan({"g": ()}, late=("g",)))
    run.expanded("g", 2)
    assert run.stopped("g") == []


def stop_a_task_that_is_starting():
    run = Run(plan({"a": ()}))
    assert run.stopped("a") == ["cancel start a"]


def lose_a_held_start():
    run = Run(plan({"a": (), "b": ("a",)}), held=1).started("a")
    run.apply(run.scheduler.handle_host_lost(1, "its host was lost", 1.0))
    assert run.outcome("b") == "unknown"


def recipe(spec, **more):
    """A run in which `a` and `b` are a recipe that has two rounds."""
    whole = Whole(name="r", retry=Retry(retries=1), timeout=None)
    made = plan(spec, keys={name: {"whole": whole} for name in "ab"}, **more)
    return Run(made, scheduler_type=CheckedRoundScheduler)


def resolve_a_task_that_is_settled():
    run = recipe({"b": (), "a": ()}, late=("a",)).started("b")
    run.stopped("a")
    run.resolved("a")
    assert run.outcome("a") is None


def be_ready_before_and_in_the_next_round():
    run = recipe({"b": (), "a": ("b",)}).started("b")
    run.exited("b")
    run.started("a").exited("a", succeeded=False)
    assert run.is_ready("a", 1) == []
    run.advance(2.0)
    assert run.is_ready("a", 1) == []


SCENARIOS = (
    resolve_a_task_that_is_settled,
    be_ready_before_and_in_the_next_round,
    lose_a_held_start,
    stop_a_task_that_is_starting,
    reuse_an_outcome,
    find_a_task_unchanged,
    cancel_a_start_whose_dependency_has_succeeded_in_the_meantime,
    stop_a_task_that_is_being_resolved,
    stop_a_group_that_was_expanded,
)


def test_every_row_of_the_table_is_reached():
    CheckedTaskRun.reached.clear()
    for scenario in SCENARIOS:
        scenario()
    for seed in range(RUNS):
        run_seed(seed)
        run_rounds(seed)
    missing = sorted((state.value, event) for state, event in TRANSITIONS.keys() - CheckedTaskRun.reached)
    assert not missing


# ---- an event that has no row


def waiting():
    return Run(plan({"s": (), "a": ("s",)}))


def resolving():
    return Run(plan({"a": ()}, late=("a",)))


def ready():
    return Run(plan({"s": (), "t": (), "a": ()}, slots=1))


def held():
    return Run(plan({"s": (), "a": ("s",)}), held=1).started("s")


def starting():
    return Run(plan({"a": ()}))


def running():
    return Run(plan({"a": ()})).started("a")


def paused():
    run = Run(plan({"a": ()}, keys={"a": {"retry": Retry(retries=1, delay=9.0)}})).started("a")
    run.exited("a", succeeded=False)
    return run


def finished():
    run = Run(plan({"a": (), "b": ()})).started("a", "b")
    run.exited("a")
    return run


def expanded():
    run = Run(plan({"a": ()}, late=("a",)))
    run.expanded("a", 1)
    return run


def settled():
    run = recipe({"a": (), "b": ()}).started("a", "b")
    run.exited("a")
    return run


STATES = (waiting, resolving, ready, held, starting, running, paused, settled, finished, expanded)

FACTS = {
    "handle_started": (),
    "handle_exited": (SUCCEEDED,),
    "handle_exit_unknown": ("lost",),
    "handle_start_cancelled": (),
    "handle_resolved": (),
    "handle_skipped": ("`when` is false",),
    "handle_resolve_failed": ("nothing there",),
    "handle_expanded": ((),),
    "handle_ready": (1,),
}
ANSWERS = ("handle_resolved", "handle_skipped", "handle_resolve_failed", "handle_expanded")
# The events that a task may have in a state; all others are impossible.
POSSIBLE = {
    # Of the round before.
    waiting: ("handle_ready",),
    resolving: ANSWERS,
    ready: ("handle_ready",),
    held: ("handle_start_cancelled",),
    starting: (
        *("handle_started", "handle_exited", "handle_exit_unknown", "handle_start_cancelled", "handle_ready"),
    ),
    running: ("handle_exited", "handle_exit_unknown", "handle_ready"),
    paused: ("handle_ready",),
    settled: (*ANSWERS, "handle_ready"),
    finished: (*ANSWERS, "handle_ready"),
    expanded: (),
}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_each_of_these_runs_has_a_task_in_its_state(state):
    run = state()
    assert f"now {state.__name__}:" in run.scheduler.story(run.number("a"))


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_fact_that_has_no_row_raises_with_the_story_of_its_task(state, fact):
    run = state()
    number = run.number("a")
    report = getattr(run.scheduler, fact)
    if fact in POSSIBLE[state]:
        report(number, *FACTS[fact], 1.0)
        return
    with pytest.raises((ImpossibleEvent, InvalidState)) as raised:
        report(number, *FACTS[fact], 1.0)
    message = str(raised.value)
    assert f"story of task {number} `a`" in message
    assert f"  {fact}({number}" in message


def test_a_story_has_facts_transitions_and_instructions_in_their_order():
    run = Run(plan({"a": (), "b": ("a",)})).started("a", now=0.5)
    run.exited("a", now=2.0)
    lines = run.scheduler.story(run.number("b")).splitlines()
    assert lines[:4] == [
        "story of task 1 `b`, now starting:",
        "  begin(0.0)",
        "    waiting -> waiting: meet_condition()",
        "    waiting -> ready: become_ready(2.0, 3)",
    ]
    assert lines[4:] == [
        "    ready -> starting: dispatch()",
        "    instruction: Start(task=1, attempt=1, after=())",
    ]


def test_a_state_that_contradicts_the_fields_of_its_task_raises():
    run = Run(plan({"a": (), "b": ()})).started("a", "b")
    run.scheduler.outcomes[run.number("a")] = "succeeded"
    with pytest.raises(InvalidState, match="task 0 is running, but `it has an outcome` is True"):
        run.scheduler.validate(run.number("a"))


def test_a_random_run_that_breaks_a_promise_prints_the_story_of_the_task(monkeypatch):
    monkeypatch.setattr(Model, "check_start", broken_promise)
    with pytest.raises(AssertionError, match=r"seed 1: no start is right\nstory of task \d+ `t\d+`"):
        run_seed(1)


def broken_promise(*_):
    raise AssertionError("no start is right")


# ---- the table and the code


def assigned_fields(node):
    """The attributes that a piece of code assigns: (object, name)."""
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
            yield ast.unparse(child.value), child.attr


def test_the_fields_of_a_task_change_only_in_events_of_the_table():
    events = set()
    for path in (ROOT / "mprun" / "scheduling").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name in ("TaskRun", "MemberRun"):
                methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
                events |= {method.name for method in methods if list(assigned_fields(method))}
                continue
            foreign = {name for owner, name in assigned_fields(node) if owner != "self"}
            assert not foreign & set(TaskRun.__slots__), path.name
    # `accept_answer` changes nothing: it says whether the answer still counts.
    assert events == {"__init__", *EVENTS} - {"accept_answer"}


def test_a_run_does_not_pay_for_the_checks():
    assert Scheduler.task_run_type is TaskRun
    assert CheckedScheduler.task_run_type is CheckedTaskRun
    tests_only = {"checked_scheduler", "transitions"}
    for path in (ROOT / "mprun").rglob("*.py"):
        if path.stem not in tests_only:
            assert not any(f"mprun.scheduling.{name} import" in path.read_text() for name in tests_only), path


def test_each_state_has_a_row():
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(TaskState)


def table_lines():
    """The table in Markdown: a row for each two states, with the events between them."""
    order = list(TaskState)
    rows = [(order.index(state), order.index(after), event) for (state, event), after in TRANSITIONS.items()]
    yield "| state | event | next state |"
    yield "|---|---|---|"
    for (state, after), group in groupby(sorted(rows, key=lambda row: row[:2]), key=lambda row: row[:2]):
        events = ", ".join(f"`{event}`" for _, _, event in group)
        yield f"| {order[state].value} | {events} | {order[after].value} |"


def test_the_table_is_printed_in_the_documentation():
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = "\n".join(table_lines())
    assert table in page, f"put this table into docs/architecture.md:\n{table}"
