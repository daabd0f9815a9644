"""Says what is wrong with a text that looks like a reference and is none, and how to write it."""

from __future__ import annotations

import re

# How to select an instance.
SELECT = "write `${tasks.NAME[${matrix.KEY}].result}`"

# What references may begin with instead, by what they are meant to.
_MEANT_ROOTS = {
    wrong: root
    for root, words in {
        "params": "params param parameters parameter inputs",
        "env": "env envs environ environment",
        "matrix": "matrix matrices",
        "item": "item items",
        "tasks": "tasks task",
    }.items()
    for wrong in words.split()
}
_EXPECTED = "`params.`, `env.`, `matrix.`, `item` or `tasks.`"

# Characters of an unclosed reference that a message shows.
_MAX_SHOWN = 40


def unknown_root(text: str, root: str) -> tuple[str, str]:
    """The message and the help about a reference of this text, which begins with an unknown root."""
    help = f"write `$${{{text[:60]}}}` for a literal one"
    known = f"env.{text}" if re.fullmatch("[A-Z_][A-Z0-9_]*", text) else ""
    if root.lower() in _MEANT_ROOTS:
        known = _MEANT_ROOTS[root.lower()] + text[len(root) :]
    if known:
        help = f"write `${{{known[:64]}}}`, or `$${{{text[:60]}}}` for a literal one"
    return f"unknown reference `${{{text[:60]}}}`: expected {_EXPECTED}", help


def no_result(text: str) -> tuple[str, str]:
    """The same about one that begins with `tasks.`, but has neither a result nor an output."""
    meant = re.sub(r"\.(output|result)(s?)(?=\.|$)", _other_number, text, count=1)
    help = "" if meant == text else f"did you mean `${{{meant[:64]}}}`?"
    return f"invalid reference `${{{text[:60]}}}`; expected `${{tasks.NAME.result}}`", help


def _other_number(word: re.Match[str]) -> str:
    return ".outputs" if word[1] == "output" else ".result"


def unfinished(string: str, start: int) -> tuple[str, str]:
    """The same about a `${` at this position of a string, which no reference follows."""
    if string.startswith("${{", start):
        inner = string[start + 3 :].partition("}")[0].strip()
        message = "`${{` is not supported; references are written `${...}`"
        return message, f"write `${{{inner[:40]}}}`"
    if "${" in string[start + 2 :].partition("}")[0]:
        # One that is closed, and contains one that contains another.
        nested = string[start:][:_MAX_SHOWN]
        message = f"`{nested}`: a reference may contain others only to select an instance of a task"
        return message, SELECT
    return "unclosed `${`", "add the missing `}`, or write `$${` for a literal `${`"
