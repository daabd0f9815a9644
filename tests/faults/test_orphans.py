"""Processes that a task starts and does not wait for: whose they are, who reaps them, how they end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest
from support import cgroups
from support.other_user import AS_NOBODY, OTHER_USER, can_be_nobody, start_as_nobody
from support.runs import (
    START_METHODS,
    alive,
    eventually,
    finish,
    mprun,
    newest_run,
    read_events,
    start,
    write,
    written,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and /proc are Linux's")

WORK = """\
    import contextlib, os, pathlib, resource, signal, subprocess, sys, time

    def stat(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            return ["gone"]

    def eventually(check):
        end = time.monotonic() + 30
        while not check():
            assert time.monotonic() < end
            time.sleep(0.005)

    def serve(number):
        # Each helper has a parent that ends at once, and ends itself a little later.
        script = "for i in $(seq %d); do (sleep 0.01 & echo $!); done" % number
        pids = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True).stdout.split()
        assert len(pids) == number
        eventually(lambda: all(stat(pid)[0] == "gone" for pid in pids))

    def wait_for_all():
        subprocess.run(["sh", "-c", "setsid sleep 1000 & echo $! > background"])
        if os.fork() == 0:
            os._exit(3)
        codes = []
        with contextlib.suppress(ChildProcessError):
            while True:
                codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
        return codes

    def leave(seconds=0):
        # In a session of its own, with an empty environment, and without any file of the run.
        script = "setsid env -i sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"
        pid = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True).stdout
        time.sleep(seconds)
        return int(pid)

    def hold(go):
        pid = leave()
        pathlib.Path("held").write_text(str(pid))
        eventually(lambda: os.path.exists(go))
        return stat(pid)[0]

    def wait_until(path):
        eventually(lambda: os.path.exists(path))

    def leave_untagged(variables):
        # What su(1) does by pam_limits(8), and a server that it starts by setsid(2).
        if (child := os.fork()) == 0:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_RTTIME, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            if (pid := os.fork()) == 0:
                if variables == "forked":
                    while True:
                        signal.pause()
                os.execvpe("sleep", ["sleep", "1000"], os.environ if variables == "kept" else {})
            pathlib.Path("new").write_text(str(pid))
            os._exit(0)
        os.waitpid(child, 0)
        pid = pathlib.Path("new").read_text()
        if variables != "forked":
            eventually(lambda: pathlib.Path(f"/proc/{pid}/comm").read_text() == "sleep\\n")
        os.rename("new", "helper")

    def serve_untagged(variables):
        leave_untagged(variables)
        wait_until("go")
        return stat(pathlib.Path("helper").read_text())[0] in "RSD"

    def say_state(path):
        state = stat(pathlib.Path(path).read_text())[0]
        print(state if state in ("Z", "gone") else "alive")
