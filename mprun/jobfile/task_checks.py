"""Checks of one file that a schema cannot express: unique names, known tasks, no cycles."""

from __future__ import annotations

import re
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote, suggest
from mprun.jobfile.dependencies import MAX_DEPENDENCIES, TOO_MANY_PATTERNS, cycle_message, find_cycle
from mprun.jobfile.names import MAX_COMPARED, SortedNames
from mprun.jobfile.references import has_references
from mprun.jobfile.schema.job_schema import task_keys
from mprun.jobfile.syntax.document import Mapping, Sequence, span_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.syntax.document import Document

Path = tuple[str | int, ...]

# No one would read more.
MAX_DIAGNOSTICS = 100
# Cycles that are looked for.
MAX_CYCLES = 20
# Dependencies among which a second cycle is not looked for: each search takes 50 ms among a million.
MANY_DEPENDENCIES = 100_000

# A task needs one of these, its own or from the defaults.
RUN_KEYS = ("target", "command", "uses")
# The keys of a task with `uses`; all others belong to the recipe's own tasks.
RECIPE_KEYS = frozenset(
    {
        "allow_failure",
        "depends_on",
        "description",
        "env",
        "flaky",
        "foreach",
        "matrix",
        "name",
        "tags",
        "uses",
        "when",
        "with",
    }
)
# The schema reports these on a task with `uses`.
_SCHEMA_CHECKED_KEYS = frozenset({"target", "command", "args", "kwargs"})
# Only tasks with one of these keys, or without a run key, are examined: there may be 200,000.
_CHECKED_KEYS = (
    *("capture", "depends_on", "expect", "foreach", "inputs", "matrix", "outputs"),
    *("ready", "restart", "retry", "stop", "uses", "when"),
)
# What fits only daemons, or only other tasks.
_DAEMON_KEYS = ("inputs", "outputs", "ready", "restart")
# A name with one of these belongs to an instance or to a task of a recipe.
_EXPANDED_NAME_CHARS = frozenset("[]/$")


def task_name(item: object, number: int) -> str:
    """The name of task `number` (from 0): its own, or `Process-N`."""
    if isinstance(item, dict) and isinstance(name := item.get("name"), str):
        return name
    return f"Process-{number + 1}"


def check(document: Document, *, interpolated: bool = False) -> list[Diagnostic]:
    """The errors in a job file that neither the schema nor an import finds, at most a hundred.

    Takes any tree: values that violate the schema are ignored, because the schema reports
    them. With `interpolated`, references were replaced, so what looks like one is literal.
    """
    return list(islice(_Checks(document).all(interpolated), MAX_DIAGNOSTICS))


def check_keys(keys: Mapping, own: Any, name: str, daemon: object) -> list[tuple[Path, str, str]]:
    """The errors in some keys of one task, in which every reference was replaced.

    Each is a path from the task, the message and the help. `own` has all keys of the task that are
    not defaults, `daemon` is the value that applies to it. The names of other tasks are not checked.
    """
    return [
        *_daemon_key_errors({**own, **keys}, name, daemon),
        *_policy_errors(keys),
        *_pattern_errors(keys),
    ]


def _policy_errors(keys: object) -> Iterator[tuple[Path, str, str]]:
    if isinstance(keys, Mapping) and "stop" in keys:
        # Few jobs have it.
        from mprun.jobfile.policy_checks import signal_errors

        yield from signal_errors(keys)


def _daemon_key_errors(own: Any, name: str, daemon: object) -> Iterator[tuple[Path, str, str]]:
    if any(key in own for key in _DAEMON_KEYS):
        # Few jobs have one.
        from mprun.jobfile.daemon_checks import daemon_key_errors

        yield from daemon_key_errors(own, f"task {quote(name[:50])}", daemon)


def _pattern_errors(keys: object) -> Iterator[tuple[Path, str, str]]:
    for key, below in (("expect", "output"), ("ready", "log")):
        part = keys.get(key) if isinstance(keys, Mapping) else None
        pattern = part.get(below) if isinstance(part, Mapping) else None
        if not isinstance(pattern, str) or "${" in pattern:
            continue
        # Few tasks have one.
        from mprun.jobfile.patterns import pattern_problem

        if problem := pattern_problem(pattern):
            yield (key, below), f"invalid regular expression in `{key}.{below}`: {problem}", ""


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


def _is_known(key: object, keys: frozenset[str]) -> bool:
    return isinstance(key, str) and (key in keys or key.startswith("x-"))


