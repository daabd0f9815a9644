"""`retry` and `timeout` of a task with `uses`: all of the recipe runs again, with real processes."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import xml.etree.ElementTree as ElementTree

import jsonschema
import pytest
from support.runs import alive, events_so_far, eventually, finish, mprun, recorded_starts, start, survivors

from mprun.jobfile.schema.job_schema import schema_text

# `check` fails until it has run `from` times.
RECIPE = """
outputs: {n: "${tasks.load.result}"}
params: {from: 1}
tasks:
  - name: db
    daemon: true
    command: "echo up; exec sleep 60"
    ready: {log: up}
  - {name: load, command: "echo $MPRUN_ATTEMPT", capture: json, depends_on: {db: ready}}
  - name: check
    command: 'n=$(cat n 2>/dev/null || echo 0); echo $((n+1)) > n; test $n -ge ${params.from}'
    depends_on: load
"""
REPORT = '{name: report, command: "echo ${tasks.r.outputs.n}", capture: json, depends_on: r}'


class Desk:
    """A directory with a recipe, and a job that uses it with these keys."""

    def __init__(self, path):
        self.path = path

    def write(self, keys, recipe=RECIPE, more=REPORT):
        self.path.joinpath("inner.yaml").write_text(recipe)
        self.path.joinpath("job.yaml").write_text(
            textwrap.dedent(f"tasks:\n  - {{name: r, uses: inner.yaml, {keys}}}\n  - {more}\n")
        )

    def run(self, keys, *arguments, code=0, **files):
        self.write(keys, **files)
        return self.ended(mprun("job.yaml", *arguments, cwd=self.path), code)

    def ended(self, run, code):
        """The run, with the properties that all have."""
        assert run.code == code, run.stderr
        assert "Traceback" not in run.stderr
        validator = jsonschema.Draft7Validator(json.loads(schema_text("event")))
        for event in run.events:
            validator.validate(event)
        assert survivors(run.events) == []
        return run

    def started_until_the_delay(self, keys, **files):
        """A run that has ended its first round, and waits for the second."""
        self.write(f"{keys}, retry: {{retries: 1, delay: 10m}}", **files)
        process = start("job.yaml", cwd=self.path)
        eventually(lambda: len(self.retrying()) == 3, 50)
        return process

    def retrying(self):
        return [one for one in events_so_far(self.path / ".mprun") if one["event"] == "task_retrying"]

    def mprun(self, *arguments):
        return mprun(*arguments, cwd=self.path)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def ends(run):
    return {event["task"]: event["outcome"] for event in run.of("task_finished")}


def pids(run, task):
    return [event["pid"] for event in run.of("task_started") if event["task"] == task]


def test_all_of_a_recipe_runs_again_its_daemons_too_and_each_attempt_is_kept(desk):
    run = desk.run("retry: {retries: 2, delay: 100ms}, timeout: 10m", "--junit", "junit.xml")
    assert ends(run) == {
        "r/load": "succeeded",
        "r/check": "succeeded",
        "r/db": "stopped",
        "report": "succeeded",
    }
    # Of the last round.
    assert run.result("report") == 2
    again = [(one["task"], one["attempt"], one["reason"]) for one in run.of("task_retrying")]
    assert again == [("r/db", 2, "recipe"), ("r/load", 2, "recipe"), ("r/check", 2, "retry")]
    assert [len(set(pids(run, task))) for task in ("r/db", "r/load", "r/check", "report")] == [2, 2, 2, 1]
    # The first daemon has ended before anything of the second round starts.
    kinds = [(one["event"], one.get("task"), one.get("attempt")) for one in run.events]
    assert kinds.index(("task_exited", "r/db", 1)) < kinds.index(("task_started", "r/db", 2))
    assert run.place("task_started", "report") > run.place("task_finished", "r/check")
    flaky = {one["task"] for one in run.of("task_finished") if one["flaky"]}
    assert flaky == {"r/check"}
    assert "retried with all of its recipe after 0.10s" in desk.mprun("show", "-v").stdout
    logs = desk.mprun("logs", "r/load").stdout
    assert [line for line in logs.splitlines() if line.isdigit()] == ["1", "2"]
    cases = {case.get("name"): case for case in ElementTree.parse(desk.path / "junit.xml").iter("testcase")}
    assert [name for name, case in cases.items() if case.find("flakyFailure") is not None] == ["r/check"]


def test_no_result_of_the_first_round_is_seen_in_the_second(desk):
    recipe = """
