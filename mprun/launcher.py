"""The main process of a job: imports its targets once, starts its tasks, guards them.

It knows no policy: it does what the engine's requests say and reports what it sees. One
thread, one epoll set: the engine's socket, and for each task a descriptor that becomes
readable when the task ends.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
import types
from collections import deque

from mprun import badge, bereavement, failpoints, popen, procfs, reaper, shortage, stacks, target
from mprun.attempt import Attempt, no_fork_server
from mprun.channel import LauncherEnd
from mprun.resolution import Resolution, prepare_multiprocessing
from mprun.worker import (
    PR_SET_CHILD_SUBREAPER,
    Assignment,
    Process,
    dump_stacks_on_request,
    flush_output,
    open_output,
    set_process_control,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How often the number of a task's threads is looked at, in seconds; more tasks, less often.
SAMPLE_INTERVAL = 0.25
SAMPLE_INTERVAL_PER_TASK = 0.0025


class Launcher:
    """Serves one engine over one socket until the engine closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self._engine = LauncherEnd(sock)
        self._epoll = select.epoll()
        self._epoll.register(sock, select.EPOLLIN)
        self._reaper = reaper.Reaper()
        self._attempts: dict[int, Attempt] = {}
        self._by_key: dict[tuple[int, int], Attempt] = {}
        self._to_start: deque[tuple[Any, ...]] = deque()
        self._shortage = shortage.Shortage()
        self._places = 0
        self._calls: dict[str, Any] = {}
        self._dumps: list[stacks.Dump] = []
        self._method = ""
        self._fork_server = 0
        self._suspended = False
        self._sampled = 0.0
        popen.private_descriptors.update({sock.fileno(), self._epoll.fileno()})

    # ---- the loop

    def serve(self) -> None:
        """Do what the engine asks until it closes the socket; then leave nobody behind."""
        try:
            while self._turn():
                pass
        except ConnectionError:
            pass
        finally:
            self._kill_everyone()

    def _turn(self) -> bool:
        engine = self._engine.fileno()
        ready = self._next_to_start() is not None
        timeout = 0 if ready else self._sample_interval() if self._attempts else None
        if self._dumps:
            timeout = stacks.SETTLED if timeout is None else min(timeout, stacks.SETTLED)
        if pause := self._shortage.remaining(time.monotonic()):
            timeout = pause if timeout is None else min(timeout, pause)
        for descriptor, _ in self._epoll.poll(timeout):
            if descriptor != engine:
                self._ended(self._attempts[descriptor])
            elif not self._read_requests():
                return False
        # One start a turn: an end that comes meanwhile waits for one fork, not for all.
        if (first := self._next_to_start()) is not None:
            request = self._to_start[first]
            del self._to_start[first]
            self._start(*request)
        if self._dumps:
            self._signal_what_has_dumped()
        self._sample()
        self._engine.flush()
        return True

    def _read_requests(self) -> bool:
        requests = self._engine.receive()
        for kind, *details in requests or ():
            if kind == "start":
                self._to_start.append(tuple(details))
            elif kind == "withdraw":
                self._withdraw(*details)
            elif kind == "signal":
                self._signal(*details)
            elif kind == "prepare":
                self._prepare(*details)
            elif kind == "suspend":
                self._suspend()
            elif kind == "resume":
                self._resume()
        return requests is not None

    def _next_to_start(self) -> int | None:
        """Which of the requests can be carried out now: the first, or the first of a daemon."""
        if self._suspended or self._shortage.remaining(time.monotonic()):
            return None
        if self._places > 0:
            return 0 if self._to_start else None
        return next((number for number, (_, task, _) in enumerate(self._to_start) if task[2]), None)

    def _withdraw(self, key: tuple[int, int]) -> None:
        for request in self._to_start:
            if request[0] == key:
                self._to_start.remove(request)
                self._engine.send("withdrawn", key, time.monotonic())
                return

    # ---- before the first start

    def _prepare(
        self, options: dict[str, Any], calls: list[tuple[str, tuple[Any, ...] | None, dict[str, Any]]]
    ) -> None:
        """Import and bind every target, then become as cheap to fork as can be."""
        # From now on there may be somebody to look after: whoever forked us had us killed with it.
        bereavement.go_on_at_the_engines_death()
        _redirect_output(options["log"])
        self._places = options["max_parallel"]
        badge.name_run(options["run_id"])
        target.set_import_path(options["import_path"])
        resolution = Resolution(self._say_importing)
        with bereavement.ending_with_the_engine(self._end):
            problems = resolution.run(options["preload"], calls)
        self._calls = resolution.found
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            # A module that ignores it would have every end of a task thrown away.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not problems:
            methods = set(options["methods"])
            modules = [*options["preload"], *resolution.modules()]
            self._method = options["start_method"]
            self._fork_server = prepare_multiprocessing(options["start_method"], methods, modules)
        flush_output()
        self._reaper.spare_present_children()
        # A child that collects garbage copies the pages of all that it looks at.
        gc.collect()
        gc.freeze()
        popen.skip_thread_reset()
        self._engine.send("prepared", os.getpid(), _main_name(), problems, resolution.threads)

    def _say_importing(self, number: int) -> None:
        """Said before, so that the engine knows whose import it was that ended us."""
        self._engine.send("importing", number)
        self._engine.flush()

    # ---- starting and signalling

    def _start(self, key: tuple[int, int], task: tuple[Any, ...], todo: dict[str, Any]) -> None:
        try:
            attempt = self._begin(key, task, todo)
        except OSError as error:
            now = time.monotonic()
            if self._shortage.postpones(key, error.errno, now):
                self._to_start.appendleft((key, task, todo))
            else:
                self._shortage.over()
                self._engine.send("not_started", key, now, error.strerror or str(error))
            return
        self._shortage.over()
        held = attempt.popen
        self._places -= not attempt.process.daemon
        self._attempts[held.waiter] = self._by_key[key] = attempt
        self._epoll.register(held.waiter, select.EPOLLIN)
        parent = attempt.process.assignment.parent
        self._engine.send("started", key, attempt.clock, held.pid, parent, attempt.ticks)

    def _begin(self, key: tuple[int, int], task: tuple[Any, ...], todo: dict[str, Any]) -> Attempt:
        """Give an attempt a process. Raises OSError with what hinders that."""
        name, position, daemon, method = task
        shortage.reserve(method)
        badge.name_attempt(name, key[1])
        if method == "forkserver":
            todo["env"] = {"MPRUN_TASK": name, "MPRUN_ATTEMPT": str(key[1]), **todo["env"]}
            if not self._fork_server_lives():
                # multiprocessing would start another, which would know nothing of the job.
                raise no_fork_server()
        _import_for(todo)
        assignment = Assignment(
            **todo,
            call=self._calls.get(todo["target"]) if method == "fork" else None,
            parent=self._fork_server if method == "forkserver" else os.getpid(),
            meter=method == "forkserver",
        )
        attempt = Attempt(key, Process(name, position, daemon, method, self._method, assignment))
        failpoints.reached("launcher.starting")
        if method == "forkserver":
            # It may be at its own imports still.
            with bereavement.ending_with_the_engine(self._end):
                attempt.start()
        else:
            attempt.start()
        failpoints.reached("launcher.forked")
        return attempt

    def _fork_server_lives(self) -> bool:
        stat = procfs.read_stat(self._fork_server)
        return stat is not None and stat.lives and stat.ppid == os.getpid()

    def _signal(self, key: tuple[int, int], name: str, dump: bool) -> None:
        attempt = self._by_key.get(key)
        if attempt is None or attempt.popen.pidfd < 0:
            return
        dump = dump and attempt.answers_with_stacks and not self._suspended
        asked = stacks.Dump(key, name, attempt.log) if dump else None
        if asked is not None and stacks.ask(attempt.popen.pid, attempt.popen.pidfd):
            self._dumps.append(asked)
        else:
            self._send_signal(attempt, getattr(signal, name))

    def _signal_what_has_dumped(self) -> None:
        for dump in [dump for dump in self._dumps if dump.is_over()]:
            self._dumps.remove(dump)
            self._signal(dump.key, dump.signal, False)

    def _send_signal(self, attempt: Attempt, number: int) -> None:
        if number == signal.SIGKILL:
            reaper.kill_trees({attempt.popen.pid: attempt.popen.pidfd})
            return
        # Of a run that is suspended the tasks hear it when they are to go on.
        reaper.ask_to_end(attempt.popen, number, wake=not self._suspended)

    def _suspend(self) -> None:
        """Stop every task, wherever its processes are, and start no other."""
        self._suspended = True
        reaper.stop_trees(self._leaders())
        self._engine.send("suspended")

    def _leaders(self) -> dict[int, int]:
        """Every running task's process, and the descriptor that holds it."""
        held = [attempt.popen for attempt in self._attempts.values()]
        return {popen.pid: popen.pidfd for popen in held if popen.pidfd >= 0}

    def _resume(self) -> None:
        self._suspended = False
        reaper.signal_trees(self._leaders(), signal.SIGCONT)

    # ---- ends

    def _ended(self, attempt: Attempt) -> None:
        clock = time.monotonic()
        held = attempt.popen
        # The leader is not reaped yet, so the number of its group is still its own.
        if held.reaped_here:
            reaper.kill_group(held.pid)
        code = held.poll()
        if code is None and not getattr(held, "lost", False):
            return
        failpoints.reached("launcher.reaped")
        self._epoll.unregister(held.waiter)
        del self._attempts[held.waiter], self._by_key[attempt.key]
        self._places += not attempt.process.daemon
        held.close()
        for pid, traces in self._reaper.bury(self._pids()).items():
            # A task whose fork server has died comes to us itself.
            if pid != held.pid:
                self._left_by(attempt, traces).orphans += (pid,)
        self._engine.send("exited", *attempt.ending(clock, code))

    def _left_by(self, ending: Attempt, traces: reaper.Traces) -> Attempt:
        """Whose an orphan was: this attempt's, unless it shows that another that has ended too left it."""
        run_id = os.environ["MPRUN_RUN_ID"]
        return next((other for other in self._attempts.values() if other.left(traces, run_id)), ending)

    def _kill_everyone(self) -> None:
        """The engine is gone or has finished: no task outlives the launcher."""
        # With its leader gone all of a tree comes here: no list of all processes is needed.
        reaper.kill(self._leaders().values())
        # What modules started at import and the fork server end with the job; the resource
        # tracker ends by itself, once it has removed what tasks left in shared memory.
        self._reaper.spare(_resource_tracker())
        self._reaper.end_all()

    def _end(self) -> None:
        """Leave nobody behind; does not return."""
        self._kill_everyone()
        _remove_temporary_directory()
        os._exit(1)

    def _pids(self) -> set[int]:
        return {attempt.popen.pid for attempt in self._attempts.values()}

    # ---- looking

    def _sample_interval(self) -> float:
        return SAMPLE_INTERVAL + SAMPLE_INTERVAL_PER_TASK * len(self._attempts)

    def _sample(self) -> None:
        now = time.monotonic()
        if now - self._sampled < self._sample_interval():
            return
        self._sampled = now
        reaper.wake(self._fork_server)
        for attempt in self._attempts.values():
            attempt.sample()


