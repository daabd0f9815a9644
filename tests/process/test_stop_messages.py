"""C16: what is said while a stop is waited for, at a terminal, in its background and in a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios

import pytest
from support.runs import ROOT, TIMEOUT, environment, eventually, finish, mprun, recorded_starts, start, write

WORK = """\
    import os, signal, time

    def serve(name, ends_at=None):
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
        open(f"{name}.up", "w").close()
        while not asked or not (ends_at is None or os.path.exists(ends_at)):
            time.sleep(0.005)

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.005)
"""
# `db` may have 600 s, but ends at once; `web` ends when the test says so.
JOB = """\
    tasks:
    - {name: db, target: 'work:serve', args: [db], daemon: true, stop: {grace: 10m}}
    - {name: web, target: 'work:serve', args: [web, go on], depends_on: {db: started}, stop: {grace: 20m}}
"""
LINE = "Stopping: 2 tasks have up to 30m to finish, dependents first (web, db)."


class Terminal:
    """A run on a terminal of its own, in its foreground or not; `shown` is what it has written."""

    def __init__(self, directory, *arguments, foreground=True):
        self.ours, theirs = pty.openpty()
        self.shown = ""

        command = [sys.executable, "-m", "mprun", *arguments]
        if not foreground:
            # With job control, so that it has a process group of its own.
            command = ["bash", "-mc", '"$@" & wait', "bash", *command]
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(TERM="dumb"),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def until(self, text):
        while text not in self.shown:
            assert select.select([self.ours], [], [], TIMEOUT)[0], self.shown
            self.shown += os.read(self.ours, 65536).decode().replace("\r\n", "\n")

    def press(self, key):
        os.write(self.ours, key)

    def finish(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.ours, 65536):
                self.shown += data.decode().replace("\r\n", "\n")
        os.close(self.ours)
        return self.process.wait(TIMEOUT)


def up(directory, *names):
    """Wait until these tasks are up, and mprun knows that: it says how many it stops."""
    for name in names:
        eventually((directory / f"{name}.up").exists, 30)
    state_dir = directory / ".mprun"
    eventually(lambda: {*names} <= {one["task"] for one in recorded_starts(state_dir)}, 30)


def test_ctrl_c_on_a_terminal_says_how_to_kill(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    run = Terminal(tmp_path, "job.yaml")
    up(tmp_path, "db", "web")
    run.press(b"\x03")
    run.until(LINE + " Press Ctrl-C again to kill them now.\n")
    run.press(b"\x03")
    assert run.finish() == 130
    assert run.shown.count("Stopping:") == 1


def test_mprun_stop_does_not_say_again(tmp_path):
    """The run on the terminal has not had a Ctrl-C; the command in the other one says what it waits for."""
    write(tmp_path, work=WORK, job=JOB)
    run = Terminal(tmp_path, "job.yaml")
    up(tmp_path, "db", "web")
    client = start("stop", cwd=tmp_path)
    run.until(LINE + " Press Ctrl-C to kill them now.\n")
    said = b""
    while b"\n" not in said:
        said += os.read(client.stderr.fileno(), 4096)
    assert said == b"waiting for db, web to end; stop the run once more to kill them now\n"
    (tmp_path / "go on").touch()
    assert run.finish() == 143
    assert finish(client, tmp_path / ".mprun").code == 0


def test_a_run_in_the_background_of_a_terminal_does_not_mention_ctrl_c(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    run = Terminal(tmp_path, "job.yaml", foreground=False)
    up(tmp_path, "db", "web")
    client = start("stop", cwd=tmp_path)
    run.until(LINE + "\n")
    (tmp_path / "go on").touch()
    assert finish(client, tmp_path / ".mprun").code == 0
    run.finish()


@pytest.mark.parametrize("descriptors", [(), (0,), (1, 2)])
def test_a_terminal_that_does_not_control_the_session_is_none(descriptors, tmp_path):
    """Ctrl-C on it would reach no process."""
    ours, theirs = pty.openpty()
    code = "from mprun.reporters import stop_notice as n; open('said', 'w').write(str(n.is_in_foreground()))"
    files = [theirs if number in descriptors else subprocess.DEVNULL for number in range(3)]
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        start_new_session=True,
        check=True,
        timeout=TIMEOUT,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    assert (tmp_path / "said").read_text() == "False"
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def go(tmp_path, crash_target):
    def start_run(job, *arguments):
        write(tmp_path, work=WORK, job=job)
        return crash_target(tmp_path, "job.yaml", *arguments)

    return start_run


@pytest.mark.parametrize("options", [(), ("-q",), ("-v",), ("--output", "none")])
def test_without_a_terminal_nothing_mentions_ctrl_c(go, tmp_path, options):
    """-q hides neither the message nor how to resume."""
    run = go(JOB, *options)
    up(tmp_path, "db", "web")
    run.engine.send_signal(signal.SIGINT)
    run.until("task_stopping")
    (tmp_path / "go on").touch()
    ended = run.finish()
    assert ended.stderr.splitlines().count(LINE) == 1
    assert f"resume: mprun resume {ended.events[0]['run']}" in ended.stderr
    assert ended.code == 130


def test_a_stop_at_the_end_of_the_run_is_mentioned_if_it_takes_long(go, tmp_path):
    job = JOB.replace("args: [web, go on]", "args: [web, go on], daemon: true")
    run = go(job + "    - {name: main, target: 'work:wait_for', args: [done], depends_on: {web: started}}\n")
    up(tmp_path, "db", "web")
    (tmp_path / "done").touch()
    line = run.engine.stderr.readline
    while (said := line().decode().rstrip()) != LINE:
        assert said
    (tmp_path / "go on").touch()
    assert run.finish().code == 0


@pytest.mark.parametrize(
    ("name", "hint"), [("wbe", "did you mean `web`?"), ("x", "known tasks: `db`, `web`")]
)
def test_an_unknown_task_has_a_suggestion(go, tmp_path, name, hint):
    run = go(JOB)
    up(tmp_path, "db", "web")
    done = mprun("stop", name, cwd=tmp_path)
    assert (done.code, done.stderr) == (
        2,
        f"error: run {run.events()[0]['run']} has no task `{name}`; {hint}\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("options", [(), ("-q",), ("--dry-run",)])
def test_a_signal_during_the_imports_is_answered(tmp_path, number, options):
    module = """\
        import time
        open("importing", "w").close()
        time.sleep(600)
    """
    write(tmp_path, slow=module, job="tasks: [{target: 'slow:f'}]\n")
    process = start("job.yaml", *options, cwd=tmp_path)
    eventually((tmp_path / "importing").exists, 30)
    process.send_signal(number)
    ended = finish(process, tmp_path / ".mprun")
    name = signal.Signals(number).name
    assert (ended.code, ended.stderr) == (128 + number, f"interrupted ({name}): nothing was started\n")
    assert ended.directory is None
