"""Real runs whose order follows from the durations of earlier runs."""

import re

import pytest
from support.runs import mprun, write

# The chain is last in the file and takes longest; all tasks depend on the gate.
JOB = """
    max_parallel: 2
    tasks:
      - {name: gate, target: 'work:gate'}
      - {name: single, target: 'work:nap', args: [0.1], matrix: {n: [1, 2, 3, 4]}, depends_on: gate}
      - {name: a, target: 'work:nap', args: [0.2], depends_on: gate}
      - {name: b, target: 'work:nap', args: [0.2], depends_on: a}
      - {name: c, target: 'work:nap', args: [0.2], depends_on: b}
    """
WORK = """
    import os
    import time

    def gate():
        if os.path.exists("closed"):
            raise ValueError("closed")

    def nap(seconds):
        time.sleep(seconds)
    """


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, job=JOB, work=WORK)
    return tmp_path


def starts(run):
    """The first two tasks that start after the gate, in any order."""
    return {event["task"] for event in run.of("task_started")[1:3]}


def test_second_run_starts_the_longest_chain_first(desk):
    first = mprun("job.yaml", cwd=desk)
    second = mprun("job.yaml", cwd=desk)
    assert (first.code, second.code) == (0, 0)
    assert starts(first) == {"single[n=1]", "single[n=2]"}
    assert "a" in starts(second)
    # The file decides on the join order.
    joined = [[event["task"] for event in run.of("task_joined")] for run in (first, second)]
    assert joined[0] == joined[1]


def test_resumed_run_uses_the_durations_of_earlier_runs(desk):
    assert mprun("job.yaml", cwd=desk).code == 0
    (desk / "closed").touch()
    assert mprun("job.yaml", cwd=desk).code == 1
    (desk / "closed").unlink()
    resumed = mprun("resume", cwd=desk)
    assert resumed.code == 0
    assert "a" in starts(resumed)


def test_corrupt_record_is_ignored(desk):
    assert mprun("job.yaml", cwd=desk).code == 0
    (record,) = desk.glob(".mprun/runs/*/events.jsonl")
    record.write_bytes(record.read_bytes()[:1000] + b"\xff\n\x00{")
    run = mprun("job.yaml", cwd=desk)
    assert (run.code, starts(run)) == (0, {"single[n=1]", "single[n=2]"})
    assert "warning" not in run.stderr


def test_plan_shows_the_order_of_the_next_run(desk):
    assert "expected" not in mprun("plan", "job.yaml", cwd=desk).stdout
    assert not (desk / ".mprun").exists()
    mprun("job.yaml", cwd=desk)
    lines = mprun("plan", "job.yaml", cwd=desk).stdout.splitlines()
    assert re.fullmatch(r"expected: \d+\.\d+s from 1 earlier run, critical path first", lines[1])
    assert re.fullmatch(r"critical path: gate > a > b > c, \d+\.\d+s", lines[2])
    assert lines[3].startswith("   1. gate")
    assert lines[4].startswith("   2. a")
    elsewhere = mprun("plan", "job.yaml", "--state-dir", "none", cwd=desk)
    assert "expected" not in elsewhere.stdout
    # A sequential run takes the same time in any order.
    assert "critical path first" not in mprun("plan", "job.yaml", "-j", "1", cwd=desk).stdout
