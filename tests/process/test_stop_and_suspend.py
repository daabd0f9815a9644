"""`mprun stop` from another terminal, and Ctrl-Z, with real runs and signals."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from support.other_user import can_be_nobody, start_as_nobody
from support.pythons import forked_on_each
from support.runs import (
    START_METHODS,
    alive,
    complaint,
    environment,
    eventually,
    finish,
    mprun,
    start,
    write,
    written,
)
from support.timing import assert_quick

from mprun.engine.control_requests import SUSPEND_TIMEOUT_SECONDS
from mprun.engine.signals import REPEAT_SECONDS
from mprun.launcher import task_trees, tree_stops
from mprun.linux import procfs
from mprun.linux.run_tags import task_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

WORK = """\
    import os, signal, subprocess, sys, time

    def note(name, text="x"):
        with open(name, "a") as file:
            file.write(f"{text}\\n")

    def stay(name="stay"):
        note(f"{name}.pid", os.getpid())
        while True:
            signal.pause()

    def ignores_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stay("ignores_sigterm")

    def fail():
        raise SystemExit(3)

    def items():
        return [1, 2]

    def end(number=0):
        note("ended", number)

    def wait_for(path):
        note("waits", os.getpid())
        while not os.path.exists(path):
            time.sleep(0.005)

    def tick(name):
        # Counts what it does, for as long as it may.
        file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        while not os.path.exists("enough"):
            os.write(file, b".")
            time.sleep(0.01)

    def family():
        # A child in a session of its own, whose parent has ended.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                note("family.pid", os.getpid())
                tick("grandchild")
            os._exit(0)
        os.wait()
        note("family.pid", os.getpid())
        tick("child")

    def breed():
        # New children all the time, each with one of its own, until there is enough.
        while not os.path.exists("enough"):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(0.02)
                os._exit(0)
            os.waitpid(-1, 0)
            note("bred")
"""


@pytest.fixture
def go(tmp_path, crash_target):
    def start_run(job, *arguments, more=None, directory=tmp_path, **options):
        write(directory, work=WORK, job=job, **(more or {}))
        return crash_target(directory, "job.yaml", *arguments, **options)

    return start_run


def stop(*arguments, cwd):
    return mprun("stop", *arguments, cwd=cwd)


def run_id(directory):
    return os.listdir(directory / ".mprun" / "runs")[0]


# ---- mprun stop TASK

TWO = """\
    tasks:
    - {name: stay, target: 'work:stay'}
    - {name: other, target: 'work:wait_for', args: [go]}
