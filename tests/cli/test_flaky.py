"""A task that succeeds only after it was retried: it is called flaky everywhere, and may fail the run."""

import json
import re

import pytest
from junitparser import Failure, xunit2
from support.runs import mprun, write

from mprun import api

WORK = """
    import os

    def flake():
        if os.environ["MPRUN_ATTEMPT"] == "1":
            raise ConnectionError("no")

    def good():
        pass
    """
FLAKES = """
    flaky: POLICY
    tasks:
      - {name: flake, target: "work:flake", retry: 2}
      - {name: known, target: "work:flake", retry: 2, flaky: pass}
      - {name: part, uses: job-part.yaml, flaky: fail}
      - {name: good, target: "work:good", retry: 2}
      - name: beat
        target: "work:flake"
        daemon: true
        restart: on-failure
        retry: {retries: 2, delay: 10ms}
    join: [flake, known, part, good, beat]
    """
PART = """
    flaky: pass
    tasks: [{name: inner, target: "work:flake", retry: 1}]
    """


def flakes(directory, *options, policy="pass"):
    """Run the job; the flaky tasks by whether they fail the run."""
    write(directory, work=WORK, job=FLAKES.replace("POLICY", policy), **{"job-part": PART})
    run = mprun("job.yaml", *options, cwd=directory)
    return run, {
        event["task"]: event["reason"] == "flaky" for event in run.of("task_finished") if event["flaky"]
    }


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    directory = tmp_path_factory.mktemp("flakes")
    options = ("--junit", "junit.xml", "--report", "report.html")
    return directory, *flakes(directory, *options, policy="fail")


def test_a_flaky_task_is_told_of_and_passes(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: flake, target: 'work:flake', retry: 2}]")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert "FLAKY     flake  succeeded at attempt 2\n" in run.stderr
    assert re.search(r"^flake +succeeded \(flaky\) ", run.stderr, re.MULTILINE)
    assert re.search(r"^succeeded in .*: 1 succeeded \(flaky\)$", run.stderr, re.MULTILINE)
    assert run.one("run_finished")["flaky"] == 1
    assert mprun("job.yaml", "--flaky", "fail", cwd=tmp_path).code == 1


def test_flaky_fail_fails_the_run_by_the_job_and_by_the_task(failing):
    _, run, found = failing
    assert run.code == 1
    assert found == {"flake": True, "known": False, "part/inner": True}
    assert "flake succeeded (flaky, which fails the run)\n" in run.stderr
    assert re.search(
        r"^failed \(`flake` was flaky, and 1 more\) in .*: 5 succeeded \(3 flaky\)$", run.stderr, re.M
    )


def test_the_option_goes_before_the_keys(tmp_path):
    run, found = flakes(tmp_path, "--flaky", "pass", policy="fail")
    assert (run.code, set(found.values())) == (0, {False})
    run = mprun("job.yaml", cwd=tmp_path, env={"MPRUN_FLAKY": "fail"})
    assert run.code == 1
    assert run.one("task_finished", "known")["reason"] == "flaky"


def test_every_view_of_the_record_has_it(failing):
    directory, _, found = failing
    shown = mprun("show", cwd=directory)
    assert re.search(r"^known +succeeded \(flaky\) ", shown.stdout, re.MULTILINE)
    shown = json.loads(mprun("show", "--json", cwd=directory).stdout)
    assert {task["task"] for task in shown["tasks"] if task["flaky"]} == set(found)
    (listed,) = map(json.loads, mprun("runs", "--json", cwd=directory).stdout.splitlines())
    assert (listed["flaky"], listed["counts"]) == (3, {"succeeded": 5})
    assert "5 succeeded (3 flaky)" in mprun("runs", cwd=directory).stdout
    planned = json.loads(mprun("plan", "job.yaml", "--json", cwd=directory).stdout)
    assert planned["flaky"] == "fail"
    assert [task["flaky"] for task in planned["tasks"]] == [None, "pass", "fail", None, None]
    assert "(flaky, which fails the run)" in (directory / "report.html").read_text()
    cases = {
        case.name: case for suite in xunit2.JUnitXml.fromfile(str(directory / "junit.xml")) for case in suite
    }
    assert {name for name, case in cases.items() if case.is_flaky} == set(found)
    assert [(type(one), one.type) for one in cases["flake"].result] == [(Failure, "flaky")]
    assert cases["known"].is_passed


def test_resume_runs_again_what_failed_the_run_and_a_reused_success_is_not_flaky(failing):
    directory, _, _ = failing
    run = mprun("resume", cwd=directory)
    ended = {event["task"]: (event["reused"], event["flaky"]) for event in run.of("task_finished")}
    assert ended["flake"] == (False, True)
    assert ended["known"] == (True, False)
    assert run.code == 1


def test_the_result_of_a_task_says_that_it_was_flaky(tmp_path, monkeypatch):
    write(tmp_path, work=WORK, job="tasks: [{name: flake, target: 'work:flake', retry: 2}]")
    monkeypatch.chdir(tmp_path)
    assert api.run_job(api.load_job("job.yaml"))["flake"].flaky
