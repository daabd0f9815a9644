"""What a module finds in the environment when it is imported."""

from __future__ import annotations

import pytest
from support.runs import START_METHODS, mprun, write

every_start_method = pytest.mark.parametrize("method", START_METHODS)

NAMES = ("OUTSIDE", "FILE", "BOTH", "JOB", "TASK", "SECRET", "ZONE", "MPRUN_RUN_ID")
WORK = f"""\
    import os, time

    NAMES = {NAMES}
    AT_IMPORT = [os.environ.get(name) for name in NAMES]
    ZONE = time.localtime(0).tm_gmtoff

    print("imported with", AT_IMPORT[:6])

    def look():
        return [AT_IMPORT, [os.environ.get(name) for name in NAMES], ZONE]
"""
JOB = """\
params:
  token: {type: string, secret: true, required: true}
env_file: variables.env
env: {BOTH: job, JOB: "${env.FILE} and job", SECRET: "${params.token}", TZ: UTC-5, MPRUN_RUN_ID: forged}
tasks:
  - {name: plain, target: 'work:look'}
  - {name: own, target: 'work:look', env: {TASK: task, BOTH: task}}
  - {name: asks, command: 'echo $BOTH $SECRET'}
"""
# By name, as in NAMES: what the module finds at its import.
FOUND = ["outside", "file", "job", "file and job", None, "geheim"]


def write_job(directory):
    write(directory, work=WORK)
    (directory / "job.yaml").write_text(JOB)
    (directory / "variables.env").write_text("FILE=file\nBOTH=file\n")


@every_start_method
def test_a_module_finds_the_variables_of_the_job_at_its_import(tmp_path, method):
    """C14"""
    write_job(tmp_path)
    variables = {"OUTSIDE": "outside", "MPRUN_PARAM_TOKEN": "geheim", "TZ": "UTC"}
    run = mprun("--start-method", method, "job.yaml", cwd=tmp_path, env=variables)
    assert run.code == 0, run.stderr
    at_import, now, offset = run.result("plain")
    assert at_import[:6] == now[:6] == FOUND
    assert at_import[7] == now[7] == run.directory.run_id
    assert offset == 5 * 3600
    at_import, now, _ = run.result("own")
    own = ["outside", "file", "task", "file and job", "task", "geheim"]
    # A spawned task imports the module itself, with its own variables.
    assert at_import[:6] == (own if method == "spawn" else FOUND)
    assert now[:6] == own
    assert run.printed("asks") == ["job geheim"]
    # The record has no values: what the tasks return and print is theirs.
    assert "geheim" not in str([{**event, "result": None} for event in run.events])


@every_start_method
@pytest.mark.parametrize("failing", [False, True])
def test_a_dry_run_and_a_resumed_run_import_with_the_variables_of_the_job(tmp_path, method, failing):
    """C14"""
    write(
        tmp_path,
        work="""\
            import os
            from pathlib import Path

            assert os.environ["DB_URL"] == "test", os.environ["DB_URL"]

            def fail_once():
                if not Path("once").exists():
                    Path("once").touch()
                    raise OSError
                return os.environ["DB_URL"]
        """,
        job="""\
            env: {DB_URL: test}
            preload: [work]
            tasks: [{name: it, target: 'work:fail_once'}]
        """,
    )
    variables = {"DB_URL": "production"}
    if not failing:
        dry = mprun("--start-method", method, "--dry-run", "job.yaml", cwd=tmp_path, env=variables)
        assert dry.code == 0, dry.stderr
        return
    assert mprun("--start-method", method, "job.yaml", cwd=tmp_path, env=variables).code == 1
    resumed = mprun("resume", cwd=tmp_path, env=variables)
    assert (resumed.code, resumed.result("it")) == (0, "test"), resumed.stderr


RECIPE_WARNING = (
    "warning: the `env` of {} sets {}; while its modules are imported, the `env` of the job applies, "
    "not that of the recipe: read the variables in the target, or use `start_method: spawn`\n"
)


@pytest.fixture
def recipes(tmp_path):
    """A job that uses a recipe, which uses another one; the inner one has a target."""
    write(
        tmp_path,
        work="""\
            import os

            A, B, C = (os.environ.get(name) for name in "ABC")

            def look():
                return [[A, B, C], [os.environ.get(name) for name in "ABC"]]
        """,
        job="""\
            params: {word: {type: string, secret: true, required: true}}
            env: {A: job, B: "${params.word}"}
            tasks: [{name: outer, uses: outer.yaml, with: {word: '${params.word}'}, env: {D: using}}]
        """,
    )
    (tmp_path / "outer.yaml").write_text(
        "params: {word: {type: string, secret: true}}\n"
        "env: {A: outer, B: '${params.word}', D: outer}\n"
        "tasks: [{name: inner, uses: inner.yaml}, {name: asks, command: 'echo $A'}]\n"
    )
    (tmp_path / "inner.yaml").write_text("env: {C: inner}\ntasks: [{name: looks, target: 'work:look'}]\n")
    return tmp_path


@every_start_method
def test_a_warning_names_the_variables_of_a_recipe_that_its_modules_do_not_see(recipes, method):
    """C14"""
    run = mprun("--start-method", method, "job.yaml", cwd=recipes, env={"MPRUN_PARAM_WORD": "geheim"})
    assert run.code == 0, run.stderr
    at_import, now = run.result("outer/inner/looks")
    assert now == ["outer", "geheim", "inner"]
    assert at_import == (now if method == "spawn" else ["job", "geheim", None])
    warning = RECIPE_WARNING.format("inner.yaml", "`A`, `C`")
    assert (warning in run.stderr) == (method != "spawn")
    assert run.stderr.count("warning") == (method != "spawn")
    assert "geheim" not in run.stderr


@pytest.mark.parametrize("selected", ["outer/asks", "outer/inner/looks"])
def test_a_recipe_of_which_no_target_is_imported_is_not_warned_of(recipes, selected):
    """C14"""
    run = mprun("--dry-run", "-k", selected, "job.yaml", cwd=recipes, env={"MPRUN_PARAM_WORD": "geheim"})
    assert run.code == 0, run.stderr
    assert ("warning" in run.stderr) == (selected == "outer/inner/looks")
