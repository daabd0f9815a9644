"""What must never be skipped, although it looks unchanged; each test is one way in which it did."""

import json
import os
import subprocess
import sys

import pytest
from support.compared import ran, replace, run, settle, why
from support.runs import environment, eventually, finish, mprun, start, write

from mprun.linux import procfs


@pytest.mark.parametrize("name", ["MPRUN_PARAM_Y", "MPRUN_TASK_DIR"])
def test_a_variable_that_the_job_file_sets_counts_whatever_its_name(tmp_path, name):
    write(tmp_path, job=f"tasks:\n  - {{name: t, command: 'true', inputs: [], env: {{{name}: one}}}}\n")
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    replace(tmp_path / "job.yaml", "one", "two")
    assert ran(run(tmp_path))
    assert f"environment variable `{name}` has changed" in why(tmp_path)


def test_a_param_that_reaches_the_task_as_a_variable_counts(tmp_path):
    write(
        tmp_path,
        job="""
        params: {x: a}
        tasks:
          - {name: t, command: 'echo $MPRUN_PARAM_X', inputs: [], when: '${params.x}'}
        """,
    )
    assert [ran(run(tmp_path, env={"MPRUN_PARAM_X": x})) for x in "aab"] == [True, False, True]


GENERATED = """
    tasks:
      - {name: early, target: 'work:run', inputs: []}
      - {name: make, command: [cp, made.src, MADE], inputs: [made.src], depends_on: early}
      - {name: late, target: 'work:run', inputs: [], depends_on: make}
    """


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_code_that_an_earlier_task_of_the_run_has_changed_is_read_again(tmp_path, method):
    job = f"    start_method: {method}\n" + GENERATED.replace("MADE", "made.py")
    write(tmp_path, job=job, work="def run():\n    import made\n    return made.x\n")
    for name in ("made.src", "made.py"):
        (tmp_path / name).write_text("x = 1\n")
    settle(tmp_path)
    run(tmp_path)
    settle(tmp_path)
    run(tmp_path)
    assert not ran(run(tmp_path), "late")
    (tmp_path / "made.src").write_text("x = 22\n")
    changed = run(tmp_path)
    assert not ran(changed, "early")
    assert changed.result("late") == 22


def test_a_distribution_that_an_earlier_task_has_upgraded_is_seen(tmp_path):
    info = tmp_path / "lib" / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    job = "    pythonpath: [lib]\n" + GENERATED.replace("MADE", "lib/acme-1.0.dist-info/METADATA")
    write(tmp_path, job=job, work="def run():\n    import acme\n", acme="")
    (info / "top_level.txt").write_text("acme\n")
    for file in (tmp_path / "made.src", info / "METADATA"):
        file.write_text("Name: acme\nVersion: 1.0\n")
    settle(tmp_path)
    run(tmp_path)
    assert ran(run(tmp_path), "late")
    assert not ran(run(tmp_path), "late")
    (tmp_path / "made.src").write_text("Name: acme\nVersion: 2.0\n")
    assert ran(run(tmp_path), "late")
    assert "distribution `acme` has changed since the imports of this run began" in why(tmp_path, "late")
    # What has run had imported the former version.
    assert ran(run(tmp_path), "late")
    assert not ran(run(tmp_path), "late")


