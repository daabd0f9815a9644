"""What a job file says, as frozen values: the job, its tasks, its join order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen

if TYPE_CHECKING:
    from mprun.jobfile.references import Scope
    from mprun.jobfile.syntax.document import Document

# Places in a list of tasks, from 0, each with the condition that is waited for.
Needs = tuple[tuple[int, str], ...]

START_METHODS = ("fork", "forkserver", "spawn")


class Origin(Frozen):
    """The place of a task in its job file, for errors that are found later.

    `path` leads from the document's root to the task: `("tasks", 0)`.
    """

    document: Document
    path: tuple[str | int, ...]


def signal_name(name: str) -> str:
    """`SIGTERM` for `TERM` and for `SIGTERM`."""
    return name if name.startswith("SIG") else f"SIG{name}"


class Dependency(Frozen):
    """What a task waits for: another task's name, and which fact about it.

    `origin` is where that is said, where it is not the task itself: by who uses its recipe.
    """

    task: str
    condition: str = "succeeded"
    origin: Origin | None = None


class Retry(Frozen):
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


class Stop(Frozen):
    """How a task is asked to end, and how many seconds it has before it is killed."""

    signal: str = "SIGTERM"
    grace: float = 5.0


class Expect(Frozen):
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


class Ready(Frozen):
    """A readiness probe: `kind` is `tcp`, `http`, `log` or `file`.

    `what` is a port or `host:port`, an address, a regular expression, a path. `timeout` and
    `interval`, how long it may take and how often to ask, are in seconds.
    """

    kind: str
    what: str
    timeout: float = 30.0
    interval: float = 0.1


class Limits(Frozen):
    """The limits of a task's process, set by the kernel, and `log`, enforced by mprun; None is unlimited.

    `memory` and `log` are in bytes, `cpu_time` in seconds; `cpus` has the numbers of cores,
    or how many.
    """

    memory: int | None = None
    cpu_time: float | None = None
    open_files: int | None = None
    nice: int | None = None
    cpus: int | tuple[int, ...] | None = None
    log: int | None = None


class Task(Frozen):
    """What a job file says of one task: a target to call, or a command to run, in a process.

    `target` is `package.module:callable`, `command` a list for exec; one of them is None.
    `position` is its place in the file, from 1, as multiprocessing counts processes.
    `timeout` is in seconds, for one attempt; None is without limit. `start_method` is None
    where the job's holds. `resources` has the tokens that it holds while it runs.

    `inherited_conditions` are those of the recipes that it came with: it runs only where `when`
    and all of them are true. `args`, `kwargs`, `command`, `env`, `cwd`, `when`, `foreach`
    and what is expected as `result` may hold references (`mprun.jobfile.references`), which `scope`
    and the values of an instance's `axes` resolve, or, during the run, the results of other
    tasks. `foreach` is
    the reference to a list that is known only then, else None; `deferred_expansion` is what its instances
    are made of then. `refers` is false where there is surely no reference in any of them.
    `document` is the file that says it.
    """

    name: str
    position: int
    target: str | None = None
    command: tuple[Any, ...] | None = None
    args: Any = ()
    kwargs: Any
    daemon: bool = False
    depends_on: tuple[Dependency, ...] = ()
    when: Any = True
    inherited_conditions: tuple[Any, ...] = ()
    axes: tuple[str, ...] = ()
    foreach: Any = None
    deferred_expansion: Any = None
    retry: Retry = Retry()
    timeout: float | None = None
    stop: Stop = Stop()
    restart: str = "never"
    ready: Ready | None = None
    resources: dict[str, int]
    limits: Limits | None = None
    allow_failure: bool = False
    expect: Expect | None = None
    start_method: str | None = None
    env: dict[str, Any]
    cwd: Any = None
    tags: tuple[str, ...] = ()
    description: str = ""
    scope: Scope
    refers: bool = True
    document: Document

    @property
    def origin(self) -> Origin:
        """Its place in the file: made when it is asked for, because 100,000 would take 15 MB."""
        return Origin(document=self.document, path=("tasks", self.position - 1))


class Instance(Frozen):
    """One of the tasks that a task of the file expands to; most expand to one, themselves.

    `groups` are the names that mean it and others: its task's, those of the recipes that it
    came with. `values` has one for each of the task's `axes`. Instances share their `task`
    where its policies do not depend on the values.
    """

    name: str
    groups: tuple[str, ...] = ()
    task: Task
    values: tuple[Any, ...] = ()


class JoinEntry(Frozen):
    """One entry of the join order; `timeout` in seconds, None waits without limit."""

    task: str
    timeout: float | None = None


class Job(Frozen):
    """A job as its file declares it, checked, with every default filled in.

    `timeout` is in seconds, for the whole run. Paths in it are absolute. `join` is None
    where the file leaves the order to mprun, `max_parallel` and `start_method` likewise.
    `files` has path and SHA-256 of every file that was read, `params` the values that are
    not secret, `tasks` every task in file order, with matrices and recipes spelled out, and
    `needs` what each of them depends on: places in `tasks`, from 0, and conditions. `empty`
    are the names that stand for no task, as their list has nothing in it.
    """

    name: str
    path: str
    files: tuple[tuple[str, str], ...]
    description: str = ""
    start_method: str | None = None
    preload: tuple[str, ...] = ()
    pythonpath: tuple[str, ...] = ()
    max_parallel: int | None = None
    fail_fast: bool = False
    timeout: float | None = None
    resources: dict[str, int]
    params: dict[str, Any]
    tasks: tuple[Instance, ...]
    empty: tuple[str, ...] = ()
    needs: tuple[Needs, ...]
    origin: Origin
    join: tuple[JoinEntry, ...] | None = None
