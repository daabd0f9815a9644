"""What a run is worth with real processes: which failures count, what dependents do, and the last line."""

from __future__ import annotations

import json

import pytest
from support.runs import START_METHODS, mprun, write

from mprun import api

every_start_method = pytest.mark.parametrize("method", START_METHODS)

WORK = """
    def give(value=None):
        return value

    def boom():
        raise ValueError("boom")

    def serve():
        import time
        print("serving", flush=True)
        time.sleep(600)

    def come_and_go():
        print("serving", flush=True)
"""


@pytest.fixture
def run_job(tmp_path):
    def run(job, *options, **files):
        write(tmp_path, work=WORK, job=job, **{f"job_{name}": text for name, text in files.items()})
        return mprun("job.yaml", *options, cwd=tmp_path)

    return run


def last_line(run):
    """The line with the outcome of a run."""
    lines = run.stderr.splitlines()
    return next(line for line in reversed(lines) if line.startswith(("succeeded", "failed", "interrupted")))


def ends(run):
    return {event["task"]: event["outcome"] for event in run.of("task_finished")}


def reason(run, task):
    return run.one("task_finished", task)["reason"]


# ---- a service that is not there


@every_start_method
@pytest.mark.parametrize("service", ["command: exit 0", 'target: "work:give"', "command: exit 0, retry: 1"])
def test_a_service_that_ends_before_it_is_ready_fails_the_run_C02(run_job, service, method):
    run = run_job(
        f"""
        tasks:
          - {{name: svc, {service}, daemon: true, ready: {{log: x}}}}
          - {{name: test, command: 'true', depends_on: {{svc: ready}}}}
          - {{name: more, command: 'true', depends_on: test}}
        """,
        "--start-method",
        method,
    )
    assert run.code == 1
    assert ends(run) == {"svc": "failed", "test": "skipped", "more": "skipped"}
    assert reason(run, "svc") == "not ready, exit 0: no line matches `x`"
    assert last_line(run).startswith("failed in ")
    assert last_line(run).endswith(": 1 failed, 2 skipped")


@pytest.mark.parametrize("server", ["sleep 60 & exit 0", "setsid sleep 60 & exit 0"])
def test_a_server_that_puts_itself_into_the_background_is_told_to_stay_C02(run_job, server):
    """As `redis-server --daemonize yes` and `nginx` do."""
    run = run_job(
        f"""
        tasks:
          - {{name: svc, command: '{server}', daemon: true, ready: {{log: x}}}}
          - {{name: test, command: 'true', depends_on: svc}}
        """
    )
    why = "it left a process in the background, which was killed: let it run in the foreground"
    assert reason(run, "svc") == f"not ready, exit 0 ({why}): no line matches `x`"


def test_the_last_line_says_that_a_skip_failed_the_run_C02(run_job, tmp_path):
    run = run_job(
        """
        tasks:
          - {name: svc, command: exit 0, daemon: true, ready: {log: x}, allow_failure: true}
          - {name: test, command: 'true', depends_on: svc}
          - {name: more, command: 'true', depends_on: test}
        """
    )
    why = "`test` was skipped: `svc` was never ready, and 1 more for such a reason"
    assert (run.code, run.one("run_finished")["reason"]) == (1, why)
    assert last_line(run).startswith(f"failed ({why}) in ")
    assert last_line(run).endswith(": 1 failed (allowed), 2 skipped")
    # Views of the record say the same.
    assert f"failed ({why}): exit 1" in mprun("show", cwd=tmp_path).stdout
    assert why in mprun("runs", cwd=tmp_path).stdout
    (listed,) = map(json.loads, mprun("runs", "--json", cwd=tmp_path).stdout.splitlines())
    assert (listed["counts"], listed["allowed"]) == ({"failed": 1, "skipped": 2}, {"failed": 1})


def test_a_task_that_may_fail_may_also_be_skipped_C02(run_job):
    run = run_job(
        """
        tasks:
          - {name: svc, command: exit 0, daemon: true, ready: {log: x}, allow_failure: true}
          - {name: test, command: 'true', depends_on: svc, allow_failure: true}
        """
    )
    assert (run.code, ends(run)) == (0, {"svc": "failed", "test": "skipped"})


def test_a_task_for_which_a_service_is_never_started_fails_the_run_C02(run_job):
    run = run_job(
        """
        tasks:
          - {name: a, command: exit 1, allow_failure: true}
          - {name: svc, command: sleep 600, daemon: true, depends_on: {a: succeeded}, allow_failure: true}
          - {name: test, command: 'true', depends_on: svc}
        """
    )
    assert (run.code, ends(run)) == (1, {"a": "failed", "svc": "skipped", "test": "skipped"})
    assert "`test` was skipped: `svc` was never started" in last_line(run)


