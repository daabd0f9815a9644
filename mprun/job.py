"""What a job file says, as frozen values: the job, its tasks, its join order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.value import Value

if TYPE_CHECKING:
    from mprun.loader import Document

START_METHODS = ("fork", "forkserver", "spawn")


class Origin(Value):
    """Where in which job file a task stands, for problems that are found later.

    `path` leads from the document's root to the task: `("tasks", 0)`.
    """

    document: Document
    path: tuple[str | int, ...]


def signal_name(name: str) -> str:
    """`SIGTERM` for `TERM` and for `SIGTERM`."""
    return name if name.startswith("SIG") else f"SIG{name}"


class Dependency(Value):
    """What a task waits for: another task's name, and which fact about it."""

    task: str
    condition: str = "succeeded"


class Retry(Value):
    """When a failed attempt is followed by another, and how long after, in seconds.

    The delay grows by `backoff` with each attempt, up to `max_delay`; of it, the share
    `jitter` (0 to 1) is left to chance. With `exceptions` (names of classes, bases count)
    or `exit_codes` only what matches is tried again; with neither, every failure is.
    """

    retries: int = 0
    delay: float = 0.0
    backoff: float = 1.0
    max_delay: float | None = None
    jitter: float = 0.0
    exceptions: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()


class Stop(Value):
    """How a task is asked to end, and how many seconds it has before it is killed."""

    signal: str = "SIGTERM"
    grace: float = 5.0


class Expect(Value):
    """What a smoke run asserts: the end, the result, the output, seconds and bytes at most.

    `result` counts only with `has_result`, since None may be what is expected; an empty
    `exit_codes` asks for none in particular.
    """

    result: Any = None
    has_result: bool = False
    raises: str | None = None
    exit_codes: tuple[int, ...] = ()
    output: str | None = None
    max_seconds: float | None = None
    max_rss: int | None = None


class Task(Value):
    """One task of a job: a target to call in a process of its own.

    `target` is `package.module:callable`; `args` and `kwargs` are passed to it as they
    are. `position` is its place in the file, from 1, as multiprocessing counts
    processes. `timeout` is in seconds, for one attempt; None is without limit.
    `start_method` and `cwd` are None where the job's hold.
    """

    name: str
    position: int
    target: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any]
    daemon: bool = False
    depends_on: tuple[Dependency, ...] = ()
    retry: Retry = Retry()
    timeout: float | None = None
    stop: Stop = Stop()
    allow_failure: bool = False
    expect: Expect | None = None
    start_method: str | None = None
    env: dict[str, str]
    cwd: str | None = None
    tags: tuple[str, ...] = ()
    description: str = ""
    origin: Origin


class JoinEntry(Value):
    """One entry of the join order; `timeout` in seconds, None waits without limit."""

    task: str
    timeout: float | None = None


class Job(Value):
    """A job as its file declares it, checked, with every default filled in.

    `timeout` is in seconds, for the whole run. Paths in it are absolute. `join` is None
    where the file leaves the order to mprun, `max_parallel` and `start_method` likewise.
    """

    name: str
    path: str
    sha256: str
    description: str = ""
    start_method: str | None = None
    preload: tuple[str, ...] = ()
    pythonpath: tuple[str, ...] = ()
    max_parallel: int | None = None
    fail_fast: bool = False
    timeout: float | None = None
    tasks: tuple[Task, ...]
    join: tuple[JoinEntry, ...] | None = None
