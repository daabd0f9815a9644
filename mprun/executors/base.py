"""The protocol between the engine and an executor: requests, and the reports that answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mprun.frozen import Frozen

if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey


# The executors by name, the default first, which is there before the command line is read; the classes of the
# others are found by `mprun.executors.by_name`.
EXECUTORS = {"local": "", "dask": "mprun.executors.dask.executor:DaskExecutor"}
# The options of a run that say where a cluster is.
CLUSTER_OPTIONS = ("scheduler", "scheduler_file", "tls_ca", "tls_cert", "tls_key")


class Call(Frozen):
    """A target and its arguments, to be resolved and bound before anything starts.

    `args` is None if their number is not known yet: then only the target is resolved.
    """

    target: str
    args: tuple[Any, ...] | None
    kwargs: dict[str, Any]


class PrepareRequest(Frozen):
    """What an executor needs before the first start.

    `cwd` is the directory in which it runs, None for the current one. `import_path` goes to the head
    of sys.path; `folders` are the directories of the logs and of the result files, each a path, device and
    inode (see `worker.open_folder`); `log` is the log for the output of the targets' modules at import;
    `methods` are the start methods that will be used; at most `max_parallel` attempts run at once, not
    counting daemons. Commands have no entry in `calls`. `env` are variables that are set before the first
    import. `secrets` are texts that no message may contain. `identity` differs from that of every other
    directory of a run, copies too. With `tell_modules`, the executor must know which files were imported,
    with `tell_imports` also by which names (`Executor.imports`).
    """

    run_id: str
    cwd: str | None = None
    import_path: tuple[str, ...]
    log: str
    folders: tuple[tuple[str, int, int], tuple[str, int, int]] = (("/", 0, 0), ("/", 0, 0))
    start_method: str
    methods: tuple[str, ...]
    preload: tuple[str, ...]
    max_parallel: int
    env: dict[str, str]
    calls: tuple[Call, ...]
    secrets: tuple[str, ...] = ()
    identity: str = ""
    tell_modules: bool = False
    tell_imports: bool = False


class StartRequest(Frozen):
    """A request to start an attempt: what its process is called and what it does.

    Either `target` or `command` is None. `command` is a program and its arguments, which the
    process executes without a shell; its `start_method` is `fork`. `limits` are those that the
    process sets for itself, by their names in the job file. `log` is the name of a file
    among the logs, `result` one among the result files without its suffix.
    `stacks` says whether `Executor.signal` may ask for the stacks of its
    threads. The attempt starts once the attempts in `after` have
    succeeded, each within its timeout in seconds: see `mprun.scheduling.instructions.Start`. With `capture`,
    1 or 0, what a command prints on standard output goes into a result file, too; of a target, which files
    its process has imported.
    `artifacts` is the name of the directory of its task among the artifacts, "" if it has none; on this
    machine its path is in `env`. `host` is what its worker must have. `mprun.launcher.channel` defines in
    which order the other fields travel.
    """

    key: AttemptKey
    name: str
    position: int
    daemon: bool
    start_method: str
    target: str | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    log: str
    result: str
    env: dict[str, str]
    cwd: str | None
    command: tuple[str, ...] | None = None
    limits: dict[str, Any] | None = None
    stacks: bool = False
    after: tuple[tuple[AttemptKey, float | None], ...] = ()
    capture: int = 0
    artifacts: str = ""
    host: dict[str, float] | None = None


class ProbeRequest(Frozen):
    """A request to find out once whether an attempt is ready, by a command or, where it runs, in another way.

    Each try of a run has another `number`. `task` is the name of the attempt's task; `what` are the words of
    the command, or the one word that `ready` has for another `kind`. `env` and `cwd` are the attempt's,
    `output` is the name of a file among the logs that gets what the command prints.
    `mprun.launcher.launcher` reads these fields in this order (`COMMAND_FIELDS`). The others are for the
    other kinds: `pid` is the process of the attempt, and the try may take so many `seconds`.
    """

    key: AttemptKey
    number: int
    task: str
    what: tuple[str, ...]
    env: dict[str, str]
    cwd: str | None
    output: str
    kind: str = "command"
    pid: int | None = None
    seconds: float = 0.0


COMMAND_FIELDS = 7


class BindError(Frozen):
    """A call that cannot be made: its number, a message, and the path to the fault inside the task.

    `word` is the faulty word of the job file and `candidates` are the known names. The number
    of a module in `preload` is negative, from -1 down.
    """

    number: int
    message: str
    where: tuple[str | int, ...]
    word: str
    candidates: tuple[str, ...]


class Importing(Frozen):
    """The executor begins to import the module of the call with this number.

    The modules of `preload` have negative numbers, from -1 down.
    """

    number: int


class PrepareReply(Frozen):
    """The answer to `PrepareRequest`: every target is resolved and bound, or there are `errors`.

    `pid` and `name` are those of the process that tasks see as their parent. `threads` names
    the modules whose import started a thread, `refused` what the system does not let it
    use: system calls, and /proc. `differences` say in what the hosts differ on which the attempts would run:
    then nothing may start. `hosts` are the main processes of a run on several hosts, `pid` that of the first.
    """

    pid: int
    name: str
    errors: tuple[BindError, ...]
    threads: tuple[str, ...]
    refused: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    hosts: tuple[dict[str, Any], ...] = ()


class Started(Frozen):
    """An attempt has a process; `clock` is the reading of the monotonic clock in seconds.

    `host` is where that is, "" for this machine.
    """

    key: AttemptKey
    clock: float
    pid: int
    ppid: int
    start_ticks: int | None
    host: str = ""


class NotStarted(Frozen):
    """An attempt could not be started, or, if `unseen`, it may have been; `message` says why.

    `left_running` are then the pids of processes that may be its, and could not be killed.
    """

    key: AttemptKey
    clock: float
    message: str
    unseen: bool = False
    left_running: tuple[int, ...] = ()


class StartCancelled(Frozen):
    """An attempt will not be started: it was cancelled, or one that it depends on has not succeeded.

    With `host_lost`, it was to start on a host that is lost, and has not begun.
    """

    key: AttemptKey
    clock: float
    host_lost: bool = False


class Suspended(Frozen):
    """The answer to `Executor.suspend`: every running attempt is stopped."""


class Exited(Frozen):
    """An attempt's process has ended; times in seconds, `max_rss` in bytes, None if unknown.

    `orphans` are the pids of the processes that it left behind and that were killed. `asked` is
    whether `Executor.signal` had sent it a signal before. `log_error` says why its log is not
    complete, "" if it is. `unfinished` says why it did not come to its end although its exit code is 0,
    "" if it did. `left_running` are the pids of processes that could not be killed; if its own is one of
    them, it has not ended. `lost_output` is how many bytes of its log it has lost by truncating it, as far
    as that was seen. `process_names` has the names of the processes in `orphans` and `left_running`, by pid,
    as far as they are known. `out_of_memory` is not None if the kernel killed a process for lack of memory
    when this one ended: the limit that was reached, in bytes, "" if there is none. `unseen` says why no one
    saw how it ended, "" if that is known. `artifacts_error` says why its artifacts are not complete, "" if
    they are.
    """

    key: AttemptKey
    clock: float
    pid: int
    exit_code: int | None
    core_dumped: bool
    duration: float
    cpu: float | None
    max_rss: int | None
    threads: int
    orphans: tuple[int, ...]
    asked: bool = True
    log_error: str = ""
    unfinished: str = ""
    left_running: tuple[int, ...] = ()
    lost_output: int = 0
    process_names: dict[str, str] | None = None
    out_of_memory: str | None = None
    unseen: str = ""
    artifacts_error: str = ""


class Probed(Frozen):
    """A try of `Executor.probe` has ended; `exit_code` is None if it is unknown or there was no process.

    `message` says why it could not be started. Of other kinds than `command`, `exit_code` is 0 if the attempt
    is ready, else `message` says why it is not: "" if there was no answer in time.
    """

    key: AttemptKey
    clock: float
    number: int
    exit_code: int | None
    message: str


class ExecutorLost(Frozen):
    """The executor itself is gone; `how` says how it ended, and what could not be killed: the pids in `left`.

    With `unseen`, an attempt whose start was not reported may have begun all the same; else its log, or a
    note beside the logs, shows it.
    """

    how: str
    unseen: bool = False
    left: tuple[int, ...] = ()


class HostChange(Frozen):
    """What has become of a host; `mprun.engine.host_changes` has each `change` with its `facts`."""

    clock: float
    change: str
    host: str
    facts: dict[str, Any]


class SlotsChange(Frozen):
    """The run has so many slots more, or fewer; `reason` says what else the user must know, "" if nothing."""

    clock: float
    more: int
    reason: str = ""


if TYPE_CHECKING:
    Report = (
        Importing
        | PrepareReply
        | Started
        | NotStarted
        | StartCancelled
        | Suspended
        | Exited
        | Probed
        | ExecutorLost
        | HostChange
        | SlotsChange
    )


class Executor(Protocol):
    """Starts attempts and reports on them; only `close` may block.

    `probe_kinds` are the kinds of `ready` for which it is asked to `probe`. The engine probes in the other
    ways itself: on its own machine.
    """

    # Those of `mprun.executors.by_name.FEATURES` that it lacks.
    unsupported: frozenset[str]
    probe_kinds: frozenset[str]

    def fileno(self) -> int:
        """A descriptor that is readable when there are reports."""

    def prepare(self, request: PrepareRequest) -> None:
        """Resolve and bind every call; answered by `Importing`s and a `PrepareReply`."""

    def start(self, request: StartRequest) -> None:
        """Start an attempt once a slot is free; answered by `Started` and `Exited`, or `NotStarted`.

        Requests may arrive before there is a slot for them (`mprun.scheduling.scheduler.AHEAD`), and
        wait for one in the order of their arrival. A request is cancelled if an attempt that it
        depends on has ended already.
        """

    def cancel(self, key: AttemptKey) -> None:
        """Cancel a start; answered by `StartCancelled`, unless the attempt has been started."""

    def signal(self, key: AttemptKey, name: str, *, title: str = "", to: str = "group") -> None:
        """Send a signal to an attempt's process group, or with `to="process"` to its process alone.

        SIGKILL always goes to its whole process tree.

        With a `title`, its log first gets the stacks of its threads below this title.
        """

    def probe(self, request: ProbeRequest) -> None:
        """Probe an attempt; answered by `Probed`. One try at a time for each attempt.

        A `file` is also looked for after the end of the attempt.
        """

    def end_probe(self, key: AttemptKey) -> None:
        """Kill the process tree of the command that probes this attempt, if there is one."""

    def suspend(self) -> None:
        """Stop every running attempt (SIGSTOP) and start no other; answered by `Suspended`."""

    def resume(self) -> None:
        """Resume all attempts (SIGCONT)."""

    def wake(self) -> bool:
        """Resume the executor itself if it is stopped (SIGSTOP); whether it was."""

    def imports(self) -> dict[str, Any] | None:
        """After a reply to a request with `tell_imports`: what was imported; None if that is not known.

        `began` is when, in nanoseconds since the epoch, `path` where modules are found. `modules` has the
        file of each module that is not part of Python, `files` what these were then, and `at_start` names
        those that were there before. `cache` is where compiled modules are, if not beside their files.
        """

    def usage(self) -> dict[str, Any] | None:
        """What the executor itself has used on this machine, as `procfs.usage` does; None if unknown."""

    def flush(self) -> bool:
        """Send the requests so far; False if some of them must wait until the executor reads."""

    def receive(self) -> list[Report]:
        """The reports since the last call."""

    def close(self, *, kill: bool = False) -> None:
        """End the executor and everything that it runs; with `kill`, without asking it first."""
