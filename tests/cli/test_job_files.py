"""The corpus of job files: what each must give, to the letter.

`tests/jobs/invalid/NAME.yaml` has NAME.txt beside it: what `mprun validate` says of it on
stderr or, where the name begins with `run_`, what `mprun run` says, as only an import can
find it. After a change of the words, look at what
    UPDATE_TEXTS=1 python -m pytest tests/cli/test_job_files.py && git diff tests/jobs
shows, as the user who made the mistake would.
"""

import os
import shutil
import time
from pathlib import Path

import pytest
from support.runs import ROOT, mprun
from support.timing import quick

import mprun as api
from mprun.diagnostic_text import render
from mprun.errors import JobFileError

JOBS = ROOT / "tests" / "jobs"
VALID = sorted((JOBS / "valid").glob("*.yaml"))
INVALID = sorted((JOBS / "invalid").glob("*.yaml"))
READ = [path for path in INVALID if not path.name.startswith("run_")]
RUN = [path for path in INVALID if path.name.startswith("run_")]
# Seconds; generous for slow machines. A hostile file is refused before that.
QUICKLY = 2.0


def by_name(path):
    return path.stem


def expected(path, message):
    """The expected text beside a file; with UPDATE_TEXTS it becomes `message`."""
    text = path.with_suffix(".txt")
    if os.environ.get("UPDATE_TEXTS"):
        text.write_text(message, encoding="utf-8")
    return text.read_text(encoding="utf-8")


def diagnostics_of(path):
    """The errors in a file as they are shown, for a path as a user types it."""
    os.chdir(path.parent)
    with pytest.raises(JobFileError) as caught:
        api.load_job(path.name)
    return caught.value.diagnostics