class _Checks:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._job = document.root if isinstance(document.root, Mapping) else Mapping()
        tasks = self._job.get("tasks")
        self._tasks = tasks if isinstance(tasks, Sequence) else Sequence()
        self._names = [task_name(item, number) for number, item in enumerate(self._tasks)]
        self._known = frozenset(self._names)
        # The numbers of the tasks that have these keys, and of those without a run key.
        self._tasks_with_key: dict[Any, list[int]] = {key: [] for key in _CHECKED_KEYS}
        self._tasks_without_run_key: list[int] = []
        self._find_places()
        self._expanded: dict[str, list[str]] = {}
        self._sorted: SortedNames | None = None

    def _find_places(self) -> None:
        tasks_with_key, kinds = self._tasks_with_key, frozenset(RUN_KEYS)
        for number, item in enumerate(self._tasks):
            if isinstance(item, Mapping):
                for key in item:
                    if key in tasks_with_key:
                        tasks_with_key[key].append(number)
                if kinds.isdisjoint(item):
                    self._tasks_without_run_key.append(number)

    def all(self, interpolated: bool) -> Iterator[Diagnostic]:
        yield from self._run_keys()
        yield from self._recipe_keys()
        yield from self._conditions()
        yield from self._excluded_axes()
        yield from self._keys_of_daemons()
        yield from self._captures()
        if not interpolated and has_references(self._document):
            # Most jobs have none.
            from mprun.jobfile.reference_checks import check_references

            yield from check_references(self._document, self._names)
        if not interpolated and "~" in self._document.source.lines.text:
            from mprun.jobfile.home_paths import home_path_diagnostics

            yield from home_path_diagnostics(self._document)
        yield from self._duplicate_names()
        yield from self._dependencies()
        yield from self._signals()
        yield from self._patterns()
        yield from self._exceptions()
        yield from self._join()

    def _diagnostic(self, path: Path, message: str, help: str = "", key: bool = False) -> Diagnostic:
        span = span_of(self._document, path, key=key)
        return Diagnostic(message=message, source=self._document.source, span=span, help=help)

    def _run_keys(self) -> Iterator[Diagnostic]:
        """Tasks without a target, command or recipe, if the defaults have none either."""
        if any(key in self._defaults() for key in RUN_KEYS) or not self._tasks_without_run_key:
            return
        keys = task_keys()
        words = ", ".join(f"`{key}`" for key in RUN_KEYS[:-1]) + f" or `{RUN_KEYS[-1]}`"
        for number in self._tasks_without_run_key:
            # A misspelt key is reported by the schema.
            if all(_is_known(key, keys) for key in self._item(number)):
                message = f"{self._task(number)} needs one of {words}"
                yield self._diagnostic(("tasks", number), message, "add `target: package.module:callable`")

    def _recipe_keys(self) -> Iterator[Diagnostic]:
        """Keys that a task with `uses` cannot have."""
        keys = task_keys() if self._tasks_with_key["uses"] else frozenset()
        for number in self._numbers("uses"):
            for key in self._item(number).keys() - RECIPE_KEYS:
                if _is_known(key, keys) and not key.startswith("x-") and key not in _SCHEMA_CHECKED_KEYS:
                    message = f"{quote(key)} is not allowed on a task with `uses`"
                    path = ("tasks", number, key)
                    yield self._diagnostic(path, message, "set it on the recipe's tasks", True)

    def _conditions(self) -> Iterator[Diagnostic]:
        """A `when` that would be true whatever its references are."""
        for number in self._numbers("when"):
            when = self._item(number)["when"]
            if isinstance(when, str) and not re.fullmatch(
                r"\s*(\$\{(?:[^{}]|\$\{[^{}]*\})*\}|[\w.+-]*)\s*", when
            ):
                message = f"`when` must be one reference or one value, not {quote(when[:60])}"
                help = "let a task return true or false: expressions are not supported"
                yield self._diagnostic(("tasks", number, "when"), message, help)

    def _excluded_axes(self) -> Iterator[Diagnostic]:
        """Entries of `exclude` with a key that is not an axis of the matrix."""
        for number in self._numbers("matrix"):
            matrix = self._item(number)["matrix"]
            # A reference, or a value that the schema refuses.
            if not isinstance(matrix, Mapping):
                continue
            excluded = matrix.get("exclude")
            axes = [key for key in matrix if key not in ("include", "exclude")]
            for index, entry in enumerate(excluded if isinstance(excluded, Sequence) else ()):
                for key in entry if isinstance(entry, Mapping) else ():
                    if key not in axes:
                        path = ("tasks", number, "matrix", "exclude", index, key)
                        message, help = f"unknown axis {quote(str(key))}", suggest(str(key), axes, "axes")
                        yield self._diagnostic(path, message, help, True)

    def _keys_of_daemons(self) -> Iterator[Diagnostic]:
        """Tasks with keys that do not fit them, and defaults for daemons where there are none."""
        numbers = self._numbers(*_DAEMON_KEYS)
        if numbers or "ready" in self._defaults():
            # Few jobs have any.
            from mprun.jobfile.daemon_checks import keys_of_daemons

            for error in keys_of_daemons(self._tasks, self._task, self._defaults(), numbers):
                yield self._diagnostic(*error)

    def _captures(self) -> Iterator[Diagnostic]:
        """Tasks whose output is their result, but that are not commands."""
        for number in self._numbers("capture"):
            item = self._item(number)
            holder = item if any(key in item for key in RUN_KEYS) else self._defaults()
            if "target" in holder:
                message = (
                    f"`capture` is only for commands: the result of {self._task(number)} is what it returns"
                )
                yield self._diagnostic(("tasks", number, "capture"), message, "remove it", True)

    def _item(self, number: int) -> Any:
        return self._tasks[number]

    def _task(self, number: int) -> str:
        return f"task {quote(self._names[number][:50])}"

    def _defaults(self) -> Any:
        defaults = self._job.get("defaults")
        return defaults if isinstance(defaults, Mapping) else {}

    def _numbers(self, *keys: str) -> list[int]:
        """The numbers of the tasks that have one of these keys, in order."""
        return sorted({number for key in keys for number in self._tasks_with_key[key]})

    def _duplicate_names(self) -> Iterator[Diagnostic]:
        if len(self._known) == len(self._names):
            return
        first: dict[str, int] = {}
        for number, name in enumerate(self._names):
            if name not in first:
                first[name] = number
                continue
            # A default name is not in the file, so the one that is written is marked.
            given = [n for n in (number, first[name]) if "name" in self._tasks[n]]
            other = number + first[name] - given[0]
            line = span_of(self._document, ("tasks", other)).line
            why = f"first used on line {line}"
            if len(given) == 1:
                why = f"the default name of the task on line {line}"
            yield self._diagnostic(
                ("tasks", given[0], "name"),
                f"duplicate task name {quote(name)}: {why}",
                "choose another name",
            )

    def _dependencies(self) -> Iterator[Diagnostic]:
        needs: dict[str, list[str]] = {}
        total = 0
        # With a default, every task has dependencies.
        of_all = "depends_on" in self._defaults()
        for number in range(len(self._tasks)) if of_all else self._tasks_with_key["depends_on"]:
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
        if need not in self._expanded:
            if need in self._known or not {"*", "?"} & set(need):
                self._expanded[need] = [need] if need in self._known else []
            else:
                if self._sorted is None:
                    self._sorted = SortedNames(self._known)
                self._expanded[need] = self._sorted.that_match(need)
        return self._expanded[need]

    def _reaches_beyond(self, need: str) -> bool:
        """Whether a pattern may match tasks of a recipe, or instances."""
        return bool({"*", "?"} & set(need)) and any(
            map(self._tasks_with_key.get, ("uses", "matrix", "foreach"))
        )

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

    def _patterns(self) -> Iterator[Diagnostic]:
        for path, holder in self._holders("expect", "ready"):
            for below, message, help in _pattern_errors(holder):
                yield self._diagnostic((*path, *below), message, help)

    def _exceptions(self) -> Iterator[Diagnostic]:
        for path, holder in self._holders("expect", "retry"):
            keys: Any = holder if isinstance(holder, Mapping) else {}
            if "expect" not in keys and "retry" not in keys:
                continue
            from mprun.jobfile.policy_checks import exception_errors

            # A default may apply to targets alone.
            is_command = path[0] == "tasks" and ("command" in keys or self._is_command_by_default(keys))
            for below, message, help in exception_errors(holder, is_command):
                yield self._diagnostic((*path, *below), message, help)

    def _is_command_by_default(self, keys: Any) -> bool:
        return "command" in self._defaults() and all(key not in keys for key in RUN_KEYS)

    def _holders(self, *keys: str) -> Iterator[tuple[Path, object]]:
        """The mappings that may contain these task keys, with their paths."""
        yield ("defaults",), self._job.get("defaults")
        for number in self._numbers(*keys):
            yield ("tasks", number), self._tasks[number]

    def _signals(self) -> Iterator[Diagnostic]:
        for path, holder in self._holders("stop"):
            for below, message, help in _policy_errors(holder):
                yield self._diagnostic((*path, *below), message, help)

    def _unknown(self, path: Path, name: str, key: bool = False) -> Diagnostic:
        if any(sign in name for sign in "*?"):
            return self._diagnostic(path, f"no task matches {quote(name)}", "", key)
        return self._diagnostic(path, f"unknown task {quote(name)}", suggest(name, self._known, "tasks"), key)

    def _join(self) -> Iterator[Diagnostic]:
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
