"""Runs on the workers of a dask cluster on this machine, which is started for them, beside runs without."""

from __future__ import annotations

import atexit
import importlib.util
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path

from benchmarks import watching
from benchmarks.measuring import TIMEOUT, Measure, seconds
from benchmarks.peers import numbers
from benchmarks.place import Failed, Place

HERE = "mprun -j 2"
HOSTS = "mprun --executor dask"
WORKERS = 2
# How long the scheduler and the workers may take to start, in seconds.
START_SECONDS = 180.0

_SCHEDULER = """
import asyncio, sys, distributed
async def serve():
    scheduler = await distributed.Scheduler(
        host="127.0.0.1", port=0, dashboard=False, scheduler_file=sys.argv[1]
    )
    await scheduler.finished()
asyncio.run(serve())
"""
_WORKER = """
import asyncio, sys, distributed
async def serve():
    worker = await distributed.Worker(
        scheduler_file=sys.argv[1], nthreads=1, host="127.0.0.1", local_directory=sys.argv[2], dashboard=False
    )
    await worker.finished()
asyncio.run(serve())
"""


class Cluster:
    """A scheduler and workers of one thread each, until this program ends."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._file: Path | None = None

    def options(self) -> list[str]:
        """The options of a run on it, which starts it the first time. Raises Failed if it does not start."""
        if self._file is None:
            if importlib.util.find_spec("distributed") is None:
                raise Failed("needs dask: pip install 'mprun[dask]'")
            self._file = self._start()
        return ["--executor", "dask", "--scheduler-file", str(self._file)]

    def _start(self) -> Path:
        directory = tempfile.TemporaryDirectory(prefix="mprun-hosts-")
        file = Path(directory.name, "scheduler.json")
        processes = [self._run(_SCHEDULER, str(file))]
        processes += [self._run(_WORKER, str(file), directory.name) for _ in range(WORKERS)]

        def end() -> None:
            for process in processes:
                process.kill()
                process.wait()
            directory.cleanup()

        atexit.register(end)
        deadline = time.monotonic() + START_SECONDS
        while not self._has_all(file):
            if time.monotonic() > deadline:
                raise Failed("the dask cluster has not started")
            time.sleep(0.1)
        return file

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._place.python, "-P", "-c", program, *arguments],
            env=self._place.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _has_all(self, file: Path) -> bool:
        program = (
            "import asyncio, sys, distributed\n"
            "async def ask():\n"
            "    async with distributed.Client(scheduler_file=sys.argv[1], asynchronous=True) as client:\n"
            f"        await client.wait_for_workers({WORKERS})\n"
            "asyncio.run(ask())"
        )
        return (
            file.exists()
            and subprocess.run(
                [self._place.python, "-P", "-c", program, str(file)],
                env=self._place.environment,
                capture_output=True,
                timeout=START_SECONDS,
                check=False,
            ).returncode
            == 0
        )


@cache
def cluster_of(place: Place) -> Cluster:
    """The cluster of all rows."""
    return Cluster(place)


def commands(place: Place) -> Mapping[str, Callable[[int], list[str]]]:
    """The command of each side, for a number of tasks that do nothing."""
    cluster = cluster_of(place)

    def job(count: int) -> str:
        text = f"tasks:\n  - target: noop:noop\n    matrix: {{n: {numbers(count)}}}\n"
        return place.write(f"noop-{count}.yaml", text)

    return {
        HERE: lambda count: place.mprun("-j", "2", job(count)),
        HOSTS: lambda count: place.mprun(*cluster.options(), job(count)),
    }


def per_task(name: str, command: Callable[[int], list[str]], count: int, place: Place) -> Measure:
    """Milliseconds that each further task adds, and seconds from the command's start to the first task."""

    def once() -> Mapping[str, float]:
        one = statistics.median(seconds(command(1), place) for _ in range(3))
        whole = seconds(command(count), place)
        return {name: (whole - one) / (count - 1) * 1000, first(name): _first_task(command(1), place)}

    return once


def first(name: str) -> str:
    """The figure of a side's first task."""
    return f"{name}, first task"


def _first_task(command: list[str], place: Place) -> float:
    begun = time.time()
    with watching.started(command, place) as run:
        run.wait(TIMEOUT)
        (started,) = (event for event in watching.events(place) if event["event"] == "task_started")
    return datetime.fromisoformat(started["time"]).timestamp() - begun


def memory(name: str, command: Callable[[int], list[str]], count: int, place: Place) -> Measure:
    """The peak of the engine in MB, and that of the process with dask's client, if there is one."""

    def once() -> Mapping[str, float]:
        with watching.started(command(count), place) as run:
            bridge = 0
            while name == HOSTS and run.poll() is None and not bridge:
                bridge = _bridge_of(run.pid)
                time.sleep(0.01)
            most = watching.peaks(run, [run.pid, bridge] if bridge else [run.pid], 0.01)
        figures = (f"{name}, {count:,} tasks", f"bridge, {count:,} tasks")
        return dict(zip(figures, most, strict=False))

    return once


def _bridge_of(pid: int) -> int:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            if b"executors.dask.bridge" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    except OSError:
        # It has ended meanwhile.
        pass
    return 0
