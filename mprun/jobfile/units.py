"""Durations and sizes as a job file writes them: `500ms`, `1m30s`; `512MiB`, `1GB`."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)"
# Characters.
_MAX_DURATION = 1000

_BYTES = {"B": 1, "KB": 1000}
for _power, _letter in enumerate("kMGT", start=1):
    _BYTES[f"{_letter}B"] = 1000**_power
    _BYTES[f"{_letter.upper()}iB"] = 1024**_power


def to_seconds(duration: float | str) -> float:
    """A duration in seconds. Raises ValueError for a text that is not a duration."""
    if not isinstance(duration, str):
        return float(duration)
    # The default of an option is one, and to compile the pattern takes a 200th of a start.
    if (digits := duration.removesuffix("s")).isascii() and digits.isdecimal() and digits != duration:
        return float(digits)
    # Not compiled before there is a duration to read.
    # A longer one is a mistake, and would take much memory.
    parts = re.findall(_PART, duration, re.ASCII) if len(duration) <= _MAX_DURATION else ()
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"`{duration[:_MAX_DURATION]}` is not a duration such as `500ms`, `30s` or `1m30s`")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def optional_seconds(duration: float | str | None) -> float | None:
    """The same, or None."""
    return None if duration is None else to_seconds(duration)


def duration_text(seconds: float) -> str:
    """A duration as a job file writes it, exactly: `500ms`, `1.5s`, `1m30s`, `2h`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    if seconds < 60 or seconds >= 1e15:
        return f"{seconds:g}s"
    whole, text = int(seconds), ""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        text += f"{whole // length}{unit}" if whole >= length else ""
        whole %= length
    rest = whole + round(seconds % 1, 3)
    return f"{text}{rest:g}s" if rest else text


def to_bytes(size: int | str) -> int:
    """A size in bytes. Raises ValueError for a text that is not a size."""
    if not isinstance(size, str):
        return size
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)", size)
    if match is None or match[2] not in _BYTES:
        raise ValueError(f"`{size}` is not a size such as 512MiB or 1GB")
    return int(float(match[1]) * _BYTES[match[2]])


def size_text(size: int, separator: str = "") -> str:
    """A number of bytes as a job file writes it, exactly: `64MiB`, `1GB`, `1000001B`.

    `separator` goes between the number and its unit.
    """
    exact = [(factor, unit) for unit, factor in _BYTES.items() if size % factor == 0 and size >= factor]
    factor, unit = max(exact, default=(1, "B"))
    return f"{size // factor}{separator}{unit}"
