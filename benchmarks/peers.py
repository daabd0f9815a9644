"""The peers: for each, the command for a piece of work, and what it does less than mprun."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from benchmarks.place import Place

# The command for a number of tasks; writes the files that the command reads.
Maker = Callable[[Place, int], list[str]]

OURS = "mprun"
SCRIPT = "one-`Process` script"
NOTHING = "python -c pass"
LOOP = "`Process` loop"
FORKS = "bare os.fork loop"
CHAIN = "start-and-join script"
XARGS = "xargs -P2 -n1"
PARALLEL = "GNU parallel"
# A command that does nothing.
TRUE = "/bin/true"


class Work(Enum):
    """The work for a peer."""

    ONE = "one task, in whatever way takes the peer the least"
    MANY = "tasks that do nothing, two at a time"
    CHAIN = "tasks that do nothing, each after the one before it"
    HEAVY = "tasks whose module imports numpy, two at a time"
    COMMANDS = "commands that do nothing, two at a time"
    BY_SHELL = "the same, each by a shell"


class Kind(Enum):
    """The kind of a peer."""

    OURS = "mprun"
    SCRIPT = "written by hand"
    LIBRARY = "library"
    RUNNER = "Python runner"
    TOOL = "tool, starting Python"
    PLAIN_TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer; `fresh` and `records` say what it does for each task.

    `package` is a distribution in this environment, `program` a command on the PATH;
    one with neither needs only Python. `slow` ones get fewer tasks.
    """

    name: str
    kind: Kind
    commands: Mapping[Work, Maker]
    fresh: bool = True
    records: bool = False
    package: str = ""
    program: str = ""
    slow: bool = False

    def version(self) -> str | None:
        """The installed version, or None."""
        if self.package:
            return version_of_package(self.package)
        if self.program:
            return version_of_program(self.program)
        return platform.python_version()

    def less(self) -> str:
        """What it does less than the others, in words; "" if each task is a process of its own."""
        if self.fresh:
            return ""
        if self.name == NOTHING:
            return "has no task"
        return "reuses processes" if self.kind is Kind.LIBRARY else "starts no process"


def version_of_package(name: str) -> str | None:
    """The version of a distribution in this environment."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def version_of_program(name: str) -> str | None:
    """The version number that a program prints."""
    if shutil.which(name) is None:
        return None
    said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"[0-9]+(\.[0-9]+)*", said)
    return found[0] if found else "?"


def numbers(count: int) -> str:
    """A list of numbers for YAML."""
    return "[" + ", ".join(map(str, range(count))) + "]"


def matrix(module: str) -> Maker:
    """A job of one task with a matrix."""

    def make(place: Place, count: int) -> list[str]:
        job = f"tasks:\n  - target: {module}:noop\n    matrix: {{n: {numbers(count)}}}\n"
        return place.mprun("-j", "2", place.write(f"{module}-{count}.yaml", job))

    return make


def one_task(place: Place, count: int) -> list[str]:
    """The smallest possible job."""
    return place.mprun(place.write("one.yaml", "tasks:\n  - target: noop:noop\n"))


def commands(word: str) -> Maker:
    """A job of one command with a matrix."""

    def make(place: Place, count: int) -> list[str]:
        job = f"tasks:\n  - command: {word}\n    matrix: {{n: {numbers(count)}}}\n"
        return place.mprun("-j", "2", place.write(f"{'list' if '[' in word else 'text'}-{count}.yaml", job))

    return make


def task_after_task(place: Place, count: int) -> list[str]:
    """A job in which each task depends on the one before."""
    tasks = ["  - {name: t0, target: noop:noop}\n"]
    tasks += [f"  - {{name: t{n}, target: noop:noop, depends_on: t{n - 1}}}\n" for n in range(1, count)]
    return place.mprun(place.write(f"chain-{count}.yaml", "tasks:\n" + "".join(tasks)))


def script(*arguments: str) -> Maker:
    """A program of this directory; COUNT in its arguments is the number of tasks."""

    def make(place: Place, count: int) -> list[str]:
        return [place.python, *(argument.replace("COUNT", str(count)) for argument in arguments)]

    return make


def beside(name: str, *arguments: str) -> Maker:
    """A peer's own command, from this environment."""

    def make(place: Place, count: int) -> list[str]:
        command = str(Path(place.python).with_name(name))
        return [command, *(argument.replace("COUNT", str(count)) for argument in arguments)]

    return make


