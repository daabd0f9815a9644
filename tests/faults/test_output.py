"""Endless output: the engine's memory is bounded, and log limits hold."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest
from support.runs import START_METHODS, TIMEOUT, finish, mprun, start, survivors, write

# The output of each of two tasks, in bytes.
FLOOD = 110_000_000
FLOODING = """\
    import os, time

    def flood(size):
        line = b"x" * 9_999 + b"\\n"
        for _ in range(size // len(line)):
            os.write(1, line)

    def flood_forever():
        line = b"x" * 999 + b"\\n"
        while True:
            os.write(1, line)

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.005)
"""


def most_memory(pid):
    """The peak memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def launcher_of(pid):
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@pytest.mark.parametrize("output", ["prefix", "group"])
def test_two_floods_come_through_whole_and_are_not_held_in_memory(tmp_path, output):
    write(
        tmp_path,
        work=FLOODING,
        job=f"""\
            tasks:
            - {{name: one, target: 'work:flood', args: [{FLOOD}]}}
            - {{name: two, target: 'work:flood', args: [{FLOOD}]}}
            - {{name: wait, target: 'work:wait_for', args: [measured]}}
        """,
    )
    engine = start("job.yaml", "--output", output, cwd=tmp_path)
    seen, all_of_it = [0], threading.Event()

    def read():
        while data := os.read(engine.stdout.fileno(), 1 << 20):
            seen[0] += data.count(b"x")
            if seen[0] == 2 * (FLOOD - FLOOD // 10_000):
                all_of_it.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert all_of_it.wait(TIMEOUT), seen
        memory = [most_memory(pid) for pid in (engine.pid, launcher_of(engine.pid))]
        (tmp_path / "measured").touch()
        reader.join(TIMEOUT)
    finally:
        engine.kill() if not all_of_it.is_set() else None
    assert engine.wait(TIMEOUT) == 0
    engine.stderr.close()
    engine.stdout.close()
    assert max(memory) < 60e6


@pytest.mark.parametrize("method", START_METHODS)
def test_a_task_that_exceeds_its_log_limit_is_stopped_soon_and_the_outcome_says_so(tmp_path, method):
    write(
        tmp_path,
        work=FLOODING,
        job="""\
            tasks:
            - name: flood
              target: work:flood_forever
              limits: {log: 2MB}
              timeout: 4s
              retry: 1
            - {name: small, target: 'work:flood', args: [1000000], limits: {log: 2MB}}
            - {name: after, target: 'os:getpid', depends_on: {flood: failed}}
        """,
    )
    run = mprun("job.yaml", "--output", "none", "--start-method", method, cwd=tmp_path)
    finished = run.one("task_finished", "flood")
    assert (finished["outcome"], finished["reason"], finished["attempts"]) == ("failed", "log limit", 2)
    assert [event["reason"] for event in run.of("task_stopping", "flood")] == ["log_limit"] * 2
    assert (run.outcome("small"), run.outcome("after")) == ("succeeded", "succeeded")
    for attempt, exited in enumerate(run.of("task_exited", "flood"), start=1):
        # The log is checked twenty times a second, and may grow by a gigabyte a second in between.
        assert 2e6 < os.stat(run.directory.log("flood", attempt)).st_size < 400e6
        assert exited["duration"] < 5
    assert "flood failed: log limit" in run.stderr
    assert survivors(run.events) == []


def test_a_line_of_100_mb_with_every_byte_is_exact_in_the_log_and_visible_in_views(tmp_path):
    write(
        tmp_path,
        work="""\
            import os, sys
            def line():
                sys.stdout.buffer.write(bytes(byte for byte in range(256) if byte != 10) * 400_000 + b"\\n")
        """,
        job="tasks: [{name: line, target: 'work:line'}]\n",
    )
    run = mprun("job.yaml", "--output", "none", cwd=tmp_path)
    assert run.code == 0
    log = Path(run.directory.log("line", 1)).read_bytes()
    assert log == bytes(byte for byte in range(256) if byte != 10) * 400_000 + b"\n"
    # JSON is text: other bytes are escaped, and nothing in it controls a terminal.
    reader = start("logs", "--json", "line", cwd=tmp_path)
    beginning = reader.stdout.read(1_000_000)
    reader.kill()
    reader.communicate()
    assert b"\\u001b" in beginning
    assert b"\\\\xff" in beginning
    assert not re.search(rb"[\x00-\x09\x0b-\x1f]", beginning)


def test_an_engine_that_reads_a_flood_handles_signals(tmp_path):
    write(tmp_path, work=FLOODING, job="tasks: [{name: flood, target: 'work:flood_forever', timeout: 20s}]\n")
    engine = start("job.yaml", cwd=tmp_path)
    assert len(os.read(engine.stdout.fileno(), 100_000)) > 0
    engine.terminate()
    run = finish(engine, tmp_path / ".mprun")
    assert (run.code, run.outcome("flood")) == (143, "stopped")