tasks:
  - {name: gate, command: 'test "$MPRUN_ATTEMPT" = 1 && echo true || echo false', capture: json}
  - {name: first, when: "${tasks.gate.result}", command: "echo 7", capture: json}
  - name: second
    command: 'echo ${tasks.first.result} >> seen; test "$MPRUN_ATTEMPT" = 2'
    depends_on: first
"""
    run = desk.run("retry: 1", recipe=recipe, more='{name: x, command: "true"}')
    assert ends(run) == {
        "r/gate": "succeeded",
        "r/first": "skipped",
        "r/second": "succeeded",
        "x": "succeeded",
    }
    assert (desk.path / "seen").read_text() == "7\nnull\n"


def test_the_timeout_of_a_recipe_ends_all_of_it(desk):
    recipe = """
tasks:
  - {name: a, command: [sleep, "60"]}
  - {name: b, command: "exit 1", retry: {retries: 9, delay: 60s}}
  - {name: c, command: "true", depends_on: a}
  - {name: d, daemon: true, command: [sleep, "60"]}
"""
    run = desk.run("timeout: 1s", code=1, recipe=recipe, more='{name: out, command: "true", depends_on: r/c}')
    assert ends(run) == {
        **{"r/a": "timed_out", "r/b": "failed", "r/c": "skipped", "r/d": "stopped", "out": "skipped"},
    }
    assert "timeout of its recipe" in run.stderr
    assert "recipe_timeout" not in run.stderr + desk.mprun("show", "-v").stdout


def test_a_run_that_failed_only_by_the_timeout_of_a_recipe_says_so_in_words(desk):
    recipe = """
tasks:
  - {name: d, daemon: true, command: [sleep, "60"], ready: {file: nothing}}
  - {name: a, command: "true"}
  - {name: b, command: "true", depends_on: {a: finished, d: ready}}
"""
    run = desk.run("timeout: 2s", code=1, recipe=recipe, more='{name: x, command: "true"}')
    assert run.events[-1]["reason"] == "`r/b` was skipped: timeout of its recipe"
    assert "`r/b` was skipped: timeout of its recipe" in run.stderr


@pytest.mark.parametrize("own", ["", ", timeout: 10m"])
def test_the_log_of_a_task_has_its_stacks_at_the_timeout_of_its_recipe(desk, own):
    (desk.path / "hanging.py").write_text("import time\ndef hang():\n    time.sleep(60)\n")
    recipe = f'''
tasks:
  - {{name: a, target: "hanging:hang"{own}}}
  - {{name: d, daemon: true, target: "hanging:hang"}}
'''
    desk.run("timeout: 1s", code=1, recipe=recipe, more='{name: x, command: "true"}')
    for task in ("r/a", "r/d"):
        log = desk.mprun("logs", task).stdout
        assert "its recipe timed out after 1s" in log
        assert "in hang" in log


def test_a_recipe_that_may_fail_does_not_fail_the_run_by_its_timeout(desk):
    recipe = """
tasks:
  - {name: a, command: [sleep, "60"]}
  - {name: b, command: "true", depends_on: a}
"""
    run = desk.run("timeout: 300ms, allow_failure: true", recipe=recipe, more='{name: x, command: "true"}')
    assert ends(run) == {"r/a": "timed_out", "r/b": "skipped", "x": "succeeded"}


def test_a_daemon_that_dies_fails_the_round(desk):
    # It dies while the other one runs: that counts its own attempts.
    recipe = """
tasks:
  - name: d
    daemon: true
    command: 'test "$MPRUN_ATTEMPT" = 1 || exec sleep 60; until test -e begun; do sleep 0.01; done; exit 3'
  - name: a
    command: 'touch begun; test "$MPRUN_ATTEMPT" = 1 && exec sleep 60; exit 0'
    depends_on: {d: started}
"""
    run = desk.run("retry: 1", recipe=recipe, more='{name: x, command: "true"}')
    assert ends(run) == {"r/a": "succeeded", "r/d": "stopped", "x": "succeeded"}
    assert "another task of its recipe failed" in run.stderr


def test_each_instance_of_a_matrix_has_rounds_of_its_own(desk):
    recipe = """
params: {month: ""}
tasks:
  - {name: a, command: "echo $MPRUN_ATTEMPT", capture: json}
  - {name: b, command: 'test ${params.month} = jan || test "$MPRUN_ATTEMPT" = 2', depends_on: a}
