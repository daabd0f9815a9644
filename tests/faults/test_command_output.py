"""What a command has written is in its log, whichever of mprun's processes is killed (row 46)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from support.runs import TIMEOUT, alive, eventually, finish, mprun, newest_run, start, write

from mprun.linux import procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="splice(2) and SCM_RIGHTS are Linux's")

# Lines of 16 bytes with their numbers; `counted` is how many bytes write(2) has accepted.
FLOODING = """\
    import mmap, os, sys, time

    name, size = sys.argv[1], int(sys.argv[2])
    with open(name, "wb") as file:
        file.truncate(8)
    with open(name, "r+b") as file:
        counted = mmap.mmap(file.fileno(), 8)
    number = total = 0
    while True:
        lines = b"".join(b"%015d\\n" % n for n in range(number, number + size))
        number += size
        left = memoryview(lines)
        while left:
            written = os.write(1 + number // size % 2, left)
            left = left[written:]
            total += written
            counted[:8] = total.to_bytes(8, "little")
        if size == 1:
            time.sleep(0.0005)
"""
WHO = {"engine": (0,), "launcher": (1,), "both": (0, 1), "both, the launcher first": (1, 0)}


def counted(path):
    return int.from_bytes(path.read_bytes(), "little") if path.exists() else 0


def children(pid):
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_the_flood(log):
    """Whether these are the lines from 0 on, without a gap; the last one may be torn."""
    lines = log.splitlines(keepends=True)
    whole = lines if lines and lines[-1].endswith(b"\n") else lines[:-1]
    expected = b"".join(b"%015d\n" % number for number in range(len(whole) + 1))
    return expected.startswith(log)


def runs_flood(pid):
    """Whether a process is one of the tasks, and not one of mprun's that drains a task's pipe."""
    try:
        return b"flood.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def begin():
    """Start mprun, and kill it if the test fails before it has: a flood would fill the disk."""
    engines = []

    def begin(*arguments, cwd):
        engines.append(start(*arguments, cwd=cwd))
        return engines[-1]

    yield begin
    for engine in engines:
        with engine:
            engine.kill()


def start_floods(begin, directory, sizes):
    write(
        directory,
        flood=FLOODING,
        job="tasks:\n"
        + "".join(
            f"- {{name: t{n}, command: [{sys.executable}, flood.py, count{n}, '{size}']}}\n"
            for n, size in enumerate(sizes)
        ),
        job_next="tasks: [{target: 'os:getpid'}]\n",
    )
    engine = begin("job.yaml", "--output", "none", cwd=directory)
    counts = [directory / f"count{n}" for n in range(len(sizes))]
    eventually(lambda: all(counted(path) > 1000 for path in counts), TIMEOUT)
    return engine, counts


@pytest.mark.parametrize("who", WHO)
def test_no_byte_that_a_command_has_written_is_lost_by_a_kill(begin, tmp_path, who, rounds):
    """C09: the launcher, the engine or both are killed while commands write a lot, or single lines."""
    for number in range(rounds):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        engine, counts = start_floods(begin, directory, (4000, 1, 37))
        (launcher,) = children(engine.pid)
        ours = [pid for pid in (engine.pid, launcher, *children(launcher)) if alive(pid)]
        assert sum(map(runs_flood, ours)) == 3
        for index in WHO[who]:
            os.kill((engine.pid, launcher)[index], signal.SIGKILL)
        engine.communicate(timeout=TIMEOUT)
        eventually(lambda ours=ours: not any(map(alive, ours)))
        run = newest_run(directory / ".mprun")
        for task, path in enumerate(counts):
            log = Path(run.log(f"t{task}", 1)).read_bytes()
            assert len(log) >= counted(path)
            assert is_the_flood(log)
        if who == "launcher":
            assert engine.returncode == 3


# Blocks of one text again and again, as fast as they are taken, and slowly once there is a file `slow`.
FAST = """\
    import mmap, os, sys, time

    text = b"".join(b"%015d\\n" % n for n in range(1 << 18))
    with open(sys.argv[1], "wb") as file:
        file.truncate(8)
    with open(sys.argv[1], "r+b") as file:
        counted = mmap.mmap(file.fileno(), 8)
    total = 0
    while True:
        begin = total % len(text)
        total += os.write(1, memoryview(text)[begin : begin + 70_001])
        counted[:8] = total.to_bytes(8, "little")
        if os.path.exists("slow"):
            time.sleep(0.01)
"""


def is_the_text(log):
    """Whether this is the text of FAST, again and again, the last time up to any byte."""
    text = b"".join(b"%015d\n" % n for n in range(1 << 18))
    parts = (log[at : at + len(text)] for at in range(0, len(log), len(text)))
    return all(text.startswith(part) for part in parts)


@pytest.mark.parametrize("who", [*WHO, "drainer", "drainer and launcher"])
def test_no_byte_of_a_flood_that_has_a_process_of_its_own_is_lost_by_a_kill(begin, tmp_path, who):
    """C09: the process that drains it, the launcher or the engine is killed."""
    write(
        tmp_path,
        fast=FAST,
        job=f"tasks: [{{name: fast, command: [{sys.executable}, fast.py, count]}}]\n",
    )
    engine = begin("job.yaml", "--output", "none", cwd=tmp_path)
    count = tmp_path / "count"
    (launcher,) = eventually(lambda: children(engine.pid), TIMEOUT)

    def find_drainers():
        named = [pid for pid in children(launcher) if procfs.read_name(pid) == "mprun-output"]
        return named[1:]

    def kill_drainer():
        """The pid of the drainer that was killed; None if it has ended before, as each does after a time."""
        for drainer in find_drainers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(drainer, signal.SIGKILL)
                return drainer
        return None

    eventually(find_drainers, TIMEOUT)
    if "drainer" in who:
        # There are fewer new ones now.
        (tmp_path / "slow").touch()
        drainer = eventually(kill_drainer, TIMEOUT)
    ours = [engine.pid, launcher, *children(launcher)]
    if who == "drainer":
        before = counted(count)
        eventually(lambda: counted(count) > before + 1_000_000 and not alive(drainer), TIMEOUT)
        engine.terminate()
    elif who == "drainer and launcher":
        os.kill(launcher, signal.SIGKILL)
    for index in WHO.get(who, ()):
        os.kill((engine.pid, launcher)[index], signal.SIGKILL)
    engine.communicate(timeout=TIMEOUT)
    eventually(lambda: not any(map(alive, ours)))
    log = Path(newest_run(tmp_path / ".mprun").log("fast", 1)).read_bytes()
    assert len(log) >= counted(count)
    assert is_the_text(log)


def test_a_start_after_a_kill_of_both_waits_until_the_output_is_saved(begin, tmp_path):
    """The process that saves it is neither killed nor named as one that was left."""
    engine, _ = start_floods(begin, tmp_path, (1, 1))
    (launcher,) = children(engine.pid)
    keeper, *_ = (pid for pid in children(launcher) if procfs.read_name(pid) == "mprun-output")
    # It cannot finish before the next start looks for processes.
    os.kill(keeper, signal.SIGSTOP)
    os.kill(launcher, signal.SIGKILL)
    engine.kill()
    engine.communicate(timeout=TIMEOUT)
    after = start("job_next.yaml", cwd=tmp_path)
    eventually(lambda: list((tmp_path / ".mprun" / "runs").glob("*")))
    os.kill(keeper, signal.SIGCONT)
    run = finish(after, tmp_path / ".mprun")
    assert run.code == 0
    assert "found no processes of it" in run.stderr
    assert not alive(keeper)


@pytest.mark.parametrize("point", ["launcher.forked", "launcher.reaped"])
def test_of_a_silent_command_that_was_not_reported_it_is_known_that_it_had_a_process(tmp_path, point):
    write(
        tmp_path,
        job="""\
            max_parallel: 1
            tasks:
            - {name: a, command: 'true'}
            - {name: b, command: 'true'}
            - {name: c, command: 'true'}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path, env={"MPRUN_FAILPOINTS": f"{point}=kill:2"})
    assert (run.code, run.outcome("b"), run.outcome("c")) == (3, "unknown", "cancelled")


