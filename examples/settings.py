"""A module that reads its settings from the environment when it is imported, as many do."""

from __future__ import annotations

import os

LEVEL = os.environ.get("LEVEL", "warning")


def levels() -> list[str]:
    found = [LEVEL, os.environ.get("LEVEL", "warning")]
    print(f"at import: {found[0]}, now: {found[1]}")
    return found
