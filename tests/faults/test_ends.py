"""How runs and tasks end despite closed terminals, jumping clocks, stopped tasks, threads and retries."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from itertools import pairwise

import pytest
from support.attempts import Attempts
from support.runs import (
    START_METHODS,
    TIMEOUT,
    Run,
    alive,
    environment,
    events_so_far,
    eventually,
    finish,
    mprun,
    newest_run,
    start,
    survivors,
    write,
)
from support.timing import assert_quick

from mprun.engine.signals import REPEAT_SECONDS

every_start_method = pytest.mark.parametrize("method", START_METHODS)


def until(directory, kind, task, count=1):
    """Wait until the record has `count` events of a kind for a task; the last of them."""

    def seen():
        events = events_so_far(directory / ".mprun")
        found = [e for e in events if e["event"] == kind and e.get("task") == task]
        return found[count - 1] if len(found) >= count else None

    return eventually(seen)


# ---- the terminal is gone

SERVING = """\
    import os, signal, subprocess, time

    def gentle():
        def end(*_):
            print("asked to end")
            os._exit(0)
        signal.signal(signal.SIGTERM, end)
        subprocess.Popen(["setsid", "sleep", "60"])
        while True:
            print("and on")
            time.sleep(0.005)

    def wait_for(name):
        while not os.path.exists(name):
            print("and on")
            time.sleep(0.005)

    def clean_up():
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
        while not asked:
            print("and on")
            time.sleep(0.005)
        open("asked", "w").close()
        while not os.path.exists("go on"):
            time.sleep(0.005)
        print("cleaned up")
