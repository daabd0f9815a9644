"""The rows of a run's tasks, and the layout of tables."""

import io

from hypothesis import given
from hypothesis import strategies as st
from support.reporting import exited, finished, started, state_of

from mprun.reporters import table
from mprun.reporters.format import display_width


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


def test_rows_can_be_made_from_a_damaged_record():
    state = state_of(
        exited("a"), started("b"), exited("b", error={}), finished("b", "failed", ""), finished("c", "odd")
    )
    assert [row[0] for row in table.rows(state)] == ["b", "a", "c"]


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
    places = table._fitting_columns(table.HEAD, lines, width)
    assert places[:2] == [0, 1]
    assert places == sorted(places)
    if width > 110:
        assert len(places) == len(table.HEAD)
    if width < 40:
        assert places == [0, 1]
    assert len(places) <= len(table._fitting_columns(table.HEAD, lines, width + 20))
