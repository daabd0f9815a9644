"""Hosts of a run that come and go: losses, late answers, and workers that join."""

import itertools
import os
import sys
import textwrap

import psutil
import pytest
from support.cluster import Cluster
from support.runs import alive, eventually, finish, knows_start, mprun, start, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
]

# dask refuses a second worker of the same name.
NUMBERS = itertools.count()

MODULE = """
    import os, time

    if os.environ.get("WITH_EXTRA"):
        import extra
    if os.environ.get("ENDS_AT_IMPORT"):
        os._exit(7)

    def alive(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def write(path, text):
        with open(path + ".part", "w") as file:
            file.write(text)
        os.rename(path + ".part", path)

    def again(path):
        # Hangs the first time; afterwards it says whether the first one was still there.
        if os.path.exists(path):
            return alive(int(open(path).read().split()[0]))
        hang(path)

    def outlive(path):
        # The first time it leaves what has another session, environment and parent; the second time it says
        # whether that still runs.
        left = path + ".left"
        if os.path.exists(left):
            try:
                with open(f"/proc/{open(left).read().strip()}/stat") as file:
                    return file.read().rpartition(")")[2].split()[0] not in "ZX"
            except FileNotFoundError:
                return False
        script = f"echo $$ > {left}.part; mv {left}.part {left}; exec sleep 600"
        os.spawnlp(os.P_NOWAIT, "env", "env", "-i", "setsid", "--fork", "sh", "-c", script)
        while not os.path.exists(left):
            time.sleep(0.02)
        hang(path)

    def hang(path):
        write(path, f"{os.getpid()} {os.getppid()}")
        while not os.path.exists(path + ".go"):
            time.sleep(0.02)
        return "went"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster whose workers the tests start and kill."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def place(tmp_path):
    write(tmp_path, work=MODULE, extra="")
    return tmp_path


def add_worker(cluster, **more):
    """Start another worker; its name."""
    name = f"worker-{next(NUMBERS)}"
    cluster.add_worker(name, **more)
    return name


def end_workers(cluster, left):
    """Kill workers until so many are left."""
    for name, process in list(cluster.workers.items()):
        if process.poll() is not None or len(cluster.workers) > left:
            process.kill()
            process.wait()
            del cluster.workers[name]


@pytest.fixture
def begin(place, cluster):
    """Starts a job on so many workers; PATH in it is a file in which a task puts its pid and its parent's."""
    started = []

    def go(job, *options, workers=2):
        end_workers(cluster, workers)
        while len(cluster.workers) < workers:
            add_worker(cluster)
        cluster.wait_for_workers()
        write(place, job=textwrap.dedent(job).replace("PATH", str(place / "pid")))
        where = ("--executor", "dask", "--scheduler", cluster.address)
        process = start("job.yaml", *where, *options, cwd=place, start_new_session=True)
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def pids(process, path):
    eventually(lambda: path.exists() or process.poll() is not None, 40)
    assert process.poll() is None, process.communicate()
    pid, main = map(int, path.read_text().split())
    # Else mprun does not know that it has begun.
    eventually(lambda: knows_start(path.parent / ".mprun", pid), 40)
    return pid, main


def worker_of(main):
    """The worker below which a main process runs, and its agent."""
    agent = psutil.Process(main).parent()
    return agent.parent(), agent


def run_events(place):
    folders = list((place / ".mprun" / "runs").glob("2*"))
    return (folders[0] / "events.jsonl").read_text() if folders else ""


def changes(run):
    return [(event["change"], event["task"]) for event in run.of("host_changed")]


@pytest.mark.parametrize("victim", ["worker", "agent"])
@pytest.mark.parametrize("policy", ["on_host_lost: rerun", "defaults: {retry: 1}"])
def test_a_lost_attempt_runs_again_once_the_first_one_is_dead(place, begin, victim, policy):
    job = f"{policy}\ntasks:\n  - {{name: a, target: 'work:again', args: [PATH]}}\n"
    # It is seen that nothing is left: the timeout is not waited for.
    process = begin(job, "--host-timeout", "10m")
    _, main = pids(process, place / "pid")
    worker, agent = worker_of(main)
    {"worker": worker, "agent": agent}[victim].kill()
    run = finish(process, place / ".mprun")
    assert run.code == 0, run.stderr
    assert run.result("a") is False
    finished = run.one("task_finished", "a")
    assert (finished["outcome"], finished["attempts"], finished["flaky"]) == ("succeeded", 2, False)
    first, second = run.of("task_exited")
    assert (first["exit_code"], second["exit_code"]) == (None, 0)
    assert run.one("task_retrying", "a")["reason"] == "host_lost"
    assert ("lost", None) in changes(run)
    assert f"warning: host {os.uname().nodename} was lost: its " in run.stderr
    assert "RERUN" in run.stderr
    shown = mprun("show", "--attempts", cwd=place, state_dir=place / ".mprun").stdout
    assert "exit status unknown" in shown
    assert "its host was lost, retried" in shown


