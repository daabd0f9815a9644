"""The job model with `--executor dask`: tests of other modules, run again on the workers of a cluster.

The same test with both executors: here `mprun` finds the cluster in its environment. Of the parameters of a
test only the first set is used, or that of the number after its name, or all of them but for start methods.
"""

import importlib
import sys
import types
from pathlib import Path

import psutil
import pytest
from support import runs
from support.cluster import two_workers
from support.runs import eventually, finish, knows_start, mprun, start, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
]

# By module: a test for each way in which the engine and an executor work together.
TESTS = {
    # Probes of each kind, and what they print.
    "test_command_probes": """
        test_c30_probe_has_the_variables_and_the_directory_of_the_task
        test_c30_reason_says_what_was_seen_last
        test_c30_no_probe_survives:5
        test_c30_suspended_run_suspends_its_probe
    """,
    "test_verdicts": "test_a_service_that_says_that_it_is_ready_and_ends_at_once_was_ready",
    # Results, items, tokens, recipes, and services that others wait for.
    "test_pipelines": """
        test_results_keep_their_types
        test_returned_list_becomes_tasks:1
        test_failed_instances_are_retried_allowed_or_skip_the_dependents
        test_fail_fast_ends_a_foreach_completely
        test_ctrl_c_during_a_foreach_leaves_no_process
        test_nested_recipes_under_a_matrix_with_results
        test_tokens_are_never_overcommitted_and_are_released
        test_daemons_restart_by_their_policy_until_the_run_ends
        test_smoke_run_starts_servers_waits_for_them_tests_and_stops_them
        test_server_that_crashes_at_the_end_does_not_fail_the_run_if_it_was_up
    """,
    "test_late_matrix": "test_an_axis_may_be_the_result_of_a_task",
    "test_siblings": "test_an_instance_waits_for_its_sibling_alone",
    "test_capture": """
        test_c47_dependents_wait_until_the_output_is_a_result
        test_c47_each_attempt_is_captured_by_itself
    """,
    # Endings: every one of a table in one run, what tasks leave behind, timeouts with stacks.
    "test_task_exits": """
        test_the_record_has_the_exit_the_error_and_the_result:all
        test_output_before_the_end_is_kept:all
        test_a_grandchild_in_a_session_of_its_own_is_killed_and_reported
        test_orphans_of_a_failed_task_are_killed_and_do_not_change_its_outcome
        test_bytes_are_exact_in_the_log_and_text_is_utf_8
    """,
    "test_policies": """
        test_retry_starts_a_new_process
        test_timeout_writes_the_stack_to_the_log
        test_unmet_expectation_is_the_reason
        test_task_that_ignores_the_stop_signal_is_killed_with_its_children
        test_run_that_exceeds_its_timeout_fails
    """,
    "test_secrets": "test_messages_of_a_run_have_no_secret",
    "test_many_tasks": "test_a_thousand_tasks_leave_nothing_behind",
    # Stops of tasks and of the run.
    "test_stop_and_suspend": """
        test_running_task_is_stopped_and_the_others_continue
        test_waiting_task_is_cancelled_with_its_dependents
        test_task_that_ignores_the_signal_is_killed_after_its_grace
        test_whole_run_is_stopped
        test_second_stop_kills_the_run
    """,
}


def one_of(test, number, marks):
    """A copy of a test with one set of its parameters."""
    copy = types.FunctionType(
        test.__code__, test.__globals__, test.__name__, test.__defaults__, test.__closure__
    )
    copy.pytestmark = [*marks]
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize" and (number != "all" or mark.args[0] == "method"):
            names, values = mark.args
            one = values[int(number) % len(values) if number != "all" else 0]
            copy.pytestmark.append(pytest.mark.parametrize(names, [one]).mark)
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
            # The second is what an older pytest makes of one.
            if type(value).__name__ == "FixtureFunctionDefinition" or hasattr(
                value, "_pytestfixturefunction"
            ):
                assert globals().setdefault(each, value) is value, f"two fixtures are called {each}"
        for each in tests.split():
            each, _, number = each.partition(":")
            globals()[each] = one_of(found[each], number or "0", marks)


collect()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with two_workers(tmp_path_factory.mktemp("cluster"), threads=2) as found:
        yield found


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


def test_artifacts_come_into_the_record_before_the_end_of_their_task(tmp_path):
    write(
        tmp_path,
        work="""
            import os, sys

            def draw():
                top = os.environ["MPRUN_TASK_DIR"]
                assert os.listdir(top) == []
                os.makedirs(top + "/below/empty")
                with open(top + "/below/large", "wb") as file:
                    file.write(b"0123456789" * 100_000)
                os.symlink("/etc/passwd", top + "/link")
                with open(top + "/attempt." + os.environ["MPRUN_ATTEMPT"], "w") as file:
                    file.write("x")
                sys.exit(os.environ["MPRUN_ATTEMPT"] == "1")
        """,
        job="""
            tasks:
              - {name: draw it, target: "work:draw", artifacts: true, retry: 1}
              - {name: none, command: 'true', artifacts: true}
              - {name: look, command: 'wc -c .mprun/runs/*/artifacts/draw*/*/large', depends_on: draw it}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    kept = Path(run.directory.artifacts_of("draw it"))
    names = sorted(str(path.relative_to(kept)) for path in kept.rglob("*"))
    assert names == ["attempt.1", "attempt.2", "below", "below/empty", "below/large"]
    assert (kept / "below" / "large").read_bytes() == b"0123456789" * 100_000
    assert sorted(path.name for path in kept.parent.iterdir()) == sorted([kept.name, "none"])
    assert run.log("look").startswith(b"1000000 ")


def test_artifacts_of_a_host_that_is_lost_are_named(tmp_path):
    leave = 'echo 1 > "$MPRUN_TASK_DIR/one"; echo $$ $PPID > up.part; mv up.part up; sleep 600'
    write(tmp_path, job=f"tasks: [{{name: a, command: '{leave}', artifacts: true}}]")
    process = start("job.yaml", cwd=tmp_path)
    eventually((tmp_path / "up").exists, 30)
    pid, main = map(int, (tmp_path / "up").read_text().split())
    eventually(lambda: knows_start(tmp_path / ".mprun", pid), 30)
    psutil.Process(main).parent().kill()
    run = finish(process, tmp_path / ".mprun")
    assert run.outcome("a") == "unknown"
    assert run.one("task_finished", "a")["reason"].endswith("; its artifacts are lost")
    assert list(Path(run.directory.artifacts_of("a")).parent.rglob("*")) == [
        Path(run.directory.artifacts_of("a"))
    ]
