"""The job model with `--executor dask`: tests of other modules, run again on the workers of a cluster.

The same test with both executors: here `mprun` finds the cluster in its environment. Of the parameters of a
test only the first set is used, or that of the number after its name.
"""

import importlib
import os
import sys
import types

import pytest
from support import runs
from support.cluster import Cluster
from support.runs import mprun, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
]

# By module: a test for each way in which the engine and an executor work together.
TESTS = {
    "test_command_probes": """
        test_c30_probe_has_the_variables_and_the_directory_of_the_task
        test_c30_reason_says_what_was_seen_last
        test_c30_try_that_takes_too_long_is_killed_with_its_tree_and_tried_again
        test_c30_no_probe_survives:5
        test_c30_suspended_run_suspends_its_probe
    """,
    "test_pipelines": """
        test_smoke_run_starts_servers_waits_for_them_tests_and_stops_them
        test_server_that_crashes_at_the_end_does_not_fail_the_run_if_it_was_up
    """,
    "test_verdicts": "test_a_service_that_says_that_it_is_ready_and_ends_at_once_was_ready:0",
}
if os.environ.get("EXPLORE"):
    TESTS = {f"test_{name}": "*" for name in os.environ["EXPLORE"].split()}


def one_of(test, number, marks):
    """A copy of a test with one set of its parameters."""
    copy = types.FunctionType(
        test.__code__, test.__globals__, test.__name__, test.__defaults__, test.__closure__
    )
    copy.pytestmark = [*marks]
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            names, values, *_ = mark.args
            values = list(values)
            copy.pytestmark.append(pytest.mark.parametrize(names, [values[number % len(values)]]).mark)
        else:
            copy.pytestmark.append(mark)
    return copy


def collect():
    for name, tests in TESTS.items():
        module = importlib.import_module(f"process.{name}")
        found = vars(module)
        marks = found.get("pytestmark", [])
        marks = [mark.mark for mark in (marks if isinstance(marks, list) else [marks])]
        for each, value in found.items():
            if type(value).__name__ == "FixtureFunctionDefinition":
                globals()[each] = value
        if tests == "*":
            tests = " ".join(each for each in found if each.startswith("test_") and callable(found[each]))
        for each in tests.split():
            each, _, number = each.partition(":")
            globals()[each] = one_of(found[each], int(number or 0), marks)


collect()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        for name in ("first", "second"):
            found.add_worker(name, threads=2)
        found.wait_for_workers()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module", autouse=True)
def executor(cluster):
    """Each `mprun` of these tests runs its tasks on the cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "EXECUTOR", {"MPRUN_EXECUTOR": "dask", "MPRUN_SCHEDULER": cluster.address})
        yield


def test_a_task_runs_in_the_directory_of_mprun_and_may_leave_a_file_there_that_says_it_was_ready(tmp_path):
    write(
        tmp_path,
        job="""
            tasks:
              - {name: a, command: 'pwd; touch up', daemon: true, ready: {file: up, interval: 60s}}
              - {name: b, target: os:getcwd, depends_on: {a: ready}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert (run.log("a").decode(), run.result("b")) == (f"{tmp_path}\n", str(tmp_path))
    assert run.one("task_ready", "a")