def test_a_start_that_had_not_begun_does_not_count_as_an_attempt(place, begin):
    # With one slot, the second one is dispatched ahead of it, and waits.
    process = begin(
        """
        tasks:
          - {name: a, target: "work:hang", args: [PATH]}
          - {name: b, command: [echo, done], depends_on: {a: finished}}
        """,
    )
    _, main = pids(process, place / "pid")
    psutil.Process(main).kill()
    run = finish(process, place / ".mprun")
    assert [run.outcome(name) for name in "ab"] == ["unknown", "succeeded"], run.stderr
    assert run.one("task_finished", "b")["attempts"] == 1


def test_a_late_answer_is_ignored_and_said(place, begin):
    process = begin(
        """
        tasks:
          - {name: a, target: "work:hang", args: [PATH]}
          - {name: b, target: "work:hang", args: [PATH-b]}
        """,
        "--host-timeout",
        "2s",
    )
    pid, main = pids(process, place / "pid")
    pids(process, place / "pid-b")
    worker, agent = worker_of(main)
    worker.suspend()
    try:
        # The attempt ends well, and that is not heard of in time.
        (place / "pid.go").touch()
        eventually(lambda: not alive(pid))
        eventually(lambda: '"unknown"' in run_events(place), 30)
        assert not alive(agent.pid)
    finally:
        worker.resume()
    eventually(lambda: '"late_answer"' in run_events(place), 30)
    (place / "pid-b.go").touch()
    run = finish(process, place / ".mprun")
    assert run.code == 1, run.stderr
    assert [run.outcome(name) for name in "ab"] == ["unknown", "succeeded"]
    assert run.result("a") is None
    (late,) = [event for event in run.of("host_changed") if event["change"] == "late_answer"]
    assert (late["task"], late["attempt"]) == ("a", 1)
    host = os.uname().nodename
    answer = "attempt 1 of a, which was given up, ended with exit 0"
    assert f"warning: ignored a late answer of host {host}: {answer}" in run.stderr


def test_a_worker_that_joins_is_used(place, begin, cluster):
    process = begin(
        """
        tasks:
          - {name: a, target: "work:hang", args: [PATH]}
          - {name: b, target: "work:hang", args: [PATH-b]}
        """,
        workers=1,
    )
    _, first = pids(process, place / "pid")
    add_worker(cluster)
    _, second = pids(process, place / "pid-b")
    assert first != second
    for name in ("pid", "pid-b"):
        (place / f"{name}.go").touch()
    run = finish(process, place / ".mprun")
    assert run.code == 0, run.stderr
    assert run.one("run_started")["max_parallel"] == 1
    joined = run.one("host_changed")
    assert (joined["change"], joined["main_pid"], joined["slots"]) == ("joined", second, 1)
    tree = mprun("tree", cwd=place, state_dir=place / ".mprun").stdout
    assert tree.count(f"main on {os.uname().nodename}") == 2


def test_no_more_run_than_the_command_line_says_however_many_join(place, begin, cluster):
    process = begin(
        """
        tasks:
          - {name: a, target: "work:hang", args: [PATH]}
          - {name: b, target: "work:hang", args: [PATH-b]}
        """,
        "-j",
        "1",
        workers=1,
    )
    pids(process, place / "pid")
    add_worker(cluster)
    eventually(lambda: '"joined"' in run_events(place), 30)
    assert not (place / "pid-b").exists()
    (place / "pid.go").touch()
    (place / "pid-b.go").touch()
    run = finish(process, place / ".mprun")
    assert run.code == 0, run.stderr
    ends = [run.one("task_exited", "a")["time"], run.one("task_started", "b")["time"]]
    assert ends == sorted(ends)


def test_a_worker_that_joins_with_other_code_is_not_used(place, begin, cluster):
    process = begin("tasks: [{name: a, target: 'work:hang', args: [PATH]}]", workers=1)
    pids(process, place / "pid")
    other = add_worker(cluster, env={"WITH_EXTRA": "1"})
    eventually(lambda: '"refused"' in run_events(place), 30)
    process_of_other = cluster.workers.pop(other)
    process_of_other.kill()
    process_of_other.wait()
    (place / "pid.go").touch()
    run = finish(process, place / ".mprun")
    assert run.code == 0, run.stderr
    assert "is not used" in run.stderr
    assert "extra.py: imported on" in run.one("host_changed")["reason"]


def test_a_worker_whose_agent_was_killed_gets_another_one(place, begin):
    job = "on_host_lost: rerun\ntasks: [{name: a, target: 'work:again', args: [PATH]}]"
    process = begin(job, workers=1)
    _, main = pids(process, place / "pid")
    _, agent = worker_of(main)
    agent.kill()
    run = finish(process, place / ".mprun")
    assert run.code == 0, run.stderr
    assert run.result("a") is False


