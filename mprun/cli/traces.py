"""The formats of a run's trace: for a trace viewer, and for OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.cli.output_file import Format
from mprun.outcomes import Outcome
from mprun.record import reader
from mprun.reporters import chrome_trace, otlp
from mprun.reporters.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan


def _chrome_pieces(directory: RunDirectory, _: Plan | None = None) -> Iterator[str]:
    return chrome_trace.pieces(_timeline(directory))


def _otlp_pieces(directory: RunDirectory, _: Plan | None = None) -> Iterator[str]:
    timeline = _timeline(directory)
    alive = reader.run_outcome(directory, timeline.state) == Outcome.RUNNING
    return otlp.pieces(timeline, directory, alive=alive)


def _timeline(directory: RunDirectory) -> Timeline:
    timeline = Timeline()
    reader.read_state(directory, timeline.add)
    timeline.close()
    return timeline


CHROME = Format(name="trace", beginning=chrome_trace.BEGINNING, pieces=_chrome_pieces, is_json=True)
OTLP = Format(name="file of spans", beginning=otlp.BEGINNING, pieces=_otlp_pieces, is_json=True)
