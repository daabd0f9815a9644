"""Says why a value is not JSON: what in it is not, where that is, and what to return instead."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

# What `json` can nest: dicts, and lists with tuples, of any subclass.
_CONTAINERS = (dict, list, tuple)
_SCALARS = (str, int, float, type(None))
# Of a `repr`.
_MAX_SHOWN = 60
# The letters, and the beginnings of words, whose sound is not that of their kind.
_READ_WITH_A_VOWEL = "AEFHILMNORSX"
_READ_WITH_A_CONSONANT = ("eu", "one", "uni", "url", "use", "uuid")
# Deeper than this, no value can be passed on.
_MAX_DEPTH = 900

_TOO_DEEP = "a value that is nested too deeply"

# What is wrong, and the remedy.
Problem = tuple[str, str]


def describe(value: object) -> dict[str, str]:
    """Why a value is not JSON: `what` it is, as in "a PosixPath, which is not JSON", and the `remedy`.

    Empty if that cannot be found out.
    """
    try:
        problem, path = next(_problems(value), (None, ()))
    except Exception:
        # An attribute or the repr of an object in it raises.
        return {}
    if problem is None:
        return {}
    what, remedy = problem
    if path and what != _TOO_DEEP:
        container = "dict" if isinstance(value, dict) else type(value).__name__
        what = f"a {container} with {what.replace(', which', f' at `{_shown_path(path)}`, which', 1)}"
    return {"what": what, "remedy": remedy}


def _problems(value: object) -> Iterator[tuple[Problem, tuple[Any, ...]]]:
    """Each part of a value that is not JSON, with the path to it."""
    # The containers on the way to the present value: each as its id, the rest of its items, and its step.
    way: list[tuple[int, Iterator[tuple[Any, Any]], Any]] = []
    inside: set[int] = set()
    step: Any = None
    while True:
        problem = _own_problem(value)
        if problem is None and isinstance(value, _CONTAINERS):
            if id(value) in inside:
                problem = (
                    _because(f"a {type(value).__name__} that contains itself"),
                    "return a value without it",
                )
            elif len(way) >= _MAX_DEPTH:
                problem = _TOO_DEEP, "return a string instead"
            else:
                inside.add(id(value))
                way.append((id(value), iter(_items(value)), step))
        if problem is not None:
            yield problem, tuple([one for _, _, one in way[1:]] + ([step] if way else []))
        while way:
            identity, items, _ = way[-1]
            step, value = next(items, (None, _END))
            if value is not _END:
                break
            inside.discard(identity)
            way.pop()
        if not way:
            return


_END = object()


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _own_problem(value: Any) -> Problem | None:
    """What is wrong with a value, whatever is in it."""
    if isinstance(value, dict):
        return _key_problem(value)
    if isinstance(value, float) and value - value != 0:
        return _because(f"the number {value}"), "return None or a string instead"
    if isinstance(value, int):
        try:
            str(value)
        except ValueError:
            return _because("an integer with too many digits"), "return `hex(...)` of it instead"
        return None
    if isinstance(value, (*_SCALARS, *_CONTAINERS)):
        return None
    if isinstance(value, (set, frozenset)):
        return _because(_cut(repr(value))), "return a list instead"
    return _because(_with_article(_type_name(type(value)))), _remedy(value)


def _key_problem(value: dict[Any, Any]) -> Problem | None:
    known: dict[str, Any] = {}
    for key in value:
        text = key if isinstance(key, str) else key_text(key)
        if text is None:
            kind = _with_article(_type_name(type(key)))
            return _because(f"a dict with the key {_cut(repr(key))}, {kind}"), "use strings as keys"
        if text in known:
            keys = f"{_cut(repr(known[text]))} and {_cut(repr(key))}"
            return f"a dict with the keys {keys}, which are the same key in JSON", "use strings as keys"
        known[text] = key
    return None


def key_text(key: object) -> str | None:
    """What `json` makes of a key that is not a string; None if it refuses it."""
    if key is None or key is True or key is False:
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float) and key - key == 0:
        return float.__repr__(key)
    return None


def _remedy(value: Any) -> str:
    """What to return instead of an object of a type that JSON does not have."""
    kind = type(value)
    if hasattr(kind, "__fspath__"):
        return "return a string instead"
    if isinstance(value, (bytes, bytearray)):
        return "return `decode()` of it instead"
    if hasattr(kind, "tolist") and hasattr(kind, "item"):
        # Of numpy, and of what is like it.
        plain = value.item() if getattr(value, "shape", None) == () else []
        if isinstance(plain, list):
            return "return its `tolist()` instead"
        return f"return `{type(plain).__name__}(...)` of it instead"
    if hasattr(kind, "__dataclass_fields__"):
        return "return `dataclasses.asdict(...)` of it instead"
    for method in ("isoformat", "total_seconds", "model_dump", "to_dict"):
        if hasattr(kind, method):
            return f"return its `{method}()` instead"
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return "return its `value` instead"
    if hasattr(kind, "__float__"):
        return "return `float(...)` of it instead"
    return f"return a {'list' if hasattr(kind, '__iter__') else 'string'} instead"


def _because(what: str) -> str:
    return f"{what}, which is not JSON"


def _type_name(kind: type) -> str:
    """The name of a class; with its package if it looks like a function or a variable: `numpy.int64`."""
    package = kind.__module__.partition(".")[0]
    if kind.__name__[0].islower() and package != "builtins" and package not in sys.stdlib_module_names:
        return f"{package}.{kind.__qualname__}"
    return kind.__qualname__


def _with_article(name: str) -> str:
    if name in ("bytes", "dict_keys", "dict_values", "dict_items"):
        return name
    if name[:2].isupper():
        # Its letters are read one by one: "a UUID", "an HTTPStatus".
        with_vowel = name[0] in _READ_WITH_A_VOWEL
    else:
        with_vowel = name[0] in "AEIOUaeiou" and not name.lower().startswith(_READ_WITH_A_CONSONANT)
    return f"{'an' if with_vowel else 'a'} {name}"


def _shown_path(path: tuple[Any, ...]) -> str:
    return _cut(".".join(str(step) for step in path))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
