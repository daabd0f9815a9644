"""How a secret may be written in a message, so that `mprun.diagnostics.redact` finds it there."""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

# Characters of a secret that is found in all forms, and how many of its lines are: a file may be a secret.
_MAX_ENCODED = 8192
_MAX_LINES = 500
# Fewer digits of base64 may be a word.
_MIN_BASE64 = 8
# A shorter line, such as `}` alone, is not a secret.
_MIN_LINE = 4
# In which ways quotes are written in strings, in a shell and in XML.
_QUOTES = {"'": ("\\'", "'\"'\"'", "'\\''", "&#39;", "&#x27;"), '"': ('\\"', "&quot;")}
# The secrets by this number of first characters, after which secrets and how many that is the index of. Never
# changed, only replaced: the runs of a program may look for secrets in several threads.
_BEGINNING = 4
_last_index: tuple[Collection[str], int, dict[str, list[str]]] = ((), 0, {})


def forms(secret: str, visible: Callable[[str], str]) -> set[str]:
    """Everything that is to be found of a secret: the text and its lines, in all forms.

    `visible` makes one more: see `mprun.diagnostics.visible`.
    """
    lines = [line for line in secret.splitlines() if len(line.strip()) >= _MIN_LINE]
    shown = lines[:_MAX_LINES]
    return set().union(*map(_forms, {secret, *shown}), map(visible, shown), (visible(secret),), lines) - {""}


def _forms(text: str) -> set[str]:
    """How a text may be written in a message: as it is, made visible, in strings of Python, JSON and a shell.

    And in a URL, in XML and in base64, which change it so little that anyone can read it.
    """
    if len(text) > _MAX_ENCODED:
        return {text, text.strip(), *(string[1:-1] for string in _strings(text))}
    data = text.encode("utf-8", "surrogatepass")
    forms = {text, text.strip(), text.encode("unicode_escape").decode(), *_in_urls(data)}
    strings = {repr(data)[1:], *_strings(text)}
    for string in strings:
        forms.add(string[1:-1])
        # Inside of a string in a string, in which the quotes of the inner one may have a backslash.
        for outer in _strings(string):
            forms.add(outer[1:-1].removeprefix("\\")[1:-1].removesuffix("\\"))
    forms.add(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    for quote_mark, ways in _QUOTES.items():
        forms |= {form.replace(quote_mark, way) for form in forms for way in ways}
    return forms | {*_in_base64(data)}


def _strings(text: str) -> set[str]:
    return {repr(text), ascii(text), json.dumps(text), json.dumps(text, ensure_ascii=False)}


def _in_urls(data: bytes) -> Iterator[str]:
    for safe in (b"-._~", b"-._~/"):
        for code in ("%{:02X}", "%{:02x}"):
            letters = [
                chr(byte) if byte in safe or bytes((byte,)).isalnum() else code.format(byte) for byte in data
            ]
            yield from ("".join(letters), "".join(letters).replace("%20", "+"))


def _in_base64(data: bytes) -> Iterator[str]:
    """What is the same for any text before and after it, wherever it begins in a group of three bytes."""
    for before in range(3):
        digits = binascii.b2a_base64(bytes(before) + data, newline=False).decode()
        own = digits[(8 * before + 5) // 6 : 8 * (before + len(data)) // 6]
        if len(own) >= _MIN_BASE64:
            yield from (own, own.replace("+", "-").replace("/", "_"))


def possible_in(text: str, secrets: Collection[str]) -> list[str]:
    """Those of many secrets that may be in a text that is shorter than they are many."""
    index = _index(secrets)
    beginnings = {text[at : at + size] for size in range(1, _BEGINNING + 1) for at in range(len(text))}
    return [secret for each in beginnings & index.keys() for secret in index[each]]


def end_before_unfinished(text: str, secrets: Collection[str]) -> int:
    """The length of the beginning of a text, without the first part of a secret if the text ends in one."""
    index = _index(secrets)
    for at in range(len(text) - _BEGINNING + 1):
        alike = index.get(text[at : at + _BEGINNING], ())
        if any(len(one) > len(text) - at and one.startswith(text[at:]) for one in alike):
            return at
    return len(text)


def _index(secrets: Collection[str]) -> dict[str, list[str]]:
    global _last_index
    which, count, index = _last_index
    if which is not secrets or count != len(secrets):
        # As they are now: another thread may add some.
        known, index = [*secrets], {}
        for secret in known:
            index.setdefault(secret[:_BEGINNING], []).append(secret)
        # With the secrets themselves: others may get the identity of those that are gone.
        _last_index = secrets, len(known), index
    return index
