"""Reads the results that an earlier run of the benchmarks wrote, and refuses what is something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from benchmarks.figures import Figure, Gap, Results, RowResult, Verdict

REMEDY = "name a file that `make bench` wrote, such as benchmarks/results.json"
_LISTS: dict[str, Any] = {"rows": RowResult, "figures": Figure, "gaps": Gap, "goals": Verdict}
_TYPES: dict[str, type | tuple[type, ...]] = {
    "machine": dict,
    "ratios": dict,
    "bases": list,
    "values": list,
    **dict.fromkeys(("load", "median", "low", "high"), (int, float)),
}


def read(path: Path) -> Results:
    """The results in a file. Raises ValueError, with what to do about it."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; {REMEDY}") from None
    except ValueError:
        raise ValueError(f"{path} is not JSON; {REMEDY}") from None
    if why := _missing(found, Results):
        raise ValueError(f"{path} has no results of these benchmarks: {why}; {REMEDY}")
    return cast(Results, found)


def _missing(found: object, shape: Any) -> str:
    """What a value lacks for this shape, a `TypedDict`; "" if nothing."""
    if not isinstance(found, dict):
        return f"{type(found).__name__} in place of an object"
    for key in sorted(shape.__required_keys__):
        value = found.get(key)
        if key not in found or not isinstance(value, _TYPES.get(key, object)):
            return f"no `{key}`"
        if key in _LISTS:
            if not isinstance(value, list):
                return f"no list of `{key}`"
            if why := next(filter(None, (_missing(each, _LISTS[key]) for each in value)), ""):
                return why
    return ""
