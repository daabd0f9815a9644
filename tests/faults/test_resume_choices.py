"""What `mprun resume` takes: which run, in which directory, how often at once, and which of its tasks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.crash_targets import CrashTarget
from support.resuming import CHAIN, SECRET, WORK, first, mend, ran, resume, reused
from support.runs import (
    START_METHODS,
    TIMEOUT,
    all_runs,
    environment,
    eventually,
    finish,
    mprun,
    read_events,
    start,
    write,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# ---- where


WHERE = """\
    start_method: %s
    tasks:
    - {name: here, target: 'work:where'}
    - {name: command, command: pwd}
    - {name: service, command: 'touch up; sleep 60', daemon: true, ready: {file: up}, cwd: .}
    - {name: probed, command: 'touch up2; sleep 60', daemon: true, ready: {file: up2}}
    - {name: last, target: 'work:broken', depends_on: {service: ready, probed: ready}}
    - {name: below, target: 'work:where', cwd: sub, depends_on: last}
"""
# Its size differs: Python takes a module that was compiled in the same second, of a file of this size, for
# the one that is there now.
STUCK = WORK.replace("def broken", "def other").replace("def stuck", "def broken") + "\n    # changed\n"
WHERE_WORK = (
    WORK + "\n    AT_IMPORT = os.getcwd()\n\n    def where():\n        return [AT_IMPORT, os.getcwd()]\n"
)


@pytest.mark.parametrize("method", START_METHODS)
def test_a_run_is_resumed_in_its_directory_from_any_other(tmp_path, method):
    """C34"""
    home, elsewhere = tmp_path / "home", tmp_path / "else where"
    (home / "sub").mkdir(parents=True)
    elsewhere.mkdir()
    write(elsewhere, work="raise SystemExit('the wrong one')\n")
    write(home, work=WHERE_WORK, job=WHERE % method)
    before = mprun("job.yaml", cwd=home)
    assert (before.code, before.one("run_started")["cwd"]) == (1, str(home))
    for name in ("up", "up2"):
        (home / name).unlink()
    run = mprun("resume", "--rerun", "here", "--rerun", "command", cwd=elsewhere, state_dir="../home/.mprun")
    assert f"run {before.directory.run_id} is resumed where it ran: {home}\n" in run.stderr
    run = finish_of(home / ".mprun", run)
    assert (run.code, run.outcome("last")) == (1, "failed"), run.stderr
    mend(home)
    for name in ("up", "up2"):
        (home / name).unlink()
    # From one directory into another, and again: the record always has the first one.
    run = mprun("resume", "--rerun", "here", "--rerun", "command", cwd="/", state_dir=home / ".mprun")
    assert run.code == 0, run.stderr
    assert run.result("here") == [str(home), str(home)]
    assert run.result("below")[1] == str(home / "sub")
    assert run.log("command") == f"{home}\n".encode()
    assert run.one("run_started")["cwd"] == str(home)
    assert ran(home)["last"] == 3
    assert sorted(os.listdir(elsewhere)) == ["work.py"]


def finish_of(state_dir, run):
    """A command's run, with the record of this state directory."""
    run.directory = all_runs(state_dir)[-1]
    run.events = read_events(run.directory.events)
    return run


def test_the_hint_of_a_run_that_was_resumed_from_elsewhere_works_where_it_is_shown(tmp_path):
    """C34"""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    first(home, CHAIN % "broken")
    run = mprun("resume", cwd=elsewhere, state_dir=home / ".mprun")
    assert run.code == 1, run.stderr
    assert "--state-dir ../home/.mprun" in run.stderr.splitlines()[-1]
    mend(home)
    again = subprocess.run(
        run.stderr.splitlines()[-1].replace("resume: mprun", f"{sys.executable} -m mprun"),
        shell=True,
        cwd=elsewhere,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert again.returncode == 0, again.stderr


def test_a_run_whose_directory_is_gone_is_not_resumed(tmp_path):
    """C34"""
    (tmp_path / "home").mkdir()
    write(tmp_path, work=WORK, job=CHAIN.replace("tasks:", "pythonpath: [.]\n    tasks:") % "broken")
    run = mprun("../job.yaml", cwd=tmp_path / "home", state_dir=tmp_path / ".mprun")
    assert run.code == 1, run.stderr
    shutil.rmtree(tmp_path / "home")
    mend(tmp_path)
    done = mprun("resume", cwd=tmp_path)
    assert done.code == 2
    message = (
        f"run {run.directory.run_id} ran in a directory that is not there any more: `{tmp_path / 'home'}`"
    )
    assert message in done.stderr
    (tmp_path / "home").mkdir()
    mend(tmp_path / "home")
    assert resume(tmp_path).code == 0, "as the remedy says"


def test_a_run_of_an_older_mprun_is_resumed_in_the_present_directory(tmp_path):
    record = Path(first(tmp_path, CHAIN % "broken").directory.events)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    del lines[0]["cwd"]
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.one("run_started")["cwd"]) == (0, str(tmp_path))


