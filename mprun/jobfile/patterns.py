"""The regular expressions of a job file: which are valid, and which may take long to match."""

from __future__ import annotations

import re

# It takes Python at most 50 ms to compile a pattern of this length.
MAX_PATTERN_CHARACTERS = 10_000
# Each set with characters beyond ASCII may take Python 10 ms to compile, because a range is spelled out.
MAX_WIDE_SETS = 20
# More steps than this are not taken by the process that has something else to do: 50 ms at the most.
MAX_STEPS = 5_000_000

_QUANTIFIERS = frozenset("*+?{")
# Beyond these numbers of quantifiers and alternatives there are always too many steps.
_MAX_QUANTIFIERS, _MAX_ALTERNATIVES = 20, 20


class MatchError(Exception):
    """Why it is not known whether a pattern matches: `it takes longer than 2s of CPU time`."""


def is_wide(pattern: str) -> bool:
    """Whether a set of a pattern may have characters beyond ASCII."""
    return not pattern.isascii() or any(escape in pattern for escape in (r"\u", r"\U", r"\N"))


def pattern_problem(pattern: str) -> str:
    """Why a pattern is invalid; empty if it is valid."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return f"too long: {len(pattern):,} characters (limit: {MAX_PATTERN_CHARACTERS:,})"
    if is_wide(pattern) and pattern.count("[") > MAX_WIDE_SETS:
        return f"too many character sets with characters beyond ASCII (limit: {MAX_WIDE_SETS})"
    try:
        re.compile(pattern)
    except RecursionError:
        return "nested too deeply"
    except (re.error, OverflowError) as error:
        return str(error)
    return ""


def may_take_long(pattern: str, size: int) -> bool:
    """Whether it may take more than MAX_STEPS to search a text of this many characters.

    Python tries each way in which a pattern could match. Without a quantified group there are, from
    each place of the text, at most `size` ways for each quantifier and one more for each alternative.
    """
    quantifiers = sum(map(pattern.count, _QUANTIFIERS))
    alternatives = pattern.count("|")
    # A reference to a group compares up to the whole text.
    quantifiers += sum(pattern.count(f"\\{digit}") for digit in range(1, 10)) + pattern.count("(?P=")
    if quantifiers > _MAX_QUANTIFIERS or alternatives > _MAX_ALTERNATIVES or _may_repeat_groups(pattern):
        return True
    steps: int = (len(pattern) + 1) * 2**alternatives * (size + 1) ** (1 + quantifiers)
    return steps > MAX_STEPS


def _may_repeat_groups(pattern: str) -> bool:
    # With the flag `x`, whitespace and comments may stand before the quantifier.
    return re.search(r"\)[*+?{]|\(\?[a-zA-Z]*x", pattern) is not None
