"""`--executor dask`: tasks on the workers of a dask cluster, here two of them on loopback."""

import os
import re
import signal
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from support.cluster import two_workers
from support.runs import alive, eventually, finish, knows_start, mprun, start, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
]

MODULE = """
    import os, sys, time

    def where():
        return {"pid": os.getpid(), "ppid": os.getppid()}

    def double(n):
        print("double", n)
        return 2 * n

    def numbers():
        return [1, 2, 3]

    def flood(lines):
        for n in range(lines):
            print(n, "x" * 1000)

    def fail_once(path):
        if not os.path.exists(path):
            open(path, "w").close()
            raise ValueError("the first time")
        return "the second time"

    def leave(code):
        sys.stderr.write("leaving\\n")
        sys.exit(code)

    def hang(path=None):
        print("hanging", flush=True)
        if path:
            with open(path + ".part", "w") as file:
                file.write(f"{os.getpid()} {os.getppid()}")
            os.rename(path + ".part", path)
        time.sleep(600)

    def odd():
        return {1}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with two_workers(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def place(tmp_path):
    write(tmp_path, work=MODULE)
    return tmp_path


@pytest.fixture
def options(cluster):
    """The options that name the cluster."""
    return ("--executor", "dask", "--scheduler", cluster.address)


JOB = """
    resources: {token: 1}
    tasks:
      - {name: where, target: "work:where"}
      - {name: double, target: "work:double", args: [21]}
      - {name: numbers, target: "work:numbers"}
      - {name: each, target: "work:double", args: ["${item}"], foreach: "${tasks.numbers.result}"}
      - name: flood
        target: work:flood
        args: [1500]
        resources: {token: 1}
      - {name: words, command: "echo one; echo two", capture: lines, resources: {token: 1}}
      - {name: after, target: "work:double", args: ["${tasks.double.result}"]}
      - {name: twice, target: "work:fail_once", args: [PATH], retry: 1}
      - {name: code, target: "work:leave", args: [3], expect: {exit_code: 3, output: leaving}}
      - {name: odd, target: "work:odd"}
      - {name: missing, command: [no-such-program], allow_failure: true}
      - {name: chain-1, command: [echo, "1"]}
      - {name: chain-2, command: [echo, "2"], depends_on: chain-1}
      - {name: chain-3, command: [echo, "3"], depends_on: chain-2}
"""


def outcomes(run):
    return {
        event["task"]: (event["outcome"], event["attempts"], event["reason"], event["result_kind"])
        for event in run.of("task_finished")
    }


def logs(run):
    return {path.name: path.read_bytes() for path in Path(run.directory.path, "logs").glob("*.log")}


def test_a_job_is_the_same_on_hosts_as_on_one_machine(place, options):
    job = textwrap.dedent(JOB)
    write(
        place, job_here=job.replace("PATH", str(place / "a")), job_there=job.replace("PATH", str(place / "b"))
    )
    here = mprun("job_here.yaml", cwd=place, state_dir=place / "here")
    there = mprun("job_there.yaml", *options, cwd=place, state_dir=place / "there")
    assert (here.code, there.code) == (0, 0), there.stderr
    assert outcomes(there) == outcomes(here)
    assert logs(there) == logs(here)
    assert len(there.log("flood")) > 1_500_000
    names = sorted(path.name for path in Path(there.directory.path, "results").iterdir())
    assert names == sorted(path.name for path in Path(here.directory.path, "results").iterdir())
    assert [there.result(name) for name in ("after", "words")] == [84, ["one", "two"]]

    hosts = there.one("run_started")["hosts"]
    mains = {host["main_pid"] for host in hosts}
    assert len(mains) == 2
    assert {host["slots"] for host in hosts} == {1}
    assert there.one("run_started")["max_parallel"] == 2
    # Each attempt's parent is the main process of a host, and both have some.
    assert there.result("where")["ppid"] in mains
    started = there.of("task_started")
    assert {event["ppid"] for event in started} == mains
    assert {event["host"] for event in started} == {os.uname().nodename}

    tree = mprun("tree", cwd=place, state_dir=place / "there").stdout
    assert tree.count(f"main on {os.uname().nodename}") == 2
    assert "fork server" not in tree
    assert tree.count("where") == 1


def test_a_timeout_and_a_stop_reach_the_tasks_of_hosts(place, options):
    write(
        place,
        job="""
            tasks:
              - {name: slow, target: "work:hang", timeout: 1500ms}
              - {name: deaf, command: "trap '' TERM; while :; do sleep 0.05; done", timeout: 1500ms,
                 stop: {grace: 200ms}}
              - {name: beat, target: "work:hang", daemon: true}
        """,
    )
    run = mprun("job.yaml", *options, cwd=place)
    assert run.code == 1, run.stderr
    assert [run.outcome(name) for name in ("slow", "deaf", "beat")] == ["timed_out", "timed_out", "stopped"]
    assert b"in hang" in run.log("slow")
    assert run.one("task_exited", "deaf")["signal"] == "SIGKILL"
    assert run.one("task_exited", "beat")["signal"] == "SIGTERM"


def processes_of(run_id):
    """The processes that a run has on this machine, beside the workers."""
    return processes_with("MPRUN_RUN_ID", run_id)


def processes_with(variable, value):
    """The processes that have inherited a variable."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value:
                found.append(process)
        except psutil.Error:
            continue
    return found


