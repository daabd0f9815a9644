"""Recipes in installed packages: found without an import, and used as if they were local."""

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


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_nothing_of_the_package_is_imported_to_read_its_recipe(command, run, tmp_path):
    write(tmp_path, job=JOB)
    done = run(command, "job.yaml")
    assert done.code == 0, done.stderr
    assert "was imported" not in done.stdout + done.stderr


def test_a_file_of_a_package_is_a_job(run, site):
    done = run("acme_jobs:etl.yaml", "-p", "day=today")
    assert (done.code, done.result("load/write")) == (0, "wrote 5 from store"), done.stderr
    assert done.one("run_started")["file"] == str(site / "acme_jobs" / "etl.yaml")
    assert done.one("run_started")["job"] == "etl"
