"""A task that shows the name of its process."""

from __future__ import annotations

from multiprocessing import current_process


def show_name() -> str:
    name = current_process().name
    print(f"my name is {name}")
    return name
