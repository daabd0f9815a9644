"""C24: the log of a task that timed out shows where it was, as a traceback would."""

from __future__ import annotations

import io
import json
import os
import re

import pytest
from support.runs import START_METHODS, mprun, side_by_side, write
from support.untried import without_calls

from mprun.launcher import fork, requested_stacks, stack_text, worker

every_start_method = pytest.mark.parametrize("method", START_METHODS)

WORK = """\
    import os, threading, time

    def hang():
        print("before", end="", flush=True)
        wait_in(1)

    def wait_in(depth):
        if depth:
            wait_in(depth - 1)
        time.sleep(60)

    def hang_with_threads():
        threading.Thread(target=wait_in, args=(0,), daemon=True).start()
        wait_in(0)

    def hang_in_c():
        "".join(str(n) for n in range(3))
        sum(range(10**12))

    def leave_a_thread():
        threading.Thread(target=wait_in, args=(0,)).start()

    def chatter():
        def talk():
            while True:
                print("talk", flush=True)
        threading.Thread(target=talk, daemon=True).start()
        wait_in(0)

    def close_everything():
        os.closerange(3, 100)
        files = [os.open(f"own-{n}", os.O_WRONLY | os.O_CREAT) for n in range(20)]
        wait_in(0)
"""


# A new Python may take its time to come to the target.
TIMEOUTS = {"spawn": "5s", "forkserver": "3s", "fork": "800ms"}


def hang(directory, target, keys="timeout: 800ms", *more):
    """The log of a forked task that hangs."""
    write(directory, work=WORK)
    (directory / "job.yaml").write_text(
        f"join: [it]\ntasks: [{{name: it, target: 'work:{target}', {keys}, stop: {{signal: KILL}}}}]\n"
    )
    run = mprun("job.yaml", *more, cwd=directory)
    assert run.code == 1
    return run.log("it").decode()


@pytest.fixture(scope="module")
def hung(tmp_path_factory):
    """By start method and whether there is `memfd_create`: a directory, and the logs of what hung there.

    All of them wait for their timeouts side by side.
    """
    cases = [(method, with_memfd) for method in TIMEOUTS for with_memfd in (True, False)]
    directories = {case: tmp_path_factory.mktemp("hung") for case in cases}

    def go(case):
        (method, with_memfd), directory = case, directories[case]
        task = {"timeout": TIMEOUTS[method], "stop": {"signal": "KILL"}}
        tasks = [{"name": name, "target": f"work:{name}", **task} for name in ("hang", "hang_with_threads")]
        write(directory, work=WORK, job=json.dumps({"max_parallel": 2, "tasks": tasks}))
        built = directory / "built"
        built.mkdir()
        env = {} if with_memfd else without_calls(built, "os.memfd_create")
        run = mprun("--start-method", method, "job.yaml", cwd=directory, env=env)
        assert run.code == 1
        return directory, {task["name"]: run.log(task["name"]).decode() for task in tasks}

    return dict(zip(cases, side_by_side(go, cases), strict=True))


def stack(directory, *calls):
    """What a traceback shows of these calls, each a line number and its source, the outermost first."""
    lines = [(number, text) for number, text in calls]
    functions = {4: "hang", 5: "hang", 8: "wait_in", 9: "wait_in"}
    source = (directory / "work.py").read_text().splitlines()
    return "".join(
        f'  File "{directory}/work.py", line {number}, in {functions.get(number, name)}\n'
        f"    {source[number - 1].strip()}\n"
        for number, name in lines
    )


# Without: a Python that was built without it shows the stacks as well.
with_or_without_memfd = pytest.mark.parametrize("with_memfd", [True, False], ids=["memfd", "no memfd"])


@every_start_method
@with_or_without_memfd
def test_the_stack_of_a_timeout_reads_as_a_traceback_of_the_task(hung, method, with_memfd):
    directory, logs = hung[method, with_memfd]
    calls = stack(directory, (5, "hang"), (9, "wait_in"), (10, "wait_in"))
    assert logs["hang"] == f"before\ntimed out after {TIMEOUTS[method]}; stack of thread MainThread:\n{calls}"


