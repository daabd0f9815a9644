"""One task of a file -> its instances: itself, one for each combination, or one for each item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote
from mprun.errors import JobFileError, TooManyTasks, refuse_too_many
from mprun.frozen import MIN_TO_COMPILE
from mprun.jobfile import task_checks
from mprun.jobfile.instance_references import (
    axes_of,
    instance_references,
    keys_typed_by_instance,
    refers_into_instance,
)
from mprun.jobfile.key_types import TYPED_KEYS, require_type
from mprun.jobfile.model import Instance
from mprun.jobfile.references import (
    LATE_KEYS,
    Reference,
    ReferenceProblem,
    reference_diagnostic,
    references,
    refers,
)
from mprun.jobfile.resolution import Resolver, resolve
from mprun.jobfile.result_dependencies import with_results
from mprun.jobfile.schema import job_schema
from mprun.jobfile.syntax.document import Mapping, plain, span_below
from mprun.jobfile.syntax.scalars import kind_of
from mprun.jobfile.task_builder import FileContext, build_task, mark_of_key

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from mprun.jobfile.deferred_expansion import DeferredExpansion
    from mprun.jobfile.model import Task

    # Makes instances: some milliseconds for each value that it yields. In the end it returns them all.
    Steps = Generator[None, None, list[Instance]]

# How many instances are made in one step of an expansion during the run.
INSTANCES_A_STEP = 500

# Keys without references to an instance: names, and keys that decide the number of instances.
_LITERAL_KEYS = frozenset({"name", "description", "target", "group", "matrix", "foreach", "uses"})


def expand_over(task: Task, found: Any) -> Steps:
    """The instances of a task whose `foreach` or `matrix` is known only now, for its resolved value.

    Raises the same errors as `expand`, and ReferenceProblem if it is neither a list nor a matrix of lists.
    """
    deferred: DeferredExpansion = task.deferred_expansion
    expander = Expander(deferred.context, deferred.number, deferred.keys)
    if expander.late_list == "matrix":
        # Few tasks have one.
        from mprun.jobfile.matrix import refuse_other

        refuse_other(found, task.foreach)
        return (yield from expander.over_matrix(found))
    if not isinstance(found, list):
        raise ReferenceProblem(f"`foreach` must be a list, but `{task.foreach}` is {kind_of(found)}")
    return (yield from expander.over_items(found, task.name))


def _finish(steps: Steps) -> list[Instance]:
    """Do all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: list[Instance] = end.value
            return made


