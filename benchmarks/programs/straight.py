"""Two processes that print LINES each, straight to a file; with BUFFERING `line` line by line."""

import io
import multiprocessing
import os
import sys

from flood import flood


def into(name: str, lines: int, buffering: str) -> None:
    """Print to the file of this name."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    if buffering == "line" and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    flood(lines)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    lines, buffering = int(sys.argv[1]), sys.argv[2]
    processes = [multiprocessing.Process(target=into, args=(f"{n}.log", lines, buffering)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
