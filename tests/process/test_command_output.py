"""The output of commands: a pipe that scripts may open again, and logs that may be read meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import START_METHODS, TIMEOUT, finish, mprun, newest_run, start, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="splice(2) and /proc are Linux's")

PYTHON = {
    "open": """\
        print("one", flush=True)
        with open("/dev/stdout", "w") as file:
            file.write("two\\n")
        print("three")
    """,
    "logging": """\
        import logging, sys
        print("one", file=sys.stderr)
        logging.basicConfig(handlers=[logging.FileHandler("/dev/stderr", "w")], format="%(message)s")
        logging.warning("two")
        print("three")
    """,
    "proc": """\
        import os
        print("one", flush=True)
        os.write(os.open("/proc/self/fd/1", os.O_WRONLY | os.O_TRUNC), b"two\\n")
        print("three")
    """,
}
SHELL = {
    "stderr": "echo one; echo two > /dev/stderr; echo three",
    "stdout": "echo one >&2; echo two > /dev/stdout; echo three",
    "tee": "echo one; echo two | tee /dev/stderr | sed d; echo three",
    "dd": "echo one; echo two | dd of=/dev/stdout status=none; echo three",
    "a child's child": "sh -c 'sh -c \"echo one; echo two > /dev/stderr\"'; echo three > /dev/stdout",
}


@pytest.mark.parametrize("script", SHELL)
def test_a_script_opens_its_output_again_and_no_byte_is_lost(tmp_path, script):
    """C09: a log file would be truncated."""
    (tmp_path / "script.sh").write_text(SHELL[script])
    write(tmp_path, job="tasks: [{name: a, command: [sh, script.sh]}]\n")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert run.log("a") == b"one\ntwo\nthree\n"
    assert run.printed("a") == ["one", "two", "three"]


@pytest.mark.parametrize("program", PYTHON)
def test_a_program_opens_its_output_again_and_no_byte_is_lost(tmp_path, program):
    """C09."""
    write(
        tmp_path,
        script=PYTHON[program],
        job=f"tasks: [{{name: a, command: [{sys.executable}, script.py], env: {{PYTHONUNBUFFERED: '1'}}}}]\n",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert run.log("a") == b"one\ntwo\nthree\n"


READERS = {
    "grep": "grep -r x . > /dev/null && grep -rc x . | grep -c log",
    "grep into the log": "grep -r x . && echo found",
    "find": "find . -type f -exec cat {} \\; && find . -type f -exec cat {} +",
    "tar": "tar c . | wc -c && tar c --warning=no-file-changed . || test $? -eq 1",
    "cat": "cat .mprun/runs/*/logs/*.log && cat .mprun/runs/*/logs/*.log",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("lines", [1, 3000, 100_000])
def test_a_command_reads_all_files_of_its_directory_its_own_log_among_them(tmp_path, reader, lines):
    """C10: neither refused (`input file is also the output`) nor without an end."""
    (tmp_path / "read.sh").write_text(f"seq {lines} | sed s/^/x/; {READERS[reader]}")
    write(
        tmp_path,
        job="tasks: [{name: a, command: [sh, read.sh], timeout: 30s, limits: {log: 200MB}}]\n",
    )
    run = mprun("job.yaml", "--output", "none", cwd=tmp_path)
    assert (run.outcome("a"), run.code) == ("succeeded", 0), run.one("task_finished", "a")["reason"]
    own = b"".join(b"x%d\n" % number for number in range(1, lines + 1))
    assert run.log("a").startswith(own)
    # What it has read is there a few times, not without an end.
    assert len(run.log("a")) < 50 * len(own) + 500_000


def test_what_a_child_that_was_left_behind_writes_is_in_no_other_log(tmp_path):
    """It holds the pipe open: the end of the command does not wait for it, and the pipe is not used again."""
    write(
        tmp_path,
        job="""\
            tasks:
            - {name: a, command: 'echo a; (trap "" TERM HUP; while :; do echo late; done) & exit 0'}
            - {name: b, command: 'sleep 0.1; echo b', depends_on: a}
            - {name: c, command: 'sleep 0.1; echo c', depends_on: a}
        """,
    )
    run = mprun("job.yaml", "--output", "none", cwd=tmp_path)
    assert run.code == 0
    assert set(run.log("a").split()) <= {b"a", b"late"}
    assert (run.log("b"), run.log("c")) == (b"b\n", b"c\n")


def test_a_command_that_closes_its_output_is_not_an_error_and_costs_nothing(tmp_path):
    write(
        tmp_path,
        job="""\
            tasks:
            - name: a
              command: >-
                echo a; exec > /dev/null 2>&1;
                cat /proc/$PPID/stat > before; sleep 1; cat /proc/$PPID/stat > after
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.log("a")) == (0, b"a\n")
    # A loop around a pipe that has ended would have used all of that second, as far as it gets a core.
    assert ticks(tmp_path / "after") - ticks(tmp_path / "before") < 0.1 * os.sysconf("SC_CLK_TCK")


