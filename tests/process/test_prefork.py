"""A chain of tasks: the launcher starts the next one by itself, in a process that it has forked ahead."""

import contextlib
import datetime
import json
import math
import os
import statistics
import textwrap

import pytest
from support.runs import (
    START_METHODS,
    alive,
    events_so_far,
    eventually,
    finish,
    mprun,
    start,
    write,
)

from mprun.launcher import fork

WORK = """
    import contextlib
    import os
    import signal
    import time

    def children(pid):
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return {int(pid) for pid in file.read().split()}

    def look():
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        names = {name for name in os.listdir("/proc/self/fd")}
        return {"ticks": ticks, "descriptors": sorted(names), "task": os.environ["MPRUN_TASK"]}

    def fail():
        raise ValueError

    def kill_the_preforked_process():
        for pid in children(os.getppid()) - {os.getpid()}:
            # On a busy machine, it may have waited for too long: the launcher ends and reaps it then.
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(pid, signal.SIGKILL)
                while "Z" not in open(f"/proc/{pid}/stat").read().rpartition(")")[2]:
                    time.sleep(0.001)

    def wait_and_count():
        time.sleep(0.5)
        before = len(children(os.getppid()))
        time.sleep(1.5)
        return [before, len(children(os.getppid()))]

    def note():
        with open("ran", "a") as file:
            print(os.environ["MPRUN_TASK"], file=file)

    def touch(name):
        open(name, "w").close()

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.01)

    def forever():
        open("up", "w").close()
        time.sleep(60)
    """

# How many runs may fork nothing ahead: they do it only if starts follow each other quickly.
TRIES = 10


def chain(*functions, **more):
    """A job of tasks named t0, t1 and so on, each after the one before it."""
    tasks = [
        {
            "name": f"t{number}",
            "target": f"work:{function}",
            "depends_on": [f"t{number - 1}"] if number else [],
        }
        for number, function in enumerate(functions)
    ]
    return json.dumps({**more, "tasks": tasks})


def ends(run):
    return [event["outcome"] for event in run.of("task_finished")]


@pytest.mark.parametrize("method", START_METHODS)
def test_each_task_of_a_chain_starts_after_the_one_before_it_has_ended(method, tmp_path):
    write(tmp_path, job=chain(*["look"] * 12, start_method=method), work=WORK)
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, ends(run)) == (0, ["succeeded"] * 12)
    kinds = [(event["event"], event["task"]) for event in run.events if event["event"].startswith("task_")]
    events = ("task_started", "task_exited", "task_finished", "task_joined")
    assert kinds == [(event, f"t{number}") for number in range(12) for event in events]
    for number in range(12):
        name = f"t{number}"
        seen = run.result(name)
        # Neither the facts of a task nor its descriptors show that its process was forked ahead.
        assert seen["task"] == name
        assert seen["ticks"] == run.one("task_started", name)["start_ticks"]
        assert seen["descriptors"] == run.result("t0")["descriptors"]
    starts = [event["time"] for event in run.of("task_started")]
    assert starts[1:] >= [event["time"] for event in run.of("task_exited")][:-1]


@pytest.mark.parametrize("method", START_METHODS)
def test_dependents_of_a_failed_task_never_run(method, tmp_path):
    write(tmp_path, job=chain("note", "note", "fail", "note", "note", start_method=method), work=WORK)
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    assert ends(run) == ["succeeded", "succeeded", "failed", "skipped", "skipped"]
    assert (tmp_path / "ran").read_text().split() == ["t0", "t1"]
    assert not os.path.exists(run.directory.log("t3", 1))


@pytest.mark.parametrize("at_import", ["", "signal.signal(signal.SIGPIPE, signal.SIG_DFL)"])
def test_killing_a_preforked_process_does_not_end_its_task(at_import, tmp_path):
    functions = ["note", "note", "kill_the_preforked_process"] * 5 + ["note"]
    write(tmp_path, job=chain(*functions), work=textwrap.dedent(WORK) + at_import)
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, ends(run)) == (0, ["succeeded"] * 16)
    assert (tmp_path / "ran").read_text().split() == [f"t{n}" for n in range(16) if functions[n] == "note"]


