"""Runs for tests that kill them, each with a token by which all its processes can be found."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import uuid
from pathlib import Path

from mprun.linux import procfs
from support.runs import alive, all_runs, complete_lines, eventually, finish, start, write

# Tasks that leave their session, hide from every list, ignore signals and keep their log open.
WORK = """\
    import os, signal, subprocess, sys, time

    def note(pid):
        with open("pids", "a") as file:
            file.write(f"{pid}\\n")

    def stay():
        signal.pause()

    def ignore_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ignores_sigterm")
        while True:
            signal.pause()

    def hide(stay=True):
        # Like daemon(3): forked twice, in a new session, without any descriptor.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.closerange(0, 100)
                file = os.open("pids", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(file, f"{os.getpid()}\\n".encode())
                os.close(file)
                signal.pause()
            os._exit(0)
        if stay:
            signal.pause()
        os.wait()

    def have_children():
        note(subprocess.Popen(["sleep", "60"]).pid)
        note(subprocess.Popen(["sh", "-c", "sleep 60 & setsid sleep 60"], start_new_session=True).pid)
        # With nothing of the run, but the token among its arguments.
        token = "CRASH_TARGET=" + os.environ.get("CRASH_TARGET", "")
        null = subprocess.DEVNULL
        hidden = ["env", "-i", "setsid", "tail", "-f", "/dev/null", token]
        subprocess.Popen(hidden, stdin=null, stdout=null, stderr=null)
        signal.pause()

    def multiply():
        # New processes all the time, each in a new session.
        for _ in range(40):
            subprocess.Popen(["sleep", "60"], start_new_session=True)
            time.sleep(0.005)
        signal.pause()

    def end_soon():
        hide(stay=False)
"""
JOB = """\
    tasks:
    - {name: quick, target: 'work:end_soon'}
    - {name: stay, target: 'work:stay'}
    - {name: ignores_sigterm, target: 'work:ignore_sigterm'}
    - {name: hide, target: 'work:hide'}
    - {name: children, target: 'work:have_children'}
    - {name: multiply, target: 'work:multiply'}
    - {name: command, command: 'trap "" TERM; setsid sleep 60 & sleep 60'}
    - {name: later, target: 'work:stay', depends_on: quick}
"""


class CrashTarget:
    """A run whose processes all have a token in the environment that /proc shows, or among their arguments.

    So do forks of the engine that never call exec.
    """

    def __init__(self, directory, *arguments, launch=start):
        self.directory = directory
        self._before = {one.path for one in all_runs(directory / ".mprun")}
        self._token = f"CRASH_TARGET={uuid.uuid4().hex}"
        # The launcher overwrites the end of its environment: the token must not be there.
        name, _, value = self._token.partition("=")
        self.engine = launch(*arguments, cwd=directory, env={name: value, "CRASH_TARGET_END": "x" * 200})

    def launcher(self):
        """The launcher's pid, once there is one."""
        engine = self.engine.pid
        children = Path(f"/proc/{engine}/task/{engine}/children")
        return int(eventually(lambda: children.read_text().split())[0])

    def survivors(self):
        """The pids of its processes that are alive, including the engine."""
        mark = self._token.encode()
        return [pid for pid, stat in procfs.processes().items() if stat.is_alive and mark in _strings(pid)]

    def seconds_to_vanish(self, timeout=5):
        """The seconds until only the engine is alive; fails after `timeout` seconds.

        multiprocessing's resource tracker must end as well, but its time does not count: it ends by
        itself, once it has removed what was left in shared memory, and may have just begun.
        """
        begun = time.monotonic()
        seconds = None
        while found := {*self.survivors()} - {self.engine.pid}:
            assert time.monotonic() - begun < timeout, [_told(pid) for pid in found]
            trackers = {pid for pid in found if _is_tracker(pid)}
            if seconds is None and trackers == found:
                seconds = time.monotonic() - begun
            wait_for_ends(found - trackers or trackers, 0.02)
        return seconds or time.monotonic() - begun

    def left(self, timeout=0.1):
        """The pids that are still alive after the engine has ended, except those that are ending.

        Those are multiprocessing's resource tracker, which ends when no process is left that could
        write to it, and processes that are gone `timeout` seconds later.
        """
        found = [pid for pid in self.survivors() if pid != self.engine.pid and not _is_tracker(pid)]
        wait_for_ends(found, timeout)
        return [pid for pid in found if alive(pid)]

    def pids(self, count):
        """The pids that its tasks have written, once there are `count`."""
        path = Path(self.directory, "pids")
        found = eventually(
            lambda: path.exists() and len(lines := path.read_text().split()) >= count and lines
        )
        return [int(pid) for pid in found]

    def events(self):
        """The events of its record, which is that of the first run since its start."""
        path = self.record()
        return complete_lines(path) if path else []

    def record(self):
        """The path of its record; None if there is none yet."""
        new = [one for one in all_runs(self.directory / ".mprun") if one.path not in self._before]
        return Path(new[0].events) if new else None

    def until(self, kind, task=None, count=1, seconds=10):
        """Wait for `count` events of a kind; fails after `seconds`."""

        def seen():
            found = [e for e in self.events() if e["event"] == kind and task in (None, e.get("task"))]
            return len(found) >= count

        eventually(seen, seconds)

    def kill_both(self):
        """Kill engine and launcher so that neither can react to the other's end."""
        launcher = self.launcher()
        for pid in (launcher, self.engine.pid):
            os.kill(pid, signal.SIGSTOP)
        for pid in (launcher, self.engine.pid):
            os.kill(pid, signal.SIGKILL)
        self.engine.communicate()

    def finish(self):
        return finish(self.engine, self.directory / ".mprun")

    def clean(self):
        for pid in self.survivors():
            # The launcher kills its tasks when the engine is gone: some may have ended by now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.engine.communicate()


def wait_for_ends(pids, seconds):
    """Wait until all of these processes have ended, for at most `seconds`.

    It does not poll, because that would take processor time from what it measures.
    """
    end = time.monotonic() + seconds
    for pid in pids:
        with contextlib.suppress(ProcessLookupError), _pidfd(pid) as pidfd:
            select.select([pidfd], [], [], max(0, end - time.monotonic()))


@contextlib.contextmanager
def _pidfd(pid):
    pidfd = os.pidfd_open(pid)
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def _strings(pid):
    """The environment and the arguments of a process."""
    found = b""
    for name in ("environ", "cmdline"):
        with contextlib.suppress(OSError):
            found += Path(f"/proc/{pid}/{name}").read_bytes() + b"\0"
    return found


def _is_tracker(pid):
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _told(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().strip(), Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return pid


def write_crash_job(directory, **more):
    write(directory, **{"work": WORK, "job": JOB, **more})
