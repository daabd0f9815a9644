"""The output of tasks: of a finished run and of an active one, to the last byte."""

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.records import FINISHED, STARTED, ended, exited, record, started
from support.runs import TIMEOUT, complaint, environment, eventually, finish, mprun, start, write
from support.terminal import on_terminal

import mprun as mprun_package
from mprun.record.state_dir import RunDirectory

WORK = """
    import os
    import sys
    import time

    print("imported")

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.005)

    def talk(name, rest=""):
        print(name, "one", flush=True)
        wait_for("go")
        print(name, "two")
        print(rest, end="")

    def quiet():
        wait_for("go")

    def flaky():
        print("try", os.environ["MPRUN_ATTEMPT"], end="", flush=True)
        if os.environ["MPRUN_ATTEMPT"] < "3":
            os._exit(1)

    def commands():
        print("::error::one")
        print("  ::warning file=a::two")
        print("a ##[group]three")
        print("b\\r::debug::four")
        print("\\u200b::notice::five")
        print("c::d")

    def binary():
        os.write(1, bytes(range(256)) + b"\\nno line feed")
    """
JOB = """
    tasks:
      - {name: a, target: work:talk, args: [a, rest]}
      - {name: 'm', target: work:talk, args: ['${matrix.n}'], matrix: {n: [1, 2]}}
      - {name: later, target: work:talk, args: [later], depends_on: a}
    """


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    return tmp_path


@pytest.fixture
def going(desk):
    """A run with three tasks that wait for a file named `go`."""
    process = start("-q", "--output", "none", "job.yaml", cwd=desk)
    runs = desk / ".mprun" / "runs"
    try:
        eventually(lambda: sum(path.stat().st_size > 0 for path in runs.glob("*/logs/*.1.log")) == 3)
        yield desk
    finally:
        (desk / "go").touch()
        assert finish(process, desk / ".mprun").code == 0


def read(directory, *arguments, **options):
    """The exit code of `mprun ARGUMENTS`, the bytes of stdout, and the text of stderr."""
    process = start(*arguments, cwd=directory, **options)
    output, stderr = process.communicate(timeout=TIMEOUT)
    # A failed task's own traceback may be shown.
    assert os.fsencode(os.path.dirname(mprun_package.__file__)) not in stderr
    return process.returncode, output, stderr.decode()


def lines_of(process, number):
    """The first lines of output of a process."""
    return [process.stdout.readline().decode() for _ in range(number)]


def rest_of(process):
    output, stderr = process.communicate(timeout=TIMEOUT)
    return process.returncode, output.decode(), stderr.decode()


# -- following


def test_following_shows_earlier_and_new_output_until_the_run_ends(going):
    process = start("logs", "-f", cwd=going)
    first = lines_of(process, 4)
    assert sorted(line.split(" | ")[1] for line in first) == ["1 one\n", "2 one\n", "a one\n", "imported\n"]
    (going / "go").touch()
    code, output, stderr = rest_of(process)
    assert (code, stderr) == (0, "")
    shown = [re.split(r" +\| ", line, maxsplit=1) for line in [*first, *output.splitlines(keepends=True)]]
    for name in ("a", "m[n=1]", "m[n=2]", "later"):
        (log,) = going.glob(f".mprun/runs/*/logs/{name.replace('[', '[[]')}.1.log")
        text = log.read_text()
        assert "".join(text for task, text in shown if task == name) == text + "\n" * (text[-1] != "\n")
    # It runs after the end of the other, and so it is shown.
    assert shown.index(["a", "rest\n"]) < shown.index(["later", "later one\n"])


def test_one_task_is_followed_to_its_last_byte(going):
    process = start("logs", "--follow", "a", cwd=going)
    assert lines_of(process, 1) == ["a one\n"]
    (going / "go").touch()
    assert rest_of(process) == (0, "a two\nrest", "")


def test_a_task_that_has_not_started_is_waited_for(going):
    process = start("logs", "-f", "later", cwd=going)
    warning = process.stderr.readline().decode()
    assert warning.startswith("warning: task `later` of run ")
    assert warning.endswith(" has not started yet; waiting for it\n")
    (going / "go").touch()
    assert rest_of(process) == (0, "later one\nlater two\n", "")