"""
CLEAN_UP = "tasks: [{name: clean_up, target: 'work:clean_up', stop: {grace: 600}}]\n"


def on_a_terminal_of_its_own(directory, *arguments, controls=True):
    """Start mprun on a terminal, and close the terminal once mprun has written to it."""
    ours, theirs = pty.openpty()

    def take_the_terminal():
        if controls:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    engine = subprocess.Popen(
        [sys.executable, "-m", "mprun", "-v", *arguments],
        cwd=directory,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(),
        start_new_session=True,
        preexec_fn=take_the_terminal,
    )
    os.close(theirs)
    shown = b""
    while b"and on" not in shown:
        assert select.select([ours], [], [], TIMEOUT)[0]
        shown += os.read(ours, 65536)
    os.close(ours)
    return engine


@every_start_method
def test_closing_the_terminal_stops_the_run_like_a_signal(tmp_path, method):
    write(tmp_path, work=SERVING, job="tasks: [{name: gentle, target: 'work:gentle'}]\n")
    engine = on_a_terminal_of_its_own(tmp_path, "job.yaml", "--start-method", method)
    run = finish(engine, tmp_path / ".mprun")
    assert run.code == 129
    assert (run.events[-1]["outcome"], run.events[-1]["reason"]) == ("interrupted", "SIGHUP")
    assert (run.outcome("gentle"), run.one("task_exited")["exit_code"]) == ("stopped", 0)
    assert run.log("gentle").endswith(b"asked to end\n")
    (orphan,) = run.one("task_exited")["orphans"]
    assert not alive(orphan)
    assert survivors(run.events) == []


def assert_cleaned_up(run):
    """The task had the time that it took to clean up."""
    assert [event["signal"] for event in run.of("task_stopping")] == ["SIGTERM"]
    assert run.log("clean_up").endswith(b"cleaned up\n")
    assert run.outcome("clean_up") == "stopped"


@every_start_method
def test_a_shell_that_ends_with_its_terminal_does_not_cut_the_grace(tmp_path, method):
    """C15: the kernel sends a SIGHUP to the foreground, and the shell one to each of its jobs."""
    write(tmp_path, work=SERVING, job=CLEAN_UP)
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "-i"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(HISTFILE="/dev/null"),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    os.write(ours, f"{sys.executable} -m mprun job.yaml --start-method {method}\n".encode())
    eventually(lambda: b"and on" in os.read(ours, 65536))
    os.close(ours)
    eventually((tmp_path / "asked").exists)
    # The shell has ended, so both signals were sent.
    shell.wait(TIMEOUT)
    (tmp_path / "go on").touch()
    finished = until(tmp_path, "run_finished", None)
    assert (finished["exit_code"], finished["reason"]) == (129, "SIGHUP")
    assert_cleaned_up(Run(shell, b"", b"", tmp_path / ".mprun"))


def start_clean_up(directory, **options):
    """A run whose task will clean up for as long as there is no file `go on`."""
    write(directory, work=SERVING, job=CLEAN_UP)
    engine = start("job.yaml", "--output", "none", cwd=directory, **options)
    until(directory, "task_started", "clean_up")
    log = newest_run(directory / ".mprun").log("clean_up", 1)
    eventually(lambda: os.path.exists(log) and os.stat(log).st_size)
    return engine


@pytest.mark.parametrize("numbers", [("SIGTERM", "SIGHUP"), ("SIGINT", "SIGTERM"), ("SIGINT", "SIGHUP")])
def test_two_signals_that_are_one_do_not_cut_the_grace(tmp_path, numbers):
    """C15: systemd sends a SIGHUP after its SIGTERM, a wrapper may pass Ctrl-C on as a SIGTERM."""
    engine = start_clean_up(tmp_path)
    numbers = [getattr(signal, name) for name in numbers]
    # Both are pending before the engine handles either.
    for number in (signal.SIGSTOP, *numbers, signal.SIGCONT):
        engine.send_signal(number)
    eventually((tmp_path / "asked").exists)
    (tmp_path / "go on").touch()
    run = finish(engine, tmp_path / ".mprun")
    assert_cleaned_up(run)
    # The kernel delivers the one with the lower number first.
    assert run.code == 128 + min(numbers)


def test_a_hangup_never_cuts_the_grace(tmp_path):
    """C15"""
    engine = start_clean_up(tmp_path)
    engine.send_signal(signal.SIGTERM)
    eventually((tmp_path / "asked").exists)
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + REPEAT_SECONDS)
    engine.send_signal(signal.SIGHUP)
    # An answer shows that the signal before it was handled.
    assert mprun("stop", "nothing", cwd=tmp_path).code == 2
    (tmp_path / "go on").touch()
    run = finish(engine, tmp_path / ".mprun")
    assert_cleaned_up(run)
    assert run.code == 143


def test_a_terminal_that_disappears_without_a_signal_changes_nothing(tmp_path):
    write(tmp_path, work=SERVING, job="tasks: [{name: wait, target: 'work:wait_for', args: [go on]}]\n")
    engine = on_a_terminal_of_its_own(tmp_path, "job.yaml", controls=False)
    before = len(until(tmp_path, "task_started", "wait")["task"])
    log = newest_run(tmp_path / ".mprun").log("wait", 1)
    size = os.stat(log).st_size
    eventually(lambda: os.stat(log).st_size > size + 100)
    (tmp_path / "go on").touch()
    run = finish(engine, tmp_path / ".mprun")
    assert (run.code, run.outcome("wait"), before) == (0, "succeeded", 4)


# ---- clocks

# Python imports this before mprun: the wall clock jumps by an hour each time it is read.
JUMPS = """\
    import itertools
    import time

    wall, jumps = time.time, itertools.count(1)

    def time_that_jumps():
        count = next(jumps)
        return wall() + 3600 * count * (-1) ** count

    time.time = time_that_jumps
