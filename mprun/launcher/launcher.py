"""The main process of a job: imports its targets once, starts its tasks, guards them.

It knows no policy: it does what the engine's requests say, what is to start after what
included, and reports what it sees. One
thread, one epoll set: the engine's socket, and for each task a descriptor that becomes
readable when the task ends.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
from select import EPOLLIN
from signal import SIGKILL
from time import monotonic

from mprun import failpoints
from mprun.launcher import (
    auxiliary,
    environment,
    fork,
    parent_death,
    preload,
    reaper,
    stack_dump,
    start_backoff,
    targets,
)
from mprun.launcher.attempt import Attempt
from mprun.launcher.channel import AFTER, COMMAND, KEY, LIMITS, START_METHOD, TARGET, LauncherChannel
from mprun.launcher.prefork import Prefork
from mprun.launcher.resolution import Resolution
from mprun.launcher.start_queue import StartQueue
from mprun.launcher.worker import IS_TRIED, Process, flush_output, open_output, share_with_forks
from mprun.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

    from mprun.launcher.channel import AttemptKey, PackedStartRequest

# How often the number of a task's threads is looked at, in seconds; more tasks, less often.
SAMPLE_INTERVAL = 0.25
SAMPLE_INTERVAL_PER_TASK = 0.0025
# How long reports may wait for others while there is more to start, in seconds: the engine takes
# several in the time of one.
HOLD = 0.010
# With fewer to follow others than so many the engine is to hand over more.
FEW = 4


class Launcher:
    """Serves one engine over one socket until the engine closes it."""

    def __init__(self, sock: socket) -> None:
        self._engine = LauncherChannel(sock)
        self._descriptor = sock.fileno()
        self._epoll = select.epoll()
        self._epoll.register(sock, EPOLLIN)
        self._children = procfs.ChildList()
        self._reaper = reaper.Reaper(self._children)
        self._attempts: dict[int, Attempt] = {}
        self._by_key: dict[AttemptKey, Attempt] = {}
        self._queue = StartQueue()
        self._standby = Prefork()
        # The attempt that was started last.
        self._last: AttemptKey = (-1, 0)
        self._shortage = start_backoff.Shortage()
        self._calls: dict[str, Any] = {}
        self._dumps: list[stack_dump.Dump] = []
        self._method = ""
        self._fork_server = 0
        self._suspended = False
        self._forks = 0
        # Whether there may be more to start, and whether the engine waits for what is reported.
        self._busy = self._urgent = False
        self._next_sample = 0.0
        self._flushed = 0.0
        self._pid = os.getpid()
        self._engine_pid = 0
        # By start method, the process that a task has for its parent.
        self._parents: dict[str, int] = {}
        fork.private_descriptors.update({sock.fileno(), self._epoll.fileno()})

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
        for descriptor, _ in self._epoll.poll(0 if self._busy else self._patience()):
            if descriptor != self._descriptor:
                self._ended(self._attempts[descriptor])
            elif not self._read_requests():
                return False
        # One start a turn: an end that comes meanwhile waits for one fork, not for all.
        self._busy = False
        if self._queue.entries and not (self._suspended or (self._shortage.lasts and self._is_short())):
            request = self._queue.take()
            if request is not None:
                self._busy = True
                self._start(request)
        if self._queue.held_count and self._standby.is_wanted:
            self._have_one_stand_by()
        if self._dumps:
            self._signal_what_has_dumped()
        if (now := monotonic()) >= self._next_sample:
            self._sample(now)
        if self._urgent or not self._queue.entries or now - self._flushed >= HOLD:
            self._engine.flush()
            self._flushed, self._urgent = now, False
        return True

    def _patience(self) -> float | None:
        """How long to wait for what comes next, in seconds; None for as long as it takes."""
        timeout = SAMPLE_INTERVAL if self._attempts else None
        if self._engine.reports:
            timeout = HOLD
        if self._dumps:
            timeout = stack_dump.SETTLED
        if self._shortage.lasts and (pause := self._shortage.remaining(monotonic())):
            timeout = pause if timeout is None else min(timeout, pause)
        return timeout

    def _read_requests(self) -> bool:
        requests = self._engine.receive()
        for kind, *details in requests or ():
            if kind == "start":
                self._enqueue(*details)
            elif kind == "cancel":
                self._report_cancelled(self._queue.cancel(*details))
            elif kind == "signal":
                self._signal(*details)
            elif kind == "prepare":
                self._prepare(*details)
            elif kind == "suspend":
                self._suspend()
            elif kind == "resume":
                self._resume()
        return requests is not None

    def _is_short(self) -> bool:
        """Whether it is not yet time to try again what there was no room for."""
        return self._shortage.remaining(monotonic()) > 0

    def _enqueue(self, request: PackedStartRequest) -> None:
        self._queue.add(request)
        if not all(key in self._by_key or key in self._queue for key, _ in request[AFTER]):
            # One of them has ended, and the engine has not read the report yet.
            self._report_cancelled(self._queue.cancel(request[KEY]))

    def _report_cancelled(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            self._shortage.cancelled(key)
            self._standby.cancel(key)
            self._engine.send("start_cancelled", key, monotonic())

    # ---- before the first start

    def _prepare(
        self, options: dict[str, Any], calls: list[tuple[str, tuple[Any, ...] | None, dict[str, Any]]]
    ) -> None:
        """Import and bind every target, then become as cheap to fork as can be."""
        # From now on there may be somebody to look after: whoever forked us had us killed with it.
        parent_death.continue_on_parent_death()
        _redirect_output(options["log"])
        self._queue.free_slots = options["max_parallel"]
        environment.tag_run(options["run_id"])
        targets.set_import_path(options["import_path"])
        resolution = Resolution(self._say_importing)
        self._engine_pid = options["engine"]
        with parent_death.ending_with_the_engine(self._end, self._engine_pid):
            problems = resolution.run(options["preload"], calls)
        self._calls = resolution.found
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            # A module that ignores it would have every end of a task thrown away.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not problems:
            methods = set(options["methods"])
            modules = [*options["preload"], *resolution.modules()]
            self._method = options["start_method"]
            self._fork_server = auxiliary.prepare(options["start_method"], methods, modules)
            self._parents = {"fork": self._pid, "spawn": self._pid, "forkserver": self._fork_server}
            if IS_TRIED:
                self._copied = Process(self._method, "fork")
                share_with_forks(self._copied, fork.launcher_pidfd[0])
                self._copied.warm_up()
        flush_output()
        self._reaper.ignore_present_children()
        # A child that collects garbage copies the pages of all that it looks at.
        gc.collect()
        gc.freeze()
        fork.skip_thread_reset()
        self._engine.send("prepared", os.getpid(), auxiliary.main_name(), problems, resolution.threads)

    def _say_importing(self, number: int) -> None:
        """Said before, so that the engine knows whose import it was that ended us."""
        self._engine.send("importing", number)
        self._engine.flush()

    # ---- starting and signalling

    def _start(self, request: PackedStartRequest) -> None:
        key = request[KEY]
        try:
            attempt = self._begin(request)
        except OSError as error:
            now = monotonic()
            if self._shortage.postpones(key, error.errno, now, others=bool(self._attempts)):
                self._queue.put_back(request)
            else:
                self._shortage.over()
                self._engine.send("not_started", key, now, error.strerror or str(error))
                self._report_cancelled(self._queue.attempt_ended(key))
            return
        if self._shortage.lasts:
            self._shortage.over()
        if self._queue.held_count:
            self._standby.started(attempt.clock)
            self._last = key
        held = attempt.popen
        self._queue.free_slots -= not attempt.daemon
        self._attempts[held.waiter] = self._by_key[key] = attempt
        self._epoll.register(held.waiter, EPOLLIN)
        parent = self._parents[request[START_METHOD]]
        self._engine.send("started", key, attempt.clock, held.pid, parent, attempt.ticks)

    def _begin(self, request: PackedStartRequest) -> Attempt:
        """Give an attempt a process. Raises OSError if that is not possible."""
        method = request[START_METHOD]
        if failpoints.armed:
            failpoints.reached("launcher.starting")
        if method == "fork" and IS_TRIED:
            if self._standby.number and (standing := self._standby.take(request[KEY])) is not None:
                with contextlib.suppress(ChildProcessError):
                    return Attempt(request, fork.HeldFork.open, standing, standing.ticks)
                standing.give_up()
            self._assign(request)
            return Attempt(request, fork.Fork, self._copied)
        return Attempt(request, self._start_by_another, (*request, None, self._parents[method]))

    def _assign(self, request: PackedStartRequest) -> None:
        """Give the next fork its request."""
        if request[COMMAND] is not None or request[LIMITS]:
            preload.for_task(request[COMMAND], request[LIMITS])
        if self._forks < 2:
            self._forks += 1
            if self._forks == 2:
                preload.for_results()
        self._copied.request = (*request, self._calls.get(request[TARGET]), self._pid)

    def _have_one_stand_by(self) -> None:
        """While the attempt that was started last runs, fork for the first that is to follow it."""
        following = self._queue.first_after(self._last)
        if following is None or self._suspended or not IS_TRIED:
            return
        if following[START_METHOD] == "fork":
            # Where there is no room for it, whoever starts the attempt will see, and try again.
            with contextlib.suppress(OSError, ImportError):
                self._assign(following)
                self._standby.prepare(following[KEY], self._copied, monotonic())

    def _start_by_another(self, request: tuple[Any, ...]) -> fork.ProcessHandle:
        # It needs sockets, temporary files and more, which a launcher that forks must not hold.
        from mprun.launcher import spawn

        if request[START_METHOD] == "fork":
            # The task would inherit a handler of signals.
            return spawn.start(request, self._method)
        # The fork server may be at its own imports still.
        with parent_death.ending_with_the_engine(self._end, self._engine_pid):
            return spawn.start(request, self._method)

    def _signal(self, key: AttemptKey, name: str, dump: bool) -> None:
        attempt = self._by_key.get(key)
        if attempt is None or attempt.popen.pidfd < 0:
            return
        attempt.asked = True
        # A program may use SIGUSR2 for its own ends.
        dump = dump and not attempt.program and not self._suspended
        asked = stack_dump.Dump(key, name, attempt.log) if dump else None
        if asked is not None and stack_dump.ask(attempt.popen.pid, attempt.popen.pidfd):
            self._dumps.append(asked)
        else:
            self._send_signal(attempt, getattr(signal, name))

    def _signal_what_has_dumped(self) -> None:
        for dump in [dump for dump in self._dumps if dump.is_over()]:
            self._dumps.remove(dump)
            self._signal(dump.key, dump.signal, False)

    def _send_signal(self, attempt: Attempt, number: int) -> None:
        if number == SIGKILL:
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
        return {fork.pid: fork.pidfd for fork in held if fork.pidfd >= 0}

    def _resume(self) -> None:
        self._suspended = False
        reaper.signal_trees(self._leaders(), signal.SIGCONT)

    # ---- ends

    def _ended(self, attempt: Attempt) -> None:
        clock = monotonic()
        held = attempt.popen
        # The leader is not reaped yet, so the number of its group, if it has one, is its own.
        if held.reaped_here:
            reaper.kill_group(held.pid)
        code = held.poll()
        if code is None and not held.lost:
            return
        if failpoints.armed:
            failpoints.reached("launcher.reaped")
        self._epoll.unregister(held.waiter)
        del self._attempts[held.waiter], self._by_key[attempt.key]
        self._queue.free_slots += not attempt.daemon
        held.close()
        if self._reaper.spared or self._children.count() != len(self._attempts) + self._standby.number:
            for pid, traces in self._reaper.bury(self._pids()).items():
                # A task whose fork server has died comes to us itself.
                if pid != held.pid:
                    self._left_by(attempt, traces).orphans += (pid,)
        self._engine.send("exited", *attempt.ending(clock, code))
        if before := self._queue.held_count:
            seconds = clock - attempt.clock
            dropped = self._queue.attempt_ended(attempt.key, code, asked=attempt.asked, seconds=seconds)
            self._report_cancelled(dropped)
            # The engine is to know at once, unless what it would do is done: something waits for the
            # place, or has followed, and more is there to follow that.
            followed = before > self._queue.held_count >= FEW
            self._urgent |= not followed and len(self._queue.entries) == self._queue.held_count

    def _left_by(self, ending: Attempt, traces: reaper.ProcessIdentity) -> Attempt:
        """Whose an orphan was: this attempt's, unless it shows that another that has ended too left it."""
        run_id = os.environ["MPRUN_RUN_ID"]
        return next((other for other in self._attempts.values() if other.left(traces, run_id)), ending)

    def _kill_everyone(self) -> None:
        """The engine is gone or has finished: no task outlives the launcher."""
        # With its leader gone all of a tree comes here: no list of all processes is needed.
        reaper.kill(self._leaders().values())
        # What modules started at import and the fork server end with the job; the resource
        # tracker ends by itself, once it has removed what tasks left in shared memory.
        self._reaper.spare(auxiliary.resource_tracker())
        self._reaper.end_all()

    def _end(self) -> None:
        """Leave nobody behind; does not return."""
        self._kill_everyone()
        auxiliary.remove_files()
        os._exit(1)

    def _pids(self) -> set[int]:
        return {attempt.popen.pid for attempt in self._attempts.values()} | self._standby.pids()

    # ---- looking

    def _sample(self, now: float) -> None:
        self._next_sample = now + SAMPLE_INTERVAL + SAMPLE_INTERVAL_PER_TASK * len(self._attempts)
        reaper.wake(self._fork_server)
        self._standby.look(now)
        for attempt in self._attempts.values():
            attempt.sample()


def _redirect_output(log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    open_output()
