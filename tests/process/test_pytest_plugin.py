"""`pytest --mprun jobs/`: each job file is a test, whose report is that of mprun."""

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest
from junitparser import JUnitXml
from support.runs import alive, environment, events_so_far, eventually

pytest_plugins = ["pytester"]

GOOD = "tasks:\n  - name: greet\n    command: echo good\n    tags: [quick]\n"
BAD = """\
tasks:
  - name: sound
    command: echo a word
  - name: loud
    command: printf 'begin\\n\\033[2J::error::x\\n'; exit 3
"""
RECIPE = "params:\n  url: {type: string, required: true}\ntasks:\n  - command: echo ${params.url}\n"
# Not for mprun: a Taskfile, a playbook, values.
OTHERS = {
    "Taskfile.yml": "version: '3'\ntasks:\n  a: {cmds: [exit 1]}\n",
    "playbook.yaml": "- hosts: all\n  tasks:\n    - shell: exit 1\n",
    "values.yaml": "a: {tasks: [1]}\n",
}


@pytest.fixture
def jobs(pytester):
    """A directory with job files, and others."""
    directory = pytester.mkdir("jobs")
    for name, text in {"good.yaml": GOOD, "bad.yml": BAD, "recipe.yaml": RECIPE, **OTHERS}.items():
        (directory / name).write_text(text)
    return directory


def run_pytest(pytester, *arguments):
    return pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *arguments, timeout=50
    )


def test_each_job_file_is_a_test(pytester, jobs, monkeypatch):
    pytester.makepyfile("def test_python(): pass")
    # Each run would write it.
    monkeypatch.setenv("MPRUN_JUNIT", str(pytester.path / "mprun.xml"))
    done = run_pytest(pytester, "--mprun", "-rs", "--junitxml=junit.xml", "--mprun-state-dir=records")
    done.assert_outcomes(passed=2, failed=1, skipped=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            "bad: 2 tasks, *",
            "loud *| begin",
            "FAIL * loud *exit 3*",
            "TASK * OUTCOME *",
            "sound *succeeded *",
            "loud *failed: exit 3 *",
            "failed in *: 1 succeeded, 1 failed",
            "record: records/runs/*",
            "SKIPPED * jobs/recipe.yaml: missing param `url` *",
        ]
    )
    text = done.stdout.str()
    assert r"\x1b[2J::error::x" in text
    assert "Traceback" not in text
    assert "job_files.py" not in text
    assert "\x1b[2J" not in text
    # Of what succeeded nothing is shown.
    assert "a word" not in text
    assert not (pytester.path / "mprun.xml").exists()
    assert len(list((pytester.path / "records" / "runs").iterdir())) == 2
    (suite,) = JUnitXml.fromfile("junit.xml")
    cases = {case.name: case for case in suite}
    assert {name: case.is_passed for name, case in cases.items()} == {
        "test_python": True,
        "good": True,
        "bad": False,
        "recipe": False,
    }
    (failure,) = cases["bad"].result
    assert failure.message.startswith("failed in ")
    assert "loud" in failure.text
    assert cases["bad"].classname == "jobs.bad.yml"


def test_a_wrong_job_file_is_an_error(pytester, jobs):
    (jobs / "wrong.yaml").write_text("tasks:\n  - comand: echo hi\n")
    done = run_pytest(pytester, "--mprun", "jobs/good.yaml", "jobs/wrong.yaml", "jobs/values.yaml")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(
        [
            "error: unknown key `comand` in task `Process-1`",
            " --> jobs/wrong.yaml:2:5",
            "2 |   - comand: echo hi",
            "  |     ^^^^^^ did you mean `command`?",
        ]
    )
    # A file that the command line names is one, whatever is in it.
    done.stdout.fnmatch_lines([" --> jobs/values.yaml:1:1"])
    assert "Traceback" not in done.stdout.str()