"""


@every_start_method
def test_jumps_of_the_wall_clock_change_no_timer_and_no_duration(tmp_path, method):
    write(
        tmp_path,
        sitecustomize=JUMPS,
        work="""\
            import os, signal, time
            def look():
                return time.time() - time.time()
            def hang():
                signal.pause()
            def fail_once():
                if not os.path.exists("failed"):
                    open("failed", "w").close()
                    raise ValueError
        """,
        job="""\
            timeout: 50s
            tasks:
            - {name: look, target: 'work:look'}
            - {name: hang, target: 'work:hang', timeout: 300ms}
            - {name: again, target: 'work:fail_once', retry: {retries: 1, delay: 200ms}}
            - {name: serve, target: 'work:hang', daemon: true}
            - {name: file, command: 'touch there; sleep 60', daemon: true, ready: {file: there, timeout: 10s}}
            - {name: last, command: ["true"], depends_on: {file: ready}}
        """,
    )
    begun = time.monotonic()
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path, env={"PYTHONPATH": python_path(tmp_path)})
    took = time.monotonic() - begun
    assert abs(run.result("look")) > 3000
    expected = {"look": "succeeded", "hang": "timed_out", "again": "succeeded", "serve": "stopped"}
    assert {task: run.outcome(task) for task in expected} == expected
    assert run.outcome("last") == "succeeded"
    assert 0.3 <= run.one("task_exited", "hang")["duration"] < took
    assert all(0 <= event["duration"] < took for event in run.of("task_exited"))
    assert 0.3 <= run.one("run_finished")["duration"] < took
    # The wall clock is read once at the start; all other times are counted from it.
    times = [event["time"] for event in run.events]
    first, second = (event["time"] for event in run.of("task_started", "again"))
    assert seconds(times[-1]) - seconds(times[0]) < took
    assert 0.2 <= seconds(second) - seconds(first) < took


def python_path(directory):
    return os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])


def seconds(stamp):
    """The time of an event in seconds since the beginning of its month."""
    day, hours, minutes, rest = re.fullmatch(r"\d+-\d+-(\d+)T(\d+):(\d+):([\d.]+)Z", stamp).groups()
    return ((int(day) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(rest)


# ---- the grace

IGNORES_SIGTERM = """\
    import os, signal, subprocess, sys, threading, time

    def ignores_sigterm(name):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(name, "w").close()
        while True:
            signal.pause()

    def stop_itself(hears=True):
        def end(*_):
            print("asked to end")
            os._exit(0)
        signal.signal(signal.SIGTERM, end if hears else signal.SIG_IGN)
        suspend_self()

    def suspend_self():
        while True:
            os.kill(os.getpid(), signal.SIGSTOP)

    def wait_for_a_stop():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTSTP])
        print("waits", flush=True)
        while signal.SIGTSTP not in signal.sigpending():
            time.sleep(0.005)

    def leave_a_thread():
        def live_on():
            threading.Event().wait()
        threading.Thread(target=live_on, name="the one that lives on").start()
        return "the target's"