def test_a_task_that_has_not_started_has_neither_a_log_nor_a_result(going):
    (run,) = (path.name for path in (going / ".mprun" / "runs").iterdir())
    later = f"error: task `later` of run {run} has not started\n"
    assert read(going, "logs", "later") == (2, b"", later)
    assert read(going, "logs", "lat*") == (2, b"", later.replace("later", "lat*"))
    assert read(going, "logs", "latr")[2].endswith("has no task `latr`; did you mean `later`?\n")
    later = "error: task `later` has no result: it has not started\n"
    assert read(going, "result", "later") == (2, b"", later)
    assert read(going, "result", "latr")[2].endswith("has no task `latr`; did you mean `later`?\n")


def test_task_that_never_appears_is_an_error_at_the_end(going):
    process = start("logs", "-f", "latr", cwd=going)
    assert b"waiting for it" in process.stderr.readline()
    (going / "go").touch()
    code, output, stderr = rest_of(process)
    assert (code, output) == (2, "")
    assert "has no task `latr`; did you mean `later`?" in stderr


def test_following_a_finished_run_shows_its_logs(going):
    (going / "go").touch()
    runs = going / ".mprun" / "runs"
    eventually(lambda: b"run_finished" in next(runs.glob("*/events.jsonl")).read_bytes())
    assert read(going, "logs", "-f", "a") == (0, b"a one\na two\nrest", "")


def test_ctrl_c_ends_logs_follow_but_not_the_run(going):
    process = start("logs", "-f", "a", cwd=going)
    assert lines_of(process, 1) == ["a one\n"]
    process.send_signal(signal.SIGINT)
    code, output, stderr = rest_of(process)
    assert (code, output, stderr.strip()) == (130, "", "")
    assert "running: " in read(going, "show")[1].decode()


def test_follow_ends_when_its_reader_is_gone(going):
    """Even if no more output follows."""
    reader, writer = os.pipe()
    process = start("logs", "-f", cwd=going, stdout=writer)
    os.close(writer)
    assert os.read(reader, 1)
    os.close(reader)
    _, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stderr) == (0, b"")


def test_a_pipe_into_head_ends(going):
    command = f"{sys.executable} -m mprun logs -f | head -1"
    answer = subprocess.run(
        ["bash", "-c", command], cwd=going, env=environment(), capture_output=True, timeout=TIMEOUT
    )
    assert (answer.stdout.count(b"\n"), answer.stderr) == (1, b"")


def test_following_as_json(going):
    process = start("logs", "-f", "--json", "m", "a", cwd=going)
    first = [json.loads(line) for line in lines_of(process, 3)]
    assert {line["line"] for line in first} == {"a one", "1 one", "2 one"}
    (going / "go").touch()
    code, output, stderr = rest_of(process)
    assert (code, stderr) == (0, "")
    lines = [*first, *map(json.loads, output.splitlines())]
    assert [line["line"] for line in lines if line["task"] == "a"] == ["a one", "a two", "rest"]
    assert {line["attempt"] for line in lines} == {1}
    assert {line["task"] for line in lines} == {"a", "m[n=1]", "m[n=2]"}


def test_a_run_whose_engine_is_killed_is_followed_to_its_end(desk):
    process = start("-q", "--output", "none", "job.yaml", cwd=desk)
    eventually(lambda: [path for path in desk.glob(".mprun/runs/*/logs/a.1.log") if path.stat().st_size])
    follower = start("logs", "-f", "a", cwd=desk)
    assert lines_of(follower, 1) == ["a one\n"]
    process.kill()
    finish(process, desk / ".mprun")
    code, output, stderr = rest_of(follower)
    assert (code, output) == (0, "")
    assert "was interrupted: mprun itself was killed\n" in stderr


