"""Lines of a record: an event is written as one line, and recognised without parsing it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.events import FINISHED, JOINED, STAMP, exited, started

from mprun.record import events
from mprun.record.line_format import (
    TASK_FINISHED,
    decode_name,
    encode,
    encode_line,
    find_duration,
    says_succeeded,
    task_line_matcher,
)


def test_an_event_is_one_line_with_its_kind_first():
    assert encode_line(JOINED) == (
        '{"event":"task_joined","time":"2026-01-01T12:00:00Z","run":"r","task":"a","position":1,"of":1}\n'
    )


@pytest.mark.parametrize(
    "value", [None, True, 7, 10**20, 0.1, 1e300, 'ä"\n\x00', [1, {"a": None}], {"1": ()}]
)
def test_a_line_is_the_compact_json_of_its_event(value):
    event = FINISHED.replace(task="a%s", result=value)
    whole = json.dumps(event.to_record(), ensure_ascii=False, separators=(",", ":"))
    assert encode_line(event) == whole + "\n"


@given(st.text(st.characters()))
def test_any_text_makes_one_line_that_is_read_back(text):
    data = encode([JOINED.replace(task=text)])
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert json.loads(data)["task"] == text


# ---- recognising


@given(st.text(st.characters()), st.floats(0, 1e8))
def test_a_line_about_a_task_is_recognised_as_it_was_written(name, duration):
    line = encode([exited(name).replace(duration=duration)])
    found = task_line_matcher()(line)
    assert found is not None
    kind, time, task = found.groups()
    assert (kind, time) == (b"exited", STAMP["time"].encode())
    assert decode_name(task) == json.loads(line)["task"]
    assert find_duration(line, found.end()) == duration


@pytest.mark.parametrize(
    "event",
    [
        started("a"),
        events.TaskReady(**STAMP, task="a", attempt=1),
        events.TaskStopping(**STAMP, task="a", attempt=1, signal="SIGTERM", reason="user"),
        exited("a"),
        events.TaskRetrying(**STAMP, task="a", attempt=2, delay=0.5, reason="retry"),
        FINISHED,
        JOINED,
    ],
)
def test_every_kind_of_event_about_a_task_is_recognised(event):
    line = encode([event])
    found = task_line_matcher()(line)
    assert found is not None
    assert found[1] == event.event.removeprefix("task_").encode()
    assert decode_name(found[3]) == "a"
    assert line.startswith(TASK_FINISHED) == (event is FINISHED)


@pytest.mark.parametrize(("outcome", "succeeded"), [("succeeded", True), ("failed", False)])
def test_an_outcome_is_recognised(outcome, succeeded):
    line = encode([FINISHED.replace(outcome=outcome, reason='"outcome":"succeeded",')])
    found = task_line_matcher()(line)
    assert found is not None
    assert says_succeeded(line, found.end()) is succeeded


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(JOINED.to_record()).encode(),
        encode([JOINED])[1:],
        b'{"event":"run_started","time":"t","run":"r","task":"a",}',
        b"\n",
        b"",
    ],
)
def test_another_line_is_not_recognised(line):
    assert task_line_matcher()(line) is None