def honcho(place: Place, count: int) -> list[str]:
    """One process of a Procfile; honcho ends with it."""
    place.write("Procfile", f"noop: {place.python} noop.py\n")
    return beside("honcho", "start")(place, count)


def parallel(program: str = "") -> Maker:
    """GNU parallel, with one input line per task: this program of Python, or else a command."""

    def make(place: Place, count: int) -> list[str]:
        return ["parallel", "--will-cite", "-j2", "-a", items(place, count), *task_of(place, program)]

    return make


def xargs(program: str = "", *before: str) -> Maker:
    """xargs, with one argument per task; as `parallel`. What is `before` the command runs it."""

    def make(place: Place, count: int) -> list[str]:
        return ["xargs", "-a", items(place, count), "-n1", "-P2", *before, *task_of(place, program)]

    return make


def task_of(place: Place, program: str) -> list[str]:
    """The command of a task: this program of Python, or one that does nothing."""
    return [place.python, program] if program else [TRUE]


def items(place: Place, count: int) -> str:
    """A file with `count` lines."""
    return place.write(f"items-{count}", "".join(f"{n}\n" for n in range(count)))


def make(program: str = "") -> Maker:
    """A Makefile with a target for each task; as `parallel`."""

    def make(place: Place, count: int) -> list[str]:
        names = " ".join(f"t{n}" for n in range(count))
        rules = f".PHONY: all {names}\nall: {names}\n{names}:\n\t@{' '.join(task_of(place, program))}\n"
        return ["make", "-s", "-j2", "-f", place.write(f"Makefile-{count}-{program}", rules)]

    return make


def ninja(program: str = "") -> Maker:
    """A build file with an edge for each task; as `parallel`."""

    def make(place: Place, count: int) -> list[str]:
        rule = f"rule noop\n  command = {' '.join(task_of(place, program))}\n"
        edges = "".join(f"build t{n}: noop\n" for n in range(count))
        return ["ninja", "-j2", "-f", place.write(f"build-{count}-{program}.ninja", rule + edges)]

    return make


