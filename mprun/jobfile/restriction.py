"""Restricts the files that a job may name to one directory: what `mprun validate --restrict` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Variables by which a CI service says that a program runs there, and values that deny it.
_CI_VARIABLES = ("CI", "GITHUB_ACTIONS")
_FALSE = ("", "0", "false")


def allowed_directory(named: str | None, environment: Mapping[str, str]) -> str | None:
    """The directory that files must be below: the one that the user has named, or that of CI; None for any.

    Raises UsageError if it is not a directory.
    """
    if named is None:
        return _ci_work_tree(environment)
    if not os.path.isdir(named):
        raise UsageError(f"`--restrict`: {quote(named)} is not a directory; name one that contains the files")
    return named


def _ci_work_tree(environment: Mapping[str, str]) -> str | None:
    """The git work tree with the working directory, if the environment is that of a CI service; else None."""
    if not in_ci(environment):
        return None
    try:
        return work_tree(os.getcwd())
    except OSError:
        # It was removed: nothing in it can be named.
        return None


def in_ci(environment: Mapping[str, str]) -> bool:
    """Whether an environment is that of a CI service."""
    return any(environment.get(name, "").lower() not in _FALSE for name in _CI_VARIABLES)


def work_tree(directory: str) -> str | None:
    """The git work tree that a directory is in, or None.

    It is the nearest directory with a `.git`: no git is called, whose configuration could name programs.
    """
    while not os.path.lexists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent
    return directory


def refuse_outside(path: str, directories: Sequence[str], kind: str = "") -> None:
    """Raise UsageError if a file, which need not exist, is below none of some directories.

    Links are resolved first. The first directory is the one that the user has named; the others are those
    of installed packages. `kind` is what messages say before the file's name, such as "env file".
    """
    directory = directories[0]
    try:
        real, (allowed, *others) = os.path.realpath(path), map(os.path.realpath, directories)
    except (OSError, ValueError):
        # Such a path cannot be opened either, and the message of that says why.
        return
    if any(os.path.commonpath((real, one)) == one for one in (allowed, *others)):
        return
    is_linked = os.path.commonpath((os.path.abspath(path), allowed)) == allowed
    name = f"{kind} {quote(path)}" if kind else quote(path)
    where = f"{'a link out of' if is_linked else 'outside'} {quote(directory)}"
    remedy = "copy the file into it, or allow it with `--restrict DIR` or `--restrict /`"
    raise UsageError(f"{name} is {where}; {remedy}")
