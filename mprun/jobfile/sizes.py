"""Sizes as a job file writes them: bytes, or `512MiB`, `1GB`."""

from __future__ import annotations

import re

_UNITS = {"B": 1}
for _power, _letter in enumerate("kMGT", start=1):
    _UNITS[f"{_letter}B"] = 1000**_power
    _UNITS[f"{_letter.upper()}iB"] = 1024**_power
_UNITS["KB"] = 1000


def to_bytes(size: int | str) -> int:
    """A size in bytes. Raises ValueError for a text that is none."""
    if not isinstance(size, str):
        return size
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)", size)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"`{size}` is not a size such as 512MiB or 1GB")
    return int(float(match[1]) * _UNITS[match[2]])


def to_text(size: int) -> str:
    """A number of bytes as exactly as a job file would have it: `64 MiB`, `1 GB`, `1000001 B`."""
    exact = [(factor, unit) for unit, factor in _UNITS.items() if size % factor == 0 and size >= factor]
    factor, unit = max(exact, default=(1, "B"))
    return f"{size // factor} {unit}"
