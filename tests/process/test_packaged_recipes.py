"""Recipes in installed packages: found without an import, and used as if they were local."""

import shutil

import pytest
from support.runs import mprun, write
from support.wheels import ACME, install, wheel

JOB = """
    tasks:
      - name: day
        uses: acme_jobs:etl.yaml
        with: {day: "2026-01-01"}
    """


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A directory with an installed package, beside which mprun runs."""
    folder = tmp_path_factory.mktemp("site")
    install(wheel(folder, ACME), folder / "lib")
    return folder / "lib"


@pytest.fixture
def run(site, tmp_path):
    """Runs a command with this package on the import path."""

    def command(*arguments, cwd=tmp_path, path=site, **variables):
        return mprun(*arguments, cwd=cwd, env={"PYTHONPATH": str(path), **variables})

    return command


def test_a_recipe_of_a_package_runs_as_if_it_were_local(run, tmp_path):
    write(tmp_path, job=JOB)
    done = run("job.yaml")
    assert done.code == 0, done.stderr
    assert done.result("day/load/write") == "wrote 10 from store"


@pytest.mark.once
@pytest.mark.parametrize("command", ["validate", "plan"])
def test_nothing_of_the_package_is_imported_to_read_its_recipe(command, run, tmp_path):
    write(tmp_path, job=JOB)
    done = run(command, "job.yaml")
    assert done.code == 0, done.stderr
    assert "was imported" not in done.stdout + done.stderr


@pytest.mark.once
def test_a_file_of_a_package_is_a_job(run, site):
    done = run("acme_jobs:etl.yaml", "-p", "day=today")
    assert (done.code, done.result("load/write")) == (0, "wrote 5 from store"), done.stderr
    assert done.one("run_started")["file"] == str(site / "acme_jobs" / "etl.yaml")
    assert done.one("run_started")["job"] == "etl"


FAILS = """
    tasks:
      - name: day
        uses: acme_jobs:etl.yaml
        with: {day: "2026-01-01"}
      - {name: last, command: test -e ok, depends_on: day}
    """


@pytest.mark.once
def test_the_record_names_files_by_their_package(run, site, tmp_path):
    write(tmp_path, job=JOB)
    files = run("job.yaml").one("run_started")["files"]
    assert {file["path"]: file.get("package") for file in files} == {
        str(tmp_path / "job.yaml"): None,
        str(site / "acme_jobs" / "etl.yaml"): "acme_jobs:etl.yaml",
        str(site / "acme_jobs" / "etl.env"): "acme_jobs:etl.env",
        str(site / "acme_jobs" / "parts" / "load.yaml"): "acme_jobs:parts/load.yaml",
    }


@pytest.fixture
def moved(site, tmp_path):
    """The same package in another directory, as in an environment that was made anew."""
    shutil.copytree(site, tmp_path / "other" / "lib")
    return tmp_path / "other" / "lib"


@pytest.fixture
def gone(site, tmp_path):
    """A copy of the package for a first run, which is removed after it."""
    return shutil.copytree(site, tmp_path / "first" / "lib")


@pytest.mark.once
@pytest.mark.parametrize("is_packed", [False, True], ids=["record", "pack"])
def test_a_run_is_resumed_where_the_package_is_by_now(is_packed, run, gone, moved, tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        write(tmp_path / place, job=FAILS)
    first = run("job.yaml", cwd=tmp_path / "here", path=gone)
    assert first.code == 1
    where, words = tmp_path / "here", ("resume",)
    if is_packed:
        assert run("pack", "-o", tmp_path / "there" / "run.zip", cwd=where, path=gone).code == 0
        where, words = tmp_path / "there", ("resume", "run.zip")
    shutil.rmtree(gone)
    if is_packed:
        shutil.rmtree(tmp_path / "here")
    (where / "ok").touch()
    done = run(*words, cwd=where, path=moved)
    assert done.code == 0, done.stderr
    assert done.one("task_finished", "day/extract")["reused"]
    files = done.one("run_started")["files"]
    assert str(moved / "acme_jobs" / "etl.yaml") in [file["path"] for file in files]


@pytest.mark.once
def test_a_changed_package_is_named_when_a_run_is_resumed(run, gone, moved, tmp_path):
    write(tmp_path, job=FAILS)
    assert run("job.yaml", path=gone).code == 1
    shutil.rmtree(gone)
    etl = moved / "acme_jobs" / "etl.yaml"
    etl.write_text(etl.read_text() + "# other\n")
    done = run("resume", path=moved)
    assert done.code == 2
    assert "acme_jobs/etl.yaml` changed since that run" in done.stderr


@pytest.mark.once
def test_a_packed_run_of_a_job_in_a_package_is_resumed_elsewhere(run, gone, moved, tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    (gone / "acme_jobs" / "stop.yaml").write_text("tasks: [{name: a, command: test -e ok}]\n")
    shutil.copy(gone / "acme_jobs" / "stop.yaml", moved / "acme_jobs")
    assert run("acme_jobs:stop.yaml", cwd=tmp_path / "here", path=gone).code == 1
    pack = tmp_path / "there" / "run.zip"
    assert run("pack", "-o", pack, cwd=tmp_path / "here", path=gone).code == 0
    shutil.rmtree(gone)
    (tmp_path / "there" / "ok").touch()
    done = run("resume", "run.zip", cwd=tmp_path / "there", path=moved)
    assert done.code == 0, done.stderr


@pytest.mark.once
def test_a_record_names_no_other_file_by_a_package(run, gone, tmp_path):
    """Only a file that is found in the package is one of it."""
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    (gone / "acme_jobs" / "stop.yaml").write_text("tasks: [{name: a, command: test -e ok}]\n")
    assert run("acme_jobs:stop.yaml", cwd=tmp_path / "here", path=gone).code == 1
    pack = tmp_path / "there" / "run.zip"
    assert run("pack", "-o", pack, cwd=tmp_path / "here", path=gone).code == 0
    done = run("resume", "run.zip", cwd=tmp_path / "there")
    assert done.code == 2
    assert "the job file of run" in done.stderr


def test_files_of_installed_packages_are_allowed_where_others_are_not(run, site, tmp_path):
    tree = tmp_path / "tree"
    (tree / ".git").mkdir(parents=True)
    write(tree, job=JOB, job_out=f"tasks: [{{name: a, uses: {site}/acme_jobs/other.yaml}}]")
    (tmp_path / "out" / "own").mkdir(parents=True)
    (tmp_path / "out" / "own" / "__init__.py").touch()
    (tmp_path / "out" / "own" / "a.yaml").write_text("tasks: [{command: ls}]\n")
    write(tree, job_own="pythonpath: ../out\ntasks: [{name: a, uses: 'own:a.yaml'}]")
    assert run("validate", "job.yaml", cwd=tree, CI="true").code == 0
    assert run("validate", "job_own.yaml", cwd=tree).code == 0
    for name in ("job_out.yaml", "job_own.yaml"):
        done = run("validate", name, cwd=tree, CI="true")
        assert (done.code, "is outside" in done.stderr) == (2, True), done.stderr


@pytest.mark.once
def test_an_error_in_the_name_of_a_recipe_is_shown_at_its_place(run, tmp_path):
    write(tmp_path, job=JOB.replace("acme_jobs:", "acme_job:"))
    done = run("validate", "job.yaml")
    assert done.code == 2
    assert done.stderr.splitlines() == [
        "error: package `acme_job` not found",
        " --> job.yaml:4:11",
        "  |",
        "4 |     uses: acme_job:etl.yaml",
        "  |           ^^^^^^^^^^^^^^^^^ did you mean `acme_jobs`?",
    ]
    done = run("validate", "acme_jobs:elt.yaml")
    assert done.stderr == "error: package `acme_jobs` has no file `elt.yaml`; did you mean `etl.yaml`?\n"


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("acme_jobs/etl.yaml", "did you mean `acme_jobs:etl.yaml`?"),
        ("acme_jobs/parts/load.yaml", "did you mean `acme_jobs.parts:load.yaml`?"),
        ("acme_jobs.etl.yaml", "did you mean `acme_jobs:etl.yaml`?"),
        ("acme_jobs", "for a file of the package write `acme_jobs:etl.yaml`"),
    ],
)
def test_a_path_or_a_package_in_place_of_a_file_of_it_is_put_right(run, tmp_path, name, remedy):
    for command in ("run", "describe"):
        done = run(command, name)
        assert (done.code, done.stderr) == (2, f"error: job file `{name}` not found; {remedy}\n")
    write(tmp_path, job=f"tasks: [{{name: a, uses: {name}}}]")
    done = run("validate", "job.yaml")
    assert done.code == 2
    assert done.stderr.endswith(f"^ {remedy}\n")
    assert "imported" not in done.stderr