"""


@every_start_method
def test_a_task_that_ignores_the_stop_signal_is_killed_after_its_grace(tmp_path, method):
    graces = {"a": 0.3, "b": 0.6, "c": 0.9}
    tasks = "".join(
        f"- {{name: {name}, target: 'work:ignores_sigterm', args: [{name}], stop: {{grace: {grace}}}}}\n"
        for name, grace in graces.items()
    )
    write(tmp_path, work=IGNORES_SIGTERM, job=f"max_parallel: 3\ntasks:\n{tasks}")
    engine = start("job.yaml", "--start-method", method, cwd=tmp_path)
    for name in graces:
        eventually((tmp_path / name).exists)
    engine.send_signal(signal.SIGTERM)
    run = finish(engine, tmp_path / ".mprun")
    late = []
    for name, grace in graces.items():
        asked, killed = run.of("task_stopping", name)
        exited = run.one("task_exited", name)
        assert (asked["signal"], killed["signal"], exited["signal"]) == ("SIGTERM", "SIGKILL", "SIGKILL")
        late.append(seconds(exited["time"]) - seconds(asked["time"]) - grace)
    assert min(late) >= -0.01
    # A tenth of a second, and the same again; at one of these moments a busy machine has time for that.
    assert_quick(min(late), 0.2, time.monotonic)
    assert run.code == 143


# ---- stopped tasks, and threads that do not end


@every_start_method
def test_a_task_that_stops_itself_is_shown_and_gets_the_stop_signal(tmp_path, method):
    write(
        tmp_path,
        work=IGNORES_SIGTERM,
        job="tasks: [{name: still, target: 'work:stop_itself', stop: {grace: 600s}}]\n",
    )
    engine = start("job.yaml", "--start-method", method, cwd=tmp_path)
    pid = until(tmp_path, "task_started", "still")["pid"]
    eventually(lambda: state_of(pid) == "T")
    for command in ("show", "tree"):
        process = start(command, cwd=tmp_path)
        shown = process.communicate(timeout=TIMEOUT)[0].decode()
        assert re.search(r"still .*running, suspended \(SIGSTOP\)", shown), shown
    engine.send_signal(signal.SIGTERM)
    run = finish(engine, tmp_path / ".mprun")
    assert (run.code, run.outcome("still")) == (143, "stopped")
    assert (run.one("task_exited")["exit_code"], run.log("still")) == (0, b"asked to end\n")
    assert survivors(run.events) == []


def test_a_task_that_stops_itself_runs_no_code_at_its_timeout_before_the_stop_signal(
    tmp_path,
):
    write(
        tmp_path,
        work="""\
            import os, signal

            def stop_and_go_on():
                os.kill(os.getpid(), signal.SIGSTOP)
                open("went-on", "w").close()
        """,
        job="tasks: [{name: still, target: 'work:stop_and_go_on', timeout: 1s, stop: {grace: 600s}}]\n",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.outcome("still")) == (1, "timed_out")
    # Not even to dump its stacks.
    assert (run.one("task_exited")["signal"], run.log("still")) == ("SIGTERM", b"")
    assert not (tmp_path / "went-on").exists()


def test_a_task_that_stops_itself_again_is_killed_after_its_grace(tmp_path):
    write(
        tmp_path,
        work=IGNORES_SIGTERM,
        job="""\
            tasks:
            - {name: still, target: 'work:stop_itself', args: [false], timeout: 1s, stop: {grace: 100ms}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.outcome("still")) == (1, "timed_out")
    assert run.one("task_exited")["signal"] == "SIGKILL"


@every_start_method
def test_a_task_of_a_suspended_run_gets_its_stop_signal_when_it_resumes(tmp_path, method):
    write(tmp_path, work=IGNORES_SIGTERM)
    with Attempts(tmp_path, method=method, targets=[("work:stop_itself", ())]) as attempts:
        key = attempts.start(target="work:stop_itself", stacks=True)
        pid = attempts.begun(key).pid
        eventually(lambda: state_of(pid) == "T")
        attempts.executor.suspend()
        attempts.signal(key, "SIGTERM", title="asked")
        # All of that is done once the launcher has answered the next request.
        attempts.cancel(attempts.start(command=("true",)))
        assert (state_of(pid), attempts.log(key).read_bytes()) == ("T", b"")
        attempts.executor.resume()
        attempts.executor.flush()
        assert attempts.end(key).log == "asked to end\n"


def test_the_stop_signal_of_a_task_may_be_one_that_stops_processes(tmp_path):
    write(tmp_path, work=IGNORES_SIGTERM)
    with Attempts(tmp_path, targets=[("work:wait_for_a_stop", ())]) as attempts:
        key = attempts.start(target="work:wait_for_a_stop")
        eventually(lambda: attempts.log(key).exists() and attempts.log(key).read_bytes())
        attempts.signal(key, "SIGTSTP")
        assert attempts.end(key).code == 0


