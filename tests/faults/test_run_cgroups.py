"""The cgroup of a run ends all of it, where one can be had; elsewhere its tag shows what is the run's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.cgroups import Cgroup, why_none
from support.other_user import AS_NOBODY, OTHER_USER, can_be_nobody
from support.runs import START_METHODS, alive, eventually, finish, write, written

from mprun.executors.local import LocalExecutor
from mprun.executors.subreaper import Subreaper
from mprun.launcher.channel import LauncherChannel
from mprun.linux import cgroup_end, prctl, procfs, run_cgroup
from mprun.linux.cgroup_end import HeldCgroup
from mprun.linux.run_cgroup import MARK, PREFIX

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")

NEXT = "tasks: [{target: 'os:getpid'}]\n"
WORK = """\
    import os, subprocess, time

    def where():
        return open("/proc/self/cgroup").read()

    def hide():
        # Nothing shows whose it is but what the kernel keeps.
        null = subprocess.DEVNULL
        script = "echo $$ > hidden.new; mv hidden.new hidden; exec sleep 60"
        command = ["env", "-i", "setsid", "sh", "-c", script]
        subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
        time.sleep(60)

    def fork_for_ever():
        for _ in range(4):
            if os.fork() == 0:
                for number in range(3, 100):
                    try:
                        os.close(number)
                    except OSError:
                        pass
                null = os.open("/dev/null", os.O_RDWR)
                for number in range(3):
                    os.dup2(null, number)
                open("forking", "w").close()
                while True:
                    if os.fork():
                        os._exit(0)
                    os.setsid()
        time.sleep(60)
"""


@pytest.fixture(scope="module", autouse=True)
def _can_have_cgroups():
    if reason := why_none():
        pytest.skip(reason)


@pytest.fixture
def make():
    """Makes cgroups, in which commands can be started."""
    made = []

    def make(*arguments, **options):
        made.append(Cgroup(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def cgroup(make):
    return make()


def run(cgroup, tmp_path, *arguments, **options):
    return finish(cgroup.start(*arguments, cwd=tmp_path, **options), tmp_path / ".mprun")


def in_version_2(text):
    return next(line.removeprefix("0::") for line in text.splitlines() if line.startswith("0::"))


def launcher_of(engine):
    (pid,) = eventually(lambda: procfs.children(engine.pid))
    return pid


def kill(*pids):
    """Kill these in the same moment, a launcher before its engine: the end of that would resume it."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)


@pytest.mark.parametrize("method", START_METHODS)
def test_all_tasks_of_a_run_are_in_a_cgroup_that_is_gone_afterwards(cgroup, tmp_path, method):
    tasks = [
        {"name": "function", "target": "work:where"},
        {"name": "command", "command": "cat /proc/self/cgroup", "capture": "text"},
    ]
    write(tmp_path, work=WORK, job=json.dumps({"tasks": tasks}))
    done = run(cgroup, tmp_path, "job.yaml", "--start-method", method)
    assert done.code == 0, done.stderr
    launcher = done.one("run_started")["main_pid"]
    places = {Path(in_version_2(done.result(task))) for task in ("function", "command")}
    (place,) = places
    assert place.parent.name == cgroup.path.name
    assert place.name.startswith(f"{PREFIX}{launcher}-")
    assert cgroup.runs() == []


@pytest.mark.skipif(not can_be_nobody(), reason="only root can become another user")
@pytest.mark.parametrize("delegated", [True, False])
def test_a_user_has_one_where_a_subtree_is_delegated(make, tmp_path, delegated):
    write(tmp_path, work=WORK, job='tasks: [{name: t, target: "work:where"}]')
    tmp_path.chmod(0o777)
    cgroup = make(OTHER_USER if delegated else 0)
    done = run(cgroup, tmp_path, "job.yaml", prefix=AS_NOBODY)
    assert done.code == 0, done.stderr
    place = Path(in_version_2(done.result("t")))
    assert (place.parent if delegated else place).name == cgroup.path.name
    assert "warning" not in done.stderr
    assert cgroup.runs() == []


