"""TRACEPARENT as W3C trace context has it: what is valid, what is ignored, and the ids of a run's spans."""

from __future__ import annotations

import pytest

from mprun.trace_context import TraceIds, parent_in, parse_parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_parent_is_read_with_its_state():
    parent = parent_in({"TRACEPARENT": f"00-{TRACE}-{SPAN}-00", "TRACESTATE": "a=1,b=2"})
    assert (parent.trace_id, parent.span_id, parent.flags, parent.state) == (TRACE, SPAN, "00", "a=1,b=2")
    assert parse_parent(f"cc-{TRACE}-{SPAN}-01-more").span_id == SPAN


@pytest.mark.parametrize(
    "text",
    [
        *("", "00", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01-more", f"ff-{TRACE}-{SPAN}-01"),
        *(f"00-{TRACE.upper()}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"),
        *(
            f"00-{TRACE[:-1]}-{SPAN}-01",
            f"00-{TRACE}-{SPAN}-1",
            f"0-{TRACE}-{SPAN}-01",
            f"00-{TRACE}-{SPAN}-0x",
        ),
    ],
)
def test_an_invalid_parent_is_ignored(text):
    assert parent_in({"TRACEPARENT": text, "TRACESTATE": "a=1"}) is None


def test_a_state_that_is_too_long_or_not_printable_is_dropped():
    for state in ("x" * 513, "a=\n", "a=é"):
        assert parent_in({"TRACEPARENT": f"00-{TRACE}-{SPAN}-01", "TRACESTATE": state}).state == ""


def test_ids_are_those_of_the_run_and_differ_for_each_attempt():
    ids = TraceIds("run")
    assert (ids.trace_id, ids.run()) == (TraceIds("run").trace_id, TraceIds("run").run())
    attempts = [ids.attempt("a", 1), ids.attempt("a", 2), ids.attempt("a1", 1), ids.run()]
    assert len(set(attempts)) == 4
    assert parse_parent(ids.variables("a", 1)["TRACEPARENT"]).span_id == ids.attempt("a", 1)
    assert ids.trace_id != TraceIds("other").trace_id
    assert (
        TraceIds("run", parse_parent(f"00-{TRACE}-{SPAN}-00")).variables("\ud800", 1)["TRACEPARENT"][-2:]
        == "00"
    )