def _import_for(todo: dict[str, Any]) -> None:
    """Import here what few tasks need, before the first of them would do so in its own process."""
    if todo["command"] is not None:
        from mprun import command  # noqa: F401
    if todo["limits"]:
        from mprun import limits  # noqa: F401


def _resource_tracker() -> list[int]:
    """The pid of multiprocessing's resource tracker, where it was started."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    pid = module._resource_tracker._pid if module is not None else None
    return [] if pid is None else [pid]


def _main_name() -> str:
    import multiprocessing

    return multiprocessing.current_process().name


def _redirect_output(log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    open_output()


def _remove_temporary_directory() -> None:
    """Remove what multiprocessing made for the fork server's socket, and would remove at exit."""
    import multiprocessing

    directory = multiprocessing.current_process()._config.get("tempdir")  # type: ignore[attr-defined]
    if directory is not None:
        import shutil

        shutil.rmtree(directory, ignore_errors=True)


def main(descriptor: int) -> None:
    """Be a launcher on this end of a socket pair; does not return."""
    code = 1
    try:
        os.setsid()
        set_process_control(PR_SET_CHILD_SUBREAPER, 1)
        # Whoever started mprun may have had signals ignored or blocked; tasks inherit.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # The two that Python itself ignores stay so.
        for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        dump_stacks_on_request()
        sys.modules["__main__"] = types.ModuleType("__main__")
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as we live
        popen.launcher_pidfd.append(os.pidfd_open(os.getpid()))
        os.set_inheritable(descriptor, False)
        popen.keep_descriptors_private()
        Launcher(socket.socket(fileno=descriptor)).serve()
        _remove_temporary_directory()
        code = 0
    except Exception:
        # A defect of ours; it belongs with what the main process printed.
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)
