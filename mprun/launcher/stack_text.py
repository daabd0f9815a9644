"""Makes of the stacks that `faulthandler` has dumped what a traceback would show; pure but for sources.

faulthandler writes the innermost call first, all frames down to those of mprun, no lines of source, and
the newest thread first, so that the main thread comes last.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading

from mprun.launcher import worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    # Lines of source by the file, as the dump names it, and the number.
    Sources = dict[str, dict[int, str]]

_HEAD = " (most recent call first):"
# So many characters are read of a source, and shown of a line of it.
_MAX_SOURCE = 1 << 22
_MAX_LINE = 200
# What threading runs below the function of a thread.
_THREAD_STARTS = ("run", "_bootstrap_inner", "_bootstrap")


def describe(dumped: str, title: str, threads: int) -> str:
    """The stacks in `dumped` with the outermost call first, below the `title` if any, the main thread first.

    The frames of mprun and of Python below the target, or below the function of a thread, are left out.
    `threads` is how many threads the process has: some may never have run Python.
    """
    head = title and f"{title}; "
    stacks = [(thread, _user_frames(frames[::-1])) for thread, frames in _stacks(dumped.splitlines())]
    if not stacks:
        return f"{head}no stack of it is known\n"
    sources = _read_sources(frame for _, frames in stacks for frame in frames)
    lines: list[str] = []
    for place, (thread, frames) in enumerate(reversed(stacks)):
        name = "MainThread" if place == 0 else _thread_name(thread)
        lines.append(f"{head if place == 0 else ''}stack of thread {name}:")
        for frame in frames:
            lines += _shown(frame, sources)
    if (others := threads - len(stacks)) > 0:
        lines.append(f"{others} more thread{'s run' if others > 1 else ' runs'} no Python code")
    return "\n".join(lines) + "\n"


def _stacks(lines: list[str]) -> list[tuple[str, list[str]]]:
    """The head of each thread in the dump, and its lines, the innermost call first."""
    stacks: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.endswith(_HEAD):
            stacks.append((line.removesuffix(_HEAD), []))
        elif line and stacks:
            stacks[-1][1].append(line)
    return stacks


def _thread_name(head: str) -> str:
    """The name in `Thread 0x00007f… [name]`, or else the number, as pthread_self(3) returns it."""
    _, bracket, name = head.partition(" [")
    return name.removesuffix("]") if bracket else head.split()[-1]


def _user_frames(frames: list[str]) -> list[str]:
    """The frames that a traceback of the task would show; all of them if that is none.

    The first of `frames` is the outermost.
    """
    start = 0
    for number, frame in enumerate(frames):
        file, _, function = _parts(frame)
        if file == worker.__file__ and function in ("run", "_bootstrap"):
            start = number + 1
            if function == "run":
                break
        elif number == start and file == threading.__file__ and function in _THREAD_STARTS:
            start = number + 1
    while start < len(frames) and _is_of_an_import(_parts(frames[start])[0]):
        start += 1
    return frames[start:] or frames


def _is_of_an_import(file: str) -> bool:
    """Whether a frame below the target belongs to the import of its module."""
    return file == worker.__file__ or file.startswith("<frozen importlib")


def _parts(frame: str) -> tuple[str, str, str]:
    """File, line number and function of `  File "work.py", line 3 in go`; empty for any other line."""
    head, found, tail = frame.rpartition('", line ')
    number, _, function = tail.partition(" in ")
    return (head.removeprefix('  File "'), number, function) if found else ("", "", "")


def _shown(frame: str, sources: Sources) -> list[str]:
    """A frame as a traceback shows it, with its line of source if that is known."""
    file, number, function = _parts(frame)
    if not number:
        # `...` in place of more than 100 frames, or another remark.
        return [frame]
    line = sources[file].get(int(number)) if number.isdecimal() else ""
    shown = f'  File "{file}", line {number}, in {function}'
    return [shown, f"    {line}"] if line else [shown]


def _read_sources(frames: Iterable[str]) -> Sources:
    """The lines that the frames show; each file is read once, because the launcher waits for it."""
    wanted: dict[str, set[int]] = {}
    for frame in frames:
        file, number, _ = _parts(frame)
        if number.isdecimal():
            wanted.setdefault(file, set()).add(int(number))
    return {file: _source_lines(file, numbers) for file, numbers in wanted.items()}


def _source_lines(file: str, numbers: set[int]) -> dict[int, str]:
    """Those of the lines with these numbers that can be read, without space around them."""
    lines: dict[int, str] = {}
    # The name of a code object can be any text, and no name of a file.
    with contextlib.suppress(OSError, ValueError, Warning):
        path = _decoded(file)
        # Not to wait for the writer of a pipe.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return lines
        left = _MAX_SOURCE
        with open(path, encoding="utf-8", errors="replace") as stream:
            for number in range(1, max(numbers) + 1):
                line = stream.readline(left)
                if not line:
                    break
                left -= len(line)
                if number in numbers:
                    lines[number] = line.strip()[:_MAX_LINE]
    return lines


def _decoded(file: str) -> str:
    r"""The name of a file, in which faulthandler escapes what is not ASCII: `\xe9`, `\u20ac`.

    Raises ValueError, or a warning that is an error, if a backslash in it begins no escape.
    """
    if "\\" not in file or os.path.exists(file):
        return file
    return file.encode("ascii", "replace").decode("unicode_escape")