"""
    keys = 'matrix: {m: [jan, feb]}, with: {month: "${matrix.m}"}, retry: 1'
    run = desk.run(keys, recipe=recipe, more='{name: out, command: "true", depends_on: r}')
    attempts = {event["task"]: event["attempts"] for event in run.of("task_finished")}
    assert attempts == {
        **{"r[m=jan]/a": 1, "r[m=jan]/b": 1, "r[m=feb]/a": 2, "r[m=feb]/b": 2, "out": 1},
    }


def test_a_recipe_whose_last_round_fails_is_run_again_as_one_when_resumed(desk):
    run = desk.run("with: {from: 3}, retry: 1", code=1)
    assert ends(run) == {"r/load": "succeeded", "r/check": "failed", "r/db": "stopped", "report": "skipped"}
    resumed = desk.ended(desk.mprun("resume"), 0)
    assert [event["task"] for event in resumed.of("task_finished") if event["reused"]] == []
    assert resumed.result("report") == 2
    # Now it has succeeded, and is reused.
    again = desk.ended(desk.mprun("resume", "--rerun", "report"), 0)
    reused = {event["task"] for event in again.of("task_finished") if event["reused"]}
    assert reused == {"r/load", "r/check"}


def test_ctrl_c_between_two_rounds_ends_the_run(desk):
    process = desk.started_until_the_delay("with: {from: 1}")
    process.send_signal(signal.SIGINT)
    run = desk.ended(finish(process, desk.path / ".mprun"), 130)
    assert ends(run) == {"r/load": "succeeded", "r/check": "failed", "r/db": "stopped", "report": "cancelled"}
    assert len(run.of("task_started")) == 3
    resumed = desk.ended(desk.mprun("resume"), 0)
    assert ends(resumed)["r/load"] == "succeeded"
    assert [event["task"] for event in resumed.of("task_finished") if event["reused"]] == []


def test_a_stop_of_one_task_between_two_rounds_is_followed_by_no_other_round(desk):
    process = desk.started_until_the_delay("with: {from: 1}")
    assert desk.mprun("stop", "r/check").code == 0
    run = desk.ended(finish(process, desk.path / ".mprun"), 1)
    assert ends(run) == {"r/load": "succeeded", "r/check": "failed", "r/db": "stopped", "report": "skipped"}


def test_a_stop_of_a_task_that_has_ended_in_its_round_does_not_wait_for_the_others(desk):
    recipe = """
tasks:
  - {name: a, command: "true"}
  - {name: b, command: "touch b; sleep 60", depends_on: a}
"""
    desk.write("retry: 1", recipe=recipe, more='{name: x, command: "true"}')
    process = start("job.yaml", cwd=desk.path)
    eventually((desk.path / "b").exists, 50)
    stopped = desk.mprun("stop", "r/a")
    assert stopped.code == 0
    assert "`r/a` had already finished" in stopped.stdout + stopped.stderr
    assert process.poll() is None
    desk.mprun("stop", "r/b")
    run = desk.ended(finish(process, desk.path / ".mprun"), 1)
    assert ends(run) == {"r/a": "succeeded", "r/b": "stopped", "x": "succeeded"}


@pytest.mark.parametrize("changed", [False, True])
def test_a_run_that_is_killed_between_two_rounds_is_resumed_with_all_of_the_recipe(desk, changed):
    process = desk.started_until_the_delay("with: {from: 1}")
    os.kill(process.pid, signal.SIGKILL)
    finish(process, desk.path / ".mprun")
    if changed:
        inner = desk.path / "inner.yaml"
        inner.write_text(inner.read_text() + '  - {name: more, command: "true"}\n')
    resumed = desk.ended(desk.mprun("resume", *(["--allow-changed"] if changed else [])), 0)
    assert [event["task"] for event in resumed.of("task_finished") if event["reused"]] == []
    assert ends(resumed)["report"] == "succeeded"


def test_a_recipe_in_whose_round_a_run_is_killed_is_unknown_as_one(desk):
    recipe = """
tasks:
  - {name: a, command: "true"}
  - {name: b, command: 'test -e started || { touch started; exec sleep 60; }', depends_on: a}
  - {name: c, command: "true", depends_on: b}
