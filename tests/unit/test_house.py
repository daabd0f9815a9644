"""The contract of imports: which package may know which (docs/architecture.md has the reasons)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HOUSE = Path(__file__).parents[2] / "mprun"

# What all others may use. `mprun` is the package itself, the public face, on the floor of `api`.
GROUND = ("clock", "diagnostics", "errors", "failpoints", "frozen", "lazy_import", "outcomes")

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
    {"cli": ("*",)},
    {"__main__": ("cli", "launcher.main")},
)
FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}

# The engine knows its executors and reporters by their interfaces alone.
BY_INTERFACE = {("engine", "executors"), ("engine", "reporters")}

# One library, one room.
ROOMS = {
    "click": {"cli"},
    "dask": {"executors.dask"},
    "distributed": {"executors.dask"},
    "jsonschema": {"jobfile.schema"},
    "multiprocessing": {"launcher"},
    "psutil": {"record"},
    "rich": {"reporters"},
    "yaml": {"jobfile.syntax", "cli.lean_imports"},
}

# The scheduler decides; its callers bring the clock, the chance and the facts.
PURE = "scheduling"
WORLD = {"multiprocessing", "os", "random", "select", "socket", "subprocess", "threading", "time"}

# Each command imports the package and `__main__`, each spawned task the worker: these, and no more.
LIGHT = {"mprun", "__main__", "launcher.worker"}


class Import(NamedTuple):
    """One import of a file: by which module, of what, where; `lazy` ones cost a start nothing."""

    by: str
    of: str
    line: int
    lazy: bool


class Imports(ast.NodeVisitor):
    """Collects what a module imports, also what only a type checker reads."""

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


def modules(house: Path) -> dict[str, Path]:
    """Every module by its name in the house: `api`, `executors.local`, `mprun` for the package itself."""
    names = {}
    for path in sorted(house.rglob("*.py")):
        parts = path.relative_to(house).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        names[".".join(parts) or "mprun"] = path
    return names


def imports(house: Path) -> Iterator[Import]:
    """Every import in the house; `of` is the name of a module of ours, or of a foreign one."""
    names = modules(house)
    for by, path in names.items():
        package = "mprun" if by == "mprun" else f"mprun.{by}"
        if path.name != "__init__.py":
            package = package.rpartition(".")[0]
        collector = Imports(package)
        collector.visit(ast.parse(path.read_text("utf-8")))
        for target, line, lazy in collector.found:
            yield Import(by, at_home(target, names), line, lazy)


def at_home(target: str, names: dict[str, Path]) -> str:
    """`mprun.scheduling.plan.Plan` is `scheduling.plan`, `mprun.load_job` is `mprun`; others stay."""
    top, _, name = target.partition(".")
    if top != "mprun":
        return target
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name or "mprun"


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def room_of(name: str) -> str:
    """The package that a module is in; a module beside the packages is a room of its own."""
    return name.partition(".")[0]


def homeless(house: Path) -> list[str]:
    """Modules and packages that no floor names."""
    return [
        f"mprun/{path.relative_to(house)} is on no floor: put `{room_of(name)}` into FLOORS in "
        "tests/unit/test_house.py, or the module into a package"
        for name, path in modules(house).items()
        if room_of(name) not in FLOOR_OF
    ]


def may_import(by: str, of: str) -> bool:
    """Whether the contract lets a module of ours import another."""
    room, other = room_of(by), room_of(of)
    if other == room or other in GROUND:
        return True
    listed = FLOORS[FLOOR_OF[room]][room]
    if "*" in listed and FLOOR_OF[other] < FLOOR_OF[room]:
        return True
    return any(is_in(of, entry) for entry in listed)


def upward(house: Path) -> list[str]:
    """Imports that the table of floors does not have."""
    return [
        f"{found.by}:{found.line} imports {found.of}, which is not below it"
        for found in imports(house)
        if room_of(found.by) in FLOOR_OF
        and room_of(found.of) in FLOOR_OF
        and not may_import(found.by, found.of)
    ]


def circular(house: Path) -> list[str]:
    """Modules that import each other, directly or through others."""
    names = modules(house)
    edges: dict[str, set[str]] = {name: set() for name in names}
    for found in imports(house):
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


def out_of_room(house: Path) -> list[str]:
    """Imports of a library outside of the room that is its own."""
    return [
        f"{found.by}:{found.line} imports {found.of}; {library} belongs to {', '.join(sorted(rooms))}"
        for found in imports(house)
        for library, rooms in ROOMS.items()
        if is_in(found.of, library) and not any(is_in(found.by, room) for room in rooms)
    ]


def impure(house: Path) -> list[str]:
    """Imports by which the core would reach for a clock, a file, a process or chance."""
    return [
        f"{found.by}:{found.line} imports {found.of}; let it come in as an argument"
        for found in imports(house)
        if is_in(found.by, PURE) and found.of.partition(".")[0] in WORLD
    ]


def familiar(house: Path) -> list[str]:
    """Imports by which the engine would know one executor or reporter by name."""
    return [
        f"{found.by}:{found.line} imports {found.of}; it may know {family}.base alone"
        for found in imports(house)
        for by, family in BY_INTERFACE
        if room_of(found.by) == by and is_in(found.of, family) and found.of != f"{family}.base"
    ]


def eager(house: Path) -> list[str]:
    """Imports of the house's modules, outside of a function, where each start would pay for them."""
    return [
        f"{found.by}:{found.line} imports {found.of} at once; import it in the function that needs it"
        for found in imports(house)
        if found.by in LIGHT and not found.lazy and found.of in modules(house)
    ]


