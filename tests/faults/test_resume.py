"""Resumed runs: a task that succeeded does not run again, and no outcome is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.resuming import CHAIN, SECRET, WORK, first, mend, ran, resume, reused
from support.runs import (
    START_METHODS,
    TIMEOUT,
    complaint,
    environment,
    events_so_far,
    eventually,
    finish,
    mprun,
    start,
    write,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# ---- tasks that run again


def test_after_a_failed_run_the_tasks_that_succeeded_are_reused(tmp_path):
    before = first(tmp_path, CHAIN % "broken")
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert reused(run) == ["a", "alone"]
    assert [run.result(name) for name in ("a", "b", "c", "alone")] == [[1, 2], [1, 2], [1, 2], 7]
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 1, "alone": 1}
    assert run.one("run_started")["resumed_from"] == before.directory.run_id
    assert [e["task"] for e in run.of("task_started")] == ["b", "c"]
    assert run.one("run_finished")["counts"] == {"succeeded": 4}


def test_a_resumed_run_shows_the_earlier_run_and_what_it_reuses(tmp_path):
    before = first(tmp_path, CHAIN % "broken")
    mend(tmp_path)
    run = resume(tmp_path)
    head, below = run.stderr.splitlines()[:2]
    assert head.endswith(f", run {run.directory.run_id}")
    assert below == f"resumed from {before.directory.run_id}"
    shown = mprun("show", cwd=tmp_path)
    assert shown.stdout.splitlines()[2] == below
    for view in (run.stderr, shown.stdout):
        assert re.search(rf"^a +succeeded: reused from {before.directory.run_id} +-", view, re.MULTILINE)
        assert re.search(r"^b +succeeded +\d", view, re.MULTILINE)
    shown = json.loads(mprun("show", "--json", cwd=tmp_path).stdout)
    assert shown["run"]["resumed_from"] == before.directory.run_id
    assert {task["task"]: task["reused"] for task in shown["tasks"]} == {
        "a": True,
        "b": False,
        "c": False,
        "alone": True,
    }


def test_a_task_may_fail_again(tmp_path):
    first(tmp_path, CHAIN % "broken")
    run = resume(tmp_path)
    assert (run.code, run.outcome("b"), run.outcome("c")) == (1, "failed", "skipped")
    assert ran(tmp_path) == {"a": 1, "b": 2, "alone": 1}


def test_an_interrupted_run_is_resumed(run_to_kill, tmp_path):
    run = run_to_kill(CHAIN % "stuck")
    run.until("task_finished", "alone")
    eventually(lambda: ran(tmp_path)["b"])
    run.engine.send_signal(signal.SIGINT)
    assert run.finish().code == 130
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 1, "alone": 1}


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.parametrize("unknown", [False, True])
def test_after_a_killed_engine_tasks_of_unknown_outcome_run_again_only_if_asked(
    run_to_kill, tmp_path, recovered, unknown
):
    run = run_to_kill(CHAIN % "stuck")
    run.until("task_finished", "alone")
    run.until("task_started", "b")
    eventually(lambda: ran(tmp_path)["b"])
    run.engine.kill()
    run.engine.communicate()
    run.seconds_to_vanish()
    killed = os.listdir(tmp_path / ".mprun" / "runs")[0]
    if recovered:
        write(tmp_path, job_other="tasks: [{target: 'os:getpid'}]\n")
        assert mprun("job_other.yaml", cwd=tmp_path).code == 0
    mend(tmp_path)
    run = resume(tmp_path, killed, *(["--rerun-unknown"] if unknown else []))
    if unknown:
        assert (run.code, ran(tmp_path)) == (0, {"a": 1, "b": 2, "c": 1, "alone": 1})
        return
    assert (run.code, ran(tmp_path)) == (1, {"a": 1, "b": 1, "alone": 1})
    assert (run.outcome("b"), run.outcome("c")) == ("unknown", "skipped")
    assert f"exit status unknown in run {killed}; `--rerun-unknown` runs it again" in run.stderr
    # It stays unknown without `--rerun-unknown`.
    assert resume(tmp_path).outcome("b") == "unknown"
    assert resume(tmp_path, "--rerun-unknown").code == 0
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 1, "alone": 1}


@pytest.mark.parametrize("recovered", [False, True])
def test_a_task_that_waited_for_its_retry_when_the_engine_was_killed_had_failed(
    run_to_kill, tmp_path, recovered
):
    run = run_to_kill("tasks: [{name: b, target: 'work:broken', retry: {retries: 1, delay: 600}}]\n")
    run.until("task_retrying")
    run.engine.kill()
    run.engine.communicate()
    killed = os.listdir(tmp_path / ".mprun" / "runs")[0]
    if recovered:
        write(tmp_path, job_other="tasks: [{target: 'os:getpid'}]\n")
        assert mprun("job_other.yaml", cwd=tmp_path).code == 0
        shown = mprun("show", killed, cwd=tmp_path).stdout
        assert "failed: exit 3, and mprun itself was killed before the next attempt" in shown
    mend(tmp_path)
    run = resume(tmp_path, killed)
    assert (run.code, ran(tmp_path)) == (0, {"b": 2}), run.stderr


@pytest.mark.parametrize("kind", ["plain", "a silent command", "foreach"])
@pytest.mark.parametrize("recovered", [False, True])
def test_a_task_whose_start_was_not_recorded_does_not_run_again_by_default(
    run_to_kill, tmp_path, kind, recovered
):
    """It had a process, but the engine was killed before it could record that."""
    if kind == "plain":
        job, name, before = "tasks: [{name: b, target: 'work:call'}]\n", "b", {"event": "run_started"}
    elif kind == "a silent command":
        # It has no log, so its start was noted.
        job, name, before = "tasks: [{name: b, command: echo b >> ran}]\n", "b", {"event": "run_started"}
    else:
        job = "tasks:\n- {name: a, target: 'work:call', args: [[1]]}\n"
        job += "- {name: b, foreach: '${tasks.a.result}', target: 'work:call'}\n"
        name, before = "b[0]", {"event": "tasks_planned", "group": "b"}
    write(tmp_path, work=WORK, job=job)
    run = killed_before_its_start_is_recorded(tmp_path, name, before)
    killed = run.directory.run_id
    if recovered:
        write(tmp_path, job_other="tasks: [{target: 'os:getpid'}]\n")
        assert mprun("job_other.yaml", cwd=tmp_path).code == 0
    run = resume(tmp_path, killed)
    assert (run.code, run.outcome(name), ran(tmp_path)[name]) == (1, "unknown", 1)
    assert resume(tmp_path, "--rerun-unknown").code == 0
    assert ran(tmp_path)[name] == 2


def killed_before_its_start_is_recorded(directory, name, before):
    """A run that is killed when task `name` has run, and its start is about to be recorded.

    Its start is recorded in the first write after the event with the fields `before`, by which it is planned.
    """
    engine = start("job.yaml", cwd=directory, env={"MPRUN_FAILPOINTS": "record.before=stop:1+"})
    try:
        while True:
            os.waitid(os.P_PID, engine.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if any(before.items() <= event.items() for event in events_so_far(directory / ".mprun")):
                break
            engine.send_signal(signal.SIGCONT)
        eventually(lambda: ran(directory)[name])
    finally:
        engine.kill()
        run = finish(engine, directory / ".mprun")
    assert (run.code, run.of("task_started", name)) == (-signal.SIGKILL, [])
    return run


def test_instances_whose_starts_were_not_recorded_do_not_run_again_by_default(tmp_path):
    """C78. Only their logs show that they had started."""
    job = "tasks:\n- {name: a, target: 'work:call', args: [[1, 2, 3]]}\n"
    job += "- {name: b, foreach: '${tasks.a.result}', target: 'work:call'}\n"
    run = first(tmp_path, job, code=0)
    names = ["b[0]", "b[1]", "b[2]"]
    record = Path(run.directory.events)
    lines = record.read_bytes().splitlines(keepends=True)
    # As if the engine had been killed when it was about to record the starts.
    starts = next(number for number, event in enumerate(run.events) if event.get("task") in names)
    record.write_bytes(b"".join(lines[:starts]))
    again = resume(tmp_path, run.directory.run_id)
    assert (again.code, [again.outcome(name) for name in names]) == (1, ["unknown"] * 3)
    assert ran(tmp_path) == {"a": 1, "b[0]": 1, "b[1]": 1, "b[2]": 1}
    assert resume(tmp_path, "--rerun-unknown").code == 0
    assert ran(tmp_path) == {"a": 1, "b[0]": 2, "b[1]": 2, "b[2]": 2}


def test_a_run_that_succeeded_has_nothing_to_resume(tmp_path):
    before = first(tmp_path, CHAIN % "call", code=0)
    run = resume(tmp_path)
    assert (run.code, run.directory.run_id) == (0, before.directory.run_id)
    assert f"run {before.directory.run_id} succeeded; there is nothing to resume" in run.stderr


def test_an_active_run_is_not_resumed(run_to_kill, tmp_path):
    run = run_to_kill(CHAIN % "stuck")
    run.until("task_started", "b")
    done = mprun("resume", cwd=tmp_path)
    assert done.code == 2
    assert "is still running; stop it with `mprun stop --run" in done.stderr


def test_the_remedy_names_the_state_directory_that_the_run_is_in(run_to_kill, tmp_path):
    run = run_to_kill(CHAIN % "stuck")
    run.until("task_started", "b")
    (tmp_path / "elsewhere").mkdir()
    done = mprun("resume", "--state-dir", "../.mprun", cwd=tmp_path / "elsewhere")
    assert done.code == 2
    stop = done.stderr.partition("stop it with `mprun ")[2].partition("`")[0].split()
    assert mprun(*stop, cwd=tmp_path / "elsewhere").code == 0
    assert run.engine.wait(60) == 143


def test_a_resumed_run_can_be_resumed(tmp_path):
    first(tmp_path, CHAIN % "broken")
    for _ in range(3):
        assert resume(tmp_path).code == 1
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, reused(run)) == (0, ["a", "alone"])
    assert ran(tmp_path) == {"a": 1, "b": 5, "c": 1, "alone": 1}
    assert run.result("c") == [1, 2]


@pytest.mark.parametrize("place", ["record.before", "record.torn", "record.after"])
@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_resumed_run_that_is_killed_at_its_start_loses_no_outcome(tmp_path, place, turn):
    first(tmp_path, CHAIN % "broken")
    process = start("resume", cwd=tmp_path, env={"MPRUN_FAILPOINTS": f"{place}=kill:{turn}"})
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal.SIGKILL
    mend(tmp_path)
    run = resume(tmp_path, "--rerun-unknown")
    if turn == 1 and place != "record.after":
        # The killed run has no record, and it has started nothing, so the run before it is resumed.
        first_run = min(os.listdir(tmp_path / ".mprun" / "runs"))
        assert run.one("run_started")["resumed_from"] == first_run
        assert "cannot be read, so a run before it is resumed" in run.stderr
    assert run.code == 0, run.stderr
    counts = ran(tmp_path)
    assert (counts["a"], counts["alone"], run.result("c")) == (1, 1, [1, 2])


def mprun_code(*arguments, cwd):
    process = start(*arguments, cwd=cwd)
    process.communicate(timeout=TIMEOUT)
    return process.returncode


def test_an_outcome_that_a_resumed_run_did_not_reach_is_reused_from_the_run_before(tmp_path):
    job = """\
        tasks:
        - {name: gate, target: 'work:broken'}
        - {name: items, target: 'work:call', args: [[1, 2]]}
        - name: each
          foreach: ${tasks.items.result}
          target: work:call
          args: ['${item}']
          depends_on: {gate: finished, items: succeeded}
        - {name: sum, target: 'work:call', args: ['${tasks.each.result}'], depends_on: gate}
    """
    first(tmp_path, job)
    assert ran(tmp_path)["each[0]"] == 1
    # The run ends before the list is expanded.
    write(
        tmp_path,
        work=WORK.replace("raise SystemExit(3)", "os.kill(int(open('pid').read()), 15); signal.pause()"),
    )
    engine = mprun_with_pid("resume", cwd=tmp_path)
    assert engine.code == 143, engine.stderr
    write(tmp_path, work=WORK)
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert (ran(tmp_path)["each[0]"], ran(tmp_path)["each[1]"], run.result("sum")) == (1, 1, [1, 2])


def mprun_with_pid(*arguments, cwd):
    process = start(*arguments, cwd=cwd)
    Path(cwd, "part").write_text(str(process.pid))
    os.rename(Path(cwd, "part"), Path(cwd, "pid"))
    return finish(process, Path(cwd, ".mprun"))


# ---- expanded tasks

MANY = {
    "a literal list": "- {name: m, foreach: [1, 2, 3], target: 'work:TARGET', args: ['${item}']}\n",
    "a list at run time": (
        "- {name: items, target: 'work:call', args: [[1, 2, 3]]}\n"
        "- {name: m, foreach: '${tasks.items.result}', target: 'work:TARGET', args: ['${item}']}\n"
    ),
    "a matrix": "- {name: m, matrix: {k: [1, 2, 3]}, target: 'work:TARGET', args: ['${matrix.k}']}\n",
    "lists one after another": (
        "- {name: items, foreach: [5, 6], target: 'work:call', args: ['${item}']}\n"
        "- {name: m, foreach: '${tasks.items.result}', target: 'work:TARGET', args: ['${item}']}\n"
    ),
}


@pytest.mark.parametrize("kind", MANY)
def test_only_the_failed_instances_of_a_task_run_again(tmp_path, kind):
    odd = WORK + "\n    def odd(value):\n        return broken(value) if value % 2 else call(value)\n"
    write(
        tmp_path,
        work=odd,
        job="tasks:\n"
        + MANY[kind].replace("TARGET", "odd")
        + "- {name: all, target: 'work:call', args: ['${tasks.m.result}']}\n",
    )
    before = mprun("job.yaml", cwd=tmp_path)
    assert before.code == 1, before.stderr
    succeeded = {e["task"] for e in before.of("task_finished") if e["outcome"] == "succeeded"}
    failed = {e["task"] for e in before.of("task_finished") if e["outcome"] == "failed"}
    assert succeeded, failed
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert set(reused(run)) == succeeded
    counts = ran(tmp_path)
    assert counts == {**dict.fromkeys(succeeded, 1), **dict.fromkeys(failed, 2), "all": 1}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copy(tmp_path / "work.py", fresh)
    shutil.copy(tmp_path / "job.yaml", fresh)
    mend(fresh)
    assert run.result("all") == mprun("job.yaml", cwd=fresh).result("all")


def test_an_empty_list_is_reused(tmp_path):
    first(
        tmp_path,
        """\
        tasks:
        - {name: items, target: 'work:call', args: [[]]}
        - {name: m, foreach: '${tasks.items.result}', target: 'work:call'}
        - {name: b, target: 'work:broken', args: ['${tasks.m.result}']}
        """,
    )
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.result("b")) == (0, [])
    assert ran(tmp_path) == {"items": 1, "b": 2}


def test_a_run_of_a_recipe_is_resumed(tmp_path):
    write(
        tmp_path,
        job_part="""\
            params: {n: 1}
            tasks:
            - {name: x, target: 'work:call', args: ['${params.n}']}
            - {name: y, target: 'work:broken', args: ['${tasks.x.result}']}
        """,
    )
    first(
        tmp_path,
        """\
        params: {n: {type: integer, required: true}}
        tasks:
        - {name: p, uses: job_part.yaml, with: {n: '${params.n}'}}
        - {name: q, uses: job_part.yaml, with: {n: 9}, depends_on: p}
        """,
        "-p",
        "n=5",
    )
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert (run.result("p/y"), run.result("q/y")) == (5, 9)
    assert ran(tmp_path) == {"p/x": 1, "p/y": 2, "q/x": 1, "q/y": 1}
    write(tmp_path, job_part="tasks: [{target: 'work:call'}]\n")
    first_again = mprun("resume", cwd=tmp_path)
    assert first_again.code == 0, "it has succeeded"


# ---- results


def test_a_resumed_run_has_results_of_every_kind(tmp_path):
    first(
        tmp_path,
        """\
        tasks:
        - {name: json, target: 'work:call', args: [{a: [1, null, x]}]}
        - {name: none, target: 'work:call'}
        - {name: large, target: 'work:large'}
        - {name: repr, target: 'work:thing'}
        - {name: gate, target: 'work:broken'}
        - {name: one, target: 'work:call', args: ['${tasks.json.result.a}'], depends_on: gate}
        - {name: two, target: 'work:call', args: ['${tasks.none.result}'], depends_on: gate}
        - {name: three, target: 'work:count', args: ['${tasks.large.result}'], depends_on: gate}
        - {name: four, target: 'work:call', args: ['${tasks.repr.result}'], depends_on: gate}
        """,
    )
    mend(tmp_path)
    (old,) = (tmp_path / ".mprun" / "runs").iterdir()
    run = resume(tmp_path)
    assert run.code == 1
    assert [run.result(name) for name in ("json", "none", "large", "repr")] == [
        {"a": [1, None, "x"]},
        None,
        None,
        None,
    ]
    kinds = [run.one("task_finished", name)["result_kind"] for name in ("json", "none", "large", "repr")]
    assert kinds == ["json", "none", "file", "repr"]
    assert [run.result(name) for name in ("one", "two", "three")] == [[1, None, "x"], None, 100]
    assert "so `four` cannot receive it" in run.one("task_finished", "four")["reason"]
    # From here on, the first run is not needed.
    shutil.rmtree(old)
    again = resume(tmp_path)
    assert (again.code, again.result("json"), again.result("none")) == (1, {"a": [1, None, "x"]}, None)
    # `four` needs the result of `repr` (C31).
    assert ran(tmp_path) == {"json": 1, "none": 1, "large": 1, "repr": 3, "gate": 2} | dict.fromkeys(
        ("one", "two", "three"), 1
    )


# ---- daemons, conditions, options and params


def test_daemons_are_started_again(tmp_path):
    first(
        tmp_path,
        """\
        tasks:
        - {name: server, target: 'work:serve', daemon: true}
        - {name: a, target: 'work:call', depends_on: {server: started}}
        - {name: b, target: 'work:broken', depends_on: {server: started, a: succeeded}}
        """,
    )
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.outcome("server"), reused(run)) == (0, "stopped", ["a"])
    assert (len(run.of("task_started", "server")), ran(tmp_path)["a"]) == (1, 1)


def test_conditions_hold_by_the_outcomes_of_both_runs(tmp_path):
    first(
        tmp_path,
        """\
        params: {maybe: false}
        tasks:
        - {name: off, target: 'work:call', when: '${params.maybe}'}
        - {name: a, target: 'work:call', args: [true]}
        - {name: yes, target: 'work:call', when: '${tasks.a.result}', depends_on: off}
        - {name: b, target: 'work:broken'}
        - {name: mourn, target: 'work:call', depends_on: {b: failed}}
        - {name: after, target: 'work:call', depends_on: {b: finished}}
        - {name: c, target: 'work:call', depends_on: [b, yes]}
        """,
    )
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    # The task that waited for the failure of `b` ran in the first run.
    assert reused(run) == ["a", "after", "mourn", "yes"]
    assert (run.outcome("off"), run.outcome("c")) == ("skipped", "succeeded")
    assert ran(tmp_path) == {"a": 1, "yes": 1, "b": 2, "mourn": 1, "after": 1, "c": 1}


@pytest.mark.parametrize("method", START_METHODS)
def test_options_of_the_first_run_are_kept(tmp_path, method):
    before = first(
        tmp_path,
        CHAIN % "broken" + "    - {name: left, target: 'work:call'}\n",
        "-k",
        "c",
        "-j",
        "1",
        "--start-method",
        method,
        "--timeout",
        "50",
        "-x",
    )
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 1}
    one, two = before.one("run_started"), run.one("run_started")
    for key in ("start_method", "max_parallel", "options", "file", "params", "tasks"):
        assert one[key] == two[key], key
    assert (two["start_method"], two["max_parallel"], two["options"]["names"]) == (method, 1, ["c"])


PARAMS = """\
    params:
      n: {type: integer, default: 1}
      text: {type: string, default: '010'}
      given: {type: string, required: true}
    tasks:
    - {name: a, target: 'work:broken', args: ['${params.n} ${params.text} ${params.given}']}