def test_a_service_without_any_dependent_that_ends_before_it_is_ready_fails_the_run_C02(run_job):
    run = run_job(
        """
        tasks:
          - {name: svc, command: exit 0, daemon: true, ready: {log: x}}
          - name: wait
            command: 'until grep -q "task_finish[e]d" .mprun/runs/*/events.jsonl; do sleep 0.01; done'
        """
    )
    assert (run.code, ends(run)) == (1, {"svc": "failed", "wait": "succeeded"})


def test_a_service_that_was_ready_and_ended_well_has_succeeded(run_job):
    run = run_job(
        """
        tasks:
          - name: svc
            command: 'until [ -e done ]; do sleep 0.01; done'
            daemon: true
            ready: {file: job.yaml}
          - {name: test, command: touch done, depends_on: svc}
          - name: wait
            command: 'until grep -q "task_exit[e]d.*svc" .mprun/runs/*/events.jsonl; do sleep 0.01; done'
            depends_on: test
        """
    )
    assert (run.code, ends(run)) == (0, {"svc": "succeeded", "test": "succeeded", "wait": "succeeded"})


@every_start_method
@pytest.mark.parametrize("service", ["command: echo serving", 'target: "work:come_and_go"'])
def test_a_service_that_says_that_it_is_ready_and_ends_at_once_was_ready(run_job, service, method):
    """Whatever comes first: the next try of the probe, or the report of the end."""
    run = run_job(
        f"""
        tasks:
          - {{name: svc, {service}, daemon: true, ready: {{log: serving, interval: 10s}}}}
          - {{name: test, command: 'true', depends_on: {{svc: ready}}}}
        """,
        "--start-method",
        method,
    )
    assert (run.code, ends(run)) == (0, {"svc": "succeeded", "test": "succeeded"})


# ---- a failure that is allowed


@every_start_method
@pytest.mark.parametrize(
    "failing", ["command: exit 1", 'target: "work:boom"', "command: sleep 60, timeout: 50ms"]
)
def test_an_allowed_failure_lets_dependents_run_with_null_C03(run_job, failing, method):
    run = run_job(
        f"""
        tasks:
          - {{name: a, {failing}, allow_failure: true}}
          - {{name: b, target: "work:give", args: ["${{tasks.a.result}}"]}}
          - {{name: c, target: "work:give", args: [1], depends_on: a}}
          - {{name: d, target: "work:give", args: [2], depends_on: [b, "c*"]}}
        """,
        "--start-method",
        method,
    )
    assert (run.code, run.outcome("b"), run.result("b"), run.outcome("d")) == (
        0,
        "succeeded",
        None,
        "succeeded",
    )
    assert last_line(run).startswith("succeeded in ")
    assert last_line(run).endswith(f": 3 succeeded, 1 {run.outcome('a')} (allowed)")


def test_an_allowed_failure_is_passed_on_from_instances_and_recipes_C03(run_job):
    run = run_job(
        """
        tasks:
          - {name: m, target: "work:give", args: ["${matrix.n}"], matrix: {n: [1, 2]}, expect: {result: 1},
             allow_failure: true}
          - {name: r, uses: job_recipe.yaml, allow_failure: true}
          - {name: list, target: "work:give", args: [[1, 0]]}
          - {name: f, command: 'exit ${item}', foreach: "${tasks.list.result}", allow_failure: true}
          - {name: after, target: "work:give", kwargs: {value: ["${tasks.m.result}", "${tasks.r.result}"]},
             depends_on: [f, r]}
        """,
        recipe="""
        tasks:
          - {name: bad, command: exit 1}
          - {name: next, target: "work:give", args: [3], depends_on: bad}
        """,
    )
    assert (run.code, run.result("after")) == (0, [[1, None], [None, 3]])
    assert last_line(run).endswith(": 5 succeeded, 3 failed (allowed)")


def test_a_retried_failure_that_is_allowed_lets_dependents_run_after_the_last_attempt_C03(run_job):
    run = run_job(
        """
        tasks:
          - {name: a, command: exit 1, allow_failure: true, retry: 2}
          - {name: b, command: 'true', depends_on: a}
        """
    )
    assert (run.code, ends(run)) == (0, {"a": "failed", "b": "succeeded"})
    assert [event["attempt"] for event in run.of("task_started", "a")] == [1, 2, 3]
    assert run.place("task_finished", "a") < run.place("task_started", "b")


def test_an_allowed_failure_is_not_the_success_that_is_spelled_out_C03(run_job):
    run = run_job(
        """
        tasks:
          - {name: a, command: exit 1, allow_failure: true}
          - {name: b, command: 'true', depends_on: {a: succeeded}}
          - {name: c, command: 'true', depends_on: b}
          - {name: d, command: 'true', depends_on: {b: finished}}
        """
    )
    assert (run.code, ends(run)) == (1, {"a": "failed", "b": "skipped", "c": "skipped", "d": "succeeded"})
    assert "`b` was skipped: `a` did not succeed" in last_line(run)