def test_following_does_not_poll_fast(going):
    """Counts the calls of poll(2): ten per second."""
    program = """
        import select, sys
        real, calls = select.poll, []
        class Poll:
            def __init__(self): self.poll_ = real()
            def register(self, *a): self.poll_.register(*a)
            def poll(self, milliseconds):
                calls.append(milliseconds)
                if len(calls) == 5:
                    print(calls, file=sys.stderr)
                    raise KeyboardInterrupt
                return self.poll_.poll(milliseconds)
        select.poll = Poll
        sys.argv = ["mprun", "logs", "-f", "a"]
        from mprun.__main__ import main
        main()
        """
    write(going, follow=program)
    answer = subprocess.run(
        [sys.executable, "follow.py"], cwd=going, env=environment(), capture_output=True, timeout=TIMEOUT
    )
    assert answer.returncode == 130
    assert answer.stderr.strip() == b"[100.0, 100.0, 100.0, 100.0, 100.0]"


# -- names, groups, patterns, attempts


@pytest.fixture
def many(tmp_path):
    """A record of tasks of a matrix, a `foreach` and a recipe, with the output of each."""
    names = ["fit[n=1]", "fit[n=2]", "each[0]", "load/a", "load/b[n=1]", "fitting", "main thing"]
    name = record(
        tmp_path,
        [STARTED, *(started(task, pid=n) for n, task in enumerate(names, 100))]
        + [exited(task, pid=n) for n, task in enumerate(names, 100)]
        + [ended()],
    )
    directory = RunDirectory(str(tmp_path / ".mprun" / "runs" / name))
    for task in names:
        Path(directory.log(task, 1)).write_text(f"{task}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["fit"], ["fit[n=1]", "fit[n=2]"]),
        (["fit*"], ["fit[n=1]", "fit[n=2]", "fitting"]),
        (["fit[n=?]"], ["fit[n=1]", "fit[n=2]"]),
        (["f?t"], ["fit[n=1]", "fit[n=2]"]),
        (["load"], ["load/a", "load/b[n=1]"]),
        (["load/b"], ["load/b[n=1]"]),
        (["fitting", "each"], ["fitting", "each[0]"]),
        (["*", "fitting"], None),
    ],
    ids=str,
)
def test_name_group_or_pattern_selects_tasks(words, meant, many):
    code, output, stderr = read(many, "logs", *words)
    assert (code, stderr) == (0, "")
    shown = [line.partition(" | ") for line in output.decode().splitlines()]
    assert all(name.rstrip() == text for name, _, text in shown)
    if meant is None:
        assert len(shown) == 7
    else:
        assert [text for *_, text in shown] == meant


def test_log_of_a_single_task_has_no_prefix(many):
    assert read(many, "logs", "fit[n=1]") == (0, b"fit[n=1]\n", "")


@pytest.mark.parametrize(("word", "message"), [("fti", "did you mean `fit`?"), ("x*", "known tasks: ")])
def test_name_that_matches_no_task_is_an_error(word, message, many):
    code, output, error = read(many, "logs", word)
    assert (code, output) == (2, b"")
    assert message in error


