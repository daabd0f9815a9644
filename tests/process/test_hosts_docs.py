"""docs/cluster.md: the script for a batch system does what the page says."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import ROOT, environment, newest_run, read_events

pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far")

# Starts what it is given twice, as `srun` does on two nodes.
SRUN = """#!/bin/sh
"$@" --name one &
"$@" --name two &
wait
"""
JOB = "tasks:\n  - {name: root, foreach: [1, 4, 9, 16], target: math:sqrt, args: ['${item}']}\n"


def script_for(heading):
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {heading}\n(.*?)^##", page, re.MULTILINE | re.DOTALL)[1]
    return re.search(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]


def write_program(path, text):
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("target", "code"), [("math:sqrt", 0), ("math:no_such_name", 2)])
def test_the_script_for_slurm_runs_the_job_and_ends_with_its_exit_code(tmp_path, target, code):
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "srun", SRUN)
    write_program(programs / "mprun", f'#!/bin/sh\nexec "{sys.executable}" -m mprun "$@"\n')
    # On loopback alone, and on any port.
    dask = Path(sys.executable).with_name("dask")
    write_program(programs / "dask", f'#!/bin/sh\nexec "{dask}" "$@" --host 127.0.0.1 --no-dashboard\n')
    (tmp_path / "job.yaml").write_text(JOB.replace("math:sqrt", target))
    script = script_for("Slurm").replace("JOB --executor", "job.yaml --executor")
    variables = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2"}
    with (tmp_path / "output").open("w+") as output:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment(PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", **variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            process.wait(timeout=100)
        finally:
            # As Slurm does at the end of a job.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        assert process.returncode == code, output.read()
    if code == 0:
        events = read_events(newest_run(tmp_path / ".mprun").events)
        results = [event["result"] for event in events if event["event"] == "task_finished"]
        assert sorted(results) == [1, 2, 3, 4]
