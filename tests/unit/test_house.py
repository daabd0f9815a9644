"""The contract of imports: which module may know which (docs: CONTRIBUTING.md, the floors)."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HOUSE = Path(__file__).parents[2] / "mprun"

# Bottom first. A module may import from the floors below its own, and not from its own.
# `mprun` is the package itself: the functions that it gives to Python users.
FLOORS = (
    # words that all speak
    {"standin", "value"},
    {"clock", "failpoints", "outcomes", "postponed", "problems"},
    {"errors"},
    {"events", "intents", "job"},
    # from text to a job
    {"durations", "scalars", "sizes", "syntax", "textfile"},
    {"composer", "envfile"},
    {"loader"},
    {"graph", "matrix", "quickcheck", "references", "remedies"},
    {"explanations", "paramtypes", "reference_checks"},
    {"parameters", "schema", "substitution"},
    {"checks"},
    {"builder"},
    {"blame"},
    {"crosschecks", "instances", "recipes"},
    {"assembly"},
    # what to do next
    {"estimates", "expectations", "plan", "retries", "selection", "timers"},
    {"courses", "joins", "ranking"},
    {"admission", "stopping", "successors"},
    {"roster"},
    {"scheduler"},
    {"rehearsal"},
    {"outlook"},
    # the launcher's side
    {"backlog", "badge", "channel", "procfs", "refusal", "shortage", "waiting"},
    {"bequest", "limits", "popen", "signalling", "stacks"},
    {"command", "reaper", "standby"},
    {"provision"},
    {"worker"},
    {"attempt", "bereavement", "forkserver", "popen_exec", "target"},
    {"attendants", "resolution"},
    {"launcher"},
    {"launching"},
    # the engine's side
    {"guard", "listeners", "marks", "results", "signals", "state", "statedir"},
    {"aftermath", "presence", "record", "servers"},
    {"ancestry", "history", "probes", "summary"},
    {"pruning"},
    {"executors.base", "reporters.base"},
    {"executors.dask", "executors.local", "preparation", "reporters.tail", "reporters.words"},
    {"reporters.plan_notes", "reporters.plan_values"},
    {
        "reporters.lineage",
        "reporters.plan_graph",
        "reporters.plan_json",
        "reporters.plan_text",
        "reporters.progress",
        "reporters.table",
    },
    {"reporters.workflow"},
    {"reporters.console"},
    {
        "reporters.errors",
        "reporters.github",
        "reporters.html",
        "reporters.jsonl",
        "reporters.junit",
        "reporters.live",
        "reporters.run_list",
        "reporters.show",
        "reporters.task_logs",
        "reporters.trace",
        "reporters.tree",
    },
    {"reporters.follow"},
    {"executors", "reporters"},
    {"chronicle", "endings", "handover", "control", "loglimits", "publishing", "resumption", "sweep"},
    {"engine"},
    {"api", "starter"},
    # the doors
    {"mprun"},
    {"cli.commands", "cli.completion", "cli.options"},
    {"cli.planning"},
    {"cli.plan", "cli.records", "cli.run", "cli.runs", "cli.starter"},
    {"cli.again", "cli.stop"},
    {"cli"},
    {"__main__"},
)

# One library, one room. A package stands for all of its modules.
ROOMS = {
    "click": {"cli", "postponed"},
    "dask": {"executors.dask"},
    "distributed": {"executors.dask"},
    "jsonschema": {"schema"},
    "multiprocessing": {"attendants", "launching", "popen_exec", "worker"},
    "rich": {"reporters"},
    "yaml": {"loader", "postponed"},
}

# The core decides; whoever calls it brings the clock, the dice and the facts.
PURE = {
    "admission",
    "courses",
    "estimates",
    "expectations",
    "graph",
    "joins",
    "matrix",
    "outlook",
    "plan",
    "ranking",
    "references",
    "rehearsal",
    "retries",
    "roster",
    "scheduler",
    "selection",
    "stopping",
    "successors",
    "timers",
}
WORLD = {"multiprocessing", "os", "random", "select", "socket", "subprocess", "threading", "time"}

# Each command imports the package and `__main__`, each spawned task the worker: these, and no more.
LIGHT = {"mprun", "__main__", "worker"}

# The engine knows its executors and reporters by their interfaces alone.
STRANGERS = {("engine", "executors"), ("engine", "reporters")}


class Import(NamedTuple):
    """One import of a file: by which module, of what, where; `lazy` ones stand in a function."""

    by: str
    of: str
    line: int
    lazy: bool


class Imports(ast.NodeVisitor):
    """Collects what a module imports when it runs: not what only a type checker reads."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.found: list[tuple[str, int, bool]] = []
        self.depth = 0

    def visit_FunctionDef(self, node):
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node):
        only_types = ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        for child in node.orelse if only_types else (*node.body, *node.orelse):
            self.visit(child)

    def visit_Import(self, node):
        self.found += [(alias.name, node.lineno, self.depth > 0) for alias in node.names]

    def visit_ImportFrom(self, node):
        parents = self.package.split(".")[: -node.level + 1 or None] if node.level else []
        base = ".".join([*parents, *filter(None, [node.module])])
        self.found += [(f"{base}.{alias.name}", node.lineno, self.depth > 0) for alias in node.names]