def test_attempts_are_separated_on_stderr_and_can_be_chosen(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: f, target: 'work:flaky', retry: 2}]")
    run = mprun("-q", "job.yaml", cwd=tmp_path)
    assert run.code == 0
    stderr = "--- f: attempt 1 ---\n--- f: attempt 2 ---\n--- f: attempt 3 ---\n"
    # An unfinished line gets a line feed if something follows it.
    assert read(tmp_path, "logs", "f") == (0, b"try 1\ntry 2\ntry 3", stderr)
    assert read(tmp_path, "logs", "*")[1:] == (
        b"main | imported\nf    | try 1\nf    | try 2\nf    | try 3\n",
        stderr,
    )
    assert read(tmp_path, "logs", "f", "--attempt", "2") == (0, b"try 2", "")
    code, output, stderr = read(tmp_path, "logs", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert lines == [
        {"task": "main", "attempt": None, "line": "imported"},
        *({"task": "f", "attempt": number, "line": f"try {number}"} for number in (1, 2, 3)),
    ]
    assert stderr == ""
    code, output, stderr = read(tmp_path, "logs", "f", "--attempt", "4")
    assert (code, output) == (2, b"")
    assert "has no attempt 4 of these tasks" in stderr


# -- some of it


def test_the_last_lines_of_tasks_that_failed(tmp_path):
    """C35. A task may be called `main`, as what the modules print at their import."""
    write(
        tmp_path,
        work="""
            import os

            print("imported")

            def count(number, end):
                print(*range(number), sep=chr(10), end=end, flush=True)
                os._exit(number == 7)
            """,
        job="""
            tasks:
              - {name: good, target: 'work:count', args: [6, ""], expect: {exit_code: 0}}
              - {name: main, target: 'work:count', args: [7, "!"]}
              - {name: bad, target: 'work:count', args: [7, ""], retry: 1, allow_failure: true}
            """,
    )
    assert mprun("-q", "job.yaml", cwd=tmp_path).code == 1
    assert read(tmp_path, "logs", "good", "--tail", "2")[1] == b"4\n5"
    assert read(tmp_path, "logs", "good", "--tail", "9")[1] == b"0\n1\n2\n3\n4\n5"
    assert read(tmp_path, "logs", "good", "--tail", "0")[1] == b""
    code, output, stderr = read(tmp_path, "logs", "--failed", "--tail", "2")
    assert (code, stderr) == (0, "--- bad: attempt 1 ---\n--- bad: attempt 2 ---\n")
    assert output.decode() == "main | 5\nmain | 6!\nbad  | 5\nbad  | 6\nbad  | 5\nbad  | 6\n"
    assert read(tmp_path, "logs", "main", "--tail", "1")[:2] == (0, b"imported\n6!")
    assert read(tmp_path, "logs", "--failed", "good") == (
        0,
        b"",
        f"no task failed in run {newest(tmp_path)}\n",
    )
    assert read(tmp_path, "logs", "-f", "--failed")[0] == 2


def test_times_are_those_at_which_lines_were_seen(tmp_path):
    """A log has none: lines from before have no time."""
    ticking = "echo first; while [ ! -e go ]; do echo tick; sleep 0.05; done"
    write(tmp_path, job=f"tasks: [{{name: a, command: '{ticking}'}}]")
    process = start("-q", "job.yaml", cwd=tmp_path)
    eventually(lambda: [log for log in tmp_path.glob(".mprun/runs/*/logs/a.1.log") if log.read_bytes()])
    reader = start("logs", "-f", "a", "--timestamps", cwd=tmp_path)
    shown = b""
    while not re.search(rb":.* tick\n", shown):
        shown += os.read(reader.stdout.fileno(), 65536)
    (tmp_path / "go").touch()
    shown += reader.communicate(timeout=TIMEOUT)[0]
    finish(process, tmp_path / ".mprun")
    lines = shown.decode().splitlines()
    assert lines[0] == f"{'-':<12} first"
    assert {line[13:] for line in lines[1:]} == {"tick"}
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d tick", lines[-1])
    for options in (["--timestamps"], ["--timestamps", "-f", "--json"]):
        code, output, stderr = read(tmp_path, "logs", *options)
        assert (code, output) == (2, b"")
        assert "a log has no times of its lines" in stderr


def newest(directory):
    return max(os.listdir(directory / ".mprun" / "runs"))


# -- bytes


def test_the_bytes_of_one_task_are_exact_in_a_pipe_and_visible_on_a_terminal(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: b, target: 'work:binary'}]")
    run = mprun("-q", "--output", "none", "job.yaml", cwd=tmp_path)
    assert read(tmp_path, "logs", "b")[1] == run.log("b") == bytes(range(256)) + b"\nno line feed"
    _, shown = on_terminal("logs", "b", cwd=tmp_path)
    assert r"\x00\x01" in shown
    assert r"\x1b" in shown
    assert not set(shown) & {"\x00", "\x1b", "\x07"}
    lines = [json.loads(line)["line"] for line in read(tmp_path, "logs", "--json", "b")[1].splitlines()]
    high = "".join(f"\\x{number:x}" for number in range(128, 256))
    assert lines == [bytes(range(10)).decode(), bytes(range(11, 128)).decode() + high, "no line feed"]


# In a process of its own, because its peak memory includes that from before its exec.
MEASURE = """
import hashlib, os, subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "mprun", *sys.argv[1:]], stdout=subprocess.PIPE)
digest, size = hashlib.sha256(), 0
while data := process.stdout.read(1 << 20):
    digest.update(data)
    size += len(data)
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, size, digest.hexdigest())
"""


