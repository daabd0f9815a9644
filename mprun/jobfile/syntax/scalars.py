"""Resolves plain scalars by the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#1032-tag-resolution)."""

from __future__ import annotations

import re

# As many digits as Python converts by default, both ways.
MAX_DIGITS = 4300
_MAX_BITS = 14284  # of 10 ** 4300
_INFINITY = float("inf")

_CONSTANTS: dict[str, object] = {
    # The most frequent numbers: a lookup takes half as long as a conversion.
    **{str(number): number for number in range(11)},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), _INFINITY),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -_INFINITY),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

# Not compiled before there is a number that is not a plain integer.
_NUMBER = (
    r"([-+]?[0-9]+)"
    r"|0o([0-7]+)"
    r"|0x([0-9a-fA-F]+)"
    r"|([-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)

# A plain scalar that begins with any other character is a string, as most are.
NON_STRING_START = frozenset("-+.0123456789~nNtTfF")
_NUMBER_START = frozenset("-+.0123456789")


def type_name(value: object) -> str:
    """What messages call the type of a value: `mapping`, `list`, `string`, `boolean`, `number` or `null`."""
    for python_type, name in _TYPE_NAMES:
        if isinstance(value, python_type):
            return name
    return "value"


def kind_of(value: object) -> str:
    """The type of a value as a message says it: `a list`, `null`."""
    return "null" if value is None else f"a {type_name(value)}"


# A bool is an int to Python.
_TYPE_NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (dict, "mapping"),
    ((list, tuple), "list"),
    (str, "string"),
    (bool, "boolean"),
    ((int, float), "number"),
    (type(None), "null"),
)


class OutOfRange(ValueError):
    """A number that Python's int or float cannot represent, or cannot print."""


def resolve(text: str) -> object:
    """The value of a plain scalar: None, a bool, an int, a float or the text itself.

    Raises OutOfRange for a number of more than 4300 digits and for a float that would
    silently become infinite.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text.isdecimal() and text.isascii() and len(text) < 10:
        return int(text)
    if text[0] not in _NUMBER_START:
        return text
    match = re.fullmatch(_NUMBER, text)
    if match is None:
        return text
    if match.lastindex == 4:
        return _float(text)
    return _int(match[match.lastindex or 0], (10, 8, 16)[(match.lastindex or 1) - 1])


def loses_characters(text: str, number: object) -> bool:
    """Whether a decimal number is shown without some characters of its text: 3.1 for `3.10`, 10 for `010`.

    Other notations (`0x1F`, `0o17`, `1e3`) are numbers on purpose, and so are `.5` and `1.`.
    """
    if type(number) is int:
        return text[0] in "+-0" and text.lstrip("+-").isdecimal() and str(number) != text
    if type(number) is not float or not re.fullmatch(r"[-+]?[0-9]*\.?[0-9]*", text):
        return False
    whole, _, fraction = text.lstrip("-").partition(".")
    padded = whole[:1] == "+" or (whole[:1] == "0" and len(whole) > 1)
    padded = padded or (fraction[-1:] == "0" and len(fraction) > 1)
    # More digits than a float has.
    return padded or (whole + fraction).strip("0") != _digits(number)


def _digits(number: float) -> str:
    """The digits of a float without the zeros at both ends, wherever its point is."""
    return repr(abs(number)).partition("e")[0].replace(".", "").strip("0")


def _float(text: str) -> float:
    number = float(text)
    if number in (_INFINITY, -_INFINITY):
        raise OutOfRange("number out of range for a float")
    return number


def _int(digits: str, base: int) -> int:
    if base == 10 and len(digits) > MAX_DIGITS:
        raise OutOfRange(f"number with more than {MAX_DIGITS} digits")
    try:
        number = int(digits, base)
    except ValueError:  # PYTHONINTMAXSTRDIGITS may ask for less
        raise OutOfRange("number with more digits than Python converts") from None
    if base != 10 and number.bit_length() > _MAX_BITS:
        raise OutOfRange(f"number with more than {MAX_DIGITS} digits")
    return number
