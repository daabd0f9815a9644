"""The model of a job file, as frozen values: the job, its tasks, its join order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen

if TYPE_CHECKING:
    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.references import Scope, SiblingReference
    from mprun.jobfile.syntax.document import Document

# The dependencies of a task: numbers in the list of tasks, from 0, each with its condition.
Needs = tuple[tuple[int, str], ...]

# The path of a job that is read from standard input.
STANDARD_INPUT_PATH = "-"

# How the names of the environment variables begin that set params.
PARAM_VARIABLE = "MPRUN_PARAM_"

# The condition that the instances of a task are known: of most tasks they are before the run.
EXPANDED = "expanded"

START_METHODS = ("fork", "forkserver", "spawn")

# Whether a task that succeeded at a later attempt fails the run.
FLAKY_POLICIES = ("pass", "fail")

# The condition of a dependency without one, on a task that is not a daemon: it succeeded, it failed
# with `allow_failure`, or it was skipped by its `when`.
PASSED = "passed"


class Origin(Frozen):
    """The position of a task in its job file, for errors that are found later.

    `path` leads from the document's root to the task: `("tasks", 0)`.
    """

    document: Document
    path: tuple[str | int, ...]


def signal_name(name: str) -> str:
    """`SIGTERM` for `TERM` and for `SIGTERM`."""
    return name if name.startswith("SIG") else f"SIG{name}"


class Dependency(Frozen):
    """A dependency on another task, and the condition that it must meet.

    `condition` is None if the file leaves it to mprun (see `dependencies.default_condition`), and
    `passed` if the result of the other task is needed. `origin` is the task that declares it, if
    that is one that uses a recipe; else None.
    """

    task: str
    condition: str | None = None
    origin: Origin | None = None


class SiblingDependency(Dependency):
    """A dependency on one instance of `task`, which `reference` selects by the values of the dependent."""

    reference: SiblingReference


class Retry(Frozen):
    """When a failed attempt is followed by another; delays are in seconds.

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


class Whole(Frozen):
    """One use of a recipe, which `retry` (without reasons) and `timeout` (in seconds) take as one.

    With `allow_failure`, all of it may fail, after its retries. `origin` is the place of one of these keys.
    """

    name: str
    retry: Retry
    timeout: float | None
    allow_failure: bool = False
    origin: Origin | None = None


class Stop(Frozen):
    """The signal that asks a task to end, and the seconds after which it is killed.

    `to` is who gets the signal: the `group` of its process, or the `process` alone.
    """

    signal: str = "SIGTERM"
    grace: float = 5.0
    to: str = "group"


class Expect(Frozen):
    """What a task is expected to do: how it ends, its result and output, its limits in seconds and bytes.

    `result` is compared only with `has_result`, because None may be expected; an empty
    `exit_codes` allows every code.
    """

    result: Any = None
    has_result: bool = False
    raises: str | None = None
    exit_codes: tuple[int, ...] = ()
    output: str | None = None
    max_seconds: float | None = None
    max_rss: int | None = None


# The kinds of probe.
READY_KINDS = ("tcp", "http", "log", "file", "command")


