"""The options of `--executor dask`, and what it refuses before it looks for a cluster."""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest
from support.runs import ROOT, environment, mprun, write

from mprun.cli import hosts
from mprun.errors import UsageError
from mprun.executors.base import CLUSTER_OPTIONS
from mprun.executors.dask import cluster, executor

NONE = {"executor": "dask", **dict.fromkeys(CLUSTER_OPTIONS), "host_timeout": 30.0, "quiet": False}


def test_a_scheduler_without_the_executor_is_refused(tmp_path):
    write(tmp_path, job="tasks: [{command: [echo]}]")
    run = mprun("job.yaml", "--scheduler-file", "x", cwd=tmp_path)
    assert (run.code, run.stderr) == (2, "error: `--scheduler-file` is only valid with `--executor dask`\n")


@pytest.mark.parametrize("option", [f"--{name.replace('_', '-')}" for name in CLUSTER_OPTIONS])
@pytest.mark.parametrize("where", ["local", "dask"])
def test_an_empty_value_is_refused_and_not_taken_for_none(option, where, tmp_path):
    # As from `--scheduler "$SCHEDULER"`: the run would be on a cluster of this machine.
    write(tmp_path, job="tasks: [{command: [touch, begun]}]")
    run = mprun("job.yaml", "--executor", where, option, "", cwd=tmp_path)
    assert (run.code, run.stderr) == (2, f"error: `{option}` is empty; leave it out, or give a value\n")
    assert not (tmp_path / "begun").exists()


def test_without_distributed_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(executor, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'mprun\[dask\]'"):
        hosts.connect(SimpleNamespace(tasks=()), 1, NONE)


def test_two_schedulers_are_refused():
    with pytest.raises(UsageError, match="use one of them"):
        hosts.connect(None, None, {**NONE, "scheduler": "tcp://127.0.0.1:1", "scheduler_file": "x"})


def test_a_scheduler_file_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("distributed")
    write(tmp_path, job="tasks: [{command: [echo]}]")
    run = mprun("job.yaml", "--executor", "dask", "--scheduler-file", "missing.json", cwd=tmp_path)
    assert run.code == 2
    assert run.stderr.startswith("error: no such file: missing.json (`--scheduler-file`)")
    assert run.directory is None


@pytest.mark.parametrize("text", ['{"address": null}', '{"address": 5}', "[1]", "{}", "x"])
def test_a_scheduler_file_without_an_address_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.1)
    (tmp_path / "scheduler.json").write_text(text)
    with pytest.raises(ValueError, match="the file does not have the address of a scheduler"):
        asyncio.run(cluster._address_in(str(tmp_path / "scheduler.json")))


@pytest.mark.parametrize(
    ("job", "options"),
    [
        ("tasks: [{command: [echo], unknown: 1}]", ()),
        ("tasks: [{command: [echo], host: {mprun: 1}}]", ()),
        ("tasks: [{command: [echo]}]", ("--scheduler", "tcp://127.0.0.1:1", "--scheduler-file", "x")),
    ],
)
def test_a_job_that_is_refused_leaves_no_process_that_imports_dask(job, options, tmp_path):
    pytest.importorskip("distributed")
    write(tmp_path, job=job)
    run = mprun("job.yaml", "--executor", "dask", *options, cwd=tmp_path, env={"MARK": str(tmp_path)})
    assert run.code == 2
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            left += [process] if process.environ().get("MARK") == str(tmp_path) else []
    assert not left


# Runs the command as its script does; at its end, the engine names what it has imported of these.
SPY = """
import os, sys
from mprun.__main__ import main
engine, leave = os.getpid(), os._exit

def tell_and_leave(code):
    if os.getpid() == engine:
        print("mprun.executors.dask.bridge_process" in sys.modules, end=" ")
        print({"click", "locale", "selectors", "socket", "subprocess"} & {*sys.modules}, flush=True)
    leave(code)

os._exit = tell_and_leave
main()
"""


def test_a_run_on_hosts_imports_no_more_than_it_needs_to_start_the_bridge(tmp_path):
    pytest.importorskip("distributed")
    write(tmp_path, job="tasks: [{command: [echo], unknown: 1}]")
    command = [sys.executable, "-c", SPY, "job.yaml", "--executor", "dask"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.stdout == "True set()\n", done.stderr


def test_what_an_executor_lacks_is_refused_at_its_place(tmp_path):
    write(
        tmp_path,
        job="""
            tasks:
              - {name: web, command: [sleep, "9"], daemon: true, ready: {tcp: 80}}
              - {name: kept, command: [echo], artifacts: true}
              - {name: fast, command: [echo], host: {gpu: 1}}
        """,
    )
    name = "support.other_executors:Two"
    run = mprun("job.yaml", "--executor", name, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "tests")})
    assert run.code == 2
    assert f"a `ready` probe by `tcp` is not available with `--executor {name}`" in run.stderr
    assert "job.yaml:3:" in run.stderr
    assert f"`artifacts` is not available with `--executor {name}`" in run.stderr
    assert "job.yaml:4:" in run.stderr
    assert f"`host` is not available with `--executor {name}`" in run.stderr
    assert "job.yaml:5:" in run.stderr


def test_what_a_task_needs_of_a_worker_is_refused_on_this_machine(tmp_path):
    write(
        tmp_path,
        job="""
            defaults: {host: {gpu: 1}}
            tasks:
              - {name: one, command: [touch, started], host: {}}
              - {name: two, command: [touch, started], host: {gpu: 0.5}, matrix: {n: [1, 2]}}
              - {name: three, command: [touch, started]}
              - name: late
                command: [touch, started]
                foreach: ${tasks.one.result}
                host: {gpu: "${item}", disk: 1}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 2
    # Once for all instances, and for the `defaults` at their place.
    assert run.stderr.count("`host` needs `--executor dask`") == 3
    assert "job.yaml:10:" in run.stderr
    assert "job.yaml:5:" in run.stderr
    assert "job.yaml:2:" in run.stderr
    assert "add this option, or remove `host`" in run.stderr
    assert not (tmp_path / "started").exists()
    assert mprun("validate", "job.yaml", cwd=tmp_path).code == 0
    plan = json.loads(mprun("plan", "job.yaml", "--json", cwd=tmp_path).stdout)
    assert [task["host"] for task in plan["tasks"]] == [
        {},
        {"gpu": 0.5},
        {"gpu": 0.5},
        {"gpu": 1},
        {"gpu": 0, "disk": 1},
    ]
