"""What the parts of a job file may add to it: one budget for a job, counted as it is spent.

A file of a megabyte can ask for more memory and time than there is: by references to a long param, recipes
that use the next one twice, defaults with thousands of variables. What the files themselves contain is
bounded by their size, and costs nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic
from mprun.errors import OutOfBudget
from mprun.jobfile.syntax.composer import span_of_mark

if TYPE_CHECKING:
    from typing import Protocol

    from mprun.diagnostics import SourceText

    class Located(Protocol):
        """A reference: the file that contains it, and its mark there."""

        @property
        def source(self) -> SourceText | None: ...

        @property
        def mark(self) -> int: ...


# Units: one takes about a nanosecond, so that all of them are spent in less than half a second.
LIMIT = 1 << 28

# A byte of text that stays in memory (at most 32 MiB do), and one that is forgotten after a check.
KEPT_BYTE = 8
CHECKED_BYTE = 4
# A node that is copied, the resolution of a value in the scope of another file, and of one piece of a string.
NODE = 1000
CLOSURE = 200
NESTED_CLOSURE = 6000
NODE_OF_DEFAULTS = 100
VARIABLE = 1500
PIECE = 100

# Nodes of the defaults, and variables of a task that has its own, that cost nothing.
FREE_NODES = 256
FREE_VARIABLES = 256

# Recipes inside of recipes.
MAX_RECIPE_DEPTH = 64
# Uses of recipes, as far as they are known before any is expanded, and beyond these.
MAX_USES = 25_000
MAX_LATER_USES = 2000
# Characters of a recipe, and of each of its tasks, that cost nothing; each use reads the others again.
FREE_CHARACTERS = 8192
FREE_CHARACTERS_OF_TASK = 1024
CHARACTER_OF_RECIPE = 700

_HELP = "refer to long values less often, or split the job"


class Budget:
    """The units that a job has left; `place` is the task that is being read, as a source and a mark."""

    __slots__ = ("_uses", "left", "place")

    def __init__(self, source: SourceText) -> None:
        self.left: float = LIMIT
        self.place: tuple[SourceText, int] = (source, 0)
        self._uses = MAX_LATER_USES

    def expect_uses(self, count: int) -> None:
        """Allow so many uses of recipes, which are known already."""
        self._uses += count

    def spend(self, units: float, reference: Located | None = None, what: str = "references") -> None:
        """Spend units on a reference, or on the task that is being read. Raises OutOfBudget."""
        self.left -= units
        if self.left < 0:
            source, mark = self.place
            if reference is not None and reference.source is not None:
                source, mark = reference.source, reference.mark
            raise out_of_budget(f"the job is too large: its {what} add too much to it", source, mark)

    def spend_text(self, text: str, is_kept: bool, reference: Located) -> None:
        """Spend what a text costs that takes the place of a reference. Raises OutOfBudget."""
        size = len(text) if text.isascii() else 4 * len(text)
        self.spend(PIECE + size * (KEPT_BYTE if is_kept else CHECKED_BYTE), reference)

    def spend_nodes(self, value: Any, reference: Located) -> None:
        """Spend what the copy of a value costs that takes the place of a reference. Raises OutOfBudget."""
        self.spend(NODE * node_count(value), reference)

    def spend_closure(self, is_nested: bool) -> None:
        """Spend what it costs to resolve a value in the scope of another file. Raises OutOfBudget."""
        self.spend(NESTED_CLOSURE if is_nested else CLOSURE)

    def spend_instances(self, each: float, count: int) -> None:
        """Spend what the texts of instances cost, one of which has cost this much. Raises OutOfBudget."""
        self.spend(each / CHECKED_BYTE * count)

    def spend_variables(self, count: int) -> None:
        """Spend what a task costs that has its own variables beside others. Raises OutOfBudget."""
        if count > FREE_VARIABLES:
            self.spend((count - FREE_VARIABLES) * VARIABLE, what="variables")

    def spend_defaults(self, defaults: Any, tasks: int, source: SourceText, mark: int) -> None:
        """Spend what the defaults of this many tasks cost. Raises OutOfBudget."""
        nodes = node_count(defaults) - FREE_NODES
        if nodes > 0:
            self.place = (source, mark)
            self.spend(nodes * tasks * NODE_OF_DEFAULTS, what="defaults")

    def spend_use(self, characters: int, tasks: int, depth: int) -> None:
        """Spend what the use of a recipe costs, by the size of its file. Raises OutOfBudget."""
        self._uses -= 1
        if self._uses < 0:
            raise out_of_budget("the job is too large: too many uses of recipes", *self.place)
        if depth > MAX_RECIPE_DEPTH:
            message = f"recipes are nested more than {MAX_RECIPE_DEPTH} deep"
            raise out_of_budget(message, *self.place, "use fewer files")
        more = characters - FREE_CHARACTERS - FREE_CHARACTERS_OF_TASK * tasks
        if more > 0:
            self.spend(more * CHARACTER_OF_RECIPE, what="recipes")

    def close(self) -> None:
        """The job is read: what its run resolves is not counted."""
        self.left = 1e300


def out_of_budget(message: str, source: SourceText, mark: int, help: str = _HELP) -> OutOfBudget:
    """The error of a job that is too large, at a mark."""
    span = span_of_mark(source, mark)
    return OutOfBudget(Diagnostic(message=message, source=source, span=span, help=help))


def node_count(node: Any) -> int:
    """The nodes of a tree."""
    if isinstance(node, dict):
        return 1 + sum(1 + node_count(value) for value in node.values())
    if isinstance(node, (list, tuple)):
        return 1 + sum(map(node_count, node))
    return 1