"""


@pytest.mark.once
def test_running_task_is_stopped_and_the_others_continue(go, tmp_path):
    run = go(TWO)
    eventually((tmp_path / "stay.pid").exists)
    done = stop("stay", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "`stay` stopped by user\n")
    assert run.engine.poll() is None
    (tmp_path / "go").touch()
    ended = run.finish()
    assert ended.code == 1
    assert (ended.outcome("stay"), ended.outcome("other")) == ("stopped", "succeeded")
    assert ended.one("run_finished")["outcome"] == "failed"
    assert "Stopping:" not in ended.stderr
    assert ended.one("task_stopping", "stay")["reason"] == "user"
    assert ended.one("run_finished")["reason"] == "`stay` was stopped by user"
    lines = ended.stderr.splitlines()
    assert any("STOP      stay  stopped by user after " in line for line in lines)
    assert "stay stopped by user" in lines
    assert any(line.startswith("failed (`stay` was stopped by user) in ") for line in lines)


@pytest.mark.once
def test_quiet_run_says_which_tasks_were_stopped_or_cancelled(go, tmp_path):
    run = go(TWO + "    - {name: later, target: 'work:end', depends_on: other}\n", "-q")
    run.until("task_started", count=2)
    assert stop("later", "stay", cwd=tmp_path).code == 0
    (tmp_path / "go").touch()
    lines = run.finish().stderr.splitlines()
    assert {"stay stopped by user", "later cancelled: stopped by user"} < set(lines)
    assert any(line.startswith("failed (`stay` was stopped by user, and 1 more) in ") for line in lines)


@pytest.mark.once
def test_run_with_a_stopped_task_that_a_signal_ends_is_interrupted(go, tmp_path):
    run = go(TWO)
    run.until("task_started", count=2)
    assert stop("stay", cwd=tmp_path).code == 0
    run.engine.send_signal(signal.SIGINT)
    ended = run.finish()
    assert ended.code == 130
    line = "Stopping: 1 task has 5s to finish (other)."
    assert ended.stderr.splitlines().count(line) == 1


@pytest.mark.once
def test_waiting_task_is_cancelled_with_its_dependents(go, tmp_path):
    run = go(
        TWO + "    - {name: later, target: 'work:end', depends_on: other}\n"
        "    - {name: last, target: 'work:end', depends_on: later}\n"
    )
    run.until("task_started", count=2)
    assert stop("later", cwd=tmp_path).stderr == "`later` cancelled: stopped by user\n"
    assert stop("stay", cwd=tmp_path).code == 0
    (tmp_path / "go").touch()
    ended = run.finish()
    assert ended.code == 1
    assert (ended.outcome("later"), ended.outcome("last")) == ("cancelled", "skipped")
    assert not (tmp_path / "ended").exists()


@pytest.mark.once
def test_stopped_task_between_two_attempts_is_not_retried(go, tmp_path):
    run = go("tasks: [{name: again, target: 'work:fail', retry: {retries: 3, delay: 600}}]\n")
    run.until("task_retrying")
    done = stop("again", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "`again` failed: exit 3 (SystemExit: 3)\n")
    ended = run.finish()
    assert (ended.code, len(ended.of("task_started"))) == (1, 1)


@pytest.mark.once
@pytest.mark.parametrize("restart", ["always", "on-failure"])
def test_daemon_with_restart_is_stopped_for_good(go, tmp_path, restart):
    run = go(
        TWO + f"    - {{name: beat, target: 'work:stay', args: [beat], daemon: true, restart: {restart}}}\n"
    )
    eventually((tmp_path / "beat.pid").exists)
    assert stop("beat", "stay", cwd=tmp_path).code == 0
    (tmp_path / "go").touch()
    ended = run.finish()
    assert (ended.code, ended.outcome("beat")) == (1, "stopped")
    assert (len(ended.of("task_started", "beat")), ended.of("task_retrying")) == (1, [])


MANY = """\
    tasks:
    - {name: items, target: 'work:items'}
    - {name: group, foreach: '${tasks.items.result}', target: 'work:stay', args: ['${item}']}
    - {name: other, target: 'work:wait_for', args: [go]}
