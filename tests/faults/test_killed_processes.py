"""No process is left if the engine, the launcher or both are killed, at any moment."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from support.cgroups import Cgroup, why_none
from support.crash_targets import write_crash_job
from support.kills import BOUND, WHO, Kills
from support.runs import START_METHODS, TIMEOUT, alive, environment, eventually, start, write
from support.timing import assert_quick

from mprun.linux import procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="subreapers and /proc are Linux's")

every_start_method = pytest.mark.parametrize("method", START_METHODS)


@pytest.fixture
def run_to_kill(tmp_path, crash_target):
    return functools.partial(crash_target, tmp_path)


def report(name, seconds):
    """Print the figures of many rounds (`pytest -s --rounds 1000`)."""
    ordered = sorted(seconds)
    p99 = ordered[int(len(ordered) * 0.99)]
    print(f"\n{name}: {len(ordered)} rounds, p50 {ordered[len(ordered) // 2] * 1000:.0f} ms,", end=" ")
    print(f"p99 {p99 * 1000:.0f} ms, worst {ordered[-1] * 1000:.0f} ms")


@every_start_method
@pytest.mark.parametrize("who", WHO)
def test_no_process_outlives_a_kill_at_a_random_moment(tmp_path, method, who, rounds):
    """If both are killed, the next start kills processes that have left their task's session."""
    kills = Kills(tmp_path, method)
    found, seconds = [], []
    for number in range(rounds):
        seed = f"{who} {method} {number}"
        took, defects = kills.play(who, random.Random(seed))
        assert_quick(took, BOUND, time.monotonic)
        seconds.append(took)
        found += [(seed, *defect) for defect in defects if defect[0] != "late"]
    found += kills.close()
    report(f"{who} killed under {method}", seconds)
    assert found == []


# ---- a launcher that is killed while no tasks run


# The launcher waits at its first import.
HELD = """\
    import os, signal, sys

    engine = os.getpid()

    def hold(event, arguments):
        if event == "import" and arguments[0] == "mprun.launcher.main" and os.getpid() != engine:
            signal.pause()

    sys.addaudithook(hold)
"""


def test_a_launcher_that_is_killed_before_it_has_done_anything_is_reported(run_to_kill, tmp_path):
    write_crash_job(tmp_path, sitecustomize=HELD)

    def launch(*arguments, cwd, env):
        return start(*arguments, cwd=cwd, env=env | {"PYTHONPATH": str(tmp_path)})

    run = run_to_kill("job.yaml", launch=launch)
    os.kill(run.launcher(), signal.SIGKILL)
    ended = run.finish()
    assert (ended.code, ended.directory) == (3, None)
    assert ended.stderr == "error: the main process ended before it imported anything: killed by SIGKILL\n"
    assert os.listdir(tmp_path / ".mprun" / "open") == []


@every_start_method
def test_processes_of_modules_end_with_a_launcher_that_is_killed_during_an_import(
    run_to_kill, tmp_path, method
):
    write(
        tmp_path,
        slow="""\
            import os, signal, subprocess
            if os.fork() == 0:
                os.setsid()
                signal.pause()
            subprocess.Popen(["sleep", "60"], start_new_session=True)
            open("importing", "w").close()
            signal.pause()
        """,
        job="tasks: [{target: 'slow:run'}]\n",
    )
    run = run_to_kill("job.yaml", "--start-method", method)
    eventually((tmp_path / "importing").exists)
    os.kill(run.launcher(), signal.SIGKILL)
    ended = run.finish()
    assert (ended.code, ended.directory) == (2, None)
    assert "importing `slow` terminated the main process (killed by SIGKILL)" in ended.stderr
    assert run.survivors() == []


def test_processes_that_a_hanging_import_has_started_end_with_it(run_to_kill, tmp_path):
    write(
        tmp_path,
        slow="""\
            import signal, subprocess
            subprocess.Popen(["sh", "-c", "setsid sleep 60 & sleep 60"], start_new_session=True)
            signal.pause()
        """,
        job="tasks: [{target: 'slow:run'}]\n",
    )
    run = run_to_kill("job.yaml", "--import-timeout", "2")
    ended = run.finish()
    assert (ended.code, ended.directory) == (2, None)
    assert "importing `slow` takes longer than 2s (`--import-timeout`)" in ended.stderr
    assert run.survivors() == []


