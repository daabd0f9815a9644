"""The rows of a run's tasks, and the layout of tables."""

import io

from hypothesis import given
from hypothesis import strategies as st
from support.reporting import STAMP, exited, finished, started, state_of

from mprun.record import events
from mprun.reporters import long_table, table
from mprun.reporters.format import display_width
from mprun.reporters.rich_table import fitting_columns

END_OF_FLAKY = {
    **STAMP,
    **{"task": "flaky", "outcome": "succeeded", "attempts": 2, "reason": "flaky", "flaky": True},
}


def test_row_has_the_facts_of_a_task():
    state = state_of(
        finished("never", "skipped", "`a` did not succeed"),
        started("a"),
        exited("a", exit_code=1, error={"type": "E", "message": "no\nmusic"}),
        finished("a", "failed", "exit 1"),
        started("runs"),
    )
    assert table.rows(state) == [
        ("a", "failed: exit 1 (E: no music)", "10", "5", "1.50s", "0.25s", "11MB", "1"),
        ("runs", "running", "10", "5", "-", "-", "-", "1"),
        ("never", "skipped: `a` did not succeed", "-", "-", "-", "-", "-", "0"),
    ]


def test_row_of_a_task_that_has_ended_says_that_its_recipe_has_not():
    state = state_of(started("r/a"), exited("r/a", exit_code=0))
    assert [row[1] for row in table.rows(state)] == ["waiting for its recipe"]


def test_reasons_of_a_recipe_are_in_words():
    state = state_of(
        started("r/a"),
        exited("r/a", exit_code=-15),
        finished("r/a", "timed_out", "recipe_timeout"),
        finished("r/b", "skipped", "recipe_timeout"),
        finished("r/c", "cancelled", "recipe_failed"),
    )
    assert sorted(row[1] for row in table.rows(state)) == [
        "cancelled: another task of its recipe failed",
        "skipped: timeout of its recipe",
        "timed_out: timeout of its recipe",
    ]


def test_rows_can_be_made_from_a_damaged_record():
    state = state_of(
        exited("a"), started("b"), exited("b", error={}), finished("b", "failed", ""), finished("c", "odd")
    )
    assert [row[0] for row in table.rows(state)] == ["b", "a", "c"]


def test_tasks_that_failed_a_run_are_found_without_those_that_just_succeeded(monkeypatch):
    ended = {"outcome": "failed", "exit_code": 1, "duration": 1.0, "counts": {}}
    state = state_of(
        *(started("good"), exited("good"), finished("good", "succeeded")),
        *(started("bad"), exited("bad", exit_code=1), finished("bad", "failed", "exit 1")),
        *(started("flaky"), exited("flaky"), events.TaskFinished(**END_OF_FLAKY)),
        *(started("last"), exited("last"), finished("last", "succeeded")),
    )
    tasks = state.tasks.values()
    flaky = table.failing_tasks(tasks, events.RunFinished(**STAMP, **ended, flaky=1))
    assert [task.name for task in flaky] == ["bad", "flaky"]
    asked = []
    monkeypatch.setattr(table, "fails_run", lambda event, run: asked.append(event.task))
    table.failing_tasks(tasks, events.RunFinished(**STAMP, **ended))
    assert asked == ["bad"]


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["C"]), max_size=9), st.integers(0, 10**6)),
        max_size=5,
    )
)
def test_a_plain_table_is_aligned(cells):
    lines = [(name, "ok", str(number)) for name, number in cells]
    stream = io.StringIO()
    table.write(("NAME", "OUTCOME", "NUMBER"), lines, stream)
    shown = stream.getvalue().split("\n")[:-1]
    assert len(shown) == len(lines) + 1
    assert len({display_width(line) for line in shown}) == 1


def fitting(lines, width):
    layout = table.TASKS
    return fitting_columns(table.HEAD, lines, width, layout.folded, layout.optional, layout.min_text_width)


@given(st.integers(20, 300))
def test_narrow_terminal_omits_numbers_but_not_names_and_outcomes(width):
    lines = [
        (
            "a long name of a task",
            "failed: exit 1 (ValueError: no)",
            "10500",
            "10452",
            "0.01s",
            "-",
            "12MB",
            "1",
        )
    ]
    places = fitting(lines, width)
    assert places[:2] == [0, 1]
    assert places == sorted(places)
    if width > 110:
        assert len(places) == len(table.HEAD)
    if width < 40:
        assert places == [0, 1]
    assert len(places) <= len(fitting(lines, width + 20))


def planned(*tasks):
    return events.TasksPlanned(**STAMP, group="", tasks=tasks, items={})


def test_rows_are_in_the_order_of_the_file_with_the_items_of_a_foreach():
    """C36. Instances that were created during the run take the place of their task."""
    one, two = "get[0]", "get[1]"
    expanded = events.TasksPlanned(
        **STAMP, group="get", tasks=(one, two), items={one: "a.csv", two: "\x1b[31m\n"}
    )
    happened = (started("list"), expanded, started(two), started("late"), started(one))
    state = state_of(planned("get", "late", "list", "end"), *happened)
    rows = table.rows(state)
    names = ["get[0] (a.csv)", r"get[1] (\x1b[31m\n)", "late", "list", "end"]
    assert [row[0] for row in rows] == names
    assert [row[1] for row in rows] == ["running"] * 4 + ["waiting"]
    # mprun was killed.
    outcomes = ["unknown"] * 4 + ["not started"]
    assert [row[1] for row in table.rows(state, alive=False)] == outcomes
    assert [row[0] for row in long_table.bad_rows(state)] == names[:4]


def test_tasks_that_the_plan_does_not_have_are_last():
    """A record may have lost a line."""
    state = state_of(started("b"), planned("c", "a"), started("a"), started("x"))
    assert [row[0] for row in table.rows(state)] == ["c", "a", "b", "x"]