@every_start_method
@with_or_without_memfd
def test_the_stacks_of_all_threads_begin_with_the_main_thread(hung, method, with_memfd):
    directory, logs = hung[method, with_memfd]
    calls = stack(directory, (14, "hang_with_threads"), (10, "wait_in"))
    of_thread = stack(directory, (10, "wait_in"))
    title = f"timed out after {TIMEOUTS[method]}; stack of thread MainThread:\n"
    # Python 3.14 and later know the name of a thread.
    whole = f"{title}{re.escape(calls)}stack of thread (\\S.*):\n{re.escape(of_thread)}"
    assert re.fullmatch(whole, logs["hang_with_threads"])


def test_a_task_that_hangs_in_c_shows_where(tmp_path):
    """Under each start method it is the same handler that shows it."""
    assert hang(tmp_path, "hang_in_c").endswith(stack(tmp_path, (18, "hang_in_c")))


def test_a_thread_that_stays_is_shown_though_the_target_has_returned(tmp_path):
    log = hang(tmp_path, "leave_a_thread")
    assert log.startswith("timed out after 800ms; stack of thread MainThread:\n")
    assert log.endswith(stack(tmp_path, (10, "wait_in")))
    assert "worker.py" not in log


def test_no_byte_of_a_task_is_lost_or_mixed_with_its_stack(tmp_path):
    log = hang(tmp_path, "chatter")
    title = "timed out after 800ms; stack of thread MainThread:\n"
    before, found, after = log.partition(title)
    assert found
    assert set(before.split("\n")) == {"talk", ""}
    rest = after.rpartition(" in talk\n")[2].split("\n")[1:]
    assert set(rest) <= {"talk", ""}


def test_a_run_that_times_out_and_a_service_that_is_not_ready_say_so(tmp_path):
    log = hang(tmp_path, "hang", "description: none", "--timeout", "900ms")
    assert log.startswith("before\nthe run timed out after 900ms; stack of thread MainThread:\n")
    log = hang(tmp_path, "hang", "daemon: true, ready: {file: missing, timeout: 700ms}")
    assert log.startswith("before\nnot ready after 700ms; stack of thread MainThread:\n")


def test_a_task_that_has_files_of_its_own_in_place_of_ours_is_not_asked(tmp_path):
    assert hang(tmp_path, "close_everything") == ""
    assert {path.stat().st_size for path in tmp_path.glob("own-*")} == {0}


# ---- the text alone

OURS = worker.__file__
THREADING = stack_text.threading.__file__


def test_remarks_long_stacks_and_odd_names_are_kept(tmp_path):
    source = tmp_path / "naïve.py"
    source.write_text("one\n  two  \n", encoding="utf-8")
    escaped = str(source).replace("ï", "\\xef")
    dumped = (
        "Thread 0x00007f0000000001 [pool worker] (most recent call first):\n"
        "  <no Python frame>\n"
        "\n"
        "Thread 0x00007f0000000002 (most recent call first):\n"
        f'  File "{THREADING}", line 1 in wait\n'
        f'  File "{THREADING}", line 2 in run\n'
        f'  File "{THREADING}", line 3 in _bootstrap_inner\n'
        f'  File "{THREADING}", line 4 in _bootstrap\n'
        "\n"
        "Current thread 0x00007f0000000003 [mprun: it] (most recent call first):\n"
        "  Garbage-collecting\n"
        f'  File "{escaped}", line 2 in two in one\n'
        '  File "gone.py", line 7 in f\n'
        "  ...\n"
    )
    assert stack_text.describe(dumped, "asked", 5) == (
        "asked; stack of thread MainThread:\n"
        "  ...\n"
        '  File "gone.py", line 7, in f\n'
        f'  File "{escaped}", line 2, in two in one\n'
        "    two\n"
        "  Garbage-collecting\n"
        "stack of thread 0x00007f0000000002:\n"
        f'  File "{THREADING}", line 1, in wait\n'
        f"    {stack_text._source_lines(THREADING, {1})[1]}\n"
        "stack of thread pool worker:\n"
        "  <no Python frame>\n"
        "2 more threads run no Python code\n"
    )