def test_some_failures_of_many_are_allowed_C03(run_job):
    run = run_job(
        """
        tasks:
          - {name: a, command: exit 1, allow_failure: true}
          - {name: b, command: exit 1}
          - {name: c, command: exit 1, allow_failure: true}
        """
    )
    assert run.code == 1
    assert last_line(run).endswith(": 3 failed (2 allowed)")


def test_what_was_not_to_run_does_not_fail_the_run(run_job):
    run = run_job(
        """
        tasks:
          - {name: a, command: 'true'}
          - {name: off, command: 'true', when: false}
          - {name: late, command: 'true', when: "${tasks.a.result}"}
          - {name: handle, command: 'true', depends_on: {a: failed}}
          - {name: after handle, command: 'true', depends_on: handle}
          - {name: strict, command: 'true', depends_on: {off: succeeded, late: succeeded}}
        """
    )
    assert run.code == 0
    assert ends(run) == {
        "a": "succeeded",
        "off": "skipped",
        "late": "skipped",
        "handle": "skipped",
        "after handle": "skipped",
        "strict": "succeeded",
    }


def test_an_instance_that_selects_a_task_that_was_not_to_run_does_not_fail_the_run(run_job):
    """Its dependency is known only during the run."""
    run = run_job(
        """
        tasks:
          - {name: a, command: 'true'}
          - {name: dl, command: 'true', matrix: {f: [x, y]}, depends_on: {a: failed}}
          - {name: list, target: "work:give", args: [[{f: x}, {f: y}]]}
          - {name: each, command: "echo ${tasks.dl[f=${item.f}].result}", foreach: "${tasks.list.result}"}
          - {name: last, command: 'true', depends_on: each}
        """
    )
    assert (run.code, run.outcome("each[1]"), run.outcome("last")) == (0, "skipped", "skipped")


def test_a_run_that_a_skip_failed_is_resumed_where_it_was_C02(run_job, tmp_path):
    job = """
        tasks:
          - {name: first, command: 'true'}
          - {name: a, command: '[ -e up ]', allow_failure: true, depends_on: first}
          - {name: b, command: 'true', depends_on: {a: succeeded}}
          - {name: c, command: 'true', depends_on: b}
        """
    assert run_job(job).code == 1
    again = mprun("resume", cwd=tmp_path)
    assert (again.code, "`b` was skipped" in last_line(again)) == (1, True)
    (tmp_path / "up").touch()
    run = mprun("resume", cwd=tmp_path)
    assert (run.code, set(ends(run).values())) == (0, {"succeeded"})
    assert {event["task"] for event in run.of("task_started")} == {"a", "b", "c"}
    assert mprun("resume", cwd=tmp_path).code == 0


def test_results_from_python_say_which_failure_was_allowed_C03(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: a, command: exit 1, allow_failure: true}
          - {name: b, command: 'true', depends_on: {a: succeeded}}
        """,
    )
    result = api.run_job(api.load_job(tmp_path / "job.yaml"), state_dir=str(tmp_path / "state"))
    assert (result.outcome, result.exit_code) == ("failed", 1)
    assert result.reason == "`b` was skipped: `a` did not succeed"
    assert [(task.name, task.outcome, task.allowed) for task in result.tasks] == [
        ("a", "failed", True),
        ("b", "skipped", False),
    ]


# ---- what a daemon is waited for


@every_start_method
def test_depending_on_a_daemon_means_that_it_serves_C19(run_job, method):
    run = run_job(
        """
        tasks:
          - {name: plain, target: "work:serve", daemon: true}
          - {name: served, target: "work:serve", daemon: true, ready: {log: serving}}
          - {name: r, uses: job_recipe.yaml}
          - {name: m, command: sleep 600, daemon: true, matrix: {n: [1, 2]}}
          - {name: test, command: 'true', depends_on: [plain, served, r, "m*"]}
        """,
        "--start-method",
        method,
        recipe="tasks: [{name: svc, command: sleep 600, daemon: true}, {name: work, command: 'true'}]",
    )
    assert (run.code, run.outcome("test")) == (0, "succeeded")
    for name in ("plain", "r/svc", "m[n=1]", "m[n=2]"):
        assert run.outcome(name) == "stopped"
        assert run.place("task_started", name) < run.place("task_started", "test")
    assert run.place("task_ready", "served") < run.place("task_started", "test")
    assert run.place("task_finished", "r/work") < run.place("task_started", "test")


def test_instances_that_turn_out_to_be_daemons_are_waited_for_until_they_serve_C19(run_job):
    run = run_job(
        """
        tasks:
          - {name: list, target: "work:give", args: [[{d: true, s: 600}, {d: false, s: 0}]]}
          - {name: each, command: "sleep ${item.s}", foreach: "${tasks.list.result}", daemon: "${item.d}"}
          - {name: test, command: 'true', depends_on: each}
        """
    )
    assert (run.code, run.outcome("test")) == (0, "succeeded")
    assert (run.outcome("each[0]"), run.outcome("each[1]")) == ("stopped", "succeeded")
