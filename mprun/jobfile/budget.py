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
    from collections.abc import Iterator
    from typing import Protocol

    from mprun.diagnostics import SourceText
    from mprun.jobfile.syntax.document import Document

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
# A node of a list or mapping that a recipe is given.
NODE_OF_PARAM = 500
CLOSURE = 200
NESTED_CLOSURE = 6000
NODE_OF_DEFAULTS = 100
VARIABLE = 1500
# A byte of an env file that has errors.
BYTE_OF_ENV_FILE = 150
PIECE = 100

# To compile a pattern, each of its characters, and each set that may have characters beyond ASCII.
PATTERN = 20_000
CHARACTER_OF_PATTERN = 1600
WIDE_SET = 10_000_000

# Nodes of the defaults, and variables of a task that has its own, that cost nothing.
FREE_NODES = 256
FREE_VARIABLES = 256

# Nodes of the lists and mappings that the arguments of one task refer to.
MAX_SHARED_NODES = 1_000_000

# Instances that have a task of their own, because of keys such as `timeout` that depend on their values.
MAX_VARIANTS = 125_000

# Tasks that are aliases of others: 250,000 fit into a file of 1 MiB, and take up 180 MB.
MAX_ALIASES = 100_000

# Where a task or param has its pattern. Most have none: there may be 100,000, so one lookup is made for all.
_KEYS_WITH_PATTERNS = frozenset({"pattern", "expect", "ready"})

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

    __slots__ = ("_counts", "_patterns", "_shared", "_uses", "_variants", "left", "place")

    def __init__(self, source: SourceText) -> None:
        self.left: float = LIMIT
        self.place: tuple[SourceText, int] = (source, 0)
        self._uses = MAX_LATER_USES
        self._variants = 0
        self._patterns: set[str] = set()
        # The lists and mappings that were counted, by their ids, and the nodes of them in the present task.
        self._counts: dict[int, tuple[Any, int]] = {}
        self._shared = 0

    def spend_patterns(self, document: Document) -> None:
        """Spend what it costs to compile the regular expressions of a file, once each. Raises OutOfBudget."""
        for pattern, mark in _patterns_of(document.root):
            # Few jobs have one.
            from mprun.jobfile.patterns import MAX_PATTERN_CHARACTERS, is_wide

            # A longer one is refused without being compiled.
            if pattern in self._patterns or len(pattern) > MAX_PATTERN_CHARACTERS:
                continue
            self._patterns.add(pattern)
            self.place = (document.source, mark)
            sets = pattern.count("[") if is_wide(pattern) else 0
            units = PATTERN + len(pattern) * CHARACTER_OF_PATTERN + sets * WIDE_SET
            self.spend(units, what="regular expressions")

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

    def spend_param(self, value: Any) -> None:
        """Spend what the value costs that a recipe is given. Raises OutOfBudget."""
        if isinstance(value, (dict, list)):
            self.spend(NODE_OF_PARAM * node_count(value))

    def spend_env_file(self, count: int) -> None:
        """Spend what the variables cost that a recipe reads from a file. Raises OutOfBudget."""
        self.spend(count * VARIABLE, what="env files")

    def spend_invalid_env_file(self, size: int) -> None:
        """Spend what a file of so many bytes costs that a recipe cannot use. Raises OutOfBudget."""
        self.spend(size * BYTE_OF_ENV_FILE, what="env files")

    def begin_task(self, source: SourceText, mark: int) -> None:
        """A task is read; its mark is where the budget runs out if no reference is to blame."""
        self.place = (source, mark)
        self._shared = 0

    def count_shared(self, value: Any, reference: Located) -> None:
        """Count a list or mapping that a task shares with others. Raises OutOfBudget.

        It costs nothing to read, but to show it, and to start the task, each of its places is written.
        """
        known = self._counts.get(id(value))
        if known is None:
            # With the value, so that no other one gets its id.
            known = self._counts[id(value)] = (value, node_count(value))
        self._shared += known[1]
        if self._shared > MAX_SHARED_NODES:
            source, mark = self.place
            if reference.source is not None:
                source, mark = reference.source, reference.mark
            message = f"too many values in one task (limit: {MAX_SHARED_NODES:,})"
            raise out_of_budget(message, source, mark, "refer to long lists less often")

    def spend_closure(self, is_nested: bool) -> None:
        """Spend what it costs to resolve a value in the scope of another file. Raises OutOfBudget."""
        self.spend(NESTED_CLOSURE if is_nested else CLOSURE)

    def count_variants(self, count: int) -> None:
        """Count tasks that are built for some of many instances. Raises OutOfBudget."""
        self._variants += count
        if self._variants > MAX_VARIANTS:
            message = f"too many instances with keys of their own (limit: {MAX_VARIANTS:,})"
            help = "refer to `matrix` and `item` in `args`, `kwargs`, `command`, `env`, `cwd` or `when` alone"
            raise out_of_budget(message, *self.place, help)

    def count_aliases(self, tasks: Any, source: SourceText) -> None:
        """Count the tasks that are aliases of others. Raises OutOfBudget at the first that is too much."""
        seen: set[int] = set()
        for number, task in enumerate(tasks):
            if id(task) not in seen:
                seen.add(id(task))
            elif number - len(seen) >= MAX_ALIASES:
                message = f"too many tasks are aliases of others (limit: {MAX_ALIASES:,})"
                raise out_of_budget(message, source, tasks.marks[number], "use `foreach` or `matrix`")

    def require(self, units: float) -> None:
        """Raise OutOfBudget if so many units are not left; spends none."""
        self.spend(units)
        self.left += units

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
        self._variants = -(1 << 62)


