"""A dask scheduler and workers on loopback, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

SECONDS = 40

# A worker without a nanny, as `dask worker` starts it, and a scheduler: without what its command imports.
SCHEDULER = """
import asyncio, sys
from distributed import Scheduler
async def serve():
    scheduler = await Scheduler(host=sys.argv[2], port=0, dashboard=False)
    scheduler_file = sys.argv[1]
    import json, os
    with open(scheduler_file + ".part", "w") as file:
        json.dump(scheduler.identity(), file)
    os.rename(scheduler_file + ".part", scheduler_file)
    await scheduler.finished()
asyncio.run(serve())
"""
WORKER = """
import asyncio, json, os, sys
from distributed import Worker
async def serve():
    worker = await Worker(
        scheduler_file=sys.argv[1], host=sys.argv[2], nthreads=int(sys.argv[3]), name=sys.argv[4],
        local_directory=sys.argv[5], dashboard=False, memory_limit=0,
        resources=json.loads(sys.argv[6]),
    )
    with open(sys.argv[5] + ".part", "w") as file:
        file.write(worker.address)
    os.rename(sys.argv[5] + ".part", sys.argv[5] + ".ready")
    await worker.finished()
asyncio.run(serve())
"""


class Cluster:
    """A scheduler with as many workers as are added; `address` is the scheduler's.

    `env` are more variables for all of them, such as dask's configuration. `host` is the address of the
    scheduler's machine, and what `within` puts before its command starts it there.
    """

    def __init__(self, directory, env=None, host="127.0.0.1", within=()):
        self._env = {**os.environ, **(env or {})}
        self.directory = directory
        self.file = directory / "scheduler.json"
        self._log = (directory / "cluster.log").open("wb")
        self.workers = {}
        self.scheduler = self._start(SCHEDULER, host, within=within)

    def _start(self, program, *arguments, env=None, within=()):
        command = [*within, sys.executable, "-P", "-c", program, self.file, *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**self._env, **(env or {})},
        )

    def add_worker(self, name, threads=1, *, env=None, host="127.0.0.1", within=(), resources=None):
        """Start a worker, with more variables for it alone, on the scheduler's machine or another one."""
        (self.directory / f"{name}.ready").unlink(missing_ok=True)
        own = (threads, name, self.directory / name, json.dumps(resources or {}))
        process = self._start(WORKER, host, *own, env=env, within=within)
        self.workers[name] = process
        return process

    @property
    def address(self):
        """The scheduler's address, once it is there."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                return json.loads(self.file.read_text())["address"]
            time.sleep(0.05)
        raise TimeoutError((self.directory / "cluster.log").read_text())

    def worker_address(self, name):
        """The address of a worker that is there; it also listens on others, as for its page."""
        return (self.directory / f"{name}.ready").read_text()

    def wait_for_workers(self, seconds=SECONDS):
        """Wait until all workers are known to the scheduler."""
        deadline = time.monotonic() + seconds
        while not all((self.directory / f"{name}.ready").exists() for name in self.workers):
            if time.monotonic() > deadline:
                raise TimeoutError((self.directory / "cluster.log").read_text())
            time.sleep(0.05)

    def close(self):
        processes = [self.scheduler, *self.workers.values()]
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        self._log.close()


@contextlib.contextmanager
def two_workers(directory, env=None, **worker):
    """A cluster whose workers `first` and `second` are there; `env` and `worker` as for `Cluster`."""
    found = Cluster(directory, env)
    try:
        for name in ("first", "second"):
            found.add_worker(name, **worker)
        found.wait_for_workers()
        yield found
    finally:
        found.close()
