"""A task is a success only if its own process has come to its end, whatever its exit code (C61)."""

from __future__ import annotations

import errno
import os
import textwrap

import pytest
from support.runs import START_METHODS, mprun, write
from support.untried import with_newer_python, without_calls

from mprun.launcher import end_marks

BEFORE_RETURN = "it ended before its target returned (exit 0)"
BEFORE_END = "it ended after its target returned, before its threads and exit handlers did (exit 0)"

MODULE = """\
    import atexit, os, sys, threading

    def returns(value=None):
        return value

    def exits_with_0():
        sys.exit(0)

    def exits_in_a_thread_later():
        threading.Thread(target=lambda: None).start()
        sys.exit()

    def leaves():
        os._exit(0)

    def becomes_another_program():
        os.execv("/bin/true", ["true"])

    def leaves_in_a_thread():
        threading.Thread(target=os._exit, args=(0,)).start()
        threading.Event().wait()

    def leaves_beside_a_fork():
        if os.fork() == 0:
            # It comes back from the target, but it is not the task.
            return "child"
        os.wait()
        os._exit(0)

    def leaves_after_an_error():
        atexit.register(os._exit, 0)
        raise ValueError("no")

    def leaves_after_its_return():
        atexit.register(os._exit, 0)
        return "result"

    def leaves_by_a_thread_after_its_return():
        def leave():
            threading.main_thread().join()
            os._exit(0)

        threading.Thread(target=leave).start()

    def closes_all_descriptors():
        os.closerange(3, 1000)

    def leaves_once(path):
        if not os.path.exists(path):
            open(path, "w").close()
            os._exit(0)

    def leaves_once_more(path):
        if os.path.exists(path):
            os._exit(0)
        open(path, "w").close()
        return 1
"""

# By target: the reason why it failed, None if it succeeds.
ENDS = {
    "returns": None,
    "exits_with_0": None,
    "exits_in_a_thread_later": None,
    "closes_all_descriptors": None,
    "leaves": BEFORE_RETURN,
    "becomes_another_program": BEFORE_RETURN,
    "leaves_in_a_thread": BEFORE_RETURN,
    "leaves_beside_a_fork": BEFORE_RETURN,
    "leaves_after_an_error": "exit 0 after an error",
    "leaves_after_its_return": BEFORE_END,
    "leaves_by_a_thread_after_its_return": BEFORE_END,
}


def run(tmp_path, job, *options, **more):
    write(tmp_path, ends=MODULE)
    (tmp_path / "job.yaml").write_text(textwrap.dedent(job), encoding="utf-8")
    return mprun("job.yaml", *options, cwd=tmp_path, **more)


def job_of_all_ends(method):
    tasks = [f"- {{name: {name}, target: 'ends:{name}'}}" for name in ENDS]
    # A task that follows is started by the launcher itself, before the engine knows of the end.
    tasks += [f"- {{name: after {name}, target: 'ends:returns', depends_on: {name}}}" for name in ENDS]
    return f"start_method: {method}\ntasks:\n" + "\n".join(tasks)


def assert_ends(seen):
    assert seen.code == 1
    for name, reason in ENDS.items():
        finished = seen.one("task_finished", name)
        expected = ("succeeded", "") if reason is None else ("failed", reason)
        assert (finished["outcome"], finished["reason"]) == expected, name
        assert seen.one("task_exited", name)["exit_code"] == 0
        assert seen.outcome(f"after {name}") == ("succeeded" if reason is None else "skipped")
    error = seen.one("task_exited", "leaves_after_an_error")["error"]
    assert error == {"type": "ValueError", "message": "no"}


@pytest.mark.parametrize("method", START_METHODS)
def test_exit_code_0_alone_does_not_prove_success(tmp_path, method):
    """(C61)"""
    assert_ends(run(tmp_path, job_of_all_ends(method)))


@pytest.mark.parametrize("method", START_METHODS)
def test_exit_code_0_alone_does_not_prove_success_on_an_untried_python(tmp_path, method):
    """(C61)"""
    newer = tmp_path / "newer"
    newer.mkdir()
    seen = run(tmp_path, job_of_all_ends(method), env=with_newer_python(newer))
    for name in ("returns", "exits_with_0", "closes_all_descriptors"):
        assert seen.outcome(name) == "succeeded", name
    for name in ("leaves", "becomes_another_program", "leaves_in_a_thread", "leaves_beside_a_fork"):
        assert seen.one("task_finished", name)["reason"] == BEFORE_RETURN


@pytest.mark.parametrize("method", START_METHODS)
def test_exit_code_0_alone_does_not_prove_success_without_memfd_create(tmp_path, method):
    """(C61) Some Python builds lack it, where the system has it."""
    built = tmp_path / "built"
    built.mkdir()
    assert_ends(run(tmp_path, job_of_all_ends(method), env=without_calls(built, "os.memfd_create")))


