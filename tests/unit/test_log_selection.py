"""Which tasks the words of `mprun logs` mean."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mprun.cli.views.logs import Selection, known_tasks
from mprun.record.run_state import RunState

NAMES = ["", "a", "a[n=1]", "a/b", "a/b[n=2]", "a@2", "a@2/b", "ab", "a[", "b", "main", "[x]", "é/é"]
WORDS = [*NAMES, "*", "a*", "?", "a?2", "a/*", "c"]


@given(st.lists(st.sampled_from(WORDS)), st.lists(st.sampled_from(NAMES)))
def test_many_tasks_are_selected_as_each_one_is(words, tasks):
    one_by_one = [task for word in words or ["*"] for task in tasks if Selection([word]).takes(task)]
    assert Selection(words).of(tasks) == list(dict.fromkeys(one_by_one))
    unmatched = [word for word in words if not any(Selection([word]).takes(task) for task in tasks)]
    assert Selection(words).unmatched(tasks) == unmatched


def test_what_is_printed_by_the_imports_comes_first_whether_a_task_has_its_name_or_not():
    state = RunState()
    for name in ("a", "main", "b"):
        state.task(name)
        assert known_tasks(state)[0] == "main"
    assert known_tasks(state) == ["main", "a", "b"]