def test_a_command_for_which_there_was_no_process_has_not_begun(tmp_path):
    """Its start is tried again and again; in the meantime the engine is killed."""
    write(
        tmp_path,
        work="""\
            import errno, os
            from mprun.launcher import fork

            def no_room():
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

            fork.fork = no_room

            def run():
                pass
        """,
        job="""\
            tasks:
            - {name: a, command: touch ran}
            - {name: b, target: 'work:run', depends_on: a}
        """,
    )
    engine = start("job.yaml", cwd=tmp_path)
    noted = eventually(lambda: [*(tmp_path / ".mprun/runs").glob("*/logs/begun")])[0]
    eventually(lambda: noted.read_text().split()[-1:] == ["-a.1.log"])
    engine.kill()
    engine.communicate(timeout=TIMEOUT)
    write(tmp_path, work="def run():\n    pass\n")
    run = mprun("resume", cwd=tmp_path)
    assert (run.code, run.outcome("a"), (tmp_path / "ran").exists()) == (0, "succeeded", True)


def test_a_silent_command_has_no_log_if_the_launcher_is_killed(tmp_path):
    """Nor have those before it, whose pipes the process that saves the output still has."""
    write(
        tmp_path,
        job="""\
            max_parallel: 2
            tasks:
            - {name: before, command: 'true', matrix: {n: [1, 2, 3]}}
            - {name: prints, command: 'echo one; touch printed; sleep 60', depends_on: before}
            - {name: silent, command: 'touch began; sleep 60', depends_on: before}
        """,
    )
    engine = start("job.yaml", cwd=tmp_path)
    eventually(lambda: (tmp_path / "began").exists() and (tmp_path / "printed").exists())
    (launcher,) = children(engine.pid)
    helpers = children(launcher)
    os.kill(launcher, signal.SIGKILL)
    run = finish(engine, tmp_path / ".mprun")
    eventually(lambda: not any(map(alive, helpers)))
    assert (run.code, run.log("prints")) == (3, b"one\n")
    assert {each.name for each in Path(run.directory.path, "logs").glob("*.1.log")} == {"prints.1.log"}