def state_of(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


@every_start_method
def test_a_task_whose_target_has_returned_is_shown_as_running_while_a_thread_is(tmp_path, method):
    write(
        tmp_path,
        work=IGNORES_SIGTERM,
        job="tasks: [{name: threads, target: 'work:leave_a_thread'}]\n",
    )
    engine = start("job.yaml", "--start-method", method, cwd=tmp_path)
    until(tmp_path, "task_started", "threads")
    results = newest_run(tmp_path / ".mprun").result("threads", 1)
    # Its result has been written.
    eventually(lambda: os.path.exists(f"{results}.json"))
    shown = start("show", cwd=tmp_path).communicate(timeout=TIMEOUT)[0].decode()
    assert re.search(r"^threads +running ", shown, re.MULTILINE), shown
    engine.send_signal(signal.SIGTERM)
    assert finish(engine, tmp_path / ".mprun").code == 143


# A new Python may take its time to come to the target.
@pytest.mark.parametrize(("method", "seconds"), [("fork", 1.5), ("forkserver", 3), ("spawn", 5)])
def test_a_thread_that_outlives_the_target_keeps_the_task_running_until_its_timeout(
    tmp_path, method, seconds
):
    job = f"tasks: [{{name: a, target: 'work:leave_a_thread', timeout: {seconds}, stop: {{grace: 30s}}}}]"
    write(tmp_path, work=IGNORES_SIGTERM, job=job)
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    finished = run.one("task_finished")
    assert (run.code, finished["outcome"]) == (1, "timed_out")
    assert finished["reason"] == f"timeout after {seconds}s"
    # The result does not count, and the log shows where the task hangs.
    assert (finished["result"], finished["result_kind"]) == (None, "none")
    assert b", in live_on\n" in run.log("a")
    assert run.one("task_exited")["threads"] == 2


@every_start_method
def test_a_daemon_that_may_not_have_children_fails_with_a_hint(tmp_path, method):
    write(
        tmp_path,
        work="""\
            from multiprocessing import Pool, Process
            def have_a_child():
                Process(target=print).start()
            def have_a_pool():
                Pool(1)
            def have_none():
                assert False, "daemonic"
        """,
        job="""\
            defaults: {daemon: true}
            tasks:
            - {name: child, target: 'work:have_a_child'}
            - {name: pool, target: 'work:have_a_pool', expect: {exit_code: 0}}
            - {name: other, target: 'work:have_none'}
            - {name: no_daemon, target: 'work:have_none', daemon: false}
            join: [child, pool, other, no_daemon]
        """,
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    hint = "multiprocessing allows a daemon no child processes; remove `daemon: true`"
    assert run.one("task_finished", "child")["reason"] == f"exit 1: {hint}"
    assert run.one("task_finished", "pool")["reason"] == f"expected exit 0, but got exit 1: {hint}"
    for task in ("other", "no_daemon"):
        assert run.one("task_finished", task)["reason"] == "exit 1"
    assert f"child failed: exit 1: {hint} (AssertionError: daemonic processes" in run.stderr


# ---- ends at the time of a timeout


def test_a_task_that_ended_before_its_timeout_succeeds_even_if_the_engine_looks_late(tmp_path):
    """The engine is stopped while the task ends and its timeout passes."""
    write(
        tmp_path,
        work="""\
            import os, time
            def wait_for(name):
                while not os.path.exists(name):
                    time.sleep(0.005)
        """,
        job="tasks: [{name: just, target: 'work:wait_for', args: [end], timeout: 3s}]\n",
    )
    engine = start("job.yaml", cwd=tmp_path)
    started = until(tmp_path, "task_started", "just")
    os.kill(engine.pid, signal.SIGSTOP)
    (tmp_path / "end").touch()
    eventually(lambda: not alive(started["pid"]))
    passed = threading.Event()
    threading.Timer(3.1, passed.set).start()
    assert passed.wait(TIMEOUT)
    os.kill(engine.pid, signal.SIGCONT)
    run = finish(engine, tmp_path / ".mprun")
    assert (run.code, run.outcome("just")) == (0, "succeeded")
    assert run.of("task_stopping") == []
    assert run.one("task_exited", "just")["duration"] < 3


def test_a_task_that_ends_at_its_timeout_has_one_outcome(tmp_path):
    """Forty tasks that each end within a hundredth of a second of their timeout."""
    tasks = "".join(
        f"- {{name: t{number}, target: 'time:sleep', args: [{0.3 + (number - 20) / 4000}], timeout: 300ms}}\n"
        for number in range(40)
    )
    write(tmp_path, job=f"max_parallel: 8\ntasks:\n{tasks}")
    run = mprun("job.yaml", cwd=tmp_path)
    assert "Traceback" not in run.stderr
    for number in range(40):
        name = f"t{number}"
        finished, exited = run.one("task_finished", name), run.one("task_exited", name)
        stopped = [event["reason"] for event in run.of("task_stopping", name)]
        if finished["outcome"] == "succeeded":
            assert exited["exit_code"] == 0
            assert exited["duration"] < 0.3 or stopped == []
        else:
            assert (finished["outcome"], stopped[:1]) == ("timed_out", ["timeout"])
            assert exited["duration"] >= 0.3
    assert run.events[-1]["counts"].keys() <= {"succeeded", "timed_out"}
    assert sum(run.events[-1]["counts"].values()) == 40


# ---- a storm of retries


def test_a_storm_of_retries_is_capped_spread_and_shown(tmp_path):
    retry = "{retries: 4, delay: 40ms, backoff: 3, max_delay: 150ms, jitter: 0.5}"
    tasks = "".join(f"- {{name: t{number}, command: ['false'], retry: {retry}}}\n" for number in range(15))
    write(tmp_path, job=f"tasks:\n{tasks}")
    run = mprun("-v", "job.yaml", cwd=tmp_path)
    assert (run.code, run.events[-1]["counts"]) == (1, {"failed": 15})
    again = run.of("task_retrying")
    # Capped in number and in length.
    assert len(again) == 15 * 4
    assert {event["attempts"] for event in run.of("task_finished")} == {5}
    for attempt, longest in ((2, 0.04), (3, 0.12), (4, 0.15), (5, 0.15)):
        delays = [event["delay"] for event in again if event["attempt"] == attempt]
        assert all(longest / 2 <= delay <= longest for delay in delays)
        # Spread: no two of fifteen delays are equal.
        assert len(set(delays)) == 15
    # Kept: no attempt starts before its delay is over.
    for number in range(15):
        starts = [seconds(event["time"]) for event in run.of("task_started", f"t{number}")]
        delays = [event["delay"] for event in run.of("task_retrying", f"t{number}")]
        assert all(
            late - early >= delay - 0.02
            for (early, late), delay in zip(pairwise(starts), delays, strict=True)
        )
    # Shown: a line for each, and the number of attempts in the table.
    assert len(re.findall(r"^\S+ retry  t\d+ +attempt=[2-5] in 0\.\d+s$", run.stderr, re.MULTILINE)) == 60
    assert re.search(r"^t14 +failed.* 5$", run.stderr, re.MULTILINE)


def test_a_daemon_that_fails_soon_is_restarted_with_growing_delays(tmp_path):
    write(
        tmp_path,
        work="import os, time\ndef wait_for(name):\n    while not os.path.exists(name): time.sleep(0.005)\n",
        job="""\
            tasks:
            - {name: falls, command: ['false'], daemon: true, restart: always}
            - {name: stays, target: 'work:wait_for', args: [end]}
        """,
    )
    engine = start("job.yaml", cwd=tmp_path)
    until(tmp_path, "task_retrying", "falls", count=4)
    (tmp_path / "end").touch()
    run = finish(engine, tmp_path / ".mprun")
    assert [event["delay"] for event in run.of("task_retrying", "falls")][:4] == [0.1, 0.2, 0.4, 0.8]
