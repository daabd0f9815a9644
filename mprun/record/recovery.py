"""Ends what killed runs have left behind, and completes their records.

When the engine and the launcher are killed in the same moment, tasks die by the
parent-death signal, and what they had started lives on. The next start in the same state
directory finds the mark of such a run. What is provably its own is killed: a recorded
process that still has its start time, its session and descendants, and whatever bears the
run's id in its environment. What may be a stranger's is named and let be.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.clock import Clock
from mprun.errors import RecordError
from mprun.frozen import Frozen
from mprun.linux import pidfd_signals, procfs
from mprun.linux.kill_loop import kill_until_none_left
from mprun.outcomes import Outcome
from mprun.record import events
from mprun.record.aftermath import verdict
from mprun.record.pidfile import PidFile, of_others
from mprun.record.reader import read_unfinished
from mprun.record.recorder import Recorder
from mprun.record.run_state import RunState
from mprun.record.state_dir import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from mprun.linux.procfs import Stat

# For how long processes are killed again and again, in seconds.
END_SECONDS = 1.0
PAUSE = 0.001
# How many of those that were let be are named.
NAMED = 5

KILLED = "mprun was killed; found at the next start"


class Owner(Frozen):
    """The process that runs a job: its number alone may be another's by now, or elsewhere."""

    pid: int
    start_ticks: int
    boot_id: str
    host: str

    @classmethod
    def of(cls, mark: PidFile) -> Owner | None:
        """Who has set a mark; None where it is gone or says nothing."""
        try:
            pid, ticks, boot_id, host = mark.said().split(" ", 3)
            return cls(pid=int(pid), start_ticks=int(ticks), boot_id=boot_id, host=host)
        except ValueError:
            return None

    @property
    def on_this_boot(self) -> bool:
        """Whether it was started since this machine was, so that its number means something here."""
        return self.boot_id == procfs.boot_id()

    @property
    def on_this_host(self) -> bool:
        """Whether it ran under this host's name: not on another machine, nor in another container."""
        return self.host == os.uname().nodename

    @property
    def is_alive(self) -> bool:
        """Whether it is still there, as far as can be seen from here."""
        stat = procfs.read_stat(self.pid)
        return (
            self.on_this_boot and stat is not None and stat.is_alive and stat.start_ticks == self.start_ticks
        )


def sweep(directory: RunDirectory, warn: Callable[[str], None]) -> None:
    """Sweep every killed run beside this one; each is said in a line, and so is what goes wrong."""
    for run_id in of_others(directory):
        beside = RunDirectory(os.path.join(os.path.dirname(directory.path), run_id))
        try:
            said = _sweep(PidFile(beside))
        except Exception as error:
            # Whatever another run has left there, this one starts.
            said = f"run {run_id} was killed, and cannot be put in order: {error}"
        if said:
            warn(said)


def _sweep(mark: PidFile) -> str:
    """Sweep one run, unless it goes on; what there is to say."""
    owner = Owner.of(mark)
    if owner is None or owner.is_alive or not (owner.on_this_boot or owner.on_this_host):
        return ""
    if os.environ.get("MPRUN_RUN_ID") == mark.directory.run_id:
        # This is a part of it.
        return ""
    if not os.path.exists(mark.directory.events):
        return _sweep_unrecorded(mark, owner)
    try:
        recorder = Recorder(mark.directory)
    except RecordError:
        # It goes on, out of sight, or somebody else sweeps it.
        return ""
    try:
        state = read_unfinished(mark.directory)
        remains = Leftovers(mark.directory.run_id, owner, state)
        remains.end()
        was_over = state.finished is not None
        if not was_over:
            recorder.close_last_line()
            recorder.append(list(_completion(mark.directory, state)))
        mark.remove()
    finally:
        recorder.close()
    if was_over and not remains.ended:
        # Killed in the instant in which it was over.
        return ""
    return _told(mark.directory.run_id, remains)


def _sweep_unrecorded(mark: PidFile, owner: Owner) -> str:
    """Sweep a run that was killed while its targets were imported; it left no record."""
    if not owner.on_this_host:
        # Without a record there is no lock that could tell whether it goes on in its container.
        return ""
    remains = Leftovers(mark.directory.run_id, owner, RunState())
    remains.end()
    if not mark.remove():
        # Somebody else has swept it meanwhile, and says so.
        return ""
    mark.directory.remove()
    return _told(mark.directory.run_id, remains)