HANGING = """
    tasks:
      - {name: a, target: "work:hang", args: [A]}
      - {name: b, target: "work:hang", args: [B]}
"""


@pytest.fixture
def hanging(place, options):
    """Starts a job of two tasks that hang, on as many hosts; the process, and the pids of each task."""
    started = []

    def begin(*more, job=HANGING, where=options):
        paths = {name: place / f"pid-{name}" for name in "AB"}
        text = textwrap.dedent(job)
        for name, path in paths.items():
            text = text.replace(f"[{name}]", f"[{path}]")
        write(place, job=text)
        process = start("job.yaml", *where, *more, cwd=place, start_new_session=True)
        started.append(process)
        eventually(lambda: all(path.exists() for path in paths.values()) or process.poll() is not None, 40)
        assert process.poll() is None, process.communicate()
        pids = [tuple(map(int, path.read_text().split())) for path in paths.values()]
        eventually(lambda: all(knows_start(place / ".mprun", pid) for pid, _ in pids), 40)
        return process, pids

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_on_a_host_when_the_run_is_stopped_or_killed(place, hanging, number):
    process, pids = hanging()
    assert len({ppid for _, ppid in pids}) == 2
    process.send_signal(number)
    if number == signal.SIGINT:
        run = finish(process, place / ".mprun")
        assert run.code == 130
        assert [run.outcome(name) for name in "ab"] == ["stopped", "stopped"]
    process.wait()
    # The bridge and the agents end by themselves; a run that was stopped has waited for them.
    everything = [pid for both in pids for pid in both]
    if number == signal.SIGINT:
        assert not any(map(alive, everything))
    eventually(lambda: not any(map(alive, everything)))


def test_a_suspended_run_continues_after_longer_than_the_timeout_of_its_hosts(place, hanging):
    process, pids = hanging("--host-timeout", "1s")
    process.send_signal(signal.SIGTSTP)
    states = [psutil.Process(pid) for pid, _ in pids]
    eventually(lambda: all(task.status() == "stopped" for task in states))
    eventually(lambda: psutil.Process(process.pid).status() == "stopped")
    time.sleep(2)
    process.send_signal(signal.SIGCONT)
    eventually(lambda: all(task.status() == "sleeping" for task in states))
    process.send_signal(signal.SIGTERM)
    assert finish(process, place / ".mprun").code == 143


def test_a_target_that_cannot_be_called_is_an_error_at_its_place(place, options):
    write(place, job='tasks: [{target: "work:doubel"}]')
    run = mprun("job.yaml", *options, cwd=place)
    assert run.code == 2
    assert "job.yaml:1:24" in run.stderr
    assert "did you mean `double`" in run.stderr


