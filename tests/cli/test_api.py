"""mprun from Python: the values that the command line uses, documented, and no output."""

import inspect
import os
import threading

import pytest
from support.runs import read_events, write

import mprun
from mprun.api import Context, RunResult, TaskResult
from mprun.errors import JobFileError, MprunError, UsageError
from mprun.jobfile.model import Job
from mprun.scheduling.plan import Plan

WORK = """
    print("imported")

    def add(a, b=1):
        print("adding")
        return a + b

    def fail():
        raise ValueError("no")
    """


@pytest.fixture
def desk(tmp_path, monkeypatch):
    write(
        tmp_path,
        work=WORK,
        job="""
        tasks:
          - {name: two, target: work:add, args: [1]}
          - {name: five, target: work:add, kwargs: {a: 2, b: 3}, depends_on: two}
        """,
        job_bad="""
        tasks:
          - {name: bad, target: work:fail}
          - {name: n, target: work:add, args: [1], depends_on: bad}
        """,
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_job_is_loaded_planned_and_run_without_output(desk, capfd):
    job = mprun.load_job("job.yaml")
    plan = mprun.plan_job(job, max_parallel=1)
    result = mprun.run_job(plan)
    assert capfd.readouterr() == ("", "")
    assert (type(job), type(plan), type(result)) == (Job, Plan, RunResult)
    assert (result.outcome, result.exit_code) == ("succeeded", 0)
    assert result.tasks == (
        TaskResult(name="two", outcome="succeeded", reason="", attempts=1, result=2, result_kind="json"),
        TaskResult(name="five", outcome="succeeded", reason="", attempts=1, result=5, result_kind="json"),
    )
    assert 0 < result.duration < 30
    events = read_events(f"{result.directory}/events.jsonl")
    assert events[-1]["exit_code"] == 0
    assert {event["run"] for event in events} == {result.run_id}
    assert plan.max_parallel == 1


def test_failure_is_a_result_and_not_an_exception(desk, capfd):
    result = mprun.run_job(mprun.load_job("job_bad.yaml"), state_dir=str(desk / "elsewhere"))
    assert capfd.readouterr() == ("", "")
    assert (result.outcome, result.exit_code) == ("failed", 1)
    assert {task.name: (task.outcome, task.reason) for task in result.tasks} == {
        "bad": ("failed", "exit 1"),
        "n": ("skipped", "`bad` did not succeed"),
    }
    assert result.directory.startswith(str(desk / "elsewhere"))


def test_error_in_a_job_file_is_raised_with_its_diagnostics(desk, capfd):
    write(desk, job="nmae: x\ntasks:\n  - target: work:nothing")
    with pytest.raises(JobFileError) as caught:
        mprun.load_job("job.yaml")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.span.line, diagnostic.help) == (1, "did you mean `name`?")
    assert str(caught.value) == "job.yaml:1:1: unknown key `nmae` in the job"
    write(desk, job="tasks:\n  - target: work:nothing")
    job = mprun.load_job("job.yaml")
    with pytest.raises(JobFileError) as caught:
        mprun.run_job(job)
    assert str(caught.value) == "job.yaml:2:18: module `work` has no attribute `nothing`"
    assert isinstance(caught.value, UsageError)
    assert isinstance(caught.value, MprunError)
    with pytest.raises(UsageError, match=r"job file `none\.yaml` not found"):
        mprun.load_job("none.yaml")
    assert os.listdir(desk / ".mprun" / "runs") == []
    assert capfd.readouterr() == ("", "")


def test_reporter_gets_every_event_in_order(desk):
    seen = []

    class Reporter:
        interval = 0.01

        def __init__(self, context):
            assert type(context) is Context
            assert context.directory.run_id
            assert len(context.plan.tasks) == 2

        def handle(self, event, state):
            seen.append(event)
            assert state.started is not None

        def tick(self):
            pass

        def close(self):
            seen.append("closed")

    result = mprun.run_job(mprun.load_job("job.yaml"), reporters=[Reporter])
    assert seen.pop() == "closed"
    assert [event.event for event in seen] == [
        event["event"] for event in read_events(f"{result.directory}/events.jsonl")
    ]


def test_a_run_has_no_timings_of_itself(desk):
    """For a reporter that asks when tasks have ended, as the live view does."""
    numbers = []

    class Reporter:
        interval = None

        def __init__(self, context):
            self.context = context

        def handle(self, event, state):
            if event.event == "run_finished":
                numbers.append(len(self.context.timings()))

        def tick(self):
            pass

        def close(self):
            pass

    for _ in range(2):
        mprun.run_job(mprun.load_job("job.yaml"), reporters=[Reporter])
    assert numbers == [0, 1]


def test_warning_is_passed_to_warn(desk, capfd, tmp_path):
    (desk / "file").touch()
    warnings = []
    result = mprun.run_job(mprun.load_job("job.yaml"), state_dir="file", warn=warnings.append)
    assert result.exit_code == 0
    (warning,) = warnings
    assert warning.startswith("the state directory file is not used: `file` is a file, ")
    assert capfd.readouterr() == ("", "")


def test_job_runs_in_a_thread(desk):
    """Python allows signal handlers in the main thread only."""
    results = []
    thread = threading.Thread(target=lambda: results.append(mprun.run_job(mprun.load_job("job.yaml"))))
    thread.start()
    thread.join()
    assert [result.exit_code for result in results] == [0]


def test_no_descriptor_is_left_open(desk):
    mprun.run_job(mprun.load_job("job.yaml"))
    before = sorted(os.listdir("/proc/self/fd"))
    mprun.run_job(mprun.load_job("job.yaml"))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_public_names_are_documented():
    assert set(mprun.__all__) <= set(dir(mprun))
    for name in mprun.__all__:
        value = getattr(mprun, name)
        if not name.startswith("__"):
            assert inspect.getdoc(value), name
    for function in (mprun.load_job, mprun.plan_job, mprun.run_job):
        assert (
            "Raises" in inspect.getdoc(function)
            or "raises" in inspect.getdoc(function)
            or function is mprun.plan_job
        )
        hints = inspect.signature(function)
        assert hints.return_annotation is not hints.empty
        assert all(parameter.annotation is not hints.empty for parameter in hints.parameters.values())