@pytest.fixture(autouse=True)
def _come_back(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def desk(tmp_path):
    """A directory with all example files and the modules that they name."""
    shutil.copytree(JOBS / "modules", tmp_path, dirs_exist_ok=True)
    # Not a file of the project, because no tool could read it.
    (tmp_path / "broken_syntax.py").write_text("def call(:\n")
    for path in (*RUN, *VALID):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_enough_example_files_exist():
    assert len(READ) >= 80
    assert len(RUN) >= 15
    assert len(VALID) >= 10
    texts = {path.stem for path in (JOBS / "invalid").glob("*.txt")}
    assert texts == {path.stem for path in INVALID}


@pytest.mark.parametrize("path", READ, ids=by_name)
def test_invalid_file_is_explained_to_the_letter(path):
    with quick(QUICKLY):
        diagnostics = diagnostics_of(path)
    message = render(diagnostics) + "\n"
    assert message == expected(path, message)
    assert diagnostics == sorted(diagnostics, key=lambda diagnostic: diagnostic.sort_key())
    assert len({(str(diagnostic), diagnostic.help) for diagnostic in diagnostics}) == len(diagnostics)


def test_command_reports_all_invalid_files_in_one_call():
    run = mprun("validate", *[path.name for path in READ], cwd=READ[0].parent)
    texts = [path.with_suffix(".txt").read_text(encoding="utf-8") for path in READ]
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr == "\n".join(texts)


@pytest.mark.parametrize("path", RUN, ids=by_name)
def test_import_errors_are_explained_to_the_letter(path, desk):
    assert api.load_job(str(path)).tasks
    with quick(QUICKLY, time.monotonic):
        run = mprun("run", path.name, cwd=desk)
    message = run.stderr.replace(str(desk), "DIR")
    assert message == expected(path, message)
    assert run.code == 2
    # The output of a module at its import may explain the error.
    assert all(line.startswith("main | ") for line in run.stdout.split("\n")[:-1])
    assert "Traceback" not in message
    assert str(ROOT / "mprun") not in run.stdout
    assert not (desk / "started.marker").exists()
    assert os.listdir(desk / ".mprun" / "runs") == []


@pytest.mark.parametrize("name", ["several_problems", "cycle_with_its_path", "nul", "empty"])
def test_run_of_an_invalid_file_starts_nothing_and_leaves_nothing(name, desk):
    path = JOBS / "invalid" / f"{name}.yaml"
    shutil.copy(path, desk)
    run = mprun(path.name, cwd=desk)
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr == path.with_suffix(".txt").read_text(encoding="utf-8")
    assert not (desk / "started.marker").exists()
    assert not (desk / ".mprun").exists()


def test_all_import_errors_are_reported_at_once(desk):
    """The targets of tasks, defaults and preload, sorted by their position."""
    (desk / "all.yaml").write_text(
        "preload: [nowhere]\n"
        "defaults: {args: [1, 2, 3]}\n"
        "tasks:\n"
        "  - target: targets:greet\n"
        "  - target: raises:call\n"
        "  - target: targets:mrak\n"
    )
    run = mprun("run", "all.yaml", cwd=desk)
    places = [line.split()[1] for line in run.stderr.splitlines() if line.startswith(" -->")]
    assert places == ["all.yaml:1:11", "all.yaml:2:25", "all.yaml:5:13", "all.yaml:6:21"]


@pytest.mark.parametrize("path", VALID, ids=by_name)
def test_valid_file_is_read_planned_and_run(path, desk, monkeypatch):
    monkeypatch.chdir(desk)
    job = api.load_job(path.name)
    assert [task.task.position for task in job.tasks] == list(range(1, len(job.tasks) + 1))
    assert api.plan_job(job).tasks
    result = api.run_job(job)
    assert (result.outcome, result.exit_code) == ("succeeded", 0)
    assert {task.name for task in result.tasks} == {task.name for task in job.tasks}


# -- files that are too large for the repository


def chain(count, first=""):
    lines = ["tasks:", f"  - {{name: t0, target: 'm:f'{first}}}"]
    lines += [f"  - {{name: t{n}, target: 'm:f', depends_on: t{n - 1}}}" for n in range(1, count)]
    return "\n".join(lines)


def task(more):
    return f"tasks:\n  - target: m:f\n    {more}\n"


LAUGHS = "\n".join(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))
MERGES = "\n".join(f"x-{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 15))
BOMBS = {
    "aliases": (f"x-0: &a0 [lol]\n{LAUGHS}\n{task('args: *a9')}", 7, "more than 1,000,000 nodes"),
    "aliases_of_text": (f"x-0: &a0 {'x' * 100_000}\nx-1: [{'*a0, ' * 100}]\n", 2, "more than 8 MiB"),
    "merge_keys": (f"x-0: &a0 {{k: v}}\n{MERGES}\n", 3, "merge keys (`<<`) are not supported"),
    "flow_depth": (task("args: " + "[" * 100_000), 3, "more than 64 deep"),
    "block_depth": (task("args:\n" + "\n".join(" " * (5 + n) + "-" for n in range(2_000))), 65, "64 deep"),
    "mapping_depth": (task("kwargs: " + "{a: " * 30_000), 3, "more than 64 deep"),
    "cycle": (chain(10_000, ", depends_on: t9999"), 2, "dependency cycle: `t0` -> `t9999` -> `t9998`"),
    "unknown_names": (
        task("depends_on: [" + ", ".join(f"unknown{n}" for n in range(100_000)) + "]"),
        3,
        "unknown task `unknown0`",
    ),
    "unknown_joins": (
        chain(5_000) + "\njoin:\n" + "".join(f"- t{n}x\n" for n in range(50_000)),
        5003,
        "`t0x`",
    ),
    "numbers_for_keys": (
        task("kwargs: {" + ", ".join(f"{n}: 0" for n in range(100_000)) + "}"),
        3,
        "must be a string",
    ),
    "references": (task("args: [" + "'${a}'," * 300_000 + "]"), 3, "unknown reference `${a}`"),
    "twins": ("tasks:\n" + "  - {name: a, target: 'm:f'}\n" * 20_000, 3, "duplicate task name `a`"),
    "unknown_keys": ("".join(f"key{n}: 1\n" for n in range(100_000)), 1, "unknown key `key0` in the job"),
    "one_long_line": ("a" * 8_000_000, 1, "must be a mapping with `tasks`"),
    "duplicate_keys": ("a: 1\n" * 500_000, 2, "duplicate key `a`"),
    "one_key_too_often": (
        task("kwargs: {" + ", ".join(["a: 1"] * 300_000) + "}"),
        3,
        "duplicate key `a`: first used on line 3",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_file_is_refused_quickly_with_its_line(name, tmp_path, monkeypatch):
    text, line, words = BOMBS[name]
    monkeypatch.chdir(tmp_path)
    Path("bomb.yaml").write_text(text)
    with quick(QUICKLY):
        with pytest.raises(JobFileError) as caught:
            api.load_job("bomb.yaml")
        message = render(caught.value.diagnostics)
    assert words in message
    assert f"bomb.yaml:{line}:" in message
    assert len(caught.value.diagnostics) <= 200
    assert len(message) < 200_000


def test_too_many_aliases_are_refused_before_any_task_is_checked(tmp_path, monkeypatch):
    path = tmp_path / "job.yaml"
    path.write_text("tasks:\n- &a {target: 'os:getpid'}\n" + "- *a\n" * 200_000 + "-\n")
    # To check each of them takes as long again as to read the file.
    checked = []
    monkeypatch.setattr(
        "mprun.jobfile.schema.job_schema.check", lambda document: checked.append(document) or []
    )
    with pytest.raises(JobFileError) as caught:
        api.load_job(path)
    (diagnostic,) = caught.value.diagnostics
    assert "too many tasks are aliases of others" in diagnostic.message
    assert checked == []


def test_a_chain_of_ten_thousand_is_read_and_planned_quickly(tmp_path):
    path = tmp_path / "chain.yaml"
    path.write_text(chain(10_000))
    with quick(2 * QUICKLY):
        plan = api.plan_job(api.load_job(path))
    assert len(plan.tasks) == 10_000
    assert plan.tasks[9_999].needs == ((9_998, "passed"),)


def test_command_refuses_yaml_bombs(tmp_path):
    for name, (text, _, _) in BOMBS.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    run = mprun("validate", "aliases.yaml", "merge_keys.yaml", "flow_depth.yaml", "/dev/zero", cwd=tmp_path)
    assert (run.code, run.stdout) == (2, "")
    assert "Traceback" not in run.stderr
    for words in ("1,000,000 nodes", "merge keys", "64 deep", "`/dev/zero` is a device, not a regular file"):
        assert words in run.stderr