def untold(house: Path) -> list[str]:
    """Modules whose docstring does not open with a line that is one sentence."""
    return [
        f"{path.relative_to(house)} opens with {line!r}, not with a docstring of which "
        "the first line is one sentence"
        for path in modules(house).values()
        for line in [(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]]
        if not line.endswith(".") or ". " in line
    ]


def laden(house: Path) -> list[str]:
    """Packages whose `__init__.py` is more than a docstring: each start pays for what is in it."""
    return [
        f"{path.relative_to(house)} has more than a docstring"
        for name, path in modules(house).items()
        if path.name == "__init__.py" and name != "mprun"
        if len(ast.parse(path.read_text("utf-8")).body) != 1
    ]


def misnamed(house: Path) -> list[str]:
    """Modules that are called like one of the standard library's."""
    return [
        f"{path.relative_to(house)} is called like a module of Python's own"
        for path in modules(house).values()
        if path.stem in sys.stdlib_module_names
    ]


RULES = (
    homeless,
    upward,
    circular,
    out_of_room,
    impure,
    familiar,
    eager,
    laden,
    misnamed,
    untold,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house_keeps_the_rule(rule):
    found = rule(HOUSE)
    assert not found, "\n" + "\n".join(found)


def test_nothing_is_on_two_floors():
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)


def test_the_floors_are_those_of_the_documentation():
    text = (HOUSE.parent / "docs" / "architecture.md").read_text("utf-8")
    for number, floor in enumerate(FLOORS):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {number} |")]
        rooms = ["ground"] if number == 0 else [f"`{name}`" for name in floor if name != "mprun"]
        assert all(room in row for room in rooms), row


PACKAGES = ("jobfile", "linux", "scheduling", "launcher", "record", "executors", "reporters", "engine", "cli")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A house that keeps every rule: a module `base` and a module `main` in each package, empty."""
    for name in (*GROUND, "__init__", "__main__", "api"):
        add(tmp_path, f"{name}.py", "")
    for package in PACKAGES:
        for name in ("__init__", "base", "main"):
            add(tmp_path, f"{package}/{name}.py", "")
    return tmp_path


def add(house: Path, file: str, code: str) -> None:
    path = house / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'"""It is here."""\n{code}\n')


def test_a_good_house_breaks_no_rule(house):
    add(house, "scheduling/main.py", "from mprun.jobfile.main import Job\nfrom mprun import errors")
    add(house, "engine/main.py", "import mprun.scheduling.main\nfrom ..executors.base import Executor")
    add(house, "executors/main.py", "def load():\n    from .base import Key\n    import mprun.linux.base")
    add(house, "cli/main.py", "import click\nfrom mprun import load_job")
    add(house, "errors.py", "if TYPE_CHECKING:\n    from mprun.diagnostics import Diagnostic")
    add(house, "__init__.py", "def load_job():\n    from mprun.engine.main import Engine")
    add(house, "__main__.py", "def main():\n    from mprun.launcher.main import launch")
    assert {rule.__name__: rule(house) for rule in RULES} == {rule.__name__: [] for rule in RULES}


@pytest.mark.parametrize(
    ("rule", "file", "code", "said"),
    [
        (homeless, "utils.py", "", "mprun/utils.py is on no floor: put `utils` into FLOORS"),
        (homeless, "utils/text.py", "", "mprun/utils/text.py is on no floor: put `utils` into FLOORS"),
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
        (upward, "executors/main.py", "import mprun.launcher.main", "executors.main:2 imports launcher.main"),
        (upward, "__main__.py", "import mprun.engine.main", "__main__:2 imports engine.main"),
        (out_of_room, "engine/main.py", "def f():\n    import rich.live", "engine.main:3 imports rich.live"),
        (out_of_room, "cli/main.py", "from yaml import load", "cli.main:2 imports yaml.load; yaml belongs"),
        (impure, "scheduling/main.py", "import os.path", "scheduling.main:2 imports os.path; let it come in"),
        (impure, "scheduling/base.py", "from time import time", "scheduling.base:2 imports time.time; let"),
        (
            familiar,
            "engine/main.py",
            "from mprun.reporters.main import A",
            "engine.main:2 imports reporter",
        ),
        (eager, "__init__.py", "from mprun.frozen import Frozen", "mprun:2 imports frozen at once"),
        (eager, "launcher/worker.py", "from mprun.launcher import main", "launcher.worker:2 imports launch"),
        (laden, "cli/__init__.py", "import click", "cli/__init__.py has more than a docstring"),
        (misnamed, "cli/signal.py", "", "cli/signal.py is called like a module of Python's own"),
    ],
)
def test_a_bad_module_is_found(house, rule, file, code, said):
    add(house, file, code)
    (found,) = rule(house)
    assert found.startswith(said)


def test_a_circle_is_found(house):
    add(house, "jobfile/main.py", "from mprun.jobfile.base import A")
    add(house, "jobfile/base.py", "if TYPE_CHECKING:\n    from mprun.jobfile.main import B")
    assert circular(house) == ["jobfile.base -> jobfile.main -> jobfile.base"]


@pytest.mark.parametrize("text", ["", "import ast\n", '"""No full stop"""\n', '"""Two. Sentences."""\n'])
def test_a_module_that_does_not_say_what_it_is_for_is_found(house, text):
    (house / "api.py").write_text(text)
    (found,) = untold(house)
    assert found.startswith("api.py opens with")