def _patterns_of(root: Any) -> Iterator[tuple[str, int]]:
    """The patterns of a file, each with the mark of its task or param; takes any tree."""
    if not isinstance(root, dict):
        return
    tasks, params = root.get("tasks"), root.get("params")
    marks = getattr(tasks, "marks", ())
    holders = list(zip(tasks, marks, strict=False)) if isinstance(tasks, list) else []
    for key, node in (("defaults", root.get("defaults")), ("params", params)):
        if isinstance(node, dict):
            mark = root.marks_of(key)[0]  # type: ignore[attr-defined]
            holders += [(one, mark) for one in (node.values() if key == "params" else (node,))]
    for holder, mark in holders:
        if isinstance(holder, dict) and not _KEYS_WITH_PATTERNS.isdisjoint(holder):
            parts = ((holder, "pattern"), (holder.get("expect"), "output"), (holder.get("ready"), "log"))
            for part, below in parts:
                pattern = part.get(below) if isinstance(part, dict) else None
                if isinstance(pattern, str):
                    yield pattern, mark


def out_of_budget(message: str, source: SourceText, mark: int, help: str = _HELP) -> OutOfBudget:
    """The error of a job that is too large, at a mark."""
    span = span_of_mark(source, mark)
    return OutOfBudget(Diagnostic(message=message, source=source, span=span, help=help))


def node_count(node: Any, counts: dict[int, int] | None = None) -> int:
    """The nodes of a tree, in which a list or mapping may be in many places: it is looked at once.

    `counts` are those of its lists and mappings so far, by their ids.
    """
    if not isinstance(node, (dict, list, tuple)):
        return 1
    counts = {} if counts is None else counts
    if id(node) not in counts:
        values = node.values() if isinstance(node, dict) else node
        more = len(node) if isinstance(node, dict) else 0
        # Most have no other below them, and take no call each.
        below = [value for value in values if isinstance(value, (dict, list, tuple))]
        plain = len(node) - len(below)
        counts[id(node)] = 1 + more + plain + sum([node_count(value, counts) for value in below])
    return counts[id(node)]
