"""The process tree of a run, by its record and, while the run is active, by the running processes.

psutil finds what they have started, so this works on macOS too. It is imported where it is used: the
import takes 15 ms, and most runs that are shown have finished.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.lean_json import decode
from mprun.outcomes import MPRUN_KILLED, Outcome, format_exit
from mprun.record import reader
from mprun.record.found import CPU, DURATION, MAX_RSS, PID, PPID, THREADS
from mprun.record.pidfile import PidFile
from mprun.record.process_snapshot import snapshot, snapshot_attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.record.process_snapshot import ProcessSnapshot
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import AttemptState, TaskState

# What a process is to the run. For users, the engine is mprun, and the launcher the main process of the job.
ENGINE = "mprun"
LAUNCHER = "main"
FORK_SERVER = "fork server"
# Known only as the parent of tasks, because the record has lost its beginning.
PARENT = "parent"
TASK = "task"
ORPHAN = "orphan"
# Running now and not in the record: a task has started it.
DESCENDANT = "descendant"

_EXIT_0 = format_exit(0, None)

_IN_JSON = (
    *("role", "name", "item", "attempt", "daemon", "pid", "ppid", "running", "suspended", "duration", "cpu"),
    *("max_rss", "threads", "exit_code", "signal", "status"),
)


class Process:
    """One process: `name` is a task's or a program's; `attempt` is None if it is not a task's.

    `max_rss` is in bytes, `cpu` and `duration` in seconds; None if they are unknown. `status`
    says in words what it is doing or how it ended; None if that is unknown.
    """

    __slots__ = (*_IN_JSON, "children")

    def __init__(self, role: str, name: str, pid: int, ppid: int | None) -> None:
        self.role = role
        self.name = name
        # That of an instance of a `foreach`, in short.
        self.item: str | None = None
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
        self.status: str | None = None
        self.children: list[AnyProcess] = []

    def set_running(self, process: ProcessSnapshot | None) -> None:
        """Take over what it is now, if it is running."""
        if process is not None:
            self.running, self.suspended, self.status = True, process.suspended, process.status
            self.duration, self.cpu = process.duration, process.cpu
            self.max_rss, self.threads = process.max_rss, process.threads

    def set_usage(self, usage: dict[str, Any] | None) -> None:
        """Take over what it used by the record; values that a corrupt record has instead are left out."""
        for name in ("cpu", "max_rss", "threads"):
            value = (usage or {}).get(name)
            if isinstance(value, (int, float)) and 0 <= value < 2**63:
                setattr(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """The process and its descendants as one JSON object."""
        return _to_json(self)


class PlainProcess:
    """That of a task that just succeeded, of which there may be many: the facts of a Process, on demand."""

    __slots__ = ("item", "task")
    role = TASK
    attempt = 1
    daemon = running = suspended = False
    exit_code = 0
    signal = None
    status = _EXIT_0
    children = ()

    def __init__(self, task: TaskState, item: str | None) -> None:
        self.task = task
        self.item = item

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.task.name

    pid = property(lambda self: decode(self.task.start[PID]))
    ppid = property(lambda self: decode(self.task.start[PPID]))
    duration = property(lambda self: decode(self.task.end[DURATION]))
    cpu = property(lambda self: decode(self.task.end[CPU]))
    max_rss = property(lambda self: decode(self.task.end[MAX_RSS]))
    threads = property(lambda self: decode(self.task.end[THREADS]))

    def to_json(self) -> dict[str, Any]:
        """The same as of a Process."""
        return _to_json(self)


AnyProcess = Process | PlainProcess


def _to_json(process: AnyProcess) -> dict[str, Any]:
    value: dict[str, Any] = {name: getattr(process, name) for name in _IN_JSON}
    value["children"] = [child.to_json() for child in process.children]
    return value


def build_tree(directory: RunDirectory, state: RunState) -> list[Process]:
    """The roots of a run's process tree: the engine, with all other processes below it.

    If the record has lost its beginning, the roots are the parents of the tasks.
    """
    owner = PidFile(directory).owner()
    # In another PID namespace, the recorded pids mean other processes.
    is_visible = owner is None or owner.may_be_seen
    return _TreeBuilder(state, reader.run_outcome(directory, state), is_visible=is_visible).roots


class _TreeBuilder:
    """Builds the process tree of one run."""

    def __init__(self, state: RunState, outcome: str, *, is_visible: bool) -> None:
        self._is_visible = is_visible
        self._is_active = outcome == Outcome.RUNNING
        # By the host, if the run is on several or is merged from shards, and the pid.
        self._parents: dict[tuple[str, int], Process] = {}
        self._launcher: Process | None = None
        self._launchers: dict[str, Process] = {}
        self._is_merged = state.started is not None and state.started.shards is not None
        # Whether a pid means nothing without its host.
        self._has_hosts = self._is_merged or (state.started is not None and bool(state.started.hosts))
        self.roots: list[Process] = []
        self._add_engine(state)
        # By the pid, as it is recorded: the children of a parent.
        found: dict[str, list[AnyProcess]] = {}
        items, has_hosts = state.items, self._has_hosts
        for task in state.tasks.values():
            item = items.get(task.name)
            if task.end and not has_hosts:
                ppid = task.start[PPID]
                siblings = found.get(ppid)
                if siblings is None:
                    siblings = found[ppid] = self._parent(int(ppid)).children
                siblings.append(PlainProcess(task, item))
                continue
            for attempt in task.attempts:
                self._add_attempt(attempt, item)
        if self._is_active and self._is_visible:
            self._add_descendants()

    def _add_engine(self, state: RunState) -> None:
        started, finished = state.started, state.finished
        if started is None:
            return
        if started.shards is not None:
            for shard in started.shards:
                self._add_shard(shard)
            return
        engine = Process(ENGINE, ENGINE, started.pid, None)
        self._launcher = Process(LAUNCHER, LAUNCHER, started.main_pid, started.pid)
        if started.hosts:
            self._add_hosts(engine, started.hosts)
        else:
            engine.children.append(self._launcher)
        self._parents["", started.main_pid] = self._launcher
        self.roots.append(engine)
        if finished is not None:
            engine.exit_code = finished.exit_code
            engine.duration = None if state.exit_unknown else finished.duration
            engine.status = MPRUN_KILLED if state.exit_unknown else format_exit(finished.exit_code, None)
            engine.set_usage(finished.engine)
            self._launcher.set_usage(finished.launcher)
        elif self._is_active:
            if self._is_visible:
                engine.set_running(snapshot(engine.pid))
                self._launcher.set_running(snapshot(self._launcher.pid, ppid=engine.pid))
        else:
            engine.status = MPRUN_KILLED

    def _add_hosts(self, engine: Process, hosts: Sequence[Any]) -> None:
        """Add the main process on each host of a run, as children of mprun, which had them started."""
        for one in hosts:
            match one:
                case {"host": str(host), "main_pid": int(main)}:
                    launcher = Process(LAUNCHER, f"{LAUNCHER} on {host}", main, None)
                    engine.children.append(launcher)
                    self._launchers.setdefault(host, launcher)
                    self._parents[host, main] = launcher
                    if self._is_active and host == os.uname().nodename:
                        launcher.set_running(snapshot(main))

    def _add_shard(self, shard: Any) -> None:
        """Add mprun and the main process of a shard of a merged run, on their host."""
        match shard:
            case {
                "shard": int(number),
                "of": int(of),
                "host": str(host),
                "pid": int(pid),
                "main_pid": int(main),
            }:
                engine = Process(ENGINE, f"{ENGINE}, shard {number}/{of} on {host}", pid, None)
                launcher = Process(LAUNCHER, LAUNCHER, main, pid)
            case _:
                # Something else has written the record.
                return
        engine.children.append(launcher)
        self._launcher = self._launchers[host] = launcher
        self._parents[host, main] = launcher
        self.roots.append(engine)
        code, duration = shard.get("exit_code"), shard.get("duration")
        engine.exit_code = code if type(code) is int else None
        engine.duration = duration if isinstance(duration, (int, float)) and 0 <= duration < 2**63 else None
        engine.status = MPRUN_KILLED if engine.exit_code is None else format_exit(engine.exit_code, None)

    def _add_attempt(self, attempt: AttemptState, item: str | None) -> None:
        started, exited = attempt.started, attempt.exited
        process = Process(TASK, started.task, started.pid, started.ppid)
        process.item = item
        process.attempt, process.daemon = started.attempt, started.daemon
        self._parent(started.ppid, started.host).children.append(process)
        if exited is None:
            if self._is_active and self._is_visible:
                process.set_running(snapshot_attempt(attempt))
            if not process.running and (self._is_visible or not self._is_active):
                process.status = format_exit(None, None)
            return
        process.duration, process.cpu, process.max_rss = exited.duration, exited.cpu, exited.max_rss
        process.threads, process.exit_code, process.signal = exited.threads, exited.exit_code, exited.signal
        process.status = format_exit(exited.exit_code, exited.signal, exited.core_dumped)
        for pid in exited.orphans:
            name = str((exited.process_names or {}).get(str(pid)) or "")
            orphan = Process(ORPHAN, name or ORPHAN, pid, None)
            orphan.status = "killed at its task's end"
            process.children.append(orphan)

    def _parent(self, pid: int, host: str = "") -> Process:
        """The process with this pid; one between the launcher and a task is the fork server."""
        key = host if self._has_hosts else "", pid
        if key not in self._parents:
            launcher = self._launchers.get(host, self._launcher)
            if launcher is None:
                parent = Process(PARENT, PARENT, pid, None)
                self.roots.append(parent)
            else:
                parent = Process(FORK_SERVER, FORK_SERVER, pid, launcher.pid)
                launcher.children.append(parent)
                if self._is_active and self._is_visible:
                    parent.set_running(snapshot(pid, ppid=launcher.pid))
            self._parents[key] = parent
        return self._parents[key]

    def _add_descendants(self) -> None:
        """Add the processes that running ones have started, which no record contains."""
        children = _children_by_parent(self.roots)
        unvisited: list[AnyProcess] = list(self.roots)
        while unvisited:
            process = unvisited.pop()
            unvisited += process.children
            known = {child.pid for child in process.children}
            for pid, name in sorted(children.get(process.pid, ())) if process.running else ():
                if pid in known:
                    continue
                child = Process(DESCENDANT, name, pid, process.pid)
                child.set_running(snapshot(pid, ppid=process.pid))
                if child.running and isinstance(process, Process):
                    process.children.append(child)
                    unvisited.append(child)


def _children_by_parent(roots: list[Process]) -> dict[int, list[tuple[int, str]]]:
    """The pids and names of all descendants of running processes, by the pid of their parent."""
    import psutil

    found: dict[int, list[tuple[int, str]]] = {}
    for root in roots:
        try:
            descendants = psutil.Process(root.pid).children(recursive=True) if root.running else []
        except psutil.Error:
            continue
        for process in descendants:
            try:
                found.setdefault(process.ppid(), []).append((process.pid, process.name()))
            except psutil.Error:
                # It has ended since.
                continue
    return found
