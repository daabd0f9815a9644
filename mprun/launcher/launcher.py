"""The main process of a job: imports its targets once, starts its tasks and looks after them.

It decides nothing: it carries out the engine's requests, which include what starts after what,
and reports what happens. It has one thread, and one loop over an epoll set: the engine's socket,
and for each attempt a descriptor that becomes readable when its process ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from os import close
from select import EPOLLIN
from time import monotonic, sleep

from mprun import failpoints
from mprun.failpoints import armed
from mprun.launcher import auxiliary, fork, parent_death, preload, reaper, task_trees
from mprun.launcher.attempt import Attempt
from mprun.launcher.attempt_signals import AttemptSignals
from mprun.launcher.channel import (
    AFTER,
    CAPTURE,
    COMMAND,
    KEY,
    LIMITS,
    LOG,
    RESULT,
    START_METHOD,
    STDOUT,
    TARGET,
    LauncherChannel,
)
from mprun.launcher.fork import Fork
from mprun.launcher.prefork import Prefork
from mprun.launcher.reaper import kill_group
from mprun.launcher.start_backoff import StartBackoff
from mprun.launcher.start_queue import StartQueue
from mprun.launcher.worker import (
    IS_TRIED,
    MARK_VALUES,
    erase_marks,
    import_standard,
    is_marked,
)
from mprun.linux import pidfd_signals, procfs, run_cgroup

# Between two forks the launcher writes to each object that it uses, if only its count of references, and
# copies the page of it, if the last fork has that too. So what every task needs is imported by its own name
# here and in the modules that it goes through, and not looked up in a module, which is one more object.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable
    from typing import Any

    from mprun.launcher.channel import AttemptKey, PackedStartRequest
    from mprun.launcher.command_probes import CommandProbes
    from mprun.launcher.output_pipes import OutputPipes
    from mprun.launcher.process_identity import ProcessIdentity
    from mprun.launcher.targets import Call
    from mprun.launcher.worker import Process

# How often the threads of running tasks are counted, in seconds; with more tasks, less often.
SAMPLE_INTERVAL = 0.25
SAMPLE_INTERVAL_PER_TASK = 0.0025
# How long reports may wait for others while there is more to start, in seconds: to read several
# takes the engine as long as to read one.
MAX_REPORT_DELAY = 0.010
# With fewer requests that wait for other attempts, the engine should send more.
MIN_HELD_REQUESTS = 4
_NEVER = float("inf")


def _make_epoll() -> Any:
    if "pidfd_open" not in pidfd_signals.refused:
        return select.epoll()
    from mprun.linux.pidfd_stand_ins import LookingEpoll

    return LookingEpoll(pidfd_signals.stand_ins)


class Launcher:
    """Serves one engine over one socket until the engine closes it."""

    def __init__(self, sock: socket) -> None:
        self._engine = LauncherChannel(sock)
        self._descriptor = sock.fileno()
        self._epoll = _make_epoll()
        self._epoll.register(sock, EPOLLIN)
        self._children = procfs.ChildList()
        self._reaper = reaper.Reaper(self._children, self._find_owners)
        # By the descriptor that is readable once the process has ended, and by key.
        self._attempts: dict[int, Attempt] = {}
        self._by_key: dict[AttemptKey, Attempt] = {}
        self._queue = StartQueue()
        self._prefork = Prefork()
        # The attempt that was started last.
        self._last: AttemptKey = (-1, 0)
        self._backoff = StartBackoff()
        self._signals = AttemptSignals(
            self._epoll, self._by_key, self._leaders, self._find_adopted, self._handle_exit, self._give_up
        )
        self._probes: CommandProbes | None = None
        self._functions: dict[str, Any] = {}
        self._method = ""
        # The object that each fork copies: see `Process`.
        self._process: Process
        # By start method, the process that a task has for its parent.
        self._parents: dict[str, int] = {}
        self._fork_server = 0
        self._fork_count = 0
        # What `sys.argv` has, for the next process.
        self._target: str | None = None
        # Whether there may be more to start, and whether the reports are to be sent at once.
        self._busy = self._urgent = False
        self._next_sample = 0.0
        self._flushed = 0.0
        # Once there is a command, and the pids of the processes that it starts.
        self._outputs: OutputPipes | None = None
        self._output_pids: set[int] = set()
        self._pid = os.getpid()
        self._engine_pid = 0
        fork.private_descriptors.update({sock.fileno(), self._epoll.fileno()})

    # ---- the loop

    def serve(self) -> None:
        """Carry out the engine's requests until it closes the socket; then kill what still runs."""
        try:
            while self._turn():
                pass
        except ConnectionError:
            pass
        finally:
            self._kill_all()

    # In one piece: each function that is called between two forks costs two pages, its own and its code's.
    def _turn(self) -> bool:  # noqa: C901
        for descriptor, event in self._epoll.poll(0 if self._busy else self._timeout()):
            if descriptor in self._attempts:
                self._handle_exit(self._attempts[descriptor])
            elif descriptor == self._descriptor:
                if not self._read_requests():
                    return False
            elif self._outputs is None or not self._outputs.handle_output(descriptor, event):
                self._handle_probe_exit(descriptor)
        # Before the start: an end may free the slot of an attempt for which nothing else ends the next wait.
        if self._signals.is_waiting:
            fork.release_reserve()
            for attempt in self._signals.advance():
                self._handle_exit(attempt)
        # One start per turn: an exit in the meantime waits for one fork, not for all of them.
        self._busy = False
        if self._queue.entries and not (
            self._signals.suspended or (self._backoff.is_active and self._must_wait())
        ):
            request = self._queue.take()
            if request is not None:
                self._busy = True
                self._start(request)
        if self._queue.held_count and self._prefork.is_wanted:
            self._fork_ahead()
        if (now := monotonic()) >= self._next_sample:
            self._sample(now)
        if self._outputs is not None and now >= self._outputs.rest_ends:
            self._outputs.end_rest(now)
        if self._urgent or not self._queue.entries or now - self._flushed >= MAX_REPORT_DELAY:
            self._engine.flush()
            self._flushed, self._urgent = now, False
        return True

    def _timeout(self) -> float | None:
        """How long to wait for the next event, in seconds; None for no limit."""
        # A retry may become due after this turn has looked and before the pause is computed.
        timeout = SAMPLE_INTERVAL if self._attempts or self._backoff.is_active else None
        if self._engine.reports:
            timeout = MAX_REPORT_DELAY
        if self._signals.is_waiting and (pause := self._signals.pause()) is not None:
            timeout = pause
        if self._outputs is not None and self._outputs.rest_ends < _NEVER:
            pause = max(0.0, self._outputs.rest_ends - monotonic())
            timeout = pause if timeout is None else min(timeout, pause)
        if self._backoff.is_active and (pause := self._backoff.remaining(monotonic())):
            timeout = pause if timeout is None else min(timeout, pause)
        return timeout

    def _read_requests(self) -> bool:
        requests = self._engine.receive()
        for kind, *details in requests or ():
            if kind == "start":
                self._enqueue(*details)
                continue
            # All else may need a module, or files of /proc.
            fork.release_reserve()
            if kind == "cancel":
                self._report_cancelled(self._queue.cancel(*details))
            elif kind == "signal":
                self._signals.send(*details)
            elif kind == "probe":
                self._probe(*details)
            elif kind == "end_probe":
                self._end_probe(*details)
            elif kind == "prepare":
                self._prepare(*details)
            elif kind == "suspend":
                self._signals.suspend()
                self._engine.send(("suspended",))
            elif kind == "resume":
                self._signals.resume()
        return requests is not None

    # ---- before the first start

    def _prepare(self, options: dict[str, Any], calls: list[Call]) -> None:
        """Import and bind every target, then become as cheap to fork as possible."""
        # Until now this process died with the engine; from now on it must kill its children first.
        parent_death.continue_on_parent_death()
        self._engine_pid = options["engine"]
        self._method = options["start_method"]
        self._queue.free_slots = options["max_parallel"]
        if run_cgroup.entered:
            self._engine.send(("cgroup_entered", run_cgroup.entered))
        at_start = [*sys.modules] if options["tell_imports"] else []
        loaded = preload.Preload(options)
        with parent_death.ending_with_the_engine(self._exit, self._engine_pid):
            errors = loaded.import_targets(calls, self._report_importing)
        if not errors:
            loaded.start_auxiliary(self._pause)
            self._fork_server, self._parents = loaded.fork_server, loaded.parents
            if IS_TRIED:
                self._process = preload.make_process(self._method)
        self._functions = loaded.functions
        if options["tell_modules"]:
            # Few runs are on several hosts.
            from mprun.launcher.module_files import module_files

            self._engine.send(("modules", *module_files(options["import_path"])))
        if options["tell_imports"]:
            # Few jobs skip what is unchanged.
            from mprun.launcher.module_files import imports

            self._engine.send(("imports", imports(at_start)))
        self._reaper.ignore_present_children()
        preload.make_forks_cheap()
        refused = sorted(pidfd_signals.refused)
        if self._children.fileno() is None and not procfs.is_readable():
            refused.append("/proc")
        self._engine.send(("prepared", os.getpid(), auxiliary.main_name(), errors, loaded.threads, refused))

    def _pause(self, seconds: float) -> None:
        with parent_death.ending_with_the_engine(self._exit, self._engine_pid):
            sleep(seconds)

    def _report_importing(self, number: int) -> None:
        """Report an import before it begins, so that the engine knows which one ended the launcher."""
        self._engine.send(("importing", number))
        self._engine.flush()

    # ---- starts

    def _enqueue(self, request: PackedStartRequest) -> None:
        self._queue.add(request)
        after = request[AFTER]
        # Most wait for none, and a generator costs five pages.
        if after and not all(key in self._by_key or key in self._queue for key, _ in after):
            # One of them has ended, and the engine has not read the report yet.
            self._report_cancelled(self._queue.cancel(request[KEY]))

    def _report_peak(self, peak: int) -> None:
        self._engine.send(("launcher_peak", peak))

    def _report_cancelled(self, keys: list[AttemptKey]) -> None:
        for key in keys:
            self._backoff.cancelled(key)
            self._prefork.cancel(key)
            if self._outputs is not None:
                self._outputs.withdraw(key)
            self._engine.send(("start_cancelled", key, monotonic()))

    def _must_wait(self) -> bool:
        """Whether it is too early to retry a start that has failed."""
        return self._backoff.remaining(monotonic()) > 0

    def _start(self, request: PackedStartRequest) -> None:
        key = request[KEY]
        try:
            command = request[COMMAND] is not None
            attempt = self._start_command(request) if command else self._start_process(request)
        except OSError as error:
            now = monotonic()
            # It has the write end of a pipe that another attempt may get.
            self._prefork.cancel(key)
            if self._outputs is not None:
                self._outputs.withdraw(key)
            if self._backoff.should_retry(key, error.errno, now, others=bool(self._attempts)):
                self._queue.put_back(request)
            else:
                self._backoff.reset()
                self._engine.send(("not_started", key, now, error.strerror or str(error)))
                self._report_cancelled(self._queue.attempt_ended(key))
            return
        if self._backoff.is_active:
            self._backoff.reset()
        if self._queue.held_count:
            self._prefork.note_start(attempt.clock)
            self._last = key
        handle = attempt.handle
        self._queue.free_slots -= not attempt.daemon
        self._attempts[handle.exit_fd] = self._by_key[key] = attempt
        self._epoll.register(handle.exit_fd, EPOLLIN)
        parent = self._parents[request[START_METHOD]]
        self._engine.send(("started", key, attempt.clock, handle.pid, parent, attempt.ticks))

    def _start_command(self, request: PackedStartRequest) -> Attempt:
        """Start a command, which has a pipe for its output. Raises OSError if that is not possible."""
        outputs, key = self._outputs or self._outputs_for(request), request[KEY]
        output = outputs.connect(key, request[LOG])
        try:
            if not request[CAPTURE]:
                return self._start_process(request, output)
            stdout = outputs.capture(key, request[RESULT] + STDOUT)
            try:
                return self._start_process((*request[:CAPTURE], stdout), output)
            finally:
                close(stdout)
        finally:
            close(output)

    def _start_process(self, request: PackedStartRequest, output: int = -1) -> Attempt:
        """Give an attempt a process; `output` is the descriptor for what it writes, -1 for its log.

        Raises OSError if that is not possible.
        """
        if armed:
            failpoints.reached("launcher.starting")
        method = request[START_METHOD]
        if method == "fork" and IS_TRIED:
            if self._prefork.count and (waiting := self._prefork.take(request[KEY])) is not None:
                with contextlib.suppress(ChildProcessError):
                    return Attempt(request, fork.HeldFork.release, waiting, waiting.ticks)
                waiting.discard()
            if output >= 0 and self._outputs is not None and (starts := self._outputs.starts_for(request)):
                # If that is not possible, a fork shows why.
                with contextlib.suppress(starts.NotPossible):
                    return Attempt(request, starts.start, (request, output))
            self._assign(request, output)
            return Attempt(request, Fork, self._process)
        return Attempt(request, self._spawn, (*request, None, self._parents[method], output))

    def _outputs_for(self, request: PackedStartRequest) -> OutputPipes:
        """The pipes for the output of commands; the first command starts their keeper. Raises OSError."""
        if self._outputs is None:
            # A job without commands does not need them.
            import_standard("mprun.launcher.output_pipes")
            from mprun.launcher.output_pipes import OutputPipes

            self._outputs = OutputPipes(self._epoll, self._leaders_of, self._report_peak)
            self._output_pids = self._outputs.pids
            # If this process is killed, the engine must not kill the keeper with the other children.
            keeper = self._outputs.keeper.pid
            self._engine.send(("keeper_started", keeper, procfs.start_ticks(keeper)))
            self._engine.flush()
        return self._outputs

    def _assign(self, request: PackedStartRequest, output: int) -> None:
        """Give the next fork its request, and a descriptor for its output or -1."""
        if request[LIMITS]:
            preload.import_for_limits()
        if self._fork_count < 2:
            self._fork_count += 1
            if self._fork_count == 2:
                preload.import_for_results()
        target = request[TARGET]
        # Set here and not in the fork, which would copy a page for it; and only if it is another one,
        # because this copies three in the launcher.
        if target != self._target:
            sys.argv = [target]
            self._target = target
        function = self._functions[target] if target in self._functions else None  # noqa: SIM401  fewer pages
        self._process.request = (*request, function, self._pid, output)

    def _fork_ahead(self) -> None:
        """While the attempt that was started last runs, fork for the first one that waits for it."""
        following = self._queue.first_after(self._last)
        if following is None or following[CAPTURE] or self._signals.suspended or not IS_TRIED:
            return
        if self._outputs is not None and self._outputs.starts_for(following):
            return
        if following[START_METHOD] == "fork":
            # If there is no room for a process, the start of the attempt will see that, and be retried.
            with contextlib.suppress(OSError, ImportError):
                self._fork_for(following)

    def _fork_for(self, request: PackedStartRequest) -> None:
        output = -1
        if request[COMMAND] is not None:
            output = self._outputs_for(request).open_write_end(request[KEY])
        try:
            self._assign(request, output)
            self._prefork.fork_for(request[KEY], self._process, monotonic())
        finally:
            if output >= 0:
                os.close(output)

    def _spawn(self, request: tuple[Any, ...]) -> fork.ProcessHandle:
        # It needs sockets, temporary files and more, which a launcher that only forks must not hold.
        from mprun.launcher import spawn

        # multiprocessing hands it on to the new process.
        self._target = request[TARGET]
        sys.argv = [self._target]
        if request[START_METHOD] == "fork":
            # The task would inherit the signal handler.
            return spawn.start(request, self._method)
        # The fork server may still be importing.
        with parent_death.ending_with_the_engine(self._exit, self._engine_pid):
            return spawn.start(request, self._method)

    # ---- processes

    def _leaders(self) -> dict[int, int]:
        """The pid of every process of an attempt or a probe, and its pidfd."""
        handles = [attempt.handle for attempt in self._attempts.values()]
        leaders = {handle.pid: handle.pidfd for handle in handles if handle.pidfd >= 0}
        return leaders if self._probes is None else {**leaders, **self._probes.leaders()}

    # ---- probes

    def _probe(self, key: AttemptKey, number: int, *request: Any) -> None:
        """Start a command that probes an attempt."""
        try:
            if self._probes is None:
                # Few jobs have one.
                import_standard("mprun.launcher.command_probes")
                from mprun.launcher.command_probes import CommandProbes

                self._probes = CommandProbes(self._epoll, self._attempts, self._reap_orphans)
            self._probes.start(key, number, request)
        except (OSError, ImportError) as error:
            message = getattr(error, "strerror", None) or str(error)
            self._engine.send(("probed", key, monotonic(), number, None, message))

    def _end_probe(self, key: AttemptKey) -> None:
        if self._probes is not None:
            self._probes.kill(key)

    def _handle_probe_exit(self, descriptor: int) -> None:
        if self._probes is not None and (facts := self._probes.handle_exit(descriptor)) is not None:
            self._engine.send(("probed", *facts))
            self._urgent = True

    # ---- output

    def _leaders_of(self, key: AttemptKey | None) -> list[int]:
        """The pid of the process of an attempt, if it is running, or of all."""
        return [attempt.handle.pid for each, attempt in self._by_key.items() if key in (None, each)]

    # ---- exits

    def _handle_exit(self, attempt: Attempt) -> None:
        if attempt.group_asked:
            fork.release_reserve()
            if self._signals.keep_end_open(attempt):
                return
        clock = monotonic()
        handle = attempt.handle
        may_have_left = self._has_orphans(handle.pid)
        if may_have_left:
            fork.release_reserve()
        orphans: dict[int, ProcessIdentity | None] = {}
        # The leader is not reaped yet, so the id of its group, if it has one, is its own.
        if handle.reaped_here:
            if may_have_left:
                orphans = self._reaper.kill_group(handle.pid, self._pids())
            else:
                kill_group(handle.pid)
        code = handle.poll()
        if code is None and not handle.exit_unknown:
            return
        if armed:
            failpoints.reached("launcher.reaped")
        self._end(attempt, clock, code, orphans, may_have_left=may_have_left)

    def _give_up(self, attempt: Attempt) -> None:
        """Report the end of an attempt whose process cannot be killed, and do not wait for it any more."""
        if attempt.handle.reaped_here:
            self._reaper.left.add(attempt.handle.pid)
        attempt.left_running = (attempt.handle.pid,)
        self._end(attempt, monotonic(), None, {}, may_have_left=True)

    def _end(
        self,
        attempt: Attempt,
        clock: float,
        code: int | None,
        orphans: dict[int, ProcessIdentity | None],
        *,
        may_have_left: bool,
    ) -> None:
        """Kill what an attempt has left, and report its end; `code` is None if it is unknown."""
        handle = attempt.handle
        if self._signals.is_waiting:
            self._signals.end(attempt.key)
        self._epoll.unregister(handle.exit_fd)
        del self._attempts[handle.exit_fd], self._by_key[attempt.key]
        self._queue.free_slots += not attempt.daemon
        handle.close()
        if may_have_left:
            orphans |= self._reaper.reap_orphans(self._pids(), handle.pid)
            attempt.left_running += self._reaper.take_left()
            for pid, orphan in orphans.items():
                # A task whose fork server has died becomes a child of this process itself.
                if pid != handle.pid:
                    (attempt if orphan is None else self._owner(orphan, attempt)).orphans += (pid,)
        lost_bytes = 0
        if attempt.log_watch is not None:
            attempt.log_watch.report()
            lost_bytes = attempt.log_watch.lost
        lost = self._outputs.finish(attempt.key, attempt.program, code) if self._outputs is not None else ""
        unfinished = ""
        if code == 0 and attempt.program is None and not is_marked(attempt.key):
            fork.release_reserve()
            from mprun.launcher.end_marks import why_unmarked

            unfinished = why_unmarked(attempt.key)
        if not (attempt.key[1] + 1) % MARK_VALUES:
            erase_marks(attempt.key)
        facts = attempt.exit_facts(clock, code)
        left, names = attempt.left_running, None
        if left or attempt.orphans:
            names = self._reaper.take_names(attempt.orphans, left)
        self._engine.send(("exited", *facts, lost, unfinished, left, lost_bytes, names))
        if lost or unfinished:
            # The engine decides that it has failed.
            code = None
        if before := self._queue.held_count:
            seconds = clock - attempt.clock
            dropped = self._queue.attempt_ended(attempt.key, code, asked=attempt.asked, seconds=seconds)
            self._report_cancelled(dropped)
            # The engine must know at once, unless what it would ask for is here already: a request that
            # can take the slot, or one that was released by this exit while enough others wait.
            released = before > self._queue.held_count >= MIN_HELD_REQUESTS
            self._urgent |= not released and len(self._queue.entries) == self._queue.held_count

    def _has_orphans(self, ended: int) -> bool:
        """Whether there may be children that are neither of the launcher's own nor of other running tasks."""
        ours = len(self._attempts) + self._prefork.count + len(self._output_pids)
        if self._probes is not None:
            ours += len(self._probes.running)
        orphans = self._reaper
        if orphans.ignored or orphans.adopted or orphans.left:
            return orphans.has_orphans(ours, ended)
        return self._children.count() != ours

    def _reap_orphans(self, ended: int) -> dict[int, ProcessIdentity | None]:
        """Kill and reap the processes that a probe has left; those that were alive, by pid."""
        return self._reaper.reap_orphans(self._pids(), ended) if self._has_orphans(ended) else {}

    def _owner(self, orphan: ProcessIdentity, ended: Attempt) -> Attempt:
        """The attempt that left an orphan."""
        from mprun.launcher.orphan_owners import find_owner

        return find_owner(orphan, ended, self._attempts.values())

    def _find_owners(self, orphan: ProcessIdentity) -> frozenset[int]:
        """The running processes whose an orphan without a tag may be."""
        from mprun.launcher.orphan_owners import find_owners

        return find_owners(orphan, self._leaders(), self._attempts.values())

    def _find_adopted(self) -> Iterable[int]:
        """The orphans of running tasks that are children of the launcher now."""
        return self._reaper.find_adopted(self._pids())

    def _pids(self) -> set[int]:
        pids = {attempt.handle.pid for attempt in self._attempts.values()}
        pids |= self._prefork.pids() | self._output_pids
        return pids if self._probes is None else pids | self._probes.leaders().keys()

    def _kill_all(self) -> None:
        """Kill every task: the engine is gone or has finished."""
        fork.release_reserve()
        # Once its leader is gone, all of a tree comes here: this needs no list of all processes.
        task_trees.kill(self._leaders())
        # What modules started at import, and the fork server, end with the job. A resource tracker ends by
        # itself, once no process has its pipe, and it has removed what was left in shared memory.
        auxiliary.release_resource_tracker()
        self._reaper.ignore(self._output_pids)
        self._reaper.kill_all()
        if self._outputs is not None:
            self._outputs.close()
        if run_cgroup.entered and (os.getppid() != self._engine_pid or procfs.is_ending(self._engine_pid)):
            # No one else is left that could end it.
            import_standard("mprun.linux.cgroup_end")
            from mprun.linux import cgroup_end

            cgroup_end.leave_and_end(run_cgroup.entered)

    def _exit(self) -> None:
        """Kill every task and exit; does not return."""
        self._kill_all()
        auxiliary.remove_files()
        os._exit(1)

    # ---- at intervals

    def _sample(self, now: float) -> None:
        self._next_sample = now + SAMPLE_INTERVAL + SAMPLE_INTERVAL_PER_TASK * len(self._attempts)
        task_trees.wake(self._fork_server)
        self._prefork.expire(now)
        if self._has_orphans(0) or self._reaper.adopted:
            fork.release_reserve()
            self._reaper.adopt(self._pids())
        for attempt in self._attempts.values():
            attempt.sample()
