"""A kernel that refuses pidfd calls, as a seccomp filter may: mprun does without, and says so (C72)."""

from __future__ import annotations

import errno
import functools
import os
import signal

import pytest
from support import seccomp
from support.crash_targets import write_crash_job
from support.runs import START_METHODS, alive, events_so_far, eventually, finish, mprun, start, write
from support.untried import without_calls

from mprun.linux import procfs

pytestmark = pytest.mark.skipif(
    not seccomp.is_supported(), reason="the numbers of system calls are known for x86_64 and aarch64"
)

# As on an old kernel, and as a filter that allows some calls.
FILTERS = {
    "not there": (("pidfd_open", "pidfd_send_signal"), errno.ENOSYS),
    "no signals": (("pidfd_send_signal",), errno.EPERM),
}
WORK = """\
    import os, signal, subprocess, sys, time

    def note(pid):
        with open("pids", "a") as file:
            file.write(f"{pid}\\n")

    def noop():
        pass

    def fail():
        while not os.path.exists("pids"):
            time.sleep(0.01)
        raise ValueError

    def stay():
        note(subprocess.Popen(["sleep", "60"]).pid)
        note(subprocess.Popen(["sleep", "60"], start_new_session=True).pid)
        signal.pause()

    def ignore():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(os.getpid())
        while True:
            signal.pause()
"""


@pytest.fixture(params=FILTERS)
def refusing(request):
    names, error = FILTERS[request.param]
    return {"preexec_fn": seccomp.refusing(*names, error=error)}


def said(run):
    """Whether the run says, once, that it does without."""
    warnings = [line for line in run.stderr.splitlines() if line.startswith("warning: this system refuses ")]
    return len(warnings) == 1 and "Traceback" not in run.stderr


def noted(directory, count=1):
    """The pids that tasks have written, once there are `count`."""
    path = directory / "pids"
    words = eventually(lambda: path.exists() and len(pids := path.read_text().split()) >= count and pids)
    return [int(pid) for pid in words]


def test_timeouts_end_tasks_and_all_that_they_have_started(tmp_path, refusing):
    """The start methods run side by side, because each waits for its timeouts."""
    started = {method: begin_timeouts(tmp_path / method, refusing, method) for method in START_METHODS}
    for method, process in started.items():
        check_timeouts(tmp_path / method, process)


def begin_timeouts(directory, refusing, method):
    directory.mkdir()
    # A new Python has to come as far as to its target before.
    timeout = "1s" if method == "fork" else "3s"
    write(
        directory,
        work=WORK,
        job=f"""\
            start_method: {method}
            defaults: {{stop: {{grace: 200ms}}}}
            tasks:
            - {{name: good, target: 'work:noop'}}
            - {{name: next, target: 'work:noop', depends_on: good}}
            - {{name: stay, target: 'work:stay', timeout: {timeout}}}
            - {{name: ignore, target: 'work:ignore', timeout: {timeout}}}
            - {{name: command, command: 'sleep 60 & setsid sleep 60 & wait', timeout: 1s}}
            - {{name: captured, command: 'echo 1', capture: json}}
        """,
    )
    return start("job.yaml", "-q", cwd=directory, **refusing)


def check_timeouts(directory, process):
    run = finish(process, directory / ".mprun")
    assert run.code == 1, run.stderr
    outcomes = {task: run.outcome(task) for task in ("good", "next", "stay", "ignore", "command", "captured")}
    assert outcomes == {
        "good": "succeeded",
        "next": "succeeded",
        "stay": "timed_out",
        "ignore": "timed_out",
        "command": "timed_out",
        "captured": "succeeded",
    }
    assert run.one("task_exited", "ignore")["signal"] == "SIGKILL"
    assert b"stay" in run.log("stay")
    assert said(run)
    assert not [pid for pid in noted(directory) if alive(pid)]


