"""The pipes of all running commands, which the launcher drains into their logs.

If the launcher is killed, another process drains what is left: the keeper
(`mprun.launcher.output_keeper`). A flood has a process of its own (`mprun.launcher.output_drainer`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from select import EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT
from time import monotonic

from mprun.begun_logs import BEGUN, note

# Two are only for the launcher: once orphans come to it, it may have no descriptor to import them.
from mprun.launcher import exec_command, fork, orphan_owners, process_identity, worker  # noqa: F401
from mprun.launcher.channel import COMMAND
from mprun.launcher.output_keeper import Keeper
from mprun.launcher.output_pipe import OutputPipe
from mprun.launcher.own_files import open_own
from mprun.launcher.start_backoff import RETRIED_ERRORS
from mprun.linux import open_files, procfs
from mprun.linux.splice import PIPE_BYTES, enlarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Iterable

    from mprun.launcher.channel import AttemptKey, PackedStartRequest
    from mprun.launcher.command_starts import CommandStarts
    from mprun.launcher.output_drainer import Drainer

# How long a pipe that has got something rests before it is drained, in seconds: many lines are moved at
# the cost of one, and a program that reads its own log comes to its end before that grows.
REST_SECONDS = 0.010
# A pass that moves so many bytes is part of a flood. Then a pipe is drained at once for some passes, because
# a full one blocks its writer; after a pass that has moved less than this part of what it can hold, it rests
# for a shorter time.
FLOOD_BYTES = 1 << 14
FLOOD_PASSES = 100
FLOOD_REST_SECONDS = 0.001
SMALL_PART = 16
# From this size on a log may be read by a process of any task that has it open, in bytes.
MIN_LOOK_AT_ALL_BYTES = 1 << 20
# If so many bytes come through a pipe in so many seconds, it gets a process that drains it. There are at
# most as many of these as cores; the next pipe is made larger instead.
RATE_BYTES = 1 << 21
RATE_SECONDS = 0.1
_NEVER = float("inf")
# An event disarms a pipe in the epoll set, so that it can stay there while it rests or is idle.
_ARMED = EPOLLIN | EPOLLONESHOT


class OutputPipes:
    """The pipes of running attempts, by their keys; those of attempts that have ended are used again.

    `watched` are those in the launcher's epoll set, by descriptor. `rest_ends` is when the first of
    those that rest is to be drained, a monotonic time; infinite if none rests. `pids` are the children
    of the launcher that drain pipes, or will.
    """

    def __init__(
        self,
        epoll: select.epoll,
        leaders: Callable[[AttemptKey | None], Iterable[int]],
        report_peak: Callable[[int], None],
    ) -> None:
        """Start the keeper. Raises OSError.

        `leaders` gives the pid of the process of an attempt, or of all; `report_peak` is that of
        `CommandStarts`.
        """
        exec_command.prepare_forks()
        self._epoll = epoll
        self.keeper = Keeper()
        epoll.register(self.keeper.fileno(), EPOLLONESHOT)
        # The file in which the logs of commands that have begun are noted, and its inode.
        self._begun = self._begun_inode = -1
        self._by_key: dict[AttemptKey, OutputPipe] = {}
        # The second pipes of attempts whose standard output is captured.
        self._captured: dict[AttemptKey, OutputPipe] = {}
        self._idle: list[OutputPipe] = []
        self._free_slots: list[int] = []
        self._slot_count = 0
        self.watched: dict[int, OutputPipe] = {}
        self._resting: list[OutputPipe] = []
        self.rest_ends = _NEVER
        self._leaders = leaders
        self.pids = {self.keeper.pid}
        # By the descriptor that is readable once the process has ended.
        self._drainers: dict[int, Drainer] = {}
        # The programs of commands that have ended well, and what starts them from then on.
        self._programs: set[str] = set()
        self._starts: CommandStarts | None = None
        self._may_have_starts = True
        self._report_peak = report_peak
        self._max_drainers = procfs.count_cores() if sys.platform == "linux" else 0

    # ---- the start of an attempt

    def open_write_end(self, key: AttemptKey) -> int:
        """The end of a pipe for the process of an attempt. Raises OSError.

        To be closed as soon as the process has it, so that only the process and its descendants do.
        """
        if key not in self._by_key:
            self._by_key[key] = self._idle.pop() if self._idle else self._make()
        return self._by_key[key].open_write_end()

    def connect(self, key: AttemptKey, log: str) -> int:
        """The same, and drain the pipe into the log of the attempt from now on."""
        output = self.open_write_end(key)
        pipe = self._by_key[key]
        self._watch(pipe, key, log)
        try:
            self._note(pipe)
        except OSError:
            os.close(output)
            raise
        return output

    def _note(self, pipe: OutputPipe) -> None:
        """Note that the attempt begins, or create its log, which shows that, too. Raises OSError."""
        try:
            self._open_begun()
            note(self._begun, pipe.name)
        except OSError:
            # There may be no room for a longer file, and for a new one that is empty.
            try:
                pipe.create_log()
            except OSError as error:
                raise OSError(error.errno, f"its log cannot be created: {error.strerror}") from None

    def _open_begun(self) -> None:
        try:
            found = os.stat(BEGUN, dir_fd=worker.logs, follow_symlinks=False).st_ino
        except FileNotFoundError:
            # It is the first command, or a task has removed all logs, or moved them.
            found = 0
        if found == self._begun_inode:
            return
        file = open_own(worker.logs, BEGUN, worker.APPEND)
        self._begun_inode = os.fstat(file).st_ino
        if self._begun < 0:
            self._begun = file
            fork.private_descriptors.add(file)
            return
        os.dup2(file, self._begun, inheritable=False)
        os.close(file)

    def _make(self) -> OutputPipe:
        slot = self._free_slots.pop() if self._free_slots else self.keeper.check_slot(self._slot_count)
        self._slot_count = max(self._slot_count, slot + 1)
        try:
            pipe = OutputPipe(slot)
        except OSError:
            self._free_slots.append(slot)
            raise
        fork.private_descriptors.update((pipe.read_end, pipe.log))
        self._epoll.register(pipe.read_end, EPOLLONESHOT)
        self.keeper.hold(slot, pipe.read_end)
        self._wait_for_keeper()
        return pipe

    def _wait_for_keeper(self) -> None:
        """Have `handle_output` called once the keeper can be told the rest, if there is any."""
        if self.keeper.untold:
            self._epoll.modify(self.keeper.fileno(), EPOLLOUT | EPOLLONESHOT)

    def capture(self, key: AttemptKey, copy: str) -> int:
        """The end of a second pipe, for standard output alone; as `connect`.

        It is drained into the log of the first, and what comes through it also goes into the file `copy`.
        Raises OSError also if these files cannot be opened.
        """
        if key not in self._captured:
            self._captured[key] = self._idle.pop() if self._idle else self._make()
        pipe, captured = self._by_key[key], self._captured[key]
        pipe.open_log()
        captured.share_log(pipe, copy)
        output = captured.open_write_end()
        self._watch(captured, key, pipe.name)
        return output

    def _watch(self, pipe: OutputPipe, key: AttemptKey, log: str) -> None:
        pipe.begin(log)
        pipe.key = key
        self.keeper.name_log(pipe.slot, log)
        self.watched[pipe.read_end] = pipe
        self._epoll.modify(pipe.read_end, _ARMED)

    def withdraw(self, key: AttemptKey) -> None:
        """The attempt does not start; it may have a pipe, and a log."""
        if self._starts is not None:
            # There may be no descriptor for it.
            self._starts.close_spare_guards()
        pipe = self._by_key.get(key)
        if pipe is None:
            return
        if pipe.name:
            # It had no process, as a log and a note would show.
            with contextlib.suppress(OSError):
                if pipe.is_open:
                    os.unlink(pipe.name, dir_fd=worker.logs)
                if self._begun >= 0:
                    note(self._begun, pipe.name, begun=False)
        self.finish(key)

    def starts_for(self, request: PackedStartRequest) -> CommandStarts | None:
        """What starts this command without a fork, if a fork has executed its program, which has ended well.

        So a program that cannot be executed at all holds up no more than its own process. The launcher waits
        for one that could be, and now takes long.
        """
        if request[COMMAND] is None or request[COMMAND][0] not in self._programs:
            return None
        if self._starts is None and self._may_have_starts:
            try:
                # A job of one command does not need it.
                worker.import_standard("mprun.launcher.command_starts")
                from mprun.launcher.command_starts import CommandStarts

                self._starts = CommandStarts(self._report_peak)
            except (OSError, ImportError) as error:
                # A descriptor may be free again soon.
                self._may_have_starts = error.errno in RETRIED_ERRORS if isinstance(error, OSError) else False
        return self._starts if self._starts is not None and self._starts.takes(request) else None

    # ---- while it runs

    def handle_output(self, descriptor: int, event: int) -> bool:
        """Drain a pipe that has something to read or has ended, now or after a rest; False if it is none."""
        if descriptor not in self.watched:
            if descriptor == self.keeper.fileno():
                self.keeper.tell()
                self._wait_for_keeper()
                return True
            return self._handle_drainer_exit(descriptor)
        pipe = self.watched[descriptor]
        if event == EPOLLHUP:
            # Its process closed its output, or is about to end, and nothing is left to read.
            pipe.has_ended = True
            del self.watched[pipe.read_end]
        elif pipe.flood_passes or event & EPOLLHUP:
            self._drain(pipe)
        else:
            self._rest(pipe, REST_SECONDS)
        return True

    def _drain(self, pipe: OutputPipe) -> None:
        moved = pipe.drain()
        if pipe.error:
            # Who writes to it gets SIGPIPE, so that the log is complete up to there.
            del self.watched[pipe.read_end]
            self._retire(pipe)
            return
        if pipe.moved >= pipe.next_look:
            self._look_for_readers(pipe)
        if pipe.has_ended:
            del self.watched[pipe.read_end]
        elif pipe.moved - pipe.rate_from >= RATE_BYTES and self._is_fast(pipe) and self._hand_over(pipe):
            pass
        elif pipe.flood_passes and moved < pipe.capacity // SMALL_PART:
            pipe.flood_passes -= 1
            self._rest(pipe, FLOOD_REST_SECONDS)
        else:
            if moved >= FLOOD_BYTES:
                pipe.flood_passes = FLOOD_PASSES
            self._epoll.modify(pipe.read_end, _ARMED)

    def _rest(self, pipe: OutputPipe, seconds: float) -> None:
        pipe.rest_ends = monotonic() + seconds
        self.rest_ends = min(self.rest_ends, pipe.rest_ends)
        self._resting.append(pipe)

    def end_rest(self, now: float) -> None:
        """Drain the pipes that have rested."""
        resting, self._resting, self.rest_ends = self._resting, [], _NEVER
        for pipe in resting:
            if pipe.rest_ends > now:
                self._resting.append(pipe)
                self.rest_ends = min(self.rest_ends, pipe.rest_ends)
            elif pipe.rest_ends and pipe.read_end in self.watched:
                pipe.rest_ends = 0.0
                self._drain(pipe)

    def _look_for_readers(self, pipe: OutputPipe) -> None:
        """Replace the log if a process that may write to it reads it."""
        pipe.next_look = 2 * pipe.moved
        everyone = pipe.moved >= MIN_LOOK_AT_ALL_BYTES
        path = f"{open_files.open_path(worker.logs)}/{pipe.name}"
        if any(open_files.tree_has_open(pid, path) for pid in self._leaders(None if everyone else pipe.key)):
            pipe.replace_log([each for each in self.watched.values() if each.name == pipe.name])

    # ---- a flood

    def _is_fast(self, pipe: OutputPipe) -> bool:
        """Whether RATE_BYTES came through it in RATE_SECONDS; begins to measure anew."""
        now, since = monotonic(), pipe.rate_since
        pipe.rate_from, pipe.rate_since = pipe.moved, now
        return now - since < RATE_SECONDS

    def _hand_over(self, pipe: OutputPipe) -> bool:
        """Have a process drain it, which is disarmed; if that is not possible, make it larger: False."""
        if pipe.capacity > PIPE_BYTES:
            return False
        # Two pipes that share a log have to be drained in turns.
        if len(self._drainers) < self._max_drainers and pipe.key not in self._captured:
            from mprun.launcher.output_drainer import Drainer

            with contextlib.suppress(OSError):
                drainer = Drainer(pipe, self.keeper)
                self._drainers[drainer.fileno()] = drainer
                self.pids.add(drainer.pid)
                self._epoll.register(drainer.fileno(), EPOLLIN)
                return True
        pipe.capacity = enlarge(pipe.read_end)
        return False

    def _take_back(self, drainer: Drainer) -> bool:
        """Drain its pipe in this process again; whether the log is to be looked at."""
        self._epoll.unregister(drainer.fileno())
        del self._drainers[drainer.fileno()]
        is_larger = drainer.stop()
        self.pids.discard(drainer.pid)
        return is_larger

    def _end_drainer_of(self, pipe: OutputPipe) -> None:
        for drainer in [each for each in self._drainers.values() if each.pipe is pipe]:
            self._take_back(drainer)

    def _handle_drainer_exit(self, descriptor: int) -> bool:
        if descriptor not in self._drainers:
            return False
        drainer = self._drainers[descriptor]
        pipe, before = drainer.pipe, drainer.pipe.moved
        if self._take_back(drainer):
            self._look_for_readers(pipe)
            if not self._hand_over(pipe):
                self._epoll.modify(pipe.read_end, _ARMED)
            return True
        if pipe.moved == before:
            # It could not move anything, and another one could not either.
            pipe.capacity = enlarge(pipe.read_end)
        self._drain(pipe)
        return True

    # ---- its end

    def finish(self, key: AttemptKey, program: str | None = None, code: int | None = None) -> str:
        """Move the rest of an attempt's output into its log, and close that; why it is incomplete, or "".

        `program` is the first word of its command, if it has one, and `code` how that ended.
        """
        if code == 0 and program is not None:
            self._programs.add(program)
        error = ""
        for pipes in (self._captured, self._by_key):
            if key not in pipes:
                continue
            pipe = pipes.pop(key)
            if self._drainers:
                self._end_drainer_of(pipe)
            if pipe.read_end in self.watched:
                pipe.drain_rest()
                del self.watched[pipe.read_end]
            pipe.name = ""
            if pipe.is_open or pipe.copy >= 0:
                pipe.close_files()
            if pipe.has_ended and pipe.read_end >= 0 and pipe.capacity == PIPE_BYTES and pipe.log >= 0:
                self._idle.append(pipe)
            elif pipe.read_end >= 0:
                # A process that was not killed has it open, whose output must not get into another log. Or it
                # is a large one, of which a user may have few, or has lost the descriptor for its log.
                self._retire(pipe)
            error = pipe.error or error
        return error

    def _retire(self, pipe: OutputPipe) -> None:
        self.keeper.drop(pipe.slot)
        self._wait_for_keeper()
        self._free_slots.append(pipe.slot)
        # The keeper may have it open still, which epoll would report.
        self._epoll.unregister(pipe.read_end)
        pipe.close()

    def close(self) -> None:
        """Move what is left in all pipes, and end the keeper: all processes of tasks have been killed."""
        for drainer in [*self._drainers.values()]:
            self._take_back(drainer)
        for pipe in self.watched.values():
            pipe.drain_rest()
        self.keeper.close()
