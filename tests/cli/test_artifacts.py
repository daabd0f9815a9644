"""Artifacts: a task that asks for it has a directory in the record, and no reader follows what is in it."""

import json
import os
from pathlib import Path

from junitparser import xunit2
from support.runs import mprun, write

WORK = """
    import os
    import pathlib

    def keep():
        path = pathlib.Path(os.environ["MPRUN_TASK_DIR"])
        (path / "plot.svg").write_text(os.environ["MPRUN_ATTEMPT"])
        (path / "link").symlink_to(os.environ["OUTSIDE"])
        (path / "up\x1b[31m<b>").mkdir()
        raise ValueError("no")

    def look():
        assert "MPRUN_TASK_DIR" not in os.environ
        return os.environ["MPRUN_RUN_DIR"]

    def replace():
        folder = pathlib.Path(os.environ["MPRUN_TASK_DIR"])
        if os.environ["MPRUN_ATTEMPT"] == "1":
            folder.rmdir()
            folder.symlink_to(os.environ["OUTSIDE"])
            raise ValueError("again")
    """
JOB = """
    tasks:
      - {name: Keep it, target: "work:keep", artifacts: true}
      - {name: empty, command: test -d "$MPRUN_TASK_DIR", artifacts: true}
      - {name: spawned, command: touch "$MPRUN_TASK_DIR/x", artifacts: true}
      - {name: look, target: "work:look", start_method: spawn}
    """


def test_what_tasks_keep_is_named_and_removed_with_the_run(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    write(tmp_path, work=WORK, job=JOB)
    options = ("--junit", "junit.xml", "--report", "report.html")
    there = {"OUTSIDE": str(outside), "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "s.md")}
    run = mprun("job.yaml", *options, cwd=tmp_path, env=there)
    assert run.code == 1
    assert {task: run.outcome(task) for task in ("Keep it", "empty", "spawned", "look")} == {
        "Keep it": "failed",
        "empty": "succeeded",
        "spawned": "succeeded",
        "look": "succeeded",
    }
    record = Path(run.directory.path)
    assert run.result("look") == str(record.resolve())
    shown = json.loads(mprun("show", "--json", cwd=tmp_path).stdout)
    kept = {task["task"]: task["artifacts"] for task in shown["tasks"]}
    keep = kept["Keep it"]
    assert Path(keep, "plot.svg").read_text() == "1"
    assert kept == {
        "Keep it": keep,
        "empty": None,
        "spawned": str(record.resolve() / "artifacts" / "spawned"),
        "look": None,
    }
    text = mprun("show", cwd=tmp_path).stdout
    assert f"artifacts:\n  Keep it  {os.path.relpath(keep, tmp_path)}\n" in text
    assert "precious" not in text
    (suite,) = xunit2.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    found = {case.name: {one.name: one.value for one in case.properties()}.get("artifacts") for case in suite}
    assert found == kept
    summary = (tmp_path / "s.md").read_text()
    assert summary.count("\nArtifacts of <code>") == 2
    assert keep in (tmp_path / "report.html").read_text()
    assert mprun("runs", "--prune", "0s", cwd=tmp_path).code == 0
    assert not record.exists()
    assert (outside / "precious").read_text() == "x"


def test_a_link_in_the_place_of_the_directory_is_not_used(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    job = "tasks: [{name: r, target: 'work:replace', artifacts: true, retry: 1}]"
    write(tmp_path, work=WORK, job=job)
    run = mprun("job.yaml", cwd=tmp_path, env={"OUTSIDE": str(outside)})
    assert run.code == 1
    assert "no directory for its artifacts: `r` is a symbolic link" in run.one("task_finished", "r")["reason"]
    assert json.loads(mprun("show", "--json", cwd=tmp_path).stdout)["tasks"][0]["artifacts"] is None
