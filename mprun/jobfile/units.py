"""Durations as a job file writes them: seconds, or `500ms`, `1m30s`."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)"


def seconds(duration: float | str) -> float:
    """A duration in seconds. Raises ValueError for a text that is none."""
    if not isinstance(duration, str):
        return float(duration)
    # Not compiled before there is a duration to read.
    parts = re.findall(_PART, duration, re.ASCII)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"`{duration}` is not a duration such as 500ms, 30s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