"""


def run_job(tmp_path, job, *options):
    write(tmp_path, work=WORK)
    (tmp_path / "job.yaml").write_text(textwrap.dedent(job), encoding="utf-8")
    return mprun("job.yaml", *options, cwd=tmp_path)


@pytest.mark.parametrize("method", START_METHODS)
def test_background_helpers_are_reaped_while_their_task_runs(tmp_path, method):
    """(C63)"""
    job = "tasks: [{name: server, target: 'work:serve', args: [400]}]"
    run = run_job(tmp_path, job, "--start-method", method)
    assert (run.code, run.one("task_exited")["orphans"]) == (0, []), run.stderr


def test_background_helpers_of_a_command_are_reaped_while_it_runs(tmp_path):
    """(C63)"""
    wait = 'eventually(lambda: all(stat(pid)[0] == "gone" for pid in open("pids").read().split()))'
    (tmp_path / "wait.py").write_text(f"from work import eventually, stat\n{wait}\n")
    script = f"for i in $(seq 50); do (sleep 0 & echo $! >> pids); done; exec {sys.executable} wait.py"
    run = run_job(tmp_path, f"tasks: [{{name: server, command: {json.dumps(script)}}}]")
    assert (run.code, run.one("task_exited")["orphans"]) == (0, []), run.stderr


@pytest.mark.parametrize("method", START_METHODS)
def test_a_task_that_waits_for_all_children_gets_its_own_alone(tmp_path, method):
    """(C63)"""
    job = "tasks: [{name: it, target: 'work:wait_for_all', timeout: 30}]"
    run = run_job(tmp_path, job, "--start-method", method)
    assert (run.code, run.result("it")) == (0, [3]), run.stderr
    pid = int((tmp_path / "background").read_text())
    assert run.one("task_exited")["orphans"] == [pid]
    assert not alive(pid)


@pytest.mark.parametrize("method", START_METHODS)
def test_an_orphan_lives_as_long_as_its_task(tmp_path, method):
    """(C63) Nothing but its tag shows whose it is; other tasks that end meanwhile leave it alone."""
    run = run_job(
        tmp_path,
        """\
        tasks:
          - {name: holder, target: "work:hold", args: [go]}
          - {name: first, target: "work:wait_until", args: [held]}
          - {name: second, target: "work:leave", depends_on: first}
          - {name: third, command: "setsid sleep 1000 & echo $! > left", depends_on: second}
          - {name: last, command: "touch go", depends_on: third}
        """,
        "--start-method",
        method,
    )
    assert (run.code, run.result("holder")) == (0, "S"), run.stderr
    held, left = (int((tmp_path / name).read_text()) for name in ("held", "left"))
    orphans = {event["task"]: event["orphans"] for event in run.of("task_exited")}
    assert orphans == {
        "holder": [held],
        "first": [],
        "second": [run.result("second")],
        "third": [left],
        "last": [],
    }
    assert not any(map(alive, (held, left, run.result("second"))))


def serving_untagged(method, variables):
    """The field for a task that starts a helper that has lost its tag, and serves until there is a `go`."""
    if method == "command":
        script = f"import work; assert work.serve_untagged({variables!r})"
        return f"command: {json.dumps([sys.executable, '-c', script])}"
    return f"target: 'work:serve_untagged', args: [{variables}]"


@pytest.mark.parametrize("variables", ["kept", "cleared"])
@pytest.mark.parametrize("method", ["command", *START_METHODS])
def test_an_orphan_that_has_lost_its_tag_lives_as_long_as_its_task(tmp_path, method, variables):
    """(C63) A limit that another program has reset proves nothing: other tasks that end leave it alone."""
    run = run_job(
        tmp_path,
        f"""\
        start_method: {method if method in START_METHODS else "fork"}
        tasks:
          - {{name: server, {serving_untagged(method, variables)}}}
          - {{name: other, target: "work:wait_until", args: [helper]}}
          - {{name: last, command: "touch go", depends_on: other}}
        """,
    )
    assert (run.code, method == "command" or run.result("server")) == (0, True), run.stderr
    pid = int((tmp_path / "helper").read_text())
    orphans = {event["task"]: event["orphans"] for event in run.of("task_exited")}
    assert orphans == {"server": [pid], "other": [], "last": []}
    assert not alive(pid)


@pytest.mark.parametrize("outer", ["other", "elsewhere"])
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_what_a_run_inside_a_task_of_another_one_inherits_proves_nothing(tmp_path, method, outer):
    """(C63) A fork shows the variables of its launcher, and these name a task of the run outside."""
    job = """\
        tasks:
          - {name: server, target: "work:serve_untagged", args: [forked]}
          - {name: other, target: "work:wait_until", args: [helper]}
          - {name: last, command: "touch go", depends_on: other}
    """
    write(tmp_path, work=WORK, job=job)
    env = {"MPRUN_TASK": outer, "MPRUN_ATTEMPT": "1", "MPRUN_RUN_ID": "20260101-000000.000-abcd"}
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path, env=env)
    assert (run.code, run.result("server")) == (0, True), run.stderr
    assert run.one("task_exited", "server")["orphans"] == [int((tmp_path / "helper").read_text())]


@pytest.mark.parametrize("variables", ["kept", "cleared"])
@pytest.mark.parametrize("method", ["command", *START_METHODS])
def test_an_orphan_that_has_lost_its_tag_lives_on_when_a_probe_ends(tmp_path, method, variables):
    """(C63)"""
    run = run_job(
        tmp_path,
        f"""\
        start_method: {method if method in START_METHODS else "fork"}
        tasks:
          - name: server
            {serving_untagged(method, variables).replace(", args", chr(10) + " " * 12 + "args")}
            daemon: true
            ready: {{command: [test, -e, helper]}}
          - {{name: test, target: "work:say_state", args: [helper], depends_on: {{server: ready}}}}
        """,
    )
    assert run.code == 0, run.stderr
    assert run.log("test").split() == [b"alive"]
    assert not alive(int((tmp_path / "helper").read_text()))


def test_an_orphan_without_any_proof_ends_with_the_last_task_whose_it_may_be(tmp_path):
    """(C63)"""
    run = run_job(
        tmp_path,
        """\
        tasks:
          - {name: other, target: "work:wait_until", args: [go]}
          - {name: it, target: "work:leave_untagged", args: [cleared]}
          - {name: look, target: "work:say_state", args: [helper], depends_on: it}
          - {name: last, command: "touch go; exec sleep 1000", daemon: true, depends_on: look}
          - {name: after, target: "work:say_state", args: [helper], depends_on: other}
        """,
    )
    assert run.code == 0, run.stderr
    pid = int((tmp_path / "helper").read_text())
    assert run.log("look").split() == [b"alive"]
    assert run.log("after").split() == [b"gone"]
    orphans = {event["task"]: event["orphans"] for event in run.of("task_exited")}
    assert orphans == {"other": [pid], "it": [], "look": [], "last": [], "after": []}


def test_an_orphan_that_has_lost_its_tag_ends_with_the_task_that_its_variables_name(tmp_path):
    """(C63)"""
    run = run_job(
        tmp_path,
        """\
        tasks:
          - {name: other, target: "work:wait_until", args: [go]}
          - {name: it, target: "work:leave_untagged", args: [kept]}
          - {name: look, target: "work:say_state", args: [helper], depends_on: it}
          - {name: last, command: "touch go", depends_on: look}
        """,
    )
    assert (run.code, run.log("look").split()) == (0, [b"gone"]), run.stderr
    pid = int((tmp_path / "helper").read_text())
    orphans = {event["task"]: event["orphans"] for event in run.of("task_exited")}
    assert orphans == {"other": [], "it": [pid], "look": [], "last": []}


@pytest.mark.parametrize("variables", ["kept", "cleared"])
def test_an_orphan_that_has_lost_its_tag_is_suspended_with_its_task(tmp_path, variables):
    """(C63)"""
    write(tmp_path, work=WORK, job=f"tasks: [{{name: it, {serving_untagged('fork', variables)}}}]")
    engine = start("job.yaml", cwd=tmp_path)
    eventually((tmp_path / "helper").exists)
    helper = psutil.Process(int((tmp_path / "helper").read_text()))
    engine.send_signal(signal.SIGTSTP)
    eventually(lambda: psutil.Process(engine.pid).status() == psutil.STATUS_STOPPED)
    assert helper.status() == psutil.STATUS_STOPPED
    engine.send_signal(signal.SIGCONT)
    eventually(lambda: helper.status() != psutil.STATUS_STOPPED)
    (tmp_path / "go").touch()
    run = finish(engine, tmp_path / ".mprun")
    assert run.code == 0, run.stderr
    assert run.one("task_exited")["orphans"] == [helper.pid]


@pytest.mark.parametrize("grace", ["10s", "0s"])
def test_orphans_end_with_a_task_that_is_stopped(tmp_path, grace):
    """(C63)"""
    task = f"{{name: it, target: 'work:hold', args: [never], stop: {{grace: {grace}}}}}"
    write(tmp_path, work=WORK, job=f"tasks: [{task}]")
    process = start("job.yaml", cwd=tmp_path)
    held = tmp_path / "held"
    pid = int(written(held))
    assert mprun("stop", "it", cwd=tmp_path).code == 0
    run = finish(process, tmp_path / ".mprun")
    assert run.outcome("it") == "stopped"
    assert not alive(pid)


def test_orphans_are_left_to_the_task_where_they_cannot_be_tagged(tmp_path):
    """A finite hard limit leaves no room for the tag: then a task adopts its orphans itself."""
    write(
        tmp_path,
        work=WORK,
        job="""\
        tasks:
          - {name: other, target: "work:wait_until", args: [go]}
          - {name: it, target: "work:leave"}
          - {name: last, command: "touch go", depends_on: it}
        """,
    )
    # Without CAP_SYS_RESOURCE (24), so that root cannot raise the limit either.
    script = "import ctypes, os, resource, sys; ctypes.CDLL(None).prctl(24, 24, 0, 0, 0); "
    script += "resource.setrlimit(resource.RLIMIT_RTTIME, (9, 9)); "
    script += "os.execv(sys.executable, [sys.executable, '-m', 'mprun', 'job.yaml'])"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    events = read_events(newest_run(tmp_path / ".mprun").events)
    (exited,) = (e for e in events if e["event"] == "task_exited" and e["task"] == "it")
    (result,) = (e["result"] for e in events if e["event"] == "task_finished" and e["task"] == "it")
    assert exited["orphans"] == [result]
    assert not alive(result)


# ---- chains of forks

CHAIN = """\
#include <unistd.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    for (int i = 0; i < atoi(argv[1]); i++)
        if (fork() == 0)
            /* Each one forks, leaves the session of its parent, and ends. */
            for (;;) {
                setsid();
                if (fork() != 0) _exit(0);
            }
    pause();
}
"""


# Another one runs these tests at the same time.
CHAIN_NAME = f"chain-{os.getpid()}"


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A program that starts chains of processes: each forks, starts a session, and ends."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    directory = tmp_path_factory.mktemp("chain")
    (directory / "chain.c").write_text(CHAIN)
    subprocess.run(["cc", "-O1", "-o", CHAIN_NAME, "chain.c"], cwd=directory, check=True)
    yield directory / CHAIN_NAME
    for process in chained():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def chained():
    everyone = psutil.process_iter(["name", "status"])
    return [process for process in everyone if process.info["name"] == CHAIN_NAME]


def left():
    """Those that are alive; process 1 may take its time to reap what has ended after its parent."""
    return [process for process in chained() if process.info["status"] != psutil.STATUS_ZOMBIE]


@pytest.fixture
def busy():
    """Two busy processes, one for each core."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("count", [1, 4])
