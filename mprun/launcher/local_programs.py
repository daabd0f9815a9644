"""Finds out which programs the kernel executes without a wait for another machine or program.

These are on local file systems, and so are the directories of PATH in which they are looked up, and the
interpreters that the kernel opens: of a script, of that in turn, and the loader of shared libraries.
"""

from __future__ import annotations

import os
import sys

from mprun.launcher import exec_command
from mprun.linux.file_systems import LocalFiles, MayWait

# What the kernel reads of a program (BINPRM_BUF_SIZE of Linux), and the most files that it opens for one:
# five scripts, a program and its loader.
_LINE_BYTES = 256
_MAX_PROGRAMS = 7
# The headers of a program are in its first page, as linkers write it.
_HEAD_BYTES = 4096
_ELF_64 = b"\x7fELF\2"
_PT_INTERP = 3


def search_path_for(name: bytes) -> bytes | None:
    """The part of PATH in which this program is found; None if only a fork may look for it.

    It ends with the directory that has the program, and is all of it if the name has a slash.
    """
    try:
        files = LocalFiles()
        if b"/" in name:
            _check(files, name)
            return exec_command.search_path()
        directories = exec_command.search_path().split(b":")
        for number, directory in enumerate(directories, 1):
            if _has(files, directory, name):
                _check(files, os.path.join(directory, name))
                return b":".join(directories[:number])
    except (MayWait, OSError, ValueError):
        pass
    return None


def _has(files: LocalFiles, directory: bytes, name: bytes) -> bool:
    try:
        files.resolve(os.path.join(directory, name))
        exec_command.find(name, directory)
    except OSError:
        return False
    return True


def _check(files: LocalFiles, path: bytes) -> None:
    """Raises MayWait or OSError if the kernel may have to wait before it executes a program."""
    for _ in range(_MAX_PROGRAMS):
        head = _read_head(files.resolve(path))
        if head.startswith(b"#!"):
            line = head[:_LINE_BYTES].partition(b"\n")[0].partition(b"\0")[0]
            path = line[2:].replace(b"\t", b" ").strip(b" ").partition(b" ")[0]
        elif head.startswith(_ELF_64):
            path = _loader(head)
            if not path:
                return
        else:
            # What a fork tries as a script, or gives to a program that the kernel was told of (binfmt_misc).
            raise MayWait
    raise MayWait


def _read_head(path: bytes) -> bytes:
    # It may have become a FIFO.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(file, _HEAD_BYTES)
    finally:
        os.close(file)


def _loader(head: bytes) -> bytes:
    """The path of the program that loads shared libraries for one (elf(5)); empty if there is none."""

    def field(at: int, size: int) -> bytes:
        if at + size > len(head):
            raise MayWait
        return head[at : at + size]

    def number(at: int, size: int) -> int:
        return int.from_bytes(field(at, size), sys.byteorder)

    begin, size, count = number(32, 8), number(54, 2), number(56, 2)
    for entry in range(begin, begin + size * count, size):
        if number(entry, 4) == _PT_INTERP:
            return field(number(entry + 8, 8), number(entry + 32, 8)).rstrip(b"\0")
    return b""
