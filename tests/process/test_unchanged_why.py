"""What `mprun why` says of tasks that are compared: the option, the param, the file, the value."""

import shutil

import pytest
from support.compared import ran, replace, run, why
from support.runs import mprun, write

COPY = "tasks:\n  - {name: t, command: 'cat in/*.txt', inputs: ['in/*.txt']}\n"


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("1")
    write(tmp_path, job=COPY)
    return tmp_path


def test_the_option_that_was_given_is_named(desk):
    bad = "  - {name: after, command: 'true', inputs: [], depends_on: t}\n  - {name: bad, command: 'false'}\n"
    write(desk, job=COPY + bad)
    run(desk)
    assert ran(mprun("resume", "--rerun", "t", cwd=desk))
    for task in ("t", "after"):
        assert why(desk, task) == f"`{task}` ran: `--rerun` was given"


def test_a_run_is_named_only_while_it_has_a_record(desk):
    first, second = run(desk), run(desk)
    assert not ran(second)
    shutil.rmtree(first.directory.path)
    since = second.directory.run_id
    assert f"skipped: unchanged since {since}" in " ".join(mprun("plan", "job.yaml", cwd=desk).stdout.split())
    third = run(desk)
    assert third.one("task_finished", "t")["reason"] == f"unchanged since {since}"
    shutil.rmtree(second.directory.path)
    (desk / "in" / "a.txt").write_text("2")
    assert ran(run(desk))
    assert why(desk) == f"`t` ran: input `in/a.txt` has changed since run {third.directory.run_id}"


def test_the_output_of_a_skipped_task_is_gone_with_the_run_that_ran_it(desk):
    first = run(desk)
    assert not ran(run(desk))
    assert mprun("logs", "t", cwd=desk).stdout == "1"
    shutil.rmtree(first.directory.path)
    for _ in range(2):
        logs = mprun("logs", "t", cwd=desk)
        removed = f"whose output was in run {first.directory.run_id}, which was removed"
        assert (logs.code, logs.stdout, logs.stderr) == (0, "", f"without t, {removed}\n")
        # It goes by the run that has skipped the task.
        assert not ran(run(desk))


def test_a_new_name_and_a_new_job_file_are_told_apart(desk):
    run(desk)
    assert why(desk) == "`t` ran: no earlier run of this job file has left anything to compare with"
    write(desk, job=COPY.replace("name: t", "name: new"))
    run(desk)
    assert why(desk, "new") == "`new` ran: no earlier run has compared a task of this name"


def test_a_renamed_input_is_named_with_its_new_name(desk):
    first = run(desk).directory.run_id
    (desk / "in" / "a.txt").rename(desk / "in" / "b.txt")
    run(desk)
    said = "input `in/a.txt` is gone, and `in/b.txt` with the same content is new"
    assert why(desk) == f"`t` ran: {said} since run {first}"


def test_a_file_that_is_there_but_no_longer_named_is_not_gone(desk):
    task = "tasks:\n  - {{name: t, command: 'true', {}: {}}}\n"
    (desk / "b").write_text("1")
    for key in ("inputs", "outputs"):
        write(desk, job=task.format(key, "[in/a.txt, b]"))
        first = run(desk).directory.run_id
        replace(desk / "job.yaml", ", b]", "]")
        run(desk)
        assert why(desk) == f"`t` ran: `b` is no longer among its `{key}` since run {first}"


VALUES = """
    params: {x: one, token: {secret: true}}
    tasks:
      - {name: t, command: 'echo ${params.x}', inputs: []}
      - {name: list, target: 'work:give', args: ['${params.x}']}
      - {name: after, target: 'work:give', args: ['${tasks.list.result}'], inputs: []}
      - {name: hidden, command: 'echo ${params.token}', inputs: []}
      - {name: secret, command: 'true', env: {TOKEN: '${params.token}'}, inputs: []}
    """


def test_short_values_are_shown_and_results_are_named(desk):
    write(desk, job=VALUES, work="def give(x):\n    return x\n")
    first = run(desk, env={"MPRUN_PARAM_TOKEN": "hunter22"}).directory.run_id
    run(desk, "-p", "x=two", env={"MPRUN_PARAM_TOKEN": "hunter23"})
    assert why(desk) == f"`t` ran: its command has changed from `echo one` to `echo two` since run {first}"
    after = f"`after` ran: argument 1, the result of `list`, has changed since run {first}"
    assert why(desk, "after") == after
    assert why(desk, "hidden") == f"`hidden` ran: its command has changed since run {first}"
    assert why(desk, "secret") == f"`secret` ran: environment variable `TOKEN` has changed since run {first}"


def test_how_a_param_is_given_does_not_count(desk):
    write(desk, job="params: {x: a}\ntasks:\n  - {name: t, command: ['echo', '${params.x}'], inputs: []}\n")
    assert ran(run(desk, "-p", "x=b"))
    assert not ran(run(desk, env={"MPRUN_PARAM_X": "b"}))
    assert not ran(run(desk, "-p", "x=b"))
    assert ran(run(desk, env={"MPRUN_PARAM_X": "c"}))
