"""What a run shows: tasks' output on stdout, mprun's own words on stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from mprun import outcomes
from mprun.events import (
    Event,
    RunFinished,
    RunStarted,
    TaskExited,
    TaskFinished,
    TaskJoined,
    TaskReady,
    TaskStarted,
    TaskStopping,
)
from mprun.reporters import table, workflow
from mprun.reporters.lineage import Lineage
from mprun.reporters.tail import Tail
from mprun.reporters.words import columns, headline, reason, span, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mprun.state import RunState
    from mprun.statedir import RunDirectory

OUTPUTS = ("prefix", "group", "failed", "none")

# A name in front of a line is cut to this many columns.
PREFIX_LIMIT = 40
MAIN = "main"
# Foreground colours of the prefixes, in turn (ECMA-48 SGR): none is red, which means failed.
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


def wants_colour(stream: object) -> bool:
    """Whether to colour what goes to a stream: NO_COLOR, FORCE_COLOR, else a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


class Output:
    """Tasks' output on stdout, in whole lines with the task's name in front.

    `lost` is called once where it cannot be written, unless nobody reads it.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        prefix: bool = True,
        lost: Callable[[OSError], object] | None = None,
    ) -> None:
        self._lost = lost
        self._inert = workflow.is_read()
        self._terminal = sys.stdout.isatty()
        self._colour = wants_colour(sys.stdout)
        self._prefix = prefix
        self._width = 0
        for name in (MAIN, *names):
            self._widen(visible(name))
        self._colours: dict[str, int] = {}
        self._inside_line = False
        # Whether nothing is written any more.
        self.broken = False

    @property
    def exact(self) -> bool:
        """Whether what is written without a name in front are the bytes as they are."""
        return not self._terminal and not self._inert

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write pieces of whole lines of one task."""
        for piece in () if self.broken else pieces:
            if self._inert:
                piece = workflow.inert(piece)
            if self._terminal:
                piece = visible(piece.decode("utf-8", "backslashreplace")).encode()
            self._write(self._with_prefix(name, piece) if self._prefix else piece)

    def write_exactly(self, pieces: Iterable[bytes]) -> None:
        """Write bytes as they are, which may end inside of a line."""
        for piece in () if self.broken else pieces:
            self._write(piece)
            self._inside_line = piece[-1:] != b"\n" if piece else self._inside_line

    def end_line(self) -> None:
        """End a line that was written in part."""
        if self._inside_line:
            self._write(b"\n")
            self._inside_line = False

    def _with_prefix(self, name: str, piece: bytes) -> bytes:
        prefix = self._prefix_of(name)
        return prefix + piece[:-1].replace(b"\n", b"\n" + prefix) + b"\n"

    def _prefix_of(self, name: str) -> bytes:
        shown = visible(name)
        # A list that a task returns makes tasks that nobody knew of.
        self._widen(shown)
        while columns(shown) > self._width:
            shown = shown[:-1]
        shown += " " * (self._width - columns(shown))
        if not self._colour:
            return f"{shown} | ".encode("utf-8", "backslashreplace")
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{shown} |\x1b[0m ".encode("utf-8", "backslashreplace")

    def _widen(self, name: str) -> None:
        self._width = max(self._width, min(PREFIX_LIMIT, columns(name)))

    def _write(self, data: bytes) -> None:
        if self.broken:
            return
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except (OSError, ValueError) as error:
            # Nobody reads any more (`mprun … | head`), or the disk under it is full: the logs
            # and the exit code go on.
            self.broken = True
            silence(sys.stdout)
            if self._lost and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                self._lost(error)


def silence(stream: object) -> None:
    """Let a stream whose reader is gone write to nowhere, so that closing it raises nothing."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())  # type: ignore[attr-defined]
    os.close(null)


class Console:
    """Shows a run while it goes on; see `mprun.reporters.base.Reporter`."""

    # The view is this far behind a task's output at most (DESIGN.md section 2), in seconds.
    interval: float | None = 0.1

    def __init__(
        self,
        directory: RunDirectory,
        names: Iterable[str],
        *,
        is_ended: Callable[[], bool],
        output: str = "prefix",
        verbosity: int = 0,
    ) -> None:
        self._directory = directory
        self._is_ended = is_ended
        self._mode = output
        self._verbosity = verbosity
        self._output = Output(names, prefix=output != "none", lost=self._output_is_lost)
        self._lineage = Lineage()
        self._tails: dict[str, Tail] = {}
        self._main = Tail(directory.main_log)
        self._stderr_broken = False
        self._stopping = False
        self._warm = not sys.stderr.isatty() or verbosity < 0
        # By the kind of an event: most tell nothing that is shown.
        self._shows: dict[type[Event], Callable[[Any], None]] = {
            RunStarted: self._begin,
            TaskStopping: self._say_stopping,
            **self._output_shows(output),
        }

    def handle(self, event: Event, state: RunState) -> None:
        show = self._shows.get(type(event))
        if show is not None:
            show(event)
        if self._verbosity > 0:
            for line in self._lineage.lines(event, state):
                self._say(line)
        if isinstance(event, RunFinished):
            self._summary(event, state)

    def tick(self) -> None:
        if self._mode == "prefix":
            self._output.write(MAIN, self._main.read())
            for name, tail in self._tails.items():
                self._output.write(name, tail.read())
        if not self._warm and self._tails:
            # The table at the end needs it; now there is time.
            import rich.table  # noqa: F401

            self._warm = True

    def close(self) -> None:
        for tail in (self._main, *self._tails.values()):
            tail.close()
        self._to_stderr(lambda: None)

    # ---- tasks' output

    def _output_shows(self, mode: str) -> dict[type[Event], Callable[[Any], None]]:
        """What an event does for tasks' output, by its kind.

        A task's log is read to its end before its end is shown, or what depended on it.
        """
        if mode == "prefix":
            return {
                TaskStarted: self._follow,
                TaskReady: self._show_new,
                TaskExited: self._show_rest,
                RunFinished: self._show_all,
            }
        if mode == "group":
            return {
                TaskStarted: self._follow_after_rest,
                TaskJoined: self._show_rest,
                RunFinished: self._show_all,
            }
        if mode == "failed":
            return {TaskStarted: self._follow, TaskFinished: self._show_if_bad}
        return {}

    def _follow(self, event: TaskStarted) -> None:
        self._tails[event.task] = Tail(self._directory.log(event.task, event.attempt))

    def _follow_after_rest(self, event: TaskStarted) -> None:
        # What an earlier attempt printed comes before what the next one will.
        self._drain(event.task)
        self._follow(event)

    def _show_new(self, event: TaskReady) -> None:
        if event.task in self._tails:
            self._output.write(event.task, self._tails[event.task].read())

    def _show_rest(self, event: TaskExited | TaskJoined) -> None:
        self._drain(event.task)

    def _show_if_bad(self, event: TaskFinished) -> None:
        if event.outcome in outcomes.BAD:
            self._drain(event.task)
        else:
            self._tails.pop(event.task, None)

    def _show_all(self, _event: RunStarted | RunFinished) -> None:
        self._output.write(MAIN, self._main.read(to_end=True))
        for name in list(self._tails):
            self._drain(name)

    def _drain(self, name: str) -> None:
        tail = self._tails.pop(name, None)
        if tail is not None:
            self._output.write(name, tail.read(to_end=True))
            tail.close()

    def _output_is_lost(self, error: OSError) -> None:
        self._say(
            f"warning: tasks' output cannot be written any more: {error.strerror}; "
            "the run goes on, and the logs have all of it"
        )

    # ---- mprun's own words

    def _say(self, text: str, style: str = "") -> None:
        if style and wants_colour(sys.stderr):
            text = f"\x1b[{style}m{text}\x1b[0m"
        self._to_stderr(lambda: sys.stderr.write(text + "\n"))

    def _to_stderr(self, write: Callable[[], object]) -> None:
        """Write to stderr and flush it, unless nobody takes what goes there."""
        if self._stderr_broken:
            return
        try:
            write()
            sys.stderr.flush()
        except (OSError, ValueError):
            self._stderr_broken = True
            silence(sys.stderr)

    def _begin(self, event: RunStarted) -> None:
        if self._verbosity >= 0:
            numbers = (event.tasks, event.mode, event.at_once, event.cpus)
            self._say(f"{headline(event.job, *numbers, event.start_method)}, run {event.run}", "1")
        if self._mode in ("prefix", "group"):
            self._show_all(event)

    def _say_stopping(self, _event: TaskStopping) -> None:
        if self._is_ended() and not self._stopping:
            self._stopping = True
            if self._verbosity >= 0:
                self._say("stopping; what does not end in time is killed, at once by another Ctrl-C", "1")

    def _table(self, event: RunFinished, state: RunState) -> None:
        """All tasks; of very many, those that did not do what they were to do."""
        colour = wants_colour(sys.stderr)
        if len(state.tasks) <= table.MOST_ROWS:
            rows = table.rows(state)
        else:
            rows = table.bad_rows(state)[: table.MOST_ROWS]
        if rows:
            self._to_stderr(lambda: table.write(table.HEAD, rows, sys.stderr, colour))
        if left_out := len(state.tasks) - len(rows):
            self._say(f"{left_out} of {len(state.tasks)} tasks are not listed; `mprun show` lists them")

    def _summary(self, event: RunFinished, state: RunState) -> None:
        if self._verbosity < 0 and event.exit_code == 0:
            return
        if self._verbosity >= 0:
            self._table(event, state)
        bad = [task for task in state.tasks.values() if task.outcome in outcomes.BAD]
        failed = [task for task in bad if task.finished and not task.finished.allowed]
        for task in failed[: table.MOST_ROWS]:
            self._say(f"{visible(task.name)} {visible(table.outcome_words(task))}", "31")
        if len(failed) > table.MOST_ROWS:
            self._say(f"… and {len(failed) - table.MOST_ROWS} more", "31")
        counts = ", ".join(
            f"{event.counts[word]} {word}" for word in outcomes.OUTCOMES if word in event.counts
        )
        why = f" ({reason(event.reason)})" if event.reason else ""
        self._say(
            f"{event.outcome}{why}: {counts} in {span(event.duration)}", "31" if event.exit_code else "32"
        )
        if event.exit_code:
            self._say(f"record: {os.path.relpath(self._directory.path)}")
