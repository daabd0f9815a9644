"""MPRUN_PARAM_X reaches only the tasks that refer to it (C69)."""

import subprocess
import sys

import pytest
from support.runs import START_METHODS, environment, mprun, newest_run, read_events, write

from mprun.jobfile.model import PARAM_VARIABLE
from mprun.launcher.environment import PARAM_PREFIX

WORK = """
    import os

    def seen(*others):
        shown = b"".join(open(f"/proc/{pid}/environ", "rb").read() for pid in ("self", *others))
        found = {name for name in os.environ if name.startswith("MPRUN_PARAM_")}
        return sorted(found) + ["/proc"] * (b"s3cr3t" in shown)

    AT_IMPORT = seen()

    def at_import(*args):
        return AT_IMPORT

    def inherited():
        return seen(os.getppid())

    def given(*args):
        return {name: os.environ[name] for name in seen()}
    """
JOB = """
    params:
      token: {type: string, secret: true, required: true}
      n: 1
    tasks:
      - {name: none, target: 'work:inherited'}
      - {name: import, target: 'work:at_import'}
      - {name: command, command: 'env', capture: lines}
      - {name: each, target: 'work:seen', foreach: '${tasks.none.result}'}
      - {name: retried, target: 'work:seen', retry: 1}
      - {name: param, target: 'work:given', kwargs: {}, env: {T: '${params.token}'}}
      - {name: variable, target: 'work:given', env: {T: '${env.MPRUN_PARAM_TOKEN}'}}
      - {name: matrix, target: 'work:given', args: ['${params.n}'], matrix: {m: [1, 2]}}
      - {name: told, command: 'env', capture: lines, env: {T: 'x${params.token}'}}
      - name: served
        command: sleep 60
        daemon: true
        ready: {command: [sh, -c, 'env > "$PROBED"; true']}
        env: {PROBED: served.env}
      - name: known
        command: sleep 60
        daemon: true
        ready: {command: [sh, -c, 'env > "$PROBED"; true']}
        env: {PROBED: known.env, T: '${params.token}'}
      - {name: end, command: 'true', depends_on: [served, known]}
    """


@pytest.mark.parametrize("method", START_METHODS)
def test_a_task_has_the_variables_of_the_params_that_it_refers_to(method, tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    env = {"MPRUN_PARAM_TOKEN": "s3cr3t", "MPRUN_PARAM_N": "2", "MPRUN_PARAM_OTHER": "s3cr3t"}
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path, env=env)
    assert run.code == 0, run.stderr
    for task in ("none", "import", "retried"):
        assert run.result(task) == [], task
    assert of_params(run.result("command")) == []
    for task in ("param", "variable"):
        assert run.result(task) == {"MPRUN_PARAM_TOKEN": "s3cr3t"}
    assert run.result("matrix[m=1]") == run.result("matrix[m=2]") == {"MPRUN_PARAM_N": "2"}
    assert of_params(run.result("told")) == ["MPRUN_PARAM_TOKEN"]
    probed = [(tmp_path / f"{task}.env").read_text().splitlines() for task in ("served", "known")]
    assert list(map(of_params, probed)) == [[], ["MPRUN_PARAM_TOKEN"]]


def of_params(lines):
    names = (line.partition("=")[0] for line in lines)
    return sorted(name for name in names if name.startswith("MPRUN_PARAM_"))


def test_the_launcher_of_a_library_has_none_of_the_variables(tmp_path):
    """It is a new Python, started by a program that imports mprun."""
    write(tmp_path, work=WORK, job=JOB.split("- {name: command")[0])
    code = "import mprun; r = mprun.run_job(mprun.load_job('job.yaml')); print(r.exit_code)"
    env = environment(MPRUN_PARAM_TOKEN="s3cr3t")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr
    events = read_events(newest_run(tmp_path / ".mprun").events)
    results = [event["result"] for event in events if event["event"] == "task_finished"]
    assert results == [[], []]


def test_launcher_and_job_file_mean_the_same_variables():
    assert PARAM_PREFIX.decode() == PARAM_VARIABLE
