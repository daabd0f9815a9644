"""A task that puts a link, or another directory, in the place of a directory of its run (C51, C60)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.other_user import can_be_nobody, start_as_nobody
from support.runs import START_METHODS, mprun, write

needs_other_user = pytest.mark.skipif(not can_be_nobody(), reason="starts mprun as another user, as root")
KEPT = '{"kept": true}\n'
# What can write below the run's directory: each kind of task, with each kind of end.
JOB = """
    start_method: %s
    tasks:
      - {name: swap, command: [sh, swap.sh]}
      - {name: prints, target: 'builtins:print', args: [heard], depends_on: swap}
      - {name: returns, target: 'os:getpid', depends_on: swap, allow_failure: true}
      - {name: odd, target: 'work:odd', depends_on: swap, allow_failure: true}
      - {name: raises, target: 'work:fail', depends_on: swap, allow_failure: true}
      - {name: exits, target: 'sys:exit', args: [why], depends_on: swap, allow_failure: true}
      - {name: hangs, target: 'time:sleep', args: [60], timeout: 2s, depends_on: swap, allow_failure: true}
      - {name: command, command: 'echo a; echo b >&2', depends_on: swap}
      - {name: captured, command: echo c, capture: text, depends_on: swap, allow_failure: true}
      - {name: nothing, command: [/no/such/program], depends_on: swap, allow_failure: true}
      - name: serves
        command: [sleep, '60']
        daemon: true
        ready: {command: [echo, ready], timeout: 20s}
        depends_on: swap
      - {name: client, command: 'true', depends_on: {serves: ready}}
"""
FAILED = {"returns", "odd", "raises", "exits", "hangs", "captured", "nothing"}
TASKS = {*FAILED, "prints", "command", "client"}
WORK = """
    def odd():
        return {1: 2, "1": object()}

    def fail():
        raise ValueError("no")
"""
# `$run` is the run's directory, `$precious` one that is not mprun's.
SWAPS = {
    "link": "ln -s $PWD/precious $run/$part",
    "directory": "cp -r precious $run/$part",
    "link to itself": "ln -s $part $run/$part",
    "file": "echo > $run/$part",
}
NAMES = ["command.1.log", "main.log", "prints.1.log", "returns.1.json"]


def assert_kept(folder):
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert {path.read_text() for path in folder.iterdir()} == {KEPT}


@pytest.mark.parametrize(
    ("method", "how"),
    [*((method, "link") for method in START_METHODS), *(("fork", how) for how in [*SWAPS][1:])],
)
def test_nothing_is_written_where_a_link_or_another_directory_leads(tmp_path, method, how):
    """C51: the directory of the logs is held open, that of the results compared with the one that is."""
    precious = tmp_path / "precious"
    precious.mkdir()
    for name in NAMES:
        (precious / name).write_text(KEPT)
    replace = f"mv $run/$part $run/old-$part; {SWAPS[how]}"
    swap = f"run=$(echo .mprun/runs/*)\nfor part in logs results; do {replace}; done\n"
    write(tmp_path, work=WORK, job=JOB % method)
    (tmp_path / "swap.sh").write_text(swap)
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    folder = Path(run.directory.path)
    assert_kept(precious)
    if how == "directory":
        assert_kept(folder / "logs")
        assert_kept(folder / "results")
    # What was written is where the directory is now.
    logs = folder / "old-logs"
    assert (logs / "prints.1.log").read_text() == "heard\n"
    assert (logs / "command.1.log").read_text() == "a\nb\n"
    if method == "fork":
        # The others may need all of their time to start.
        assert "timed out after 2s" in (logs / "hangs.1.log").read_text()
    assert "the result cannot be recorded" in (logs / "returns.1.log").read_text()
    assert {task for task in TASKS if run.outcome(task) != "succeeded"} == FAILED


LOSES_THE_RUN = {
    "moved away": ("mv $run elsewhere", "removed or moved away"),
    "moved beside": ("mv $run $run.old", "removed or moved away"),
    "replaced by an empty one": ("mv $run elsewhere; mkdir $run", "replaced"),
    "replaced by a copy": ("cp -r $run copy; mv $run elsewhere; mv copy $run", "replaced"),
    "replaced by a link": ("mv $run elsewhere; ln -s $PWD/elsewhere $run", "replaced"),
    "all runs moved": ("mv .mprun/runs .mprun/old", "removed or moved away"),
    "all runs linked": ("mv .mprun/runs .mprun/old; ln -s old .mprun/runs", "replaced"),
}


@pytest.mark.parametrize("how", LOSES_THE_RUN)
@pytest.mark.parametrize("last", ["last", "not last"])
def test_a_run_whose_directory_no_reader_finds_does_not_succeed(tmp_path, how, last):
    """C60: the record is in its directory, but that is somewhere else."""
    command, told = LOSES_THE_RUN[how]
    # Nothing is written between this and the end of the task.
    begun = "until grep -q task_started $run/events.jsonl; do sleep 0.01; done"
    script = json.dumps(f"run=$(echo .mprun/runs/*); {begun}; {command}")
    tasks = f"  - {{name: loses, command: {script}}}\n"
    if last == "not last":
        tasks += "  - {name: next, target: 'os:getpid', depends_on: loses}\n"
    write(tmp_path, job="tasks:\n" + tasks)
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 3
    assert f"error: the directory of this run was {told}: " in run.stderr
    assert "Traceback" not in run.stderr
    assert "succeeded in" not in run.stderr


@needs_other_user
@pytest.mark.parametrize("method", START_METHODS)
def test_a_task_whose_log_cannot_be_created_fails_with_the_reason(tmp_path, method):
    """C60: no traceback of mprun says so."""
    tasks = (
        "[{name: a, command: 'chmod 555 .mprun/runs/*/logs'}, {name: b, target: 'os:getpid', depends_on: a}]"
    )
    write(tmp_path, job=f"start_method: {method}\ntasks: {tasks}\n")
    tmp_path.chmod(0o777)
    process = start_as_nobody("job.yaml", cwd=tmp_path)
    stdout, stderr = (text.decode() for text in process.communicate(timeout=60))
    next((tmp_path / ".mprun" / "runs").glob("*/logs")).chmod(0o700)
    assert process.returncode == 1
    assert "b failed: exit 1" in stderr
    assert "main | mprun: b: its log cannot be created: Permission denied" in stdout
    assert "Traceback" not in stdout + stderr