def ticks(stat):
    """The CPU time in a copy of /proc/PID/stat, in ticks of the kernel."""
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def test_output_is_in_the_log_before_the_end_is_recorded_and_in_its_order(tmp_path):
    numbers = "".join(f"echo {n}; echo {n} >&2; " for n in range(50))
    (tmp_path / "both.sh").write_text(numbers)
    write(
        tmp_path,
        job="""\
            tasks:
            - {name: a, command: [sh, both.sh], matrix: {n: [1, 2, 3, 4, 5, 6, 7, 8]}}
            - {name: size, command: 'cat .mprun/runs/*/logs/a*.log | wc -c', depends_on: a}
        """,
    )
    run = mprun("job.yaml", "--output", "none", cwd=tmp_path)
    assert run.code == 0
    each = b"".join(b"%d\n%d\n" % (n, n) for n in range(50))
    assert run.log("size").split() == [b"%d" % (8 * len(each))]
    assert {run.log(f"a[n={n}]") for n in range(1, 9)} == {each}


def test_more_commands_are_to_run_at_once_than_there_are_descriptors_for(tmp_path):
    """Each needs three in the launcher; a start that finds none waits."""
    write(
        tmp_path,
        few=f"""\
            import os, resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            os.execv({sys.executable!r}, [{sys.executable!r}, "-m", "mprun", "job.yaml", "--output", "none"])
        """,
        job=f"""\
            max_parallel: 60
            tasks: [{{name: a, command: 'echo $MPRUN_TASK; sleep 0.05', foreach: {[*range(90)]}}}]
        """,
    )
    process = subprocess.run([sys.executable, "few.py"], cwd=tmp_path, timeout=TIMEOUT, check=False)
    assert process.returncode == 0
    directory = newest_run(tmp_path / ".mprun")
    for number in range(90):
        name = f"a[{number}]"
        assert Path(directory.log(name, 1)).read_text() == f"{name}\n"


# ---- what Python programs print


SAY = """\
    import os, subprocess, sys

    def say():
        subprocess.run([sys.executable, "-c", "import os; print(os.environ.get('PYTHONUNBUFFERED'))"])
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_python_programs_write_at_once_what_they_print(tmp_path, method):
    """C11: without it, a server that says little is never ready, and its log is empty."""
    write(
        tmp_path,
        say=SAY,
        job=f"""\
            tasks:
            - name: server
              command: [{sys.executable}, -m, http.server, '0', --bind, 127.0.0.1]
              daemon: true
              ready: {{log: Serving, timeout: 30s}}
            - {{name: after, target: 'say:say', depends_on: {{server: ready}}}}
        """,
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert run.code == 0
    assert b"Serving HTTP" in run.log("server")
    assert run.log("after") == b"1\n"


@pytest.mark.parametrize("where", ["shell", "job", "task"])
@pytest.mark.parametrize("value", ["", "0"])
def test_whether_python_programs_write_at_once_can_be_set(tmp_path, where, value):
    """C11: in the environment of mprun, of the job or of the task."""
    variables = f"env: {{PYTHONUNBUFFERED: '{value}'}}"
    of_task = variables if where == "task" else "retry: 0"
    write(
        tmp_path,
        say=SAY,
        job=f"""\
            {variables if where == "job" else ""}
            tasks:
            - {{name: target, target: 'say:say', {of_task}}}
            - {{name: command, command: 'echo "$PYTHONUNBUFFERED"', {of_task}}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path, env={"PYTHONUNBUFFERED": value} if where == "shell" else {})
    assert run.code == 0
    assert (run.log("target"), run.log("command")) == (f"{value}\n".encode(), f"{value}\n".encode())


def test_a_spawned_task_writes_a_line_in_one_piece(tmp_path):
    """Python itself would write the line and its end apart, and another process could come between."""
    write(
        tmp_path,
        say="import sys\ndef say(): print(sys.stdout.line_buffering, sys.stdout.write_through)\n",
        job="tasks: [{name: a, target: 'say:say'}]\n",
    )
    run = mprun("job.yaml", "--start-method", "spawn", cwd=tmp_path)
    assert run.log("a") == b"True False\n"


