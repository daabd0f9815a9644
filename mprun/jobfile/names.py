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


class NameIndex:
    """What a name means: one task, all of a group, or all that a pattern matches."""

    def __init__(self, tasks: Sequence[Named], empty: Iterable[str] = ()) -> None:
        self.numbers = {task.name: number for number, task in enumerate(tasks)}
        self.groups: dict[str, list[int]] = {}
        for number, task in enumerate(tasks):
            for group in task.groups:
                self.groups.setdefault(group, []).append(number)
        # A group whose list is empty has no tasks, but may be named.
        for group in empty:
            self.groups.setdefault(group, [])
        self._patterns: dict[str, list[int]] = {}

    def resolve(self, name: str) -> Sequence[int]:
        """The numbers of the tasks that a name or a pattern matches, in file order."""
        if name in self.numbers:
            return (self.numbers[name],)
        if name in self.groups:
            return self.groups[name]
        if not {"*", "?"} & set(name):
            return ()
        if name not in self._patterns:
            matches = compile_glob(name)
            found = {number for other, number in self.numbers.items() if matches(other)}
            for group, numbers in self.groups.items():
                found.update(numbers if matches(group) else ())
            self._patterns[name] = sorted(found)
        return self._patterns[name]

    def all(self) -> Iterable[str]:
        """Every name of a task or of a group."""
        yield from self.numbers
        yield from self.groups


def compile_glob(pattern: str) -> Callable[[str], object]:
    """A function that says whether all of a name matches a pattern of `*` and `?`."""
    # Not fnmatch: it takes the brackets of a matrix task's name for a set of characters.
    # As there, the first match of each piece after a `*` is final, so no pattern takes long.
    first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in pattern.split("*"))
    pieces = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    last = f".*{rest[-1]}" if rest else ""
    return re.compile(f"{first}{pieces}{last}", re.DOTALL).fullmatch
