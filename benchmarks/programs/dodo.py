"""Tasks of doit: one that calls the function, or `count` that start a Python each."""

import sys
from collections.abc import Iterator
from typing import Any

from doit import get_var
from noop import noop

COUNT = int(get_var("count", "0"))


def task_one() -> dict[str, Any]:
    """In doit's own process."""
    return {"actions": [(noop,)]}


def task_many() -> Iterator[dict[str, Any]]:
    """Each a new Python."""
    for number in range(COUNT):
        yield {"name": str(number), "actions": [[sys.executable, "noop.py"]]}
