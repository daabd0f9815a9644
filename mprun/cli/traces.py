"""The formats of a run's trace: for a trace viewer, and for OpenTelemetry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mprun.cli.output_file import Format
from mprun.outcomes import Outcome
from mprun.record import reader
from mprun.record.found import END_TIME, ENDED, EXIT_PID, JOIN, LATER, OTHER, START
from mprun.record.large_record import LargeRecord
from mprun.record.task_lines import event_of_line, lines_of_end
from mprun.reporters import chrome_trace, otlp
from mprun.reporters.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.record.found import Found
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan


def _chrome_pieces(directory: RunDirectory, _: Plan | None = None) -> Iterator[str]:
    return chrome_trace.pieces(_timeline(directory))


def _otlp_pieces(directory: RunDirectory, _: Plan | None = None) -> Iterator[str]:
    timeline = _timeline(directory)
    alive = reader.run_outcome(directory, timeline.state) == Outcome.RUNNING
    return otlp.pieces(timeline, directory, alive=alive)


class _LargeRecord(LargeRecord):
    """Reads a large record into a timeline, without events of the tasks that just succeed."""

    def __init__(self, timeline: Timeline, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._timeline = timeline

    def take(self, found: Sequence[Found]) -> None:
        """Take the lines of a block, by what was found in it."""
        timeline = self._timeline
        for row in found:
            kept = row[:JOIN]
            if row[START]:
                timeline.add_start(kept)
            if row[EXIT_PID]:
                if not timeline.add_end(kept):
                    for line in lines_of_end(self.run, row):
                        timeline.add(event_of_line(line))
                if row[JOIN]:
                    timeline.add_join(row[END_TIME], row[ENDED], row[JOIN])
            elif row[LATER]:
                timeline.add(event_of_line(row[LATER]))
            elif not row[START]:
                self.parse(row[OTHER].encode() + b"\n")


def _timeline(directory: RunDirectory) -> Timeline:
    timeline = Timeline()
    reader.read_events(directory, timeline.add, partial(_LargeRecord, timeline))
    timeline.close()
    return timeline


CHROME = Format(name="trace", beginning=chrome_trace.BEGINNING, pieces=_chrome_pieces, is_json=True)
OTLP = Format(name="file of spans", beginning=otlp.BEGINNING, pieces=_otlp_pieces, is_json=True)
