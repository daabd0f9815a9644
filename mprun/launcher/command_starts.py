"""Starts commands by posix_spawn(3): the launcher waits until the program runs, and no page is copied.

A fork of the launcher, which becomes the command, costs three times as much (docs/speed.md). What it does
by itself before that has another form here:

- The signal at its parent's death, which a process must ask for itself, is that of a pipe that the launcher
  has open (`mprun.launcher.command_guard`).
- The tag of all that descends from it (`mprun.linux.run_tags`) has the number of its guard in place of its
  pid, until that is known.
- In between, the launcher may be killed. Then the keeper kills what has such a number.

Whatever else is not as it usually is, such as a closed standard input, is left to a fork.
"""

from __future__ import annotations

import _ctypes
import contextlib
import errno
import os
from _signal import SIGKILL, SIGSTOP, valid_signals  # type: ignore[import-not-found]

from mprun import failpoints
from mprun.failpoints import armed
from mprun.launcher import exec_command, fork, local_programs, worker
from mprun.launcher.channel import CAPTURE, COMMAND, CWD, DAEMON, ENV, KEY, LIMITS, NAME
from mprun.launcher.command_guard import Guard
from mprun.launcher.start_backoff import RETRIED_ERRORS
from mprun.linux import open_files, starting_tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.launcher.channel import PackedStartRequest

# So many commands at once; each has a guard with two descriptors. The others are forked.
MAX_GUARDS = 64
# The most memory of files that the launcher may have, in bytes. It counts for the peak of a command, but not
# for that of a fork, which has copies of the rest alone.
MAX_SHARED_BYTES = 32 << 20

# What Python has of the environment.
_variables = os.environb._data  # type: ignore[attr-defined]
_program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # dlopen(3): None is this program