def test_chains_of_forks_end_with_their_task(tmp_path, chain, busy, count):
    """(C65)"""
    run = run_job(
        tmp_path,
        f"""\
        tasks:
          - {{name: it, command: [{chain}, "{count}"], timeout: 0.3, stop: {{grace: 0s}}}}
          - {{name: other, command: "exit 0", depends_on: {{it: finished}}}}
        """,
    )
    assert run.outcome("it") == "timed_out", run.stderr
    assert left() == []
    assert run.outcome("other") == "succeeded"


def test_chains_of_forks_end_with_a_killed_engine(tmp_path, chain, busy):
    """(C65)"""
    write(tmp_path, job=f"tasks: [{{name: it, command: [{chain}, '2']}}]")
    engine = start("job.yaml", cwd=tmp_path)
    eventually(lambda: len(chained()) > 2)
    engine.kill()
    engine.communicate()
    eventually(lambda: not left())


def test_chains_of_forks_end_with_a_killed_launcher(tmp_path, chain, busy):
    """(C65)"""
    write(tmp_path, job=f"tasks: [{{name: it, command: [{chain}, '2']}}]")
    engine = start("job.yaml", cwd=tmp_path)
    eventually(lambda: len(chained()) > 2)
    (launcher,) = psutil.Process(engine.pid).children()
    launcher.send_signal(signal.SIGKILL)
    run = finish(engine, tmp_path / ".mprun")
    assert run.code == 3
    assert left() == []


