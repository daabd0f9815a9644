"""The start of a run on hosts: workers that do not answer, and what the scheduler makes of the run."""

import signal
import subprocess
import sys
import textwrap

import psutil
import pytest
from support.cluster import Cluster
from support.runs import eventually, start, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
]

JOB = """
    tasks:
      - {name: a, command: "[ -z $BEGUN ] || { touch $BEGUN; sleep 8; rm $BEGUN; }"}
"""
# Less than that.
IDLE_SECONDS = 5
# In the scheduler: it counts as idle only while the task runs, so that it does not close before.
PRELOAD = """
    import os
    from tornado.ioloop import PeriodicCallback

    def dask_setup(scheduler):
        def look():
            if not os.path.exists(PATH):
                scheduler.idle_since = None
        scheduler.look = PeriodicCallback(look, 100)
        scheduler.look.start()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cluster")
    write(directory, preload=textwrap.dedent(PRELOAD).replace("PATH", repr(str(directory / "begun"))))
    config = {
        "DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": f"{IDLE_SECONDS}s",
        "DISTRIBUTED__SCHEDULER__PRELOAD": f"['{directory}/preload.py']",
        "LOGGING__DISTRIBUTED": "warning",
    }
    found = Cluster(directory, {f"DASK_{name}": value for name, value in config.items()})
    try:
        for name in ("first", "second"):
            found.add_worker(name, env={"BEGUN": str(directory / "begun")} if name == "first" else None)
        found.wait_for_workers()
        yield found
    finally:
        found.close()


@pytest.fixture
def begin(tmp_path, cluster):
    """Starts a job while some of the workers are stopped; the process, and what returns its messages."""
    started = []

    def go(*options, stopped=()):
        write(tmp_path, job=JOB)
        for name in stopped:
            cluster.workers[name].send_signal(signal.SIGSTOP)
        with (tmp_path / "stderr").open("wb") as stderr:
            where = ("--executor", "dask", "--scheduler", cluster.address)
            env = {"MARK": str(tmp_path)}
            more = {"env": env, "stdout": subprocess.DEVNULL, "stderr": stderr, "start_new_session": True}
            started.append(start("job.yaml", *where, *options, cwd=tmp_path, **more))
        return started[-1], lambda: (tmp_path / "stderr").read_text()

    yield go
    for worker in cluster.workers.values():
        worker.send_signal(signal.SIGCONT)
    for process in started:
        process.kill()
        process.wait()


def marked(place):
    """The processes that a run has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == str(place) and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_run_without_a_worker_that_answers_says_so(begin):
    process, stderr = begin("--host-timeout", "1s", stopped=["first", "second"])
    assert process.wait(60) == 2
    assert "error: no worker of dask has answered within 1s" in stderr()


def test_the_address_of_a_worker_is_refused(begin, cluster):
    address = cluster.worker_address("first")
    process, stderr = begin("--scheduler", address)
    assert process.wait(60) == 2
    assert f"{address} is the address of dask's Worker, not of its scheduler" in stderr()


def test_where_nothing_listens_the_reason_is_that_of_the_system(begin):
    process, stderr = begin("--scheduler", "tcp://127.0.0.1:1")
    assert process.wait(60) == 2
    assert "cannot connect to dask at tcp://127.0.0.1:1: Connection refused" in stderr()


def test_while_it_waits_for_a_worker_it_says_so_and_can_be_stopped(tmp_path, begin):
    process, stderr = begin("--host-timeout", "100s", stopped=["first"])
    eventually(lambda: "waiting for an answer of dask's workers tcp://" in stderr(), 60)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130, stderr()
    eventually(lambda: not marked(tmp_path), 30)


def test_a_worker_that_does_not_answer_is_left_out_and_no_scheduler_closes_as_idle_meanwhile(begin, cluster):
    # It runs where the task takes longer than an idle scheduler waits.
    process, stderr = begin("--host-timeout", "10s", stopped=["second"])
    assert process.wait(90) == 0, stderr()
    assert "warning: host tcp://" in stderr()
    assert "is not used: it did not answer within 10s" in stderr()
    assert cluster.scheduler.poll() is None
