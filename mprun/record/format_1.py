"""Translates the events of a record in format 1 into the words of today's format.

Only the first line of a record names its format, and it may be lost. So each event is translated
by itself: a word of format 1 that format 2 replaced has no other meaning in format 2.
"""

from __future__ import annotations

from typing import Any

_RENAMED_FIELDS = {
    "run_started": {"launcher_pid": "main_pid", "launcher_name": "main_name"},
    "task_finished": {"carried": "reused"},
}
_OUTCOMES = {"timed-out": "timed_out"}
_REASONS = {"run_ends": "run_finished", "record_lost": "record_write_failed"}

# The other kinds of event have no word that changed.
_TRANSLATED = ("run_started", "task_stopping", "task_finished", "run_finished")


def translate(record: dict[str, Any], to_format: int) -> dict[str, Any]:
    """One event of a record, in place and whatever its format, in the words of `to_format`.

    Values that no version of mprun has written are left as they are.
    """
    event = record.get("event")
    if event not in _TRANSLATED:
        return record
    for old, new in _RENAMED_FIELDS.get(event, {}).items():
        if old in record:
            record[new] = record.pop(old)
    if event == "run_started":
        if record.get("format") == 1 and record["format"] is not True:
            record["format"] = to_format
        return record
    if isinstance(reason := record.get("reason"), str):
        record["reason"] = _translate_reason(reason)
    if isinstance(outcome := record.get("outcome"), str):
        record["outcome"] = _OUTCOMES.get(outcome, outcome)
    if isinstance(counts := record.get("counts"), dict):
        record["counts"] = {_OUTCOMES.get(outcome, outcome): count for outcome, count in counts.items()}
    return record


def _translate_reason(reason: str) -> str:
    """A reason is a word, or a sentence that may start with the word and a comma."""
    word, comma, rest = reason.partition(", ")
    return f"{_REASONS[word]}{comma}{rest}" if word in _REASONS else reason
