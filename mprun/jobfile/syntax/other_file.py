"""What is said of a file that is not a job file: no value in it, which may be a secret.

Someone else's job file may name any file as a recipe. Only an invalid file needs this module.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from mprun.diagnostics import SourceLines, quote
from mprun.errors import JobFileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.diagnostics import Diagnostic

# The beginning of a line with a key of a job file, also misspelt.
_JOB_KEY = re.compile(
    r"^\W{0,40}(?:tasks?|params|name|target|command|uses|defaults|env|timeout|join)\w*\W?:", re.I | re.M
)
# A key of any YAML or JSON file, as long as `tasks` with a typo.
_KEY = re.compile(r"(?:^|[{,])\W{0,40}?(\w{4,6})[\"']?[ \t]*:", re.M)
# What a quoted line shows: its key.
_KEY_OF_LINE = re.compile(r"[ \t]*(?:- +)*([\"']?)[\w.$/-]{1,60}\1[ \t]*:(?=[ \t]|$)")
# Not that of a secret, which it need not be.
_HIDDEN = "…"


def has_tasks(keys: Iterable[object]) -> bool:
    """Whether one of the keys of a file is `tasks`, also with one typo."""
    return any(isinstance(key, str) and 4 <= len(key) <= 6 and _is_tasks(key.lower()) for key in keys)


def _is_tasks(word: str) -> bool:
    tasks = "tasks"
    # One letter more, less or other leaves the beginning or the end, and a file may have 100,000 words.
    if not word.startswith("ta") and not word.endswith("ks"):
        return len(word) == len(tasks) and sorted(word) == sorted(tasks)
    if len(word) == len(tasks):
        return sum(map(str.__ne__, word, tasks)) <= 1 or sorted(word) == sorted(tasks)
    short, long = sorted((word, tasks), key=len)
    return len(short) + 1 == len(long) and any(long[:n] + long[n + 1 :] == short for n in range(len(long)))


def refuse_by_name(path: str, text: str) -> None:
    """Raise UsageError if no line of an invalid text has a key of a job file, nor its name that of YAML.

    Of a link, the name of what it leads to counts.
    """
    is_named = os.path.realpath(path).endswith((".yaml", ".yml"))
    if not is_named and text.strip() and _JOB_KEY.search(text) is None:
        raise UsageError(f"{quote(path)} is not a job file: it has no `tasks`, nor another key of one")


def shown_error(path: str, text: str, error: JobFileError) -> JobFileError:
    """The error of a text that is not valid YAML; without its values, unless it has a key `tasks`.

    Raises UsageError as `refuse_by_name` does.
    """
    refuse_by_name(path, text)
    if has_tasks(found[1] for found in _KEY.finditer(text)):
        return error

    def hidden(quoted: re.Match[str]) -> str:
        """A quoted part of a message; if it may be from the text, as control characters are, hidden."""
        words = re.findall(r"\w{2,}", quoted[0])
        is_of_text = any("\\" in quoted[0] or word in text for word in words)
        return f"`{_HIDDEN}`" if is_of_text else quoted[0]

    return JobFileError(
        [
            one.replace(
                message=re.sub("`[^`]*`", hidden, one.message), help=re.sub("`[^`]*`", hidden, one.help)
            )
            for one in without_values(error.diagnostics)
        ]
    )


def without_values(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The diagnostics of one file, each with no more of its line than the key."""
    found = list(diagnostics)
    if not found:
        return []
    # The source is kept with the diagnostic, so it must not contain the other lines.
    source = found[0].source
    shown = [""] * max(one.span.line for one in found)
    for number in {one.span.line for one in found}:
        if number <= len(source.lines):
            shown[number - 1] = _key_of(source.lines[number - 1])
    redacted = source.replace(lines=SourceLines("\n".join(shown)))
    return [one.replace(source=redacted) for one in found]


def _key_of(line: str) -> str:
    key = _KEY_OF_LINE.match(line)
    rest = line[key.end() :] if key else line
    return f"{key[0] + ' ' if key else ''}{_HIDDEN}" if rest.strip() else line.rstrip()