def test_it_is_off_until_asked_for_and_imports_nothing(pytester, jobs):
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            assert {name for name in sys.modules if name.partition(".")[0] == "mprun"} == {
                "mprun", "mprun.pytest_plugin", "mprun.pytest_plugin.options"
            }
        """
    )
    done = run_pytest(pytester, ".")
    done.assert_outcomes(passed=1)


def test_names_tags_and_marks_select_jobs_also_with_workers(pytester, jobs):
    pytester.makepyfile("def test_python(): pass")
    done = run_pytest(pytester, "--mprun", "--collect-only", "-q", "-k", "quick or bad", "--strict-markers")
    assert [line for line in done.outlines if "::" in line] == ["jobs/bad.yml::bad", "jobs/good.yaml::good"]
    done = run_pytest(pytester, "--mprun", "-n1", "-m", "mprun")
    done.assert_outcomes(passed=1, failed=1, skipped=1)
    done.stdout.fnmatch_lines(["loud *| begin", "failed in *: 1 succeeded, 1 failed"])


def test_hostile_tasks_do_not_break_pytest(pytester):
    pytester.makepyfile(
        hostile="""
        import os, signal, sys

        def kill_mprun():
            with open(f"/proc/{os.getppid()}/stat") as stat:
                engine = int(stat.read().rpartition(")")[2].split()[1])
            os.kill(engine, signal.SIGKILL)

        def flood():
            for _ in range(20_000):
                sys.stdout.write("x" * 99 + "\\n")
            raise ValueError("after the flood")
        """
    )
    for name, target in (("flood", "flood"), ("killed", "kill_mprun")):
        pytester.path.joinpath(f"{name}.yaml").write_text(f"tasks: [target: 'hostile:{target}']\n")
    done = run_pytest(pytester, "--mprun", "-rf")
    done.assert_outcomes(failed=2)
    assert len(done.stdout.str()) < 400_000
    done.stdout.fnmatch_lines(
        [
            "* bytes before are not shown*",
            "*ValueError: after the flood*",
            "mprun was killed by SIGKILL",
            "FAILED flood.yaml::flood - failed in *",
            "FAILED killed.yaml::killed - mprun was killed by SIGKILL",
        ]
    )


def test_a_timeout_of_pytest_ends_the_run(pytester):
    (pytester.path / "slow.yaml").write_text("tasks: [command: echo $$ > pid; exec sleep 300]\n")
    done = run_pytest(pytester, "--mprun", "--timeout=1", "-rf", "slow.yaml")
    done.assert_outcomes(failed=1)
    assert "Traceback" not in done.stdout.str()
    assert "pytest_timeout.py" not in done.stdout.str()
    done.stdout.fnmatch_lines(["Timeout (>1.0s)*", "FAILED slow.yaml::slow - Timeout (>1.0s)*"])
    pid = pytester.path / "pid"
    assert not pid.exists() or not alive(int(pid.read_text()))


# It takes a moment to end, which it has if its run ends in order.
TIDY = """\
tasks:
  - command: trap 'sleep 0.5; touch tidy; exit' TERM; echo $$ > pid; while true; do sleep 0.1; done
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_run_ends_in_order_with_pytest(number, tmp_path):
    (tmp_path / "slow.yaml").write_text(TIDY)
    arguments = ("--mprun", "-p", "no:cacheprovider", "--mprun-state-dir=records", "slow.yaml")
    pid = tmp_path / "pid"
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    started = [psutil.Process(process.pid)]
    try:
        eventually(lambda: pid.exists() and pid.read_text().endswith("\n"), seconds=30)
        started += started[0].children(recursive=True)
        # As a terminal does at Ctrl-C.
        os.killpg(process.pid, number)
        stdout, _ = process.communicate(timeout=40)
        if number == signal.SIGINT:
            assert process.returncode == pytest.ExitCode.INTERRUPTED, stdout
            assert "KeyboardInterrupt" in stdout
            assert not alive(int(pid.read_text()))
        records = tmp_path / "records"
        eventually(lambda: events_so_far(records)[-1]["event"] == "run_finished")
        end = events_so_far(records)[-1]
        assert end["outcome"] == "interrupted"
        assert end["exit_code"] == 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
        assert (tmp_path / "tidy").exists()
        assert not alive(int(pid.read_text()))
    finally:
        for one in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
