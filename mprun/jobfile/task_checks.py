"""Checks of the tasks of one file that a schema cannot express: unique names, keys that fit each other."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote, suggest
from mprun.jobfile.references import has_references
from mprun.jobfile.schema.job_schema import task_keys
from mprun.jobfile.syntax.document import Mapping, Sequence, span_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.dependency_checks import DependencyChecks
    from mprun.jobfile.syntax.document import Document

Path = tuple[str | int, ...]

# No one would read more.
MAX_DIAGNOSTICS = 100
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
        "retry",
        "tags",
        "timeout",
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
        dependencies = self._dependency_checks()
        if dependencies is not None:
            yield from dependencies.of_tasks()
        yield from self._signals()
        yield from self._patterns()
        yield from self._exceptions()
        if dependencies is not None:
            yield from dependencies.of_join()

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

    def _dependency_checks(self) -> DependencyChecks | None:
        """The checks of names of other tasks; None if there are no such names."""
        numbers = self._tasks_with_key["depends_on"]
        if not (numbers or "depends_on" in self._defaults() or self._job.get("join")):
            return None
        # Many jobs have none.
        from mprun.jobfile.dependency_checks import DependencyChecks

        has_expanded = bool(self._numbers("uses", "matrix", "foreach"))
        return DependencyChecks(self._document, self._names, self._known, numbers, has_expanded=has_expanded)

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
