"""Masks what differs between two runs of the same program: times, durations, pids, addresses, run ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

# What is shown in place of a part that is masked.
MASK = "…"

# One pattern, as each line is searched once. No part can make it go back more than once.
_VOLATILE = re.compile(
    "|".join(
        (
            r"\d{8}-\d{6}\.\d{3}-[0-9a-f]{4}",  # the id of a run
            r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?",
            r"\b1[5-9]\d{8}(?:\d{3})?(?:\.\d{1,9})?\b",  # seconds or milliseconds since 1970
            r"\b\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?\b",
            r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b",  # a UUID
            r"\b0x[0-9a-fA-F]{1,16}\b",
            r"\b\d{1,12}(?:\.\d{1,12})? ?(?:ns|us|µs|ms|s|secs?|seconds?|minutes?|min|hours?|h|m)\b",
            r"\b(?:pid|PID|ppid|PPID|tid|TID)[ =:]{1,3}\d{1,10}\b",
            r"\btmp[a-z0-9_]{8}\b",  # of a temporary file
            r"\b(?P<number>\d{1,7})\b",
        )
    )
)


def masker(pids: Collection[int], directories: Sequence[str] = ()) -> Callable[[str], str]:
    """A function that masks what is volatile in a line; `pids` are those of the processes of its run.

    It masks these `directories`, too, in paths.
    """

    def replaced(found: re.Match[str]) -> str:
        number = found["number"]
        return MASK if number is None or int(number) in pids else number

    if not directories:
        return lambda line: _VOLATILE.sub(replaced, line)
    # The longer ones first: they may be in another one.
    paths = "|".join(map(re.escape, sorted(directories, key=len, reverse=True)))
    places = re.compile(rf"(?:{paths})(?![\w-])")
    return lambda line: _VOLATILE.sub(replaced, places.sub(MASK, line))
