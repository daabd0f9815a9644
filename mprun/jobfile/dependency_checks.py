"""Checks of the names in `depends_on` and `join` of one file: known tasks, each once, no cycles."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote, suggest
from mprun.jobfile.dependencies import MAX_DEPENDENCIES, TOO_MANY_PATTERNS, cycle_message, find_cycle
from mprun.jobfile.names import MAX_COMPARED, SortedNames
from mprun.jobfile.syntax.document import Mapping, Sequence, span_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.syntax.document import Document

    Path = tuple[str | int, ...]

# Cycles that are looked for.
MAX_CYCLES = 20
# Dependencies among which a second cycle is not looked for: each search takes 50 ms among a million.
MANY_DEPENDENCIES = 100_000
# A name with one of these belongs to an instance or to a task of a recipe.
_EXPANDED_NAME_CHARS = frozenset("[]/$")


class DependencyChecks:
    """Checks one file; takes any tree.

    `names` are those of its tasks, in order, `known` the same as a set. `numbers` are those of the tasks
    with `depends_on`, and `has_expanded` says whether a pattern may match instances or tasks of a recipe.
    """

    def __init__(
        self,
        document: Document,
        names: list[str],
        known: frozenset[str],
        numbers: list[int],
        *,
        has_expanded: bool,
    ) -> None:
        self._document = document
        job: Any = document.root
        tasks = job.get("tasks")
        self._job = job
        self._tasks = tasks if isinstance(tasks, Sequence) else Sequence()
        self._names = names
        self._known = known
        self._numbers = numbers
        self._has_expanded = has_expanded
        # What each name and pattern matches.
        self._matches: dict[str, list[str]] = {}
        self._sorted: SortedNames | None = None

    def of_tasks(self) -> Iterator[Diagnostic]:
        """The errors in the dependencies of tasks."""
        needs: dict[str, list[str]] = {}
        total = 0
        # With a default, every task has dependencies.
        of_all = "depends_on" in self._defaults()
        for number in range(len(self._tasks)) if of_all else self._numbers:
            name = self._names[number]
            inherited = self._inherited(number) if of_all else None
            if inherited is not None and total + len(inherited) <= MAX_DEPENDENCIES:
                total += len(inherited)
                _add_others(needs, name, inherited)
                continue
            for path, need, key in self._needs(number, self._tasks[number]):
                if need == name:
                    yield self._diagnostic(path, f"task {quote(name)} depends on itself", "remove it", key)
                    continue
                if _EXPANDED_NAME_CHARS & set(need):
                    # An instance, or a task of a recipe: checked once they are expanded.
                    continue
                resolved = self._resolve(need)
                if self._sorted is not None and self._sorted.compared > MAX_COMPARED:
                    yield self._diagnostic(path, TOO_MANY_PATTERNS, "name the tasks", key)
                    return
                if not resolved and not self._reaches_beyond(need):
                    yield self._unknown(path, need, key)
                total += len(resolved)
                if total > MAX_DEPENDENCIES:
                    message = f"too many dependencies, patterns expanded (limit: {MAX_DEPENDENCIES:,})"
                    yield self._diagnostic(path, message, "name the tasks, or put one task in between", key)
                    return
                _add_others(needs, name, resolved)
        # Another cycle takes another search.
        for _ in range(MAX_CYCLES if total < MANY_DEPENDENCIES else 1):
            cycle = find_cycle(needs)
            if not cycle:
                break
            path, key = self._path_of_need(cycle[0], cycle[1])
            yield self._diagnostic(path, cycle_message(cycle), "remove one of these dependencies", key)
            # Another cycle has none of its tasks.
            for name in cycle[:-1]:
                needs.pop(name, None)

    def _inherited(self, number: int) -> list[str] | None:
        """What a task depends on by the defaults; None if that is not all, or has an error."""
        item, name = self._tasks[number], self._names[number]
        if not isinstance(item, Mapping) or "depends_on" in item or self._resolved_defaults is None:
            return None
        # A task that all tasks depend on by default does not depend on itself.
        return [other for need, names in self._resolved_defaults if need != name for other in names]

    @cached_property
    def _resolved_defaults(self) -> list[tuple[str, list[str]]] | None:
        """The names in the `depends_on` of the defaults, and what they match; None if there is an error.

        Once for all tasks that have only these: there may be a thousand of them for each of a thousand tasks.
        """
        found = []
        for _, need, _ in _named((), self._defaults()["depends_on"]):
            if _EXPANDED_NAME_CHARS & set(need):
                continue
            resolved = self._resolve(need)
            is_costly = self._sorted is not None and self._sorted.compared > MAX_COMPARED
            if is_costly or (not resolved and not self._reaches_beyond(need)):
                return None
            found.append((need, resolved))
        return found

    def _resolve(self, need: str) -> list[str]:
        """The tasks that a name or a pattern matches; each is looked up once."""
        if need not in self._matches:
            if need in self._known or not {"*", "?"} & set(need):
                self._matches[need] = [need] if need in self._known else []
            else:
                if self._sorted is None:
                    self._sorted = SortedNames(self._known)
                self._matches[need] = self._sorted.that_match(need)
        return self._matches[need]

    def _reaches_beyond(self, need: str) -> bool:
        """Whether a pattern may match tasks of a recipe, or instances."""
        return self._has_expanded and bool({"*", "?"} & set(need))

    def _path_of_need(self, name: str, need: str) -> tuple[Path, bool]:
        # Two tasks may have the name, which is another error: either may be the one with the dependency.
        return next(
            (path, key)
            for number, item in enumerate(self._tasks)
            if self._names[number] == name
            for path, word, key in self._needs(number, item)
            if need in self._resolve(word)
        )

    def _needs(self, number: int, item: object) -> Iterator[tuple[Path, str, bool]]:
        """The dependencies of a task: the path, the name, and whether it is a key."""
        if isinstance(item, Mapping) and "depends_on" in item:
            yield from _named(("tasks", number, "depends_on"), item["depends_on"])
        elif isinstance(item, Mapping) and "depends_on" in self._defaults():
            # A task that all tasks depend on by default does not depend on itself.
            below = _named(("defaults", "depends_on"), self._defaults()["depends_on"])
            yield from (need for need in below if need[1] != self._names[number])

    def of_join(self) -> Iterator[Diagnostic]:
        """The errors in the join order."""
        entries = self._job.get("join")
        seen: set[str] = set()
        for number, entry in enumerate(entries if isinstance(entries, Sequence) else ()):
            path: Path = ("join", number)
            name = entry
            if isinstance(entry, Mapping):
                path, name = (*path, "task"), entry.get("task")
            if not isinstance(name, str):
                continue
            if _EXPANDED_NAME_CHARS & set(name):
                continue
            resolved = self._resolve(name)
            if self._sorted is not None and self._sorted.compared > MAX_COMPARED:
                yield self._diagnostic(path, TOO_MANY_PATTERNS, "name the tasks")
                return
            if not resolved and not self._reaches_beyond(name):
                yield self._unknown(path, name)
            elif name in seen:
                yield self._diagnostic(path, f"duplicate task {quote(name)} in `join`", "remove one of them")
            seen.add(name)

    def _unknown(self, path: Path, name: str, key: bool = False) -> Diagnostic:
        if any(sign in name for sign in "*?"):
            return self._diagnostic(path, f"no task matches {quote(name)}", "", key)
        return self._diagnostic(path, f"unknown task {quote(name)}", suggest(name, self._known, "tasks"), key)

    def _defaults(self) -> Any:
        defaults = self._job.get("defaults")
        return defaults if isinstance(defaults, Mapping) else {}

    def _diagnostic(self, path: Path, message: str, help: str = "", key: bool = False) -> Diagnostic:
        span = span_of(self._document, path, key=key)
        return Diagnostic(message=message, source=self._document.source, span=span, help=help)


def _named(path: Path, value: object) -> Iterator[tuple[Path, str, bool]]:
    """The names in a `depends_on`: the path, the name, and whether it is a key."""
    if isinstance(value, str):
        yield path, value, False
    elif isinstance(value, Sequence):
        yield from (
            ((*path, index), need, False) for index, need in enumerate(value) if isinstance(need, str)
        )
    elif isinstance(value, Mapping):
        yield from (((*path, need), need, True) for need in value if isinstance(need, str))


def _add_others(needs: dict[str, list[str]], name: str, found: list[str]) -> None:
    # A pattern may match the task that contains it, which does not depend on itself.
    needs.setdefault(name, []).extend(other for other in found if other != name)
