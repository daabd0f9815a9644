"""A run whose tasks all handle their stop signal: the time from a signal to the engine until it has ended."""

import os
import signal
import time
from itertools import product
from pathlib import Path
from random import Random

from seen import Figure, Seen, none_of, spread
from support.crash_targets import CrashTarget
from support.runs import START_METHODS, TIMEOUT, write

TRIALS = 27
BATCH = 1
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
COMBINATIONS = list(product(START_METHODS, SIGNALS, [1, 8, 32]))
# Signalled after it has begun: its start is not measured.
WORK = """\
    import os, signal

    def stay():
        open(os.environ["MPRUN_TASK"] + ".there", "w").close()
        signal.pause()
"""


def play(directory: Path, numbers: range, random: Random) -> Seen:
    seen = Seen(trials=1)
    method, number, count = COMBINATIONS[numbers.start % len(COMBINATIONS)]
    tasks = "".join(f"- {{name: t{n}, target: 'work:stay'}}\n" for n in range(count))
    write(directory, work=WORK, job="tasks:\n" + tasks)
    run = CrashTarget(directory, "job.yaml", "-q", "-j", count, "--start-method", method)
    try:
        _wait_for_tasks(directory, count)
        begun = time.perf_counter()
        run.engine.send_signal(number)
        run.engine.wait(TIMEOUT)
        seen.add(f"{count} tasks", time.perf_counter() - begun)
        if left := run.left():
            seen.add_defect(numbers.start, "survivor", left)
        if run.engine.returncode != SIGNALS[number]:
            seen.add_defect(numbers.start, "exit code", f"{run.engine.returncode} after {number.name}")
    finally:
        run.clean()
    return seen


def _wait_for_tasks(directory: Path, count: int) -> None:
    end = time.monotonic() + TIMEOUT
    while sum(name.endswith(".there") for name in os.listdir(directory)) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"not all of {count} tasks have begun after {TIMEOUT} s")
        time.sleep(0.005)


def figures(seen: Seen) -> list[Figure]:
    every = [value for values in seen.values.values() for value in values]
    return [
        spread("stop of cooperative tasks: over after", every, worst=0.2),
        *(spread(f"… {name}", values) for name, values in sorted(seen.values.items())),
        none_of("… survivors, wrong exit codes", seen),
    ]
