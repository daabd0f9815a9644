"""Escapes the output of tasks where GitHub's runner would read it as a workflow command."""

from __future__ import annotations

import os
import re

# As the runner reads it (its ActionCommand.cs): `::name::` at the beginning of a line, after white
# space, and `##[name]` anywhere. Its comparison ignores characters without a width, so anything but
# visible ASCII may come first, and only a space separates reliably. In .NET a carriage return ends
# a line too.
_AT_BEGINNING = rb"((?:\A|[\r\n])[^!-~\r\n]*:)(?=:)"
_ANYWHERE = b"##["


def is_active() -> bool:
    """Whether GitHub's runner reads stdout."""
    return bool(os.environ.get("GITHUB_ACTIONS"))


def escape(lines: bytes) -> bytes:
    """Whole lines without a command: `: :error::`, `## [error]`."""
    if b"::" in lines:
        # Compiled here: most output has no need of it.
        lines = re.sub(_AT_BEGINNING, rb"\1 ", lines)
    return lines.replace(_ANYWHERE, b"## [") if _ANYWHERE in lines else lines


def escape_json(text: str) -> str:
    """JSON without a command, and of the same value."""
    return text.replace("##[", "#\\u0023[")