# ---- tracers

TRACE = """\
    import ctypes, os, pathlib, signal, sys, time

    libc = ctypes.CDLL(None, use_errno=True)
    TRACEME, SEIZE, TRACEEXIT = 0, 0x4206, 0x40

    def hold_at_exit():
        leader, (reader, writer) = os.getpid(), os.pipe()
        # Yama may allow only descendants to be traced.
        libc.prctl(0x59616d61, -1, 0, 0, 0)
        if os.fork() == 0:
            os.setsid()
            assert libc.ptrace(SEIZE, leader, None, ctypes.c_void_p(TRACEEXIT)) == 0
            os.write(writer, b"x")
            # It never lets the leader continue.
            while True:
                signal.pause()
        os.read(reader, 1)
        pathlib.Path("traced").touch()
        while True:
            signal.pause()
"""


FOREIGN_TRACER = """
import ctypes, pathlib, signal, sys
assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, ctypes.c_void_p(0x40)) == 0
pathlib.Path("traced").touch()
while True:
    signal.pause()
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_a_task_that_a_tracer_from_outside_holds_at_its_exit_is_given_up(tmp_path, method):
    """The tracer is not the run's, so it lives on; the process is named, and the run continues."""
    work = """\
        import ctypes, os, pathlib, time

        def wait():
            # Yama may allow only descendants to be traced.
            ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)
            pathlib.Path("pid.new").write_text(str(os.getpid()))
            os.rename("pid.new", "pid")
            time.sleep(100)
    """
    job = """\
        tasks:
          - {name: it, target: "held:wait", stop: {grace: 0s}}
          - {name: next, command: "true", depends_on: {it: finished}}
    """
    write(tmp_path, held=work, job=job)
    engine = start("job.yaml", "--start-method", method, cwd=tmp_path)
    pid = int(written(tmp_path / "pid"))
    tracer = subprocess.Popen([sys.executable, "-c", FOREIGN_TRACER, str(pid)], cwd=tmp_path)
    try:
        eventually((tmp_path / "traced").exists)
        mprun("stop", "it", cwd=tmp_path)
        run = finish(engine, tmp_path / ".mprun")
        assert tracer.poll() is None
    finally:
        tracer.kill()
        tracer.wait()
    assert (run.code, run.outcome("next")) == (1, "succeeded"), run.stderr
    assert run.one("task_finished", "it")["reason"] == "could not be stopped"
    assert run.one("task_exited", "it")["left_running"] == [pid]
    eventually(lambda: not alive(pid))


