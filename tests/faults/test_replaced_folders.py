"""A task that puts a link, or another directory, in the place of a directory of its run (C51, C60)."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import START_METHODS, mprun, write

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
