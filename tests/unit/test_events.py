"""Objects of a record as events: what is missing, unknown or of another type."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.events import FINISHED, JOINED

from mprun.cli.views.run_json import task_to_json
from mprun.record import events, reader
from mprun.record.event_reader import from_record
from mprun.record.run_state import RunState


def test_a_field_that_is_missing_is_damage():
    broken = FINISHED.to_record()
    del broken["outcome"]
    with pytest.raises(TypeError, match="TaskFinished needs the field `outcome`"):
        from_record(broken)


def test_newer_kinds_and_keys_are_left_out():
    assert from_record({"event": "of_the_future", "anything": 1}) is None
    assert from_record({**JOINED.to_record(), "new": 1}) == JOINED


@pytest.mark.parametrize("value", [None, 5, ["task_joined"], {}])
def test_an_event_without_a_kind_is_damage(value):
    with pytest.raises(TypeError, match="`event` is not str"):
        from_record({"event": value})


@given(
    st.fixed_dictionaries(
        {"event": st.sampled_from(sorted(events.KINDS))},
        optional={
            name: st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                lambda inner: (
                    st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
                ),
                max_leaves=4,
            )
            for kind in events.KINDS.values()
            for name in kind._fields
        },
    )
)
def test_no_object_makes_the_reader_raise(value):
    state, damage = RunState(), []
    reader.apply_line(state, {"format": 2, **value, **({"format": 2} if "format" in value else {})}, damage)
    assert len(damage) <= 1
    json.dumps([task_to_json(task) for task in state.tasks.values()])