"""


@pytest.mark.once
@pytest.mark.parametrize("names", [["group"], ["group[[]*"], ["gro*"], ["group[0]", "group[1]"]])
def test_group_name_or_pattern_stops_all_of_its_tasks(go, tmp_path, names):
    if names == ["group[[]*"]:
        names = ["gr?up[*"]
    run = go(MANY)
    run.until("task_started", count=4)
    done = stop(*names, cwd=tmp_path)
    assert done.code == 0, done.stderr
    (tmp_path / "go").touch()
    ended = run.finish()
    assert [ended.outcome(f"group[{n}]") for n in (0, 1)] == ["stopped", "stopped"]
    assert (ended.code, ended.outcome("other")) == (1, "succeeded")


@pytest.mark.once
def test_unknown_name_is_an_error_and_the_known_tasks_are_stopped(go, tmp_path):
    run = go(TWO)
    run.until("task_started", count=2)
    done = stop("stay", "missing", "no*", cwd=tmp_path)
    assert done.code == 2
    assert f"error: run {run_id(tmp_path)} has no task `missing`, `no*`" in done.stderr
    assert "`stay` stopped" in done.stderr
    (tmp_path / "go").touch()
    assert run.finish().outcome("other") == "succeeded"


@pytest.mark.once
def test_finished_task_is_reported_as_finished(go, tmp_path):
    run = go(
        TWO
        + "    - {name: soon, target: 'work:end'}\n    - {name: then, target: 'work:end', depends_on: soon}\n"
    )
    run.until("task_finished", "then")
    done = stop("soon", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "`soon` had already finished\n")
    assert stop("stay", cwd=tmp_path).code == 0
    (tmp_path / "go").touch()
    assert run.finish().outcome("soon") == "succeeded"


def test_task_that_ignores_the_signal_is_killed_after_its_grace(go, tmp_path):
    run = go("tasks: [{name: ignores_sigterm, target: 'work:ignores_sigterm', stop: {grace: 300ms}}]\n")
    pid = int(written(tmp_path / "ignores_sigterm.pid"))
    done = stop("ignores_sigterm", cwd=tmp_path)
    assert done.code == 0, done.stderr
    ended = run.finish()
    assert [event["signal"] for event in ended.of("task_stopping")] == ["SIGTERM", "SIGKILL"]
    assert (ended.code, ended.outcome("ignores_sigterm"), ended.one("task_exited")["signal"]) == (
        1,
        "stopped",
        "SIGKILL",
    )
    assert not alive(pid)


@pytest.mark.once
def test_stopped_tasks_are_one_json_object(go, tmp_path):
    run = go(
        "tasks: [{name: stay, target: 'work:stay'}, {name: early, target: 'work:wait_for', args: [go]}]\n"
    )
    (tmp_path / "go").touch()
    run.until("task_finished", "early")
    eventually((tmp_path / "stay.pid").exists)
    done = stop("stay", "early", "missing", "--json", cwd=tmp_path)
    answer = json.loads(done.stdout)
    error = f"error: run {run_id(tmp_path)} has no task `missing`; known tasks: `early`, `stay`\n"
    assert (done.code, complaint(done.stderr)) == (2, error)
    ended = run.finish()
    assert answer.pop("outcome") in ("running", ended.one("run_finished")["outcome"])
    assert answer.pop("exit_code") in (None, ended.code)
    assert answer == {
        "run": run_id(tmp_path),
        "stopped": [{"task": "stay", "outcome": "stopped", "reason": "user"}],
        "finished": ["early"],
        "unknown": ["missing"],
    }


# ---- mprun stop of the run


@pytest.mark.once
def test_stopped_run_is_one_json_object(go, tmp_path):
    run = go(TWO)
    run.until("task_started", count=2)
    done = stop("--json", cwd=tmp_path)
    assert run.finish().code == 143
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "run": run_id(tmp_path),
        "outcome": "interrupted",
        "exit_code": 143,
        "stopped": [{"task": name, "outcome": "stopped", "reason": "user"} for name in ("stay", "other")],
        "finished": [],
        "unknown": [],
    }


def test_whole_run_is_stopped(go, tmp_path):
    run = go(TWO)
    run.until("task_started", count=2)
    done = stop(cwd=tmp_path)
    assert (done.code, done.stderr) == (0, f"run {run_id(tmp_path)}: interrupted\n")
    ended = run.finish()
    assert (ended.code, ended.one("run_finished")["exit_code"]) == (143, 143)
    assert "Stopping:" in ended.stderr


@pytest.mark.once
def test_second_stop_kills_the_run(go, tmp_path):
    run = go("tasks: [{name: ignores_sigterm, target: 'work:ignores_sigterm', stop: {grace: 600}}]\n")
    eventually((tmp_path / "ignores_sigterm.pid").exists)
    first = start("stop", cwd=tmp_path)
    run.until("task_stopping")
    # C15: two signals at once would be one.
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + REPEAT_SECONDS)
    second = stop("--run", run_id(tmp_path), cwd=tmp_path)
    assert (second.code, finish(first, tmp_path / ".mprun").code, run.finish().code) == (0, 0, 143)


@pytest.mark.once
def test_run_is_selected_by_a_prefix_of_its_id(go, tmp_path):
    run = go(TWO)
    run.until("task_started", count=2)
    assert stop("--run", run_id(tmp_path)[:-2], "stay", cwd=tmp_path).code == 0
    assert stop("--run", "2001", cwd=tmp_path).code == 2
    assert stop("--run", run_id(tmp_path)[:12], cwd=tmp_path).code == 0
    assert run.finish().code == 143


@pytest.mark.once
@pytest.mark.parametrize("arguments", [[], ["stay"], ["--run"], ["stay", "--run"]])
def test_finished_run_cannot_be_stopped(tmp_path, arguments):
    write(tmp_path, job="tasks: [{name: stay, target: 'os:getpid'}]\n")
    run = mprun("job.yaml", cwd=tmp_path)
    named = arguments[-1:] == ["--run"]
    done = stop(*arguments, *([run.directory.run_id] if named else []), cwd=tmp_path)
    assert done.code == 2
    assert ("has finished" if named else "no active run in .mprun") in done.stderr


@pytest.mark.once
@pytest.mark.parametrize("arguments", [[], ["stay"], ["--run", "20260101"]])
def test_stop_without_an_active_run_is_an_error(tmp_path, arguments):
    assert stop(*arguments, cwd=tmp_path).code == 2


@pytest.mark.once
def test_no_process_is_signalled_if_the_engine_is_gone(tmp_path):
    """Its pid may belong to another process by now; here to this test's."""
    write(tmp_path, job="tasks: [{name: stay, target: 'os:getpid'}]\n")
    record = Path(mprun("job.yaml", cwd=tmp_path).directory.events)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    lines[0]["pid"] = lines[1]["pid"] = os.getpid()
    record.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]))
    came = []
    before = {
        number: signal.signal(number, lambda *_: came.append(1))
        for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        for arguments in ([], ["stay"], ["--run", record.parent.name]):
            assert stop(*arguments, cwd=tmp_path).code == 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert came == []


def test_run_in_a_thread_gets_no_signal_that_would_kill_its_program(tmp_path):
    write(
        tmp_path,
        work=WORK,
        job=TWO,
        script="""\
            import mprun, threading
            job = mprun.load_job("job.yaml")
            thread = threading.Thread(target=lambda: print(mprun.run_job(job).exit_code))
            thread.start()
            thread.join()
        """,
    )
    command = [sys.executable, "script.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE) as program:
        pid = int(written(tmp_path / "stay.pid"))
        try:
            eventually((tmp_path / "waits").exists)
            for arguments in (["stay"], []):
                done = stop(*arguments, cwd=tmp_path)
                assert done.code == 3, done.stderr
                assert "does not handle signals" in done.stderr
            assert program.poll() is None
        finally:
            os.kill(pid, signal.SIGKILL)
            (tmp_path / "go").touch()
        assert program.communicate(timeout=20)[0] == b"1\n"


only_root = pytest.mark.skipif(not can_be_nobody(), reason="only root can be another user, by setpriv(1)")


@pytest.mark.once
@only_root
@pytest.mark.parametrize("arguments", [[], ["stay"]])
def test_another_user_cannot_stop_a_run(go, tmp_path, arguments):
    run = go(TWO)
    run.until("task_started", count=2)
    done = finish(start_as_nobody("stop", *arguments, cwd=tmp_path), tmp_path / ".mprun")
    assert done.code == 2
    assert "`.mprun` belongs to another user (uid 0); " in done.stderr
    assert run.engine.poll() is None


@pytest.mark.once
@only_root
def test_root_can_see_the_run_of_another_user_but_not_stop_it_or_its_tasks(go, tmp_path):
    """C51"""
    tmp_path.chmod(0o777)
    run = go(TWO, launch=start_as_nobody)
    run.until("task_started", count=2)
    assert mprun("show", cwd=tmp_path).code == 0
    for words in ((), ("stay",), ("--run", run_id(tmp_path))):
        done = stop(*words, cwd=tmp_path)
        assert done.code == 2
        assert "`.mprun` belongs to another user (uid 65534); " in done.stderr
        assert run.engine.poll() is None
    assert finish(start_as_nobody("stop", cwd=tmp_path), tmp_path / ".mprun").code == 0
    assert run.finish().code == 143


# ---- Ctrl-Z


def suspend(run):
    """Suspend the run as a terminal does; returns when the engine is suspended."""
    run.engine.send_signal(signal.SIGTSTP)
    eventually(lambda: procfs.read_stat(run.engine.pid).state == "T")


def resume_run(run):
    run.engine.send_signal(signal.SIGCONT)


def states(pids):
    stats = {pid: stat for pid in pids if (stat := procfs.read_stat(pid)) is not None}
    # After vfork(2), a parent waits in state D until its child, which is suspended, calls exec.
    parents = {stat.ppid for stat in stats.values() if stat.state == "T"}
    return "".join(sorted({s.state for pid, s in stats.items() if s.state != "D" or pid not in parents}))


def of_the_tasks(run):
    """Every process of the run except the engine, the launcher and its helpers: the tasks' trees."""
    tasks = [event["pid"] for event in run.events() if event["event"] == "task_started"]
    everyone = procfs.processes()
    # Orphans are children of the launcher.
    (launcher,) = {pid for pid, stat in everyone.items() if stat.ppid == run.engine.pid and stat.is_alive}
    orphans = {pid for pid, stat in everyone.items() if stat.ppid == launcher and task_of(pid) in tasks}
    found = procfs.descendants(everyone, orphans.union(tasks))
    return {pid for pid in found if pid in everyone and everyone[pid].is_alive}


TICKS = ("tick", "child", "grandchild")


@pytest.mark.parametrize("method", START_METHODS)
def test_every_process_of_every_task_is_suspended_and_resumed(go, tmp_path, method):
    run = go(
        """\
        tasks:
        - {name: family, target: 'work:family'}
        - {name: command, command: 'mkfifo wait; setsid sleep 60 & sleep 60 & read line < wait'}
        - {name: tick, target: 'work:tick', args: [tick]}
        """,
        "--start-method",
        method,
    )
    eventually(
        lambda: (
            len((tmp_path / "family.pid").read_text().split()) == 2
            if (tmp_path / "family.pid").exists()
            else 0
        )
    )
    eventually((tmp_path / "tick").exists)
    # Two of the family, three of the command, and tick: none of them ends by itself.
    eventually(lambda: len(of_the_tasks(run)) == 6)
    suspend(run)
    found = of_the_tasks(run)
    assert (len(found), states(found)) == (6, "T")
    sizes = [(tmp_path / name).stat().st_size for name in TICKS]
    time.sleep(0.1)
    assert [(tmp_path / name).stat().st_size for name in TICKS] == sizes
    resume_run(run)
    eventually(lambda: all((tmp_path / n).stat().st_size > s for n, s in zip(TICKS, sizes, strict=True)))
    (tmp_path / "enough").touch()
    (tmp_path / "wait").write_text("\n")
    assert run.finish().code == 0


@pytest.mark.once
def test_task_that_forks_all_the_time_is_suspended(go, tmp_path):
    run = go("tasks: [{name: breed, target: 'work:breed'}]\n")
    eventually(lambda: (tmp_path / "bred").exists() and (tmp_path / "bred").stat().st_size > 20)
    for _ in range(10):
        suspend(run)
        assert states(of_the_tasks(run)) == "T"
        before = (tmp_path / "bred").stat().st_size
        resume_run(run)
        eventually(lambda before=before: (tmp_path / "bred").stat().st_size > before)
    (tmp_path / "enough").touch()
    assert run.finish().code == 0


# One child at a time, which starts the next one and ends. The next one waits for that: on a busy machine
# there would be any number of those that have not come to their end yet.
RELAY = """
import os, signal, sys, time
if os.fork() == 0:
    while not os.path.exists("enough"):
        parent = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == parent:
            time.sleep(0.0005)
        with open("relay", "a") as file:
            file.write(".")
        time.sleep(0.003)
    os._exit(0)
signal.pause()
"""


@pytest.mark.once
def test_processes_that_each_leave_a_child_are_stopped(tmp_path, monkeypatch):
    # However busy the machine is.
    monkeypatch.setattr(tree_stops, "STOP_SECONDS", 30)
    relay = tmp_path / "relay"
    leader = subprocess.Popen([sys.executable, "-c", RELAY], cwd=tmp_path, start_new_session=True)
    leaders = {leader.pid: os.pidfd_open(leader.pid)}
    try:
        eventually(relay.exists)
        for _ in range(5):
            tree_stops.stop_trees(leaders, list)
            everyone = procfs.processes().values()
            states = [stat.state for stat in everyone if stat.session == leader.pid and stat.is_alive]
            # The last of them, and perhaps the one before it.
            assert states in (["T"] * 2, ["T"] * 3)
            before = relay.stat().st_size
            time.sleep(0.02)
            assert relay.stat().st_size == before
            task_trees.signal_trees(leaders, signal.SIGCONT)
            eventually(lambda before=before: relay.stat().st_size > before)
    finally:
        (tmp_path / "enough").touch()
        task_trees.kill_trees(leaders)
        os.close(leaders[leader.pid])
        leader.wait()


# Each timer has so many seconds: on a busy machine it takes a while until the run is suspended.
STILL_SECONDS = 4
STILL = {
    "attempt timeout": "tasks: [{name: a, target: 'work:wait_for', args: [go], timeout: SECONDS}]\n",
    "run timeout": "timeout: SECONDS\ntasks: [{name: a, target: 'work:wait_for', args: [go]}]\n",
    "ready timeout": (
        "tasks:\n- {name: s, target: 'work:stay', daemon: true, ready: {file: ready, timeout: SECONDS}}\n"
        "- {name: a, target: 'work:wait_for', args: [go], depends_on: {s: ready}}\n"
    ),
    "join timeout": (
        "tasks:\n- {name: a, target: 'work:wait_for', args: [go]}\n- {name: b, target: 'os:getpid'}\n"
        "join: [{task: a, timeout: SECONDS}, b]\n"
    ),
    "expected seconds": (
        "tasks: [{name: a, target: 'work:wait_for', args: [go], expect: {max_seconds: SECONDS}}]\n"
    ),
}


# The clock of a record counts in microseconds.
CLOCK = 0.001


def clock_time(event):
    return datetime.datetime.fromisoformat(event["time"]).timestamp()


def suspend_for(run, seconds):
    """Suspend the run, and resume it; the seconds for which it was suspended, at least."""
    suspend(run)
    begun = time.monotonic()
    time.sleep(seconds)
    paused = time.monotonic() - begun
    resume_run(run)
    return paused


@pytest.mark.once
def test_timers_pause_while_suspended(go, tmp_path):
    """One run for each kind of timer, all suspended for the same time, which is longer."""
    runs = {}
    for kind, job in STILL.items():
        directory = tmp_path / kind
        directory.mkdir()
        runs[kind] = go(job.replace("SECONDS", str(STILL_SECONDS)), directory=directory)
        runs[kind].until("task_started")
        suspend(runs[kind])
    time.sleep(STILL_SECONDS + 0.1)
    ends = {}
    for kind, run in runs.items():
        resume_run(run)
        (run.directory / "go").touch()
        (run.directory / "ready").touch()
        ends[kind] = run.finish()
    seen = {kind: (end.code, end.outcome("a")) for kind, end in ends.items()}
    assert seen == dict.fromkeys(STILL, (0, "succeeded"))
    assert [event["task"] for event in ends["join timeout"].of("task_joined")] == ["a", "b"]


@pytest.mark.once
def test_timers_continue_after_a_suspension(go, tmp_path):
    run = go("tasks: [{name: a, target: 'work:stay', timeout: 2}]\n")
    run.until("task_started")
    paused = suspend_for(run, 0.7)
    ended = run.finish()
    assert ended.outcome("a") == "timed_out"
    assert ended.one("task_exited")["duration"] > 2 + paused - CLOCK


@pytest.mark.once
def test_retry_delay_pauses_while_suspended(go, tmp_path):
    run = go("tasks: [{name: a, target: 'work:fail', retry: {retries: 1, delay: 2, jitter: 0}}]\n")
    run.until("task_retrying")
    paused = suspend_for(run, 0.7)
    ended = run.finish()
    assert ended.code == 1
    failed, (_, again) = ended.of("task_exited")[0], ended.of("task_started")
    assert clock_time(again) - clock_time(failed) > 2 + paused - CLOCK


@pytest.mark.once
def test_exits_before_the_suspension_are_recorded_even_if_the_engine_is_killed(go, tmp_path):
    run = go("tasks:\n- {name: a, target: 'work:wait_for', args: [go]}\n- {name: b, target: 'work:stay'}\n")
    run.until("task_started", count=2)
    launcher = run.launcher()
    os.kill(launcher, signal.SIGSTOP)
    (tmp_path / "go").touch()
    task = next(event["pid"] for event in run.events() if event["event"] == "task_started")
    eventually(lambda: procfs.read_stat(task).state == "Z")
    run.engine.send_signal(signal.SIGTSTP)
    os.kill(launcher, signal.SIGCONT)
    eventually(lambda: procfs.read_stat(run.engine.pid).state == "T")
    assert [e["outcome"] for e in run.events() if e["event"] == "task_finished"] == ["succeeded"]
    run.engine.kill()
    run.engine.communicate()
    assert_quick(run.seconds_to_vanish(), 1, time.monotonic)


@pytest.mark.once
def test_mprun_is_suspended_after_its_tasks(go, tmp_path):
    """C77. Until the launcher has answered, within its time, the tasks may still be running."""
    run = go("tasks: [{name: a, target: 'work:stay'}]\n")
    eventually((tmp_path / "stay.pid").exists)
    launcher = run.launcher()
    os.kill(launcher, signal.SIGSTOP)
    try:
        run.engine.send_signal(signal.SIGTSTP)
        end = time.monotonic() + SUSPEND_TIMEOUT_SECONDS / 2
        # The time is read after the state, which may be another one by then.
        while (state := procfs.read_stat(run.engine.pid).state) and time.monotonic() < end:
            assert state != "T"
            time.sleep(0.01)
    finally:
        os.kill(launcher, signal.SIGCONT)
    eventually(lambda: procfs.read_stat(run.engine.pid).state == "T")
    assert states(of_the_tasks(run)) == "T"
    resume_run(run)


@pytest.mark.once
def test_task_killed_while_suspended_is_recorded(go, tmp_path):
    run = go(
        "tasks:\n- {name: a, target: 'work:stay', timeout: 600}\n"
        "- {name: b, target: 'work:end', depends_on: {a: finished}}\n"
    )
    pid = int(written(tmp_path / "stay.pid"))
    suspend(run)
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    assert not (tmp_path / "ended").exists()
    resume_run(run)
    ended = run.finish()
    assert (ended.code, ended.outcome("a"), ended.outcome("b")) == (1, "failed", "succeeded")


@pytest.mark.once
def test_run_can_be_suspended_twice(go, tmp_path):
    run = go("tasks: [{name: a, target: 'work:tick', args: [ticks]}]\n")
    eventually((tmp_path / "ticks").exists)
    for _ in range(3):
        suspend(run)
        assert states(of_the_tasks(run)) == "T"
        before = (tmp_path / "ticks").stat().st_size
        resume_run(run)
        eventually(lambda before=before: (tmp_path / "ticks").stat().st_size > before)
    (tmp_path / "enough").touch()
    assert run.finish().code == 0


def test_two_ctrl_z_in_a_row_suspend_once(go, tmp_path):
    run = go("tasks: [{name: a, target: 'work:tick', args: [ticks]}]\n")
    eventually((tmp_path / "ticks").exists)
    os.kill(run.launcher(), signal.SIGSTOP)
    run.engine.send_signal(signal.SIGTSTP)
    # The engine waits for the launcher's answer now, and gets a second signal.
    eventually(lambda: not pending(run.engine.pid))
    run.engine.send_signal(signal.SIGTSTP)
    eventually(lambda: procfs.read_stat(run.engine.pid).state == "T")
    os.kill(run.launcher(), signal.SIGCONT)
    resume_run(run)
    (tmp_path / "enough").touch()
    assert run.finish().code == 0


def pending(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("ShdPnd:")[1].split()[0], 16) >> (signal.SIGTSTP - 1) & 1


@forked_on_each
def test_killed_engine_leaves_no_suspended_process(go, tmp_path, method):
    run = go(
        "tasks:\n- {name: family, target: 'work:family'}\n"
        "- {name: ignores_sigterm, target: 'work:ignores_sigterm'}\n"
        "- {command: 'setsid sleep 60 & sleep 60'}\n",
        "--start-method",
        method,
    )
    eventually((tmp_path / "ignores_sigterm.pid").exists)
    run.until("task_started", count=3)
    suspend(run)
    run.engine.kill()
    run.engine.communicate()
    assert_quick(run.seconds_to_vanish(), 1, time.monotonic)


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resumed_run_can_be_stopped(go, tmp_path, number):
    run = go(TWO)
    run.until("task_started", count=2)
    suspend(run)
    run.engine.send_signal(number)
    resume_run(run)
    assert run.finish().code == 128 + number
    assert run.survivors() == []


SLOW = """\
    import os, time
    open("importing", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
    def run():
        pass
"""


@pytest.mark.once
def test_ctrl_z_during_the_imports(go, tmp_path):
    run = go(
        "tasks: [{target: 'slow:run'}]\n",
        "--import-timeout",
        "4",
        more={"slow": SLOW},
    )
    eventually((tmp_path / "importing").exists)
    suspend(run)
    time.sleep(4.1)
    resume_run(run)
    (tmp_path / "go").touch()
    ended = run.finish()
    assert ended.code == 0, ended.stderr


@pytest.mark.once
def test_a_request_during_the_imports_does_not_end_the_run(go, tmp_path):
    """SIGUSR1 asks to look for requests; it does not stop the run."""
    run = go(
        "tasks: [{name: a, target: 'slow:run'}]\n",
        more={"slow": SLOW},
    )
    eventually((tmp_path / "importing").exists)
    run.engine.send_signal(signal.SIGUSR1)
    # Handled, because a signal that came later was.
    suspend(run)
    resume_run(run)
    (tmp_path / "go").touch()
    ended = run.finish()
    assert (ended.code, ended.outcome("a")) == (0, "succeeded"), ended.stderr


@pytest.mark.once
def test_launcher_lost_during_the_suspension_ends_the_run(go, tmp_path):
    run = go(TWO)
    run.until("task_started", count=2)
    launcher = run.launcher()
    os.kill(launcher, signal.SIGSTOP)
    run.engine.send_signal(signal.SIGTSTP)
    eventually(lambda: not pending(run.engine.pid))
    os.kill(launcher, signal.SIGKILL)
    with contextlib.suppress(AssertionError):
        eventually(lambda: procfs.read_stat(run.engine.pid).state in "TZ")
    assert procfs.read_stat(run.engine.pid).state == "Z", "it is stopped, and nothing is left that could"
    assert run.finish().code == 3


@pytest.mark.once
@pytest.mark.parametrize("arguments", [[], ["stay"]])
def test_suspended_run_does_not_answer(go, tmp_path, arguments):
    run = go(TWO)
    run.until("task_started", count=2)
    suspend(run)
    done = stop(*arguments, cwd=tmp_path)
    assert done.code == 3
    assert f"error: run {run_id(tmp_path)} is suspended; resume it" in done.stderr
    resume_run(run)
    # A request that timed out has no effect later.
    assert stop("other", cwd=tmp_path).code == 0
    assert [e["task"] for e in run.events() if e["event"] == "task_stopping"] == ["other"]
    run.engine.send_signal(signal.SIGINT)
    assert run.finish().code == 130


@pytest.mark.once
def test_attempt_that_ended_in_time_while_the_engine_was_stopped_does_not_time_out(go, tmp_path):
    run = go(
        "timeout: 600\ntasks:\n- {name: a, target: 'work:wait_for', args: [go], timeout: 4}\n"
        "- {name: b, target: 'work:wait_for', args: [go], timeout: 4, expect: {max_seconds: 4}}\n"
        "join: [{task: a, timeout: 4}, b]\n"
    )
    run.until("task_started", count=2)
    tasks = [event["pid"] for event in run.events() if event["event"] == "task_started"]
    run.engine.send_signal(signal.SIGSTOP)
    (tmp_path / "go").touch()
    eventually(lambda: not any(map(alive, tasks)))
    time.sleep(4.1)
    resume_run(run)
    ended = run.finish()
    assert (ended.code, ended.outcome("a"), ended.outcome("b")) == (0, "succeeded", "succeeded")
    assert [event["task"] for event in ended.of("task_joined")] == ["a", "b"]


# ---- job control, as a shell does it


def test_job_control_of_a_shell(go, tmp_path):
    """Ctrl-Z, fg, Ctrl-Z, fg, Ctrl-C, by the keys of a terminal with job control."""
    write(tmp_path, work=WORK, job="tasks: [{name: a, target: 'work:tick', args: [ticks]}]\n")
    keys, screen = pty.openpty()
    shell = os.fork()
    if shell == 0:
        try:
            os._exit(act_as_shell(tmp_path, screen))
        except BaseException as error:
            (tmp_path / "shell").write_text(repr(error))
            os._exit(1)
    os.close(screen)
    try:
        for turn in range(2):
            # The shell writes a file at each `fg`.
            eventually(lambda turn=turn: (tmp_path / f"foreground{turn}").exists())
            before = (tmp_path / "ticks").stat().st_size if turn else 0
            eventually(
                lambda before=before: (
                    (tmp_path / "ticks").exists() and (tmp_path / "ticks").stat().st_size > before
                )
            )
            os.write(keys, b"\x1a")
            eventually(lambda turn=turn: (tmp_path / f"stopped{turn}").exists())
        eventually((tmp_path / "foreground2").exists)
        before = (tmp_path / "ticks").stat().st_size
        eventually(lambda: (tmp_path / "ticks").stat().st_size > before)
        os.write(keys, b"\x03")
        _, status = os.waitpid(shell, 0)
        shell = 0
        shell_log = (tmp_path / "shell").read_text()
        assert (os.waitstatus_to_exitcode(status), shell_log) == (
            0,
            "stopped by SIGSTOP, still\n" * 2 + "exit 130\n",
        )
    finally:
        if shell:
            os.kill(shell, signal.SIGKILL)
            os.waitpid(shell, 0)
        os.close(keys)


def act_as_shell(directory, screen):
    """Run mprun in the foreground; each time it is suspended, report that and resume it."""
    os.setsid()
    fcntl.ioctl(screen, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    shell_log = open(directory / "shell", "w", buffering=1)  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-m", "mprun", "job.yaml"],
        cwd=directory,
        env=environment(),
        stdin=screen,
        stdout=screen,
        stderr=screen,
        process_group=0,
    )
    for turn in range(10):
        os.tcsetpgrp(screen, process.pid)
        if turn:
            os.killpg(process.pid, signal.SIGCONT)
        (directory / f"foreground{turn}").touch()
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        os.tcsetpgrp(screen, os.getpgrp())
        if not os.WIFSTOPPED(status):
            shell_log.write(f"exit {os.waitstatus_to_exitcode(status)}\n")
            return 0
        everyone = procfs.processes()
        (launcher,) = [pid for pid, stat in everyone.items() if stat.ppid == process.pid]
        tasks = procfs.descendants(everyone, {pid for pid, stat in everyone.items() if stat.ppid == launcher})
        still = "still" if states(tasks) == "T" else f"states {states(tasks)}"
        shell_log.write(f"stopped by {signal.Signals(os.WSTOPSIG(status)).name}, {still}\n")
        (directory / f"stopped{turn}").touch()
    return 1