def modules(house: Path) -> dict[str, Path]:
    """Every module under its name in FLOORS: `plan`, `executors.local`, `mprun` for the package."""
    names = {}
    for path in sorted(house.rglob("*.py")):
        parts = path.relative_to(house).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        names[".".join(parts) or "mprun"] = path
    return names


def imports(house: Path) -> Iterator[Import]:
    """Every import in the house; `of` is a name as in FLOORS, or that of a foreign module."""
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
    """`mprun.plan.Plan` is `plan`, `mprun.load_job` is `mprun`; a foreign name stays as it is."""
    top, _, name = target.partition(".")
    if top != "mprun":
        return target
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name or "mprun"


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def homeless(house: Path) -> list[str]:
    """Modules that no floor names."""
    return [
        f"mprun/{path.relative_to(house)} is on no floor: put `{name}` into FLOORS in "
        "tests/unit/test_house.py, on the lowest floor above all that it imports"
        for name, path in modules(house).items()
        if not any(name in floor for floor in FLOORS)
    ]


def upward(house: Path) -> list[str]:
    """Imports that run up the floors, or along one."""
    floor_of = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    return [
        f"{found.by}:{found.line} imports {found.of}, which is not below it"
        for found in imports(house)
        if found.by in floor_of
        and found.of in floor_of
        and found.by != found.of
        and floor_of[found.of] >= floor_of[found.by]
    ]


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
        if found.by in PURE and found.of.partition(".")[0] in WORLD
    ]


