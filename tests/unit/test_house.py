"""The contract of the packages: what each may import and call (docs/architecture.md has the reasons)."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[2] / "mprun"

# The modules that all others may use. `mprun` is the package itself, the public face, on the floor of `api`.
GROUND = (
    "clock",
    "diagnostic_text",
    "diagnostics",
    "errors",
    "failpoints",
    "frozen",
    "lazy_import",
    "begun_logs",
    "lean_json",
    "module_finder",
    "trace_context",
    "outcomes",
    "secret_forms",
)

# The floors, bottom first. A package may import from the floors below its own what is listed beside it
# here, itself, and the ground; `*` is everything below. An import that only a type checker reads counts.
FLOORS: tuple[dict[str, tuple[str, ...]], ...] = (
    dict.fromkeys(GROUND, ()),
    {"jobfile": (), "linux": ()},
    {"scheduling": ("jobfile",), "launcher": ("linux",)},
    {"record": ("scheduling", "jobfile", "linux"), "executors": ("launcher.channel", "linux", "jobfile")},
    {"reporters": ("record", "scheduling", "jobfile", "linux")},
    {"engine": ("*",)},
    {"mprun": ("*", "api"), "api": ("*",)},
    {"cli": ("*",), "pytest_plugin": ("*", "__main__")},
    {"__main__": ("cli", "launcher.main")},
)
FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}

# The engine knows its executors and reporters by their interfaces alone.
BY_INTERFACE = {("engine", "executors"), ("engine", "reporters")}

# Each library is used in one place.
LIBRARY_PACKAGES = {
    "click": {"cli"},
    "dask": {"executors.dask"},
    "distributed": {"executors.dask"},
    "jinja2": {"reporters"},
    "jsonschema": {"jobfile.schema"},
    "junitparser": {"reporters.junit"},
    "multiprocessing": {"launcher"},
    "psutil": {"record"},
    "pytest": {"pytest_plugin"},
    "rich": {"reporters"},
    "yaml": {"jobfile.syntax", "cli.lean_imports"},
    "zipfile": {"record.pack"},
}

# The scheduler decides; its callers pass in the time, random numbers and facts.
PURE = "scheduling"
WORLD = {"multiprocessing", "os", "random", "select", "socket", "subprocess", "threading", "time"}

# Only these modules start, signal and wait for processes. Besides the packages for that: the engine's
# own signals, its probes' threads, which block signals, the processes that match patterns, hash files and
# read large records, the command, which forks the launcher first and kills it if there is no run, what
# removes what it has unpacked, and the questions, after which a signal takes effect once the terminal has
# its echo back.
PROCESS_CALLS = {
    "os": {"execv", "execve", "fork", "kill", "killpg", "pidfd_open", "posix_spawn", "setpgid", "setsid"}
    | {"wait", "wait3", "wait4", "waitid", "waitpid"},
    "signal": {
        "pidfd_send_signal",
        "pthread_kill",
        "pthread_sigmask",
        "raise_signal",
        "set_wakeup_fd",
        "signal",
    },
}
MAY_CALL = {"linux", "launcher", "executors", "engine.signals", "engine.readiness", "jobfile.matcher"}
MAY_CALL |= {"__main__", "cli.main", "cli.ask_params", "failpoints", "record.packed_run"}
MAY_CALL |= {"engine.unchanged_worker", "record.second_reader"}

# What is below a state directory may be a link, a FIFO or another user's, so one module opens and checks
# it, and another one names it (docs/record.md: "What may be a record"). The others that open files, or look
# at what is there, and what these are: nothing below a state directory.
FILE_CALLS = {
    "os": {"access", "chmod", "chown", "fwalk", "link", "listdir", "lstat", "makedirs"}
    | {"mkdir", "mkfifo", "open", "readlink", "remove", "rename", "replace", "rmdir", "scandir", "stat"}
    | {"symlink", "truncate", "unlink", "utime", "walk"},
    "os.path": {"exists", "getmtime", "getsize", "isdir", "isfile", "islink", "lexists", "samefile"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree"},
    "pathlib": {"Path"},
}
OPENS_STATE = {"record.state_files", "record.state_dir"}
OPENS_OTHERS = {
    "cli.catalog": "the directories with job files that it lists",
    "cli.events_file": "the file of `--events`, which the user names",
    "cli.init": "the job file that it writes",
    "cli.job_completion": "a word of the command line that may be a job file",
    "cli.lean_imports": "modules of Python",
    "cli.command_line": "a word of the command line that may be a job file",
    "cli.commands": "a word of the command line that may be a job file",
    "cli.output_file": "files about a run, which the user names",
    "cli.pack": "the packed run that it writes, which the user names",
    "cli.show": "a word of the command line that may be a packed run",
    "engine.directories": "the directories in which tasks run",
    "engine.readiness": "the file that a service creates when it is ready",
    "engine.unchanged_worker": "its socket, which is read like a file",
    "record.code_files": "the directories in which a job finds modules",
    "record.distributions": "what installed distributions say of themselves",
    "record.file_hashes": "the inputs and outputs of tasks, and their code",
    "record.file_patterns": "the directories in which these files are",
    "record.packed_path": "a packed run in place of a state directory",
    "record.packed_run": "a packed run, and the temporary directory that it is unpacked into",
    "record.pidfile": "the namespaces of this process, in /proc",
    "record.resume": "the directory in which an earlier run ran",
    "record.shards": "the directories in which records of shards are looked for",
    "record.traceback_file": "a temporary file, for a traceback without a run",
    "record.unchanged_process": "its socket, which is its descriptor 0",
    "reporters.ci": "the file that GitHub names for the summary of a step",
    "reporters.outlet": "its own standard streams, to write to them without waiting",
    "reporters.terminal": "the null device",
}
WITH_STATE = {"record", "reporters", "engine", "api", "cli"}

# What leaves the process passes one door, in place of `sys.stdout` and `sys.stderr`: a stream that a
# view was given is one of them. Only these modules write to the two, or to their descriptors, by name.
PRINTS = {
    "reporters.door": "the door itself",
    "reporters.terminal": "the output of tasks, which are bytes",
    "reporters.outlet": "what the door has passed, when its reader takes it",
    "reporters.console": "mprun's own lines of a run",
    "reporters.ci": "what a CI service is shown of a run",
    "cli.messages": "what commands print: texts, JSON, errors and warnings",
    # Before the door, or in processes whose standard descriptors are a log.
    "__main__": "it opens those of the descriptors 0 to 2 that are closed",
    "launcher": "the log of the main process, and the logs of tasks",
}
STANDARD = ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__")

# Each command imports the package and `__main__`, each spawned task the worker: these, and no more.
LIGHT = {"mprun", "__main__", "launcher.worker"}


class Import(NamedTuple):
    """One import in a file: by which module, of what, and where; a `lazy` one costs a start nothing."""

    by: str
    of: str
    line: int
    lazy: bool


class Imports(ast.NodeVisitor):
    """Collects the imports of a module, also those that only a type checker reads."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.found: list[tuple[str, int, bool]] = []
        self.depth = 0

    def visit_If(self, node):
        only_types = ast.unparse(node.test) == "TYPE_CHECKING"
        self.depth += only_types
        for child in node.body:
            self.visit(child)
        self.depth -= only_types
        for child in node.orelse:
            self.visit(child)

    def visit_FunctionDef(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Import(self, node):
        self.found += [(alias.name, node.lineno, self.depth > 0) for alias in node.names]

    def visit_ImportFrom(self, node):
        parents = self.package.split(".")[: -node.level + 1 or None] if node.level else []
        base = ".".join([*parents, *filter(None, [node.module])])
        self.found += [(f"{base}.{alias.name}", node.lineno, self.depth > 0) for alias in node.names]


def modules(root: Path) -> dict[str, Path]:
    """Every module by its name in the package: `api`, `executors.local`, `mprun` for the package itself."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        names[".".join(parts) or "mprun"] = path
    return names


@cache
def imports_in(text: str, package: str) -> list[tuple[str, int, bool]]:
    """What a module imports; kept, because several rules ask for it."""
    collector = Imports(package)
    collector.visit(ast.parse(text))
    return collector.found


def imports(root: Path) -> Iterator[Import]:
    """Every import in the package; `of` is the name of a module of ours, or of a foreign one."""
    names = modules(root)
    for by, path in names.items():
        package = "mprun" if by == "mprun" else f"mprun.{by}"
        if path.name != "__init__.py":
            package = package.rpartition(".")[0]
        for target, line, lazy in imports_in(path.read_text("utf-8"), package):
            yield Import(by, module_of(target, names), line, lazy)


def module_of(target: str, names: dict[str, Path]) -> str:
    """`mprun.scheduling.plan.Plan` is `scheduling.plan`, `mprun.load_job` is `mprun`; others stay."""
    top, _, name = target.partition(".")
    if top != "mprun":
        return target
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name or "mprun"


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def package_of(name: str) -> str:
    """The package that a module is in; a module beside the packages counts as one."""
    return name.partition(".")[0]


def without_floor(root: Path) -> list[str]:
    """Modules and packages that no floor names."""
    return [
        f"mprun/{path.relative_to(root)} is on no floor: put `{package_of(name)}` into FLOORS in "
        "tests/unit/test_house.py, or the module into a package"
        for name, path in modules(root).items()
        if package_of(name) not in FLOOR_OF
    ]


def may_import(by: str, of: str) -> bool:
    """Whether the contract lets a module of ours import another."""
    own, other = package_of(by), package_of(of)
    if other == own or other in GROUND:
        return True
    listed = FLOORS[FLOOR_OF[own]][own]
    if "*" in listed and FLOOR_OF[other] < FLOOR_OF[own]:
        return True
    return any(is_in(of, entry) for entry in listed)


def upward(root: Path) -> list[str]:
    """Imports that the table of floors does not have."""
    return [
        f"{found.by}:{found.line} imports {found.of}, which is not below it"
        for found in imports(root)
        if package_of(found.by) in FLOOR_OF
        and package_of(found.of) in FLOOR_OF
        and not may_import(found.by, found.of)
    ]


def circular(root: Path) -> list[str]:
    """Modules that import each other, directly or through others."""
    names = modules(root)
    edges: dict[str, set[str]] = {name: set() for name in names}
    for found in imports(root):
        if found.of in names and found.of != found.by:
            edges[found.by].add(found.of)
    done: set[str] = set()
    circles = []

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            circles.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for after in sorted(edges[name]):
                visit(after, [*path, name])
            done.add(name)

    for name in names:
        visit(name, [])
    return circles


def misplaced_libraries(root: Path) -> list[str]:
    """Imports of a library outside the packages that may use it."""
    return [
        f"{found.by}:{found.line} imports {found.of}; {library} belongs to {', '.join(sorted(packages))}"
        for found in imports(root)
        for library, packages in LIBRARY_PACKAGES.items()
        if is_in(found.of, library) and not any(is_in(found.by, package) for package in packages)
    ]


def impure(root: Path) -> list[str]:
    """Imports by which the scheduler would use a clock, a file, a process or random numbers."""
    return [
        f"{found.by}:{found.line} imports {found.of}; pass it in as an argument"
        for found in imports(root)
        if is_in(found.by, PURE) and found.of.partition(".")[0] in WORLD
    ]


def process_calls(root: Path) -> list[str]:
    """Calls for processes and signals outside the modules that may make them."""
    return [
        f"{name}:{node.lineno} calls {ast.unparse(node.func)}; that belongs to linux, launcher or executors"
        for name, path in modules(root).items()
        if not any(is_in(name, package) for package in MAY_CALL)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and calls_one_of(PROCESS_CALLS, node.func)
    ]


def calls_one_of(table: dict[str, set[str]], function: ast.expr) -> bool:
    """Whether a function is one of those that the table names for a module."""
    return (
        isinstance(function, ast.Attribute)
        # First, because it takes much less time than the text of the rest.
        and any(function.attr in names for names in table.values())
        and function.attr in table.get(ast.unparse(function.value), ())
    )


def files_opened(root: Path) -> list[str]:
    """Files that are opened or looked at by their path where what is below a state directory is at hand."""
    return [
        f"{name}:{node.lineno} calls {ast.unparse(node.func)}; open what is below a state directory with "
        "record.state_files, or add the module to OPENS_OTHERS with the reason"
        for name, path in modules(root).items()
        if package_of(name) in WITH_STATE and name not in OPENS_STATE | {*OPENS_OTHERS}
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and opens_a_path(node)
    ]


def opens_a_path(call: ast.Call) -> bool:
    """Whether it opens a file by a path; what `Folder.open` and `open_events` return is a descriptor."""
    if isinstance(call.func, ast.Name):
        opened = call.args[0].func if call.args and isinstance(call.args[0], ast.Call) else None
        is_descriptor = isinstance(opened, ast.Attribute) and opened.attr in ("open", "open_events")
        return call.func.id == "open" and not (is_descriptor and ast.unparse(opened) != "os.open")
    return calls_one_of(FILE_CALLS, call.func)


def prints(root: Path) -> list[str]:
    """Writes to standard output and error that pass no door, or another place than the one for it."""
    return [
        f"{name}:{node.lineno} writes by `{ast.unparse(node)[:40]}`; call `print_text` of cli.messages"
        for name, path in modules(root).items()
        if not any(is_in(name, module) for module in PRINTS)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if is_print(node)
    ]


def is_print(node: ast.AST) -> bool:
    """Whether a node writes to a standard stream, or puts another one in its place."""
    if isinstance(node, ast.Assign):
        return any(ast.unparse(target) in STANDARD for target in node.targets)
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    first = ast.unparse(node.args[0]) if node.args else ""
    if called in ("os.write", "os.writev", "open", "os.fdopen"):
        return first in ("1", "2") or first.startswith(STANDARD)
    stream, _, method = called.rpartition(".")
    by_name = stream.removesuffix(".buffer") in STANDARD and method.startswith("write")
    return (
        by_name
        or called in ("print", "rich.print", "traceback.print_exc")
        or (stream == "click" and (method in ("echo", "secho", "echo_via_pager")))
    )


def beyond_the_interface(root: Path) -> list[str]:
    """Imports by which the engine would know one executor or reporter by name."""
    return [
        f"{found.by}:{found.line} imports {found.of}; it may only know {family}.base"
        for found in imports(root)
        for by, family in BY_INTERFACE
        if package_of(found.by) == by and is_in(found.of, family) and found.of != f"{family}.base"
    ]


def eager(root: Path) -> list[str]:
    """Imports of the package's modules outside a function, which would cost each start time."""
    return [
        f"{found.by}:{found.line} imports {found.of} at once; import it in the function that needs it"
        for found in imports(root)
        if found.by in LIGHT and not found.lazy and found.of in modules(root)
    ]


def without_summary(root: Path) -> list[str]:
    """Modules whose docstring does not begin with a line of one sentence."""
    return [
        f"{path.relative_to(root)} opens with {line!r}, not with a docstring of which "
        "the first line is one sentence"
        for path in modules(root).values()
        for line in [(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]]
        if not line.endswith(".") or ". " in line
    ]


def init_with_code(root: Path) -> list[str]:
    """Packages whose `__init__.py` is more than a docstring: each start would load it."""
    return [
        f"{path.relative_to(root)} has more than a docstring"
        for name, path in modules(root).items()
        if path.name == "__init__.py" and name != "mprun"
        if len(ast.parse(path.read_text("utf-8")).body) != 1
    ]


def misnamed(root: Path) -> list[str]:
    """Modules with the name of a module of the standard library."""
    return [
        f"{path.relative_to(root)} is called like a module of Python's own"
        for path in modules(root).values()
        if path.stem in sys.stdlib_module_names
    ]


RULES = (
    without_floor,
    upward,
    circular,
    misplaced_libraries,
    impure,
    process_calls,
    files_opened,
    prints,
    beyond_the_interface,
    eager,
    init_with_code,
    misnamed,
    without_summary,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    found = rule(PACKAGE)
    assert not found, "\n" + "\n".join(found)


def test_nothing_is_on_two_floors():
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)


def test_the_floors_are_those_of_the_documentation():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text("utf-8")
    for number, floor in enumerate(FLOORS):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {number} |")]
        names = ["ground"] if number == 0 else [f"`{name}`" for name in floor if name != "mprun"]
        assert all(name in row for name in names), row


PACKAGES = ("jobfile", "linux", "scheduling", "launcher", "record", "executors", "reporters", "engine", "cli")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package that keeps every rule: a module `base` and a module `main` in each package, empty."""
    for name in (*GROUND, "__init__", "__main__", "api"):
        add(tmp_path, f"{name}.py", "")
    for package in PACKAGES:
        for name in ("__init__", "base", "main"):
            add(tmp_path, f"{package}/{name}.py", "")
    return tmp_path


def add(root: Path, file: str, code: str) -> None:
    path = root / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'"""It is here."""\n{code}\n')


def test_a_good_package_breaks_no_rule(root):
    add(root, "scheduling/main.py", "from mprun.jobfile.main import Job\nfrom mprun import errors")
    add(root, "engine/main.py", "import mprun.scheduling.main\nfrom ..executors.base import Executor")
    add(root, "executors/main.py", "def load():\n    from .base import Key\n    import mprun.linux.base")
    add(root, "cli/main.py", "import click\nfrom mprun import load_job")
    add(root, "reporters/main.py", "open(log.open())\nopen(run.open_events(), 'rb')")
    add(root, "errors.py", "if TYPE_CHECKING:\n    from mprun.diagnostics import Diagnostic")
    add(root, "__init__.py", "def load_job():\n    from mprun.engine.main import Engine")
    add(root, "__main__.py", "def main():\n    from mprun.launcher.main import launch")
    assert {rule.__name__: rule(root) for rule in RULES} == {rule.__name__: [] for rule in RULES}


@pytest.mark.parametrize(
    ("rule", "file", "code", "message"),
    [
        (without_floor, "utils.py", "", "mprun/utils.py is on no floor: put `utils` into FLOORS"),
        (without_floor, "utils/text.py", "", "mprun/utils/text.py is on no floor: put `utils` into FLOORS"),
        (upward, "jobfile/main.py", "from mprun.engine.main import A", "jobfile.main:2 imports engine.main"),
        (upward, "jobfile/main.py", "from mprun.engine import main", "jobfile.main:2 imports engine.main"),
        (upward, "jobfile/main.py", "from mprun import engine", "jobfile.main:2 imports engine, which"),
        (upward, "jobfile/main.py", "import mprun.api as a", "jobfile.main:2 imports api, which is not"),
        (upward, "jobfile/main.py", "from .. import api", "jobfile.main:2 imports api, which"),
        (upward, "jobfile/main.py", "from ..linux.base import A", "jobfile.main:2 imports linux.base"),
        (upward, "jobfile/main.py", "from mprun import load_job", "jobfile.main:2 imports mprun, which"),
        (upward, "jobfile/main.py", "def f():\n    import mprun.api", "jobfile.main:3 imports api, which"),
        (upward, "jobfile/main.py", "async def f():\n    import mprun.api", "jobfile.main:3 imports api"),
        (upward, "jobfile/main.py", "class A:\n    import mprun.api", "jobfile.main:3 imports api, which"),
        (upward, "jobfile/main.py", "if TYPE_CHECKING:\n    import mprun.api", "jobfile.main:3 imports api"),
        (upward, "errors.py", "from mprun.jobfile.main import Job", "errors:2 imports jobfile.main"),
        (files_opened, "record/main.py", "open(run.events)", "record.main:2 calls open; open what is below"),
        (files_opened, "record/main.py", "file = os.open(path, 0)", "record.main:2 calls os.open; open what"),
        (
            files_opened,
            "engine/main.py",
            "def f():\n    os.stat(path)",
            "engine.main:3 calls os.stat; open what",
        ),
        (files_opened, "cli/main2.py", "os.path.exists(path)", "cli.main2:2 calls os.path.exists; open what"),
        (upward, "executors/main.py", "import mprun.launcher.main", "executors.main:2 imports launcher.main"),
        (upward, "__main__.py", "import mprun.engine.main", "__main__:2 imports engine.main"),
        (
            misplaced_libraries,
            "engine/main.py",
            "def f():\n    import rich.live",
            "engine.main:3 imports rich.live",
        ),
        (
            misplaced_libraries,
            "cli/main.py",
            "from yaml import load",
            "cli.main:2 imports yaml.load; yaml belongs",
        ),
        (impure, "scheduling/main.py", "import os.path", "scheduling.main:2 imports os.path; pass it in as"),
        (impure, "scheduling/base.py", "from time import time", "scheduling.base:2 imports time.time; pass"),
        (process_calls, "record/main.py", "import os\nos.kill(1, 9)", "record.main:3 calls os.kill; that"),
        (process_calls, "engine/main.py", "def f():\n    os.fork()", "engine.main:3 calls os.fork; that"),
        (prints, "cli/main.py", "print(1)", "cli.main:2 writes by `print(1)`; call `print_text`"),
        (prints, "cli/main.py", "import click\nclick.echo(1)", "cli.main:3 writes by `click.echo(1)`; call"),
        (
            prints,
            "record/main.py",
            "sys.stderr.buffer.write(b'')",
            "record.main:2 writes by `sys.stderr.buff",
        ),
        (prints, "engine/main.py", "os.write(2, b'')", "engine.main:2 writes by `os.write(2, b'')`; call"),
        (prints, "api.py", "import sys\nsys.stdout = None", "api:3 writes by `sys.stdout = None`; call"),
        (
            beyond_the_interface,
            "engine/main.py",
            "from mprun.reporters.main import A",
            "engine.main:2 imports reporter",
        ),
        (eager, "__init__.py", "from mprun.frozen import Frozen", "mprun:2 imports frozen at once"),
        (eager, "launcher/worker.py", "from mprun.launcher import main", "launcher.worker:2 imports launch"),
        (init_with_code, "cli/__init__.py", "import click", "cli/__init__.py has more than a docstring"),
        (misnamed, "cli/signal.py", "", "cli/signal.py is called like a module of Python's own"),
    ],
)
def test_a_bad_module_is_found(root, rule, file, code, message):
    add(root, file, code)
    (found,) = rule(root)
    assert found.startswith(message)


def test_a_cycle_is_found(root):
    add(root, "jobfile/main.py", "from mprun.jobfile.base import A")
    add(root, "jobfile/base.py", "if TYPE_CHECKING:\n    from mprun.jobfile.main import B")
    assert circular(root) == ["jobfile.base -> jobfile.main -> jobfile.base"]


@pytest.mark.parametrize("text", ["", "import ast\n", '"""No full stop"""\n', '"""Two. Sentences."""\n'])
def test_a_module_without_a_summary_is_found(root, text):
    (root / "api.py").write_text(text)
    (found,) = without_summary(root)
    assert found.startswith("api.py opens with")
