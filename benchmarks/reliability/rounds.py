"""Runs rounds, several at once, each batch in its own directory, until the time is up."""

import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seen import Seen

# Runs these trials in an empty directory, and returns their results.
Play = Callable[[Path, range, random.Random], Seen]


class Rounds:
    """The trials of one measure: numbers from `first`, in batches, `jobs` of them at once.

    The random numbers of a batch come from the seed, the measure's name and its first number, so that a
    batch with a defect can be repeated alone. The directory of such a batch is kept.
    """

    def __init__(self, name: str, play: Play, batch: int, seed: str, base: Path) -> None:
        self._name, self._play, self._batch, self._seed, self._base = name, play, batch, seed, base
        self._lock = threading.Lock()
        self._is_over = False
        self.seen = Seen()

    def go(self, first: int, count: int, jobs: int, seconds: float) -> Seen:
        """The results of `count` trials, or of fewer if the time is up."""
        end = time.monotonic() + seconds
        stop = first + count
        batches = (
            range(max(start, first), min(start + self._batch, stop))
            for start in range(first - first % self._batch, stop, self._batch)
        )
        with ThreadPoolExecutor(jobs) as pool:
            workers = [pool.submit(self._work, batches, end) for _ in range(jobs)]
            try:
                for worker in workers:
                    worker.result()
            except BaseException:
                # Ctrl-C: running batches finish, so that none of their processes is left.
                self._is_over = True
                raise
        return self.seen

    def _work(self, batches: Iterator[range], end: float) -> None:
        while time.monotonic() < end and not self._is_over:
            with self._lock:
                numbers = next(batches, None)
            if numbers is None:
                return
            self._go(numbers)

    def _go(self, numbers: range) -> None:
        start = numbers.start
        directory = Path(tempfile.mkdtemp(prefix=f"{self._name}-{start}-", dir=self._base))
        try:
            seen = self._play(directory, numbers, random.Random(f"{self._seed} {self._name} {start}"))
        except Exception:
            # A defect of mprun that breaks the measure counts as a defect.
            seen = Seen(trials=len(numbers))
            seen.add_defect(start, "broken", traceback.format_exc())
        for number, kind, details in seen.defects:
            found = f"{self._name} {number}: {kind}: {details[:2000]}"
            again = f"--only {self._name} --first {start} --rounds {len(numbers)} --seed {self._seed}"
            print(f"{found}\n  kept: {directory}\n  again: {again}", file=sys.stderr, flush=True)
        if not seen.defects:
            shutil.rmtree(directory, ignore_errors=True)
        with self._lock:
            self.seen.merge(seen)
