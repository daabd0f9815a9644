"""What the engine asks of an executor, and what an executor reports back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mprun.frozen import Frozen

if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey


class Call(Frozen):
    """A target and its arguments, to be resolved and bound before anything starts.

    `args` is None where nobody knows yet how many there will be: then only the target counts.
    """

    target: str
    args: tuple[Any, ...] | None
    kwargs: dict[str, Any]


class PrepareRequest(Frozen):
    """What an executor needs before the first start.

    `import_path` goes to the head of sys.path; `log` is the file that takes what the
    targets' modules print at import; `methods` are the start methods that will be used;
    no more than `max_parallel` attempts that are no daemons may run at once. A command
    has no entry in `calls`.
    """

    run_id: str
    import_path: tuple[str, ...]
    log: str
    start_method: str
    methods: tuple[str, ...]
    preload: tuple[str, ...]
    max_parallel: int
    calls: tuple[Call, ...]


class StartRequest(Frozen):
    """One attempt to start: the process's name and kind, and what it is to do.

    Either `target` or `command` is None. `command` is a program and its arguments, which the
    process executes without a shell; its `start_method` is `fork`. `limits` are those that the
    process sets for itself, by their names in the job file. `log` is the path of a file,
    `result` one without its suffix. The attempt starts once the attempts in `after` have
    succeeded, each within its timeout in seconds: see `mprun.scheduling.instructions.Start`.
    `mprun.launcher.channel` defines in which order the fields travel.
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
    after: tuple[tuple[AttemptKey, float | None], ...] = ()


class BindError(Frozen):
    """A call that cannot be made: its number, what is wrong, and where inside the task.

    `word` is what the file says and `candidates` what it may have meant.
    """

    number: int
    message: str
    where: tuple[str | int, ...]
    word: str
    candidates: tuple[str, ...]


class Importing(Frozen):
    """The import of this call's module begins."""

    number: int


class PrepareReply(Frozen):
    """Every target is resolved, or `errors` says which are not.

    `threads` names modules whose import started a thread.
    """

    pid: int
    name: str
    errors: tuple[BindError, ...]
    threads: tuple[str, ...]


class Started(Frozen):
    """An attempt has a process; `clock` is the monotonic clock's reading in seconds."""

    key: AttemptKey
    clock: float
    pid: int
    ppid: int
    start_ticks: int | None


class NotStarted(Frozen):
    """An attempt could not be given a process."""

    key: AttemptKey
    clock: float
    message: str


class StartCancelled(Frozen):
    """An attempt will not be started, as was asked, or as one that it was to follow has not succeeded."""

    key: AttemptKey
    clock: float


class Suspended(Frozen):
    """Every running attempt was stopped, as was asked."""


class Exited(Frozen):
    """An attempt's process has ended; seconds and bytes, None where nobody knows.

    `asked` is whether a signal was sent to it before, by `Executor.signal`.
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


class Lost(Frozen):
    """The executor itself is gone; `how` says how it ended."""

    how: str


Report = Importing | PrepareReply | Started | NotStarted | StartCancelled | Suspended | Exited | Lost


class Executor(Protocol):
    """Starts attempts and reports on them; never blocks, except in `close`."""

    def fileno(self) -> int:
        """A descriptor that is readable when there are reports."""

    def prepare(self, preparation: PrepareRequest) -> None:
        """Resolve and bind every call; answered by `PrepareReply`."""

    def start(self, request: StartRequest) -> None:
        """Start an attempt once a place is free; answered by `Started` and `Exited`, or `NotStarted`.

        Some are handed over before there is a place for them (`mprun.scheduling.scheduler.AHEAD`), and wait
        for one in the order in which they came. One that is to follow others is cancelled if one
        of them is not known any more, too.
        """

    def cancel(self, key: AttemptKey) -> None:
        """Do not start it after all; answered by `StartCancelled`, unless it has been started."""

    def signal(self, key: AttemptKey, name: str, *, dump: bool = False) -> None:
        """Send a signal to an attempt's group; SIGKILL goes to its whole tree.

        With `dump`, the stack of each of its threads goes into its log before.
        """

    def suspend(self) -> None:
        """Stop every running attempt (SIGSTOP) and start none; answered by `Suspended`."""

    def resume(self) -> None:
        """Let them go on."""

    def wake(self) -> bool:
        """Have the executor itself go on, where somebody has stopped it; whether that was so."""

    def usage(self) -> dict[str, Any] | None:
        """What the executor itself has used on this machine, as `procfs.usage` has it; None where unknown."""

    def flush(self) -> bool:
        """Hand over what was asked; False when some of it has to wait."""

    def receive(self) -> list[Report]:
        """What has been reported since the last call."""

    def close(self, *, kill: bool = False) -> None:
        """End the executor and all it still runs; with `kill` without asking it."""
