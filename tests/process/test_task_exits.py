"""Every way in which a task can end is recorded as the kernel shows it, under every start method."""

from __future__ import annotations

import resource
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.runs import START_METHODS, alive, mprun, survivors, write

every_start_method = pytest.mark.parametrize("method", START_METHODS)


class AttemptResult(NamedTuple):
    """The body of a task, and what is expected in the record."""

    name: str
    body: str
    exit_code: int = 0
    signal: str | None = None
    error: tuple[str, str] | None = None
    result: Any = None
    kind: str = "none"
    # The output after `before`, if the log contains nothing else.
    printed: list[str] | None = None
    # Whether the process ended by itself, and so could measure itself.
    killed: bool = False


def gives(name, body, kind, result=None):
    return AttemptResult(name, body, result=result, kind=kind, printed=[])


def exits(name, body, code, error=None, printed=()):
    return AttemptResult(name, body, code, error=error and ("SystemExit", error), printed=list(printed))


def kills(name, signal, number=None):
    body = f"os.kill(os.getpid(), {number or f'signal.{signal}'})"
    return AttemptResult(
        name, body, -(number or getattr(__import__("signal"), signal)), signal, printed=[], killed=True
    )


def raises(name, body, kind, message=""):
    return AttemptResult(name, body, 1, error=(kind, message))


def nested(depth):
    return [nested(depth - 1)] if depth > 1 else []