class Expander:
    """Makes the instances of task `number` (from 0) of a file; `keys` are as for `expand`."""

    def __init__(self, context: FileContext, number: int, keys: dict[str, Any]) -> None:
        self._context = context
        self._number = number
        self._keys = keys
        self._document = context.document
        self._axes: tuple[str, ...] = ()
        self.late_list = self._late_list()
        # Keys that depend on the instance and whose value is needed before it starts.
        self._early: dict[str, Any] = {}
        self._used: tuple[Reference, ...] = ()
        # Whether no two instances share a task, because its keys depend on all axes; and how many tasks are
        # expected. If that is not known, each is counted when it is built.
        self._all_differ = False
        self._expected = 0
        self._variants: dict[Any, Task] = {}
        # The strings of the early keys, parsed.
        self._parsed: dict[tuple[str, int], Any] = {}
        # Lists and mappings with their texts, by their ids.
        self._shown: dict[int, tuple[Any, str]] = {}
        # Whether an item may refer to the result of a task.
        self._items_refer = False
        # Whether the values of instances have no references.
        self._is_plain = True

    def instances(self) -> list[Instance]:
        """All instances, or one in their place if they are known only during the run.

        Raises the same errors as `expand`.
        """
        if self._context.has_references:
            self._refuse_defaults()
        keys = self._keys
        matrix, foreach = keys.get("matrix"), keys.get("foreach")
        if matrix is None and foreach is None:
            return [self._single_instance()]
        self._find_early()
        if self.late_list:
            return [self._deferred_instance()]
        if isinstance(foreach, list):
            items = self._context.compiled(foreach)
            return _finish(self.over_items(items, self._base()))
        return _finish(self.over_matrix(matrix))

    def _late_list(self) -> str:
        """The key whose instances are known only during the run; empty if there is none."""
        if isinstance(self._keys.get("foreach"), str):
            return "foreach"
        if not self._document.late_matrices or "matrix" not in self._keys:
            return ""
        raw: Any = self._document.root
        is_own = "matrix" in raw["tasks"][self._number]
        path = ("tasks", self._number, "matrix") if is_own else ("defaults", "matrix")
        return "matrix" if path in self._document.late_matrices else ""

    def _refuse_defaults(self) -> None:
        """Raise JobFileError if the defaults refer to an axis or item that this task does not have.

        The task's own keys were checked when its file was read.
        """
        raw: Any = self._document.root
        matrix, foreach = self._keys.get("matrix"), self._keys.get("foreach")
        for key in (raw.get("defaults") or {}).keys() & self._keys.keys() - raw["tasks"][self._number].keys():
            if key in _LITERAL_KEYS or key.startswith("x-"):
                continue
            for one in self._of_instance(key):
                there = foreach is not None if one.root == "item" else one.name in axes_of(matrix)
                if not there and not self._context.unknown:
                    from mprun.jobfile import locate

                    name = task_checks.task_name(raw["tasks"][self._number], self._number)
                    raise JobFileError([locate.missing_axis_diagnostic(self._document, name, key, one)])

    def over_matrix(self, matrix: Any) -> Steps:
        """One instance for each combination of a matrix."""
        # Few tasks have one.
        from math import prod

        from mprun.jobfile.matrix import TooManyCombinations, combinations

        axes = {name: plain(values) for name, values in matrix.items() if name not in ("include", "exclude")}
        include, exclude = plain(matrix.get("include") or []), plain(matrix.get("exclude") or [])
        count = prod(map(len, axes.values())) if axes else 0
        refuse_too_many(count + len(include))
        try:
            self._axes, found = combinations(axes, include, exclude)
        except TooManyCombinations as error:
            raise TooManyTasks(str(error)) from None
        base = self._base()
        if self.late_list:
            self._find_early()
            self._refuse_unknown_axes()
        self._expect_variants({} if exclude else {name: len(values) for name, values in axes.items()}, count)
        return (yield from self._build(((base + suffix, values) for values, suffix in found), count))

    def _refuse_unknown_axes(self) -> None:
        """Raise JobFileError if the task refers to an axis that a matrix, known only now, does not have."""
        for key in self._keys:
            if key in _LITERAL_KEYS or key.startswith("x-"):
                continue
            for one in self._of_instance(key):
                if one.root == "matrix" and one.name not in self._axes:
                    message = f"unknown axis {quote(one.name)}"
                    raise JobFileError([self._diagnostic(ReferenceProblem(message, one))])

    def over_items(self, items: list[Any], base: str) -> Steps:
        """One instance for each item of a list."""
        refuse_too_many(len(items))
        from mprun.jobfile.instance_names import item_suffix

        self._items_refer = refers(items)
        self._is_plain = not self._items_refer
        if not self._axes:
            self._axes = ("item",)
            self._find_early()
        self._expect_variants({"item": len(items)}, len(items))
        named = ((base + item_suffix(index), (item,)) for index, item in enumerate(items))
        return (yield from self._build(named, len(items)))

    def _base(self) -> str:
        raw: Any = self._document.root
        return self._context.inherited.prefix + task_checks.task_name(
            raw["tasks"][self._number], self._number
        )

    def _single_instance(self) -> Instance:
        keys = self._keys
        if self._context.unknown:
            # If its list or matrix is unknown, so is everything that depends on an instance.
            self._find_early()
            keys = {key: node for key, node in keys.items() if key not in self._early or not self._used}
        task = build_task(self._context, self._number, keys)
        self._check(task, ())
        return Instance(name=task.name, groups=self._context.inherited.groups, task=task)

    def _deferred_instance(self) -> Instance:
        """A task whose list is only known during the run: until then, it takes the place of its instances."""
        # Few tasks have one.
        from mprun.jobfile.deferred_expansion import deferred_task

        task = deferred_task(self._context, self._number, self._keys, self._early, self.late_list)
        self._check(task, ())
        return Instance(name=task.name, groups=self._context.inherited.groups, task=task)

    def _build(self, named: Iterable[tuple[str, tuple[Any, ...]]], count: int) -> Steps:
        """The instances for these names and values, of which there are about so many."""
        base = self._base()
        groups = (*self._context.inherited.groups, base)
        made: list[Instance] = []
        leads_on = None
        typed: tuple[str, ...] = ()
        budget, each = self._context.scope.budget, 0.0
        if count >= MIN_TO_COMPILE:
            Instance.compile_init()
        for name, values in named:
            task = self._variant(values)
            if leads_on is None:
                # Without it, what one instance can resolve, all can.
                leads_on = refers_into_instance(task)
                typed = tuple(keys_typed_by_instance(task))
            if leads_on or not made:
                before = 0.0 if budget is None else budget.left
                self._check(task, values)
                each = 0.0 if budget is None or leads_on else before - budget.left
            elif typed:
                self._check(task, values, typed)
            made.append(Instance(name=name, groups=groups, task=task, values=values))
            if not len(made) % INSTANCES_A_STEP:
                yield
        if budget is not None:
            budget.spend_instances(each, len(made))
        return made

    # ---- keys that depend on the instance

    def _find_early(self) -> None:
        used: dict[Reference, None] = {}
        for key, node in self._keys.items():
            if key in LATE_KEYS or key in _LITERAL_KEYS or key.startswith("x-"):
                continue
            found = list(self._of_instance(key))
            if found:
                self._early[key] = node
                used.update((one, None) for one in found)
        self._used = tuple(used)

    def _expect_variants(self, sizes: dict[str, int], count: int) -> None:
        """Count the tasks of so many instances, if it is known how many tasks these share.

        `sizes` has the number of values of each axis. Raises OutOfBudget.
        """
        if any(one.path for one in self._used):
            return
        names = {"item" if one.root == "item" else one.name for one in self._used}
        self._all_differ = bool(names) and names.issuperset(self._axes)
        if names and names <= sizes.keys() and self._context.scope.budget is not None:
            from math import prod

            self._expected = min(count, prod(sizes[name] for name in names))
            self._context.scope.budget.count_variants(self._expected)

    def _of_instance(self, key: str) -> Iterator[Reference]:
        """The references under a key to the axes or the item of an instance."""
        mark = mark_of_key(self._document, self._number, key)
        return instance_references(self._keys[key], self._document.source, mark)

    def _variant(self, values: tuple[Any, ...]) -> Task:
        """The task for these values; instances whose early keys have equal values share it."""
        if not self._used and not self._items_refer and self._variants:
            # All share it.
            return self._variants[(), ()]
        resolver = Resolver(self._context.scope, self._axes, values, is_plain=self._is_plain)
        try:
            made_of = tuple([self._key_of(resolver(one)) for one in self._used])
            results = self._results(values, resolver) if self._items_refer else ()
        except ReferenceProblem as error:
            raise JobFileError([self._diagnostic(error)]) from None
        task = self._variants.get((made_of, results))
        if task is None:
            keys = self._counted(resolver) if self._early else self._keys
            task = build_task(self._context, self._number, keys, self._axes, self.late_list)
            task = with_results(task, results) if results else task
            if not self._all_differ:
                self._variants[made_of, results] = task
        return task

    def _key_of(self, value: Any) -> str:
        """A key that is equal for equal values; a list or mapping, which may be large, is shown once."""
        if not isinstance(value, (dict, list)):
            return repr(value)
        if id(value) not in self._shown:
            self._shown[id(value)] = (value, repr(value))
        return self._shown[id(value)][1]

    def _results(self, values: tuple[Any, ...], resolver: Resolver) -> tuple[str, ...]:
        """The names of the tasks whose results an item refers to."""
        found = references([resolve(list(values), resolver)])
        return tuple(dict.fromkeys(one.name for one in found if one.root == "tasks"))

    def _counted(self, resolver: Resolver) -> dict[str, Any]:
        """The same as `_filled`, which the budget counts. Raises OutOfBudget, too."""
        budget = self._context.scope.budget
        if budget is None:
            return self._filled(resolver)
        if not self._expected:
            budget.count_variants(1)
        before = budget.left
        keys = self._filled(resolver)
        if self._expected > 1:
            # What one has cost, all will: better refused before they are built.
            budget.require((before - budget.left) * (self._expected - 1))
            self._expected = 1
        return keys

    def _filled(self, resolver: Resolver) -> dict[str, Any]:
        """The keys with the early ones resolved. Raises JobFileError if a value is invalid."""
        # Many instances have none.
        from mprun.jobfile.interpolation import Interpolator, is_unresolved

        raw: Any = self._document.root
        own = raw["tasks"][self._number]
        interpolator = Interpolator(
            self._document, resolver, own=(), only=("matrix", "item"), parsed=self._parsed
        )
        task = Mapping()
        task.marks = []
        for key, node in self._early.items():
            holder, path = (own, ("tasks", self._number)) if key in own else (raw["defaults"], ("defaults",))
            marks = holder.marks_of(key)
            filled = interpolator.fill((*path, key), node, marks[1])
            if not is_unresolved(filled):
                task[key] = filled
                task.marks += marks
        if interpolator.diagnostics:
            raise JobFileError(interpolator.diagnostics)
        self._refuse_invalid(task)
        return {**{key: node for key, node in self._keys.items() if key not in self._early}, **task}

    def _refuse_invalid(self, keys: Mapping) -> None:
        """Raise JobFileError if a resolved key is invalid."""
        raw: Any = self._document.root
        source, mark = self._document.source, raw["tasks"].marks[self._number]
        name = task_checks.task_name(raw["tasks"][self._number], self._number)
        diagnostics = job_schema.check_task(keys, self._number, name, source, mark)
        if not diagnostics:
            # Names of other tasks are checked once all tasks are expanded.
            daemon = keys.get("daemon", self._keys.get("daemon", False))
            own = raw["tasks"][self._number]
            for path, message, help in task_checks.check_keys(keys, own, name, daemon):
                span = span_below(source, keys if path[0] in keys else own, mark, path)
                diagnostics.append(Diagnostic(message=message, source=source, span=span, help=help))
        if diagnostics:
            raise JobFileError(diagnostics)

    # ---- keys that are resolved when it starts

    def _check(self, task: Task, values: tuple[Any, ...], keys: Iterable[str] = LATE_KEYS) -> None:
        """Raise JobFileError if a reference is invalid whatever the results of tasks are."""
        if not self._context.has_references:
            return
        resolver = Resolver(
            task.scope,
            task.axes,
            values,
            reveal=True,
            is_plain=self._is_plain and bool(values),
            is_check=True,
        )
        diagnostics: list[Diagnostic] = []
        nodes = [(key, getattr(task, key, None)) for key in keys]
        if task.expect is not None:
            nodes.append(("expect", task.expect.result))
        for key, node in nodes:
            try:
                value = resolve(node, resolver)
                if key in TYPED_KEYS and node is not None:
                    require_type(key, value, node)
            except ReferenceProblem as error:
                from mprun.jobfile import locate

                diagnostics.append(locate.unresolved_diagnostic(task, key, error))
        if diagnostics:
            raise JobFileError(diagnostics)

    def _diagnostic(self, error: ReferenceProblem) -> Diagnostic:
        return reference_diagnostic(self._document, ("tasks", self._number), error)