class Leftovers:
    """What is left of a killed run.

    `ended` are the pids that were killed, `left` those that could not be, `strangers` those
    that may be of the run or not.
    """

    def __init__(self, run_id: str, owner: Owner, state: RunState) -> None:
        self._owner = owner
        self._run_id = run_id
        # By pid, when it began; None where nobody knows.
        self._leaders = {
            attempt.started.pid: attempt.started.start_ticks
            for task in state.tasks.values()
            for attempt in task.attempts
            if attempt.exited is None
        }
        self.ended: set[int] = set()
        self.left: dict[int, Stat] = {}
        self.strangers: dict[int, Stat] = {}

    def end(self) -> None:
        """Kill what is provably the run's, until none is new."""
        if not self._owner.on_this_boot:
            # Nothing lives that was started before the machine was.
            return
        kill_until_none_left(self._find, self._kill, timeout=END_SECONDS, interval=PAUSE)

    def _find(self) -> dict[int, Stat]:
        everyone = procfs.processes()
        found = self._proven(everyone)
        if os.getpid() in found:
            # One of its tasks started this process, and whoever killed the run did not kill that task.
            return {}
        self.strangers = self._unproven(everyone, found)
        self.left = {pid: everyone[pid] for pid in found if everyone[pid].is_alive}
        return self.left

    def _kill(self, found: dict[int, Stat]) -> None:
        self.ended |= {pid for pid, stat in found.items() if pidfd_signals.kill(pid, stat.start_ticks)}

    def _proven(self, everyone: dict[int, Stat]) -> set[int]:
        leaders = {
            pid
            for pid, ticks in self._leaders.items()
            if pid in everyone and ticks is not None and everyone[pid].start_ticks == ticks
        }
        return procfs.descendants(
            everyone,
            {
                pid
                for pid, stat in everyone.items()
                if pid in leaders
                or stat.session in leaders
                # Nothing of the run is older than the run.
                or (stat.start_ticks >= self._owner.start_ticks and procfs.has_run_id(pid, self._run_id))
            },
        )

    def _unproven(self, everyone: dict[int, Stat], found: set[int]) -> dict[int, Stat]:
        """Who has a task's number, or is in a session of that number, and may be of the run or not.

        A number that lives with another start time, or is older than the run, is a stranger's for sure.
        """
        numbers = {pid for pid, ticks in self._leaders.items() if ticks is None or pid not in everyone}
        return {
            pid: stat
            for pid, stat in everyone.items()
            if pid not in found
            and stat.is_alive
            and stat.start_ticks >= self._owner.start_ticks
            and (pid in numbers or stat.session in numbers)
        }


def _completion(directory: RunDirectory, state: RunState) -> Iterator[events.Event]:
    """The events that the killed engine did not write: an outcome for each task, and the run's end."""
    clock = Clock()
    stamp: dict[str, Any] = {"time": clock.iso(clock.now()), "run": directory.run_id}
    end = state.time
    for task in state.tasks.values():
        if task.finished is None:
            outcome, reason, attempts = verdict(directory, task)
            event = events.TaskFinished(
                **stamp, task=task.name, outcome=str(outcome), attempts=attempts, reason=reason
            )
            state.apply(event)
            yield event
    yield events.RunFinished(
        **stamp,
        outcome=str(Outcome.INTERRUPTED),
        # Nobody saw it.
        exit_code=None,
        duration=state.seconds(end) or 0.0,
        counts=state.counts(),
        reason=KILLED,
    )


def _told(run_id: str, remains: Leftovers) -> str:
    number = len(remains.ended - {*remains.left})
    parts = ["none of its processes was left"]
    if number:
        parts = ["1 process of it was ended" if number == 1 else f"{number} processes of it were ended"]
    if remains.left:
        parts.append(f"could not be ended: {_names(remains.left)}")
    if remains.strangers:
        parts.append(f"let be, as nothing proves that it is of this run: {_names(remains.strangers)}")
    return f"run {run_id} was killed; {'; '.join(parts)}"


def _names(pids: Collection[int]) -> str:
    named = [f"process {pid} ({_name(pid)})" for pid in sorted(pids)[:NAMED]]
    return ", ".join(named) + (f" and {len(pids) - NAMED} more" if len(pids) > NAMED else "")


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().strip().decode("utf-8", "backslashreplace")
    except OSError:
        return "gone"