VALUES = [
    gives("nothing", "return None", "none"),
    gives(
        "a_json_value",
        "return {'rows': [1, 2.5, 'é', None, True]}",
        "json",
        {"rows": [1, 2.5, "é", None, True]},
    ),
    gives("a_falsity", "return False", "json", False),
    gives("a_tuple", "return 1, (2, 3)", "json", [1, [2, 3]]),
    gives("integer_keys", "return {1: 'a'}", "json", {"1": "a"}),
    gives("half_a_character", r"return '\ud800'", "json", "\ud800"),
    gives("as_much_as_fits", "return 'x' * (64 * 1024 - 2)", "json", "x" * (64 * 1024 - 2)),
    gives("a_byte_too_much", "return 'x' * (64 * 1024 - 1)", "file"),
    gives("as_deep_as_json_takes", "return deepest()", "file"),
    gives("as_deep_as_fits", "return nested(100)", "json", nested(100)),
    gives("a_level_too_much", "return nested(101)", "file"),
    gives("an_object", "return Plain()", "repr"),
    gives("a_set", "return {1}", "repr"),
    gives("not_a_number", "return [float('nan')]", "repr"),
    gives("a_circle", "return circle()", "repr"),
    gives("too_deep", "return nested(200_000)", "repr"),
    gives("no_repr", "return Silent()", "repr"),
    gives("too_many_digits", "return 10 ** 5000", "repr"),
    exits("exit_nothing", "sys.exit()", 0),
    exits("exit_0", "sys.exit(0)", 0),
    exits("exit_false", "sys.exit(False)", 0),
]
FAILURES = [
    exits("exit_3", "sys.exit(3)", 3, "3"),
    exits("exit_256", "sys.exit(256)", 1, "256"),
    exits("exit_minus_1", "sys.exit(-1)", 255, "-1"),
    exits("exit_true", "sys.exit(True)", 1, "True"),
    exits("exit_2_5", "sys.exit(2.5)", 1, "2.5", ["2.5"]),
    exits("exit_text", "sys.exit('so it goes')", 1, "so it goes", ["so it goes"]),
    AttemptResult("left_with_0", "os._exit(0)", 0, printed=[], killed=True),
    AttemptResult("left_with_7", "os._exit(7)", 7, printed=[], killed=True),
    kills("sigkill", "SIGKILL"),
    kills("sigsegv", "SIGSEGV"),
    kills("sigabrt", "SIGABRT"),
    kills("sigterm", "SIGTERM"),
    kills("a_signal_without_a_name", "signal 42", 42),
    AttemptResult("its_own_group", "os.kill(0, signal.SIGKILL)", -9, "SIGKILL", printed=[], killed=True),
    raises("value_error", "raise ValueError('no')", "ValueError", "no"),
    raises("without_words", "assert False", "AssertionError"),
    raises("with_colons", "raise KeyError('a: b: c')", "KeyError", "'a: b: c'"),
    raises("two_lines", r"raise ValueError('one\ntwo')", "ValueError", "one\ntwo"),
    raises("cannot_be_rebuilt", "raise Odd(1, 2)", "Odd", "1 and 2"),
    raises("cannot_be_said", "raise Mute()", "Mute", "<exception str() failed>"),
    raises("long_winded", "raise ValueError('x' * 10_000)", "ValueError", "x" * 2000),
    raises("recursion", "recur()", "RecursionError", "maximum recursion depth exceeded"),
    raises("memory_error", "raise MemoryError", "MemoryError"),
    raises("no_such_memory", "bytearray(1 << 60)", "MemoryError"),
    raises("interrupted", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    raises(
        "a_group",
        "raise ExceptionGroup('both', [ValueError(1), OSError(2)])",
        "ExceptionGroup",
        "both (2 sub-exceptions)",
    ),
]
MODULE = """\
    import json, os, signal, sys

    class Plain:
        def __repr__(self):
            return "Plain()"

    class Silent:
        def __repr__(self):
            raise ZeroDivisionError

    class Odd(Exception):
        def __init__(self, first, second):
            super().__init__(f"{first} and {second}")

    class Mute(Exception):
        def __str__(self):
            raise ZeroDivisionError

    def recur():
        recur()

    def circle():
        found = []
        found.append(found)
        return found

    def nested(depth):
        found = []
        for _ in range(depth - 1):
            found = [found]
        return found

    def deepest():
        low, high = 1, 200_000
        while high - low > 1:
            middle = (low + high) // 2
            try:
                json.dumps(nested(middle))
                low = middle
            except RecursionError:
                high = middle
        # From Python 3.14 on the size of C's stack is the limit, and a level takes some hundred bytes of it.
        return nested(low - low // 100 if sys.version_info >= (3, 14) else low)
"""


def write_job(directory, endings):
    functions = [f"def {e.name}():\n    print('before')\n    {e.body}\n" for e in endings]
    write(directory, work=textwrap.dedent(MODULE) + "\n".join(functions))
    write(
        directory, job="tasks:\n" + "".join(f"- {{name: {e.name}, target: work:{e.name}}}\n" for e in endings)
    )


def without_cores():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """The run of a list of endings under a start method; each runs once."""
    kept = {}

    def run(endings, method):
        key = (len(endings), method)
        if key not in kept:
            directory = tmp_path_factory.mktemp(f"endings-{method}")
            write_job(directory, endings)
            kept[key] = mprun("job.yaml", "--start-method", method, cwd=directory, preexec_fn=without_cores)
        return kept[key]

    return run


def the_table(test):
    rows = [pytest.param(endings, e, id=e.name) for endings in (VALUES, FAILURES) for e in endings]
    return every_start_method(pytest.mark.parametrize(("endings", "ending"), rows)(test))


@the_table
def test_the_record_has_the_exit_the_error_and_the_result(run_of, method, endings, ending):
    run = run_of(endings, method)
    exited, finished = run.one("task_exited", ending.name), run.one("task_finished", ending.name)
    assert (exited["exit_code"], exited["signal"]) == (ending.exit_code, ending.signal)
    assert (exited["core_dumped"], exited["orphans"]) == (False, [])
    words = f"killed by {ending.signal}" if ending.signal else f"exit {ending.exit_code}"
    expected = ("failed", words) if ending.exit_code else ("succeeded", "")
    if ending.name == "left_with_0":
        expected = ("failed", "it ended before its target returned (exit 0)")
    assert (finished["outcome"], finished["reason"]) == expected
    assert exited["error"] == (ending.error and dict(zip(("type", "message"), ending.error, strict=True)))
    assert (finished["result_kind"], finished["result"]) == (ending.kind, ending.result)


@the_table
def test_output_before_the_end_is_kept(run_of, method, endings, ending):
    run = run_of(endings, method)
    lines = run.log(ending.name).decode().splitlines()
    assert run.printed(ending.name) == lines
    if ending.printed is not None:
        assert lines == ["before", *ending.printed]
    else:
        # Only frames of the user, none of mprun or multiprocessing.
        assert lines[0] == "before"
        assert "Traceback (most recent call last):" in lines[1]
        files = {line.split('"')[1] for line in lines if line.lstrip("| ").startswith('File "')}
        assert [Path(file).name for file in files] == ["work.py"]


@the_table
def test_cpu_time_and_memory_are_known_wherever_they_can_be_measured(run_of, method, endings, ending):
    exited = run_of(endings, method).one("task_exited", ending.name)
    if method == "forkserver" and ending.killed:
        assert (exited["cpu"], exited["max_rss"]) == (None, None)
    else:
        assert exited["cpu"] > 0
        assert exited["max_rss"] > 1_000_000


@every_start_method
def test_a_run_whose_tasks_all_succeed_exits_0(run_of, method):
    run = run_of(VALUES, method)
    assert (run.code, survivors(run.events)) == (0, [])
    assert run.one("run_finished")["counts"] == {"succeeded": len(VALUES)}


@every_start_method
def test_a_run_with_failed_tasks_exits_1_and_reports_each_in_a_line(run_of, method):
    run = run_of(FAILURES, method)
    assert (run.code, survivors(run.events)) == (1, [])
    assert run.one("run_finished")["counts"] == {"failed": len(FAILURES)}
    lines = run.stderr.splitlines()
    assert "value_error failed: exit 1 (ValueError: no)" in lines
    assert "two_lines failed: exit 1 (ValueError: one two)" in lines
    assert "exit_256 failed: exit 1 (SystemExit: 256)" in lines
    assert "sigsegv failed: killed by SIGSEGV" in lines
    assert "Traceback" not in run.stderr


@every_start_method
def test_results_that_are_not_json_stay_in_files(run_of, method):
    run = run_of(VALUES, method)

    def left(name, suffix):
        return Path(f"{run.directory.result(name, 1)}.{suffix}").read_text("utf-8")

    assert left("an_object", "repr") == "Plain()"
    assert left("a_set", "repr") == "{1}"
    assert left("not_a_number", "repr") == "[nan]"
    assert left("a_circle", "repr") == "[[...]]"
    assert left("no_repr", "repr") == "<Silent, whose repr raised ZeroDivisionError>"
    assert left("too_deep", "repr") == "<list, whose repr raised RecursionError>"
    assert left("too_many_digits", "repr") == "<int, whose repr raised ValueError>"
    assert left("a_byte_too_much", "json") == '"' + "x" * (64 * 1024 - 1) + '"'
    unfinished = list(Path(run.directory.path, "results").glob("*.part"))
    assert unfinished == []


# ---- orphans, threads and output

LEFTOVERS = """\
    import ctypes, io, multiprocessing, os, signal, subprocess, sys, threading, time

    libc = ctypes.CDLL(None)

    def double_fork():
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
                os.write(writer, str(os.getpid()).encode())
                signal.pause()
            os._exit(0)
        # On a busy machine it may still exist at the end of the task, and would be an orphan as well.
        os.waitpid(child, 0)
        return int(os.read(reader, 100))

    def leave_a_daemon():
        return [double_fork()]

    def leave_two_and_fail():
        print(double_fork(), double_fork())
        raise ValueError("left two")

    def leave_children_in_the_group():
        return [subprocess.Popen(["sleep", "60"]).pid for _ in range(2)]

    def leave_a_family():
        command = ["sh", "-c", "setsid sleep 60 & echo $!; wait"]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        return [parent.pid, int(parent.stdout.readline())]

    def collect_its_own():
        subprocess.run(["true"])
        child = multiprocessing.Process(target=print, args=("from a child",))
        child.start()
        child.join()
        with multiprocessing.Pool(2) as pool:
            return pool.map(abs, [-1, 2])

    def outlived_by_a_thread():
        def live_on():
            time.sleep(0.3)
            print("the thread ends")
        threading.Thread(target=live_on).start()
        print("the target ends")
        return threading.active_count()

    def not_outlived_by_a_daemon_thread():
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

    def close_descriptor_1():
        print("before")
        os.close(1)
        return "closed"

    def print_to_a_closed_descriptor():
        os.close(1)
        print("not seen")

    def close_stdout():
        print("before")
        sys.stdout.close()
        return "closed"

    def replace_stdout():
        sys.stdout = io.StringIO()
        print("not seen")
        return sys.stdout.getvalue()

    def remove_both_and_raise():
        sys.stdout = sys.stderr = None
        raise ValueError("unheard")

    def close_stderr_and_exit():
        sys.stderr.close()
        sys.exit("unheard")

    def print_half_a_line():
        print("half a line", end="")

    def print_half_a_line_and_have_a_child():
        print("half a line", end="")
        child = multiprocessing.Process(target=print, args=(" from a child",))
        child.start()
        child.join()
        subprocess.run(["echo", "echoed"])

    def print_from_c():
        libc.printf(b"from C, without a line feed")

    def write_bytes():
        os.write(1, bytes(range(256)) + b"\\n")
        sys.stdout.buffer.write(b"\\xff\\x00")
        print("\\ud800 and \\xe4")

    def print_at_exit():
        import atexit
        atexit.register(print, "at exit", end="")
"""


NOISY = """\
    import ctypes

    print("at import", end="")
    ctypes.CDLL(None).printf(b" and from C")

    def import_noisily():
        pass
"""


@pytest.fixture(scope="module")
def leftovers(tmp_path_factory):
    """The run of a task for each function of LEFTOVERS; it runs once for each start method."""
    kept = {}

    def run(method):
        if method not in kept:
            directory = tmp_path_factory.mktemp(f"leftovers-{method}")
            write(directory, work=LEFTOVERS, noisy=NOISY)
            names = [
                line.split()[1].partition("(")[0]
                for line in LEFTOVERS.splitlines()
                if line.startswith("    def ")
            ]
            tasks = "".join(
                f"- {{name: {name}, target: 'work:{name}'}}\n" for name in names if name != "double_fork"
            )
            write(
                directory,
                job=f"max_parallel: 1\ntasks:\n- target: noisy:import_noisily\n  name: noisy\n{tasks}",
            )
            kept[method] = mprun("job.yaml", "--start-method", method, cwd=directory)
        return kept[method]

    return run


def gone(pids):
    return not any(map(alive, pids))


@every_start_method
def test_a_grandchild_in_a_session_of_its_own_is_killed_and_reported(leftovers, method):
    run = leftovers(method)
    pids = run.result("leave_a_daemon")
    assert run.one("task_exited", "leave_a_daemon")["orphans"] == pids
    assert (run.outcome("leave_a_daemon"), gone(pids)) == ("succeeded", True)


@every_start_method
def test_orphans_of_a_failed_task_are_killed_and_do_not_change_its_outcome(leftovers, method):
    run = leftovers(method)
    exited = run.one("task_exited", "leave_two_and_fail")
    pids = [int(word) for word in run.printed("leave_two_and_fail")[0].split()]
    assert sorted(exited["orphans"]) == sorted(pids)
    assert exited["error"] == {"type": "ValueError", "message": "left two"}
    assert (run.outcome("leave_two_and_fail"), gone(pids)) == ("failed", True)


@every_start_method
def test_children_with_the_log_open_do_not_delay_the_end_and_are_killed_and_reported(leftovers, method):
    run = leftovers(method)
    exited = run.one("task_exited", "leave_children_in_the_group")
    pids = run.result("leave_children_in_the_group")
    assert (exited["duration"] < 30, gone(pids)) == (True, True)
    assert sorted(exited["orphans"]) == sorted(pids)


@every_start_method
def test_orphans_of_orphans_are_killed_and_reported(leftovers, method):
    run = leftovers(method)
    pids = run.result("leave_a_family")
    assert sorted(run.one("task_exited", "leave_a_family")["orphans"]) == sorted(pids)
    assert gone(pids)


@every_start_method
def test_a_task_that_reaps_its_children_has_no_orphans(leftovers, method):
    run = leftovers(method)
    assert run.result("collect_its_own") == [1, 2], run.log("collect_its_own").decode()
    # Under forkserver multiprocessing starts a fork server in the task and does not stop it: it is
    # killed, unless it has noticed the end of the task and ended by itself.
    assert len(run.one("task_exited", "collect_its_own")["orphans"]) <= (method == "forkserver")
    assert run.printed("collect_its_own") == ["from a child"]


@every_start_method
def test_a_thread_that_is_not_a_daemon_is_waited_for(leftovers, method):
    run = leftovers(method)
    exited = run.one("task_exited", "outlived_by_a_thread")
    assert run.printed("outlived_by_a_thread") == ["the target ends", "the thread ends"]
    assert exited["duration"] >= 0.3
    assert exited["threads"] == run.result("outlived_by_a_thread") == 2
    assert run.outcome("outlived_by_a_thread") == "succeeded"


@every_start_method
def test_a_task_does_not_wait_for_a_daemon_thread(leftovers, method):
    run = leftovers(method)
    exited = run.one("task_exited", "not_outlived_by_a_daemon_thread")
    assert (exited["exit_code"], exited["threads"]) == (0, 2)
    assert exited["duration"] < 30


@every_start_method
def test_a_daemon_that_starts_a_child_fails_with_multiprocessings_own_error(tmp_path, method):
    write(
        tmp_path,
        work="from multiprocessing import Process\ndef have_a_child():\n    Process(target=print).start()\n",
        job="tasks: [{name: parent, target: 'work:have_a_child', daemon: true}]\njoin: [parent]\n",
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    message = "daemonic processes are not allowed to have children"
    assert run.one("task_exited", "parent")["error"] == {"type": "AssertionError", "message": message}
    assert (run.code, run.outcome("parent")) == (1, "failed")


@every_start_method
@pytest.mark.parametrize(
    ("task", "log"),
    [("close_descriptor_1", b"before\n"), ("close_stdout", b"before\n"), ("replace_stdout", b"")],
)
def test_a_task_may_close_or_replace_its_standard_output(leftovers, method, task, log):
    run = leftovers(method)
    exited = run.one("task_exited", task)
    assert (exited["exit_code"], exited["error"], run.outcome(task)) == (0, None, "succeeded")
    assert run.log(task) == log
    assert run.result(task) == ("not seen\n" if task == "replace_stdout" else "closed")


@every_start_method
def test_an_error_is_recorded_even_if_there_is_no_stream_to_print_it_on(leftovers, method):
    run = leftovers(method)
    ended = {
        task: run.one("task_exited", task)
        for task in ("remove_both_and_raise", "close_stderr_and_exit", "print_to_a_closed_descriptor")
    }
    # A spawned Python exits with 120 if it cannot write its buffers.
    assert [exited["exit_code"] for exited in ended.values()] == [1, 1, 120 if method == "spawn" else 1]
    errors = [(exited["error"]["type"], exited["error"]["message"]) for exited in ended.values()]
    assert errors[:2] == [("ValueError", "unheard"), ("SystemExit", "unheard")]
    assert errors[2] == ("OSError", "[Errno 9] Bad file descriptor")
    # Python has no stream, but the descriptor is still the log.
    assert run.log("remove_both_and_raise").endswith(b"ValueError: unheard\n")
    assert b"mprun" not in run.log("remove_both_and_raise")


@every_start_method
def test_half_a_line_is_kept_and_printed_once(leftovers, method):
    run = leftovers(method)
    assert run.log("print_half_a_line") == b"half a line"
    assert run.printed("print_half_a_line") == ["half a line"]
    log = run.log("print_half_a_line_and_have_a_child")
    assert log.count(b"half a line") == 1
    assert sorted(log.replace(b"half a line", b"").split(b"\n")) == [b"", b" from a child", b"echoed"]


@every_start_method
def test_text_buffered_at_import_is_printed_once(leftovers, method):
    run = leftovers(method)
    main = Path(run.directory.main_log).read_bytes()
    # The fork server imports the module too.
    times = 2 if method == "forkserver" else 1
    assert (main.count(b"at import"), main.count(b" and from C")) == (times, times)
    log = run.log("noisy")
    # A spawned task imports it as well, and has its own buffer.
    times = 1 if method == "spawn" else 0
    assert (log.count(b"at import"), log.count(b" and from C")) == (times, times)


@every_start_method
def test_text_buffered_by_c_is_kept(leftovers, method):
    log = leftovers(method).log("print_from_c")
    assert log.count(b"from C, without a line feed") == 1


@every_start_method
def test_bytes_are_exact_in_the_log_and_text_is_utf_8(leftovers, method):
    log = leftovers(method).log("write_bytes")
    assert bytes(range(256)) + b"\n" in log
    assert b"\xff\x00" + rb"\ud800 and " + "ä\n".encode() in log


@every_start_method
def test_output_of_exit_handlers_is_kept(leftovers, method):
    assert b"at exit" in leftovers(method).log("print_at_exit")
