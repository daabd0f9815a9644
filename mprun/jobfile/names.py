"""Looks tasks up by name: that of a task, of a group, or a pattern."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Protocol

    from mprun.jobfile.model import Task

    # For types alone: nothing looks at it during a run.
    class Named(Protocol):
        """An instance or a planned task: `groups` are names that it shares with other tasks."""

        @property
        def name(self) -> str: ...

        @property
        def groups(self) -> tuple[str, ...]: ...

        @property
        def task(self) -> Task: ...

        @property
        def values(self) -> tuple[Any, ...]: ...


# Names that are compared with patterns: of more, each pattern would take too long among so many names.
MAX_COMPARED = 600_000


class SortedNames:
    """Names in which patterns are looked up; `compared` is how many were compared with one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)
        self.compared = 0

    def that_match(self, pattern: str) -> list[str]:
        """The names that a pattern of `*` and `?` matches, sorted."""
        prefix = pattern[:-1]
        if pattern.endswith("*") and not {"*", "?"} & set(prefix):
            # A start without patterns does without it.
            from bisect import bisect_left, bisect_right

            first = bisect_left(self._names, prefix)
            last = bisect_right(self._names, prefix, first, key=lambda name: name[: len(prefix)])
            return self._names[first:last]
        self.compared += len(self._names)
        # What few names contain, which takes a fifth of the time to find out.
        piece = max(pattern.replace("?", "*").split("*"), key=len)
        return list(filter(compile_glob(pattern), [name for name in self._names if piece in name]))


class NameIndex:
    """What a name means: one task, all of a group, or all that a pattern matches."""

    def __init__(self, tasks: Sequence[Named], empty: Iterable[str] = ()) -> None:
        self.numbers: dict[str, int] = {}
        self.groups: dict[str, list[int]] = {}
        self.add(tasks, 0)
        # A group whose list is empty has no tasks, but may be named.
        for group in empty:
            self.groups.setdefault(group, [])

    def add(self, tasks: Sequence[Named], first: int) -> None:
        """Add tasks, with numbers from `first` on."""
        self.numbers.update({task.name: number for number, task in enumerate(tasks, first)})
        for number, task in enumerate(tasks, first):
            for group in task.groups:
                self.groups.setdefault(group, []).append(number)
        self._patterns: dict[str, list[int]] = {}
        self._sorted: SortedNames | None = None

    def resolve(self, name: str) -> Sequence[int]:
        """The numbers of the tasks that a name or a pattern matches, in file order."""
        if name in self.numbers:
            return (self.numbers[name],)
        if name in self.groups:
            return self.groups[name]
        if not {"*", "?"} & set(name):
            return ()
        if name not in self._patterns:
            if self._sorted is None:
                self._sorted = SortedNames(self.all())
            found: set[int] = set()
            for other in self._sorted.that_match(name):
                found.update(self.groups[other] if other in self.groups else (self.numbers[other],))
                if other in self.groups and other in self.numbers:
                    found.add(self.numbers[other])
            self._patterns[name] = sorted(found)
        return self._patterns[name]

    @property
    def compared(self) -> int:
        """How many names were compared with patterns."""
        return 0 if self._sorted is None else self._sorted.compared

    def all(self) -> Iterable[str]:
        """Every name of a task or of a group."""
        yield from self.numbers
        yield from self.groups


def compile_glob(pattern: str) -> Callable[[str], object]:
    """A function that says whether all of a name matches a pattern of `*` and `?`."""
    if "?" not in pattern:
        # Compiling a regular expression takes as long as matching a thousand names.
        return _compile_stars(*pattern.split("*"))
    # Not fnmatch: it takes the brackets of a matrix task's name for a set of characters.
    # As there, the first match of each piece after a `*` is final, so no pattern takes long.
    first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in pattern.split("*"))
    pieces = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    last = f".*{rest[-1]}" if rest else ""
    return re.compile(f"{first}{pieces}{last}", re.DOTALL).fullmatch


def _compile_stars(first: str, *rest: str) -> Callable[[str], object]:
    """The same for a pattern with no sign but `*`, by its pieces."""
    if not rest:
        return first.__eq__
    *pieces, last = rest

    def matches(name: str) -> bool:
        if not name.startswith(first):
            return False
        at = len(first)
        for piece in pieces:
            found = name.find(piece, at)
            if found < 0:
                return False
            at = found + len(piece)
        return len(name) - at >= len(last) and name.endswith(last)

    return matches
