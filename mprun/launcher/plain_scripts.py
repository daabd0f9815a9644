"""Finds out which shell scripts are one program and its arguments, so that no shell is needed to run them.

dash, the /bin/sh of Debian and Ubuntu, executes the only command of a script in its own place: its process is
the program's from then on, and what is left of the shell is what it did with the variables. So the program
can be executed at once, with the same variables, which saves the start of a shell. GNU make does so, too.
Other shells leave more behind (bash counts `SHLVL`), so they are started for each script.
"""

from __future__ import annotations

import os

from mprun.linux.file_systems import LocalFiles, MayWait

SHELL = "/bin/sh"
# In these characters, words have no meaning but themselves. `=` has one in the first word.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:@%+-= ")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
# What dash does by itself, and its reserved words, as far as they are of plain characters: POSIX's, and those
# of all its versions.
# fmt: off
BUILTINS = frozenset([
    ".", ":", "alias", "bg", "break", "case", "cd", "chdir", "command", "continue", "do", "done", "echo",
    "elif", "else", "esac", "eval", "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "function",
    "getopts", "hash", "histcmd", "if", "in", "jobs", "kill", "let", "local", "newgrp", "printf", "pwd",
    "read", "readonly", "return", "select", "set", "setvar", "shift", "source", "test", "then", "time",
    "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait",
    "while",
])
# fmt: on
# Variables that dash sets by itself, or does not take from its parent as they are.
_SPECIAL = frozenset((b"IFS", b"LINENO", b"OPTIND", b"PPID"))


def words_of(command: tuple[str, ...]) -> tuple[str, ...] | None:
    """The words of a command that is a script for /bin/sh, if they are a program and its arguments.

    None for other commands, and for a script that only a shell can read. `command` is as the plan has it.
    """
    if len(command) != 3 or command[0] != SHELL or command[1] != "-c":
        return None
    script = command[2].strip(" \n")
    if not _PLAIN.issuperset(script):
        return None
    words = script.split()
    if not words or "=" in words[0] or words[0].startswith("-") or words[0] in BUILTINS:
        return None
    return tuple(words)


def is_dash() -> bool:
    """Whether /bin/sh is dash, as far as the name of its file says."""
    return os.path.basename(os.path.realpath(SHELL)) == "dash"


def passed_on(variables: dict[bytes, bytes]) -> dict[bytes, bytes] | None:
    """What dash passes on of these variables; None if only dash knows what becomes of them.

    Its own variables have names of letters, digits and `_`, and it passes on no others.
    """
    if not _SPECIAL.isdisjoint(variables):
        return None
    return {
        name: text
        for name, text in variables.items()
        if _NAME.issuperset(name.decode("latin-1")) and not name[:1].isdigit()
    }


class Directory:
    """The variable PWD as dash passes it on: as it is if it is a path of the working directory."""

    def __init__(self) -> None:
        # Whether paths can be looked at without a wait for another machine.
        self._is_local: dict[bytes, bool] = {}

    def add_to(self, variables: dict[bytes, bytes]) -> bool:
        """Set PWD among these variables; False if only dash may look at what it is now.

        Raises OSError if the working directory does not exist any more.
        """
        here, named = os.getcwdb(), variables.get(b"PWD", b"")
        if named != here:
            if named.startswith(b"/"):
                if named not in self._is_local:
                    self._is_local[named] = _is_local(named)
                if not self._is_local[named]:
                    return False
            if not _is_here(named):
                variables[b"PWD"] = here
        return True


def _is_local(path: bytes) -> bool:
    try:
        files = LocalFiles()
    except OSError:
        return False
    try:
        files.resolve(path)
    except MayWait:
        return False
    except (OSError, ValueError):
        # There is nothing to wait for.
        pass
    return True


def _is_here(path: bytes) -> bool:
    try:
        return path.startswith(b"/") and os.path.samefile(path, b".")
    except (OSError, ValueError):
        return False