# ---- which run


def succeed(directory, *arguments):
    """A run of another job, or of this one with these arguments, that succeeds."""
    write(directory, job_other="{name: other, tasks: [{target: 'os:getpid'}]}")
    run = mprun(*(arguments or ["job_other.yaml"]), cwd=directory)
    assert run.code == 0, run.stderr
    return run.directory.run_id


def test_the_newest_run_that_can_be_resumed_is_resumed_and_named_with_its_job(tmp_path):
    """C33"""
    one = first(tmp_path, CHAIN % "broken").directory.run_id
    succeed(tmp_path)
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.stderr.splitlines()[0] == f"resuming run {one} of job (job.yaml), which failed"
    assert (run.code, run.one("run_started")["resumed_from"]) == (0, one)
    done = mprun("resume", cwd=tmp_path)
    assert (done.code, "succeeded; there is nothing to resume" in done.stderr) == (0, True)
    assert ran(tmp_path)["b"] == 2


def test_a_run_that_was_resumed_is_not_resumed_unasked(tmp_path):
    """C33: the run that resumed it takes its place."""
    one = first(tmp_path, CHAIN % "broken").directory.run_id
    two = resume(tmp_path).directory.run_id
    succeed(tmp_path)
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.one("run_started")["resumed_from"] == two
    succeed(tmp_path)
    assert "there is nothing to resume" in mprun("resume", cwd=tmp_path).stderr
    assert resume(tmp_path, one).one("run_started")["resumed_from"] == one


@pytest.mark.parametrize(
    ("failed", "passed", "covers"),
    [
        ([], [], True),
        (["-p", "n=2"], [], False),
        (["-p", "n=2"], ["-p", "n=2", "-j", "1"], True),
        (["-k", "b"], [], True),
        (["-k", "b"], ["-k", "b"], True),
        ([], ["-k", "a"], False),
    ],
)
def test_a_run_whose_work_a_later_run_has_done_is_not_resumed_unasked(tmp_path, failed, passed, covers):
    """C33"""
    job = "params: {n: 1}\ntasks:\n- {name: a, target: 'work:call'}\n- {name: b, target: 'work:broken'}\n"
    one = first(tmp_path, job, *failed).directory.run_id
    mend(tmp_path)
    succeed(tmp_path, "job.yaml", *passed)
    done = mprun("resume", cwd=tmp_path)
    assert ("there is nothing to resume" in done.stderr) == covers
    assert (f"resuming run {one} of job (job.yaml), which failed" in done.stderr) != covers