def test_a_launcher_that_is_killed_at_the_end_leaves_no_process(run_to_kill, tmp_path):
    """After all tasks have ended and the end is recorded, it kills processes that a module started."""
    write(
        tmp_path,
        work="""\
            import os, subprocess
            for _ in range(200):
                subprocess.Popen(["sleep", "60"], start_new_session=True)
            def call():
                pass
        """,
        job="tasks: [{target: 'work:call'}]\n",
    )
    run = run_to_kill("job.yaml")
    launcher = run.launcher()
    run.until("run_finished")
    try:
        os.kill(launcher, signal.SIGKILL)
    except ProcessLookupError:
        pytest.skip("the launcher ended first")
    assert run.finish().code == 0
    assert run.survivors() == []


# ---- a launcher that cannot read its socket when the engine dies


def kill_engine(run):
    run.engine.kill()
    assert_quick(run.seconds_to_vanish(), BOUND, time.monotonic)


def test_no_process_outlives_an_engine_that_is_killed_while_the_launcher_begins(run_to_kill, tmp_path):
    """It is stopped before it has read anything: only the parent-death signal can end it."""
    write_crash_job(tmp_path)
    run = run_to_kill("job.yaml")
    launcher = run.launcher()
    eventually(lambda: procfs.read_stat(launcher).session == launcher)
    run.engine.send_signal(signal.SIGSTOP)
    os.kill(launcher, signal.SIGSTOP)
    kill_engine(run)


@every_start_method
def test_no_process_outlives_an_engine_that_is_killed_during_an_import(run_to_kill, tmp_path, method):
    write(
        tmp_path,
        slow="""\
            import os, signal, subprocess, time
            if os.fork() == 0:
                os.setsid()
                signal.pause()
            subprocess.Popen(["sh", "-c", "setsid sleep 60 & sleep 60"], start_new_session=True)
            open("importing", "w").close()
            time.sleep(60)
        """,
        job="tasks: [{target: 'slow:run'}]\n",
    )
    run = run_to_kill("job.yaml", "--start-method", method)
    eventually((tmp_path / "importing").exists)
    kill_engine(run)


def test_no_process_outlives_an_engine_that_is_killed_before_the_fork_server_answers(run_to_kill, tmp_path):
    write(
        tmp_path,
        slow="""\
            import time
            try:
                open("imported", "x").close()
            except FileExistsError:
                open("importing again", "w").close()
                time.sleep(60)
            def run():
                pass
        """,
        job="tasks: [{target: 'slow:run'}]\n",
    )
    run = run_to_kill("job.yaml", "--start-method", "forkserver")
    eventually((tmp_path / "importing again").exists)
    run.until("run_started")
    kill_engine(run)


# ---- processes that are not part of the run


def test_children_from_before_the_engine_are_left_alone(run_to_kill, tmp_path):
    """A background job of a shell that executes mprun in its place."""
    write_crash_job(tmp_path)

    def launch(*arguments, cwd, env):
        script = (
            f"sleep 60 2>/dev/null & echo $! > before; exec {sys.executable} -m mprun {' '.join(arguments)}"
        )
        return subprocess.Popen(["sh", "-c", script], cwd=cwd, env=environment(**env), stderr=subprocess.PIPE)

    run = run_to_kill("job.yaml", launch=launch)
    run.until("task_started", count=6)
    (before,) = map(int, (tmp_path / "before").read_text().split())
    launcher = run.events()[0]["main_pid"]
    os.kill(launcher, signal.SIGKILL)
    assert run.finish().code == 3
    assert run.survivors() == [before]


FOREIGN = """\
    import ctypes, json, mprun, os, signal, subprocess, sys, threading, time

    def is_subreaper():
        found = ctypes.c_int()
        ctypes.CDLL(None).prctl(37, ctypes.byref(found))
        return found.value

    def hide():
        # An orphan of this program, which becomes its child while it is a subreaper.
        reader, writer = os.pipe()
        middle = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!"], stdout=writer)
        middle.wait()
        return int(os.read(reader, 100))

    def lose(results):
        plan = mprun.plan_job(mprun.load_job("job.yaml"), start_method=sys.argv[1])
        results.append(mprun.run_job(plan))

    def children():
        # Except zombies: those that ended too early do not show to which run they belonged.
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            found = {int(pid) for pid in file.read().split()}
        return {pid for pid in found if open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"}

    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    results = []
    thread = threading.Thread(target=lose, args=(results,))
    thread.start()
    while not is_subreaper():
        time.sleep(0.01)
    orphan = hide()
    print(os.getpid(), flush=True)
    thread.join()
    left = children() - {child.pid, orphan}
    alive = [child.poll() is None, os.path.exists(f"/proc/{orphan}")]
    print(json.dumps([results[0].exit_code, is_subreaper(), sorted(left), alive]), flush=True)
    child.kill()
    os.kill(orphan, signal.SIGKILL)
"""


