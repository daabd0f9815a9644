"""Paths that begin with `~`, which only a shell expands, are refused in every key that names a file."""

import pytest

from mprun.errors import JobFileError
from mprun.jobfile.loader import load_job_file

KEYS = {
    "cwd": "cwd: PATH\ntasks: [{command: [true]}]\n",
    "pythonpath": "pythonpath: PATH\ntasks: [{command: [true]}]\n",
    "an item of pythonpath": "pythonpath: [lib, PATH]\ntasks: [{command: [true]}]\n",
    "env_file": "env_file: PATH\ntasks: [{command: [true]}]\n",
    "cwd of a task": "tasks: [{command: [true], cwd: PATH}]\n",
    "cwd of the defaults": "defaults: {cwd: PATH}\ntasks: [{command: [true]}]\n",
    "uses": "tasks: [{name: t, uses: PATH}]\n",
    "ready": "tasks: [{command: [true], daemon: true, ready: {file: PATH}}]\n",
}


@pytest.mark.parametrize("key", KEYS)
def test_a_path_below_the_home_directory_of_a_shell_is_refused_and_the_remedies_work(tmp_path, key):
    home = tmp_path / "home"
    (tmp_path / "~").mkdir()
    home.mkdir()
    for directory in (home, tmp_path / "~"):
        (directory / "x").write_text("tasks: [{command: [true]}]\n" if key == "uses" else "A=1\n")

    def load(path):
        job = tmp_path / "job.yaml"
        job.write_text(KEYS[key].replace("PATH", path))
        return load_job_file(str(job), {}, (), {"HOME": str(home)})

    with pytest.raises(JobFileError) as caught:
        load("~/x")
    (found,) = caught.value.diagnostics
    assert found.message == "`~/x` is not expanded to the home directory"
    assert found.help == "write `${env.HOME}/x`, or `./~/x` for a directory `~`"
    line = KEYS[key].replace("PATH", "~/x").splitlines()[found.span.line - 1]
    assert line[found.span.column - 1 :].startswith("~/x")
    load('"${env.HOME}/x"')
    load("./~/x")


@pytest.mark.parametrize("path", ["x~", "a/~/b", "~other"])
def test_a_tilde_elsewhere_is_a_character_like_any_other(tmp_path, path):
    (tmp_path / "job.yaml").write_text(f"cwd: {path}\ntasks: [{{command: [echo, ~/x]}}]\n")
    assert load_job_file(str(tmp_path / "job.yaml"), {}, (), {}).tasks
