"""What a schema cannot say of a job file: names that must exist, be unique, make no circle."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from mprun.job import signal_name
from mprun.loader import Mapping, Sequence, place_of
from mprun.plan import expand, find_cycle
from mprun.problems import Problem, quote, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.loader import Document

Path = tuple[str | int, ...]

# More would not be read.
MAX_PROBLEMS = 100
# Beyond it a plan would take more memory than a machine has; patterns multiply.
MAX_DEPENDENCIES = 1_000_000
# To look for the name that was meant takes 10 ms among 5,000.
MAX_SEARCHES = 20

# Keys of the schema whose engine is still to come.
LATER_JOB_KEYS = frozenset({"params", "env_file", "resources"})
LATER_TASK_KEYS = frozenset(
    {
        "command",
        "foreach",
        "limits",
        "matrix",
        "ready",
        "resources",
        "restart",
        "uses",
        "when",
        "with",
    }
)


# signal(7), without those that only the kernel sends or nobody can use to ask for an end.
SIGNALS = frozenset(
    {
        "SIGABRT",
        "SIGALRM",
        "SIGCONT",
        "SIGHUP",
        "SIGINT",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGTERM",
        "SIGUSR1",
        "SIGUSR2",
        "SIGWINCH",
    }
)


def task_name(item: object, number: int) -> str:
    """The name of the task at this place in the list, from 0: its own, or `Process-N`."""
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else f"Process-{number + 1}"


def check(document: Document) -> list[Problem]:
    """The problems of a job file that neither the schema nor an import would find, at most a hundred.

    Takes any tree, also one that the schema refuses: what has another shape than it
    should is passed over, since the schema's own problems name it.
    """
    return list(islice(_Checks(document).all(), MAX_PROBLEMS))


class _Checks:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._job = document.root if isinstance(document.root, Mapping) else Mapping()
        tasks = self._job.get("tasks")
        self._tasks = tasks if isinstance(tasks, Sequence) else Sequence()
        self._names = [task_name(item, number) for number, item in enumerate(self._tasks)]
        self._known = frozenset(self._names)
        self._searches = 0
        self._expanded: dict[str, list[str]] = {}

    def all(self) -> Iterator[Problem]:
        yield from self._later_keys()
        yield from self._references((), self._job)
        yield from self._duplicate_names()
        yield from self._dependencies()
        yield from self._conditions()
        yield from self._signals()
        yield from self._patterns()
        yield from self._join()

    def _problem(self, path: Path, message: str, hint: str = "", key: bool = False) -> Problem:
        place = place_of(self._document, path, key=key)
        return Problem(message=message, source=self._document.source, place=place, hint=hint)

    def _later(self, path: Path, what: str, key: bool = True) -> Problem:
        return self._problem(path, f"{what} not supported yet", key=key)

    def _later_keys(self) -> Iterator[Problem]:
        for key in self._job.keys() & LATER_JOB_KEYS:
            yield self._later((key,), f"`{key}` is")
        for path, holder in self._holders():
            for key in holder.keys() & LATER_TASK_KEYS if isinstance(holder, Mapping) else ():
                yield self._later((*path, key), f"`{key}` is")

    def _references(self, path: Path, node: object) -> Iterator[Problem]:
        if isinstance(node, str):
            if "${" in node:
                yield self._later(path, "`${…}` is", key=False)
        elif isinstance(node, (Mapping, Sequence)):
            items = node.items() if isinstance(node, Mapping) else enumerate(node)
            for step, child in items:
                if step != "description" and not (isinstance(step, str) and step.startswith("x-")):
                    yield from self._references((*path, step), child)

    def _duplicate_names(self) -> Iterator[Problem]:
        first: dict[str, int] = {}
        for number, name in enumerate(self._names):
            if name not in first:
                first[name] = number
                continue
            # The default name is not in the file, so the one that is gets the blame.
            given = [n for n in (number, first[name]) if "name" in self._tasks[n]]
            other = number + first[name] - given[0]
            line = place_of(self._document, ("tasks", other)).line
            why = f"is taken by the task on line {line}"
            if len(given) == 1:
                why = f"is the default name of the task on line {line}"
            yield self._problem(
                ("tasks", given[0], "name"), f"the name {quote(name)} {why}", "choose another"
            )

    def _dependencies(self) -> Iterator[Problem]:
        needs: dict[str, list[str]] = {}
        total = 0
        for number, item in enumerate(self._tasks):
            name = self._names[number]
            for path, need, key in self._needs(number, item):
                if need == name:
                    yield self._problem(path, f"task {quote(name)} depends on itself", "take it out", key)
                    continue
                meant = self._meant(need)
                if not meant:
                    yield self._unknown(path, need, key)
                total += len(meant)
                if total > MAX_DEPENDENCIES:
                    message = f"more than {MAX_DEPENDENCIES:,} dependencies, patterns expanded"
                    yield self._problem(path, message, "name the tasks, or put one task in between", key)
                    return
                # A pattern may match the task that it stands in, which is not meant.
                needs.setdefault(name, []).extend(other for other in meant if other != name)
        cycle = find_cycle(needs)
        if cycle:
            names = [quote(name) for name in cycle]
            shown = names if len(names) <= 8 else [*names[:4], "…", *names[-3:]]
            path, key = self._place_of_need(cycle[0], cycle[1])
            message = f"the tasks depend on each other in a circle: {' → '.join(shown)}"
            yield self._problem(path, message, "take one of these dependencies out", key)

    def _meant(self, need: str) -> list[str]:
        """The tasks that a name or a pattern means; each pattern is looked up once."""
        if need not in self._expanded:
            self._expanded[need] = [name for name in expand(need, self._known) if name in self._known]
        return self._expanded[need]

    def _place_of_need(self, name: str, need: str) -> tuple[Path, bool]:
        number = self._names.index(name)
        needs = self._needs(number, self._tasks[number])
        return next((path, key) for path, word, key in needs if need in self._meant(word))

    def _needs(self, number: int, item: object) -> Iterator[tuple[Path, str, bool]]:
        """What a task depends on: where that stands, its name, and whether it is a key there."""
        value = item.get("depends_on") if isinstance(item, Mapping) else None
        path: Path = ("tasks", number, "depends_on")
        if isinstance(value, str):
            yield path, value, False
        elif isinstance(value, Sequence):
            for place, need in enumerate(value):
                if isinstance(need, str):
                    yield (*path, place), need, False
        elif isinstance(value, Mapping):
            yield from (((*path, need), need, True) for need in value if isinstance(need, str))

    def _conditions(self) -> Iterator[Problem]:
        for number, item in enumerate(self._tasks):
            value = item.get("depends_on") if isinstance(item, Mapping) else None
            for name, condition in value.items() if isinstance(value, Mapping) else ():
                if condition == "ready":
                    path = ("tasks", number, "depends_on", name)
                    yield self._later(path, f"the condition `{condition}` is", key=False)

    def _patterns(self) -> Iterator[Problem]:
        for path, holder in self._holders():
            expect = holder.get("expect") if isinstance(holder, Mapping) else None
            pattern = expect.get("output") if isinstance(expect, Mapping) else None
            try:
                re.compile(pattern if isinstance(pattern, str) else "")
            except (re.error, OverflowError, RecursionError) as error:
                message = f"not a regular expression: {error}"
                yield self._problem((*path, "expect", "output"), message)

    def _holders(self) -> Iterator[tuple[Path, object]]:
        """The mappings that task keys may stand in, with their paths."""
        yield ("defaults",), self._job.get("defaults")
        for number, item in enumerate(self._tasks):
            yield ("tasks", number), item

    def _signals(self) -> Iterator[Problem]:
        for path, holder in self._holders():
            stop = holder.get("stop") if isinstance(holder, Mapping) else None
            name = stop.get("signal") if isinstance(stop, Mapping) else None
            if isinstance(name, str) and "${" not in name and signal_name(name) not in SIGNALS:
                hint = suggest(name, [known.removeprefix("SIG") for known in SIGNALS])
                yield self._problem((*path, "stop", "signal"), f"there is no signal {quote(name)}", hint)

    def _unknown(self, path: Path, name: str, key: bool = False) -> Problem:
        if any(sign in name for sign in "*?"):
            return self._problem(path, f"no task's name matches {quote(name)}", "", key)
        self._searches += 1
        hint = suggest(name, self._known) if self._searches <= MAX_SEARCHES else ""
        return self._problem(path, f"there is no task {quote(name)}", hint, key)

    def _join(self) -> Iterator[Problem]:
        entries = self._job.get("join")
        seen: set[str] = set()
        for number, entry in enumerate(entries if isinstance(entries, Sequence) else ()):
            path: Path = ("join", number)
            name = entry
            if isinstance(entry, Mapping):
                path, name = (*path, "task"), entry.get("task")
            if not isinstance(name, str):
                continue
            if name not in self._known:
                yield self._unknown(path, name)
            elif name in seen:
                yield self._problem(path, f"{quote(name)} is in `join` already", "a task is joined once")
            seen.add(name)
