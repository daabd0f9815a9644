"""The commands and paths that messages suggest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.diagnostics import is_visible, visible
from mprun.record.packed_path import is_packed
from mprun.record.state_dir import DEFAULT

if TYPE_CHECKING:
    from mprun.record.state_dir import RunDirectory


def command(directory: RunDirectory, *words: str) -> str:
    """A command of mprun about a run, with its state directory if that is not the default one here.

    Of a packed run, that is the file; it is resumed by the name of this file.
    """
    state_dir = os.path.dirname(os.path.dirname(_absolute(directory.path)))
    if state_dir != _absolute(DEFAULT):
        import shlex

        if words[:2] == ("resume", directory.run_id) and is_packed(state_dir):
            return " ".join(["mprun", "resume", shlex.quote(short_path(state_dir)), *words[2:]])
        # After two dashes it would be the name of a task.
        at = words.index("--") if "--" in words else len(words)
        words = (*words[:at], "--state-dir", shlex.quote(short_path(state_dir)), *words[at:])
    return " ".join(["mprun", *words])


def logs_command(directory: RunDirectory, task: str) -> str:
    """The command that shows the log of a task, whatever its name."""
    run = ("--run", directory.run_id)
    words = (*run, "--", shell_word(task)) if task.startswith("-") else (shell_word(task), *run)
    return command(directory, "logs", *words)


def shell_word(text: str) -> str:
    r"""A text as one word of a shell.

    If it has characters that cannot be seen, in the form in which bash and zsh read them: `$'a\u202eb'`.
    """
    import shlex

    if visible(text) == text:
        return shlex.quote(text)
    chars = (char if is_visible(char) and char not in "\\'" else _escaped(char) for char in text)
    return f"$'{''.join(chars)}'"


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\{char}" if char in "\\'" else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def short_path(path: str) -> str:
    """A path relative to the working directory, or the absolute one if that is shorter."""
    try:
        return min(os.path.relpath(path), os.path.abspath(path), key=len)
    except OSError:
        return path


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:
        # The working directory was removed, by a task perhaps: no path leads to what is below it.
        return path
