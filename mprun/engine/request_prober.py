"""Decides when the executor probes attempts: by commands, and those on other hosts in each way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.engine.readiness import (
    LONG_TRY_SECONDS,
    MAX_REASON_CHARACTERS,
    MIN_PAUSE_SECONDS,
    no_answer_within,
    server_words,
)
from mprun.engine.signals import exit_signal
from mprun.executors.base import ProbeRequest
from mprun.outcomes import format_exit

if TYPE_CHECKING:
    from mprun.clock import Clock
    from mprun.executors.base import Executor, Probed
    from mprun.jobfile.model import Ready
    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_files import StateFile

# On Linux; not from `signal`, which takes a millisecond to import.
SIGKILL = 9
# The end of what a probe has printed, in which its last line is looked for, in bytes.
_TAIL_BYTES = 4096
# How long the answer of a try that was killed is waited for, in seconds: a process may not hear the kill.
MAX_WAIT_SECONDS = 2.0
# How long another answer is waited for, which has its own time limit, in seconds.
MAX_FAR_WAIT_SECONDS = 10.0
# How much of a command a reason shows, in characters.
_SHOWN_CHARACTERS = 80


class _Probed:
    """An attempt that is probed: its request, when the next try is due, and the last answer.

    Times are those of `Clock.timed`, in seconds. `begun` is when the present try began, None between
    two tries. `killed` is whether it was given up, `last_line` what it had printed last by then.
    """

    def __init__(self, ready: Ready, request: ProbeRequest, output: StateFile, now: float) -> None:
        self.is_command = ready.kind == "command"
        # What a reason begins with.
        self.words = f"command {ready.what[:_SHOWN_CHARACTERS]}: " if self.is_command else server_words(ready)
        self.longest = min(ready.try_timeout, ready.timeout)
        self.interval = ready.interval
        self.request = request
        self.output = output
        self.due = now
        self.begun: float | None = None
        self.killed = self.stopped = False
        # When its attempt was seen to have ended, None while it runs.
        self.ended: float | None = None
        self.last_line = ""
        self.reason = ""

    def deadline(self) -> float | None:
        """When something is to be done for it; None if not before its try has ended."""
        if self.begun is None:
            return None if self.stopped or self.ended is not None else self.due
        # Where another kind of try is made, it is also limited.
        return self.begun + self.longest if self.is_command and not self.killed else None


class RequestProber:
    """The tries of all attempts that are probed by requests, one at a time for each."""

    def __init__(self, executor: Executor, clock: Clock) -> None:
        self._executor = executor
        self._clock = clock
        self._attempts: dict[AttemptKey, _Probed] = {}
        self._ready: list[AttemptKey] = []
        self._try_count = 0

    @property
    def interval(self) -> float | None:
        """Seconds until `tick` is to be called again, None if a report comes before that."""
        deadlines = [found for one in self._attempts.values() if (found := one.deadline()) is not None]
        return max(0.0, min(deadlines) - self._clock.timed()) if deadlines else None

    def start(self, ready: Ready, request: ProbeRequest, output: StateFile) -> None:
        """Probe now and at every interval, until the attempt is ready, stopped or forgotten.

        `output` is where `request` has what a try prints.
        """
        self.forget(request.key)
        self._attempts[request.key] = _Probed(ready, request, output, self._clock.timed())
        self.tick()

    def tick(self) -> None:
        """Start the tries that are due, and give up those that have taken too long."""
        now = self._clock.timed()
        for key, probed in self._attempts.items():
            deadline = probed.deadline()
            if deadline is None or now < deadline:
                continue
            if probed.begun is not None:
                self._give_up(key, probed)
                continue
            self._try(probed, now)

    def _try(self, probed: _Probed, now: float) -> None:
        self._try_count += 1
        probed.begun, probed.killed = now, False
        probed.request = probed.request.replace(number=self._try_count)
        self._executor.probe(probed.request)

    def _give_up(self, key: AttemptKey, probed: _Probed) -> None:
        probed.killed = True
        # Before the kill: a shell may print which of its children was killed.
        probed.last_line = _last_line(probed.output)
        self._executor.end_probe(key)

    def handle_probed(self, report: Probed) -> None:
        """A try has ended."""
        probed = self._attempts.get(report.key)
        if probed is None or report.number != probed.request.number or probed.begun is None:
            return
        now = self._clock.timed(report.clock)
        was_ended_with_it = probed.ended is not None and not probed.killed and report.exit_code == -SIGKILL
        if not probed.stopped and not was_ended_with_it:
            probed.reason = self._reason(probed, report)
            if not probed.reason:
                del self._attempts[report.key]
                self._ready.append(report.key)
        probed.due = max(probed.begun + probed.interval, now + MIN_PAUSE_SECONDS)
        probed.begun = None

    def _reason(self, probed: _Probed, report: Probed) -> str:
        """Why the attempt is not ready, empty if it is."""
        code = report.exit_code
        if not probed.is_command:
            return "" if code == 0 else report.message or no_answer_within(probed.longest)
        if report.message:
            return f"it could not be started: {report.message}"
        if probed.killed:
            return _with_line(no_answer_within(probed.longest), probed.last_line)
        if code == 0:
            return ""
        words = format_exit(code, exit_signal(code), core_dumped=False)
        return _with_line(words, _last_line(probed.output))

    def read_to_end(self, key: AttemptKey) -> bool:
        """Get the last answer for an attempt that has ended by itself; whether it is to come.

        The present try of a command is ended: if it has succeeded by now, the attempt was ready. A file is
        looked for once more.
        """
        probed = self._attempts.get(key)
        if probed is None or probed.stopped:
            return False
        is_file = probed.request.kind == "file"
        if not is_file and (probed.begun is None or not probed.is_command):
            return False
        probed.ended = self._clock.timed()
        if is_file:
            # The present try may have looked for it before the end.
            self._try(probed, probed.ended)
        else:
            self._executor.end_probe(key)
        return True

    def is_last(self, report: Probed) -> bool:
        """Whether this is the answer to the last try for an attempt."""
        probed = self._attempts.get(report.key)
        return probed is None or probed.request.number == report.number

    def was_read_to_end(self, key: AttemptKey) -> bool:
        """Whether no answer is to come for an attempt that has ended."""
        probed = self._attempts.get(key)
        if probed is None or probed.ended is None or probed.begun is None:
            return True
        longest = MAX_WAIT_SECONDS if probed.is_command else MAX_FAR_WAIT_SECONDS
        return self._clock.timed() >= probed.ended + longest

    def was_ready(self, key: AttemptKey) -> bool:
        """Whether an attempt that has ended was ready; `take_ready` has not said so yet."""
        return key in self._ready

    def take_ready(self) -> list[AttemptKey]:
        """The attempts that became ready since the last call, each once."""
        ready, self._ready = self._ready, []
        return ready

    def stop(self, key: AttemptKey) -> None:
        """Probe no more, but keep the last reason; of the first try, that it had no answer yet."""
        probed = self._attempts.get(key)
        if probed is None or probed.stopped:
            return
        probed.stopped = True
        if probed.begun is not None:
            self._give_up(key, probed)
            lasted = self._clock.timed() - probed.begun
            if not probed.reason or lasted >= LONG_TRY_SECONDS:
                probed.reason = _with_line(no_answer_within(round(lasted, 1)), probed.last_line)

    def forget(self, key: AttemptKey) -> None:
        """Probe no more, and drop the reason and an answer that was not taken yet."""
        probed = self._attempts.pop(key, None)
        if probed is not None and probed.begun is not None:
            self._executor.end_probe(key)
        self._ready = [other for other in self._ready if other != key]

    def reason(self, key: AttemptKey) -> str:
        """Why a probed attempt was not ready at the last try; empty if it is unknown."""
        probed = self._attempts.get(key)
        if probed is None or not probed.reason:
            return ""
        return f"{probed.words}{probed.reason}"[:MAX_REASON_CHARACTERS]


def _with_line(words: str, line: str) -> str:
    return f"{words}: {line}" if line else words


def _last_line(output: StateFile) -> str:
    """The last line that a try has printed, without space around it; empty if there is none."""
    lines = output.read_end(_TAIL_BYTES).decode("utf-8", "backslashreplace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