@pytest.fixture(params=["with a cgroup", "without"])
def enter_cgroup(request):
    """A `preexec_fn` after which a run can have a cgroup of its own, or not."""
    if why_none():
        if request.param == "with a cgroup":
            pytest.skip(why_none())
        yield None
        return
    cgroup = Cgroup(can_have_children=request.param == "with a cgroup")
    yield cgroup.enter
    cgroup.close()


@every_start_method
def test_a_program_that_runs_a_job_keeps_its_own_children_if_the_launcher_dies(
    run_to_kill, tmp_path, method, enter_cgroup
):
    write_crash_job(tmp_path, script=FOREIGN)

    def launch(*arguments, cwd, env):
        return subprocess.Popen(
            [sys.executable, "script.py", method],
            cwd=cwd,
            env=environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=enter_cgroup,
        )

    run = run_to_kill(launch=launch)
    run.engine.stdout.readline()
    run.until("task_started", count=6)
    os.kill(run.events()[0]["main_pid"], signal.SIGKILL)
    output, stderr = run.engine.communicate(timeout=TIMEOUT)
    assert json.loads(output) == [3, 0, [], [True, True]], stderr.decode()
    assert run.survivors() == []


def test_a_program_that_ran_a_job_has_no_child_of_it_afterwards(tmp_path):
    write(
        tmp_path,
        script="""\
            import mprun, os, sys
            for method in ("fork", "forkserver", "spawn"):
                plan = mprun.plan_job(mprun.load_job("job.yaml"), start_method=method)
                assert mprun.run_job(plan).exit_code == 0
                try:
                    print(method, os.waitpid(-1, os.WNOHANG))
                except ChildProcessError:
                    print(method, "none")
        """,
        job="tasks: [{target: 'os:getpid'}]\n",
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.stdout, done.stderr) == ("fork none\nforkserver none\nspawn none\n", "")


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_shared_memory_of_tasks_is_removed_even_if_the_launcher_is_killed(run_to_kill, tmp_path, method):
    write(
        tmp_path,
        work="""\
            import os, signal
            from multiprocessing.shared_memory import SharedMemory
            def share():
                memory = SharedMemory(create=True, size=100)
                with open("part", "w") as file:
                    file.write(memory.name)
                os.rename("part", "shared")
                signal.pause()
        """,
        job="tasks: [{target: 'work:share'}]\n",
    )
    run = run_to_kill("job.yaml", "--start-method", method)
    eventually((tmp_path / "shared").exists)
    name = (tmp_path / "shared").read_text()
    assert os.path.exists(f"/dev/shm/{name}")
    os.kill(run.launcher(), signal.SIGKILL)
    assert run.finish().code == 3
    assert (run.survivors(), os.path.exists(f"/dev/shm/{name}")) == ([], False)


def test_a_launcher_whose_engine_died_before_it_watched_for_that_stops_importing(tmp_path):
    write(
        tmp_path,
        slow="open('importing', 'w').close()\nimport time\ntime.sleep(60)\n",
        job="preload: [slow]\ntasks: [{target: 'os:getpid'}]\n",
        program="""\
            import os, time
            from mprun import api
            from mprun.engine import preflight

            send_request = preflight.send_request

            def send_and_die(plan, executor, directory):
                send_request(plan, executor, directory)
                print(executor.pid, flush=True)
                os.kill(os.getpid(), 9)

            preflight.send_request = send_and_die
            api.run_job(api.load_job("job.yaml"))
        """,
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        timeout=TIMEOUT,
    )
    launcher = int(done.stdout)
    eventually(lambda: not alive(launcher), seconds=BOUND + 4)


def test_a_python_that_is_still_starting_dies_with_the_launcher(run_to_kill, tmp_path):
    """It asks for its parent-death signal only later: on a busy machine, seconds after its start."""
    write(
        tmp_path,
        sitecustomize="""\
            import os, sys, time
            if any("spawn_main" in word for word in sys.orig_argv):
                with open("part", "w") as file:
                    file.write(str(os.getpid()))
                os.rename("part", "starting")
                time.sleep(60)
        """,
        job="start_method: spawn\ntasks: [{target: 'os:getpid'}]\n",
    )

    def launch(*arguments, cwd, env):
        return start(*arguments, cwd=cwd, env=env | {"PYTHONPATH": str(tmp_path)})

    run = run_to_kill("job.yaml", launch=launch)
    eventually((tmp_path / "starting").exists)
    starting = int((tmp_path / "starting").read_text())
    launcher = run.launcher()
    os.kill(run.engine.pid, signal.SIGKILL)
    os.kill(launcher, signal.SIGKILL)
    eventually(lambda: not alive(starting), seconds=BOUND + 4)
    run.engine.communicate(timeout=TIMEOUT)