@pytest.mark.parametrize("options", [["a"], ["*"], ["a", "--json"]], ids=str)
@pytest.mark.parametrize("kind", ["lines", "one line"])
def test_a_large_log_is_shown_whole_and_in_flat_memory(kind, options, tmp_path):
    size = 32 << 20 if "--json" in options else 256 << 20
    name = record(tmp_path, [STARTED, started("a"), exited("a"), FINISHED, ended()])
    piece = (b"x" * 63 + (b"\n" if kind == "lines" else b"x")) * 16384
    digest = hashlib.sha256()
    with open(tmp_path / ".mprun" / "runs" / name / "logs" / "a.1.log", "wb") as file:
        for _ in range(size // len(piece)):
            file.write(piece)
            digest.update(piece)
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, "logs", *options],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    code, memory, shown, found = answer.stdout.split()
    assert (code, answer.stderr) == ("0", "")
    assert int(memory) < 60e6
    assert int(shown) >= size
    assert (found == digest.hexdigest()) == (options == ["a"])


def test_a_long_line_as_json_says_that_it_continues(tmp_path):
    name = record(tmp_path, [STARTED, started("a"), exited("a"), FINISHED, ended()])
    text = "ä€😀" * 100_000 + "\nshort\n"
    (tmp_path / ".mprun" / "runs" / name / "logs" / "a.1.log").write_text(text)
    lines = [json.loads(line) for line in read(tmp_path, "logs", "--json", "a")[1].splitlines()]
    assert "".join(line["line"] + "\n" * (not line.get("more")) for line in lines) == text
    assert [line.get("more", False) for line in lines[-2:]] == [False, False]
    assert len(lines) > 3


def test_colours_pass_on_a_terminal_and_nothing_else_does(tmp_path):
    """C12: the same in a run and in `logs`, and bytes as they are in a pipe."""
    write(
        tmp_path,
        work=r"""
            import sys

            def colours():
                sys.stdout.write("\x1b[32mgreen\x1b[2J\n1%\r2%\rdone\r\nplain\n")
            """,
        job="tasks: [{name: c, target: 'work:colours'}]",
    )
    exact = b"\x1b[32mgreen\x1b[2J\n1%\r2%\rdone\r\nplain\n"
    piped = mprun("job.yaml", "-q", cwd=tmp_path)
    assert piped.log("c") == exact
    assert piped.stdout == "".join(f"c    | {line}\n" for line in exact.decode().split("\n")[:-1])
    assert read(tmp_path, "logs", "c")[1] == exact
    for arguments in (["job.yaml", "-q"], ["logs", "*"], ["logs", "c"]):
        name = "" if arguments[-1] == "c" else "\x1b[36mc    |\x1b[0m "
        _, shown = on_terminal(*arguments, cwd=tmp_path)
        lines = ("\x1b[32mgreen\\x1b[2J\x1b[0m\n", "done\n", "plain\n")
        assert shown.replace("\x1b[33mc    |", "\x1b[36mc    |") == "".join(name + line for line in lines)
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            _, shown = on_terminal(*arguments, cwd=tmp_path, **env)
            name = "" if arguments[-1] == "c" else "c    | "
            assert shown == "".join(name + line for line in ("\\x1b[32mgreen\\x1b[2J\n", *lines[1:]))
    forced = read(tmp_path, "job.yaml", "-q", env={"FORCE_COLOR": "1"})[1].splitlines()
    assert forced[0].endswith(b"green\x1b[2J\x1b[0m")
    # GitHub's log shows colours.
    on_github = read(tmp_path, "job.yaml", "-q", env={"GITHUB_ACTIONS": "true"})[1].splitlines()
    assert on_github[0] == b"c    | \x1b[32mgreen\x1b[2J\x1b[0m"


# -- lines that have not ended

PROMPTING = """
    import os
    import time

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.005)

    def ask():
        print("Password: ", end="", flush=True)
        wait_for("answered")
        print("thanks", flush=True)
        wait_for("interrupted")
        print("one", end="", flush=True)
        wait_for("told")
        print(" two", end="", flush=True)

    def interrupt():
        wait_for("interrupt")
        print("here", flush=True)
        wait_for("told")
    """
