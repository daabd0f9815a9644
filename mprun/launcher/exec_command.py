"""Executes a command in place of a task's process: finds its program, and replaces the process by it.

The search and the errors are those of a shell (POSIX, Shell Command Language, 2.9.1.4 and 2.8.2):
a name without a slash is looked up in PATH; a file that the kernel does not accept as a program is
a script for /bin/sh, unless it is binary.
"""

from __future__ import annotations

import contextlib
import errno
import os

# Not from `signal`, which makes an enumeration's member of each number and handler, a tenth of a short
# command's time for all of them.
from _signal import (  # type: ignore[import-not-found]
    NSIG,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    getsignal,
    pthread_sigmask,
)
from _signal import signal as handle_signal

from mprun.launcher.channel import CAPTURE, COMMAND, CWD, LIMITS, POSITION
from mprun.launcher.start_error import StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

# A shell's exit codes for a command that it cannot find, and for one that it cannot execute.
NOT_FOUND = 127
NOT_EXECUTABLE = 126

_SHELL = b"/bin/sh"
# A file is binary if there is a NUL in the first line of so many bytes.
_SAMPLE_BYTES = 128

_NOT_FOUND_ERRORS = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


def prepare_forks() -> None:
    """Call once what forks call: each would have to look it up in the C library, and copy pages for that."""
    search_path()
    # Not a directory of PATH: one may be on a file system that does not answer.
    with contextlib.suppress(OSError):
        find(b".", b"/")
    os.access(b"/", os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    with contextlib.suppress(OSError):
        # There is no such file, so nothing is executed.
        os.execv(b"", [b"mprun"])


def become(request: tuple[Any, ...], close_on_exec: Callable[[int], bool]) -> StartError:
    """Replace the process of an attempt by its command, or return why that is impossible.

    `request` has the fields of PROCESS_REQUEST; `close_on_exec` is as in `execute`.
    """
    try:
        if stdout := request[CAPTURE]:
            os.dup2(stdout, 1)
        execute(request[COMMAND], request[CWD], request[LIMITS], request[POSITION], close_on_exec)
    except StartError as error:
        return error


def execute(
    words: tuple[str, ...],
    cwd: str | None,
    limits: dict[str, Any] | None,
    position: int,
    close_on_exec: Callable[[int], bool],
) -> NoReturn:
    """Replace this process by a command, in the directory `cwd`, with `limits` (see `rlimits.impose`).

    `close_on_exec` is `worker.close_on_exec`; this module is a part of the worker, which imports it.
    Raises StartError if the program is not found (exit code 127) or cannot be executed (126), or if
    the directory cannot be entered or a limit cannot be set (1).
    """
    try:
        if cwd is not None:
            os.chdir(cwd)
    except OSError as error:
        # Like `cd DIRECTORY && command`, which does not look for the command if `cd` fails.
        raise StartError(f"cd: {cwd}: {error.strerror}", 1, error) from None
    path = None
    try:
        # UTF-8 in any locale, like the environment.
        arguments = [word.encode("utf-8", "surrogateescape") for word in words]
        # Before the limits are set: they could prevent the error from being written.
        path = find(arguments[0])
        _reset_signals()
        _keep_only_standard_descriptors(close_on_exec)
        if limits:
            from mprun.launcher.rlimits import impose

            impose(limits, position, with_margin=False)
        _exec(path, arguments)
    except OSError as error:
        raise _start_error(words[0], path, error) from None
    except ValueError as error:
        # A NUL, or half a character, which no program can receive.
        raise StartError(f"{words[0]!r}: {error}", NOT_EXECUTABLE, error) from None


def _exec(path: bytes, arguments: list[bytes]) -> NoReturn:
    try:
        os.execv(path, arguments)
    except OSError as error:
        if error.errno != errno.ENOEXEC or _is_binary(path):
            raise
    # A script without an interpreter line, as execvp(3) and every shell handle it.
    os.execv(_SHELL, [_SHELL, path, *arguments[1:]])


def _start_error(name: str, path: bytes | None, error: OSError) -> StartError:
    """The error in a shell's words; `path` is where the program was found, None if it was not."""
    name = name if name and name.isprintable() else repr(name)
    # The kernel reports a missing file and a missing interpreter in the same way.
    is_there = path is not None and os.path.isfile(path)
    # Scripts that are each other's interpreter.
    is_loop = is_there and error.errno == errno.ELOOP
    if is_loop or error.errno not in _NOT_FOUND_ERRORS:
        return StartError(f"{name}: {error.strerror}", NOT_EXECUTABLE, error)
    if path is None:
        # The list `[echo hi]`, in place of `[echo, hi]`.
        hint = " (the first item of a list is the program alone)" if " " in name else ""
        return StartError(f"{name}: command not found{hint}", NOT_FOUND, error)
    what = "its interpreter does not exist" if is_there else error.strerror
    hint = " (`~` is not expanded)" if name.startswith("~/") else ""
    return StartError(f"{name}: {what}{hint}", NOT_FOUND, error)


def search_path() -> bytes:
    """The directories in which programs are looked up, separated by colons."""
    return os.environb.get(b"PATH", os.fsencode(os.defpath))


def find(name: bytes, directories: bytes | None = None) -> bytes:
    """The path of a program, which may be in these directories, else in those of PATH.

    Raises OSError if there is none that may be executed.
    """
    if b"/" in name:
        if os.path.isdir(name):
            # The kernel would report that permission is denied, even to root.
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return name
    error = errno.ENOENT
    if directories is None:
        directories = search_path()
    for directory in directories.split(b":") if name else ():
        path = os.path.join(directory or b".", name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                return path
            error = errno.EACCES
    raise OSError(error, os.strerror(error))


def _is_binary(path: bytes) -> bool:
    with open(path, "rb", buffering=0) as file:
        return b"\0" in file.read(_SAMPLE_BYTES).partition(b"\n")[0]


def _reset_signals() -> None:
    """Reset what survives an exec: Python ignores SIGPIPE and SIGXFSZ, and a module may ignore others."""
    for number in range(1, NSIG):
        if getsignal(number) == SIG_IGN:
            handle_signal(number, SIG_DFL)
    pthread_sigmask(SIG_SETMASK, ())


def _keep_only_standard_descriptors(close_on_exec: Callable[[int], bool]) -> None:
    """Have exec close the others, including those that the shell or a module left inheritable."""
    try:  # noqa: SIM105  fewer pages
        # Output and errors have become so when they got their place.
        os.set_inheritable(0, True)
    except OSError:
        pass
    if not close_on_exec(3):
        _close_each_on_exec()


def _close_each_on_exec() -> None:
    """The same for a system without close_range(2)."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/dev/fd"):
            # The descriptor that listed them is among them, and closed by now.
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), int(name) <= 2)