@pytest.mark.parametrize("killed", ["engine", "launcher", "task"])
def test_a_tracer_does_not_hold_a_task_at_its_exit(tmp_path, killed):
    """(C71)"""
    write(
        tmp_path,
        trace=TRACE,
        job="tasks: [{name: it, target: 'trace:hold_at_exit', stop: {grace: 0s}}]",
    )
    engine = start("job.yaml", cwd=tmp_path)
    eventually(lambda: (tmp_path / "traced").exists())
    processes = psutil.Process(engine.pid).children(recursive=True)
    launcher, *task = processes
    assert len(task) == 2
    if killed == "launcher":
        launcher.kill()
    if killed == "engine":
        engine.kill()
    if killed == "task":
        assert mprun("stop", "it", cwd=tmp_path).code == 0
    engine.communicate()
    eventually(lambda: not any(alive(process.pid) for process in processes))


# ---- processes of another user

OTHER = """\
#include <fcntl.h>
#include <unistd.h>
int main(void) {
    /* All three ids: no other user may signal it any more. */
    if (setresuid(65533, 65533, 65533)) return 3;
    close(open("changed", O_CREAT | O_WRONLY, 0600));
    pause();
}
"""

BECOME = """\
    import os

    def become():
        os.execv("./other", ["other"])
"""


