"""How long tasks took in earlier runs: read once, in parts, and not before someone asks."""

from __future__ import annotations

import pytest
from support.plans import plan

from mprun.engine import past_timings
from mprun.engine.past_timings import PastTimings
from mprun.jobfile.model import STANDARD_INPUT_PATH, Ready
from mprun.scheduling.estimates import RunTimings

FOUND = [RunTimings(durations={"a": 1.0}, until_ready={})]
MADE = plan({"a": (), "b": ()}, keys={"b": {"ready": Ready(kind="port", what="1")}})


@pytest.fixture
def asked(monkeypatch):
    """What was asked of the records; the answer comes in the third part."""
    asked = []

    def read(*arguments, **options):
        asked.append((*arguments, options))
        yield None
        yield None
        yield FOUND

    monkeypatch.setattr(past_timings, "past_runs_in_steps", read)
    return asked


def test_the_records_are_read_in_parts_and_once(asked):
    timings = PastTimings(MADE, "state", before="run")
    assert asked == []
    assert [timings.read_more() for _ in range(5)] == [None, None, FOUND, FOUND, FOUND]
    assert asked == [("state", MADE.job.path, {"b"}, {"before": "run", "copies": False})]


def test_all_of_the_rest_can_be_read_at_once(asked):
    timings = PastTimings(MADE, "state")
    assert timings.read_more() is None
    assert timings.read_all() is FOUND
    assert timings.read_all() is FOUND
    assert len(asked) == 1


def test_a_job_from_standard_input_has_none(asked):
    unknown = MADE.replace(job=MADE.job.replace(path=STANDARD_INPUT_PATH))
    timings = PastTimings(unknown, "state")
    assert timings.read_more() == []
    assert timings.read_all() == []
    assert asked == []
