"""Without /proc mprun does what it can, and says what it cannot do (C72)."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from support.runs import START_METHODS, Run, alive, environment, write

HIDE = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]


def can_hide_proc():
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*HIDE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_hide_proc(), reason="only root can hide /proc here")


@pytest.mark.parametrize("method", START_METHODS)
def test_functions_run_and_time_out_and_a_command_says_what_it_needs(tmp_path, method):
    write(
        tmp_path,
        work="""\
            import signal, subprocess

            def give():
                return 7

            def stay():
                child = subprocess.Popen(["sleep", "60"])
                print(child.pid, flush=True)
                signal.pause()
        """,
        job=f"""\
            start_method: {method}
            tasks:
            - {{name: give, target: 'work:give'}}
            - {{name: stay, target: 'work:stay', timeout: {"1s" if method == "fork" else "3s"}}}
            - {{name: command, command: 'true'}}
        """,
    )
    command = [*HIDE, sys.executable, "-m", "mprun", "-q", "job.yaml"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, timeout=50, check=False
    )
    run = Run(done, done.stdout, done.stderr.decode(), tmp_path / ".mprun")
    assert run.code == 1, run.stderr
    assert run.stderr.count("warning: /proc is not mounted: ") == 1
    assert (run.outcome("give"), run.result("give"), run.outcome("stay")) == ("succeeded", 7, "timed_out")
    failed = run.one("task_finished", "command")
    assert failed["reason"] == "could not be started: a command needs /proc, which is not mounted"
    member = int(run.log("stay").split()[0])
    assert not alive(member)
