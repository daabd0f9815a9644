"""Two tasks that print a million and a half lines each: memory of the engine, and complete logs."""

import hashlib
import os
import re
import threading
from pathlib import Path
from random import Random

from seen import Figure, Seen, none_of
from support.runs import START_METHODS, finish, start, write

TRIALS = 1
BATCH = 1
LINES = 1_500_000
MOST_MEMORY = 60e6
WORK = """\
    import hashlib, os, sys, time

    def flood(name, lines):
        # Lines of many lengths, all different; the output is compared by its hash.
        digest = hashlib.sha256()
        for first in range(0, lines, 1000):
            numbers = range(first, min(first + 1000, lines))
            text = "".join(f"{name} {number} {'x' * (number * 7919 % 61)}\\n" for number in numbers)
            sys.stdout.write(text)
            digest.update(text.encode())
        sys.stdout.flush()
        return digest.hexdigest()

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.01)
"""
JOB = f"""\
    tasks:
    - {{name: one, target: 'work:flood', args: [one, {LINES}]}}
    - {{name: two, target: 'work:flood', args: [two, {LINES}]}}
    - {{name: wait, target: 'work:wait_for', args: [measured]}}
"""


def play(directory: Path, numbers: range, random: Random) -> Seen:
    seen = Seen(trials=1)
    number = numbers.start
    write(directory, work=WORK, job=JOB)
    engine = start("job.yaml", "--start-method", START_METHODS[number % len(START_METHODS)], cwd=directory)
    lines, complete = [0], threading.Event()

    def read() -> None:
        while data := os.read(engine.stdout.fileno(), 1 << 20):
            lines[0] += data.count(b"\n")
            if lines[0] >= 2 * LINES:
                complete.set()

    reader = threading.Thread(target=read)
    reader.start()
    # The reader ends with the engine, if something is missing.
    while not complete.wait(0.1) and reader.is_alive():
        pass
    for name, pid in (("engine", engine.pid), ("launcher", _launcher_of(engine.pid))):
        seen.add(f"memory of the {name}, MB", _most_memory(pid) / 1e6)
    (directory / "measured").touch()
    reader.join()
    run = finish(engine, directory / ".mprun")
    if run.code != 0 or lines[0] < 2 * LINES:
        seen.add_defect(number, "output", f"{run.code}, {lines[0]} lines, {run.stderr}")
    for task in ("one", "two"):
        log = run.log(task)
        seen.add("bytes", len(log))
        if hashlib.sha256(log).hexdigest() != run.result(task):
            seen.add_defect(number, "log", f"{task}: not what was printed")
    return seen


def _launcher_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _most_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def figures(seen: Seen) -> list[Figure]:
    memory = [max(seen.values.get(f"memory of the {who}, MB", [0])) for who in ("engine", "launcher")]
    lines, size = seen.trials * 2 * LINES, sum(seen.values.get("bytes", []))
    return [
        Figure(
            "memory of the engine, of the launcher, in a flood",
            "< 60 MB",
            " ".join(f"{value:.1f} MB" for value in memory),
            seen.trials,
            max(memory) * 1e6 < MOST_MEMORY,
        ),
        none_of(f"lines lost of {lines:,} ({size:,.0f} bytes by hash)", seen),
    ]
