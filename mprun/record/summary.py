"""A run in short, as a list of runs shows it: from the first event of its record and the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.errors import UnreadableRecord
from mprun.outcomes import Outcome
from mprun.record import reader

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory


class RunSummary:
    """One run; if its record cannot be read, `state` is None and `damage` says why."""

    __slots__ = ("damage", "directory", "outcome", "state")

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.state: RunState | None = None
        self.damage: list[str] = []
        self.outcome: str = Outcome.CORRUPT
        try:
            state, self.damage = reader.read_first_and_last(directory)
        except UnreadableRecord as error:
            self.damage = [str(error)]
            if error.newer:
                self.outcome = Outcome.NEWER
            return
        if state.started is None:
            self.damage = self.damage or ["its first event is missing"]
            return
        self.state = state
        self.outcome = reader.run_outcome(directory, state)

    @property
    def is_bad(self) -> bool:
        """Whether it did not succeed and is not running."""
        return self.outcome not in (Outcome.SUCCEEDED, Outcome.RUNNING)

    @property
    def exit_unknown(self) -> bool:
        """Whether mprun was killed, so that the exit code of the run is unknown."""
        if self.state is None:
            return False
        return self.state.exit_unknown or (self.state.finished is None and self.outcome != Outcome.RUNNING)

    def duration(self, now: str) -> float | None:
        """Seconds from its start to its end, or to its last event if mprun was killed; `now` while it runs.

        `now` is in ISO 8601, as events have it. None if the record does not say.
        """
        if self.state is None:
            return None
        if self.state.finished is not None:
            return self.state.finished.duration
        return self.state.seconds(now if self.outcome == Outcome.RUNNING else self.state.time)

    def counts(self) -> dict[str, int]:
        """How many tasks have each outcome, and how many are running."""
        if self.state is None:
            return {}
        if self.state.finished is not None:
            return self.state.finished.counts
        running = sum(task.is_running for task in self.state.tasks.values())
        outcome = Outcome.RUNNING if self.outcome == Outcome.RUNNING else Outcome.UNKNOWN
        return {**self.state.counts(), **({str(outcome): running} if running else {})}

    def allowed(self) -> dict[str, int]:
        """How many tasks failed with `allow_failure`, by outcome, once the run has finished."""
        finished = self.state.finished if self.state else None
        return (finished.allowed or {}) if finished else {}

    def flaky(self) -> int:
        """How many tasks succeeded only after they were retried, once the run has finished."""
        finished = self.state.finished if self.state else None
        return finished.flaky if finished else 0

    def to_json(self, now: str) -> dict[str, Any]:
        """The run as one JSON object, for `--json`; `now` as in `duration`."""
        state = self.state
        started = state.started if state else None
        finished = state.finished if state else None
        return {
            "run": self.directory.run_id,
            "job": started.job if started else None,
            "file": started.file if started else None,
            "started": started.time if started else None,
            "ended": finished.time if finished else None,
            "duration": self.duration(now),
            "outcome": self.outcome,
            "exit_code": finished.exit_code if finished else None,
            "reason": finished.reason if finished else None,
            "tasks": started.tasks if started else None,
            "counts": self.counts(),
            "allowed": self.allowed(),
            "flaky": self.flaky(),
            "resumed_from": started.resumed_from if started else None,
            "damage": self.damage,
        }

    def seconds_since_end(self, now: float) -> float | None:
        """How long ago it ended, or had its last event; None if its record does not say.

        `now` is the wall clock, in seconds since the epoch.
        """
        from datetime import datetime

        try:
            return now - datetime.fromisoformat(self.state.time if self.state else "").timestamp()
        except (ValueError, OverflowError):
            return None
