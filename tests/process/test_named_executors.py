"""`--executor package.module:Class`: executors that are not mprun's own."""

from pathlib import Path

import pytest
from support.runs import mprun

TESTS = str(Path(__file__).parents[1])
JOB = "tasks:\n  - {name: root, target: math:sqrt, args: [49]}\n"


def run(place, executor, *options, job=JOB, **env):
    (place / "job.yaml").write_text(job)
    options = ("--executor", f"support.other_executors:{executor}", *options)
    return mprun("job.yaml", *options, cwd=place, env={"PYTHONPATH": TESTS, **env})


def test_an_executor_is_found_by_its_import_path_and_runs_the_tasks(tmp_path):
    result = run(tmp_path, "Any")
    assert result.code == 0
    assert result.result("root") == 7
    assert result.one("task_started", "root")["ppid"] == result.one("run_started")["main_pid"]


@pytest.mark.parametrize(
    ("executor", "options", "expected"),
    [
        ("Two", (), 2),
        ("Two", ("-j", "1"), 1),
        ("Two", ("-j", "5"), 2),
        ("Any", ("-j", "5"), 5),
    ],
)
def test_no_more_runs_at_once_than_the_executor_and_the_job_allow(tmp_path, executor, options, expected):
    assert run(tmp_path, executor, *options).one("run_started")["max_parallel"] == expected


def test_what_is_reported_together_with_the_reply_is_handled(tmp_path):
    # Two at once, or it does not end.
    job = """
        tasks:
          - {name: one, command: "touch one; until [ -e two ]; do sleep 0.05; done"}
          - {name: two, command: "touch two; until [ -e one ]; do sleep 0.05; done"}
    """
    result = run(tmp_path, "Hasty", job=job)
    assert result.code == 0, result.stderr
    changes = [(event["change"], event["host"]) for event in result.of("host_changed")]
    assert changes == [("lost", "one"), ("joined", "two")]
    # The clock of this executor begins with the machine.
    begun = result.one("run_started")["time"]
    assert [event["time"] for event in result.of("host_changed")] == [begun, begun]
    assert result.stderr.count("host one was lost: cut off") == 1
    assert "one more" in result.stderr


@pytest.mark.parametrize("unseen", ["", "1"])
def test_an_executor_that_is_lost_together_with_its_reply_has_started_nothing(tmp_path, unseen):
    result = run(tmp_path, "Short", UNSEEN=unseen)
    assert result.code == 3
    assert "it had no time" in result.stderr
    assert result.outcome("root") == "cancelled"


@pytest.mark.parametrize(
    ("executor", "code", "message"),
    [
        ("NoExecutor", 2, "the class lacks `fileno`, `prepare`, `cancel`, "),
        ("function", 2, "`support.other_executors` has no class `function`"),
        ("Absent", 2, "`support.other_executors` has no class `Absent`"),
        ("Full", 2, "the farm is full; come back tomorrow"),
        ("Broken", 3, "has failed: ZeroDivisionError: no hosts"),
    ],
)
def test_an_executor_that_cannot_be_used_is_named_and_nothing_starts(tmp_path, executor, code, message):
    result = run(tmp_path, executor)
    assert result.code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.directory is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no.such_module:Class",
            "`--executor no.such_module:Class`: cannot import `no.such_module`: No module",
        ),
        (":Class", "`--executor :Class` is not"),
        ("module:", "`--executor module:` is not"),
        ("away", "must be one of `local`, `dask`, not `away`"),
    ],
)
def test_a_name_without_a_class(tmp_path, name, message):
    (tmp_path / "job.yaml").write_text(JOB)
    result = mprun("job.yaml", "--executor", name, cwd=tmp_path)
    assert (result.code, result.directory) == (2, None)
    assert message in result.stderr


def test_a_module_that_fails_when_it_is_imported(tmp_path):
    (tmp_path / "farm.py").write_text("raise RuntimeError('not today')")
    (tmp_path / "job.yaml").write_text(JOB)
    result = mprun("job.yaml", "--executor", "farm:Farm", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (result.code, result.directory) == (2, None)
    assert "the import of `farm` has failed: RuntimeError: not today" in result.stderr


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("ready: {tcp: 80}, daemon: true", "`ready` probe by `tcp`"),
        ("artifacts: true", "`artifacts` is not available"),
    ],
)
def test_what_an_executor_lacks_is_refused_with_its_place(tmp_path, keys, place):
    job = f"tasks:\n  - {{name: root, target: time:sleep, args: [0], {keys}}}\n"
    result = run(tmp_path, "Two", job=job)
    assert (result.code, result.directory) == (2, None)
    assert place in result.stderr
    assert "--> job.yaml:2:" in result.stderr


def test_an_executor_that_does_not_know_what_was_imported_skips_nothing(tmp_path):
    job = "tasks:\n  - {name: root, target: math:sqrt, args: [49], inputs: job.yaml}\n"
    for _ in range(2):
        result = run(tmp_path, "Silent", job=job)
        assert result.code == 0, result.stderr
        assert result.result("root") == 7
    assert [event["task"] for event in result.of("task_started")] == ["root"]
    told = mprun("why", "root", cwd=tmp_path).stdout
    assert "this executor does not say what the job has imported" in told
