"""Records in format 1 are read in the words of format 2."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from mprun.jobfile.schema.job_schema import schema_text
from mprun.record.event_reader import from_record
from mprun.record.format_1 import translate
from mprun.record.reader import parse_line

RECORDS = Path(__file__).parents[1] / "records"
FIXTURES = sorted(path.name for path in RECORDS.iterdir())


def read_lines(path):
    """The objects of a record's lines."""
    return [parse_line(line) for line in path.read_bytes().splitlines(keepends=True)]


def test_a_run_recorded_in_format_1_reads_as_the_same_run_in_format_2():
    """The two records are of one job, run by the last mprun of format 1 and the first of format 2."""
    old = read_lines(RECORDS / "format-1-resumed.jsonl")
    assert old == read_lines(RECORDS / "format-2.jsonl")
    words = json.dumps(old)
    for word in ("timed_out", "reused", "run_finished", "main_pid", "main_name"):
        assert f'"{word}"' in words


def test_a_record_in_format_2_is_read_as_it_is():
    path = RECORDS / "format-2.jsonl"
    assert read_lines(path) == [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", FIXTURES)
def test_events_of_every_format_match_the_schema_once_they_are_read(name):
    validator = jsonschema.Draft7Validator(json.loads(schema_text("event")))
    for line in read_lines(RECORDS / name):
        event = from_record(line)
        assert event is not None
        validator.validate(json.loads(json.dumps(event.to_record())))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"event": "task_stopping", "reason": "run_ends"}, {"reason": "run_finished"}),
        ({"event": "task_finished", "reason": "record_lost"}, {"reason": "record_write_failed"}),
        (
            {"event": "task_finished", "reason": "run_ends, before its next start"},
            {"reason": "run_finished, before its next start"},
        ),
        ({"event": "task_finished", "outcome": "timed-out"}, {"outcome": "timed_out"}),
        ({"event": "run_finished", "counts": {"timed-out": 2}}, {"counts": {"timed_out": 2}}),
    ],
)
def test_a_word_of_format_1_is_replaced(old, new):
    assert translate(dict(old), 2) == {**old, **new}


@pytest.mark.parametrize(
    "event",
    [
        {"event": "task_finished", "reason": "run_ends soon", "outcome": "timed out"},
        {"event": "task_finished", "reason": ["run_ends"], "outcome": {"timed-out": 1}},
        {"event": "run_finished", "counts": ["timed-out"], "outcome": None},
        {"event": "run_started", "format": True},
        {"event": "run_started", "format": "1"},
        {"event": ["task_finished"], "carried": True},
        {"event": "task_started", "task": "timed-out", "carried": True},
        {"carried": True},
        {},
    ],
)
def test_other_values_are_left_as_they_are(event):
    assert translate(dict(event), 2) == event
