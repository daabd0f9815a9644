"""What the keys of a task may be once their references are resolved."""

from __future__ import annotations

from typing import Any

from mprun.jobfile.references import Reference, ReferenceProblem, Template, references
from mprun.jobfile.syntax.scalars import kind_of

# Task keys that take references and want more than any value.
TYPED_KEYS = ("args", "kwargs", "command", "env", "cwd")


def require_type(key: str, value: Any, written: Any) -> None:
    """Raise ReferenceProblem if one of TYPED_KEYS cannot have this value.

    `written` is the node that was resolved. What is still a reference is not checked.
    """
    if isinstance(value, (Reference, Template)):
        return
    if key == "command" and value[:2] == ["/bin/sh", "-c"] and len(value) == 3:
        # One that is one reference looks like a shell script; it may be a list of words.
        value, written = value[2], written[2]
    expected = _expected_type(key, value)
    if expected:
        raise _problem(f"`{key}` must be {expected}, but `{written}` is {kind_of(value)}", written)
    if key == "command" and value in ("", []):
        raise _problem("`command` must not be empty", written)
    if key == "kwargs" and not all(isinstance(name, (str, Reference, Template)) for name in value):
        raise _problem("the keys of `kwargs` must be strings", written)
    if key in ("command", "env", "cwd"):
        texts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)
        if any(isinstance(text, str) and "\0" in text for text in texts):
            raise _problem(f"`{key}` must not contain a NUL character", written)


def _expected_type(key: str, value: Any) -> str:
    """What the value of a key must be; empty if that is what it is."""
    if key == "args":
        return "" if isinstance(value, (list, tuple)) else "a list"
    if key in ("kwargs", "env"):
        return "" if isinstance(value, dict) else "a mapping"
    if key == "cwd":
        return "a path" if value is None or isinstance(value, (list, dict)) else ""
    return "a string or a list of words" if value is None or isinstance(value, dict) else ""


def _problem(message: str, written: Any) -> ReferenceProblem:
    return ReferenceProblem(message, next(references([written]), None))
