"""The job files of docs/coming-from.md do what the files beside them do, with dummy programs."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest
import yaml
from support.ports import held_ports
from support.runs import ROOT, eventually, finish, mprun, start, write

PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
# What is under each heading: the job file, and what is beside it.
SECTIONS = {
    title: dict(re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
PROCFILE, COMPOSE, MATRIX, MAKEFILE = SECTIONS


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Makes programs that note their arguments in the file `calls`, and then run a script."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def make(scripts):
        for name, script in scripts.items():
            path = tmp_path / name if name.endswith(".sh") else tmp_path / "bin" / name
            path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\n{script}\n')
            path.chmod(0o755)

    return make


def job(title, directory):
    """Write the job file of a section; the tasks that it has."""
    text = SECTIONS[title]["yaml"]
    (directory / "job.yaml").write_text(text)
    return yaml.safe_load(text)["tasks"]


def calls(directory):
    return (directory / "calls").read_text().splitlines()


def positions(events):
    """Where each event of a task is in the record, by kind and task."""
    return {(event["event"], event.get("task")): number for number, event in enumerate(events)}


@pytest.fixture
def port():
    with held_ports() as (found,):
        yield found


def test_a_procfile(tmp_path, stubs, port):
    stubs(
        {
            "redis-server": f'exec {sys.executable} -c "$SERVE" "$2"',
            "gunicorn": "exec sleep 60",
            "celery": "exec sleep 60",
        }
    )
    names = [task["name"] for task in job(PROCFILE, tmp_path)]
    assert names == re.findall(r"^(\w+):", SECTIONS[PROCFILE]["text"], re.MULTILINE)
    path = tmp_path / "job.yaml"
    path.write_text(path.read_text().replace("6399", str(port)))
    serve = (
        "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"
    )
    run = start("job.yaml", cwd=tmp_path, env={"SERVE": serve, "PATH": os.environ["PATH"]})
    eventually(lambda: (tmp_path / "calls").exists() and len(calls(tmp_path)) == 3)
    assert calls(tmp_path)[0] == f"redis-server --port {port}"
    run.send_signal(signal.SIGINT)
    ended = finish(run, tmp_path / ".mprun")
    assert ended.code == 130, ended.stderr
    at = positions(ended.events)
    for name in ("web", "worker"):
        assert at["task_ready", "db"] < at["task_started", name]
        assert at["task_exited", name] < at["task_stopping", "db"]


def test_the_health_checks_of_docker_compose(tmp_path, stubs):
    stubs(
        {
            "postgres": "exec sleep 60",
            "pg_isready": 'test "$(grep -c pg_isready calls)" -ge 3',
            "migrate.sh": "true",
            "serve.sh": "true",
        }
    )
    tasks = {task["name"]: task for task in job(COMPOSE, tmp_path)}
    services = yaml.safe_load(SECTIONS[COMPOSE]["yml"])["services"]
    assert list(tasks) == list(services)
    words = {"service_healthy": "ready", "service_completed_successfully": "succeeded"}
    for name, service in services.items():
        conditions = {other: words[on["condition"]] for other, on in service.get("depends_on", {}).items()}
        assert tasks[name].get("depends_on", {}) == conditions
    assert ["CMD", *tasks["db"]["ready"]["command"]] == services["db"]["healthcheck"]["test"]
    path = tmp_path / "job.yaml"
    path.write_text(path.read_text().replace("interval: 1s", "interval: 10ms"))
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    seen = calls(tmp_path)
    assert seen.count("pg_isready -q") >= 3
    assert [line.split()[0] for line in seen if "pg_isready" not in line] == [
        "postgres",
        "migrate.sh",
        "serve.sh",
    ]
    assert [run.outcome(name) for name in tasks] == ["stopped", "succeeded", "succeeded"]


def test_a_matrix_of_github_actions(tmp_path, stubs):
    stubs({"nox": "true", "deploy.sh": "true", "report.sh": "true"})
    task = job(MATRIX, tmp_path)[0]
    foreign = yaml.safe_load(SECTIONS[MATRIX]["yml"])["jobs"]
    assert task["matrix"] == foreign["test"]["strategy"]["matrix"]
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    combinations = [("3.12", "sqlite"), ("3.13", "sqlite"), ("3.13", "postgres"), ("3.14", "sqlite")]
    expected = sorted(f"nox -s tests-{python} -- --db {database}" for python, database in combinations)
    assert sorted(calls(tmp_path)[:4]) == expected
    assert sorted(calls(tmp_path)[4:]) == ["deploy.sh ", "report.sh "]
    stubs({"nox": "exit 1"})
    (tmp_path / "calls").unlink()
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.outcome("deploy"), run.outcome("report")) == (1, "skipped", "succeeded")


def test_a_makefile(tmp_path, stubs):
    stubs({"curl": 'touch "$2"', "pytest": "true", "tar": "true"})
    write(tmp_path, build="import sys; open('build', 'w').write(sys.argv[1])")
    tasks = {task["name"]: task.get("depends_on") for task in job(MAKEFILE, tmp_path)}
    rules = dict(re.findall(r"^(\S+):(.*)", SECTIONS[MAKEFILE]["make"], re.MULTILINE))
    assert tasks == {name: needs.strip() or None for name, needs in rules.items() if name != "all"}
    run = mprun("job.yaml", "-p", "url=http://localhost/x", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert calls(tmp_path)[0] == "curl -sSo data.csv http://localhost/x"
    assert sorted(calls(tmp_path)[1:]) == ["pytest -q", "tar czf package.tgz build"]
    assert (tmp_path / "build").read_text() == "data.csv"
    (tmp_path / "calls").unlink()
    run = mprun("job.yaml", "test", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert [line.split()[0] for line in calls(tmp_path)] == ["curl", "pytest"]


def test_commands_that_name_tasks_name_those_of_the_job_beside_them(tmp_path):
    named = 0
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for task in re.findall(r"`mprun job\.yaml (\w+)`", text):
            job(title, tmp_path)
            run = mprun("plan", "job.yaml", task, cwd=tmp_path)
            assert run.code == 0, run.stderr
            named += 1
    assert named >= 2