def test_a_failed_run_is_resumed_on_hosts(place, options):
    write(
        place,
        job=f"""
        tasks:
          - {{name: one, target: "work:double", args: [4]}}
          - {{name: two, target: "work:fail_once", args: ["{place}/once"]}}
    """,
    )
    assert mprun("job.yaml", cwd=place).code == 1
    run = mprun("resume", *options, cwd=place)
    assert run.code == 0, run.stderr
    assert [event["task"] for event in run.of("task_started")] == ["two"]
    assert run.result("one") == 8


def test_without_a_scheduler_there_is_a_local_cluster(place):
    write(place, job='tasks: [{name: where, target: "work:where"}]')
    run = mprun("job.yaml", "--executor", "dask", "-v", cwd=place)
    assert run.code == 0, run.stderr
    assert len(run.one("run_started")["hosts"]) == 2 if run.one("run_started")["max_parallel"] > 1 else 1
    assert re.search(r"start  where  pid=\d+ ppid=\d+ \(main on ", run.stderr)
    assert not processes_of(run.directory.run_id)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stop_while_the_local_cluster_starts_leaves_nothing(place, number):
    scratch = place / "scratch"
    scratch.mkdir()
    write(place, job='tasks: [{name: where, target: "work:where"}]')
    env = {"TMPDIR": str(scratch)}
    process = start("job.yaml", "--executor", "dask", cwd=place, env=env, start_new_session=True)
    try:
        eventually(lambda: list(scratch.glob("mprun-dask-*/*")), 40)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    eventually(lambda: not processes_with("TMPDIR", str(scratch)), 40)
    assert not [*scratch.glob("mprun-*"), *scratch.glob("*/scheduler-*")]


# The last tests of this module: they leave no worker.
WITH_A_LAST_ONE = """
    tasks:
      - {name: a, target: "work:hang", args: [A]}
      - {name: b, target: "work:hang", args: [B]}
      - {name: c, target: "work:double", args: [1]}
"""


@pytest.mark.parametrize("victim", ["agent", "main process", "worker"])
def test_what_runs_on_a_host_that_is_lost_is_unknown_and_the_others_continue(place, hanging, cluster, victim):
    process, pids = hanging(job=WITH_A_LAST_ONE)
    _, main = pids[0]
    agent = psutil.Process(main).parent()
    {"worker": agent.parent(), "agent": agent, "main process": psutil.Process(main)}[victim].kill()
    eventually(lambda: not any(map(alive, [*pids[0], agent.pid])))
    os.kill(pids[1][0], signal.SIGTERM)
    run = finish(process, place / ".mprun")
    assert run.code == 1, run.stderr
    assert [run.outcome(name) for name in "abc"] == ["unknown", "failed", "succeeded"], run.stderr
    assert f"host {os.uname().nodename} was lost" in run.one("task_finished", "a")["reason"]
    assert run.one("task_exited", "a")["exit_code"] is None


def test_a_run_that_has_lost_its_last_host_ends(place, cluster, options):
    path = place / "pid"
    write(
        place,
        job=f"""
        tasks:
          - {{name: a, target: "work:hang", args: ["{path}"], retry: 1}}
          - {{name: b, target: "work:double", args: [1]}}
        """,
    )
    process = start(
        "job.yaml", *options, "-j", "1", "--host-timeout", "1s", cwd=place, start_new_session=True
    )
    eventually(lambda: path.exists() or process.poll() is not None, 40)
    pids = tuple(map(int, path.read_text().split()))
    eventually(lambda: knows_start(place / ".mprun", pids[0]), 40)
    for worker in cluster.workers.values():
        worker.kill()
    run = finish(process, place / ".mprun")
    assert run.code == 3, run.stderr
    assert run.outcome("a") == "unknown"
    assert "b" not in [event["task"] for event in run.of("task_started")]
    assert "warning: no host is left; waiting 1s for another one" in run.stderr
    eventually(lambda: not any(map(alive, pids)))