@pytest.mark.parametrize("can_have", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("method", START_METHODS)
def test_what_hides_is_killed_by_the_next_start(make, tmp_path, method, can_have):
    """(C64) A session of its own, an empty environment, no file of the run open; both are killed."""
    cgroup = make(can_have_children=can_have)
    write(tmp_path, work=WORK, job='tasks: [{name: t, target: "work:hide"}]', job_next=NEXT)
    engine = cgroup.start("job.yaml", "--start-method", method, cwd=tmp_path)
    hidden = int(written(tmp_path / "hidden"))
    assert len(cgroup.runs()) == can_have
    kill(launcher_of(engine), engine.pid)
    engine.communicate()
    assert alive(hidden)
    after = run(cgroup, tmp_path, "job_next.yaml")
    assert after.code == 0, after.stderr
    assert "killed the process that it left" in after.stderr
    assert not alive(hidden)
    assert cgroup.runs() == []


@pytest.mark.parametrize("can_have", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_what_a_target_starts_at_import_is_killed_by_the_next_start(make, tmp_path, method, can_have):
    """Before there is a run: the kernel's marks are made before the first import."""
    cgroup = make(can_have_children=can_have)
    write(tmp_path, work=WORK, hides="from work import hide\nhide()\n", job='tasks: [{target: "hides:f"}]')
    write(tmp_path, job_next=NEXT)
    engine = cgroup.start("job.yaml", "--start-method", method, cwd=tmp_path)
    hidden = int(written(tmp_path / "hidden"))
    kill(launcher_of(engine), engine.pid)
    engine.communicate()
    assert alive(hidden)
    after = run(cgroup, tmp_path, "job_next.yaml")
    assert after.code == 0, after.stderr
    assert "killed the process that it left" in after.stderr
    assert not alive(hidden)
    assert cgroup.runs() == []


@pytest.mark.parametrize("who", ["engine", "launcher", "both"])
def test_chains_of_forks_end_at_once(cgroup, tmp_path, who):
    """(C65) Each forks, starts a session and ends, and has no file of the run open."""
    write(tmp_path, work=WORK, job='tasks: [{name: t, target: "work:fork_for_ever"}]', job_next=NEXT)
    engine = cgroup.start("job.yaml", cwd=tmp_path)
    eventually(lambda: (tmp_path / "forking").exists())
    (place,) = cgroup.runs()
    launcher = launcher_of(engine)
    kill(*{"engine": [engine.pid], "launcher": [launcher], "both": [launcher, engine.pid]}[who])
    engine.communicate()
    if who == "both":
        after = run(cgroup, tmp_path, "job_next.yaml")
        assert after.code == 0, after.stderr
    eventually(lambda: not place.exists(), seconds=20)
    # The launcher leaves it before it ends it.
    eventually(lambda: not cgroup.pids())


def test_a_run_inside_a_task_has_one_inside(cgroup, tmp_path):
    inner = f"{sys.executable} -m mprun inner/job.yaml --state-dir inner/.mprun -q"
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", work=WORK, job='tasks: [{name: t, target: "work:where"}]')
    write(tmp_path, job=json.dumps({"tasks": [{"name": "t", "command": inner}]}))
    done = run(cgroup, tmp_path, "job.yaml")
    assert done.code == 0, done.stderr
    events = next((tmp_path / "inner/.mprun/runs").glob("*/events.jsonl")).read_text().splitlines()
    (finished,) = (each for each in map(json.loads, events) if each["event"] == "task_finished")
    place = Path(in_version_2(finished["result"]))
    assert place.parent.name.startswith(PREFIX)
    assert place.parents[1].name == cgroup.path.name
    assert cgroup.runs() == []


@pytest.mark.parametrize("how", ["a bad file", "a signal", "an import that fails"])
def test_none_is_left_by_a_start_that_starts_nothing(cgroup, tmp_path, how):
    target = "work:where" if how != "an import that fails" else "no_module:f"
    tasks = f'tasks: [{{name: t, target: "{target}"}}]'
    write(tmp_path, work=WORK, job=tasks if how != "a bad file" else "tasks: 1")
    process = cgroup.start("job.yaml", cwd=tmp_path)
    if how == "a signal":
        eventually(cgroup.runs)
        process.send_signal(signal.SIGTERM)
    done = finish(process, tmp_path / ".mprun")
    assert done.code == {"a signal": 143}.get(how, 2), done.stderr
    eventually(lambda: cgroup.runs() == [])


def test_none_is_left_by_a_signal_that_comes_before_the_launcher_is_known(cgroup, tmp_path):
    """As beside other work: the launcher may run before the process that has forked it does."""
    write(tmp_path, work=WORK, job='tasks: [{name: t, target: "work:where"}]')
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import glob, os, signal, time\n"
        "fork = os.fork\n"
        "def fork_and_end():\n"
        "    pid = fork()\n"
        "    if pid:\n"
        f"        while not glob.glob('{cgroup.path}/{PREFIX}*'):\n"
        "            time.sleep(0.001)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return pid\n"
        "os.fork = fork_and_end\n"
    )
    process = cgroup.start("job.yaml", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")})
    done = finish(process, tmp_path / ".mprun")
    assert done.code == 143, done.stderr
    eventually(lambda: cgroup.runs() == [])


def test_an_empty_one_that_no_start_has_removed_is_removed_by_the_next(cgroup, tmp_path, monkeypatch):
    (cgroup.path / f"{PREFIX}1-2").mkdir()
    other = cgroup.path / "other"
    other.mkdir()
    write(tmp_path, job=NEXT)
    # It has been there for longer than a start takes.
    code = (
        "from mprun.linux import run_cgroup; run_cgroup.UNUSED_SECONDS = -1; import sys; "
        "sys.argv[1:] = ['job.yaml']; from mprun.__main__ import main; main()"
    )
    process = cgroup.start(cwd=tmp_path, prefix=(sys.executable, "-c", code))
    done = finish(process, tmp_path / ".mprun")
    assert done.code == 0, done.stderr
    assert cgroup.runs() == []
    assert other.exists()


def test_an_empty_one_of_a_launcher_that_has_ended_is_removed_at_once(cgroup, tmp_path):
    """As of a start that was killed before there was a run."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    ended, running = (Path(run_cgroup.path_of(pid, str(cgroup.path))) for pid in (gone.pid, os.getpid()))
    elsewhere = cgroup.path / f"{PREFIX}{gone.pid}-1"
    for path in (ended, running, elsewhere):
        path.mkdir()
    write(tmp_path, job=NEXT)
    done = run(cgroup, tmp_path, "job.yaml")
    assert done.code == 0, done.stderr
    assert set(cgroup.runs()) == {running, elsewhere}


def test_a_copy_of_a_state_directory_has_nothing_killed(cgroup, tmp_path):
    """(C51) The cgroup and the tag name the directory itself, which no copy of it is."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    for folder in (original, copy):
        folder.mkdir()
        write(folder, work=WORK, job='tasks: [{name: t, target: "work:hide"}]', job_next=NEXT)
    engine = cgroup.start("job.yaml", cwd=original)
    hidden = int(written(original / "hidden"))
    launcher = launcher_of(engine)
    shutil.copytree(original / ".mprun", copy / ".mprun", symlinks=True)
    kill(launcher, engine.pid)
    engine.communicate()
    (place,) = cgroup.runs()
    after = run(cgroup, copy, "job_next.yaml")
    assert after.code == 0, after.stderr
    assert alive(hidden)
    assert place.exists()


def test_a_cgroup_is_the_runs_only_by_its_mark(cgroup):
    identity = "20261129-120000.000-abcd 1:2"
    for name, mark in ((f"{PREFIX}1-1", b"20261129-120000.000-abcd 1:3"), ("other", identity.encode())):
        (cgroup.path / name).mkdir()
        os.setxattr(cgroup.path / name, MARK, mark)
    assert cgroup_end.find(identity) is None
    os.setxattr(cgroup.path / f"{PREFIX}1-1", MARK, identity.encode())
    with cgroup_end.find(identity) as found:
        assert found.path == str(cgroup.path / f"{PREFIX}1-1")
    if os.geteuid() == 0:
        os.chown(cgroup.path / f"{PREFIX}1-1", OTHER_USER, OTHER_USER)
        assert cgroup_end.find(identity) is None


def test_what_a_program_that_runs_a_job_has_started_is_not_in_it(cgroup, tmp_path):
    program = """\
        import json, subprocess, sys
        import mprun

        mine = subprocess.Popen(["sleep", "60"])
        job = mprun.load_job("job.yaml")
        first = mprun.run_job(job)
        assert mine.poll() is None
        mine.kill()
        print(first.tasks[0].result)
    """
    write(tmp_path, work=WORK, program=program, job='tasks: [{name: t, target: "work:where"}]')
    process = cgroup.start(cwd=tmp_path, prefix=(sys.executable, "program.py"))
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    assert Path(in_version_2(stdout.decode())).parent.name == cgroup.path.name
    assert cgroup.runs() == []


def test_the_end_waits_no_longer_than_it_must(cgroup):
    place = cgroup.path / f"{PREFIX}1-1"
    place.mkdir()
    begun = time.monotonic()
    with HeldCgroup(str(place)) as held:
        assert held.end() == []
        assert not place.exists()
        assert held.end() == []
    assert time.monotonic() - begun < cgroup_end.KILL_SECONDS


@pytest.fixture
def another(cgroup):
    """Puts another cgroup, with a process of another run in it, in the place of one."""
    made = []

    def replace(place):
        place.rmdir()
        place.mkdir()
        procs = place / "cgroup.procs"
        made.append(subprocess.Popen(["sleep", "60"], preexec_fn=lambda: procs.write_text("0")))
        return made[-1]

    yield replace
    for process in made:
        process.kill()
        process.wait()


def test_what_has_the_name_of_a_cgroup_that_is_gone_is_left_alone(cgroup, another):
    """Names repeat, because pids do: another launcher may have made one of the same name."""
    place = cgroup.path / f"{PREFIX}1-1"
    place.mkdir()
    with HeldCgroup(str(place)) as held:
        stranger = another(place)
        assert held.members() == set()
        assert held.end() == []
    assert stranger.poll() is None
    assert place.exists()


@pytest.mark.parametrize("is_empty", [True, False])
def test_the_end_of_a_launcher_ends_no_cgroup_of_the_same_name(cgroup, another, monkeypatch, is_empty):
    """The launcher is reaped by then: its pid, and with it the name, may be those of another one."""
    launcher = subprocess.Popen(["true"])
    # The executor reaps it.
    launcher.returncode = 0
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(prctl, "set_child_subreaper", lambda _: None)
    place = cgroup.path / f"{PREFIX}{launcher.pid}-1"
    place.mkdir()
    with ours, theirs:
        executor = LocalExecutor(launcher.pid, ours, Subreaper(launcher.pid))
        channel = LauncherChannel(theirs)
        channel.send(("cgroup_entered", str(place)))
        channel.flush()
        assert executor.receive() == []
        if is_empty:
            place.rmdir()
            place.mkdir()
        else:
            stranger = another(place)
        executor.close()
    assert place.exists()
    assert is_empty or stranger.poll() is None


def test_a_program_whose_children_are_reaped_by_others_may_run_jobs(cgroup, tmp_path):
    """The launcher among them, here by the kernel: its end is unknown, and its pid may be another's."""
    program = """\
        import signal, threading
        import mprun

        def run():
            print(mprun.run_job(mprun.load_job("job.yaml")).outcome)

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    """
    write(tmp_path, program=program, job=NEXT)
    process = cgroup.start(cwd=tmp_path, prefix=(sys.executable, "program.py"))
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout.decode()) == (0, "succeeded\n"), stderr.decode()
    assert cgroup.runs() == []
