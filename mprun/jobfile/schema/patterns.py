"""The patterns of the job schema that most jobs meet, as functions: a start then needs no regular expression.

Importing `re` and compiling the patterns of a job of one task takes a twentieth of a start. A pattern that is
not listed here is compiled. The tests compare each function with its pattern.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def search(pattern: str) -> Callable[[str], object]:
    """A function that says whether a pattern is found in a text."""
    known = _KNOWN.get(pattern)
    if known is not None:
        return known
    import re

    return re.compile(pattern).search


def _is_reference(text: str) -> bool:
    return text[:2] == "${" and text.find("}", 2) == len(text) - 1 > 2


def _is_word(text: str) -> bool:
    return text.replace("_", "a").isalnum() and not text[0].isdecimal()


def _is_dotted(text: str) -> bool:
    return all(map(_is_word, text.split(".")))


def _is_target(text: str) -> bool:
    module, _, function = text.partition(":")
    return module[-3:] != ".py" and _is_dotted(module) and _is_dotted(function)


def _is_param(text: str) -> bool:
    return text[:1] != "-" and _is_word(text.replace("-", "_"))


def _has_no_null(text: str) -> bool:
    return "\0" not in text


def _is_variable(text: str) -> bool:
    return text != "" and "=" not in text and "\0" not in text


_CONTROLS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0))))
_NOT_IN_NAMES = _CONTROLS.union("/[]{}*?$")


def _is_name(text: str) -> bool:
    return text != "" and _NOT_IN_NAMES.isdisjoint(text)


def _is_one_line(text: str) -> bool:
    return text != "" and _CONTROLS.isdisjoint(text)


def _is_private(text: str) -> bool:
    return text[:2] == "x-"


_WORD, _END = r"[^\W\d]\w*", r"$(?!\n)"
_DOTTED = rf"{_WORD}(?:\.{_WORD})*"
_KNOWN: dict[str, Callable[[str], bool]] = {
    r"^\$\{[^}]+\}" + _END: _is_reference,
    rf"^(?![^:]*\.py:){_DOTTED}:{_DOTTED}{_END}": _is_target,
    rf"^{_DOTTED}{_END}": _is_dotted,
    rf"^[^\W\d][\w-]*{_END}": _is_param,
    r"^[^\u0000]*$": _has_no_null,
    r"^[^=\u0000]+" + _END: _is_variable,
    r"^[^/\[\]{}*?$\u0000-\u001f\u007f-\u009f]+" + _END: _is_name,
    r"^[^\u0000-\u001f\u007f-\u009f]+" + _END: _is_one_line,
    "^x-": _is_private,
}
