"""Translates the events of a record in format 1 into the words of today's format.

Only the first line of a record names its format, and it may be lost. So each event is translated
by itself: a word of format 1 that format 2 replaced has no other meaning in format 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_OUTCOMES = {"timed-out": "timed_out"}
_REASONS = {"run_ends": "run_finished", "record_lost": "record_write_failed"}
_REASON_STARTS = tuple(_REASONS)


def translate(record: dict[str, Any], to_format: int) -> dict[str, Any]:
    """One event of a record, in place and whatever its format, in the words of `to_format`.

    Values that no version of mprun has written are left as they are.
    """
    event = record.get("event")
    translator = _TRANSLATORS.get(event) if type(event) is str else None
    if translator is not None:
        translator(record, to_format)
    return record


def _run_started(record: dict[str, Any], to_format: int) -> None:
    for old, new in (("launcher_pid", "main_pid"), ("launcher_name", "main_name")):
        if old in record:
            record[new] = record.pop(old)
    # JSON's true is equal to 1, and not a format.
    if record.get("format") == 1 and record["format"] is not True:
        record["format"] = to_format


def _task_stopping(record: dict[str, Any], _: int) -> None:
    _translate_reason(record)


def _task_finished(record: dict[str, Any], _: int) -> None:
    if "carried" in record:
        record["reused"] = record.pop("carried")
    if record.get("outcome") == "timed-out":
        record["outcome"] = "timed_out"
    _translate_reason(record)


def _run_finished(record: dict[str, Any], _: int) -> None:
    if isinstance(counts := record.get("counts"), dict):
        record["counts"] = {_OUTCOMES.get(outcome, outcome): count for outcome, count in counts.items()}


def _translate_reason(record: dict[str, Any]) -> None:
    reason = record.get("reason")
    # A reason is a word, or a sentence that may start with the word and a comma.
    if reason and isinstance(reason, str) and reason.startswith(_REASON_STARTS):
        word, comma, rest = reason.partition(", ")
        record["reason"] = f"{_REASONS.get(word, word)}{comma}{rest}"


# The other kinds of event have no word that changed.
_TRANSLATORS: dict[str, Callable[[dict[str, Any], int], None]] = {
    "run_started": _run_started,
    "task_stopping": _task_stopping,
    "task_finished": _task_finished,
    "run_finished": _run_finished,
}