def test_a_preforked_process_does_not_wait_for_long(tmp_path):
    write(tmp_path, job=chain("note", "note", "note", "wait_and_count", "note"), work=WORK)
    for _ in range(TRIES):
        run = mprun("job.yaml", cwd=tmp_path)
        assert run.code == 0
        if run.result("t3") != [1, 1]:
            break
    # The task itself and the process for t4; then only the task itself.
    assert run.result("t3") == [2, 1]


@pytest.mark.parametrize("who", ["engine", "launcher"])
def test_a_preforked_process_ends_with_the_run(who, tmp_path):
    process, launcher, pids = forked_ahead(tmp_path)
    os.kill(process.pid if who == "engine" else launcher, 9)
    eventually(lambda: not any(alive(pid) for pid in pids))
    finish(process, tmp_path / ".mprun")
    assert (tmp_path / "ran").read_text().split() == ["t0", "t1", "t2"]


def forked_ahead(directory):
    """A run with a running task and a process that was forked ahead, its launcher, and the pids of both."""
    for number in range(TRIES):
        state_dir = directory / str(number)
        write(directory, job=chain("note", "note", "note", "forever", "note"), work=WORK)
        process = start("job.yaml", cwd=directory, env={"MPRUN_STATE_DIR": str(state_dir)})
        eventually((directory / "up").exists)
        launcher = events_so_far(state_dir)[0]["main_pid"]
        # One that is not there soon does not come.
        with contextlib.suppress(AssertionError):
            eventually(lambda launcher=launcher: len(children(launcher)) == 2, 0.5)
        if len(pids := children(launcher)) == 2:
            return process, launcher, pids
        process.terminate()
        finish(process, state_dir)
        for name in ("up", "ran"):
            (directory / name).unlink()
    raise AssertionError("no process was forked ahead")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(pid) for pid in file.read().split()]


class Waiter:
    """Replaces a task's process: it only waits at its barrier."""

    def _bootstrap(self, _sentinel, barrier):
        os.read(barrier, 8)
        return 0


@pytest.mark.parametrize("reaped", [False, True])
def test_a_held_fork_that_is_gone_is_not_released_and_can_be_discarded(reaped):
    held = fork.HeldFork(Waiter())
    os.kill(held.pid, 9)
    if reaped:
        os.waitpid(held.pid, 0)
    else:
        os.waitid(os.P_PID, held.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ChildProcessError):
        held.release()
    held.discard()
    assert not os.path.exists(f"/proc/{held.pid}")


def test_a_held_fork_ends_with_its_attempt_once_it_is_released():
    held = fork.HeldFork(Waiter())
    assert held.poll() is None
    held.release()
    assert held.poll(0) == 0
    held.close()


def gap(run):
    """The median time from the end of one task of the chain to the start of the next, in seconds."""
    times = {
        (event["event"], event["task"]): datetime.datetime.fromisoformat(event["time"]).timestamp()
        for event in run.events
        if event["event"] in ("task_started", "task_exited")
    }
    pairs = [(("task_exited", f"c{n}"), ("task_started", f"c{n + 1}")) for n in range(19)]
    return statistics.median(times[start] - times[end] for end, start in pairs)


def test_a_request_that_waits_for_a_long_task_does_not_delay_others(tmp_path):
    """The least of up to five runs of each, in turn, because a busy machine lengthens some of them."""
    write(tmp_path, work=WORK)
    least = {False: math.inf, True: math.inf}
    for _ in range(5):
        for held in least:
            (tmp_path / "job.yaml").write_text(json.dumps({"tasks": chain_beside_a_long_task(held)}))
            (tmp_path / "over").unlink(missing_ok=True)
            run = mprun("job.yaml", cwd=tmp_path)
            assert run.code == 0
            least[held] = min(least[held], gap(run))
        if least[True] < least[False] + 0.005:
            break
    assert least[True] < least[False] + 0.005


def chain_beside_a_long_task(held):
    """A chain, and a task that ends after it; if `held`, the request for another one waits for that."""
    tasks = [{"name": "long", "target": "work:wait_for", "args": ["over"]}]
    tasks += [{"name": "next", "target": "work:note", "depends_on": "long"}] * held
    for n in range(20):
        after = {"depends_on": f"c{n - 1}"} if n else {}
        # Only the engine can decide whether that is a success.
        expect = {"expect": {"output": "^$"}}
        tasks.append({"name": f"c{n}", "target": "time:sleep", "args": [0], **expect, **after})
    return [*tasks, {"name": "over", "target": "work:touch", "args": ["over"], "depends_on": "c19"}]
