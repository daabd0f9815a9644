"""C17: with `stop: {to: process}` a task's own processes are not asked to end with it."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from support.pythons import forked_on_each
from support.runs import START_METHODS, alive, eventually, mprun, write, written

every_start_method = pytest.mark.parametrize("method", START_METHODS)

# Like celery: the parent takes jobs, its children do them. At the first SIGTERM, the parent takes no
# more jobs, and waits until the children have done theirs; a child has no handler of its own.
WORKER = """\
    import os, signal, sys, time

    def child(number, done):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        open(f"child{number}.pid", "w").write(str(os.getpid()))
        while not os.path.exists("warm"):
            time.sleep(0.005)
        time.sleep(0.1)
        open(f"{done}{number}", "w").close()
        os._exit(0)

    def work(count=2, ignores=False):
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
        children = [os.fork() or child(number, "done") for number in range(count)]
        open("up", "w").close()
        while not asked:
            time.sleep(0.005)
        open("warm", "w").close()
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        print("children ended with", *codes)
        while ignores:
            time.sleep(1)

    def fail_after(name):
        while not os.path.exists(name):
            time.sleep(0.005)
        raise SystemExit(3)

    if __name__ == "__main__":
        work()
"""

TARGET = "target: 'work:work'"
COMMANDS = {
    "list": f"command: [{sys.executable}, work.py]",
    "shell": f"command: 'exec {sys.executable} work.py'",
    "sh -c": f"command: [sh, -c, 'exec {sys.executable} work.py']",
}


@pytest.fixture
def go(tmp_path, crash_target):
    def start_run(what, stop, *arguments, extra="", directory=tmp_path):
        job = f"{extra}\ntasks:\n- {{name: worker, {what}, stop: {stop}}}\n"
        write(directory, work=WORKER, job=job)
        return crash_target(directory, "job.yaml", *arguments)

    return start_run


def up(directory, count=2):
    """Wait until the worker and its children work; the pids of the children."""
    eventually((directory / "up").exists)
    return [int(written(directory / f"child{number}.pid")) for number in range(count)]


WARM = "{grace: 600, to: process}"


def assert_warm(run, directory):
    assert b"children ended with 0 0\n" in run.log("worker")
    assert (directory / "done0").exists()
    assert (directory / "done1").exists()
    assert run.one("task_exited")["exit_code"] == 0


@every_start_method
def test_a_warm_shutdown_ends_its_childrens_work(go, tmp_path, method):
    run = go(TARGET, WARM, "--start-method", method)
    up(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    ended = run.finish()
    assert_warm(ended, tmp_path)
    assert (ended.code, ended.outcome("worker")) == (143, "stopped")


@forked_on_each
def test_by_default_the_children_get_the_signal_too(go, tmp_path, method):
    run = go(TARGET, "{grace: 600}", "--start-method", method)
    up(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    assert b"children ended with -15 -15\n" in run.finish().log("worker")


@pytest.mark.once
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_a_warm_shutdown(go, tmp_path, command):
    run = go(COMMANDS[command], WARM)
    up(tmp_path)
    assert mprun("stop", "worker", cwd=tmp_path).code == 0
    assert_warm(run.finish(), tmp_path)


@pytest.mark.once
def test_a_shell_that_stays_is_the_process_that_gets_the_signal(go, tmp_path):
    """Without `exec` the program is a child of the shell: it is killed once the shell has ended."""
    run = go(f"command: '{sys.executable} work.py; echo over'", WARM)
    children = up(tmp_path)
    assert mprun("stop", "worker", cwd=tmp_path).code == 0
    ended = run.finish()
    assert ended.one("task_exited")["signal"] == "SIGTERM"
    assert not (tmp_path / "warm").exists()
    assert not any(map(alive, children))


@pytest.mark.once
def test_every_stop_keeps_to_the_process(go, tmp_path):
    """Side by side, because two of them wait for a timeout."""
    runs = {}
    for reason, key in {"timeout": "", "run_timeout": "timeout: 4s", "fail_fast": "fail_fast: true"}.items():
        directory = tmp_path / reason
        directory.mkdir()
        what = f"{TARGET}, timeout: 4s" if reason == "timeout" else TARGET
        stop = WARM + "}\n- {name: fail, target: 'work:fail_after', args: [fail]"
        runs[reason] = go(what, stop, extra=key, directory=directory)
    for reason in runs:
        up(tmp_path / reason)
        if reason != "run_timeout":
            (tmp_path / reason / "fail").touch()
    for reason, run in runs.items():
        ended = run.finish()
        assert ended.one("task_stopping", "worker")["reason"] == reason
        assert b"children ended with 0 0\n" in ended.log("worker")


@pytest.mark.once
def test_after_the_grace_all_of_its_processes_are_killed(go, tmp_path):
    run = go(f"{TARGET}, kwargs: {{ignores: true}}", "{grace: 1, to: process}")
    children = up(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    ended = run.finish()
    assert [event["signal"] for event in ended.of("task_stopping")] == ["SIGTERM", "SIGKILL"]
    assert run.survivors() == []
    assert not any(map(alive, children))


@pytest.mark.once
def test_a_stop_signal_that_kills_goes_to_all_of_its_processes(go, tmp_path):
    run = go(TARGET, "{signal: KILL, to: process}")
    children = up(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    run.finish()
    assert not any(map(alive, children))


@pytest.mark.once
def test_a_suspended_process_gets_the_signal(go, tmp_path):
    """Its children stay suspended until it has ended."""
    run = go(TARGET, WARM)
    up(tmp_path)
    run.until("task_started")
    (pid,) = [event["pid"] for event in run.events() if event["event"] == "task_started"]
    os.kill(pid, signal.SIGSTOP)
    run.engine.send_signal(signal.SIGTERM)
    assert_warm(run.finish(), tmp_path)


@pytest.mark.once
@pytest.mark.parametrize("where", ["params: {to: process}", "env: {TO: process}"])
def test_it_may_be_a_reference(go, tmp_path, where):
    reference = "${params.to}" if "params" in where else "${env.TO}"
    run = go(TARGET, f'{{grace: 600, to: "{reference}"}}', extra=where)
    up(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    assert_warm(run.finish(), tmp_path)