def test_an_interrupted_run_before_an_active_one_and_a_newer_record_is_found(run_to_kill, tmp_path):
    """C33"""
    run = run_to_kill(CHAIN % "stuck")
    run.until("task_started", "b")
    run.engine.kill()
    run.engine.communicate()
    run.seconds_to_vanish()
    killed = os.listdir(tmp_path / ".mprun" / "runs")[0]
    newer = Path(tmp_path, ".mprun", "runs", succeed(tmp_path), "events.jsonl")
    newer.write_text(newer.read_text().replace('"format":2', '"format":99'))
    write(tmp_path, job_stay="tasks: [{command: sleep 60}]\n")
    active = CrashTarget(tmp_path, "job_stay.yaml")
    active.until("task_started")
    try:
        mend(tmp_path)
        done = mprun("resume", "--rerun-unknown", "-q", cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert done.one("run_started")["resumed_from"] == killed
        assert done.stderr.startswith(f"warning: the record of run {newer.parent.name} cannot be read")
    finally:
        active.engine.send_signal(signal.SIGINT)
        active.finish()
        active.clean()


@pytest.mark.parametrize("newest", ["active", "succeeded"])
def test_an_older_run_is_not_resumed_unasked_while_a_newer_one_is_being_resumed(tmp_path, newest):
    old = first(tmp_path, "tasks: [{target: 'work:broken'}]").directory.run_id
    write(tmp_path, job_stay="tasks: [{command: 'test -e again && exec sleep 60; exit 3'}]\n")
    assert mprun("job_stay.yaml", cwd=tmp_path).code == 1
    (tmp_path / "again").touch()
    mend(tmp_path)
    active = CrashTarget(tmp_path, "resume")
    try:
        active.until("task_started")
        two = active.record().parent.name
        if newest == "succeeded":
            succeed(tmp_path)
        # With `--rerun`, a run that succeeded can be resumed, and is.
        for arguments in ([], ["--rerun", "*"]) if newest == "active" else ([],):
            done = mprun("resume", *arguments, cwd=tmp_path)
            assert (done.code, ran(tmp_path).total()) == (2, 1), done.stderr
            assert f"run {two} is still running (it resumes run" in done.stderr
            assert f"`mprun stop --run {two}`" in done.stderr
        assert resume(tmp_path, old).code == 0, "as the remedy says"
    finally:
        active.engine.send_signal(signal.SIGINT)
        active.finish()
        active.clean()


def test_a_run_is_not_resumed_unasked_while_its_job_file_runs(tmp_path):
    old = first(tmp_path, CHAIN % "broken").directory.run_id
    write(tmp_path, work=STUCK)
    active = CrashTarget(tmp_path, "job.yaml")
    try:
        active.until("task_started", "b")
        eventually(lambda: ran(tmp_path)["alone"] == 2)
        two = active.record().parent.name
        succeed(tmp_path)
        done = mprun("resume", cwd=tmp_path)
        assert (done.code, ran(tmp_path)["alone"]) == (2, 2), done.stderr
        assert f"run {two} is still running (it runs `{tmp_path / 'job.yaml'}`)" in done.stderr
        mend(tmp_path)
        assert resume(tmp_path, old).code == 0, "as the remedy says"
    finally:
        active.engine.send_signal(signal.SIGINT)
        active.finish()
        active.clean()


def test_a_run_whose_job_was_read_from_standard_input_is_passed_over(tmp_path):
    """C33: it cannot be resumed."""
    one = first(tmp_path, CHAIN % "broken").directory.run_id
    done = subprocess.run(
        [sys.executable, "-m", "mprun", "-"],
        input=b"tasks: [{command: exit 3}]",
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1
    mend(tmp_path)
    assert resume(tmp_path).one("run_started")["resumed_from"] == one


# ---- tasks that are named


TREE = """\
    tasks:
    - {name: a, target: 'work:call', args: [[1, 2]]}
    - {name: b, target: 'work:call', args: ['${tasks.a.result}']}
    - {name: m, matrix: {n: [1, 2]}, target: 'work:call', args: ['${matrix.n}'], depends_on: b}
    - {name: each, foreach: '${tasks.a.result}', target: 'work:call', args: ['${item}']}
    - {name: sum, target: 'work:call', args: ['${tasks.each.result}'],
       kwargs: {also: '${tasks.m.result}'}}
    - {name: end, target: 'work:call', depends_on: {sum: finished}}
    - {name: alone, target: 'work:call', args: [7]}
"""


@pytest.mark.parametrize(
    ("globs", "again"),
    [
        (["end"], {"end"}),
        (["b"], {"b", "m[n=1]", "m[n=2]", "sum", "end"}),
        (["m[n=2]"], {"m[n=2]", "sum", "end"}),
        (["m", "al*"], {"m[n=1]", "m[n=2]", "sum", "end", "alone"}),
        (["each[1]"], {"each[1]", "sum", "end"}),
        (["each"], {"each[0]", "each[1]", "sum", "end"}),
        (["?[*]", "each[0]"], {"m[n=1]", "m[n=2]", "each[0]", "sum", "end"}),
        (["a"], {"a", "b", "m[n=1]", "m[n=2]", "each[0]", "each[1]", "sum", "end"}),
    ],
)
def test_named_tasks_of_a_run_that_succeeded_run_again_with_their_dependents(tmp_path, globs, again):
    """C32"""
    first(tmp_path, TREE, code=0)
    everything = set(ran(tmp_path))
    options = [word for glob in globs for word in ("--rerun", glob)]
    run = resume(tmp_path, *options)
    assert run.code == 0, run.stderr
    assert set(reused(run)) == everything - again
    assert ran(tmp_path) == {name: 1 + (name in again) for name in everything}
    assert run.result("sum") == [1, 2]


LATE = """\
    tasks:
    - {name: list, target: 'work:call', args: [[a, B c]]}
    - {name: m, matrix: {f: '${tasks.list.result}', n: [1, 2]}, target: 'work:call', args: ['${matrix.f}']}
    - {name: each, foreach: '${tasks.list.result}', target: 'work:call', args: ['${item}']}
    - {name: sum, target: 'work:call', args: ['${tasks.m.result}']}
"""


@pytest.mark.parametrize(
    ("globs", "again"),
    [
        (["m[f=a,n=2]"], {"m[f=a,n=2]", "sum"}),
        (["*n=1]"], {"m[f=a,n=1]", "m[f=B c,n=1]", "sum"}),
        (["m"], {"m[f=a,n=1]", "m[f=a,n=2]", "m[f=B c,n=1]", "m[f=B c,n=2]", "sum"}),
        (["each[1]"], {"each[1]"}),
    ],
)
def test_named_instances_that_are_known_only_during_the_run_run_again(tmp_path, globs, again):
    """C32"""
    first(tmp_path, LATE, code=0)
    everything = set(ran(tmp_path))
    assert len(everything) == 8
    run = resume(tmp_path, *[word for glob in globs for word in ("--rerun", glob)])
    assert run.code == 0, run.stderr
    assert ran(tmp_path) == {name: 1 + (name in again) for name in everything}
    assert run.result("sum") == ["a", "a", "B c", "B c"]


def test_named_tasks_run_again_beside_those_that_failed(tmp_path):
    """C32"""
    first(tmp_path, CHAIN % "broken")
    mend(tmp_path)
    run = resume(tmp_path, "--rerun", "alone")
    assert (run.code, reused(run)) == (0, ["a"])
    assert resume(tmp_path, "--rerun", "*").code == 0
    assert ran(tmp_path) == {"a": 2, "b": 3, "c": 2, "alone": 3}


def test_a_task_of_a_recipe_runs_again(tmp_path):
    """C32"""
    write(
        tmp_path,
        job_part="""\
            params: {n: 1}
            tasks:
            - {name: x, target: 'work:call', args: ['${params.n}']}
            - {name: y, target: 'work:call', args: ['${tasks.x.result}']}
        """,
    )
    first(
        tmp_path,
        """\
        params: {n: 5}
        tasks:
        - {name: p, uses: job_part.yaml, with: {n: '${params.n}'}}
        - {name: q, uses: job_part.yaml, with: {n: '${tasks.p.result.1}'}}
        """,
        code=0,
    )
    run = resume(tmp_path, "--rerun", "p/y")
    assert (run.code, reused(run)) == (0, ["p/x"])
    run = resume(tmp_path, "--rerun", "q", "-p", "n=6")
    assert (run.code, reused(run), run.result("q/y")) == (0, ["p/x", "p/y"], 5)
    run = resume(tmp_path, "--rerun", "p", "-p", "n=6")
    assert (run.code, reused(run), run.result("q/y")) == (0, [], 6)


def test_a_named_task_of_unknown_outcome_runs_again(run_to_kill, tmp_path):
    """C32"""
    run = run_to_kill("tasks:\n- {name: u, target: 'work:stuck'}\n- {name: v, target: 'work:stuck'}\n")
    eventually(lambda: len(ran(tmp_path)) == 2)
    run.kill_both()
    run.seconds_to_vanish()
    mend(tmp_path)
    run = resume(tmp_path, "--rerun", "u")
    assert (run.code, run.outcome("u"), run.outcome("v")) == (1, "succeeded", "unknown")
    assert ran(tmp_path) == {"u": 2, "v": 1}
    run = resume(tmp_path, "--rerun", "u", "--rerun-unknown")
    assert (run.code, ran(tmp_path)) == (0, {"u": 3, "v": 2})


def test_every_mistake_of_a_resume_is_reported_at_once(tmp_path):
    """C32"""
    (tmp_path / "key").write_text("hush")
    each = "    - {name: each, matrix: {n: [1, 2]}, target: 'work:call'}\n"
    first(tmp_path, SECRET + each, "-p", "key=@key")
    job = tmp_path / "job.yaml"
    job.write_text(job.read_text() + "# changed\n")
    run = resume(tmp_path)
    assert run.code == 2
    assert "`--allow-changed`" in run.stderr
    assert "MPRUN_PARAM_KEY" in run.stderr
    run = resume(tmp_path, "--rerun", "eac", "--rerun", "x", "--rerun", "each", env={"MPRUN_PARAM_KEY": "k"})
    assert run.code == 2
    assert "error: no task matches `--rerun eac`; did you mean `--rerun '*eac*'`?" in run.stderr
    assert "error: no task matches `--rerun x`" in run.stderr
    assert "changed since that run" in run.stderr
    run = resume(tmp_path, "--rerun", "eech", "--allow-changed", env={"MPRUN_PARAM_KEY": "k"})
    assert run.code == 4
    assert run.stderr == "error: no task matches `--rerun eech`; did you mean `each`?\n"
    assert ran(tmp_path)["a"] == 1


def test_only_tasks_of_the_run_can_be_named(tmp_path):
    """C32"""
    first(tmp_path, CHAIN % "call", "-k", "b", code=0)
    run = resume(tmp_path, "--rerun", "alone")
    assert (run.code, "no task matches `--rerun alone`" in run.stderr) == (4, True)
    run = resume(tmp_path, "--rerun", "a")
    assert (run.code, ran(tmp_path)) == (0, {"a": 2, "b": 2})


# ---- results that are not JSON


NOT_JSON = """\
    tasks:
    - {name: src, target: 'work:get', args: [1]}
    - {name: get, target: 'work:get', depends_on: src}
    - {name: other, target: 'work:get'}
    %s
"""
GET = (
    WORK
    + """
    def get(number=0):
        import pathlib

        note(os.environ["MPRUN_TASK"])
        return [number] if os.path.exists("mended") else pathlib.Path("x")
"""
)
USES = {
    "args": "- {name: use, target: 'work:call', args: ['${tasks.get.result}']}",
    "part of a string": "- {name: use, target: 'work:call', args: ['x${tasks.get.result}']}",
    "kwargs": "- {name: use, target: 'work:call', kwargs: {result: '${tasks.get.result}'}}",
    "path": "- {name: use, target: 'work:call', args: ['${tasks.get.result.0}']}",
    "when": "- {name: use, target: 'work:call', when: '${tasks.get.result}'}",
    "command": "- {name: use, command: [echo, '${tasks.get.result}']}",
    "env": "- {name: use, command: [env], env: {X: '${tasks.get.result}'}}",
    "expect": "- {name: use, target: 'work:call', args: [[0]], expect: {result: '${tasks.get.result}'}}",
    "foreach": "- {name: use, foreach: '${tasks.get.result}', target: 'work:call', args: ['${item}']}",
    "matrix": "- {name: use, matrix: {n: [1, 2]}, target: 'work:call', args: ['${tasks.get.result}']}",
    "with": "- {name: use, uses: job_part.yaml, with: {x: '${tasks.get.result}'}}",
    "finished": (
        "- {name: use, target: 'work:call', args: ['${tasks.get.result}'], depends_on: {get: finished}}"
    ),
}


@pytest.mark.parametrize("how", USES)
def test_a_task_whose_result_is_not_json_runs_again_if_its_result_is_needed(tmp_path, how):
    """C31"""
    part = "params: {x: {type: list}}\ntasks: [{name: y, target: 'work:call', args: ['${params.x}']}]\n"
    write(tmp_path, work=GET, job=NOT_JSON % USES[how], job_part=part)
    before = mprun("job.yaml", cwd=tmp_path)
    assert (before.code, before.outcome("get"), before.outcome("other")) == (1, "succeeded", "succeeded")
    # Until it is mended, it fails in the same way.
    assert resume(tmp_path).code == 1
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert run.result("get") == [0]
    # The results of the others are not needed.
    assert reused(run) == ["other", "src"]
    assert (ran(tmp_path)["get"], ran(tmp_path)["src"], ran(tmp_path)["other"]) == (3, 1, 1)


def test_instances_whose_results_are_not_json_run_again(tmp_path):
    """C31: of a matrix, and of a list that is known only during the run."""
    job = """\
        tasks:
        - {name: one, matrix: {n: [1, 2]}, target: 'work:get', args: ['${matrix.n}']}
        - {name: items, target: 'work:call', args: [[3, 4]]}
        - {name: two, foreach: '${tasks.items.result}', target: 'work:get', args: ['${item}']}
        - {name: use, target: 'work:call', args: [['${tasks.one.result}', '${tasks.two.result}']]}
        - {name: use_one, target: 'work:call', args: ['${tasks.one[n=2].result}']}
    """
    write(tmp_path, work=GET, job=job)
    assert mprun("job.yaml", cwd=tmp_path).code == 1
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert (run.result("use"), run.result("use_one")) == ([[[1], [2]], [[3], [4]]], [2])
    assert reused(run) == ["items"]


def test_a_task_whose_result_is_too_deep_runs_again(tmp_path):
    """C31"""
    job = """\
        tasks:
        - {name: get, target: 'work:get'}
        - {name: use, target: 'work:call', args: ['${tasks.get.result}']}
    """
    deep = "    def get(found=1):\n        for _ in range(940): found = [found]\n        return found\n"
    write(tmp_path, work=WORK + deep, job=job)
    run = mprun("job.yaml", cwd=tmp_path)
    assert "nested too deeply" in run.stderr
    write(tmp_path, work=WORK + "    def get():\n        return 1\n")
    run = resume(tmp_path)
    assert (run.code, run.result("use")) == (0, 1), run.stderr


# ---- one at a time


def test_a_run_is_resumed_once_at_a_time(run_to_kill, tmp_path):
    """C34"""
    one = first(tmp_path, CHAIN % "broken").directory.run_id
    write(tmp_path, work=STUCK)
    active = CrashTarget(tmp_path, "resume")
    try:
        active.until("task_started", "b")
        eventually(lambda: ran(tmp_path)["b"] == 2)
        two = active.record().parent.name
        done = mprun("resume", one, "--allow-changed", cwd=tmp_path)
        assert done.code == 2
        assert f"run {one} is being resumed by run {two}; wait for that" in done.stderr
        done = mprun("resume", cwd=tmp_path)
        assert (done.code, f"run {two} is still running" in done.stderr) == (2, True)
    finally:
        active.engine.send_signal(signal.SIGINT)
        assert active.finish().code == 130
        active.clean()
    # A chain: each resumes the run before it, and all do the work of the first.
    active = CrashTarget(tmp_path, "resume")
    try:
        active.until("task_started", "b")
        three = active.record().parent.name
        for earlier in (one, two):
            done = mprun("resume", earlier, cwd=tmp_path)
            assert (done.code, f"run {earlier} is being resumed by run {three}" in done.stderr) == (2, True)
        active.engine.send_signal(signal.SIGINT)
        assert active.finish().code == 130
    finally:
        active.clean()
    mend(tmp_path)
    run = resume(tmp_path, one)
    assert (run.code, run.one("run_started")["resumed_from"]) == (0, one), run.stderr


def test_a_run_is_resumed_once_even_if_the_other_start_has_no_record_yet(tmp_path):
    """C34"""
    one = first(tmp_path, CHAIN % "broken").directory.run_id
    wait = "import os, time\nwhile not os.path.exists('mended'): time.sleep(0.01)\n"
    write(tmp_path, work=f"open('importing', 'w').close()\n{wait}" + textwrap.dedent(WORK))
    process = start("resume", cwd=tmp_path)
    eventually((tmp_path / "importing").exists)
    for arguments in ([], [one]):
        done = mprun("resume", *arguments, cwd=tmp_path)
        assert done.code == 2
        assert f"another `mprun resume` of run {one} is starting; wait for that" in done.stderr
    mend(tmp_path)
    assert finish(process, tmp_path / ".mprun").code == 0
    assert ran(tmp_path)["b"] == 2


def test_many_resumes_at_once_run_each_task_once(tmp_path):
    """C34"""
    first(tmp_path, CHAIN % "broken")
    mend(tmp_path)
    processes = [start("resume", cwd=tmp_path) for _ in range(4)]
    codes = sorted(finish(process, tmp_path / ".mprun").code for process in processes)
    # One that comes after the end of another has nothing to resume.
    assert codes[0] == 0
    assert set(codes) <= {0, 2}
    assert ran(tmp_path) == {"a": 1, "b": 2, "c": 1, "alone": 1}


# ---- what a resumed run shows of the runs before it


def test_logs_of_a_reused_task_are_shown_from_the_run_that_ran_it(tmp_path):
    """C35"""
    write(tmp_path, work=WORK + "\n    def say(*more):\n        print('said', *more)\n")
    job = """\
        tasks:
        - {name: a, target: 'work:say', args: [1]}
        - {name: b, target: 'work:broken', depends_on: a}
        - {name: c, target: 'work:say', args: [2], depends_on: b}
    """
    write(tmp_path, job=job)
    one = mprun("job.yaml", cwd=tmp_path).directory.run_id
    assert resume(tmp_path).code == 1
    mend(tmp_path)
    assert resume(tmp_path).code == 0
    every = mprun("logs", cwd=tmp_path)
    assert every.stdout == "c    | said 2\n"
    assert every.stderr == f"without 1 task that ran in an earlier run: `mprun logs --run {one}`\n"
    named = mprun("logs", "a", cwd=tmp_path)
    assert (named.stdout, named.stderr) == ("said 1\n", f"--- a: reused from run {one} ---\n")
    both = mprun("logs", "[ac]", "a", "c", "--json", cwd=tmp_path)
    assert both.code == 2
    both = mprun("logs", "a", "c", "--json", cwd=tmp_path)
    assert [json.loads(line)["line"] for line in both.stdout.splitlines()] == ["said 1", "said 2"]
    shutil.rmtree(tmp_path / ".mprun" / "runs" / one)
    named = mprun("logs", "a", cwd=tmp_path)
    assert (named.code, named.stdout) == (0, "")
    assert named.stderr == "without a, which ran in an earlier run that is gone\n"
    assert mprun("result", "a", cwd=tmp_path).stdout == "null\n"


# ---- what the verdict of a run says of tasks that did not run, or failed as allowed


ALLOWED = """\
    tasks:
    - {name: a, target: 'work:broken', args: [1], allow_failure: true}
    - {name: b, target: 'work:call', args: ['${tasks.a.result}']}
    - {name: c, target: 'work:call', args: ['${tasks.b.result}']}
    - {name: after, target: 'work:call', depends_on: {a: finished}}
    - {name: needs, target: 'work:call', args: ['${tasks.a.result}'], depends_on: {a: finished}}
    - {name: strict, target: 'work:call', depends_on: {a: succeeded}}
    - {name: alone, target: 'work:call'}
    %s
"""


def test_an_allowed_failure_runs_again_with_what_passed_over_it(tmp_path):
    """C03, as in a run of failed jobs: what depends on an allowed failure had null for its result."""
    before = first(tmp_path, ALLOWED % "- {name: gate, target: 'work:broken'}")
    assert (before.outcome("a"), before.result("c"), before.outcome("strict")) == ("failed", None, "skipped")
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert (run.result("a"), run.result("b"), run.result("c"), run.result("needs")) == (1, 1, 1, 1)
    assert reused(run) == ["after", "alone"]
    assert ran(tmp_path) == {
        "a": 2,
        "b": 2,
        "c": 2,
        "after": 1,
        "needs": 2,
        "strict": 1,
        "alone": 1,
        "gate": 2,
    }


def test_a_run_with_allowed_failures_alone_is_resumed_only_for_named_tasks(tmp_path):
    """C03"""
    job = ALLOWED.replace("    - {name: strict, target: 'work:call', depends_on: {a: succeeded}}\n", "") % ""
    first(tmp_path, job, code=0)
    assert "there is nothing to resume" in resume(tmp_path).stderr
    mend(tmp_path)
    run = resume(tmp_path, "--rerun", "a")
    assert (run.code, run.result("c"), reused(run)) == (0, 1, ["alone"])


def test_a_task_that_was_skipped_because_a_success_did_not_come_runs_again(tmp_path):
    """C02: that alone fails the run, so it can be resumed."""
    before = first(tmp_path, ALLOWED % "")
    assert before.outcome("strict") == "skipped"
    assert hint(before) == ["resume", before.directory.run_id]
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.outcome("strict"), reused(run)) == (0, "succeeded", ["after", "alone"])


def test_instances_with_allowed_failures_run_again_with_their_dependents(tmp_path):
    """C03"""
    odd = WORK + "\n    def odd(value):\n        return broken(value) if value % 2 else call(value)\n"
    job = """\
        tasks:
        - {name: items, target: 'work:call', args: [[1, 2, 3]]}
        - {name: m, foreach: '${tasks.items.result}', target: 'work:odd', args: ['${item}'],
           allow_failure: true}
        - {name: sum, target: 'work:call', args: ['${tasks.m.result}']}
        - {name: gate, target: 'work:broken'}
    """
    write(tmp_path, work=odd, job=job)
    before = mprun("job.yaml", cwd=tmp_path)
    assert (before.code, before.result("sum")) == (1, [None, 2, None])
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.result("sum"), reused(run)) == (0, [1, 2, 3], ["items", "m[1]"])


