"""What those who keep a dask cluster see of a run: no warnings, no thread taken, no event loop held."""

import os
import signal
import subprocess
import sys

import pytest
from support.cluster import two_workers
from support.runs import eventually, finish, mprun, start, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
]

# How long one callback may hold the event loop, in seconds of CPU time: the machine may be busy.
LIMIT = 0.1
# By hand, with more: 1,000 tasks and 200 MB.
NUMBERS = list(range(int(os.environ.get("QUIET_TASKS", "100"))))
LOG_BYTES = int(os.environ.get("QUIET_BYTES", "20000000"))
SITE = f"""
    import asyncio.events, os, sys, time

    def run(self, real=asyncio.events.Handle._run, clock=time.thread_time):
        begun = clock()
        real(self)
        took = clock() - begun
        if took > {LIMIT}:
            print(f"HELD for {{took:.3f}} s of CPU time: {{self}}", file=sys.stderr, flush=True)

    asyncio.events.Handle._run = run
"""
MODULE = """
    import os, sys, time

    def talk(number):
        for line in range(20):
            print(number, line)
        return number

    def large(number):
        return "x" * 4_000_000

    def flood(size):
        line = "y" * 999
        for _ in range(size // 1000):
            print(line)

    def hang(path):
        open(path, "w").close()
        time.sleep(600)
"""


@pytest.fixture
def cluster(tmp_path):
    directory = tmp_path / "cluster"
    directory.mkdir()
    write(directory, sitecustomize=SITE)
    config = {"LOGGING__DISTRIBUTED": "warning", "DISTRIBUTED__ADMIN__TICK__LIMIT": "100ms"}
    env = {f"DASK_{name}": value for name, value in config.items()}
    with two_workers(directory, {"PYTHONPATH": str(directory), **env}) as found:
        # What dask itself does at its start is not meant.
        (directory / "cluster.log").write_bytes(b"")
        yield found


def test_a_scheduler_and_its_workers_have_nothing_to_say_of_a_run(tmp_path, cluster):
    write(tmp_path, work=MODULE)
    path = tmp_path / "hangs"
    write(
        tmp_path,
        job=f"""
            tasks:
              - {{name: talk, target: "work:talk", args: ["${{matrix.n}}"], matrix: {{n: {NUMBERS}}}}}
              - {{name: large, target: "work:large", args: ["${{matrix.n}}"], matrix: {{n: [1, 2, 3, 4]}}}}
              - {{name: flood, target: "work:flood", args: [{LOG_BYTES}]}}
        """,
        job_that_hangs=f"""
            tasks:
              - {{name: hang, target: "work:hang", args: ["{path}"]}}
              - {{name: flood, target: "work:flood", args: [{LOG_BYTES}]}}
        """,
    )
    options = ("--executor", "dask", "--scheduler", cluster.address, "--output", "none")
    run = mprun("job.yaml", *options, cwd=tmp_path, timeout=150)
    assert run.code == 0, run.stderr
    assert len(run.log("flood")) == LOG_BYTES

    process = start("job_that_hangs.yaml", *options, cwd=tmp_path)
    eventually(path.exists, 60)
    # The only thread of each worker is free for a task of dask's.
    program = (
        "import distributed, sys; c = distributed.Client(sys.argv[1]); print(c.submit(abs, -3).result(60))"
    )
    command = [sys.executable, "-c", program, cluster.address]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert asked.stdout == "3\n", asked.stderr
    process.send_signal(signal.SIGTERM)
    assert finish(process, tmp_path / ".mprun").code == 143
    assert (cluster.directory / "cluster.log").read_text() == ""