@pytest.mark.parametrize("names", [("os.pidfd_open", "signal.pidfd_send_signal"), ("os.pidfd_open",)])
def test_a_python_that_was_built_without_pidfds(tmp_path, names):
    built = tmp_path / "built"
    built.mkdir()
    write(
        tmp_path,
        work=WORK,
        job="""\
            defaults: {stop: {grace: 200ms}}
            tasks:
            - {name: good, target: 'work:noop'}
            - {name: stay, target: 'work:stay', timeout: 1s}
            - {name: ignore, target: 'work:ignore', timeout: 1s}
            - {name: command, command: 'sleep 60 & setsid sleep 60 & wait', timeout: 1s}
        """,
    )
    run = mprun("job.yaml", "-q", cwd=tmp_path, env=without_calls(built, *names))
    outcomes = [run.outcome(task) for task in ("good", "stay", "ignore", "command")]
    assert outcomes == ["succeeded", "timed_out", "timed_out", "timed_out"], run.stderr
    assert said(run)
    assert not [pid for pid in noted(tmp_path) if alive(pid)]


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS, errno.EACCES])
@pytest.mark.parametrize("name", seccomp.NUMBERS)
def test_each_call_may_be_refused_with_any_error(tmp_path, name, error):
    write(
        tmp_path,
        work=WORK,
        job="tasks: [{name: a, target: 'work:ignore', timeout: 500ms, stop: {grace: 0s}}]\n",
    )
    run = mprun("job.yaml", "-q", cwd=tmp_path, preexec_fn=seccomp.refusing(name, error=error))
    assert (run.code, run.outcome("a"), said(run)) == (1, "timed_out", True), run.stderr
    assert f"warning: this system refuses `{name}`" in run.stderr


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("name", ["prlimit64", "sched_getaffinity"])
def test_limits_and_cores_may_not_be_seen(tmp_path, name, error):
    """As with `SystemCallFilter=~@resources` of systemd: then no process has the tag of its run."""
    write(
        tmp_path,
        work=WORK,
        job="""\
            defaults: {stop: {grace: 200ms}, timeout: 1s, allow_failure: true}
            tasks:
            - {name: stay, target: 'work:stay'}
            - {name: next, target: 'work:stay', depends_on: left}
            - {name: left, command: 'setsid sleep 60 & echo $! > left; exit 0'}
        """,
    )
    run = mprun("job.yaml", "-q", cwd=tmp_path, preexec_fn=seccomp.refusing(name, error=error))
    outcomes = {task: run.outcome(task) for task in ("stay", "next", "left")}
    assert (run.code, outcomes) == (0, {"stay": "timed_out", "next": "timed_out", "left": "succeeded"}), (
        run.stderr
    )
    pids = [*noted(tmp_path, 4), int((tmp_path / "left").read_text())]
    assert not [pid for pid in pids if alive(pid)]


def test_fail_fast_and_a_service_with_a_probe(tmp_path, refusing):
    write(
        tmp_path,
        work=WORK,
        job="""\
            fail_fast: true
            tasks:
            - {name: stay, target: 'work:stay'}
            - {name: service, command: 'sleep 60', daemon: true, ready: {command: 'test -e pids'}}
            - {name: fail, target: 'work:fail', depends_on: {service: ready}}
        """,
    )
    run = mprun("job.yaml", "-q", cwd=tmp_path, **refusing)
    assert run.code == 1, run.stderr
    assert (run.outcome("stay"), run.outcome("fail")) == ("stopped", "failed")
    assert said(run)
    assert not [pid for pid in noted(tmp_path, 2) if alive(pid)]


def test_many_short_tasks_end_when_their_processes_do(tmp_path, refusing):
    names = ", ".join(f"{{name: t{number}, target: 'work:noop'}}" for number in range(100))
    write(
        tmp_path, work=WORK, job=f"tasks: [{names}, {{name: end, target: 'work:noop', depends_on: ['t*']}}]\n"
    )
    run = mprun("job.yaml", "-q", "-j", "8", cwd=tmp_path, **refusing)
    assert run.code == 0, run.stderr
    assert len(run.of("task_exited")) == 101
    assert said(run)