@pytest.fixture
def other(tmp_path):
    """A program that becomes another user by its setuid bit, in a directory of all users."""
    if not can_be_nobody():
        pytest.skip("only root can be another user, by setpriv(1)")
    if os.statvfs(tmp_path).f_flag & os.ST_NOSUID:
        pytest.skip("the file system has no setuid bits")
    tmp_path.chmod(0o777)
    (tmp_path / "other.c").write_text(OTHER)
    try:
        subprocess.run(["cc", "-o", "other", "other.c"], cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip("no C compiler")
    (tmp_path / "other").chmod(0o4755)
    yield
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info == {"name": "other", "cwd": str(tmp_path)}:
            process.kill()


@pytest.mark.parametrize("method", ["command", *START_METHODS])
def test_a_task_that_became_another_user_is_given_up(tmp_path, other, method):
    """(C66)"""
    what = "command: [./other]" if method == "command" else "target: 'become:become'"
    job = f"""\
        tasks:
          - {{name: it, {what}, stop: {{grace: 0s}}}}
          - {{name: after, command: "exit 0", depends_on: {{it: finished}}}}
        """
    write(tmp_path, become=BECOME, job=job)
    options = ("--start-method", method) if method in START_METHODS else ()
    process = start_as_nobody("job.yaml", *options, cwd=tmp_path)
    eventually((tmp_path / "changed").exists)
    finish(start_as_nobody("stop", "it", cwd=tmp_path), tmp_path / ".mprun")
    run = finish(process, tmp_path / ".mprun")
    assert run.code == 1, run.stderr
    finished, pid = run.one("task_finished", "it"), run.one("task_started", "it")["pid"]
    assert (finished["outcome"], finished["reason"]) == ("failed", "could not be stopped")
    assert (run.one("task_exited", "it")["left_running"], run.outcome("after")) == ([pid], "succeeded")
    assert f"failed: could not be stopped; left running: {pid}" in run.stderr
    assert alive(pid)


def test_what_became_another_user_ends_with_a_run_that_has_a_cgroup(tmp_path, other):
    """(C66) The kernel asks for no permission to end what is in it."""
    if reason := cgroups.why_none():
        pytest.skip(reason)
    script = "setsid ./other & echo $! > pid; while ! [ -e changed ]; do sleep 0.01; done"
    write(tmp_path, job=json.dumps({"tasks": [{"name": "it", "command": script}]}))
    delegated = cgroups.Cgroup(OTHER_USER)
    try:
        run = finish(delegated.start("job.yaml", cwd=tmp_path, prefix=AS_NOBODY), tmp_path / ".mprun")
        pid = int((tmp_path / "pid").read_text())
        assert run.code == 0, run.stderr
        assert run.one("task_exited")["left_running"] == [pid]
        assert not alive(pid)
        assert delegated.runs() == []
    finally:
        delegated.close()


def test_what_became_another_user_and_is_left_is_named(tmp_path, other):
    """(C66)"""
    script = "setsid ./other & echo $! > pid; while ! [ -e changed ]; do sleep 0.01; done"
    tasks = [{"name": "it", "command": script}, {"name": "next", "command": "exit 0", "depends_on": "it"}]
    write(tmp_path, job=json.dumps({"tasks": tasks}))
    run = finish(start_as_nobody("job.yaml", "-v", cwd=tmp_path), tmp_path / ".mprun")
    pid = int((tmp_path / "pid").read_text())
    assert run.code == 0, run.stderr
    exited = {event["task"]: (event["orphans"], event["left_running"]) for event in run.of("task_exited")}
    assert exited == {"it": ([], [pid]), "next": ([], [])}
    assert run.stderr.count(f"left running: {pid} (other)") == 2
    shown = finish(start_as_nobody("show", cwd=tmp_path), tmp_path / ".mprun")
    assert f"succeeded; left running: {pid} (other)" in shown.stdout


def test_what_a_task_that_succeeded_had_left_running_is_said_in_the_default_view(tmp_path):
    script = "sleep 1000 & echo $! > left; until grep -q sleep /proc/$!/comm; do :; done"
    write(tmp_path, job=json.dumps({"tasks": [{"name": "start", "command": script}]}))
    done = mprun("job.yaml", cwd=tmp_path)
    pid = (tmp_path / "left").read_text().strip()
    told = f"1 process that it had left running: {pid} (sleep); use `daemon: true` for a service"
    assert [line.partition("] ")[2] for line in done.stderr.splitlines() if "KILLED" in line] == [
        f"KILLED    start  {told}"
    ]
    assert done.code == 0
    assert "KILLED" not in mprun("-q", "job.yaml", cwd=tmp_path).stderr


@pytest.mark.parametrize("method", START_METHODS)
def test_what_is_killed_is_named_whatever_its_name_is(tmp_path, method):
    """A process may give itself any name of 15 bytes; only the first are named."""
    work = """\
        import ctypes, os, time

        def leave():
            ready, written = os.pipe()
            for number in range(30):
                if os.fork() == 0:
                    os.setsid()
                    ctypes.CDLL(None).prctl(15, b"\\x1b[31m\\n::error::" if number < 2 else b"many", 0, 0, 0)
                    os.write(written, b"1")
                    time.sleep(60)
                os.read(ready, 1)
    """
    write(tmp_path, work=work, job='tasks: [{name: t, target: "work:leave"}]')
    done = mprun("job.yaml", "-v", "--start-method", method, cwd=tmp_path)
    assert done.code == 0, done.stderr
    exited = done.one("task_exited")
    assert len(exited["orphans"]) == 30
    assert 20 <= len(exited["process_names"]) <= 30
    assert {"\x1b[31m\n::error::", "many"} >= {*exited["process_names"].values()} >= {"many"}
    for shown in (
        done.stderr,
        mprun("show", "-v", cwd=tmp_path).stdout,
        mprun("tree", cwd=tmp_path).stdout,
    ):
        assert "(many)" in shown
        assert "\x1b[31m" not in shown
        assert "\n::error" not in shown