def test_nothing_is_left_of_a_job_with_commands(tmp_path):
    write(tmp_path, job="tasks: [{name: a, command: 'echo a; ps --ppid $PPID -o pid,comm > ps'}]\n")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    (keeper,) = [
        int(line.split()[0])
        for line in (tmp_path / "ps").read_text().splitlines()
        if line.endswith(" mprun-output")
    ]
    assert not alive(keeper)


def test_a_log_that_cannot_be_written_fails_the_task_and_the_record_says_why(tmp_path):
    """C09: its bytes are lost, so it has not succeeded, whatever it exits with; the others continue."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    write(
        tmp_path,
        limit=f"{limit}\ndef nothing(): pass\n",
        job="""\
            tasks:
            - {name: nothing, target: 'limit:nothing'}
            - {name: flood, command: 'head -c 1000000 /dev/zero; sleep 0.1; head -c 1000000 /dev/zero; true'}
            - {name: quiet, command: 'head -c 300000 /dev/zero 2> /dev/null || exit 0'}
            - name: service
              command: 'trap "" PIPE; head -c 300000 /dev/zero 2> /dev/null; touch served; sleep 60'
              daemon: true
              ready: {file: served}
            - {name: other, command: 'echo fine', depends_on: {flood: finished, service: ready}}
        """,
    )
    run = mprun("job.yaml", "--output", "none", cwd=tmp_path)
    assert run.code == 1
    # A service that is stopped at the end of the run, too.
    for task in ("flood", "quiet", "service"):
        finished = run.one("task_finished", task)
        assert finished["outcome"] == "failed"
        assert finished["reason"].endswith("its log could not be written: File too large")
        assert run.log(task) == bytes(200_000)
    assert run.outcome("other") == "succeeded"
    assert run.log("other") == b"fine\n"


def test_a_command_has_a_log_once_it_prints_something(tmp_path):
    write(
        tmp_path,
        job="""\
            tasks:
            - {name: silent, command: 'true', retry: 1}
            - {name: fails, command: [sh, -c, 'exit 3'], retry: 1, allow_failure: true}
            - {name: prints, command: echo one}
            - {name: captured, command: echo two, capture: text}
            - {name: missing, command: [./missing], allow_failure: true}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    logs = Path(run.directory.path, "logs")
    assert {each.name for each in logs.glob("*.log")} == {
        *("prints.1.log", "captured.1.log", "missing.1.log", "main.log")
    }
    assert run.log("captured") == b"two\n"
    # What has had a process is known without a log.
    noted = (logs / "begun").read_text().split()
    names = ["silent.1", "fails.1", "fails.2", "prints.1", "captured.1", "missing.1"]
    assert sorted(noted) == sorted(f"{name}.log" for name in names)
    assert mprun("logs", "silent", cwd=tmp_path).code == 0
    tasks = json.loads(mprun("show", "--json", cwd=tmp_path).stdout)["tasks"]
    assert [task["log"] for task in tasks if task["task"] == "silent"] == [None]


