"""Faults of hosts, made for real on loopback: silence, no scheduler, a full disk, a wrong clock, other code.

Kills of a worker, an agent and a main process are in `test_hosts`, and cables are cut by
`make reliability ARGS='--only hosts'`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.cluster import Cluster
from support.runs import alive, eventually, finish, knows_start, mprun, start, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
]

IS_ROOT = os.geteuid() == 0
needs_mounts = pytest.mark.skipif(not IS_ROOT, reason="mounts need root")
# In the processes of one worker all clocks are off, by an hour and by a day.
SITE = """
    import time
    for name, seconds in (("time", 3600), ("monotonic", 86400)):
        def shifted(real=getattr(time, name), seconds=seconds):
            return real() + seconds
        setattr(time, name, shifted)
    def shifted_ns(real=time.monotonic_ns):
        return real() + 86400 * 10**9
    time.monotonic_ns = shifted_ns
"""
MODULE = """
    import os, sys, time

    def tell(path):
        with open(path + ".part", "w") as file:
            file.write(f"{os.getpid()} {os.getppid()}")
        os.rename(path + ".part", path)

    def wait_for(path, others):
        tell(path)
        while not all(map(os.path.exists, others)):
            time.sleep(0.02)
        return time.time()

    def fill(path, others, size):
        wait_for(path, others)
        for number in range(size // 100):
            print(f"{number:98}")
        sys.stdout.flush()

    def count(path, until):
        number = 0
        tell(path)
        while not os.path.exists(until):
            print(number, flush=True)
            number += 1
            time.sleep(0.01)
        return number
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The directory of all jobs."""
    found = tmp_path_factory.mktemp("jobs")
    write(found, work=MODULE, same="def call(): pass", differs="def call(): return 1")
    return found


@pytest.fixture(scope="module")
def cluster(place, tmp_path_factory):
    """A worker like others, and an odd one: its clocks are off, its disk is small, and it has other code."""
    directory = tmp_path_factory.mktemp("cluster")
    write(directory, sitecustomize=SITE, other="def call(): return 2")
    small = directory / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=600k none {small} && mount --bind {directory}/other.py {place}/differs.py"
    )
    mounted = ("unshare", "--mount", "sh", "-c", f'{script} && exec "$@"', "sh") if IS_ROOT else ()
    found = Cluster(directory)
    try:
        found.add_worker("plain")
        env = {"PYTHONPATH": str(directory), "TMPDIR": str(small)}
        found.add_worker("odd", env=env, within=mounted)
        found.wait_for_workers()
        yield found
    finally:
        found.close()


@pytest.fixture
def options(cluster):
    return ("--executor", "dask", "--scheduler", cluster.address)


def both(target, tmp_path, extra=""):
    """Two tasks that wait for each other, so that each of two workers has one."""
    paths = [str(tmp_path / name) for name in "ab"]
    lines = [
        f'  - {{target: "{target}", name: {Path(path).name}, args: ["{path}", {paths}{extra}]}}'
        for path in paths
    ]
    return "\n".join(["tasks:", *lines])


def pids_of(tmp_path):
    """The pids of each of two tasks and of its parent, once both run."""
    paths = [tmp_path / name for name in "ab"]
    eventually(lambda: all(path.exists() for path in paths), 40)
    pids = [tuple(map(int, path.read_text().split())) for path in paths]
    eventually(lambda: all(knows_start(tmp_path / "state", pid) for pid, _ in pids), 40)
    return pids


def test_order_is_that_of_the_engine_and_durations_are_those_of_the_host(place, options, tmp_path):
    write(place, job=both("work:wait_for", tmp_path))
    run = mprun("job.yaml", *options, cwd=place, state_dir=tmp_path / "state")
    assert run.code == 0, run.stderr
    # The clock of one of the hosts is an hour ahead.
    assert 3000 < abs(run.result("a") - run.result("b")) < 4000
    begun, ended = run.one("run_started"), run.one("run_finished")
    assert run.events[-1] == ended
    for event in run.events:
        assert begun["time"] <= event["time"] <= ended["time"], event
    for name in "ab":
        started, exited = run.one("task_started", name), run.one("task_exited", name)
        assert 0 <= exited["duration"] < 60
        assert started["time"] <= exited["time"]
        assert run.events.index(started) < run.events.index(exited)


@needs_mounts
def test_a_full_disk_of_one_host_fails_the_task_that_fills_it_alone(place, options, tmp_path):
    write(place, job=both("work:fill", tmp_path, ", 1000000"))
    run = mprun("job.yaml", *options, cwd=place, state_dir=tmp_path / "state")
    assert run.code == 1, run.stderr
    outcomes = {run.outcome(name): name for name in "ab"}
    assert outcomes.keys() == {"succeeded", "failed"}, run.stderr
    said = "its log could not be written: No space left on device"
    assert said in run.one("task_finished", outcomes["failed"])["reason"]
    assert len(run.log(outcomes["succeeded"])) == 99 * 10000
    # Its log has been removed there: there is room for the next run.
    again = mprun("job.yaml", *options, cwd=place, state_dir=tmp_path / "state")
    assert {again.outcome(name) for name in "ab"} == {"succeeded", "failed"}


@needs_mounts
def test_a_host_with_another_version_of_a_module_is_refused(place, options, cluster, tmp_path):
    write(
        place,
        job="""
            tasks:
              - {name: same, target: "same:call"}
              - {name: differs, target: "differs:call"}
        """,
    )
    run = mprun("job.yaml", *options, cwd=place, state_dir=tmp_path / "state")
    assert run.code == 2
    here = subprocess.run(["sha256sum", place / "differs.py"], capture_output=True, text=True).stdout.split()[
        0
    ]
    there = subprocess.run(
        ["sha256sum", cluster.directory / "other.py"], capture_output=True, text=True
    ).stdout.split()[0]
    assert f"{place}/differs.py: sha256 {there} on {os.uname().nodename} (worker tcp://" in run.stderr
    assert f", and {here} on this machine" in run.stderr
    assert "same.py" not in run.stderr
    assert not run.of("task_started")


def test_a_host_with_another_version_of_mprun_is_refused(place, options, cluster, tmp_path):
    folder = cluster.directory / "other-version"
    metadata = folder / "mprun-99.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: mprun\nVersion: 99\n")
    worker = cluster.add_worker("newer", env={"PYTHONPATH": str(folder)})
    try:
        cluster.wait_for_workers()
        write(place, job='tasks: [{target: "same:call"}]')
        run = mprun("job.yaml", *options, cwd=place, state_dir=tmp_path / "state")
        assert run.code == 2
        assert "has mprun 99, and this is " in run.stderr
        assert "install the same version of mprun on every host" in run.stderr
        assert not run.of("task_started")
    finally:
        del cluster.workers["newer"]
        worker.kill()
        worker.wait()


@contextlib.contextmanager
def silent(worker):
    """A worker that does not answer, as on the far side of a cut: what it has started runs on."""
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


@pytest.fixture
def running(place, options, tmp_path):
    """Starts a job, and waits until both of its tasks run; the process, and the pids of each."""
    started = []

    def begin(job, *more):
        write(place, job=job)
        process = start(
            "job.yaml", *options, *more, "--state-dir", tmp_path / "state", cwd=place, start_new_session=True
        )
        started.append(process)
        return process, pids_of(tmp_path)

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_host_that_is_silent_for_a_while_loses_nothing(place, running, cluster, tmp_path):
    until = tmp_path / "until"
    process, _ = running(
        f"""
            tasks:
              - {{name: a, target: "work:count", args: ["{tmp_path}/a", "{until}"]}}
              - {{name: b, target: "work:count", args: ["{tmp_path}/b", "{until}"]}}
        """
    )
    with silent(cluster.workers["plain"]):
        time.sleep(1)
        # The ends come while it is silent.
        until.touch()
        time.sleep(0.5)
    run = finish(process, tmp_path / "state")
    assert run.code == 0, run.stderr
    for name in "ab":
        assert run.log(name).splitlines() == [str(number).encode() for number in range(run.result(name))]
        assert len(run.of("task_started", name)) == 1


def test_what_runs_on_a_host_that_stays_silent_is_killed_there_before_it_counts_as_lost(
    place, running, cluster, tmp_path
):
    until = tmp_path / "until"
    process, pids = running(
        f"""
            tasks:
              - {{name: a, target: "work:wait_for", args: ["{tmp_path}/a", ["{until}"]]}}
              - {{name: b, target: "work:wait_for", args: ["{tmp_path}/b", ["{until}"]]}}
        """,
        "--host-timeout",
        "2s",
    )
    silent_pid = cluster.workers["odd"].pid
    name = "ab"[[psutil.Process(main).parent().ppid() for _, main in pids].index(silent_pid)]
    mine = pids["ab".index(name)]
    with silent(cluster.workers["odd"]):
        eventually(lambda: not any(map(alive, mine)), 30)
        until.touch()
        run = finish(process, tmp_path / "state")
    assert run.code == 1, run.stderr
    assert run.outcome(name) == "unknown"
    assert "was not heard of for 2s" in run.one("task_finished", name)["reason"]
    assert run.outcome("ab".replace(name, "")) == "succeeded"
    assert not any(map(alive, mine))


# The last test of this module: it leaves no scheduler.
def test_a_run_whose_scheduler_is_killed_ends_and_leaves_nothing(place, running, cluster, tmp_path):
    never = tmp_path / "never"
    process, pids = running(
        f"""
            tasks:
              - {{name: a, target: "work:wait_for", args: ["{tmp_path}/a", ["{never}"]]}}
              - {{name: b, target: "work:wait_for", args: ["{tmp_path}/b", ["{never}"]]}}
        """,
        "--host-timeout",
        "2s",
    )
    cluster.scheduler.kill()
    run = finish(process, tmp_path / "state")
    assert run.code == 3, run.stderr
    assert [run.outcome(name) for name in "ab"] == ["unknown", "unknown"]
    eventually(lambda: not any(alive(pid) for both in pids for pid in both))
