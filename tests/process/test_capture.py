"""The result of a command is what it prints: the key `capture` (C47)."""

from __future__ import annotations

import json
import os
import signal

import pytest
from support.runs import START_METHODS, events_so_far, eventually, finish, mprun, newest_run, start, write

# Prints in parts, on both streams.
BOTH = "echo one; echo no >&2; echo two; echo three >&2"


def capture(folder, command, how, more=""):
    """Run a command that is captured, and a task that gets its result; the run."""
    write(
        folder,
        job=f"""
        tasks:
          - {{name: made, command: {json.dumps(command)}, capture: {how}{more}}}
          - {{name: user, target: "work:same", args: ["${{tasks.made.result}}"]}}
        """,
        work="def same(value): return [type(value).__name__, value]\n",
    )
    return mprun("job.yaml", cwd=folder)


@pytest.mark.parametrize(
    ("command", "how", "result"),
    [
        (BOTH, "text", "one\ntwo"),
        (BOTH, "lines", ["one", "two"]),
        ("echo '{\"rows\": [1, 2.5, null]}'", "json", {"rows": [1, 2.5, None]}),
        (["echo", "a"], "text", "a"),
        ("echo >&2", "text", ""),
        ("true", "lines", []),
        ("echo one; (sleep 0.2; echo late) & wait", "lines", ["one", "late"]),
        ("echo one > /dev/stdout; echo no > /dev/stderr; echo two > /dev/stdout", "text", "one\ntwo"),
        ("printf '\\377\\n'", "text", "\\xff"),
    ],
)
def test_c47_output_of_a_command_is_its_result(tmp_path, command, how, result):
    run = capture(tmp_path, command, how)
    assert run.code == 0, run.stderr
    assert run.result("made") == result
    assert run.result("user") == [type(result).__name__, result]


def test_c47_both_streams_are_in_the_log_and_shown(tmp_path):
    run = capture(tmp_path, BOTH, "text")
    assert sorted(run.log("made").split()) == [b"no", b"one", b"three", b"two"]
    assert sorted(run.printed("made")) == ["no", "one", "three", "two"]
    kept = os.listdir(run.directory.path + "/results")
    assert "made.1.json" in kept
    assert not [name for name in kept if "stdout" in name]


def test_c47_large_output_is_whole_in_the_log_and_the_result(tmp_path):
    command = 'for i in $(seq 20000); do echo "line $i"; test $((i % 100)) = 0 && echo err $i >&2; done; true'
    run = capture(tmp_path, command, "lines")
    assert run.code == 0, run.stderr
    assert run.one("task_finished", "made")["result_kind"] == "file"
    wanted = [f"line {number}" for number in range(1, 20001)]
    with open(run.directory.result("made", 1) + ".json") as file:
        assert json.load(file) == wanted
    logged = run.log("made").decode().split("\n")
    assert len(logged) == 20201
    assert [line for line in logged if line.startswith("line")] == wanted


def test_c47_output_that_is_too_large_is_in_the_log_alone(tmp_path):
    run = capture(tmp_path, "head -c 17000000 /dev/zero", "text")
    assert run.code == 1
    reason = "its output is longer than 16MiB, which `capture` does not keep"
    assert run.one("task_finished", "made")["reason"] == reason
    assert len(run.log("made")) == 17_000_000


@pytest.mark.parametrize("command", ["echo no", "true", "echo '{'; exit 0"])
def test_c47_output_that_is_not_json_fails_the_task(tmp_path, command):
    run = capture(tmp_path, command, "json")
    assert run.code == 1
    assert run.outcome("made") == "failed"
    assert run.one("task_finished", "made")["reason"].startswith("its output is not JSON: ")
    assert "made failed: its output is not JSON: " in run.stderr
    assert run.outcome("user") == "skipped"


def test_c47_dependents_wait_until_the_output_is_a_result(tmp_path):
    """A chain of commands: the launcher must not start the next one by the exit code alone."""
    write(
        tmp_path,
        job="""
        tasks:
          - {name: a, command: [echo, "1"], capture: json}
          - {name: b, command: [echo, "${tasks.a.result}"], capture: json, depends_on: a}
          - {name: c, command: [echo, not json], capture: json, depends_on: b}
          - {name: d, command: [touch, d], depends_on: c}
        """,
    )
    run = mprun("job.yaml", "-j", "1", cwd=tmp_path)
    assert [run.outcome(name) for name in "abcd"] == ["succeeded", "succeeded", "failed", "skipped"]
    assert not (tmp_path / "d").exists()