def test_a_worker_that_dask_retires_is_a_loss(place, begin, cluster):
    import distributed

    process = begin("on_host_lost: rerun\ntasks: [{name: a, target: 'work:again', args: [PATH]}]")
    _, main = pids(process, place / "pid")
    worker, _ = worker_of(main)
    with distributed.Client(cluster.address, set_as_default=False) as client:
        ids = client.run(os.getpid)
        client.retire_workers([address for address, pid in ids.items() if pid == worker.pid])
    run = finish(process, place / ".mprun")
    assert run.code == 0, run.stderr
    assert run.result("a") is False
    assert run.one("task_finished", "a")["attempts"] == 2


def test_a_resume_runs_what_was_lost_again(place, begin):
    process = begin("tasks: [{name: a, target: 'work:again', args: [PATH]}]")
    pid, main = pids(process, place / "pid")
    worker_of(main)[0].kill()
    run = finish(process, place / ".mprun")
    assert (run.code, run.outcome("a")) == (1, "unknown"), run.stderr
    assert not alive(pid)
    resumed = mprun("resume", "--rerun-unknown", cwd=place, state_dir=place / ".mprun")
    assert resumed.code == 0, resumed.stderr


ODD = """
    import tempfile

    def mkdtemp(*given, real=tempfile.mkdtemp, **more):
        if more.get("prefix", "").startswith("mprun-host-"):
            raise OSError(28, "No space left on device", "/small")
        return real(*given, **more)

    tempfile.mkdtemp = mkdtemp
"""


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("import", "its main process was lost: exit 7"),
        ("agent", "its agent has failed: OSError: [Errno 28] No space left on device: '/small'"),
    ],
)
def test_a_host_that_is_lost_during_the_imports_is_left_out(place, begin, cluster, fault, said):
    write(place, sitecustomize=ODD)
    env = {"ENDS_AT_IMPORT": "1"} if fault == "import" else {"PYTHONPATH": str(place)}
    end_workers(cluster, 1)
    odd = add_worker(cluster, env=env)
    try:
        process = begin("tasks: [{name: a, target: 'work:hang', args: [PATH]}]")
        pids(process, place / "pid")
        (place / "pid.go").touch()
        run = finish(process, place / ".mprun")
    finally:
        worker = cluster.workers.pop(odd)
        worker.kill()
        worker.wait()
    assert run.code == 0, run.stderr
    assert f"warning: host {os.uname().nodename} was lost: {said}" in run.stderr
    assert "Traceback" not in run.stderr
    started, lost = run.one("run_started"), run.of("host_changed")[0]
    # It is the other one that is used.
    (used,) = started["hosts"]
    assert lost["change"] == "lost"
    assert lost["worker"].startswith("tcp://")
    assert lost["worker"] != used["worker"]
    # Though it was lost before that.
    assert lost["time"] >= started["time"]


def test_a_run_whose_only_host_is_lost_during_the_imports_says_why(begin, cluster):
    end_workers(cluster, 0)
    odd = add_worker(cluster, env={"ENDS_AT_IMPORT": "1"})
    try:
        process = begin("tasks: [{target: 'work:hang', args: [PATH]}]", workers=1)
        stderr = process.communicate(timeout=60)[1].decode()
    finally:
        worker = cluster.workers.pop(odd)
        worker.kill()
        worker.wait()
    assert process.returncode == 2
    assert "importing `work` terminated the main process (on " in stderr
    assert "exit 7" in stderr


def test_what_outlives_agent_and_main_process_is_killed_before_the_attempt_runs_again(place, begin):
    job = "on_host_lost: rerun\ntasks: [{name: a, target: 'work:outlive', args: [PATH]}]"
    process = begin(job, "--host-timeout", "2s", workers=1)
    _, main = pids(process, place / "pid")
    left = int((place / "pid.left").read_text())
    _, agent = worker_of(main)
    both = [agent, psutil.Process(main)]
    # Neither sees the end of the other.
    for one in both:
        one.suspend()
    for one in both:
        one.kill()
    run = finish(process, place / ".mprun")
    assert run.code == 0, run.stderr
    assert run.result("a") is False
    assert not alive(left)


def test_what_follows_on_a_worker_is_not_taken_for_what_it_has_lost(place, begin):
    process = begin(
        """
        on_host_lost: rerun
        tasks:
          - {name: a, target: "work:outlive", args: [PATH]}
          - {name: b, target: "work:hang", args: [PATH-b]}
        """,
        "--host-timeout",
        "5s",
        workers=1,
    )
    _, main = pids(process, place / "pid")
    _, agent = worker_of(main)
    both = [agent, psutil.Process(main)]
    for one in both:
        one.suspend()
    for one in both:
        one.kill()
    # It runs on the agent that follows, while what is left of the first one is looked for and killed.
    pids(process, place / "pid-b")
    eventually(lambda: '"lost"' in run_events(place), 30)
    (place / "pid-b.go").touch()
    run = finish(process, place / ".mprun")
    assert run.code == 0, run.stderr
    assert [run.one("task_finished", name)["attempts"] for name in "ab"] == [2, 1]
