"""What a task costs the engine, without any process: CPU time and memory, by the number of tasks.

`PYTHONPATH=. python benchmarks/engine_cost.py` runs jobs of 1,000, 10,000 and 100,000 no-op
tasks, written out, written out with more keys, and as a matrix, each in a new Python: everything from the
plan to the table at the end, with the record and the plain view. In place of the launcher, a fake reports
at once that each task has started and ended; its own time is not counted. Rounds are interleaved, figures
are medians; `--profile` shows where the time goes.
"""

import argparse
import cProfile
import gc
import itertools
import json
import marshal
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

from mprun.launcher.channel import AFTER, KEY, LOG

KINDS = ("file", "full", "matrix")


class Paper:
    """Answers an executor as a launcher would, in place of its socket.

    With each call of `recv`, one task ends and the next one starts, as in a run of short tasks
    of which `at_once` run at the same time.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self.spent = 0.0
        self._ready = os.eventfd(1)
        self._waiting: deque[Any] = deque()
        self._running: deque[Any] = deque()
        self._answers: list[tuple[Any, ...]] = []
        self._logs = ""

    def fileno(self) -> int:
        return self._ready

    def setblocking(self, _flag: bool) -> None:
        pass

    def close(self) -> None:
        os.close(self._ready)

    def send(self, data: bytes) -> int:
        begun = time.process_time()
        view, start = memoryview(data), 0
        while start < len(view):
            end = start + 4 + int.from_bytes(view[start : start + 4], "big")
            for request in marshal.loads(view[start + 4 : end]):
                self._take(*request)
            start = end
        view.release()
        self.spent += time.process_time() - begun
        return start

    def _take(self, kind: str, *details: Any) -> None:
        if kind == "prepare":
            self._logs = details[0]["folders"][0][0]
            self._answer("prepared", os.getpid(), "MainProcess", [], [], [])
        elif kind == "start":
            self._waiting.append(details[0])

    def _answer(self, *report: Any) -> None:
        self._answers.append(report)

    def recv(self, _size: int) -> bytes:
        begun = time.process_time()
        now = time.monotonic()
        if self._running:
            self._answer(
                *("exited", self._running.popleft(), now, 12345, 0, False),
                *(0.001234567, 0.0012, 12345678, 1, (), False, "", "", (), 0, None),
            )
        while self._waiting and len(self._running) < self._at_once:
            request = self._waiting[0]
            key = request[KEY]
            if any(before in self._running for before, _ in request[AFTER]):
                break
            self._waiting.popleft()
            self._running.append(key)
            os.close(os.open(os.path.join(self._logs, request[LOG]), os.O_WRONLY | os.O_CREAT, 0o600))
            self._answer("started", key, now, 12345, 12344, 123456789)
        data = marshal.dumps(self._answers, 2)
        data = len(data).to_bytes(4, "big") + data
        self._answers.clear()
        self.spent += time.process_time() - begun
        return data


class NoSubreaper:
    """Replaces the subreaper: without a launcher there are no orphans."""

    def close(self) -> None:
        pass


def job_text(kind: str, tasks: int) -> str:
    """A job of `count` no-op tasks, a multiple of 100."""
    if kind == "file":
        return "tasks:\n" + "  - target: noop:noop\n" * tasks
    if kind == "full":
        # Nine nodes each: a file of 100,000 may have ten.
        one = "  - {{name: task{0}, target: noop:noop, timeout: {1}, depends_on: task{2}}}\n"
        return "tasks:\n" + "".join(
            one.format(number, number % 100 + 1, number - 100)
            if number >= 100
            else f"  - {{name: task{number}, target: noop:noop}}\n"
            for number in range(tasks)
        )
    axes = f"{{a: {list(range(tasks // 100))}, b: {list(range(100))}}}"
    return f"tasks:\n  - name: task\n    target: noop:noop\n    matrix: {axes}\n"


def run(kind: str, tasks: int, *, at_once: int = 2, profile: bool = False) -> dict[str, float]:
    """Run one such job here; microseconds of CPU time per task, and the peak memory of this process in MB."""
    from mprun import api
    from mprun.executors.local import LocalExecutor
    from mprun.reporters.console import Console
    from mprun.scheduling.stop_limit import stop_limit_by_name

    paper = Paper(at_once)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "job.yaml")
        path.write_text(job_text(kind, tasks))
        plan = api.plan_job(api.load_job(path), max_parallel=at_once)
        planned = peak()
        names = [task.name for task in plan.tasks]

        def console(context: api.Context) -> Console:
            return Console(
                context.directory,
                names,
                stop_signal=context.stop_signal,
                stop_limit=lambda running: stop_limit_by_name(plan, running),
            )

        # As the command does it.
        gc.freeze()
        profiler = start_profiler() if profile else None
        begun = time.process_time()
        finished = api.run_plan(
            plan,
            api.RunOptions(
                state_dir=str(Path(directory, "state")),
                reporters=[console],
                executor=LocalExecutor(0, cast(Any, paper), cast(Any, NoSubreaper())),
                keep_results=False,
            ),
        )
        spent = time.process_time() - begun
        gc.unfreeze()
        if profiler:
            show_profile(profiler)
    assert finished.exit_code == 0
    return {
        "microseconds": (spent - paper.spent) / tasks * 1e6,
        "plan_mb": planned,
        "mb": peak(),
    }


def peak() -> float:
    """The peak memory of this process so far, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def start_profiler() -> cProfile.Profile:
    """Start to profile."""
    profiler = cProfile.Profile()
    profiler.enable()
    return profiler


def show_profile(profiler: cProfile.Profile) -> None:
    """Print where the time went."""
    profiler.disable()
    stats = pstats.Stats(profiler, stream=sys.stderr)
    stats.sort_stats("tottime").print_stats(40)


def measured(kind: str, tasks: int, at_once: int, profile: bool) -> dict[str, float]:
    """The same in a new Python."""
    command = [sys.executable, __file__, "--one", kind, str(tasks), "--at-once", str(at_once)]
    command += ["--profile"] if profile else []
    # The view's lines go to stderr, which is not read.
    stderr = None if profile else subprocess.DEVNULL
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="one round, with a profile of each")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "TASKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(
            json.dumps(
                run(options.one[0], int(options.one[1]), at_once=options.at_once, profile=options.profile)
            )
        )
        return
    figures: dict[tuple[str, int], list[dict[str, float]]] = {
        row: [] for row in itertools.product(options.kinds, options.tasks)
    }
    for _ in range(1 if options.profile else options.rounds):
        for (kind, tasks), found in figures.items():
            found.append(measured(kind, tasks, options.at_once, options.profile))
    print(f"{'job':<8} {'tasks':>7} {'µs a task':>10} {'MB planned':>11} {'MB at most':>11}")
    for (kind, tasks), found in figures.items():
        medians = [
            statistics.median(one[name] for one in found) for name in ("microseconds", "plan_mb", "mb")
        ]
        print("{:<8} {:>7} {:>10.1f} {:>11.1f} {:>11.1f}".format(kind, tasks, *medians))


if __name__ == "__main__":
    main()
