"""Finds inside of what a target returned what still has to run, so that a part of the target has not.

Only for values that are not JSON, which few are: the worker does not need it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_CONTAINERS = (dict, list, tuple, set, frozenset)
# By the type of a part: what it is, and the remedy.
_TO_ITERATE = "which was never iterated over; return a `list` of it"
_PARTS = {
    "coroutine": "a coroutine, which was never awaited; await it, or `asyncio.gather(...)` of all",
    "generator": f"a generator, {_TO_ITERATE}",
    "async_generator": "an async generator, which was never iterated over; return a list of its items",
    "map": f"a `map`, {_TO_ITERATE}",
    "filter": f"a `filter`, {_TO_ITERATE}",
}


def describe(value: object) -> str:
    """What in this list, dict, tuple or set still has to run, and the remedy; empty if there is nothing.

    Closes its coroutines: else Python warns of each, with a line of mprun.
    """
    found = ""
    for part in _parts(value):
        kind = type(part)
        if kind.__module__ == "builtins" and kind.__name__ in _PARTS:
            if kind.__name__ == "coroutine":
                part.close()
            found = found or _PARTS[kind.__name__]
    return f"a {type(value).__name__} with {found}" if found else ""


def _parts(value: object) -> Iterable[Any]:
    """Everything that is inside of containers, at any depth; what each contains only once."""
    containers, seen = [value], {id(value)}
    while containers:
        one = containers.pop()
        if isinstance(one, _CONTAINERS):
            for part in one.values() if isinstance(one, dict) else one:
                yield part
                if isinstance(part, _CONTAINERS) and id(part) not in seen:
                    seen.add(id(part))
                    containers.append(part)