def test_a_dump_that_says_nothing_is_said(tmp_path):
    assert stack_text.describe("", "asked", 1) == "asked; no stack of it is known\n"


def test_a_source_that_is_a_pipe_or_a_directory_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    assert stack_text._source_lines(str(tmp_path / "pipe.py"), {1}) == {}
    assert stack_text._source_lines(str(tmp_path), {1}) == {}
    assert stack_text._source_lines(OURS, {10**9}) == {}


@pytest.mark.parametrize("name", ["x\\uZZ.py", "x\\q.py", "x\\x00.py", "x\\ud800.py", "x\\", "<string>"])
@pytest.mark.filterwarnings("error")
def test_a_name_that_is_not_of_a_file_has_no_source(name):
    dumped = f'Thread 0x1 (most recent call first):\n  File "{name}", line 1 in f\n'
    title = "asked; stack of thread MainThread:\n"
    assert stack_text.describe(dumped, "asked", 1) == f'{title}  File "{name}", line 1, in f\n'


def test_a_source_is_read_once_and_no_further_than_needed(tmp_path, monkeypatch):
    source = tmp_path / "long.py"
    source.write_text("".join(f"line {number}\n" for number in range(1, 100_001)))
    read = []

    class Counted(io.TextIOWrapper):
        def readline(self, *size):
            read.append(super().readline(*size))
            return read[-1]

    def open_counted(path, **options):
        return Counted(io.FileIO(path), **options)

    monkeypatch.setattr(stack_text, "open", open_counted, raising=False)
    frames = "".join(f'  File "{source}", line {number} in f\n' for number in (7, 3, 7, 5, 3) * 20)
    shown = stack_text.describe(f"Thread 0x1 (most recent call first):\n{frames}" * 3, "asked", 1)
    assert (shown.count("    line 7\n"), shown.count("    line 3\n")) == (120, 120)
    assert read == [f"line {number}\n" for number in range(1, 8)]


def test_no_more_of_a_source_is_read_than_its_limit(tmp_path, monkeypatch):
    source = tmp_path / "long.py"
    source.write_text("first\n" + "x" * 1000 + "\nlast\n")
    monkeypatch.setattr(stack_text, "_MAX_SOURCE", 10)
    assert stack_text._source_lines(str(source), {1, 2, 3}) == {1: "first", 2: "xxxx"}


# ---- what fails here must not end the launcher, and the run with it


def test_a_code_object_whose_name_is_not_of_a_file_does_not_end_the_run(tmp_path):
    code = repr("import time\ntime.sleep(100)")
    write(tmp_path, work=f'def hang(): exec(compile({code}, "x\\\\uZZ.py", "exec"))\ndef other(): pass\n')
    (tmp_path / "job.yaml").write_text(
        "max_parallel: 1\ntasks:\n"
        "  - {name: a, target: 'work:hang', timeout: 800ms}\n"
        "  - {name: b, target: 'work:other'}\n"
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.outcome("a"), run.outcome("b")) == (1, "timed_out", "succeeded")
    assert '  File "x\\uZZ.py", line 2, in <module>\n' in run.log("a").decode()


@pytest.mark.parametrize("log", ["there", "missing"])
def test_a_dump_of_which_no_traceback_can_be_made_is_in_the_log_as_it_is(tmp_path, monkeypatch, log):
    (tmp_path / "there").write_text("before")
    stacks = os.memfd_create("stacks")
    os.write(stacks, b"what was dumped\n")
    fork.private_descriptors.add(stacks)
    monkeypatch.setattr(stack_text, "describe", lambda *_: 1 / 0)
    requested_stacks.Dump(
        (("it", 1), "TERM", "", "group"), "asked", str(tmp_path / log), 0, stacks
    ).write_to_log()
    assert stacks not in fork.private_descriptors
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(stacks)
    expected = "before\nasked; stacks:\nwhat was dumped\n" if log == "there" else "before"
    assert (tmp_path / "there").read_text() == expected
