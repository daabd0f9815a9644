"""mprun from Python: the values that the command line uses, documented, and no output."""

import inspect
import os
import pickle
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
    assert result.tasks == tuple(
        TaskResult(
            name=name,
            outcome="succeeded",
            reason="",
            attempts=1,
            result=value,
            result_kind="json",
            directory=result.directory,
        )
        for name, value in (("two", 2), ("five", 5))
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


def test_task_of_a_run_is_found_by_its_name(desk):
    write(
        desk,
        work="""
        import json

        def fail(text):
            print("before", flush=True)
            json.loads(text)

        def raise_group():
            raise ExceptionGroup("several", [ValueError("one"), ValueError("two")])

        def lie():
            raise ValueError('Traceback (most recent call last):\\n  File "lie.py", line 7, in lie')
        """,
        job="""
        tasks:
          - {name: each, target: "builtins:abs", args: ["${item}"], foreach: [-1, 2]}
          - {name: bad, target: "work:fail", args: ["{"], retry: 1}
          - {name: lie, target: "work:lie"}
          - {name: allowed, target: "work:raise_group", allow_failure: true}
          - {name: large, target: "builtins:list", args: ["${item}"], foreach: ["ab", "${params.x}"]}
          - {name: after, target: "builtins:abs", args: [1], depends_on: bad}
          - {name: shell, command: "exit 3"}
        params: {x: {type: string}}
        """,
    )
    run = mprun.run_job(mprun.load_job("job.yaml", {"x": "x" * 70_000}))
    assert (run["each[0]"].result, run["each[1]"].result) == (1, 2)
    assert (run["large[1]"].result, run["large[1]"].result_kind) == (["x"] * 70_000, "json")
    assert (run["each[0]"].error, run["after"].error, run["after"].log) == (None, None, None)
    error, log = run["bad"].error, run["bad"].log
    assert (error.type, error.message[:9]) == ("JSONDecodeError", "Expecting")
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert (error.file, error.line) == (str(desk / "work.py"), 6)
    with open(log, encoding="utf-8") as opened:
        assert opened.read().startswith("before\nTraceback")
    assert log.endswith("bad.2.log")
    assert run["lie"].error.line == 12
    assert (run["allowed"].error.type, run["allowed"].error.line) == ("ExceptionGroup", 9)
    assert (run["shell"].error, run["shell"].log) == (None, None)
    assert pickle.loads(pickle.dumps(run)) == run
    with pytest.raises(KeyError, match=r"no task `bda`; did you mean `bad`\?$") as caught:
        run["bda"]
    assert isinstance(caught.value, mprun.UnknownTask)
    with pytest.raises(KeyError, match=r"no task `each`; it has `each\[0\]`, `each\[1\]`$"):
        run["each"]


def test_failed_run_is_raised_on_demand(desk):
    assert mprun.run_job(mprun.load_job("job.yaml")).raise_if_failed() is None
    run = mprun.run_job(mprun.load_job("job_bad.yaml"))
    with pytest.raises(mprun.RunFailed) as caught:
        run.raise_if_failed()
    assert str(caught.value) == f"run {run.run_id} failed: exit 1\n`bad` failed: exit 1: ValueError: no"
    assert (caught.value.run, caught.value.failures) == (run, (run["bad"],))
    assert caught.value.exit_code == 1
    write(desk, job="tasks:\n  - {name: x, target: work:fail, foreach: [1, 2, 3, 4, 5, 6, 7]}")
    run = mprun.run_job(mprun.load_job("job.yaml"))
    with pytest.raises(MprunError, match=r"and 2 more$"):
        run.raise_if_failed()


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


def test_job_is_loaded_from_a_mapping(desk):
    job = mprun.load_job(
        {
            "params": {"n": {"type": "integer"}},
            "tasks": [
                {"name": "two", "target": "work:add", "args": (1, "${params.n}")},
                {
                    "name": "echo",
                    "target": "builtins:dict",
                    "args": [[["k" * 2000, 'é"\\\n\x7f\u202e\U0001f600']]],
                },
                {
                    "name": "odd",
                    "target": "builtins:list",
                    "args": [[1e300, 1e16, -0.5, True, None, "no", "3.10"]],
                },
                {"name": "long", "target": "builtins:len", "args": [{"k" * 2000: 1, "a: b": 2, "#": {}}]},
            ],
        },
        {"n": 2},
    )
    assert (job.name, job.path) == ("job", "-")
    run = mprun.run_job(job)
    run.raise_if_failed()
    assert run["two"].result == 3
    assert run["echo"].result == {"k" * 2000: 'é"\\\n\x7f\u202e\U0001f600'}
    assert run["odd"].result == [1e300, 1e16, -0.5, True, None, "no", "3.10"]
    assert run["long"].result == 3


LOOP = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (
            {"tasks": [{"target": "m:f", "retires": 1}]},
            "tasks[0].retires: unknown key `retires` in task `Process-1`",
        ),
        (
            {"tasks": [{"target": "m:f", "args": [1, object()]}]},
            "tasks[0].args[1]: a value of type object is not",
        ),
        (
            {"tasks": [{"target": "m:f", "args": ["\udc80"]}]},
            "tasks[0].args[0]: the text contains a lone surrogate",
        ),
        ({"tasks": [{"target": "m:f", "args": LOOP}]}, "deep"),
        (
            {"tasks": [{"target": "m:f", "args": ["x" * 9_000_000]}]},
            "tasks[0].args[0]: the mapping is too large",
        ),
        ({"tasks": [{"target": "m:f", "depends_on": ["x"]}]}, "tasks[0].depends_on[0]: unknown task `x`"),
        ({"tasks": [{"target": "m:f", "args": ["${params.y}"]}]}, "tasks[0].args[0]: "),
        ({"taks": []}, "taks: unknown key `taks`"),
        ({}, "the job: "),
    ],
)
def test_error_in_a_mapping_has_its_path(job, message, desk):
    with pytest.raises(JobFileError) as caught:
        mprun.load_job(job)
    assert message in str(caught.value)