def test_an_exit_that_is_expected_is_held_until_its_files_are_hashed(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: t, command: 'cp in out; exit 3', inputs: [in], outputs: [out], expect: {exit_code: 3}}
          - {name: edit, command: 'echo x >> in2; exit 3', inputs: [in2], expect: {exit_code: 3}}
        """,
    )
    (tmp_path / "in").write_text("1")
    (tmp_path / "in2").write_text("1")
    first = run(tmp_path)
    assert first.code == 0
    assert "task `edit` with in the next run: one of its `inputs` changed" in " ".join(first.stderr.split())
    (tmp_path / "in2").write_text("1")
    second = run(tmp_path)
    assert [ran(second, task) for task in ("t", "edit")] == [False, True]
    (tmp_path / "out").unlink()
    assert ran(run(tmp_path))


def test_an_error_that_is_expected_is_held_as_well(tmp_path):
    write(
        tmp_path,
        work="def run():\n    open('in', 'a').write('.')\n    raise ValueError\n",
        job="tasks:\n  - {name: t, target: 'work:run', inputs: [in], expect: {raises: ValueError}}\n",
    )
    (tmp_path / "in").write_text("1")
    settle(tmp_path)
    assert "one of its `inputs` changed while the task ran" in run(tmp_path).stderr
    (tmp_path / "in").write_text("1")
    assert ran(run(tmp_path))


def test_an_input_that_is_edited_and_put_back_while_the_task_runs(tmp_path):
    command = "cp in old; echo edited > in; cp in out; cat old > in"
    write(tmp_path, job=f"tasks:\n  - {{name: t, command: '{command}', inputs: [in], outputs: [out]}}\n")
    (tmp_path / "in").write_text("1")
    assert "one of its `inputs` changed while the task ran" in run(tmp_path).stderr
    assert (tmp_path / "in").read_text() == "1"
    assert ran(run(tmp_path))


def test_code_that_imports_what_its_text_does_not_say(tmp_path):
    write(
        tmp_path,
        work="import importlib\n\ndef run(name='helper'):\n    return importlib.import_module(name).x\n",
        helper="x = 1\n",
        job="tasks:\n  - {name: t, target: 'work:run', inputs: []}\n",
    )
    settle(tmp_path)
    for _ in range(2):
        result = run(tmp_path)
        assert ran(result)
        said = " ".join(result.stderr.split())
        words = "what module `work` imports cannot be known: line 4 (`importlib.import_module`)"
        assert f"task `t` is not skipped when it is unchanged: {words}" in said
    assert "imports cannot be known" in why(tmp_path)


def test_a_new_file_of_tests_that_unittest_finds(tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "__init__.py").write_text("")
    suite = 'unittest.defaultTestLoader.discover("tests", top_level_dir=".")'
    write(
        tmp_path,
        work=f"import unittest\n\ndef run():\n    return {suite}.countTestCases()\n",
        job="tasks:\n  - {name: t, target: 'work:run', inputs: []}\n",
    )
    for count, name in enumerate(("test_a", "test_b"), start=1):
        text = "import unittest\n\nclass A(unittest.TestCase):\n    def test(self):\n        pass\n"
        (tests / f"{name}.py").write_text(text)
        settle(tmp_path)
        found = run(tmp_path)
        assert found.result("t") == count
        words = "what module `work` imports cannot be known: line 4 (`discover`)"
        assert words in " ".join(found.stderr.split())


def test_a_module_for_another_version_of_python_runs_the_task_once_it_is_there(tmp_path):
    lines = ["try:", "    import tomllib", "except ImportError:", "    import later", "import sys"]
    lines += ["if sys.platform == 'other':", "    import later", "", "def run():", "    pass", ""]
    job = "tasks:\n  - {name: t, target: 'work:run', inputs: []}\n"
    write(tmp_path, work="\n".join(lines), job=job)
    settle(tmp_path)
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    (tmp_path / "later.py").write_text("")
    settle(tmp_path)
    assert ran(run(tmp_path))
    assert "module `later` is new" in why(tmp_path)


def test_a_script_that_may_no_longer_be_executed(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    write(tmp_path, job="tasks:\n  - {name: t, command: [./script], inputs: [script]}\n")
    assert [ran(run(tmp_path)) for _ in range(2)] == [True, False]
    script.chmod(0o644)
    assert ran(run(tmp_path))
    assert "input `script` has changed" in why(tmp_path)


BESIDE = "from pathlib import Path\n\ndef run():\n    return (Path(__file__).parent / 'data').read_text()\n"


@pytest.fixture
def versions(tmp_path):
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_text(name)
        (tmp_path / name / "helper.py").write_text(BESIDE)
        task = "{name: t, target: 'helper:run', inputs: []}"
        (tmp_path / name / "recipe.yaml").write_text(f"tasks:\n  - {task}\n")
    return tmp_path


OF_A_PATH = "pythonpath: [v1]\ntasks:\n  - {name: t, target: 'helper:run', inputs: []}\n"
MOVES = {"path": (OF_A_PATH, "t"), "recipe": ("tasks:\n  - {name: use, uses: v1/recipe.yaml}\n", "use/t")}


@pytest.mark.parametrize(("job", "task"), MOVES.values(), ids=MOVES)
def test_the_same_code_in_another_directory_reads_other_data(versions, job, task):
    write(versions, job=job)
    settle(versions)
    assert [ran(run(versions), task) for _ in range(2)] == [True, False]
    replace(versions / "job.yaml", "v1", "v2")
    tasks = json.loads(mprun("plan", "job.yaml", "--json", cwd=versions).stdout)["tasks"]
    assert [one["unchanged"]["skipped"] for one in tasks if one["name"] == task] == [False]
    moved = run(versions)
    assert moved.result(task) == "v2"
    assert "module `helper` is imported from another file" in why(versions, task)
    assert not ran(run(versions), task)


def test_a_module_that_becomes_a_package_reads_other_data(versions):
    write(versions, job=OF_A_PATH)
    settle(versions)
    assert [ran(run(versions)) for _ in range(2)] == [True, False]
    (versions / "v1/helper").mkdir()
    (versions / "v1/helper.py").rename(versions / "v1/helper/__init__.py")
    (versions / "v1/helper/data").write_text("of the package")
    settle(versions)
    assert run(versions).result("t") == "of the package"


def test_a_folder_in_a_package_that_has_the_name_of_an_attribute(tmp_path):
    (tmp_path / "pkg" / "tests").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text("from .m import run as tests\n")
    (tmp_path / "pkg" / "m.py").write_text("def run():\n    from pkg import tests\n")
    write(
        tmp_path,
        job="""
        tasks:
          - {name: t, target: 'pkg.m:run', inputs: []}
          - {name: other, command: 'true', inputs: []}
        """,
    )
    settle(tmp_path)
    first, second = run(tmp_path), run(tmp_path)
    assert "warning" not in first.stderr
    assert [ran(second, task) for task in ("t", "other")] == [False, False]


def test_one_request_that_cannot_be_made_is_not_the_end_of_the_others(tmp_path):
    deep = "def make():\n    x = 1\n    for _ in range(400):\n        x = [x]\n    return x\n"
    write(
        tmp_path,
        work=f"{deep}\ndef see(x):\n    return 5\n",
        job="""
        tasks:
          - {name: make, target: 'work:make'}
          - {name: t, target: 'work:see', args: ['${tasks.make.result}'], inputs: []}
          - {name: other, command: 'true', inputs: [], depends_on: t}
        """,
    )
    settle(tmp_path)
    results = [run(tmp_path) for _ in range(2)]
    assert [one.code for one in results] == [0, 0]
    assert [ran(one, "other") for one in results] == [True, False]


def test_plan_compares_the_distributions_that_the_job_finds(tmp_path):
    info = tmp_path / "lib" / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: acme\n")
    (info / "top_level.txt").write_text("acme\n")
    (tmp_path / "lib" / "acme.py").write_text("")
    write(
        tmp_path,
        work="import acme\n\ndef run():\n    return 1\n",
        job="pythonpath: [lib]\ntasks:\n  - {name: t, target: 'work:run', inputs: []}\n",
    )
    settle(tmp_path)
    run(tmp_path)

    def expected():
        (task,) = json.loads(mprun("plan", "job.yaml", "--json", cwd=tmp_path).stdout)["tasks"]
        return task["unchanged"]

    assert expected()["skipped"]
    (info / "METADATA").write_text("Name: acme\nVersion: 3\n")
    assert "distribution `acme` has changed from without a version to 3" in expected()["why"]


def test_a_task_with_artifacts_is_never_skipped(tmp_path):
    write(tmp_path, job="tasks:\n  - {name: t, command: 'true', inputs: [], artifacts: true}\n")
    for _ in range(2):
        result = run(tmp_path)
        assert ran(result)
        assert "`artifacts` cannot be compared" in result.stderr
    assert "`artifacts` cannot be compared" in why(tmp_path)


RETRIED = "{name: t, command: 'test -e x || { touch x; exit 1; }', retry: {retries: 1}, inputs: []}"


def test_a_flaky_task_runs_again_where_that_fails_the_run(tmp_path):
    write(tmp_path, job=f"tasks:\n  - {RETRIED}\n")
    first = run(tmp_path)
    assert first.code == 0
    assert not ran(run(tmp_path))
    planned = " ".join(mprun("plan", "job.yaml", "--flaky", "fail", cwd=tmp_path).stdout.split())
    because = f"it was flaky in run {first.directory.run_id}, and `flaky: fail` is in effect"
    assert because in planned
    strict = run(tmp_path, "--flaky", "fail")
    assert (strict.code, ran(strict), why(tmp_path)) == (0, True, f"`t` ran: {because}")
    assert not ran(run(tmp_path, "--flaky", "fail"))


def test_a_resumed_run_runs_again_what_was_flaky(tmp_path):
    write(tmp_path, job=f"flaky: fail\ntasks:\n  - {RETRIED}\n")
    assert run(tmp_path).code == 1
    resumed = mprun("resume", cwd=tmp_path)
    assert (resumed.code, ran(resumed)) == (0, True)


def test_why_says_what_kept_a_task_from_being_compared(tmp_path):
    job = "tasks:\n  - {name: t, command: 'true', inputs: []}\n"
    write(tmp_path, job=job)
    run(tmp_path, "--repeat", "2")
    assert "a run with `--repeat` skips nothing" in why(tmp_path, "t@1")
    command = [sys.executable, "-m", "mprun", "-"]
    subprocess.run(command, cwd=tmp_path, env=environment(), input=job, text=True, capture_output=True)
    assert "a job from standard input has no file" in why(tmp_path)


def test_a_task_that_could_not_be_compared_leaves_nothing_that_an_earlier_run_has_left(tmp_path):
    write(tmp_path, job="tasks:\n  - {name: t, command: 'test ! -s in', inputs: [in]}\n")
    (tmp_path / "in").write_text("")
    assert run(tmp_path).code == 0
    with open(tmp_path / "in", "wb") as file:
        file.truncate(60 << 30)
    process = start("job.yaml", cwd=tmp_path)
    os.kill(eventually(lambda: hasher(process.pid), 30), 9)
    assert finish(process, tmp_path / ".mprun", 40).code == 1
    assert "it could not be compared: the process that compares has ended" in why(tmp_path)
    (tmp_path / "in").write_text("")
    assert ran(run(tmp_path))


def hasher(engine):
    """The pid of the process that hashes files for this run, None if it is not there."""
    for pid in procfs.children(engine):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"unchanged_process" in file.read():
                return pid
    return None


NAMED = {
    "description": "description: '${params.x}'",
    "when": "when: '${params.x}'",
    "escaped": "env: {Y: '$${params.x}'}, description: '${params.x}'",
}


@pytest.mark.parametrize("keys", NAMED.values(), ids=NAMED)
def test_a_variable_of_a_param_that_is_in_nothing_else_counts_as_it_is_given(tmp_path, keys):
    task = f"  - {{name: t, command: 'echo $MPRUN_PARAM_X', inputs: [], {keys}}}"
    write(tmp_path, job="\n".join(["params: {x: a}", "tasks:", task, ""]))
    texts = ["true", "true", "yes", "yes"]
    assert [ran(run(tmp_path, env={"MPRUN_PARAM_X": x})) for x in texts] == [True, False, True, False]
    assert ran(run(tmp_path))


def test_a_variable_of_a_param_in_a_default_that_has_no_effect_counts(tmp_path):
    task = "  - {name: t, command: 'echo $MPRUN_PARAM_X', inputs: [], env: {Y: fixed}}"
    write(
        tmp_path, job="\n".join(["params: {x: a}", "defaults: {env: {Y: '${params.x}'}}", "tasks:", task, ""])
    )
    assert [ran(run(tmp_path, env={"MPRUN_PARAM_X": x})) for x in "bbc"] == [True, False, True]


def test_a_variable_that_a_recipe_is_given_is_never_kept_as_text(tmp_path):
    task = "  - {name: t, command: 'echo ${params.token}', inputs: []}"
    (tmp_path / "recipe.yaml").write_text("\n".join(["params: {token: {type: string}}", "tasks:", task, ""]))
    use = "  - {name: use, uses: recipe.yaml, with: {token: '${env.ACME_TOKEN}'}}"
    write(tmp_path, job="\n".join(["tasks:", use, ""]))
    for text in ("hunter22", "hunter23"):
        assert run(tmp_path, env={"ACME_TOKEN": text}).code == 0
    assert "its command has changed since run" in why(tmp_path, "use/t")
    kept = b"".join(path.read_bytes() for path in (tmp_path / ".mprun/unchanged").iterdir())
    assert b"hunter2" not in kept
