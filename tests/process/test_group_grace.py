"""C17: a whole process group has the grace, also if its leader, such as a shell, ends at once."""

from __future__ import annotations

import signal
import sys

import pytest
from support.pythons import forked_on_each
from support.runs import START_METHODS, alive, eventually, start, write, written

every_start_method = pytest.mark.parametrize("method", START_METHODS)

# A server that needs a moment to end: until there is a file `go`.
SERVER = """\
    import os, signal, subprocess, sys, time

    def serve(ignores=False):
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
        open("server.pid", "w").write(str(os.getpid()))
        os.rename("server.pid", "up")
        while not asked:
            time.sleep(0.005)
        open("asked", "w").close()
        while ignores or not os.path.exists("go"):
            time.sleep(0.005)
        print("saved")

    def start():
        # It handles no signal, so it ends at once when it is asked to.
        subprocess.run([sys.executable, "server.py", *sys.argv[2:]])

    if __name__ == "__main__":
        serve("ignores" in sys.argv)
"""
SHELL = f"command: '{sys.executable} server.py; echo over'"
WRAPPERS = {
    "a shell": SHELL,
    "a shell in a shell": f"command: \"sh -c '{sys.executable} server.py; true'; true\"",
    "in the background": f"command: '{sys.executable} server.py & wait'",
    "a program that forks": f"command: [{sys.executable}, -c, 'import server; server.start()']",
}


@pytest.fixture
def go(tmp_path, crash_target):
    def start_run(what, *arguments, more="", extra=""):
        job = f"tasks:\n- {{name: server, {what}, {more or 'stop: {grace: 600}'}}}\n{extra}"
        write(tmp_path, server=SERVER, job=job)
        return crash_target(tmp_path, "job.yaml", *arguments)

    return start_run


def pid_of_server(directory):
    return int(written(directory / "up", 30))


def leader_has_ended(run, task="server"):
    """Wait until the process of the task has ended; it may not be reaped yet."""
    (pid,) = eventually(
        lambda: [e["pid"] for e in run.events() if e["event"] == "task_started" and e["task"] == task]
    )
    eventually(lambda: not alive(pid))


def assert_saved(ended, task="server"):
    assert b"saved\n" in ended.log(task)
    exited = ended.one("task_exited", task)
    assert exited["signal"] == "SIGTERM"
    assert not exited.get("orphans")
    assert [event["signal"] for event in ended.of("task_stopping")] == ["SIGTERM"]


@pytest.mark.once
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_a_shell_has_started_has_its_grace(go, tmp_path, wrapper):
    run = go(WRAPPERS[wrapper])
    pid_of_server(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    eventually((tmp_path / "asked").exists, 30)
    leader_has_ended(run)
    (tmp_path / "go").touch()
    assert_saved(run.finish())


@every_start_method
def test_what_a_target_has_started_has_its_grace(go, tmp_path, method):
    run = go("target: 'server:start'", "--start-method", method)
    pid_of_server(tmp_path)
    run.until("task_started")
    run.engine.send_signal(signal.SIGTERM)
    eventually((tmp_path / "asked").exists, 30)
    leader_has_ended(run)
    (tmp_path / "go").touch()
    assert_saved(run.finish())


@pytest.mark.once
def test_after_the_grace_the_group_is_killed(go, tmp_path):
    run = go(SHELL.replace("server.py;", "server.py ignores;"), more="stop: {grace: 300ms}")
    server = pid_of_server(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    ended = run.finish()
    assert [event["signal"] for event in ended.of("task_stopping")] == ["SIGTERM", "SIGKILL"]
    assert ended.one("task_exited")["signal"] == "SIGTERM"
    assert not alive(server)
    assert run.survivors() == []


@forked_on_each
def test_after_the_grace_the_group_of_a_target_is_killed(go, tmp_path, method):
    run = go("target: 'server:start'", "--start-method", method, more="stop: {grace: 300ms}")
    server = pid_of_server(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    ended = run.finish()
    assert [event["signal"] for event in ended.of("task_stopping")] == ["SIGTERM", "SIGKILL"]
    assert not alive(server)


@pytest.mark.once
def test_a_second_ctrl_c_cuts_the_grace_of_the_group_short(go, tmp_path):
    run = go(SHELL)
    server = pid_of_server(tmp_path)
    run.engine.send_signal(signal.SIGINT)
    leader_has_ended(run)
    run.engine.send_signal(signal.SIGINT)
    ended = run.finish()
    assert ended.code == 130
    assert not alive(server)


@pytest.mark.once
def test_dependencies_wait_for_the_whole_group(go, tmp_path):
    extra = "- {name: db, command: sleep 600, daemon: true}\n"
    run = go(SHELL, more="stop: {grace: 600}, depends_on: db", extra=extra)
    pid_of_server(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    eventually((tmp_path / "asked").exists, 30)
    leader_has_ended(run)
    (tmp_path / "go").touch()
    ended = run.finish()
    assert b"saved\n" in ended.log("server")
    order = [(event["event"], event["task"]) for event in ended.events if "task" in event]
    assert order.index(("task_exited", "server")) < order.index(("task_stopping", "db"))


@pytest.mark.once
@pytest.mark.parametrize("by", ["timeout", "end of the run"])
def test_every_stop_gives_the_group_its_grace(go, tmp_path, by):
    more, extra = "timeout: 3s, stop: {grace: 600}", ""
    if by != "timeout":
        more = "daemon: true, ready: {file: up}, stop: {grace: 600}"
        extra = "- {name: short, command: 'true', depends_on: {server: ready}}\n"
    run = go(SHELL, more=more, extra=extra)
    pid_of_server(tmp_path)
    eventually((tmp_path / "asked").exists, 30)
    (tmp_path / "go").touch()
    assert b"saved\n" in run.finish().log("server")


@pytest.mark.once
def test_the_next_task_starts_once_the_group_has_ended(go, tmp_path):
    run = go(SHELL, extra="- {name: next, command: 'true'}\nmax_parallel: 1\n")
    pid_of_server(tmp_path)
    with start("stop", "server", cwd=tmp_path) as stop:
        eventually((tmp_path / "asked").exists, 30)
        leader_has_ended(run)
        (tmp_path / "go").touch()
        stop.communicate()
    ended = run.finish()
    assert_saved(ended)
    assert ended.outcome("next") == "succeeded"


@pytest.mark.once
def test_mprun_stop_waits_for_the_group(go, tmp_path):
    run = go(SHELL)
    pid_of_server(tmp_path)
    with start("stop", "server", cwd=tmp_path) as stop:
        eventually((tmp_path / "asked").exists, 30)
        leader_has_ended(run)
        assert stop.poll() is None
        (tmp_path / "go").touch()
        stop.communicate()
    assert stop.returncode == 0
    assert_saved(run.finish())


@pytest.mark.once
def test_a_task_that_was_not_asked_to_end_leaves_nothing(go, tmp_path):
    run = go(f"command: '{sys.executable} server.py & while [ ! -e up ]; do sleep 0.01; done'")
    ended = run.finish()
    assert ended.one("task_exited")["exit_code"] == 0
    assert len(ended.one("task_exited")["orphans"]) == 1


def test_an_engine_that_is_killed_leaves_nothing_of_the_group(go, tmp_path):
    run = go(SHELL)
    server = pid_of_server(tmp_path)
    run.engine.send_signal(signal.SIGTERM)
    eventually((tmp_path / "asked").exists, 30)
    leader_has_ended(run)
    run.engine.kill()
    run.engine.communicate()
    eventually(lambda: not alive(server))