"""
    desk.write("retry: 1", recipe=recipe, more='{name: x, command: "true"}')
    process = start("job.yaml", cwd=desk.path)
    eventually((desk.path / "started").exists, 50)
    eventually(lambda: "r/b" in [one["task"] for one in recorded_starts(desk.path / ".mprun")], 50)
    os.kill(process.pid, signal.SIGKILL)
    finish(process, desk.path / ".mprun")
    resumed = desk.ended(desk.mprun("resume"), 1)
    assert {task: end for task, end in ends(resumed).items() if task != "x"} == {
        **{"r/a": "unknown", "r/b": "unknown", "r/c": "unknown"},
    }
    assert pids(resumed, "r/a") == pids(resumed, "r/c") == []
    again = desk.ended(desk.mprun("resume", "--rerun-unknown"), 0)
    assert ends(again) == {"r/a": "succeeded", "r/b": "succeeded", "r/c": "succeeded", "x": "succeeded"}


def test_a_daemon_that_ignores_the_stop_is_killed_before_the_next_round(desk):
    recipe = """
tasks:
  - name: d
    daemon: true
    command: "trap '' TERM; echo up; sleep 60 & wait; wait"
    ready: {log: up}
    stop: {grace: 200ms}
  - {name: a, command: 'test "$MPRUN_ATTEMPT" = 2', depends_on: {d: ready}}
"""
    run = desk.run("retry: 1", recipe=recipe, more='{name: x, command: "true"}')
    assert ends(run)["r/a"] == "succeeded"
    first, second = pids(run, "r/d")
    kinds = [(one["event"], one.get("pid") or one.get("attempt")) for one in run.events]
    exited = next(
        n for n, one in enumerate(run.events) if one["event"] == "task_exited" and one["task"] == "r/d"
    )
    assert exited < kinds.index(("task_started", second))
    assert not alive(first)


def test_a_recipe_that_is_taken_as_one_is_not_repeated(desk):
    desk.write("retry: 1")
    refused = desk.mprun("job.yaml", "--repeat", "2")
    assert (refused.code, refused.stdout) == (2, "")
    assert (
        "nothing is repeated with `r`, which has `retry` or `timeout` for all of a recipe" in refused.stderr
    )


def test_a_recipe_that_is_retried_as_one_is_not_skipped_as_unchanged(desk):
    (desk.path / "in").write_text("1")
    recipe = """
tasks:
  - {name: a, command: "cat in", inputs: [in]}
"""
    more = '{name: x, command: "true"}'
    desk.run("retry: 1", recipe=recipe, more=more)
    again = desk.run("retry: 1", recipe=recipe, more=more)
    assert len(pids(again, "r/a")) == 1
    why = "all of `r` runs again if one of its tasks fails"
    assert why in desk.mprun("why", "r/a").stdout
    assert why in desk.mprun("plan", "job.yaml").stdout.replace("\n       ", " ")
    # Nothing was kept, and a timeout alone does not matter.
    assert len(pids(desk.run("timeout: 9m", recipe=recipe, more=more), "r/a")) == 1
    skipped = desk.run("timeout: 9m", recipe=recipe, more=more)
    assert (pids(skipped, "r/a"), ends(skipped)["r/a"]) == ([], "succeeded")


def test_a_recipe_within_a_recipe_is_part_of_its_rounds(desk):
    desk.path.joinpath("outer.yaml").write_text(
        """
tasks:
  - {name: first, command: "true"}
  - {name: deep, uses: inner.yaml, depends_on: first}
"""
    )
    desk.path.joinpath("job.yaml").write_text("tasks: [{name: o, uses: outer.yaml, retry: 1}]")
    desk.path.joinpath("inner.yaml").write_text(RECIPE)
    run = desk.ended(desk.mprun("job.yaml"), 0)
    attempts = {event["task"]: event["attempts"] for event in run.of("task_finished")}
    assert attempts == {"o/first": 2, "o/deep/db": 2, "o/deep/load": 2, "o/deep/check": 2}


def test_a_plan_shows_what_all_of_a_recipe_has(desk):
    desk.write("retry: {retries: 2, delay: 1s}, timeout: 5m")
    plan = json.loads(desk.mprun("plan", "job.yaml", "--json").stdout)
    found = {task["name"]: task["recipe"] for task in plan["tasks"]}
    assert found["report"] is None
    retry = {"retries": 2, "delay": 1.0, "backoff": 1.0, "max_delay": None, "jitter": 0.0}
    assert found["r/load"] == {"name": "r", "retry": retry, "timeout": 300.0}
    assert "r has 2 retries after 1s; r has timeout 5m" in desk.mprun("plan", "job.yaml").stdout