class Ready(Frozen):
    """A readiness probe: `kind` is one of READY_KINDS.

    `what` is a port or `host:port`, a URL, a regular expression, a path, or a command as people read
    it; `command` has its words. All times are in
    seconds: how long it may take until it is ready (`timeout`), how often to try (`interval`),
    and how long one try may take (`try_timeout`).
    """

    kind: str
    what: str
    command: tuple[str, ...] = ()
    timeout: float = 30.0
    interval: float = 0.1
    try_timeout: float = 5.0


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
    """A task of a job file: a target to call, or a command to run, in a process of its own.

    `target` is `package.module:callable`, `command` a list for exec; one of them is None.
    `position` is its number in the file, from 1, as multiprocessing counts processes.
    `timeout` is in seconds, for one attempt; None is unlimited. `start_method` is None
    for that of the job, and so is `flaky`, one of FLAKY_POLICIES. `resources` are the tokens that it
    holds while it runs, `host` what its worker must have.

    `capture` says how a command's standard output becomes its result: `text`, `lines` or `json`. With
    `artifacts`, it has a directory in the record. With `inputs` or `outputs`, patterns of files, it is
    skipped while nothing that it depends on has changed; None if the file does not say.
    `inherited_conditions` are those of the tasks that use its recipe: it runs only if `when`
    and all of them are true. `args`, `kwargs`, `command`, `env`, `cwd`, `when`, `foreach`
    and the expected `result` may have references (`mprun.jobfile.references`), which are resolved
    with `scope`, the values of an instance's `axes` and, during the run, the results of other
    tasks. `foreach` is the reference to a list, or the `matrix`, that is known only during the run,
    else None; its instances are then built from `deferred_expansion`. `refers` is false if none of them
    has a reference. `whole` is the use of a recipe that is taken as one, None if there is none. `document` is
    the file that contains the task.
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
    capture: str | None = None
    resources: dict[str, int]
    host: dict[str, float] | None = None
    limits: Limits | None = None
    allow_failure: bool = False
    flaky: str | None = None
    artifacts: bool = False
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    expect: Expect | None = None
    start_method: str | None = None
    env: dict[str, Any]
    cwd: Any = None
    tags: tuple[str, ...] = ()
    description: str = ""
    scope: Scope
    refers: bool = True
    whole: Whole | None = None
    document: Document

    @property
    def is_compared(self) -> bool:
        """Whether it is skipped while nothing that it depends on has changed."""
        return self.inputs is not None or self.outputs is not None

    @property
    def origin(self) -> Origin:
        """Its position in the file; not stored, because 100,000 would take 15 MB."""
        return Origin(document=self.document, path=("tasks", self.position - 1))


class Instance(Frozen):
    """One of the tasks that a task of the file expands to; most expand to one, themselves.

    `groups` are the names that it shares with other instances: those of its task and of the
    tasks that use its recipe. `values` has one for each of the task's `axes`. Instances share their `task`
    unless its keys depend on the values. `copy` is the number of a copy of it, from 1, if it is repeated.
    """

    name: str
    groups: tuple[str, ...] = ()
    task: Task
    values: tuple[Any, ...] = ()
    copy: int = 0


class JoinEntry(Frozen):
    """One entry of the join order; `timeout` in seconds, None is unlimited."""

    task: str
    timeout: float | None = None


class Job(Frozen):
    """A job as its file declares it, checked, with every default filled in.

    `timeout` is in seconds, for the whole run. Paths in it are absolute, or `-` for standard input. `join`,
    `max_parallel` and `start_method` are None if the file leaves them to mprun.
    `places` has, for each file with tasks in the order of their use, its path and the directories in
    which its own targets should be found: its `pythonpath`, then its directory.
    `files` has path and SHA-256 of every file that was read, `packages` path and `package:file` of those
    that are in a package, `params` the values that are
    not secret, `tasks` every task in file order, with matrices and recipes expanded, and
    `needs` the dependencies of each: numbers in `tasks`, from 0, and conditions. `empty`
    are the names of tasks whose list is empty. `env` has the variables of the job: texts, and closures
    of what contains a secret; `recipe_env` those of its recipes, by path, as far as they apply.
    `warnings` are about what the files say: valid, but probably a mistake.
    """

    name: str
    path: str
    files: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str], ...] = ()
    description: str = ""
    start_method: str | None = None
    preload: tuple[str, ...] = ()
    pythonpath: tuple[str, ...] = ()
    places: tuple[tuple[str, tuple[str, ...]], ...] = ()
    max_parallel: int | None = None
    fail_fast: bool = False
    flaky: str = "pass"
    on_host_lost: str = "fail"
    timeout: float | None = None
    resources: dict[str, int]
    params: dict[str, Any]
    env: dict[str, Any]
    recipe_env: dict[str, dict[str, Any]]
    tasks: tuple[Instance, ...]
    empty: tuple[str, ...] = ()
    needs: tuple[Needs, ...]
    origin: Origin
    warnings: tuple[Diagnostic, ...] = ()
    join: tuple[JoinEntry, ...] | None = None

    @property
    def import_path(self) -> tuple[str, ...]:
        """Where targets are imported from, before the working directory.

        Every `pythonpath`, then the directories of the job file and its recipes.
        """
        return tuple(dict.fromkeys((*self.pythonpath, *(places[-1] for _, places in self.places))))


def param_variable(name: str) -> str:
    """The environment variable with the value of a param: `MPRUN_PARAM_START_DAY` for `start-day`."""
    return f"{PARAM_VARIABLE}{name.upper().replace('-', '_')}"