def test_late_error_in_a_mapping_has_its_path(desk):
    job = mprun.load_job({"tasks": [{"name": "a", "target": "work:nothing"}]})
    with pytest.raises(JobFileError, match=r"^tasks\[0\]\.target: module `work` has no attribute `nothing`$"):
        mprun.run_job(job)


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
                while (timings := self.context.timings()) is None:
                    pass
                numbers.append(len(timings))

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


@pytest.mark.parametrize(
    ("selected", "message"),
    [
        ({"names": ["hel"]}, "no task matches `hel` of `names`; did you mean `*hel*`?"),
        ({"names": ["xyzzy"]}, "no task matches `xyzzy` of `names`; known tasks: `hello`"),
        ({"tags": ["quik"]}, "no task matches `quik` of `tags`; did you mean `quick`?"),
        (
            {"names": ["hello"], "tags": ["slow"]},
            "no task matches both `names` and `tags`: no task ",
        ),
    ],
)
def test_what_selects_nothing_is_named_as_in_python(tmp_path, selected, message):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: hello, tags: [quick], command: ls}
          - {name: x, tags: [slow], command: ls}
        """,
    )

    with pytest.raises(mprun.MprunError) as caught:
        mprun.plan_job(mprun.load_job(tmp_path / "job.yaml"), **selected)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_parallel": -5}, "`max_parallel` must be an integer of at least 1, not `-5`"),
        ({"max_parallel": 0}, "`max_parallel` must be an integer of at least 1, not `0`"),
        ({"max_parallel": True}, "`max_parallel` must be an integer of at least 1, not `True`"),
        ({"repeat": 0}, "`repeat` must be an integer of at least 1, not `0`"),
        ({"repeat_for": 0}, "`repeat_for` must be a number of seconds above 0, not `0`"),
        ({"repeat": 2, "seed": "x"}, "`seed` must be an integer of at least 0, not `'x'`"),
        ({"timeout": "5s"}, "`timeout` must be a number of seconds above 0, not `'5s'`"),
        ({"timeout": float("nan")}, "`timeout` must be a number of seconds above 0, not `nan`"),
        ({"start_method": "frok"}, "; did you mean `fork`?"),
        ({"flaky": "no"}, "`flaky` must be one of `pass`, `fail`, not `'no'`"),
        ({"names": "ab"}, "`names` must be a list of texts, not `'ab'`"),
        ({"tags": "ab"}, "`tags` must be a list of texts, not `'ab'`"),
    ],
)
def test_arguments_that_no_plan_can_have_are_refused(arguments, message):
    """With a negative number of slots a run never ended; with `repeat=0` it succeeded without a task."""
    job = mprun.load_job({"tasks": [{"name": "a", "command": "true"}, {"name": "b", "command": "true"}]})
    with pytest.raises(UsageError) as caught:
        mprun.plan_job(job, **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("call", [mprun.load_job, mprun.plan_job, mprun.run_job])
def test_what_is_not_a_job_is_refused(call):
    with pytest.raises(UsageError, match=r"not `\['job.yaml'\]`"):
        call(["job.yaml"])


def test_a_run_has_the_names_of_its_tasks(desk):
    run = mprun.run_job(mprun.load_job("job.yaml"))
    assert "two" in run
    assert "three" not in run
    with pytest.raises(TypeError, match="not iterable"):
        iter(run)


def test_warnings_about_the_job_are_given_to_the_caller(desk):
    write(
        desk,
        job_service="""
        x-n: &n [3.10]
        tasks:
          - {name: d, command: sleep 1, daemon: true, matrix: {v: *n}}
        """,
    )
    said = []
    mprun.run_job(mprun.load_job("job_service.yaml"), warn=said.append)
    assert "job_service.yaml:" in said[0]
    assert "`3.10` is the number 3.1; quote it" in said[0]
    assert "the job ends at once, because every task is a daemon; `join: [d]` waits for `d`" in said