class _Address(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _Text(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"


def _environment() -> dict[bytes, bytes]:
    """The variables as C has them: a module may have set some without Python's knowledge."""
    address = _Address.from_address(_ctypes.dlsym(_program, "environ")).value
    found: dict[bytes, bytes] = {}
    while address and (entry := _Text.from_address(address).value) is not None:
        name, _, value = entry.partition(b"=")
        found.setdefault(name, value)
        address += 8  # bytes of a pointer, on a 64-bit system
    return found


class StartedCommand(fork.ProcessHandle):
    """The process of a command; `guards` gets its guard back at its end."""

    def __init__(self, pid: int, guard: Guard, guards: list[Guard]) -> None:
        self.pid = pid
        self._guard, self._guards = guard, guards

    def close(self) -> None:
        super().close()
        # One that cannot be killed may live on. It keeps its guard.
        if self.returncode is not None or self.exit_unknown:
            self._guards.append(self._guard)

    def discard(self) -> None:
        """Kill and reap it: it cannot be looked after."""
        # A module's handler of SIGCHLD may have reaped it, and its pid may be another process's.
        # One of another user, as of `sudo`, cannot be killed, and not waited for.
        with contextlib.suppress(ProcessLookupError, ChildProcessError, PermissionError):
            if not self.has_ended():
                os.killpg(self.pid, SIGKILL)
            os.waitpid(self.pid, 0)
        self._guards.append(self._guard)


class CommandStarts:
    """Starts commands. What few of them have is left to a fork: another directory, limits, another PATH.

    So are daemons, which keep what they have for long, programs that may have to wait for another machine
    (`local_programs`), and everything, if the launcher has threads or much memory of files, or its processes
    no tags.

    `report_peak` gets the peak memory of the launcher so far, in bytes, before the kernel forgets it: a
    program that is executed in the memory of the launcher would have that for its own peak. Raises OSError.
    """

    class NotPossible(Exception):
        """No process was started here; a fork of the launcher can be, or finds out why not."""

    def __init__(self, report_peak: Callable[[int], None]) -> None:
        self._guards: list[Guard] = []
        self._guard_count = self._next_number = 0
        # Where a program that is started here is looked up, else None; by the first words of commands.
        self._programs: dict[str, bytes | None] = {}
        self._may_start = (
            worker.run_tag != worker.TAG
            and worker.thread_count() == 1
            and _has_standard_files()
            and _can_make_sessions()
            and _forget_peak(report_peak)
        )
        if not self._may_start:
            return
        self._environment, self._seen = _environment(), {**_variables}
        # Also what is ignored: Python ignores SIGPIPE and SIGXFSZ, and a module may ignore others.
        self._signals = [number for number in valid_signals() if number not in (SIGKILL, SIGSTOP)]
        self._inheritable = open_files.inheritable()

    def takes(self, request: PackedStartRequest) -> bool:
        """Whether this command can be started here."""
        return (
            self._may_start
            and request[CWD] is None
            and not request[LIMITS]
            and not request[DAEMON]
            and "PATH" not in (request[ENV] or ())
            and bool(self._guards or self._has_room())
            and self._takes_program(request[COMMAND][0])
        )

    def _has_room(self) -> bool:
        """Whether there may be one more guard: its descriptors are not those that processes need."""
        return (
            self._guard_count < MAX_GUARDS
            and max(fork.private_descriptors, default=0) < os.sysconf("SC_OPEN_MAX") // 2
        )

    def _takes_program(self, name: str) -> bool:
        if self._seen != _variables:
            # A module has a signal handler that changes it.
            self._environment, self._seen = _environment(), {**_variables}
            self._programs.clear()
        if name not in self._programs:
            self._programs[name] = local_programs.search_path_for(name.encode("utf-8", "surrogateescape"))
        return self._programs[name] is not None

    def close_spare_guards(self) -> None:
        """Have more descriptors for what needs them."""
        self._guard_count -= len(self._guards)
        while self._guards:
            self._guards.pop().close()

    def start(self, request_and_output: tuple[PackedStartRequest, int]) -> fork.ProcessHandle:
        """Start a command that this `takes`; `output` is the descriptor for what it writes.

        Raises NotPossible if there is no process, and OSError if there was one, which has been killed.
        """
        pid, guard = self._start(*request_and_output)
        started = StartedCommand(pid, guard, self._guards)
        try:
            if armed:
                failpoints.reached("launcher.forked")
            guard.watch(pid)
            started.open_pidfd()
        except BaseException:
            started.discard()
            raise
        return started

    def _start(self, request: PackedStartRequest, output: int) -> tuple[int, Guard]:
        guard = None
        try:
            fork.reserve_descriptors()
            guard = self._guards.pop() if self._guards else self._make_guard()
            return self._spawn(request, output, guard), guard
        except Exception as error:
            if guard is not None:
                self._guards.append(guard)
            if isinstance(error, OSError) and error.errno == errno.ENOEXEC:
                # A script without an interpreter line.
                self._programs[request[COMMAND][0]] = None
            raise self.NotPossible from error

    def _make_guard(self) -> Guard:
        try:
            guard = Guard(self._next_number)
        except OSError as error:
            if error.errno not in RETRIED_ERRORS:
                self._may_start = False
            raise
        self._next_number += 1
        self._guard_count += 1
        return guard

    def _spawn(self, request: PackedStartRequest, output: int, guard: Guard) -> int:
        arguments = [word.encode("utf-8", "surrogateescape") for word in request[COMMAND]]
        path = exec_command.find(arguments[0], self._programs[request[COMMAND][0]])
        task, attempt = request[NAME].encode(), str(request[KEY][1]).encode()
        variables = {**self._environment}
        for name, text in (request[ENV] or {}).items():
            if name not in worker.OUR_VARIABLES:
                variables[name.encode()] = text.encode()
        variables |= {b"MPRUN_TASK": task, b"MPRUN_ATTEMPT": attempt}
        actions = [
            (os.POSIX_SPAWN_DUP2, 0, 0),
            (os.POSIX_SPAWN_DUP2, request[CAPTURE] or output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
            *((os.POSIX_SPAWN_CLOSE, number) for number in self._inheritable),
        ]
        if not starting_tags.set_tag(0, guard.tag):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        try:
            return os.posix_spawn(
                path,
                arguments,
                variables,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=self._signals,
            )
        finally:
            starting_tags.set_tag(0, worker.run_tag)


def _has_standard_files() -> bool:
    """Whether the first three descriptors are what commands inherit: a module may have closed them."""
    if not fork.private_descriptors.isdisjoint(range(3)):
        return False
    try:
        for number in range(3):
            os.fstat(number)
    except OSError:
        return False
    return True


def _can_make_sessions() -> bool:
    """Whether posix_spawn(3) has POSIX_SPAWN_SETSID, and Python knows it: since version 2.26 of glibc."""
    try:
        # There is no such file, so nothing is executed.
        os.posix_spawn("", ["mprun"], {}, setsid=True)
    except FileNotFoundError:
        return True
    except Exception:
        return False
    return False


def _forget_peak(report_peak: Callable[[int], None]) -> bool:
    """Have the kernel forget the peak memory of this process (proc(5)); whether the rest is not too much."""
    memory = _memory()
    try:
        file = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, b"5")
        finally:
            os.close(file)
    except OSError as error:
        if error.errno in RETRIED_ERRORS:
            raise
        return False
    if peak := memory.get(b"VmHWM"):
        report_peak(peak)
    return memory.get(b"RssFile", 0) + memory.get(b"RssShmem", 0) <= MAX_SHARED_BYTES


def _memory() -> dict[bytes, int]:
    """The kinds of memory that this process has, in bytes. Raises OSError."""
    with open("/proc/self/status", "rb") as file:
        lines = [line.split() for line in file]
    return {words[0][:-1]: int(words[1]) * 1024 for words in lines if words[-1:] == [b"kB"]}