"""


def test_params_of_the_first_run_are_used(tmp_path):
    first(tmp_path, PARAMS, "-p", "n=2", env={"MPRUN_PARAM_GIVEN": "x"})
    mend(tmp_path)
    # Not the params of the environment, which has changed since.
    run = resume(tmp_path, env={"MPRUN_PARAM_GIVEN": "other", "MPRUN_PARAM_N": "9"})
    assert (run.code, run.result("a")) == (0, "2 010 x"), run.stderr


def test_params_can_be_set_again(tmp_path):
    first(tmp_path, PARAMS, "-p", "given=x")
    mend(tmp_path)
    run = resume(tmp_path, "-p", "n=3", "-p", "given=***")
    assert (run.code, run.result("a")) == (0, "3 010 ***"), run.stderr


def test_secret_params_must_be_set_again(tmp_path):
    first(tmp_path, SECRET, env={"MPRUN_PARAM_KEY": "hush"})
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 2
    assert "MPRUN_PARAM_KEY" in run.stderr
    assert ran(tmp_path) == {"a": 1}
    (tmp_path / "key").write_text("hush")
    run = resume(tmp_path, "-p", "key=@key")
    assert (run.code, run.result("a")) == (0, "***"), run.stderr
    for path in (tmp_path / ".mprun").rglob("*"):
        assert not path.is_file() or b"hush" not in path.read_bytes()


@pytest.mark.parametrize("required", ["", ", required: true"])
@pytest.mark.parametrize("place", ["job", "recipe"])
def test_a_secret_that_the_earlier_run_had_is_never_null(tmp_path, place, required):
    task = "{name: a, target: 'work:broken', args: ['${params.t}']}"
    secret = f"params: {{t: {{type: string, secret: true{required}}}}}\n"
    job = f"{secret}tasks: [{task}]\n"
    if place == "recipe":
        write(tmp_path, job_part=job)
        job = secret + "tasks: [{name: p, uses: job_part.yaml, with: {t: '${params.t}'}}]\n"
    first(tmp_path, job, env={"MPRUN_PARAM_T": "hush"})
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 2, run.stderr
    assert "missing param `t`" in run.stderr
    assert "set it with `-p t=@FILE` or `MPRUN_PARAM_T`" in run.stderr
    assert ran(tmp_path).total() == 1
    assert resume(tmp_path, env={"MPRUN_PARAM_T": "hush"}).code == 0


def test_an_optional_secret_that_the_earlier_run_did_not_have_is_not_asked_for(tmp_path):
    job = "params: {t: {secret: true}}\ntasks: [{name: a, target: 'work:broken', args: ['${params.t}']}]\n"
    first(tmp_path, job)
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.result("a")) == (0, None), run.stderr


def test_a_secret_that_the_job_file_does_not_declare_any_more_is_not_asked_for(tmp_path):
    job = "params: {t: {secret: true}}\ntasks: [{name: a, target: 'work:broken'}]\n"
    first(tmp_path, job, env={"MPRUN_PARAM_T": "hush"})
    write(tmp_path, job=job.partition("\n")[2])
    mend(tmp_path)
    run = resume(tmp_path, "--allow-changed")
    assert run.code == 0, run.stderr


def test_a_plain_param_that_looks_like_a_hidden_one_keeps_its_value(tmp_path):
    job = "params: {t: x}\ntasks: [{name: a, target: 'work:broken', args: ['${params.t}']}]\n"
    first(tmp_path, job, "-p", "t=***")
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.result("a")) == (0, "***"), run.stderr


@pytest.mark.parametrize("which", ["job", "recipe", "env file", "gone"])
def test_a_changed_file_is_refused_without_allow_changed(tmp_path, which):
    write(tmp_path, job_part="tasks: [{name: x, target: 'work:call'}]\n")
    (tmp_path / "some.env").write_text("A=1\n")
    job = "env_file: some.env\ntasks:\n- {name: p, uses: job_part.yaml}\n- {name: b, target: 'work:broken'}\n"
    first(tmp_path, job)
    mend(tmp_path)
    path = (
        tmp_path
        / {"job": "job.yaml", "recipe": "job_part.yaml", "env file": "some.env", "gone": "job.yaml"}[which]
    )
    if which == "gone":
        path.rename(tmp_path / "kept")
    else:
        path.write_text(path.read_text() + "\n")
    run = resume(tmp_path)
    assert run.code == 2
    if which == "gone":
        for arguments in ([], ["--allow-changed"]):
            run = resume(tmp_path, *arguments)
            assert (run.code, "--allow-changed" in run.stderr) == (2, False)
            assert f"the job file of run {run.directory.run_id} is not there any more: `{path}`" in run.stderr
        (tmp_path / "kept").rename(path)
        assert resume(tmp_path).code == 0, "as the remedy says"
        return
    assert f"`{path}` changed since that run" in run.stderr
    assert "use `--allow-changed` to resume it anyway" in run.stderr
    assert ran(tmp_path)["b"] == 1
    run = resume(tmp_path, "--allow-changed")
    assert run.code == 0, run.stderr
    assert f"warning: `{path}` has changed since run" in run.stderr
    assert ran(tmp_path) == {"p/x": 1, "b": 2}


def test_a_changed_file_may_add_and_remove_tasks(tmp_path):
    first(tmp_path, CHAIN % "broken")
    write(
        tmp_path,
        job="""\
            tasks:
            - {name: a, target: 'work:call', args: [[1, 2]]}
            - {name: new, target: 'work:call', args: ['${tasks.a.result}']}
        """,
    )
    run = resume(tmp_path, "--allow-changed")
    assert (run.code, run.result("new"), ran(tmp_path)["a"]) == (0, [1, 2], 1)


# ---- corrupt records


def test_a_corrupt_record_is_resumed_as_far_as_it_can_be_read(tmp_path):
    run = first(tmp_path, CHAIN % "broken")
    record = Path(run.directory.events)
    lines = record.read_bytes().splitlines(keepends=True)
    lines = [
        b"\x00garbage\n" if b'"task_finished"' in line and b'"alone"' in line else line for line in lines
    ]
    record.write_bytes(b"".join(lines)[:-20])
    mend(tmp_path)
    run = resume(tmp_path, run.directory.run_id)
    assert "is not a JSON object, left out" in run.stderr
    # The outcome of `alone` is lost.
    assert (run.code, run.outcome("alone"), run.outcome("c")) == (1, "unknown", "succeeded")
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 1, "alone": 1}


def test_a_record_that_has_lost_its_beginning_is_not_resumed(tmp_path):
    record = Path(first(tmp_path, CHAIN % "broken").directory.events)
    record.write_bytes(record.read_bytes().partition(b"\n")[2])
    done = mprun("resume", cwd=tmp_path)
    assert done.code == 2
    assert "has lost its beginning, so it cannot be resumed" in done.stderr
    record.write_bytes(b"")
    assert mprun("resume", cwd=tmp_path).code == 2


def test_an_earlier_run_whose_record_has_lost_its_beginning_ends_the_chain(tmp_path):
    """C79. The runs before it cannot be found any more; what its own record says is still used."""
    run = first(tmp_path, CHAIN % "broken")
    second = resume(tmp_path)
    assert second.code == 1
    for events in (run.directory.events, second.directory.events):
        record = Path(events)
        lines = record.read_bytes().splitlines(keepends=True)
        # The second run recorded no outcome that it reused, as if it had been killed at its start.
        keep = lines[1:] if events == run.directory.events else lines[:1]
        record.write_bytes(b"".join(keep))
    mend(tmp_path)
    third = resume(tmp_path, second.directory.run_id)
    assert (third.code, "Traceback" in third.stderr) == (0, False), third.stderr
    assert third.result("c") == [1, 2]


def test_a_record_of_a_newer_format_is_refused(tmp_path):
    record = Path(first(tmp_path, CHAIN % "broken").directory.events)
    record.write_text(record.read_text().replace('"format":2', '"format":99'))
    run_id = record.parent.name
    for arguments in ([], [run_id], ["--allow-changed", "--rerun-unknown"]):
        done = mprun("resume", *arguments, cwd=tmp_path)
        refusal = f"run {run_id}: this record has the format 99, and this mprun reads up to 2: upgrade mprun"
        assert (done.code, refusal in done.stderr) == (2, True)


def test_a_task_whose_result_is_gone_runs_again(tmp_path):
    run = first(tmp_path, CHAIN % "broken")
    shutil.rmtree(Path(run.directory.path, "results"))
    mend(tmp_path)
    run = resume(tmp_path)
    # Other tasks need the result, so the task runs again.
    assert run.code == 0, run.stderr
    assert run.result("c") == [1, 2]
    assert ran(tmp_path)["a"] == 2


def test_a_resumed_run_uses_a_temporary_directory_if_the_state_directory_cannot_be_written(tmp_path):
    """As on a read-only file system, where root cannot write either."""
    first(tmp_path, CHAIN % "broken")
    mend(tmp_path)
    runs = tmp_path / ".mprun" / "runs"
    kept = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    command = (
        "import os, sys; from mprun.record import state_dir as statedir; real = os.mkdir\n"
        "def mkdir(path, *rest, dir_fd=None):\n"
        f"    if dir_fd is not None and os.path.realpath('/proc/self/fd/%d' % dir_fd) == {str(runs)!r}:\n"
        "        raise OSError(30, 'Read-only file system')\n"
        "    return real(path, *rest, dir_fd=dir_fd)\n"
        "os.mkdir = mkdir\n"
        "from mprun.__main__ import main; sys.argv[1:] = ['resume']; sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written: Read-only file system; the record of this run is in" in done.stderr
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == kept
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 1, "alone": 1}


def test_resume_json_prints_the_object_of_show_and_nothing_else(tmp_path):
    write(tmp_path, work=WORK + "\n    print('at import')\n", job=CHAIN % "broken")
    assert mprun("job.yaml", cwd=tmp_path).code == 1
    (tmp_path / "mended").touch()
    run = mprun("resume", "--json", cwd=tmp_path)
    shown = json.loads(run.stdout)
    assert (run.code, shown) == (0, json.loads(mprun("show", "--json", cwd=tmp_path).stdout))
    assert shown["run"]["run"] == run.one("run_started")["run"]
    again = mprun("resume", "--json", cwd=tmp_path)
    assert (again.code, json.loads(again.stdout)) == (0, shown)
    both = mprun("resume", "--json", "--events", "-", cwd=tmp_path)
    assert (both.code, both.stdout) == (2, "")
    remedy = "`--json` and `--events -` both write to stdout; use one of them"
    assert complaint(both.stderr) == f"error: {remedy}\n"


# ---- the command that the end of a run names


def hint(run):
    """The command of the last line."""
    return run.stderr.splitlines()[-1].removeprefix("resume: mprun ").split()


def test_the_hint_of_a_run_that_lost_its_main_process_is_the_command_that_helps(run_to_kill, tmp_path):
    """C08"""
    run = run_to_kill(CHAIN % "stuck")
    run.until("task_started", "b")
    eventually(lambda: ran(tmp_path)["b"])
    os.kill(run.launcher(), signal.SIGKILL)
    run = run.finish()
    assert (run.code, run.outcome("b")) == (3, "unknown")
    mend(tmp_path)
    assert hint(run) == ["resume", run.directory.run_id, "--rerun-unknown"]
    assert resume(tmp_path, *hint(run)[1:]).code == 0


def test_the_hint_of_a_resumed_run_that_was_killed_is_the_command_that_helps(run_to_kill, tmp_path):
    """C08: every process of mprun killed at once, and the run resumed without the option."""
    run = run_to_kill(CHAIN % "stuck")
    run.until("task_started", "b")
    eventually(lambda: ran(tmp_path)["b"])
    run.kill_both()
    run.seconds_to_vanish()
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.outcome("b"), ran(tmp_path)["b"]) == (1, "unknown", 1)
    assert hint(run) == ["resume", run.directory.run_id, "--rerun-unknown"]
    run = resume(tmp_path, *hint(run)[1:])
    assert (run.code, ran(tmp_path)["b"]) == (0, 2)


@pytest.mark.parametrize("given", ["option", "variable", "not"])
def test_the_hint_asks_for_a_secret_that_is_not_in_the_environment(tmp_path, given):
    (tmp_path / "key").write_text("hush")
    job = SECRET.replace("required: true, ", "") if given == "not" else SECRET
    arguments = ["-p", "key=@key"] if given == "option" else []
    env = {"MPRUN_PARAM_KEY": "hush"} if given == "variable" else {}
    job = job.replace(", open: {type: string, default: '***'}", "").replace("${params.open}", "x")
    run = first(tmp_path, job.replace(", env: {KEY: '${params.key}'}", ""), *arguments, env=env)
    assert hint(run)[2:] == (["-p", "key=@FILE"] if given == "option" else [])
    mend(tmp_path)
    assert resume(tmp_path, *arguments, env=env).code == 0
