"""A random token made at import: a forked task has the main process's, a spawned one makes its own."""

from __future__ import annotations

import os
import secrets

TOKEN = secrets.token_hex(8)
print(f"token {TOKEN} made in process {os.getpid()}")


def show_token() -> str:
    print(f"token {TOKEN} found in process {os.getpid()}")
    return TOKEN
