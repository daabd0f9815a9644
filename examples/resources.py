"""Tasks that use the resources of a process: its threads, and memory."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time

# getrusage counts ru_maxrss in KiB on Linux, in bytes on macOS.
MAX_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def hold_threads(count: int = 4, seconds: float = 0.3) -> dict[str, int]:
    """Keep `count` threads alive beside the main one; return the number of all threads."""
    threads = [threading.Thread(target=time.sleep, args=(seconds,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    alive = threading.active_count()
    for thread in threads:
        thread.join()
    print(f"{alive} threads lived in process {os.getpid()}")
    return {"pid": os.getpid(), "threads": alive}


def hold_memory(megabytes: int = 50, seconds: float = 0.3) -> dict[str, int]:
    """Fill memory and keep it; return its size and the peak of resident memory, in bytes."""
    block = b"x" * (megabytes * 1_000_000)
    time.sleep(seconds)
    max_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAX_RSS_UNIT
    print(f"{len(block):,} bytes held, {max_rss:,} resident at most, in process {os.getpid()}")
    return {"pid": os.getpid(), "bytes": len(block), "max_rss": max_rss}
