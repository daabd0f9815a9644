"""COUNT tasks by the pool named KIND, two workers."""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from noop import noop


def pool(count: int, tasks_per_child: int | None) -> None:
    """`multiprocessing.Pool`; with a chunk size of one, since a chunk counts as one task."""
    with multiprocessing.Pool(2, maxtasksperchild=tasks_per_child) as workers:
        workers.map(noop, range(count), chunksize=1)


def executor(count: int, tasks_per_child: int | None) -> None:
    """`ProcessPoolExecutor`, which refuses to fork a worker for each task: forkserver then."""
    context = multiprocessing.get_context("forkserver" if tasks_per_child else "fork")
    with ProcessPoolExecutor(2, context, max_tasks_per_child=tasks_per_child) as workers:
        for future in [workers.submit(noop) for _ in range(count)]:
            future.result()


def pebble(count: int) -> None:
    """`pebble.ProcessPool`, a worker for each task."""
    from pebble import ProcessPool

    with ProcessPool(max_workers=2, max_tasks=1) as workers:
        for future in [workers.schedule(noop) for _ in range(count)]:
            future.result()


KINDS: dict[str, Callable[[int], None]] = {
    "pool": lambda count: pool(count, None),
    "pool-fresh": lambda count: pool(count, 1),
    "executor": lambda count: executor(count, None),
    "executor-fresh": lambda count: executor(count, 1),
    "pebble": pebble,
}

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    KINDS[sys.argv[2]](int(sys.argv[1]))
