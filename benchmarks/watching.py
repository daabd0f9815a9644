"""Watches a run of mprun from outside: memory and CPU time of engine and launcher.

Both come from the kernel's counts in /proc (Linux): VmHWM is the peak memory of a process;
pages that engine and launcher share count for both. Tasks do not count: they are not mprun's.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.measuring import TIMEOUT
from benchmarks.place import Failed, Place

MB = 1e6


# The terminal of a run, in rows and columns.
TERMINAL_SIZE = (24, 80)


@contextmanager
def started(
    command: Sequence[str], place: Place, terminal: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the place; in any case, it has ended and its files are gone afterwards.

    With a `terminal`, a descriptor, it is in the foreground of that.
    """
    if not Path("/proc/self/schedstat").exists():
        raise Failed("this machine has no /proc")
    process = subprocess.Popen(
        command,
        cwd=place.path,
        env=place.environment if terminal is None else {**place.environment, "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stdout=subprocess.DEVNULL if terminal is None else terminal,
        stderr=subprocess.DEVNULL if terminal is None else terminal,
        start_new_session=terminal is not None,
        preexec_fn=None if terminal is None else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT)
        place.tidy()


def events(place: Place) -> list[dict[str, Any]]:
    """The events of the only run so far; the last line may be incomplete."""
    lines = [
        line
        for path in place.path.glob(".mprun/runs/*/events.jsonl")
        for line in path.read_text("utf-8").split("\n")[:-1]
    ]
    return [json.loads(line) for line in lines]


def processes_of(run: subprocess.Popen[bytes], place: Place) -> tuple[int, int]:
    """The pids of engine and launcher, once the record has them."""
    while run.poll() is None:
        for event in events(place)[:1]:
            return event["pid"], event["main_pid"]
        time.sleep(0.005)
    raise Failed(f"exit code {run.returncode} before the record began")


def peak(pid: int) -> float | None:
    """The peak memory of a process so far, in MB; None if it has ended."""
    try:
        found = re.search(r"^VmHWM:\s+([0-9]+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / MB if found else None


def peaks(run: subprocess.Popen[bytes], pids: Sequence[int], pause: float) -> list[float]:
    """The peak of each process, in MB: read every `pause` seconds until the run is over.

    A peak never falls, so the last reading misses only the last pause.
    """
    last = [0.0] * len(pids)
    while run.poll() is None:
        last = [peak(pid) or before for pid, before in zip(pids, last, strict=True)]
        time.sleep(pause)
    if run.returncode != 0:
        raise Failed(f"exit code {run.returncode}")
    return last


def cpu(pid: int) -> float:
    """The CPU time of a process and all its threads so far, in seconds; 0 if it was waited for."""
    used = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            # One that has ended since is not there any more.
            with suppress(OSError):
                used += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
    except OSError:
        return 0.0
    return used / 1e9


def watch_run(command: Sequence[str], place: Place, pause: float = 0.001) -> tuple[float, float, float]:
    """The time of a run in seconds, and the peaks of engine and launcher in MB."""
    begun = time.perf_counter()
    with started(command, place) as run:
        engine, launcher = peaks(run, processes_of(run, place), pause)
        return time.perf_counter() - begun, engine, launcher


def watch_command(command: Sequence[str], place: Place) -> tuple[float, float]:
    """The time of a command in seconds, and its peak memory in MB."""
    begun = time.perf_counter()
    with started(command, place) as run:
        (most,) = peaks(run, [run.pid], 0.002)
        return time.perf_counter() - begun, most


def bytes_on_disk(directory: Path) -> int:
    """How much a directory and all that is in it take on the disk."""
    return sum(path.lstat().st_blocks for path in (directory, *directory.rglob("*"))) * 512


@contextmanager
def terminal_that_is_read() -> Iterator[int]:
    """A terminal whose other end takes all that is written to it."""
    reader, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *TERMINAL_SIZE, 0, 0))

    def read() -> None:
        try:
            while os.read(reader, 1 << 16):
                pass
        except OSError:
            # Nothing has the terminal open any more.
            return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield terminal
    finally:
        os.close(terminal)
        thread.join(TIMEOUT)
        os.close(reader)


def cpu_on_terminal(command: Sequence[str], place: Place) -> float:
    """The CPU time of engine and launcher of a run on a terminal, in seconds: read until it is over."""
    with terminal_that_is_read() as terminal, started(command, place, terminal) as run:
        pids = processes_of(run, place)
        last = [0.0] * len(pids)
        has_ended = False
        while not has_ended:
            # Its counts can be read until it is waited for.
            has_ended = os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            last = [max(cpu(pid), before) for pid, before in zip(pids, last, strict=True)]
            time.sleep(0.002)
        run.wait()
        if run.returncode != 0:
            raise Failed(f"exit code {run.returncode}")
    return sum(last)


def cpu_of_live_sleep(command: Sequence[str], place: Place, tasks: int, window: float) -> float:
    """`cpu_of_sleep` on a terminal."""
    with terminal_that_is_read() as terminal:
        return cpu_of_sleep(command, place, tasks, window, terminal)


def cpu_of_sleep(
    command: Sequence[str], place: Place, tasks: int, window: float, terminal: int | None = None
) -> float:
    """The share of one core, in %, that engine and launcher use while all of the tasks sleep."""
    with started(command, place, terminal) as run:
        pids = processes_of(run, place)
        while sum(event["event"] == "task_started" for event in events(place)) < tasks:
            if run.poll() is not None:
                raise Failed(f"exit code {run.returncode} before all tasks were started")
            time.sleep(0.05)
        # Work left from the starts ends soon.
        time.sleep(window / 5)
        begun, used = time.perf_counter(), sum(map(cpu, pids))
        time.sleep(window)
        return (sum(map(cpu, pids)) - used) / (time.perf_counter() - begun) * 100