def test_descriptors_are_used_again_and_a_flood_is_drained(tmp_path):
    """What the launcher has open by a number is not what it had before; each cost the run its launcher."""
    write(
        tmp_path,
        work="""\
            import time

            def nap(seconds):
                time.sleep(seconds)
        """,
        job="""\
            start_method: forkserver
            max_parallel: 4
            tasks:
            - {name: flood, command: head -c 100000000 /dev/zero}
            - {name: nap, target: 'work:nap', foreach: [0, 0.1, 0.03, 0.2, 0, 0.3, 0], args: ["${item}"]}
            - {name: say, command: 'sleep 0.05; echo 1', foreach: [1, 2, 3, 4]}
        """,
    )
    names, error = FILTERS["not there"]
    run = mprun("job.yaml", "-q", cwd=tmp_path, preexec_fn=seccomp.refusing(*names, error=error))
    assert (run.code, said(run)) == (0, True), run.stderr[-2000:]


@pytest.mark.parametrize("client", ["both", "the engine"])
def test_stop_signals_the_engine(tmp_path, refusing, client):
    write(
        tmp_path, work=WORK, job="tasks: [{name: a, target: 'work:stay'}, {name: b, target: 'work:stay'}]\n"
    )
    engine = start("job.yaml", "-q", cwd=tmp_path, **refusing)
    pids = noted(tmp_path, 4)
    options = refusing if client == "both" else {}
    one = mprun("stop", "a", cwd=tmp_path, **options)
    assert (one.code, "Traceback" in one.stderr) == (0, False), one.stderr
    whole = mprun("stop", cwd=tmp_path, **options)
    assert whole.code == 0, whole.stderr
    engine.communicate()
    assert engine.returncode == 143
    assert not [pid for pid in pids if alive(pid)]


def test_a_second_ctrl_c_kills(tmp_path, refusing):
    write(
        tmp_path, work=WORK, job="defaults: {stop: {grace: 60s}}\ntasks: [{name: a, target: 'work:ignore'}]\n"
    )
    engine = start("job.yaml", "-q", cwd=tmp_path, **refusing)
    pids = noted(tmp_path)
    engine.send_signal(signal.SIGINT)
    eventually(lambda: any(e["event"] == "task_stopping" for e in events_so_far(tmp_path / ".mprun")))
    engine.send_signal(signal.SIGINT)
    engine.communicate()
    assert engine.returncode == 130
    assert not [pid for pid in pids if alive(pid)]


@pytest.mark.parametrize("killed", ["engine", "launcher", "both"])
def test_no_process_outlives_a_run_of_which_a_process_is_killed(tmp_path, refusing, crash_target, killed):
    write_crash_job(tmp_path)
    run = crash_target(tmp_path, "job.yaml", launch=functools.partial(start, **refusing))
    run.until("task_started", count=8)
    run.pids(count=3)
    if killed == "both":
        run.kill_both()
        write(tmp_path, job_next="tasks: [{target: 'os:getpid'}]\n")
        following = mprun("-q", "job_next.yaml", cwd=tmp_path, **refusing)
        assert (following.code, said(following)) == (0, True), following.stderr
        assert "killed the " in following.stderr
        eventually(lambda: not run.survivors())
        return
    os.kill(run.engine.pid if killed == "engine" else run.launcher(), signal.SIGKILL)
    code = run.engine.wait()
    assert code == (-9 if killed == "engine" else 3)
    eventually(lambda: not run.survivors())


def test_a_run_is_suspended_and_resumed(tmp_path, refusing):
    write(tmp_path, work=WORK, job="tasks: [{name: a, target: 'work:stay'}]\n")
    engine = start("job.yaml", "-q", cwd=tmp_path, process_group=0, **refusing)
    pids = noted(tmp_path, 2)
    engine.send_signal(signal.SIGTSTP)
    eventually(lambda: os.waitid(os.P_PID, engine.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT))
    assert [procfs.read_stat(pid).state for pid in pids] == ["T", "T"]
    engine.send_signal(signal.SIGCONT)
    eventually(lambda: [procfs.read_stat(pid).state for pid in pids] == ["S", "S"])
    engine.send_signal(signal.SIGINT)
    engine.communicate()
    assert engine.returncode == 130
