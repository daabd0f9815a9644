"""Who was whose child: a run's processes as a tree, by its record and, while it goes on, by /proc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.linux import procfs
from mprun.outcomes import Outcome, format_exit
from mprun.record import presence, reader

if TYPE_CHECKING:
    from mprun.record.presence import ProcessSnapshot
    from mprun.record.run_state import AttemptState, RunState
    from mprun.record.state_dir import RunDirectory

# What a process was to the run.
ENGINE = "engine"
LAUNCHER = "launcher"
FORK_SERVER = "fork server"
# Of which a damaged record tells only that it had children.
PARENT = "parent"
TASK = "task"
ORPHAN = "orphan"
# Seen now, and not in the record: what a task has started.
DESCENDANT = "descendant"

_IN_JSON = (
    *("role", "name", "attempt", "daemon", "pid", "ppid", "running", "suspended", "duration", "cpu"),
    *("max_rss", "threads", "exit_code", "signal", "end"),
)


class Process:
    """One process: `name` is a task's or a program's; `attempt` is None where it is no task's.

    `max_rss` is in bytes, `cpu` and `duration` in seconds; None is what nobody measured.
    `end` is how it ended, in words; None while it runs, or where nobody says.
    """

    __slots__ = (*_IN_JSON, "children")

    def __init__(self, role: str, name: str, pid: int, ppid: int | None) -> None:
        self.role = role
        self.name = name
        self.pid = pid
        self.ppid = ppid
        self.attempt: int | None = None
        self.daemon = False
        self.running = False
        self.suspended = False
        self.duration: float | None = None
        self.cpu: float | None = None
        self.max_rss: int | None = None
        self.threads: int | None = None
        self.exit_code: int | None = None
        self.signal: str | None = None
        self.end: str | None = None
        self.children: list[Process] = []

    def see(self, sight: ProcessSnapshot | None) -> None:
        """Take what can be seen of it now."""
        if sight is not None:
            self.running, self.suspended = True, sight.suspended
            self.duration, self.cpu = sight.duration, sight.cpu
            self.max_rss, self.threads = sight.max_rss, sight.threads

    def take(self, usage: dict[str, Any] | None) -> None:
        """Take what the record says that it used; what a damaged one has instead is left out."""
        for name in ("cpu", "max_rss", "threads"):
            value = (usage or {}).get(name)
            if isinstance(value, (int, float)) and 0 <= value < 2**63:
                setattr(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """It and what descends from it, as one JSON object."""
        value: dict[str, Any] = {name: getattr(self, name) for name in _IN_JSON}
        value["children"] = [child.to_json() for child in self.children]
        return value


def ancestry(directory: RunDirectory, state: RunState) -> list[Process]:
    """The processes of a run that are nobody's child in it: the engine, with all others below it.

    Where the record has lost its beginning, they are the parents that tasks tell of.
    """
    return _Ancestry(state, reader.run_outcome(directory, state)).roots


class _Ancestry:
    """Puts the processes of one run together."""

    def __init__(self, state: RunState, outcome: str) -> None:
        self._live = outcome == Outcome.RUNNING
        self._parents: dict[int, Process] = {}
        self._launcher: Process | None = None
        self.roots: list[Process] = []
        self._add_engine(state)
        for task in state.tasks.values():
            for attempt in task.attempts:
                self._add_attempt(attempt)
        if self._live:
            self._add_descendants()

    def _add_engine(self, state: RunState) -> None:
        started, finished = state.started, state.finished
        if started is None:
            return
        engine = Process(ENGINE, "mprun", started.pid, None)
        self._launcher = Process(LAUNCHER, "main", started.main_pid, started.pid)
        engine.children.append(self._launcher)
        self._parents[started.main_pid] = self._launcher
        self.roots.append(engine)
        if finished is not None:
            engine.exit_code = finished.exit_code
            engine.duration = None if state.unseen else finished.duration
            engine.end = format_exit(finished.exit_code, None)
            engine.take(finished.engine)
            self._launcher.take(finished.launcher)
        elif self._live:
            engine.see(presence.look(engine.pid))
            self._launcher.see(_look_at_child(self._launcher))
        else:
            engine.end = "ended before the run did"

    def _add_attempt(self, attempt: AttemptState) -> None:
        started, exited = attempt.started, attempt.exited
        process = Process(TASK, started.task, started.pid, started.ppid)
        process.attempt, process.daemon = started.attempt, started.daemon
        self._parent(started.ppid).children.append(process)
        if exited is None:
            if self._live:
                process.see(presence.look(started.pid, started.start_ticks))
            if not process.running:
                process.end = format_exit(None, None)
            return
        process.duration, process.cpu, process.max_rss = exited.duration, exited.cpu, exited.max_rss
        process.threads, process.exit_code, process.signal = exited.threads, exited.exit_code, exited.signal
        process.end = format_exit(exited.exit_code, exited.signal, exited.core_dumped)
        for pid in exited.orphans:
            orphan = Process(ORPHAN, ORPHAN, pid, None)
            orphan.end = "killed at its task's end"
            process.children.append(orphan)

    def _parent(self, pid: int) -> Process:
        """The process that has this pid; one between the launcher and a task is the fork server."""
        if pid not in self._parents:
            if self._launcher is None:
                parent = Process(PARENT, PARENT, pid, None)
                self.roots.append(parent)
            else:
                parent = Process(FORK_SERVER, FORK_SERVER, pid, self._launcher.pid)
                self._launcher.children.append(parent)
                if self._live:
                    parent.see(_look_at_child(parent))
            self._parents[pid] = parent
        return self._parents[pid]

    def _add_descendants(self) -> None:
        """Add what the running processes have started, which no record tells of."""
        everyone = procfs.processes()
        children: dict[int, list[int]] = {}
        for pid, stat in everyone.items():
            children.setdefault(stat.ppid, []).append(pid)
        waiting = list(self.roots)
        while waiting:
            process = waiting.pop()
            waiting += process.children
            known = {child.pid for child in process.children}
            for pid in sorted(children.get(process.pid, ())) if process.running else ():
                child = Process(DESCENDANT, procfs.read_name(pid), pid, process.pid)
                child.see(presence.look(pid, everyone[pid].start_ticks))
                if child.running and pid not in known:
                    process.children.append(child)
                    waiting.append(child)


def _look_at_child(process: Process) -> ProcessSnapshot | None:
    """What can be seen of a process of which the record has the parent, and not the start."""
    stat = procfs.read_stat(process.pid)
    return presence.look(process.pid, stat.start_ticks) if stat and stat.ppid == process.ppid else None
