"""Hand-written loops that do the work of a SHAPE of job: `results COUNT`, `graph FILE` or `shells COUNT`."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections import deque
from multiprocessing.connection import Connection, wait
from pathlib import Path

import shapes
from noop import noop


def send(end: Connection, number: int) -> None:
    """Compute a result in a process of its own, and send it."""
    end.send(shapes.compute(number))


def results(count: int) -> None:
    """Collect the results of processes, eight at a time."""
    found: dict[int, str] = {}
    running: dict[Connection, tuple[multiprocessing.Process, int]] = {}
    for number in range(count + 1):
        while running and (len(running) == 8 or number == count):
            ready = wait([*running])
            for end in [end for end in running if end in ready]:
                process, ended = running.pop(end)
                found[ended] = end.recv()
                end.close()
                process.join()
        if number < count:
            reader, writer = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.Process(target=send, args=(writer, number))
            process.start()
            writer.close()
            running[reader] = process, number
    shapes.total([found[number] for number in range(count)])


def graph(path: str) -> None:
    """Run a process for each node after those that it depends on, two at a time."""
    dependencies: list[list[int]] = json.loads(Path(path).read_text())
    missing = [len(before) for before in dependencies]
    dependents: list[list[int]] = [[] for _ in dependencies]
    for node, before in enumerate(dependencies):
        for each in before:
            dependents[each].append(node)
    ready = deque(node for node, count in enumerate(missing) if not count)
    running: dict[int, tuple[multiprocessing.Process, int]] = {}
    while ready or running:
        while ready and len(running) < 2:
            process = multiprocessing.Process(target=noop)
            process.start()
            running[process.sentinel] = process, ready.popleft()
        over = wait([*running])
        for sentinel in [sentinel for sentinel in running if sentinel in over]:
            process, ended = running.pop(sentinel)
            process.join()
            assert process.exitcode == 0
            for node in dependents[ended]:
                missing[node] -= 1
                if not missing[node]:
                    ready.append(node)


def shells(count: int, script: str) -> None:
    """Run shells, two at a time, each with a file for what it prints."""
    running: set[int] = set()
    for number in range(count + 2):
        while running and (len(running) == 2 or number >= count):
            pid, status = os.wait()
            assert status == 0
            running.remove(pid)
        if number < count:
            with open(f"{number}.log", "wb") as log:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            # `os.wait` reaps it.
            process.returncode = 0
            running.add(process.pid)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    shape, given, *more = sys.argv[1:]
    if shape == "graph":
        graph(given)
    elif shape == "results":
        results(int(given))
    else:
        shells(int(given), *more)
