"""Where targets are imported from: `pythonpath`, beside job file and recipes, the working directory."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.runs import START_METHODS, environment, mprun, write

WHERE = "def where(): return {name!r}\n"


def module(folder, name, **files):
    """A module `tasks` in a folder, whose `where` says which one it is, and job files."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, tasks=WHERE.format(name=name))
    job_files(folder, **files)


def job_files(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def results(run):
    assert run.code == 0, run.stderr
    return {event["task"]: event["result"] for event in run.of("task_finished")}


@pytest.fixture
def here(tmp_path):
    """The working directory, with a module `tasks` of its own, beside the directory of a job."""
    module(tmp_path / "here", "working directory")
    return tmp_path / "here"


@pytest.mark.parametrize("method", START_METHODS)
def test_c37_module_beside_the_job_file_goes_before_the_working_directory(tmp_path, here, method):
    job = (
        f"start_method: {method}\ntasks: [{{name: t, target: 'tasks:where'}}, {{name: o, target: 'only:f'}}]"
    )
    module(tmp_path / "p4", "beside the job", job=job)
    write(here, only="def f(): return 'only here'\n")
    run = mprun("../p4/job.yaml", cwd=here)
    assert results(run) == {"t": "beside the job", "o": "only here"}
    assert "warning" not in run.stderr
    dry = mprun("../p4/job.yaml", "--dry-run", cwd=here)
    assert (dry.code, dry.stdout) == (0, "")


@pytest.mark.parametrize("method", START_METHODS)
def test_c37_pythonpath_goes_before_the_directory_of_the_job_file(tmp_path, here, method):
    job = f"pythonpath: lib\nstart_method: {method}\ntasks: [{{name: t, target: 'tasks:where'}}]"
    module(tmp_path / "p4", "beside the job", job=job)
    module(tmp_path / "p4" / "lib", "pythonpath")
    run = mprun("../p4/job.yaml", cwd=here)
    assert results(run) == {"t": "pythonpath"}
    assert "warning" not in run.stderr


def test_c37_resume_imports_from_the_same_places(tmp_path, here):
    job = "tasks: [{name: t, target: 'tasks:where'}, {name: u, command: [test, -e, there], depends_on: t}]"
    module(tmp_path / "p4", "beside the job", job=job)
    assert mprun("../p4/job.yaml", cwd=here).code == 1
    (here / "there").touch()
    again = mprun("resume", cwd=here)
    assert again.code == 0, again.stderr
    assert results(again)["t"] == "beside the job"


@pytest.mark.parametrize("method", START_METHODS)
def test_c37_modules_beside_a_recipe_are_found(tmp_path, here, method):
    """Three levels: a job, its recipe in another directory, and a recipe of that."""
    job = f"start_method: {method}\ntasks: [{{name: r, uses: parts/a.yaml}}]"
    write(tmp_path / "here", job=job)
    (here / "parts" / "deep").mkdir(parents=True)
    job_files(here / "parts", a="tasks: [{name: b, uses: deep/b.yaml}, {name: t, target: 'one:f'}]")
    write(here / "parts", one="def f(): return 'one'\n")
    job_files(here / "parts" / "deep", b="tasks: [{name: t, target: 'two:f'}]")
    write(here / "parts" / "deep", two="def f(): return 'two'\n")
    run = mprun("job.yaml", cwd=here)
    assert results(run) == {"r/b/t": "two", "r/t": "one"}
    assert "warning" not in run.stderr


def two_recipes(folder):
    write(folder, job="tasks: [{name: a, uses: a/r.yaml}, {name: b, uses: b/r.yaml}]")
    for name in "ab":
        module(folder / name, name, r="tasks: [{name: t, target: 'tasks:where'}]")


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--start-method", "spawn")], ids=str)
def test_c37_of_two_recipes_with_a_module_of_one_name_the_first_wins_and_it_is_said(tmp_path, arguments):
    two_recipes(tmp_path)
    run = mprun("job.yaml", *arguments, cwd=tmp_path)
    if "--dry-run" not in arguments:
        assert results(run) == {"a/t": "a", "b/t": "a"}
    warnings = [line for line in run.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        "warning: two modules are called `tasks`, and a job imports only one of them: task `b/t` gets "
        f"`{tmp_path}/a/tasks.py`, not `{tmp_path}/b/tasks.py`; rename one of them"
    ]


@pytest.mark.parametrize(
    ("job", "place", "warns"),
    [
        ("tasks: [{name: a, uses: a/r.yaml}]", ".", True),
        ("pythonpath: lib\ntasks: [{name: a, uses: a/r.yaml}]", "lib", True),
        ("tasks: [{name: a, uses: a/r.yaml}]", "lib", False),
        ("tasks: [{name: a, uses: a/r.yaml}, {name: n, uses: a/r.yaml}]", "lib", False),
    ],
    ids=["job file", "pythonpath", "elsewhere", "one recipe twice"],
)
def test_c37_recipe_is_warned_if_the_job_hides_its_module(tmp_path, job, place, warns):
    write(tmp_path, job=job)
    module(tmp_path / "a", "recipe", r="tasks: [{name: t, target: 'tasks:where'}]")
    module(tmp_path / place, "job")
    run = mprun("job.yaml", cwd=tmp_path)
    assert results(run)["a/t"] == ("job" if warns else "recipe")
    assert ("two modules are called `tasks`" in run.stderr) == warns


def test_c37_packages_and_the_working_directory_do_not_hide_a_module_of_a_recipe(tmp_path, here):
    two_recipes(tmp_path / "here")
    (here / "tasks.py").unlink()
    (tmp_path / "else").mkdir()
    module(tmp_path / "else", "working directory")
    (here / "b" / "tasks.py").unlink()
    (here / "b" / "tasks").mkdir()
    write(here / "b" / "tasks", __init__=WHERE.format(name="package"))
    run = mprun("../here/job.yaml", "-k", "b", cwd=tmp_path / "else")
    assert run.code == 0
    assert "two modules are called `tasks`" in run.stderr
    assert f"not `{here}/b/tasks/__init__.py`" in run.stderr


def test_c37_places_are_the_same_from_python(tmp_path, here):
    module(tmp_path / "p4", "beside the job", job="tasks: [{name: t, target: 'tasks:where'}]")
    program = (
        "import mprun, json; r = mprun.run_job(mprun.load_job('../p4/job.yaml')); print(r.tasks[0].result)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=here,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert (found.returncode, found.stdout) == (0, "beside the job\n"), found.stderr


def test_c37_a_missing_module_names_every_place(tmp_path, here):
    module(tmp_path / "p4", "", job="pythonpath: lib\ntasks: [{target: 'nowhere:f'}]")
    run = mprun("../p4/job.yaml", cwd=here)
    assert run.code == 2
    assert f"(searched {tmp_path}/p4/lib, {tmp_path}/p4, {here}; add" in run.stderr


# -- mprun init


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ([], "job.yaml"),
        (["first.yml"], "first.yml"),
        (["sub/job.yaml"], "sub/job.yaml"),
        (["new/deep/first.yaml"], "new/deep/first.yaml"),
        (["sub"], "sub/job.yaml"),
        (["sub/"], "sub/job.yaml"),
        (["new"], "new/job.yaml"),
        (["new dir"], "new dir/job.yaml"),
        (["."], "./job.yaml"),
    ],
    ids=str,
)
def test_c37_init_writes_both_files_beside_each_other(tmp_path, arguments, made):
    (tmp_path / "sub").mkdir()
    run = mprun("init", *arguments, cwd=tmp_path)
    assert (run.code, run.stderr) == (0, "")
    folder = (tmp_path / made).parent
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(
        [(tmp_path / made).name, "tasks.py"]
    )
    command = f"mprun '{made}'" if " " in made else f"mprun {made}"
    assert run.stdout.endswith(f"run it with: {command}\n")
    assert (tmp_path / made).read_text().startswith(f"# Run it with: {command}\n")
    assert mprun(made, cwd=tmp_path).code == 0


@pytest.mark.parametrize("taken", ["sub/job.yaml", "sub/tasks.py"])
def test_c37_init_overwrites_nothing(tmp_path, taken):
    (tmp_path / "sub").mkdir()
    (tmp_path / taken).write_text("mine")
    run = mprun("init", "sub", cwd=tmp_path)
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr == f"error: `{taken}` already exists; name another directory: `mprun init DIRECTORY`\n"
    assert [path.name for path in (tmp_path / "sub").iterdir()] == [taken.partition("/")[2]]
    assert (tmp_path / taken).read_text() == "mine"


def test_c37_init_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    run = mprun("init", "file/job.yaml", cwd=tmp_path)
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr.startswith("error: cannot write `file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
