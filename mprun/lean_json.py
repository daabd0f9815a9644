"""JSON by the parts of `json` that are written in C, for what every start and every task reads and writes.

Importing `json` compiles six regular expressions for its parts that are written in Python: a fortieth of
the instructions of a start, and each fork of a launcher that has it would copy them, and `re`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


def _refuse(value: object) -> NoReturn:
    raise TypeError(type(value).__name__)


# The newest Python whose parts in C were tried.
TRIED_PYTHON = (3, 15)
if _is_tried := sys.version_info[:2] <= TRIED_PYTHON:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

    _Context: Any = type(sys.implementation)
    _hooks = dict.fromkeys(("object_hook", "object_pairs_hook", "array_hook", "parse_constant"))
    _scan = make_scanner(_Context(strict=True, parse_float=float, parse_int=int, **_hooks))
    _pieces = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, True)
else:
    import json
    from json.encoder import encode_basestring

# A text as JSON; of its characters, only those that JSON does not allow are escaped.
encode_text: Callable[[str], str] = encode_basestring


def encode_compactly(value: object) -> str:
    """A value as JSON without spaces, which may be NaN. Raises TypeError if it is not JSON."""
    if not _is_tried:
        return json.dumps(value, ensure_ascii=False, check_circular=False, separators=(",", ":"))
    return "".join(_pieces(value, 0))


def encode_strictly(value: object) -> str:
    """The same as json.dumps with allow_nan=False. Raises TypeError or ValueError if it is not JSON."""
    if not _is_tried:
        return json.dumps(value, allow_nan=False)
    pieces = make_encoder({}, _refuse, encode_basestring_ascii, None, ": ", ", ", False, False, False)
    return "".join(pieces(value, 0))


def decode(text: str) -> Any:
    """The value of a valid JSON text that begins with it."""
    return _scan(text, 0)[0] if _is_tried else json.loads(text)
