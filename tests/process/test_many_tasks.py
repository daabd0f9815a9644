"""A run of very many tasks with real processes: nothing accumulates, and nothing is left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.runs import mprun, survivors, write

from mprun.linux import procfs

COUNT = 1200

WORK = """
    import os
    import time

    def descriptors(_number):
        \"\"\"How many the launcher and the engine hold now.\"\"\"
        launcher = os.getppid()
        with open(f"/proc/{launcher}/stat") as file:
            engine = int(file.read().rpartition(")")[2].split()[1])
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (launcher, engine)]

    def noop():
        pass

    def own_descriptors():
        time.sleep(0.3)
        held = {number: os.path.join("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")}
        # libffi keeps a file of its own open in each process that uses it.
        return sorted(number for number, link in held.items()
                      if not (os.path.lexists(link) and "libffi" in os.readlink(link)))
    """


def job(count):
    between = "".join(f"  - {{name: n{number}, target: work:noop}}\n" for number in range(count))
    ends = "  - {{name: {0}, target: work:descriptors, args: [{1}]}}\n"
    return f"tasks:\n{ends.format('first', 1)}{between}{ends.format('last', 2)}"


def test_a_thousand_tasks_leave_nothing_behind(tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    write(tmp_path, work=WORK)
    (tmp_path / "job.yaml").write_text(job(COUNT))
    before = procfs.children()
    run = mprun("-j", 4, "job.yaml", cwd=tmp_path, env={"TMPDIR": str(temporary)})
    assert run.code == 0
    assert len(run.of("task_finished")) == COUNT + 2
    # A pidfd for each running task, its socket and its epoll; a log that is being read.
    first, last = run.result("first"), run.result("last")
    assert all(end <= begin + 4 for begin, end in zip(first, last, strict=True)), (first, last)
    assert not survivors(run.events)
    assert set(procfs.children()) <= set(before)
    assert not os.listdir(temporary)
    results = sorted(path.name for path in Path(run.directory.path, "results").iterdir())
    assert results == ["first.1.json", "last.1.json"]
    logs = os.listdir(Path(run.directory.path, "logs"))
    assert len(logs) == COUNT + 3
    assert sorted(os.listdir(run.directory.path)) == ["events.jsonl", "logs", "results"]


def test_the_view_of_very_many_tasks_lists_those_that_failed(tmp_path):
    write(tmp_path, work="def noop(): pass\n")
    good = "  - target: work:noop\n" * 510
    (tmp_path / "job.yaml").write_text(f"tasks:\n{good}  - {{name: bad, command: ['false']}}\n")
    run = mprun("-j", 4, "job.yaml", cwd=tmp_path)
    assert run.code == 1
    lines = [line for line in run.stderr.splitlines() if line]
    assert len(lines) < 12
    # When it fails, and at the end.
    assert re.search("FAIL +bad  exit 1", lines[1])
    assert lines[2].startswith("TASK")
    assert lines[3].startswith("bad ")
    assert lines[4] == ("510 of 511 tasks (succeeded or skipped) not shown; `mprun show` lists all")
    assert re.search(r"^failed in \S+: 510 succeeded, 1 failed$", run.stderr, re.MULTILINE)
    shown = mprun("show", cwd=tmp_path).stdout
    assert sum(" succeeded " in line for line in shown.splitlines()) == 510


def test_no_task_has_a_descriptor_of_many_that_run_beside_it(tmp_path):
    write(tmp_path, work=WORK)
    (tmp_path / "job.yaml").write_text("tasks:\n" + "  - target: work:own_descriptors\n" * 60)
    run = mprun("-j", 60, "job.yaml", cwd=tmp_path)
    assert run.code == 0
    # The standard ones, those for the launcher's end and for stacks, and the one that lists them.
    found = {tuple(event["result"]) for event in run.of("task_finished")}
    assert len(found) == 1
    assert len(found.pop()) == 6


def test_any_number_of_children_is_counted():
    script = """
import os
from mprun.linux.procfs import ChildList
children, (read, write) = ChildList(), os.pipe()
for number in range(1200):
    if number % 300 == 0:
        assert children.count() == len(children.pids()) == number
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
assert children.count() == len(children.pids()) == 1200
os.close(write)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