def test_c47_failed_command_has_its_own_reason(tmp_path):
    run = capture(tmp_path, "echo no; exit 3", "json")
    assert run.one("task_finished", "made")["reason"] == "exit 3"


def test_c47_each_attempt_is_captured_by_itself(tmp_path):
    command = 'echo $MPRUN_ATTEMPT; test "$MPRUN_ATTEMPT" = 3'
    run = capture(tmp_path, command, "lines", ", retry: 3")
    assert run.code == 0, run.stderr
    assert run.result("made") == ["3"]
    run = capture(
        tmp_path, "test $MPRUN_ATTEMPT = 2 && echo 7", "json", ", retry: 1, expect: {exit_code: [0, 1]}"
    )
    assert (run.code, run.result("made")) == (0, 7)


def test_c47_result_may_be_expected(tmp_path):
    run = capture(tmp_path, "echo 3", "json", ", expect: {result: 3, output: '3'}")
    assert run.code == 0, run.stderr
    run = capture(tmp_path, "echo 4", "json", ", expect: {result: 3}")
    assert run.code == 1
    assert run.one("task_finished", "made")["reason"] == "expected the result 3, but it is 4"


@pytest.mark.parametrize("method", START_METHODS)
def test_c47_instances_recipes_and_defaults_are_captured(tmp_path, method):
    write(
        tmp_path,
        job=f"""
        start_method: {method}
        defaults: {{capture: json}}
        tasks:
          - {{name: list, command: [echo, "[1, 2]"]}}
          - {{name: each, foreach: "${{tasks.list.result}}", command: [echo, "${{item}}0"]}}
          - {{name: cell, matrix: {{x: [a, b]}}, command: [echo, "${{matrix.x}}"], capture: text}}
          - {{name: r, uses: recipe.yaml}}
          - name: all
            target: "work:same"
            args: ["${{tasks.each.result}}", "${{tasks.cell.result}}", "${{tasks.r/x.result}}"]
        """,
        work="def same(*values): return list(values)\n",
    )
    (tmp_path / "recipe.yaml").write_text("tasks: [{name: x, command: [echo, in], capture: lines}]")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.result("all") == [[10, 20], ["a", "b"], ["in"]]


def test_c47_resume_reuses_the_result(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: made, command: "echo x >> count; echo 5", capture: json}
          - {name: user, command: [test, -e, "there${tasks.made.result}"]}
        """,
    )
    assert mprun("job.yaml", cwd=tmp_path).code == 1
    (tmp_path / "there5").touch()
    assert mprun("resume", cwd=tmp_path).code == 0
    assert (tmp_path / "count").read_text() == "x\n"


@pytest.mark.parametrize("who", ["launcher", "engine", "both"])
def test_c47_no_byte_is_lost_from_the_log_if_mprun_is_killed(tmp_path, who):
    """Both are stopped before the command writes, so that all of it is still in the two pipes."""
    count = 200
    script = f"""
        touch begun; until test -e go; do sleep 0.01; done
        for i in $(seq {count}); do echo out $i; echo err $i >&2; done; touch written; exec sleep 1000
    """
    write(tmp_path, job=f"tasks: [{{name: made, command: {json.dumps(script)}, capture: text}}]")
    process = start("job.yaml", cwd=tmp_path)
    eventually((tmp_path / "begun").exists, 30)
    directory = newest_run(tmp_path / ".mprun")
    pids = {"engine": process.pid, "launcher": events_so_far(tmp_path / ".mprun")[0]["main_pid"]}
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    (tmp_path / "go").touch()
    eventually((tmp_path / "written").exists, 30)
    for name, pid in pids.items():
        os.kill(pid, signal.SIGKILL if who in (name, "both") else signal.SIGCONT)
    finish(process, tmp_path / ".mprun")
    wanted = sorted(f"{kind} {number}" for kind in ("out", "err") for number in range(1, count + 1))

    def logged():
        with open(directory.log("made", 1)) as file:
            return sorted(file.read().splitlines())

    eventually(lambda: logged() == wanted, 30)


def test_c47_plan_says_what_is_captured(tmp_path):
    write(tmp_path, job="tasks: [{command: [echo], capture: lines}]")
    assert "[captures lines]" in mprun("plan", "job.yaml", cwd=tmp_path).stdout
