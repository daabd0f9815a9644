"""What to run: the job from a file or from standard input, all of its tasks or some."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.runs import mprun, newest_run, read_events

JOB = """
tasks:
  - {name: hello, command: [echo, hi], capture: text, tags: [quick]}
  - {name: world, command: [echo, "${tasks.hello.result}"], depends_on: hello, tags: [slow]}
  - {name: cell, command: [echo, "${matrix.x}"], matrix: {x: [1, 2]}}
  - {name: none, command: [echo], foreach: []}
  - {name: late, command: [echo, "${item}"], foreach: "${tasks.items.result}"}
  - {name: items, target: "os:listdir"}
  - {name: sub, uses: sub.yaml}
"""
SUB = "tasks: [{name: inner, command: [echo, inner]}, {name: last, command: [pwd], depends_on: inner}]"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "sub.yaml").write_text(SUB)
    return tmp_path


def piped(folder, *arguments, text=JOB, **options):
    """mprun with a job on standard input."""
    command = [sys.executable, "-m", "mprun", *arguments]
    return subprocess.run(
        command, input=text, cwd=folder, capture_output=True, text=True, timeout=60, **options
    )


def outcomes(run):
    return {event["task"]: event["outcome"] for event in run.of("task_finished")}


def planned(run):
    assert run.code == 0, run.stderr
    return [task["name"] for task in json.loads(run.stdout)["tasks"]]


# -- C38: the tasks that are named


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["hello"], ["hello"]),
        (["world"], ["hello", "world"]),
        (["world", "cell[x=2]"], ["hello", "world", "cell[x=2]"]),
        (["cell"], ["cell[x=1]", "cell[x=2]"]),
        (["cell[*"], ["cell[x=1]", "cell[x=2]"]),
        (["late"], ["late", "items"]),
        (["sub"], ["sub/inner", "sub/last"]),
        (["sub/last"], ["sub/inner", "sub/last"]),
        (["--no-deps", "sub/last"], ["sub/last"]),
        (["cell[x=1]", "-k", "hel*"], ["hello", "cell[x=1]"]),
        (["hello", "world", "-t", "quick"], ["hello"]),
    ],
    ids=str,
)
def test_c38_named_tasks_run_with_what_they_depend_on(folder, words, names):
    assert planned(mprun("plan", "job.yaml", *words, "--format", "json", cwd=folder)) == names


@pytest.mark.parametrize("first", [("job.yaml",), ("run", "job.yaml"), ("-q", "job.yaml")], ids=str)
def test_c38_run_of_named_tasks_is_resumed_with_the_same_tasks(folder, first):
    (folder / "sub.yaml").write_text(SUB.replace("[pwd]", "[test, -e, there]"))
    run = mprun(*first, "sub/last", cwd=folder)
    assert (run.code, sorted(outcomes(run))) == (1, ["sub/inner", "sub/last"])
    (folder / "there").touch()
    again = mprun("resume", cwd=folder)
    assert again.code == 0, again.stderr
    assert outcomes(again) == {"sub/inner": "succeeded", "sub/last": "succeeded"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("hel", "no task matches `hel`; did you mean `hello`?"),
        ("hello wrold", "no task matches `wrold`; did you mean `world`?"),
        ("hello xyzzy", "no task matches `xyzzy`; known tasks: "),
        ("other.yaml", "no task matches `other.yaml`; one command runs one job file"),
        ("sub/iner", "no task matches `sub/iner`; did you mean `sub/inner`?"),
        ("cell[x=3]", "no task matches `cell[x=3]`; did you mean `cell[x=2]`?"),
        ("hello -t slow", "no task matches `-k hello -t slow`: no task has both such a name and such a tag"),
        # C39
        ("-k hel", "no task matches `-k hel`; did you mean `-k '*hel*'`?"),
        ("-k inner", "no task matches `-k inner`; did you mean `-k '*inner*'`?"),
        ("-k cell[x", "no task matches `-k cell[x`; did you mean `-k '*cell[x*'`?"),
        ("-k hle", "no task matches `-k hle`"),
        ("-k wrold", "no task matches `-k wrold`; did you mean `world`?"),
        ("-k xyzzy -k hel", "no task matches `-k xyzzy`; known tasks: "),
        ("-t quik", "no task matches `-t quik`; did you mean `quick`?"),
        ("-k hello -t quik", "no task matches `-t quik`; did you mean `quick`?"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_c38_c39_what_matches_nothing_names_what_was_probably_meant(folder, command, words, message):
    run = mprun(command, "job.yaml", *words.split(), cwd=folder)
    assert (run.code, run.stdout) == (4, "")
    assert run.stderr.startswith(f"error: {message}")
    assert not (folder / ".mprun").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-k hello -k wrold", "no task matches `-k wrold`; did you mean `world`?"),
        ("-k wrold -k hello", "no task matches `-k wrold`; did you mean `world`?"),
        ("-t quick -t slwo", "no task matches `-t slwo`; did you mean `slow`?"),
        ("hello -k ell", "no task matches `-k ell`; did you mean `-k '*ell*'`?"),
    ],
)
def test_c39_each_of_several_that_matches_nothing_is_said(folder, words, message):
    run = mprun("run", "job.yaml", *words.split(), cwd=folder)
    assert (run.code, outcomes(run)) == (0, {"hello": "succeeded"})
    assert run.stderr.startswith(f"warning: {message}\n")


# -- C38: help


def test_c38_help_is_a_command(folder):
    assert mprun("help", cwd=folder).stdout == mprun("--help", cwd=folder).stdout
    for name in ("run", "plan", "help", "stop"):
        shown = mprun("help", name, cwd=folder)
        assert (shown.code, shown.stdout) == (0, mprun(name, "--help", cwd=folder).stdout)
        assert shown.stdout.startswith(f"Usage: mprun {name} ")


# -- C38: the job from standard input


def test_c38_job_from_standard_input_runs_and_its_paths_start_from_the_working_directory(folder):
    (folder / "mod.py").write_text("def f(): return 7\n")
    text = (
        "cwd: there\ntasks: [{target: 'mod:f'}, {uses: sub.yaml, name: sub}, {command: pwd; cat, name: pwd}]"
    )
    (folder / "there").mkdir()
    run = piped(folder, "-", text=text)
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("stdin: 4 tasks, ")
    assert f"{folder}/there\n" in run.stdout
    started = read_events(newest_run(folder / ".mprun").events)[0]
    assert (started["job"], started["file"]) == ("stdin", "-")
    assert [file["path"] for file in started["files"]] == ["-", f"{folder}/sub.yaml"]


@pytest.mark.parametrize("arguments", ["- hello -q", "run - hello -q", "-q - hello", "-q -k hello -"])
def test_c38_dash_takes_options_and_tasks(folder, arguments):
    run = piped(folder, *arguments.split())
    assert (run.returncode, run.stdout, run.stderr) == (0, "hello | hi\n", "")


def test_c38_commands_that_read_a_job_read_standard_input(folder):
    valid = piped(folder, "validate", "-")
    assert (valid.returncode, valid.stdout) == (0, "-: ok, 8 tasks\n")
    assert piped(folder, "plan", "-", "hello").returncode == 0
    dry = piped(folder, "-", "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "-: every target can be called; nothing was started\n")
    named = piped(folder, "plan", "-", text="name: x\ntasks: [{command: [echo]}]")
    assert named.stdout.startswith("x: 1 task")


def test_c38_error_in_standard_input_has_its_place(folder):
    run = piped(folder, "-", text="tasks: [{comand: x}]")
    assert run.returncode == 2
    assert " --> <stdin>:1:10\n" in run.stderr
    assert "did you mean `command`?" in run.stderr


@pytest.mark.parametrize("text", ["", "a" * 9_000_000, "\0"], ids=["nothing", "too much", "NUL"])
def test_c38_invalid_standard_input_is_an_error(folder, text):
    run = piped(folder, "-", text=text)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: ")
    assert "Traceback" not in run.stderr


def test_c38_closed_standard_input_is_an_empty_job(folder):
    command = [sys.executable, "-m", "mprun", "-"]
    run = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: os.close(0),
    )
    assert (run.returncode, run.stderr.splitlines()[0]) == (2, "error: the job file is empty")


def test_c38_run_from_standard_input_cannot_be_resumed_and_does_not_offer_it(folder):
    run = piped(folder, "-", text="tasks: [{command: 'exit 3'}]")
    assert run.returncode == 1
    assert "resume" not in run.stderr
    assert "record: .mprun/runs/" in run.stderr
    again = mprun("resume", cwd=folder)
    assert again.code == 2
    assert "read its job from standard input, which is not kept, so it cannot be resumed" in again.stderr


def test_c38_resume_passes_over_a_run_from_standard_input(folder):
    (folder / "job.yaml").write_text("tasks: [{command: [test, -e, there]}]")
    assert mprun("job.yaml", cwd=folder).code == 1
    assert piped(folder, "-", text="tasks: [{command: 'exit 3'}]").returncode == 1
    (folder / "there").touch()
    again = mprun("resume", cwd=folder)
    assert again.code == 0, again.stderr
    assert " of job (job.yaml), which failed" in again.stderr


def test_c38_file_named_dash_is_not_a_recipe_from_standard_input(folder):
    run = piped(folder, "-", text="tasks: [{uses: '-'}]")
    assert run.returncode == 2
    assert "job file `-` not found" in run.stderr


@pytest.mark.parametrize("given", ["1m", "2.5", "500ms"])
def test_import_timeout_is_a_duration(folder, given):
    assert mprun("-q", "job.yaml", "hello", "--import-timeout", given, cwd=folder).code == 0
    assert mprun("-q", "job.yaml", "hello", cwd=folder, env={"MPRUN_IMPORT_TIMEOUT": given}).code == 0