PROMPTING_JOB = "tasks: [{name: ask, target: 'work:ask'}, {name: other, target: 'work:interrupt'}]"


def read_until(process, text):
    """What a command prints on stdout until a text is in it."""
    shown = b""
    while text not in shown:
        data = os.read(process.stdout.fileno(), 65536)
        assert data, shown
        shown += data
    return shown


@pytest.mark.parametrize("follow", [False, True], ids=["run", "logs -f"])
def test_a_prompt_is_shown_before_its_line_ends_and_is_continued(follow, tmp_path):
    """C13 in a pipe. The last line is interrupted by another task, and continues in a line of its own."""
    write(tmp_path, work=PROMPTING, job=PROMPTING_JOB)
    run = start("job.yaml", "-q", cwd=tmp_path)
    shown = read_until(run, b"ask   | Password: ")
    reader = start("logs", "-f", cwd=tmp_path) if follow else run
    shown = read_until(reader, b"ask   | Password: ") if follow else shown
    (tmp_path / "answered").touch()
    shown += read_until(reader, b"thanks\n")
    (tmp_path / "interrupted").touch()
    shown += read_until(reader, b"ask   | one")
    (tmp_path / "interrupt").touch()
    shown += read_until(reader, b"other | here\n")
    (tmp_path / "told").touch()
    shown += reader.communicate(timeout=TIMEOUT)[0]
    assert shown == b"ask   | Password: thanks\nask   | one\nother | here\nask   |  two\n"
    finish(run, tmp_path / ".mprun")


def test_in_a_file_lines_are_whole(tmp_path):
    write(tmp_path, work=PROMPTING, job=PROMPTING_JOB)
    for name in ("answered", "interrupted", "interrupt"):
        (tmp_path / name).touch()
    with open(tmp_path / "shown", "wb") as file:
        process = start("job.yaml", "-q", cwd=tmp_path, stdout=file)
    eventually(lambda: b"here" in (tmp_path / "shown").read_bytes())
    (tmp_path / "told").touch()
    finish(process, tmp_path / ".mprun")
    lines = (tmp_path / "shown").read_text().splitlines()
    assert sorted(lines) == ["ask   | Password: thanks", "ask   | one two", "other | here"]


def test_a_prompt_is_shown_on_a_terminal_and_a_line_of_mprun_ends_it(tmp_path):
    """C13: on the terminal mprun's own lines, such as the lineage, follow it in a line of their own."""
    write(tmp_path, work=PROMPTING, job=PROMPTING_JOB)
    ours, theirs = pty.openpty()
    run = start("job.yaml", "-v", cwd=tmp_path, stdout=theirs, stderr=theirs, env={"NO_COLOR": "1"})
    os.close(theirs)
    shown = read_terminal(ours, b"ask   | Password: ")
    (tmp_path / "interrupt").touch()
    (tmp_path / "told").touch()
    shown += read_terminal(ours, b"exit   other")
    (tmp_path / "answered").touch()
    (tmp_path / "interrupted").touch()
    shown += read_terminal(ours, b"succeeded in")
    assert run.wait(TIMEOUT) == 0
    os.close(ours)
    lines = shown.decode().split("\r\n")
    assert [line for line in lines if " | " in line] == [
        "ask   | Password: ",
        "other | here",
        "ask   | thanks",
        "ask   | one two",
    ]
    assert any(re.match("[0-9:.]{12} exit   other", line) for line in lines)


def read_terminal(descriptor, text):
    shown = b""
    while text not in shown:
        shown += os.read(descriptor, 65536)
    return shown


# -- workflow commands


