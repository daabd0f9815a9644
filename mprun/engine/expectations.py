"""What a smoke run asserts of a task's end, and what of it does not hold; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen

if TYPE_CHECKING:
    from mprun.jobfile.model import Expect

# A reason is a line in a table, not a place for data.
SHOWN = 60


class Observed(Frozen):
    """How an attempt ended: what `expect` may ask of it.

    `exceptions` are the names of the exception's class and bases; `seconds` and bytes;
    None where nobody knows. `result` is None unless it is JSON.
    """

    exit_code: int
    words: str
    exceptions: tuple[str, ...]
    result: Any
    output: str
    seconds: float
    max_rss: int | None


def unmet(expect: Expect, seen: Observed) -> str:
    """The first expectation that does not hold, in words; empty where all hold."""
    return (
        _end(expect, seen)
        or _result(expect, seen)
        or _output(expect, seen)
        or _limit("seconds", expect.max_seconds, seen.seconds)
        or _limit("bytes of memory", expect.max_rss, seen.max_rss)
    )


def _end(expect: Expect, seen: Observed) -> str:
    if expect.raises is not None and expect.raises not in seen.exceptions:
        raised = f"{seen.exceptions[0]} was raised" if seen.exceptions else seen.words
        return f"expected {expect.raises}, but {raised}"
    # Who raises what is expected ends with exit code 1.
    allowed = expect.exit_codes or ((0,) if expect.raises is None else (1,))
    if seen.exit_code in allowed:
        return ""
    if expect.exit_codes:
        return f"expected exit {' or '.join(map(str, allowed))}, but {seen.words}"
    return seen.words


def _result(expect: Expect, seen: Observed) -> str:
    if not expect.has_result or _same(expect.result, seen.result):
        return ""
    return f"expected the result {_shown(expect.result)}, but it is {_shown(seen.result)}"


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: Python takes True for 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _output(expect: Expect, seen: Observed) -> str:
    if expect.output is None or re.search(expect.output, seen.output, re.MULTILINE):
        return ""
    return f"expected output that matches {_shown(expect.output)}"


def _limit(what: str, most: float | None, seen: float | None) -> str:
    if most is None or (seen is not None and seen <= most):
        return ""
    taken = "nobody knows" if seen is None else f"it was {seen:.10g}"
    return f"expected at most {most:.10g} {what}, but {taken}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