def test_commands_that_read_the_logs_of_one_another_come_to_an_end(tmp_path):
    """C10: each would write what the other has written, without an end."""
    (tmp_path / "read.sh").write_text("seq 300000; cat .mprun/runs/*/logs/a*.log")
    write(
        tmp_path,
        job="""\
            max_parallel: 2
            tasks: [{name: a, command: [sh, read.sh], timeout: 30s, foreach: [1, 2], limits: {log: 900MB}}]
        """,
    )
    run = mprun("job.yaml", "--output", "none", cwd=tmp_path)
    assert run.code == 0, run.stderr
    for number in range(2):
        assert run.log(f"a[{number}]").startswith(b"1\n2\n3\n")


TRUNCATING = """\
    import logging, subprocess, time
    from pathlib import Path

    def begin():
        print("one " * 100)
        # Longer than it takes to be looked at.
        time.sleep(1.5)

    def by_open():
        begin()
        open("/dev/stdout", "w").close()
        print("three")

    def by_logging():
        begin()
        logging.basicConfig(handlers=[logging.FileHandler("/dev/stderr", "w")])
        logging.warning("three")

    def by_a_child():
        begin()
        subprocess.run("echo three > /dev/stderr", shell=True)

    def by_tee():
        begin()
        subprocess.run(["tee", "/dev/stderr"], input=b"three\\n", stdout=subprocess.DEVNULL)

    def by_growing():
        begin()
        with open("/dev/stdout", "w") as file:
            file.write("two " * 1000 + "\\nthree\\n")

    def again_and_again():
        begin()
        for number in range(300):
            with open("/dev/stdout", "w") as file:
                file.write(f"{number:03} of 300\\n")
            time.sleep(0.002)
        print("three")

    def begin_only():
        begin()
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_a_target_that_truncates_its_log_does_not_fail_and_the_log_says_so(tmp_path, method):
    """C09: a target's output is its log file itself."""
    targets = ("by_open", "by_logging", "by_a_child", "by_tee", "by_growing", "again_and_again")
    write(
        tmp_path,
        work=TRUNCATING,
        job="max_parallel: 7\ntasks:\n"
        + "".join(f"- {{name: {name}, target: 'work:{name}'}}\n" for name in (*targets, "begin_only")),
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert run.code == 0
    said = "mprun: this log was truncated while the task ran; at least "
    for name in targets:
        text = run.log(name).decode()
        assert "three\n" in text
        assert re.fullmatch(rf"{said}\d+ bytes are lost", text.splitlines()[-1])
        assert run.printed(name)[-1].startswith(said)
        assert run.printed(name).count("… the log was truncated here: what is above is in it no more") == 1
        assert run.one("task_exited", name)["lost_output"] >= 401
    assert run.log("begin_only") == b"one " * 100 + b"\n"
    assert run.one("task_exited", "begin_only")["lost_output"] == 0
    shown = mprun("show", "-v", cwd=tmp_path).stdout
    assert shown.count("its log was truncated: at least ") == len(targets)


@pytest.mark.parametrize("method", START_METHODS)
def test_who_shows_a_log_sees_that_it_was_truncated_before_the_main_process_does(tmp_path, method):
    """C09: it looks ten times a second, and at the end."""
    write(
        tmp_path,
        work="""\
            import os, time

            def wait_for(name):
                while not os.path.exists(name):
                    time.sleep(0.005)

            def short():
                print("one")
                wait_for("shown")
                with open("/dev/stdout", "w") as file:
                    file.write("two, and more\\n")
        """,
        job="tasks: [{name: short, target: 'work:short'}]",
        # The main process does not look.
        sitecustomize="""\
            from mprun.launcher.log_watch import LogWatch
            LogWatch.look = lambda watch: None
        """,
    )
    python_path = {"PYTHONPATH": str(tmp_path)}
    process = start("-q", "job.yaml", "--start-method", method, cwd=tmp_path, env=python_path)
    first = process.stdout.readline()
    (tmp_path / "shown").touch()
    run = finish(process, tmp_path / ".mprun")
    assert (run.code, first) == (0, b"short | one\n")
    note = "… the log was truncated here: what is above is in it no more"
    assert run.printed("short") == [note, "two, and more"]
    assert run.one("task_exited")["lost_output"] == 4
    assert "its log was truncated: at least 4 bytes lost" in mprun("show", "-v", cwd=tmp_path).stdout