def test_workflow_commands_are_escaped_on_github(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: c, target: 'work:commands'}]")
    github = {"GITHUB_ACTIONS": "true"}
    run = mprun("-q", "job.yaml", "--output", "group", cwd=tmp_path, env=github)
    exact = "::error::one\n  ::warning file=a::two\na ##[group]three\nb\r::debug::four\n"
    exact += "\u200b::notice::five\nc::d\n"
    inert = exact.replace("::e", ": :e").replace("::w", ": :w").replace("##[", "## [")
    inert = inert.replace("::debug", ": :debug").replace("::n", ": :n")
    assert run.log("c").decode() == exact
    assert "".join(f"{line}\n" for line in run.stdout.replace("c    | ", "").split("\n")[1:-1]) == inert
    assert read(tmp_path, "logs", "c", env=github)[1].decode() == inert
    assert read(tmp_path, "logs", "c")[1].decode() == exact
    for env in (github, {}):
        output = read(tmp_path, "logs", "c", "--json", env=env)[1].decode()
        assert "".join(json.loads(line)["line"] + "\n" for line in output.splitlines()) == exact
        assert ("##[" in output) == (not env)


def test_nothing_of_a_task_is_a_command_on_github(tmp_path):
    """C49: its error, name, command and values, in all that mprun prints, on both streams."""
    # The commands of mprun itself are left out here (`tests/cli/test_ci.py`).
    github = {"GITHUB_ACTIONS": "true", "MPRUN_CI": "none"}
    write(
        tmp_path,
        work="""
            def bad(arg):
                raise ValueError("::error::x\\n::stop-commands::t\\n##[error]y")

            def good():
                return "##[warning]z"
            """,
        job="""
            name: "::notice::job ##[group]"
            tasks:
              - {name: "::debug::bad", target: 'work:bad', args: ["##[error]arg"]}
              - {name: good, target: 'work:good'}
              - {name: cmd, command: ["false", "##[error]word"]}
            """,
        broken="tasks:\n  - ##[error]\n    ::error::oops ##[error]: 1\n",
    )
    shown = {}
    for command in (
        *("job.yaml", "job.yaml -v", "job.yaml -q --output failed", "job.yaml --events -"),
        *(
            "show",
            "show -v",
            "show --json",
            "tree",
            "tree --json",
            "runs",
            "runs --json",
            "logs",
            "logs --json",
        ),
        *(
            "plan job.yaml",
            "plan job.yaml --format json",
            "plan job.yaml --format dot",
            "validate broken.yaml",
        ),
        *("validate ##[error]none.yaml", "logs ::error::none", "show ##[error]", "##[error]none"),
    ):
        _, output, stderr = read(tmp_path, *command.split(" "), env=github)
        shown[command] = (output.decode(), stderr)
        for stream in shown[command]:
            assert not re.search(r"(?m)^[^!-~]*::|##\[", stream), (command, stream)
    finished = [json.loads(line) for line in shown["job.yaml --events -"][0].splitlines()]
    assert [event["result"] for event in finished if event.get("result")] == ["##[warning]z"]
    assert json.loads(shown["show --json"][0])["run"]["job"] == "::notice::job ##[group]"
    assert json.loads(shown["plan job.yaml --format json"][0])["tasks"][2]["command"][1] == "##[error]word"


# -- failing writes, and damaged records


def test_a_log_that_cannot_be_written_is_an_error(desk):
    (desk / "go").touch()
    mprun("-q", "job.yaml", cwd=desk)
    for options in ([], ["a"], ["--json"]):
        with open("/dev/full", "wb") as full:
            code, _, stderr = read(desk, "logs", *options, stdout=full)
        assert code == 3
        assert complaint(stderr) == "error: cannot write the output: No space left on device\n"


def test_output_of_a_run_that_cannot_be_written_is_one_warning(desk):
    (desk / "go").touch()
    with open("/dev/full", "wb") as full:
        process = start("job.yaml", cwd=desk, stdout=full)
        _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert (
        stderr.decode().count(
            "warning: cannot write the output of tasks: No space left on device; "
            "the run continues, and the logs are complete\n"
        )
        == stderr.decode().count("warning")
        == 1
    )
    assert read(desk, "logs", "later")[1] == b"later one\nlater two\n"


def test_damage_is_reported_once_and_a_missing_log_is_empty(tmp_path):
    record(tmp_path, [STARTED, "nonsense", started("a"), exited("a"), FINISHED])
    code, output, stderr = read(tmp_path, "logs", "-f", "a")
    assert (code, output) == (0, b"")
    assert stderr.count("line 2 is not a JSON object, left out") == 1
