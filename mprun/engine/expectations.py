"""Compares how an attempt ended with the `expect` of its task; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.frozen import Frozen
from mprun.jobfile.units import size_text

if TYPE_CHECKING:
    from mprun.jobfile.model import Expect

# How much of a value a reason shows: it is one line of a table.
MAX_SHOWN_CHARACTERS = 60


class Observed(Frozen):
    """How an attempt ended.

    `words` say how the process ended, `unfinished` whether it did not come to its end although its exit
    code is 0. `exceptions` are the names of the class of the exception and of its bases.
    `output_problem` is why its output is not as expected, empty if it is. `seconds` is how long the
    attempt ran, `max_rss` its peak memory in bytes, None if it is unknown.
    """

    exit_code: int
    words: str
    unfinished: bool = False
    exceptions: tuple[str, ...]
    result: Any
    output_problem: str
    seconds: float
    max_rss: int | None


def unmet(expect: Expect, seen: Observed) -> str:
    """The first expectation that is not met, in words; empty if all are met."""
    return (
        _exit(expect, seen)
        or _result(expect, seen)
        or seen.output_problem
        or _seconds(expect.max_seconds, seen.seconds)
        or _memory(expect.max_rss, seen.max_rss)
    )


def _exit(expect: Expect, seen: Observed) -> str:
    if expect.raises is not None and expect.raises not in seen.exceptions:
        raised = f"{seen.exceptions[0]} was raised" if seen.exceptions else _ended(seen)
        return f"expected {expect.raises}, but {raised}"
    # An exception ends a task with exit code 1.
    allowed = expect.exit_codes or ((0,) if expect.raises is None else (1,))
    if seen.unfinished and (not expect.exit_codes or (seen.exceptions and expect.raises is None)):
        # Only an expected exit code of 0 accepts it, and that does not accept an error.
        return seen.words
    if seen.exit_code in allowed:
        return ""
    if expect.exit_codes:
        return f"expected exit {' or '.join(map(str, allowed))}, but {_ended(seen)}"
    return seen.words


def _result(expect: Expect, seen: Observed) -> str:
    if not expect.has_result or _same(expect.result, seen.result):
        return ""
    return f"expected the result {_shown(expect.result)}, but it is {_shown(seen.result)}"


def _same(one: Any, other: Any) -> bool:
    """Equality as in JSON, at any depth; in Python, True equals 1."""
    pairs = [(one, other)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs += [(one[key], other[key]) for key in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs += zip(one, other, strict=True)
        elif isinstance(one, bool) != isinstance(other, bool) or one != other:
            return False
    return True


def output_problem(pattern: str, matches: bool, error: str = "") -> str:
    """Why an output is not as expected; empty if it is.

    `error` is why it is not known whether the pattern matches.
    """
    if matches:
        return ""
    expected = f"expected output that matches {_shown(pattern)}"
    return f"{expected}: {error}" if error else expected


def _seconds(maximum: float | None, seen: float) -> str:
    if maximum is None or seen <= maximum:
        return ""
    # All digits if two decimals would hide that it is more.
    took = f"{seen:.2f}s" if round(seen, 2) > maximum else f"{seen:.10g}s"
    return f"expected at most {maximum:.10g}s, but it took {took}"


def _memory(maximum: int | None, seen: int | None) -> str:
    if maximum is None or (seen is not None and seen <= maximum):
        return ""
    used = "the use is unknown" if seen is None else f"it used {_more_than(maximum, seen)}"
    return f"expected at most {size_text(maximum)} of memory, but {used}"


def _more_than(maximum: int, size: int) -> str:
    """A size in MB, rounded; in bytes if that would hide that it is more than the maximum."""
    megabytes = round(size / 1_000_000)
    return f"{megabytes}MB" if megabytes * 1_000_000 > maximum else f"{size}B"


def _ended(seen: Observed) -> str:
    """How the process ended, after "but": `got exit 2`, `it was killed by SIGKILL`."""
    return f"got {seen.words}" if seen.words.startswith("exit ") else f"it was {seen.words}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"
