"""A task that names its parent twice: as the system sees it, and as multiprocessing does."""

from __future__ import annotations

import os
import time
from multiprocessing import parent_process


def show_parent(seconds: float = 1.0) -> dict[str, int | None]:
    """Sleep for `seconds`, so that others can look too; the two parents differ only under `forkserver`."""
    ppid, parent = os.getppid(), parent_process()
    maker = parent.pid if parent else None
    print(f"pid={os.getpid()} ppid={ppid} made by {maker}")
    time.sleep(seconds)
    return {"pid": os.getpid(), "ppid": ppid, "made_by": maker}
