"""A dry run says which directories are not there, as a run would find out too late."""

from support.runs import mprun


def test_a_dry_run_refuses_a_task_whose_directory_is_missing(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "job.yaml").write_text(
        "defaults: {command: ['true']}\n"
        "tasks:\n"
        "- {name: a, cwd: here, capture: text}\n"
        "- {name: b, cwd: there}\n"
        "- {name: c, cwd: 'no-${matrix.x}', matrix: {x: [1]}}\n"
        "- {name: d, cwd: file}\n"
        "- {name: e, cwd: gone, when: false}\n"
        "- {name: f, cwd: made, depends_on: a}\n"
        "- {name: g, cwd: '${tasks.a.result}'}\n"
    )
    run = mprun("job.yaml", "--dry-run", cwd=tmp_path)
    assert (run.code, run.stdout) == (2, "")
    errors = [line for line in run.stderr.splitlines() if line.startswith(("error", "warning"))]
    may_come = f"`cwd` of task `f`: no directory `{tmp_path}/made`, unless another task makes it"
    assert errors == [
        f"warning: job.yaml:8:18: {may_come}",
        f"error: `cwd` of task `b`: no directory `{tmp_path}/there`",
        f"error: `cwd` of task `c[x=1]`: no directory `{tmp_path}/no-1`",
        f"error: `cwd` of task `d`: `{tmp_path}/file` is not a directory",
    ]


def test_a_dry_run_warns_of_a_pythonpath_that_is_missing_and_of_the_directory_of_the_job(tmp_path):
    (tmp_path / "job.yaml").write_text(
        "pythonpath: [src, .]\ncwd: work\ntasks: [{command: ['true']}, {command: ['true']}]\n"
    )
    run = mprun("job.yaml", "--dry-run", cwd=tmp_path)
    assert run.code == 2
    assert f"warning: `pythonpath`: no directory `{tmp_path}/src`" in run.stderr
    assert "job.yaml:2:6" in run.stderr
    (tmp_path / "work").mkdir()
    run = mprun("job.yaml", "--dry-run", cwd=tmp_path)
    assert (run.code, run.stderr.count("warning")) == (0, 1)
