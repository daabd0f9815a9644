"""The part of distributed that a run imports, and the whole for who uses more of it."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

from mprun.executors.dask.lean_distributed import TRIED_DISTRIBUTED

pytest.importorskip("distributed")

SHOW = """
import sys
from mprun.executors.dask import lean_distributed
if len(sys.argv) > 1:
    lean_distributed.version = lambda name: sys.argv[1]
core = lean_distributed.import_core()
parts = ("client", "scheduler", "worker")
print([name for name in parts if f"distributed.{name}" in sys.modules])
import distributed
print(distributed.Client.__module__, distributed.core is core, distributed.rpc is core.rpc, type(distributed))
"""
WHOLE = "distributed.client True True <class 'module'>"


def show(*version):
    command = [sys.executable, "-P", "-c", SHOW, *version]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def test_a_run_imports_no_client_scheduler_or_worker_of_dask():
    assert show() == ["[]", WHOLE]


def test_a_version_that_no_one_has_tried_is_imported_as_a_whole():
    assert show("9999.1.0") == ["['client', 'scheduler', 'worker']", WHOLE]


def test_the_installed_version_is_not_newer_than_those_that_were_tried():
    version = importlib.metadata.version("distributed")
    installed = tuple(map(int, re.findall(r"\d+", version)))[:2]
    assert installed <= TRIED_DISTRIBUTED, (
        f"distributed {version} is newer than those that `mprun.executors.dask.lean_distributed` was tried "
        f"with ({TRIED_DISTRIBUTED}). Runs on a cluster start later with it. Raise the bound, and run all "
        "tests of hosts."
    )
