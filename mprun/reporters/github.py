"""What GitHub's runner would take for a command in what tasks print, made inert."""

from __future__ import annotations

import os
import re

# Read as the runner does (its ActionCommand.cs): `::name::` at the beginning of a line, white
# space before it left out, and `##[name]` anywhere. Its comparison also passes over characters
# without a width, which is why what stands in front may be anything but visible ASCII, and why
# what is put in between is a space. To .NET a carriage return ends a line, too.
_AT_BEGINNING = rb"((?:\A|[\r\n])[^!-~\r\n]*:)(?=:)"
_ANYWHERE = b"##["


def is_read() -> bool:
    """Whether what goes to stdout is read by GitHub's runner."""
    return bool(os.environ.get("GITHUB_ACTIONS"))


def inert(lines: bytes) -> bytes:
    """Whole lines in which no command is left: `: :error::`, `## [error]`."""
    if b"::" in lines:
        # Not compiled where nobody reads it.
        lines = re.sub(_AT_BEGINNING, rb"\1 ", lines)
    return lines.replace(_ANYWHERE, b"## [") if _ANYWHERE in lines else lines


def inert_json(text: str) -> str:
    """JSON in which no command is left, and which still says the same."""
    return text.replace("##[", "#\\u0023[")
