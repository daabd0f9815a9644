"""The options of `--executor dask`, and what it refuses before it looks for a cluster."""

from types import SimpleNamespace

import pytest
from support.runs import ROOT, mprun, write

from mprun.cli import hosts
from mprun.errors import UsageError
from mprun.executors.base import CLUSTER_OPTIONS
from mprun.executors.dask import executor

NONE = {"executor": "dask", **dict.fromkeys(CLUSTER_OPTIONS), "host_timeout": 30.0}


def test_a_scheduler_without_the_executor_is_refused(tmp_path):
    write(tmp_path, job="tasks: [{command: [echo]}]")
    run = mprun("job.yaml", "--scheduler-file", "x", cwd=tmp_path)
    assert (run.code, run.stderr) == (2, "error: `--scheduler-file` is only valid with `--executor dask`\n")


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


def test_what_an_executor_lacks_is_refused_at_its_place(tmp_path):
    write(
        tmp_path,
        job="""
            tasks:
              - {name: web, command: [sleep, "9"], daemon: true, ready: {tcp: 80}}
              - {name: kept, command: [echo], artifacts: true}
        """,
    )
    name = "support.other_executors:Two"
    run = mprun("job.yaml", "--executor", name, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "tests")})
    assert run.code == 2
    assert f"a `ready` probe by `tcp` is not available with `--executor {name}`" in run.stderr
    assert "job.yaml:3:" in run.stderr
    assert f"`artifacts` is not available with `--executor {name}`" in run.stderr
    assert "job.yaml:4:" in run.stderr
