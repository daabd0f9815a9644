"""A command: where its program is found, and how a task's process becomes it.

What is found, and what is said of what is not, is as in a shell (POSIX, Shell Command
Language, 2.9.1.4 and 2.8.2): a name without a slash is looked for in PATH, a file that the
kernel does not take for a program is a script of /bin/sh unless it is binary.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal

from mprun.launcher.start_error import StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

# A shell's exit codes for what it cannot find and for what it cannot execute.
NOT_FOUND = 127
NOT_EXECUTABLE = 126

_SHELL = b"/bin/sh"
# A file of which the first line, or this many bytes of it, hold a NUL is no script.
_SAMPLE = 128

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


def become(words: tuple[str, ...], cwd: str | None, limits: dict[str, Any] | None, position: int) -> NoReturn:
    """Be this command from now on, in the directory `cwd`, held to `limits` (see `rlimits.impose`).

    Raises Refusal where it is not there (exit code 127) or cannot be executed (126), and
    where the directory cannot be entered or a limit cannot be set (1).
    """
    try:
        if cwd is not None:
            os.chdir(cwd)
    except OSError as error:
        # As with `cd there && command`: whether there is such a command was not asked.
        raise StartError(f"cd: {cwd}: {error.strerror}", 1, error) from None
    path = None
    try:
        # UTF-8 whatever the locale, as the environment is.
        arguments = [word.encode("utf-8", "surrogateescape") for word in words]
        # Found before the limits hold, so that they are not in the way of saying what is not there.
        path = _find(arguments[0])
        _reset_signals()
        _keep_only_standard_descriptors()
        if limits:
            from mprun.launcher.rlimits import impose

            impose(limits, position, spare=False)
        _exec(path, arguments)
    except OSError as error:
        raise _refusal(words[0], path, error) from None
    except ValueError as error:
        # A NUL, or half a character: no program can be given that.
        raise StartError(f"{words[0]!r}: {error}", NOT_EXECUTABLE, error) from None


def _exec(path: bytes, arguments: list[bytes]) -> NoReturn:
    try:
        os.execv(path, arguments)
    except OSError as error:
        if error.errno != errno.ENOEXEC or _is_binary(path):
            raise
    # As execvp(3) and every shell have it: a script that does not say whose.
    os.execv(_SHELL, [_SHELL, path, *arguments[1:]])


def _refusal(name: str, path: bytes | None, error: OSError) -> StartError:
    """Why it is refused, in a shell's words; `path` is where the program was found."""
    name = name if name and name.isprintable() else repr(name)
    if error.errno not in _ABSENT:
        return StartError(f"{name}: {error.strerror}", NOT_EXECUTABLE, error)
    if path is None:
        return StartError(f"{name}: command not found", NOT_FOUND, error)
    # The kernel says the same of a file and of the interpreter that its first line asks for.
    what = "its interpreter is not there" if os.path.isfile(path) else error.strerror
    return StartError(f"{name}: {what}", NOT_FOUND, error)


def _search_path() -> bytes:
    return os.environb.get(b"PATH", os.fsencode(os.defpath))


def _find(name: bytes) -> bytes:
    """The path of a program. Raises OSError where there is none that may be executed."""
    if b"/" in name:
        if os.path.isdir(name):
            # The kernel would say that permission is denied, also to root.
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return name
    refused = errno.ENOENT
    for place in _search_path().split(b":") if name else ():
        path = os.path.join(place or b".", name)
        if os.path.isfile(path):
            if os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                return path
            refused = errno.EACCES
    raise OSError(refused, os.strerror(refused))


def _is_binary(path: bytes) -> bool:
    with open(path, "rb", buffering=0) as file:
        return b"\0" in file.read(_SAMPLE).partition(b"\n")[0]


def _reset_signals() -> None:
    """Undo what survives an exec: Python ignores SIGPIPE and SIGXFSZ, a module perhaps others."""
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _keep_only_standard_descriptors() -> None:
    """Have the others closed by the exec, also what the shell or a module left inheritable."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/dev/fd"):
            # The one that listed them is among them and gone.
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), int(name) <= 2)
