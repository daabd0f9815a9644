"""The events of a run: facts in the past tense, as `schemas/event.schema.json` describes them."""

from __future__ import annotations

from typing import Any, ClassVar

from mprun.frozen import Frozen

# The version of the format: one more when a field or a word that a reader looks for changes.
FORMAT = 2


class Event(Frozen):
    """One fact. `time` is UTC in ISO 8601, `run` the id of the run."""

    event: ClassVar[str]

    time: str
    run: str

    def to_record(self) -> dict[str, Any]:
        """The event as one object of `events.jsonl`, with its kind first."""
        return dict(zip(KEYS[self.event], (self.event, *self.to_tuple()), strict=True))


class RunStarted(Event):
    """Every target was imported and checked; no task has started yet.

    `pid` is the engine's, `main_pid` the launcher's; `cwd` is the directory of the launcher, `state_dir` the
    state directory that has the record, both None in the record of an older mprun. `at_once` is how many
    tasks can run at the same time, `cpus` how many cores they can use. `resources` are the tokens of the job,
    None in the record of an older mprun.
    `trace` has the `parent` that TRACEPARENT named at the start, and its `state`; None if there was none.
    `shards` are the runs of which this one is merged, None if it is not; `pid` and `main_pid` are then those
    of one of them. `hosts` are the main processes of a run on several hosts, None if it is on this one.
    """

    event = "run_started"

    format: int = FORMAT
    job: str
    file: str
    cwd: str | None = None
    state_dir: str | None = None
    host: str
    pid: int
    main_pid: int
    main_name: str = "MainProcess"
    cpus: int
    tasks: int
    at_once: int
    max_parallel: int
    mode: str
    start_method: str
    boot_id: str | None
    python: str
    params: dict[str, Any]
    options: dict[str, Any]
    files: tuple[dict[str, str], ...]
    resumed_from: str | None = None
    resources: dict[str, Any] | None = None
    trace: dict[str, Any] | None = None
    shards: tuple[dict[str, Any], ...] | None = None
    hosts: tuple[dict[str, Any], ...] | None = None


class TasksPlanned(Event):
    """The tasks of the plan in the order of the file, or, with `group`, what that task was expanded to.

    `items` has, by name, the item of each instance of a `foreach`, in short. What `needs`, `resources` and
    `env` have is in `mprun.record.task_details`; in the record of an older mprun, `needs` is None.
    """

    event = "tasks_planned"

    group: str
    tasks: tuple[str, ...]
    items: dict[str, str]
    needs: tuple[Any, ...] | None = None
    resources: tuple[Any, ...] = ()
    env: tuple[Any, ...] = ()


class TaskStarted(Event):
    """An attempt has a process; `target` is what it runs: an import path or a command.

    `start_ticks` is field 22 of its /proc/PID/stat (proc(5)). `queued` is about a task with tokens: for
    how many `seconds` before its start it lacked nothing but these and a slot, and the name of those that it
    `lacked`, empty if it waited for none; None of other tasks.
    """

    event = "task_started"

    task: str
    attempt: int
    pid: int
    ppid: int
    start_ticks: int | None
    host: str
    daemon: bool
    target: str
    queued: dict[str, Any] | None = None


class TaskReady(Event):
    """A running attempt is ready, by the `ready` probe of its task."""

    event = "task_ready"

    task: str
    attempt: int


class TaskStopping(Event):
    """A signal was sent to an attempt; `reason` is `timeout`, `run_finished`, `user` or another."""

    event = "task_stopping"

    task: str
    attempt: int
    signal: str
    reason: str


class TaskExited(Event):
    """An attempt's process has ended. `duration` and `cpu` are in seconds, `max_rss` in bytes.

    `exit_code` is the kernel's, negative for a signal, and None if it is unknown. `orphans` are the
    pids of descendants that were still running and were killed, `left_running` of those that could not be.
    `lost_output` is how many bytes of its log are lost, as far as is known: it has truncated it.
    `process_names` are the names of the first of those processes, by pid: the programs that they ran.
    """

    event = "task_exited"

    task: str
    attempt: int
    pid: int
    exit_code: int | None
    signal: str | None
    core_dumped: bool = False
    duration: float
    cpu: float | None
    max_rss: int | None
    threads: int | None
    error: dict[str, str] | None
    orphans: tuple[int, ...]
    left_running: tuple[int, ...] = ()
    lost_output: int = 0
    process_names: dict[str, str] | None = None


class TaskRetrying(Event):
    """Another attempt will start in `delay` seconds; `attempt` is its number."""

    event = "task_retrying"

    task: str
    attempt: int
    delay: float
    reason: str


class TaskFinished(Event):
    """A task has its outcome, which is final; `result` is its result if that is at most 64 KiB of JSON.

    `reused` says that an earlier run ended the task, and that this one has not run it again, `flaky` that
    it succeeded only after it was retried; the reason is `flaky`, too, if that fails the run.
    """

    event = "task_finished"

    task: str
    outcome: str
    attempts: int
    reason: str
    result: Any = None
    result_kind: str = "none"
    allowed: bool = False
    reused: bool = False
    flaky: bool = False


class TaskJoined(Event):
    """A finished task was joined, as number `position` from 1, of `of`."""

    event = "task_joined"

    task: str
    position: int
    of: int


class HostChanged(Event):
    """A host has `joined` the run, was `lost` or `refused`, or sent a `late_answer` about an attempt."""

    event = "host_changed"

    host: str
    change: str
    worker: str = ""
    reason: str = ""
    main_pid: int | None = None
    slots: int | None = None
    boot_id: str | None = None
    task: str | None = None
    attempt: int | None = None


class RunFinished(Event):
    """The run has finished; `counts` has the number of tasks by outcome.

    `allowed` has the number of those that failed with `allow_failure`, by outcome, and `flaky` is the
    number of those that succeeded only after they were retried.
    `exit_code` is mprun's. It is None if mprun was killed; `duration` then ends at the last event.
    `engine` and `launcher` are what these processes used, as `procfs.usage` returns it; None if
    that is unknown.
    """

    event = "run_finished"

    outcome: str
    exit_code: int | None
    duration: float
    counts: dict[str, int]
    reason: str = ""
    allowed: dict[str, int] | None = None
    engine: dict[str, Any] | None = None
    launcher: dict[str, Any] | None = None
    flaky: int = 0


KINDS: dict[str, type[Event]] = {
    kind.event: kind
    for kind in (
        RunStarted,
        TasksPlanned,
        TaskStarted,
        TaskReady,
        TaskStopping,
        TaskExited,
        TaskRetrying,
        TaskFinished,
        TaskJoined,
        HostChanged,
        RunFinished,
    )
}

# By the kind of an event, the keys of its object in a record, in order.
KEYS = {name: ("event", *kind._fields) for name, kind in KINDS.items()}


def annotation_of(kind: type[Event], name: str) -> str:
    """The type of a field of an event, as it is declared."""
    return str(kind.__annotations__.get(name) or Event.__annotations__[name])