def hint(run):
    """The words of the command in the last line."""
    return run.stderr.splitlines()[-1].removeprefix("resume: mprun ").split()


def test_a_task_skipped_by_its_when_is_looked_at_again(tmp_path):
    """C02"""
    job = """\
        params: {on: false}
        tasks:
        - {name: off, target: 'work:call', args: [5], when: '${params.on}'}
        - {name: b, target: 'work:call', args: ['${tasks.off.result}']}
        - {name: gate, target: 'work:broken'}
    """
    first(tmp_path, job)
    mend(tmp_path)
    run = resume(tmp_path)
    assert (run.code, run.outcome("off"), reused(run)) == (0, "skipped", ["b"])
    run = resume(tmp_path, "-p", "on=true", "--rerun", "off")
    assert (run.code, run.result("off"), run.result("b")) == (0, 5, 5)


# ---- results of siblings (C43)


SIBLINGS = """\
    tasks:
    - {name: get, matrix: {f: [a, b]}, target: 'work:get', args: ['${matrix.f}']}
    - {name: use, matrix: {f: [b, a]}, target: 'work:call', args: ['${tasks.get[f=${matrix.f}].result}']}
    - {name: list, target: 'work:call', args: [[c, d]]}
    - {name: late, foreach: '${tasks.list.result}', target: 'work:get', args: ['${item}']}
    - {name: then, foreach: '${tasks.list.result}', target: 'work:call',
       args: ['${tasks.late[${item}].result}']}
"""


def test_instances_that_take_the_result_of_a_sibling_are_resumed(tmp_path):
    """C31, C32, C43"""
    write(tmp_path, work=GET, job=SIBLINGS)
    before = mprun("job.yaml", cwd=tmp_path)
    assert (before.code, before.outcome("use[f=a]"), before.outcome("then[0]")) == (1, "failed", "failed")
    warnings = [line for line in before.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 2, warnings
    mend(tmp_path)
    run = resume(tmp_path)
    assert run.code == 0, run.stderr
    assert (run.result("use[f=a]"), run.result("then[1]"), reused(run)) == (["a"], ["d"], ["list"])
    run = resume(tmp_path, "--rerun", "get[f=a]")
    assert (run.code, set(reused(run)) & {"use[f=a]", "use[f=b]"}) == (0, {"use[f=b]"})
    run = resume(tmp_path, "--rerun", "late[1]")
    assert (run.code, run.result("then[1]"), "then[1]" in reused(run)) == (0, ["d"], False)