def test_a_task_beyond_the_marks_makes_none_and_counts_as_marked(tmp_path):
    """(C61) A mark outside of the shared memory would be a crash."""
    module = """\
        import threading
        from mprun.launcher import worker

        worker.MARK_BITS = 0

        def returns():
            # If it made a mark, that would be a SIGSEGV.
            worker.marks = 8
            threading.Thread(target=print).start()
    """
    write(tmp_path, beyond=module)
    seen = run(
        tmp_path,
        "tasks: [{name: first, target: 'ends:leaves'}, {name: other, target: 'beyond:returns'}]",
    )
    assert seen.one("task_finished", "first")["reason"] == BEFORE_RETURN
    assert seen.outcome("other") == "succeeded", seen.stderr


def test_a_mark_counts_for_one_attempt(tmp_path):
    """(C61) A task that has come to its end once may not do so at its next attempt."""
    job = "tasks: [{target: 'ends:leaves_once_more', args: [flag], name: it, retry: 1, expect: {result: 2}}]"
    seen = run(tmp_path, job)
    assert [each["attempt"] for each in seen.of("task_retrying", "it")] == [2]
    assert seen.one("task_finished", "it")["reason"] == BEFORE_RETURN


def test_only_an_expected_exit_code_accepts_it(tmp_path):
    """(C61)"""
    seen = run(
        tmp_path,
        """\
        tasks:
          - {name: accepted, target: "ends:leaves", expect: {exit_code: 0}}
          - {name: one of, target: "ends:becomes_another_program", expect: {exit_code: [0, 3]}}
          - {name: other code, target: "ends:leaves", expect: {exit_code: 3}}
          - {name: time, target: "ends:leaves", expect: {max_seconds: 60}}
          - {name: error, target: "ends:leaves_after_an_error", expect: {exit_code: 0}}
          - name: expected error
            target: "ends:leaves_after_an_error"
            expect: {raises: ValueError, exit_code: 0}
        """,
    )
    assert {name: seen.one("task_finished", name)["reason"] for name in ("accepted", "one of")} == {
        "accepted": "",
        "one of": "",
    }
    assert seen.outcome("accepted") == seen.outcome("one of") == "succeeded"
    assert seen.outcome("expected error") == "succeeded"
    assert seen.one("task_finished", "other code")["reason"].startswith("expected exit 3")
    assert seen.one("task_finished", "time")["reason"] == BEFORE_RETURN
    assert seen.one("task_finished", "error")["reason"] == "exit 0 after an error"


def test_a_command_needs_no_mark(tmp_path):
    seen = run(tmp_path, "tasks: [{command: exit 0, name: it}]")
    assert seen.outcome("it") == "succeeded"


def test_what_was_asked_to_end_may_leave_as_it_likes(tmp_path):
    """A daemon that handles SIGTERM by os._exit(0) was stopped as planned."""
    write(
        tmp_path,
        serving="""\
        import os, signal

        def serve():
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            open("ready", "w").close()
            while True:
                signal.pause()
        """,
    )
    seen = run(
        tmp_path,
        """\
        tasks:
          - {name: server, target: "serving:serve", daemon: true, ready: {file: ready}}
          - {target: "ends:returns", name: it, depends_on: server}
        """,
    )
    assert (seen.code, seen.outcome("server")) == (0, "stopped")


def test_unfinished_task_runs_again_at_resume(tmp_path):
    """(C61)"""
    job = "tasks: [{target: 'ends:leaves_once', args: [flag], name: it}]"
    assert run(tmp_path, job).code == 1
    resumed = mprun("resume", cwd=tmp_path)
    assert (resumed.code, resumed.outcome("it")) == (0, "succeeded")


def test_a_mark_of_an_attempt_long_ago_does_not_count(tmp_path):
    """(C61) A mark is a byte, so attempt 256 would make the mark of the first, which came to its end."""
    code = """
    import os

    def ends_once():
        attempt = int(os.environ["MPRUN_ATTEMPT"])
        if attempt > 1:
            os._exit(0 if attempt > 255 else 1)
        return attempt
    """
    retry = "retry: {retries: 255, delay: 0}"
    job = f"tasks: [{{target: 'once:ends_once', name: it, {retry}, expect: {{result: 2}}}}]"
    write(tmp_path, once=code)
    seen = run(tmp_path, job)
    assert seen.one("task_finished", "it")["reason"] == BEFORE_RETURN
    assert seen.of("task_exited", "it")[-1]["attempt"] == 256


def test_without_room_for_the_marks_no_task_makes_any(monkeypatch):
    """As with a limit on the size of files: then the exit code alone decides."""

    def refuse(*_):
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(end_marks.os, "truncate", refuse)
    monkeypatch.setattr(end_marks.worker, "map_marks", lambda _: pytest.fail("there is no room for marks"))
    before = os.listdir("/proc/self/fd")
    end_marks.create()
    assert end_marks._file == []
    assert len(os.listdir("/proc/self/fd")) == len(before)
