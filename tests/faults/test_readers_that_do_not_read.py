"""What is shown never holds up a run: pipes that no one drains, stopped terminals, slow readers."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import termios
import threading
import time

import pytest
from support.runs import TIMEOUT, eventually, finish, mprun, newest_run, start, write

# The timeout of `later` comes first only if the one of `flood` is held up.
FLOOD = """
    fail_fast: true
    tasks:
      - {name: flood, command: "while echo 'a line that no one reads'; do :; done", timeout: 1s}
      - {name: later, command: [sleep, '100'], timeout: 20s}
    """
# With it, mprun waits for its readers for one second.
IMPATIENT = """
    from mprun.reporters import outlet
    outlet.Display.finish.__defaults__ = (1.0,)
    """
# With it, mprun waits for its readers until a signal ends that, and counts all that they have not read.
PATIENT = """
    from mprun.reporters import outlet
    outlet.Display.finish.__defaults__ = (1000.0,)
    outlet._COUNT_SECONDS = 1000.0
    """
LOST = re.compile(r"(?:more than )?(\d+) lines? of (\S+) not shown, because not read in time")


def lost(text):
    """How many lines of which stream were not shown, as mprun says it."""
    found = LOST.search(text)
    assert found, text
    return int(found[1]), found[2]


def start_patient(*arguments, cwd, patience=PATIENT, **options):
    """Start `mprun ARGUMENTS`, which waits for its readers without an end, or as `patience` says."""
    (cwd / "site").mkdir()
    write(cwd / "site", sitecustomize=patience)
    return start(*arguments, cwd=cwd, env={"PYTHONPATH": str(cwd / "site")}, **options)


def hurry(process, path):
    """Once the run has ended, give its readers no more time, as a second Ctrl-C does."""
    eventually(lambda: newest_run(path / ".mprun") and b"run_finished" in _record(path), 30)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)


def pipe_without_reader():
    """A pipe whose two ends are open, and from which no one reads."""
    return os.pipe()


def full_pipe():
    """A pipe without a reader that is full from the beginning."""
    reader, writer = pipe_without_reader()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    os.set_blocking(writer, True)
    return reader, writer


def assert_the_flood_held_up_nothing(run):
    """The timeout of the flood came first, and ended the run."""
    assert run.code == 1 == run.one("run_finished")["exit_code"]
    assert (run.outcome("flood"), run.outcome("later")) == ("timed_out", "stopped")
    assert run.place("task_exited", "flood") < run.place("run_finished", None)


def test_a_flood_into_a_pipe_that_no_one_drains_holds_up_no_timeout_and_no_record(tmp_path):
    """(C52) The record has its end while mprun waits for the reader."""
    write(tmp_path, job=FLOOD)
    reader, writer = full_pipe()
    process = start_patient("job.yaml", "-j", "2", cwd=tmp_path, stdout=writer)
    os.close(writer)
    hurry(process, tmp_path)
    run = finish(process, tmp_path / ".mprun")
    os.close(reader)
    assert_the_flood_held_up_nothing(run)
    assert lost(run.stderr) == (run.log("flood").count(b"\n"), "stdout")


def test_what_was_not_shown_can_be_found_if_no_stream_takes_a_message(tmp_path):
    """(C52) Both streams are one pipe that no one drains."""
    write(tmp_path, job="tasks: [{name: count, command: [seq, '300000']}]")
    reader, writer = full_pipe()
    process = start_patient("job.yaml", cwd=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    hurry(process, tmp_path)
    run = finish(process, tmp_path / ".mprun")
    os.close(reader)
    shown = mprun("show", cwd=tmp_path).stdout.splitlines()[-1]
    assert lost(shown)[0] >= 300_000
    assert lost(shown)[1] == "stdout"
    assert json.loads(mprun("show", "--json", cwd=tmp_path).stdout)["not_shown"] == shown
    assert run.code == 0 == run.one("run_finished")["exit_code"]


@pytest.mark.parametrize("option", ["--json", "--events=-"])
def test_what_a_program_reads_comes_whole_and_alone_although_no_one_reads_messages(tmp_path, option):
    write(tmp_path, job="tasks:\n  - {name: t, command: 'echo out; echo err >&2'}\n")
    reader, writer = full_pipe()
    process = start_patient("job.yaml", "-v", option, cwd=tmp_path, patience=IMPATIENT, stderr=writer)
    os.close(writer)
    stdout, _ = process.communicate(timeout=TIMEOUT)
    os.close(reader)

    assert process.returncode == 0
    documents = [stdout] if option == "--json" else stdout.splitlines()
    assert [isinstance(json.loads(text), dict) for text in documents] == [True] * len(documents)
    assert documents


def test_a_reader_that_never_reads_is_given_up(tmp_path):
    """(C52)"""
    write(tmp_path, job="tasks: [{command: [seq, '300000']}]")
    reader, writer = full_pipe()
    process = start_patient("job.yaml", cwd=tmp_path, patience=IMPATIENT, stdout=writer)
    os.close(writer)
    run = finish(process, tmp_path / ".mprun")
    os.close(reader)
    assert run.code == 0
    assert lost(run.stderr)[0] > 0
    assert lost(run.stderr)[1] == "stdout"


def test_what_a_reader_that_waits_for_the_end_gets_is_exact_up_to_where_it_ends(tmp_path):
    """(C52) As `less` on its first page: what it reads and what is said to be lost are everything."""
    write(tmp_path, job="tasks: [{name: count, command: [seq, '300000']}]")
    reader, writer = pipe_without_reader()
    process = start_patient("job.yaml", cwd=tmp_path, stdout=writer)
    os.close(writer)
    first = os.read(reader, 4096)
    hurry(process, tmp_path)
    run = finish(process, tmp_path / ".mprun")
    shown = bytearray(first)
    while data := os.read(reader, 65536):
        shown += data
    os.close(reader)
    whole = b"".join(b"count | %d\n" % number for number in range(1, 300_001))
    assert whole.startswith(shown)
    assert run.code == 0
    assert shown.count(b"\n") + lost(run.stderr)[0] == 300_000
    assert f"; all of it is in .mprun/runs/{run.directory.run_id}\n" in run.stderr


def test_a_slow_reader_gets_everything(tmp_path):
    """(C52)"""
    write(tmp_path, job="tasks: [{name: count, command: [seq, '100000']}]")
    reader, writer = pipe_without_reader()
    process = start_patient("job.yaml", cwd=tmp_path, stdout=writer)
    os.close(writer)
    eventually(lambda: newest_run(tmp_path / ".mprun") and b"run_finished" in _record(tmp_path))
    shown = bytearray()
    while data := os.read(reader, 1000):
        shown += data
    os.close(reader)
    run = finish(process, tmp_path / ".mprun")
    assert shown == b"".join(b"count | %d\n" % number for number in range(1, 100_001))
    assert "not shown" not in run.stderr
    assert run.code == 0


def _record(path):
    with open(newest_run(path / ".mprun").events, "rb") as file:
        return file.read()


def test_lines_of_mprun_and_output_keep_their_order_if_both_go_to_one_slow_pipe(tmp_path):
    """(C52)"""
    write(
        tmp_path,
        job="""
        tasks:
          - {name: count, command: "seq 50000; exit 3"}
          - {name: after, command: [echo, last], depends_on: {count: finished}}
        """,
    )
    reader, writer = pipe_without_reader()
    process = start_patient("job.yaml", cwd=tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    eventually(lambda: newest_run(tmp_path / ".mprun") and b"run_finished" in _record(tmp_path))
    with open(reader, "rb") as file:
        lines = file.read().decode().splitlines()
    assert process.wait(TIMEOUT) == 1
    at = {text: lines.index(text) for text in ("count | 1", "count | 50000", "after | last")}
    failed = next(index for index, line in enumerate(lines) if "FAIL" in line)
    assert at["count | 1"] < at["count | 50000"] < failed < at["after | last"]
    assert lines[-3].startswith("failed in")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_ctrl_c_ends_a_run_of_which_no_one_reads_a_stream(tmp_path, stream):
    """(C52)"""
    write(tmp_path, job="tasks: [{name: a, command: [yes]}, {name: b, command: [sleep, '100']}]")
    reader, writer = full_pipe()
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    with open(tmp_path / "other", "wb") as file:
        process = start("-v", "job.yaml", cwd=tmp_path, **{stream: writer, other: file})
    os.close(writer)
    eventually(lambda: newest_run(tmp_path / ".mprun") and b"task_started" in _record(tmp_path))
    log = newest_run(tmp_path / ".mprun").log("a", 1)
    eventually(lambda: os.path.exists(log) and os.stat(log).st_size)
    process.send_signal(signal.SIGINT)
    hurry(process, tmp_path)
    run = finish(process, tmp_path / ".mprun")
    os.close(reader)
    assert run.code == 130 == run.one("run_finished")["exit_code"]
    # The other one may not have got all of the flood by then.
    last = (tmp_path / "other").read_text()[-1000:]
    # A single one, if the next ones had not come yet.
    assert re.search(rf"[1-9]\d* lines? of {stream} not shown", last), last


@pytest.mark.parametrize("stop", ["Ctrl-S", "undrained"])
def test_a_terminal_that_is_stopped_holds_up_no_timeout(tmp_path, stop):
    """(C52)"""
    write(tmp_path, job=FLOOD)
    ours, theirs = pty.openpty()
    if stop == "Ctrl-S":
        termios.tcflow(theirs, termios.TCOOFF)
    process = start_patient("job.yaml", "-j", "2", cwd=tmp_path, stdout=theirs, stderr=theirs)
    hurry(process, tmp_path)
    run = finish(process, tmp_path / ".mprun")
    os.close(theirs)
    os.close(ours)
    assert_the_flood_held_up_nothing(run)


def test_a_terminal_that_is_stopped_and_continued_shows_everything(tmp_path):
    """(C52)"""
    write(tmp_path, job="tasks: [{name: count, command: [seq, '20000']}]")
    ours, theirs = pty.openpty()
    termios.tcflow(theirs, termios.TCOOFF)
    process = start_patient("job.yaml", cwd=tmp_path, stdout=theirs, stderr=theirs)
    eventually(lambda: newest_run(tmp_path / ".mprun") and b"run_finished" in _record(tmp_path))
    termios.tcflow(theirs, termios.TCOON)
    os.close(theirs)
    shown = bytearray()
    with contextlib.suppress(OSError):
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    assert process.wait(TIMEOUT) == 0
    assert shown.count(b"count |") == 20000
    assert b"20000\r\n" in shown
    assert b"succeeded in" in shown


@pytest.mark.parametrize("reads", [False, True])
def test_a_socket_holds_up_nothing(tmp_path, reads):
    """(C52) It cannot be opened again: a thread writes to it."""
    write(tmp_path, job="tasks: [{name: count, command: [seq, '300000']}]")
    ours, theirs = socket.socketpair()
    with ours:
        process = start_patient("job.yaml", cwd=tmp_path, stdout=theirs)
        theirs.close()
        shown = bytearray()

        def read():
            while data := ours.recv(65536):
                shown.extend(data)

        reader = threading.Thread(target=read)
        if reads:
            reader.start()
        else:
            hurry(process, tmp_path)
        run = finish(process, tmp_path / ".mprun")
        if not reads:
            reader.start()
        reader.join()
    assert run.code == 0
    whole = b"".join(b"count | %d\n" % number for number in range(1, 300_001))
    assert whole.startswith(shown)
    if reads:
        assert shown == whole
        assert "not shown" not in run.stderr
    else:
        assert shown.count(b"\n") + lost(run.stderr)[0] == 300_000


@pytest.mark.parametrize("count", [3, 300_000])
def test_a_socket_whose_reader_has_gone_fails_no_run(tmp_path, count):
    """(C52) As a pipe whose reader has gone."""
    write(tmp_path, job=f"tasks: [{{name: count, command: [seq, '{count}']}}]")
    ours, theirs = socket.socketpair()
    ours.close()
    run = finish(start("job.yaml", cwd=tmp_path, stdout=theirs), tmp_path / ".mprun")
    theirs.close()
    assert run.code == 0
    assert run.outcome("count") == "succeeded"
    assert "error" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith("succeeded in")


def test_a_full_socket_that_does_not_block_gets_everything(tmp_path):
    """(C52) The process that made it has set O_NONBLOCK, as Node.js and asyncio do."""
    write(tmp_path, job="tasks: [{name: count, command: [seq, '20000']}]")
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    process = start_patient("job.yaml", cwd=tmp_path, stdout=theirs)
    eventually(lambda: newest_run(tmp_path / ".mprun") and b"run_finished" in _record(tmp_path), 30)
    theirs.close()
    with ours, ours.makefile("rb") as file:
        shown = file.read()
    run = finish(process, tmp_path / ".mprun")
    assert run.code == 0
    assert "not shown" not in run.stderr
    assert shown == b"".join(b"count | %d\n" % number for number in range(1, 20_001))


def test_events_that_no_one_reads_hold_up_nothing_and_are_whole_up_to_where_they_end(tmp_path):
    """(C52)"""
    write(tmp_path, job="tasks: [{name: many, command: [echo, '${item}'], foreach: [" + "1, " * 300 + "]}]")
    reader, writer = pipe_without_reader()
    process = start_patient("job.yaml", "--events", "-", cwd=tmp_path, stdout=writer)
    os.close(writer)
    hurry(process, tmp_path)
    run = finish(process, tmp_path / ".mprun")
    with open(reader, "rb") as file:
        shown = file.read()
    assert run.code == 0
    assert _record(tmp_path).startswith(shown)
    assert len(shown) >= 4096
    assert shown.count(b"\n") + lost(run.stderr)[0] == len(run.events)


def test_a_late_reader_of_events_gets_all_of_them(tmp_path):
    """(C52)"""
    write(tmp_path, job="tasks: [{name: many, command: [echo, '${item}'], foreach: [" + "1, " * 300 + "]}]")
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    process = start_patient("job.yaml", "-q", "--events", "fifo", cwd=tmp_path)
    eventually(lambda: newest_run(tmp_path / ".mprun") and b"run_finished" in _record(tmp_path), 30)
    with open(reader, "rb") as file:
        shown = file.read()
    run = finish(process, tmp_path / ".mprun")
    assert shown == _record(tmp_path)
    assert [json.loads(line) for line in shown.splitlines()] == run.events
    assert run.code == 0


def test_a_fifo_for_events_is_waited_for_before_the_start_but_not_forever(tmp_path):
    """(C52) Python's own way to open it waits without a limit."""
    write(tmp_path, job="tasks: [{command: touch begun}]")
    os.mkfifo(tmp_path / "fifo")
    process = start("job.yaml", "-q", "--events", "fifo", cwd=tmp_path)
    time.sleep(0.5)
    assert not (tmp_path / "begun").exists()
    shown = (tmp_path / "fifo").read_bytes()
    run = finish(process, tmp_path / ".mprun")
    assert run.code == 0, run.stderr
    assert [json.loads(line) for line in shown.splitlines()] == run.events
    (tmp_path / "begun").unlink()
    refused = mprun("job.yaml", "--events", "fifo", cwd=tmp_path)
    assert refused.code == 2
    assert "no process reads the FIFO `fifo` of `--events`; start its reader first" in refused.stderr
    assert not (tmp_path / "begun").exists()


def test_the_descriptions_that_the_shell_shares_keep_their_flags(tmp_path):
    """(C52) O_NONBLOCK on them would break the other processes that write there."""
    write(tmp_path, job=FLOOD)
    ours, theirs = pty.openpty()
    reader, writer = pipe_without_reader()
    process = start("job.yaml", cwd=tmp_path, stdout=writer, stderr=theirs)
    eventually(lambda: newest_run(tmp_path / ".mprun") and b"task_started" in _record(tmp_path))
    for descriptor in (writer, theirs):
        assert os.get_blocking(descriptor)
    process.send_signal(signal.SIGKILL)
    process.wait(TIMEOUT)
    for descriptor in (ours, theirs, reader, writer):
        os.close(descriptor)