def familiar(house: Path) -> list[str]:
    """Imports by which the engine would know one executor or reporter by name."""
    return [
        f"{found.by}:{found.line} imports {found.of}; it may know {family} and {family}.base"
        for found in imports(house)
        for by, family in STRANGERS
        if found.by == by and is_in(found.of, family) and found.of not in {family, f"{family}.base"}
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


RULES = (homeless, upward, out_of_room, impure, familiar, eager, untold)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house_keeps_the_rule(rule):
    found = rule(HOUSE)
    assert not found, "\n" + "\n".join(found)


def test_nothing_is_on_two_floors():
    listed = [name for floor in FLOORS for name in floor]
    assert len(listed) == len(set(listed))


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A house that keeps every rule: each module in FLOORS, empty but for its docstring."""
    for name in (name for floor in FLOORS for name in floor):
        path = tmp_path / name.replace(".", "/")
        if name == "mprun":
            path = tmp_path / "__init__.py"
        elif any(is_in(other, name) and other != name for floor in FLOORS for other in floor):
            path = path / "__init__.py"
        else:
            path = path.with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text('"""It is here."""\n')
    return tmp_path


def add(house: Path, file: str, code: str) -> None:
    path = house / file
    path.write_text(f'"""It is here."""\n{code}\n')


def test_a_good_house_breaks_no_rule(house):
    add(house, "plan.py", "from mprun.job import Job\nfrom mprun import references, errors")
    add(house, "engine.py", "import mprun.plan\nfrom . import job\nfrom .executors.base import Executor")
    add(house, "executors/__init__.py", "def load():\n    from .local import Local\n    import mprun.record")
    add(house, "cli/__init__.py", "import click\nfrom mprun import load_job")
    add(house, "value.py", "if TYPE_CHECKING:\n    from mprun.engine import Engine\n    import yaml")
    add(house, "__init__.py", "def load_job():\n    from mprun.engine import Engine")
    assert {rule.__name__: rule(house) for rule in RULES} == {rule.__name__: [] for rule in RULES}


@pytest.mark.parametrize(
    ("rule", "file", "code", "said"),
    [
        (homeless, "utils.py", "", "mprun/utils.py is on no floor: put `utils` into FLOORS"),
        (upward, "plan.py", "from mprun.engine import Engine", "plan:2 imports engine, which is not"),
        (upward, "plan.py", "from mprun import engine", "plan:2 imports engine, which"),
        (upward, "plan.py", "import mprun.engine as e", "plan:2 imports engine, which"),
        (upward, "plan.py", "from . import engine", "plan:2 imports engine, which"),
        (upward, "plan.py", "from .engine import Engine", "plan:2 imports engine, which"),
        (upward, "plan.py", "from mprun import load_job", "plan:2 imports mprun, which"),
        (upward, "plan.py", "def f():\n    import mprun.engine", "plan:3 imports engine, which"),
        (upward, "plan.py", "async def f():\n    import mprun.engine", "plan:3 imports engine, which"),
        (upward, "plan.py", "class A:\n    from mprun.engine import B", "plan:3 imports engine, which"),
        (upward, "plan.py", "try:\n    import mprun.engine\nfinally: ...", "plan:3 imports engine, which"),
        (upward, "plan.py", "if TYPE_CHECKING: ...\nelse:\n    import mprun.engine", "plan:4 imports engine"),
        (upward, "plan.py", "if not TYPE_CHECKING:\n    import mprun.engine", "plan:3 imports engine"),
        (upward, "quickcheck.py", "import mprun.schema", "quickcheck:2 imports schema, which"),
        (upward, "executors/local.py", "from ..engine import A", "executors.local:2 imports engine"),
        (upward, "executors/local.py", "from . import get", "executors.local:2 imports executors, which"),
        (out_of_room, "engine.py", "def f():\n    import rich.live", "engine:3 imports rich.live; rich"),
        (out_of_room, "cli/run.py", "from yaml import load", "cli.run:2 imports yaml.load; yaml"),
        (impure, "scheduler.py", "import os.path", "scheduler:2 imports os.path; let it come in"),
        (impure, "plan.py", "from time import time", "plan:2 imports time.time; let it come in"),
        (familiar, "engine.py", "from mprun.reporters.live import Live", "engine:2 imports reporters.live"),
        (eager, "__init__.py", "from mprun.value import Value", "mprun:2 imports value at once"),
        (eager, "worker.py", "from mprun import popen", "worker:2 imports popen at once"),
    ],
)
def test_a_bad_module_is_found(house, rule, file, code, said):
    add(house, file, code)
    (found,) = rule(house)
    assert found.startswith(said)


@pytest.mark.parametrize("text", ["", "import ast\n", '"""No full stop"""\n', '"""Two. Sentences."""\n'])
def test_a_module_that_does_not_say_what_it_is_for_is_found(house, text):
    (house / "plan.py").write_text(text)
    (found,) = untold(house)
    assert found.startswith("plan.py opens with")
