"""Measures the time of whole commands, round by round, so that a slow minute slows all sides."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.place import Failed, Place

# Timeout of one command, in seconds: ten times what the slowest takes.
TIMEOUT = 600

# Measures a side once: its figures, by name.
Measure = Callable[[], Mapping[str, float]]


def seconds(command: Sequence[str], place: Place) -> float:
    """The time of a whole command, from before its start until it was waited for.

    Raises `Failed` if its exit code is not 0.
    """
    errors = place.path / "stderr"
    with open(errors, "wb") as stderr:
        begun = time.perf_counter()
        try:
            process = subprocess.Popen(
                command,
                cwd=place.path,
                env=place.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        except OSError as error:
            raise Failed(str(error)) from None
        code = wait(process)
        taken = time.perf_counter() - begun
    last = errors.read_text(errors="replace").strip().rpartition("\n")[2]
    place.tidy()
    if code != 0:
        raise Failed(f"exit code {code}: {last}")
    return taken


def wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code; a command that hangs is killed.

    `wait(timeout=...)` would poll every 50 ms, and every figure would be a multiple of that.
    """
    guard = threading.Timer(TIMEOUT, process.kill)
    guard.start()
    try:
        return process.wait()
    finally:
        guard.cancel()


def interleave(
    sides: Mapping[str, Measure], rounds: int, warm_up: bool
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Measure all sides in each round; the figures of each side, or why it has none.

    The warm-up round does not count. Each round has its own order, so that no side always follows the
    same one. A side that fails is not tried again, and its figures are dropped.
    """
    measured: dict[str, list[Mapping[str, float]]] = {name: [] for name in sides}
    gaps: dict[str, str] = {}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name in shuffled(sides, number):
            if name in gaps:
                continue
            try:
                figures = sides[name]()
            except Failed as failed:
                gaps[name] = str(failed)
                continue
            if number > 0:
                measured[name].append(figures)
    return by_figure([measured[name] for name in sides if name not in gaps]), gaps


def by_figure(sides: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, list[float]]:
    """The values of each figure, one per round."""
    return {name: [figures[name] for figures in rounds] for rounds in sides for name in rounds[0]}


def shuffled(names: Iterable[str], number: int) -> list[str]:
    """The names in a random but fixed order; every second round has them reversed."""
    order = list(names)
    random.Random(number // 2).shuffle(order)
    return order if number % 2 else order[::-1]