@pytest.mark.parametrize("how", ["rm", "mv -t moved"])
def test_a_command_runs_after_another_one_has_removed_what_is_in_the_logs(tmp_path, how):
    (tmp_path / "moved").mkdir()
    write(
        tmp_path,
        job=f"""\
            tasks:
            - {{name: first, command: '{how} .mprun/runs/*/logs/*'}}
            - {{name: second, command: 'true', depends_on: first}}
            - {{name: third, command: echo three, depends_on: second}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.log("third") == b"three\n"
    assert Path(run.directory.path, "logs", "begun").read_text().split() == ["second.1.log", "third.1.log"]


def test_a_command_that_cannot_be_noted_has_a_log_at_once(tmp_path):
    write(
        tmp_path,
        work="""\
            import glob, os

            def plant():
                os.mkdir(glob.glob(".mprun/runs/*/logs")[0] + "/begun")
        """,
        job="""\
            tasks:
            - {name: first, target: 'work:plant'}
            - {name: silent, command: 'true', depends_on: first}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert Path(run.directory.log("silent", 1)).read_bytes() == b""


def test_the_first_command_after_the_logs_were_removed_fails_and_says_why(tmp_path):
    write(
        tmp_path,
        work="""\
            import glob, shutil

            def remove():
                shutil.rmtree(glob.glob(".mprun/runs/*/logs")[0])
        """,
        job="""\
            tasks:
            - {name: first, target: 'work:remove'}
            - {name: silent, command: 'true', depends_on: first}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    assert "its log cannot be created: No such file or directory" in run.stderr


def test_a_command_that_removes_the_logs_succeeds_and_the_next_one_has_none_and_fails(tmp_path):
    """What it prints is lost with its log; one that can have no log does not run, and mprun says why."""
    remove = "rm -r .mprun/runs/*/logs; echo one; sleep 0.1; seq 9999"
    write(
        tmp_path,
        job=f"""\
            tasks:
            - {{name: first, command: '{remove}'}}
            - {{name: next, command: 'touch ran', depends_on: first}}
        """,
    )
    run = mprun("job.yaml", "--output", "none", cwd=tmp_path)
    assert (run.code, run.outcome("first")) == (1, "succeeded")
    assert "its log cannot be created: No such file or directory" in run.stderr
    assert not (tmp_path / "ran").exists()