PEERS = (
    Peer(
        name=OURS,
        kind=Kind.OURS,
        records=True,
        commands={
            Work.ONE: one_task,
            Work.MANY: matrix("noop"),
            Work.CHAIN: task_after_task,
            Work.HEAVY: matrix("heavy"),
            Work.COMMANDS: commands(f"[{TRUE}]"),
            Work.BY_SHELL: commands(TRUE),
        },
    ),
    Peer(name=NOTHING, kind=Kind.SCRIPT, fresh=False, commands={Work.ONE: script("-c", "pass")}),
    Peer(name=SCRIPT, kind=Kind.SCRIPT, commands={Work.ONE: script("one_process.py")}),
    Peer(name=CHAIN, kind=Kind.SCRIPT, commands={Work.CHAIN: script("chain.py", "COUNT")}),
    Peer(name=FORKS, kind=Kind.SCRIPT, commands={Work.MANY: script("fork_loop.py", "COUNT")}),
    Peer(
        name=LOOP,
        kind=Kind.SCRIPT,
        commands={
            Work.MANY: script("loop.py", "COUNT", "noop", "fork"),
            Work.HEAVY: script("loop.py", "COUNT", "heavy", "fork"),
        },
    ),
    Peer(
        name=f"{LOOP}, forkserver",
        kind=Kind.SCRIPT,
        slow=True,
        commands={Work.MANY: script("loop.py", "COUNT", "noop", "forkserver")},
    ),
    Peer(
        name=f"{LOOP}, spawn",
        kind=Kind.SCRIPT,
        slow=True,
        commands={Work.MANY: script("loop.py", "COUNT", "noop", "spawn")},
    ),
    Peer(
        name="`Pool(maxtasksperchild=1)`",
        kind=Kind.LIBRARY,
        commands={Work.MANY: script("pools.py", "COUNT", "pool-fresh")},
    ),
    Peer(
        name="`ProcessPoolExecutor(max_tasks_per_child=1)`",
        kind=Kind.LIBRARY,
        slow=True,
        commands={Work.MANY: script("pools.py", "COUNT", "executor-fresh")},
    ),
    Peer(
        name="pebble, `max_tasks=1`",
        kind=Kind.LIBRARY,
        package="pebble",
        slow=True,
        commands={Work.MANY: script("pools.py", "COUNT", "pebble")},
    ),
    Peer(
        name="`Pool`",
        kind=Kind.LIBRARY,
        fresh=False,
        commands={Work.MANY: script("pools.py", "COUNT", "pool")},
    ),
    Peer(
        name="`ProcessPoolExecutor`",
        kind=Kind.LIBRARY,
        fresh=False,
        commands={Work.MANY: script("pools.py", "COUNT", "executor")},
    ),
    Peer(
        name="luigi",
        kind=Kind.RUNNER,
        package="luigi",
        fresh=False,
        commands={Work.ONE: script("luigi_tasks.py", "1", "1")},
    ),
    Peer(
        name="luigi, two workers",
        kind=Kind.RUNNER,
        package="luigi",
        slow=True,
        commands={Work.MANY: script("luigi_tasks.py", "COUNT", "2")},
    ),
    Peer(
        name="doit",
        kind=Kind.RUNNER,
        package="doit",
        fresh=False,
        commands={Work.ONE: beside("doit", "one")},
    ),
    Peer(
        name="doit, a command a task",
        kind=Kind.RUNNER,
        package="doit",
        slow=True,
        commands={Work.MANY: beside("doit", "-n", "2", "count=COUNT", "many")},
    ),
    Peer(
        name="invoke",
        kind=Kind.RUNNER,
        package="invoke",
        fresh=False,
        commands={Work.ONE: beside("invoke", "one")},
    ),
    Peer(
        name="nox",
        kind=Kind.RUNNER,
        package="nox",
        fresh=False,
        commands={Work.ONE: beside("nox", "-s", "one")},
    ),
    Peer(name="honcho", kind=Kind.RUNNER, package="honcho", commands={Work.ONE: honcho}),
    Peer(
        name="GNU parallel, starts Python",
        kind=Kind.TOOL,
        program="parallel",
        slow=True,
        commands={Work.ONE: parallel("noop.py"), Work.MANY: parallel("noop.py")},
    ),
    Peer(
        name="xargs -P2, starts Python",
        kind=Kind.TOOL,
        program="xargs",
        slow=True,
        commands={
            Work.ONE: xargs("noop.py"),
            Work.MANY: xargs("noop.py"),
            Work.HEAVY: xargs("heavy.py"),
        },
    ),
    Peer(
        name="make -j2, starts Python",
        kind=Kind.TOOL,
        program="make",
        slow=True,
        commands={Work.ONE: make("noop.py"), Work.MANY: make("noop.py")},
    ),
    Peer(
        name="ninja, starts Python",
        kind=Kind.TOOL,
        program="ninja",
        slow=True,
        commands={Work.ONE: ninja("noop.py"), Work.MANY: ninja("noop.py")},
    ),
    *(
        Peer(name=name, kind=Kind.PLAIN_TOOL, program=program, commands={work: command})
        for name, program, work, command in (
            (XARGS, "xargs", Work.COMMANDS, xargs()),
            ("make -j2", "make", Work.COMMANDS, make()),
            (PARALLEL, "parallel", Work.BY_SHELL, parallel()),
            ("ninja", "ninja", Work.BY_SHELL, ninja()),
            (f"{XARGS} sh -c", "xargs", Work.BY_SHELL, xargs("", "/bin/sh", "-c")),
        )
    ),
)

# They start a Python for each task, because that is the only way to give them a Python target.
ANEW = tuple(peer for peer in PEERS if peer.kind is Kind.TOOL or peer.name == "doit, a command a task")


def that_can(work: Work) -> list[Peer]:
    """The peers that can do this work, mprun first."""
    return [peer for peer in PEERS if work in peer.commands]
