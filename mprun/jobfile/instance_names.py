"""The names of instances: the label of each value, and the suffix of each combination or item."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mprun.jobfile.syntax.document import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Characters of one value, and of all values, in a name.
LABEL_LIMIT = 40
SUFFIX_LIMIT = 120

# Characters with a meaning in names, patterns or references.
_RESERVED_CHARS = frozenset("[]{},=*?$")

# Which of the values that look alike keeps its text as its label: the one of the lowest rank.
_RANKS = {"str": 1, "other": 2}

# The classes of nearly all values.
_KINDS: dict[type, str] = {
    type(None): "null",
    **{kind: kind.__name__ for kind in (str, bool, int, float)},
    **dict.fromkeys((list, dict), "other"),
}


def item_suffix(index: int) -> str:
    """The suffix of an instance of a `foreach` task: `[0]`, `[1]`, …."""
    return f"[{index}]"


def yaml_kind(value: Any) -> str:
    """The YAML type of a value, whatever its class is."""
    if found := _KINDS.get(type(value)):
        return found
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind.__name__
    return "other"


def _shown(value: Any) -> str:
    """A value as part of a name: `a:1` for `{os: a, n: 1}`, the plain values in order."""
    if not isinstance(value, (dict, list, tuple)):
        return as_label(value)
    return ":".join(map(as_label, _leaves(value))) or as_label(value)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        yield value
        return
    for part in value:
        yield from _leaves(part)


def identity_of(value: Any) -> tuple[str, str]:
    """A key that is equal for values of the same type and text."""
    if type(value) is int:
        return "int", repr(value)
    return yaml_kind(value), as_label(value)


def distinct_values(values: Sequence[Any]) -> list[Any]:
    """The values, the same one once, in order."""
    found: dict[tuple[str, str], Any] = {}
    for value in values:
        found.setdefault(identity_of(value), value)
    return list(found.values())


def as_label(value: Any) -> str:
    """A value as YAML writes it plainly, a string as it is; a reference selects it by this text."""
    kind = yaml_kind(value)
    if kind == "str":
        return str(value)
    if kind == "null":
        return "null"
    if kind == "bool":
        return "true" if value else "false"
    if kind == "float" and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return repr(value) if kind in ("int", "float") else _json(value)


def _json(value: Any) -> str:
    """A list or a mapping, which `include` may have."""
    import json

    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    except TypeError:  # keys that cannot be sorted, `{1: a, b: c}`
        return repr(value)


def name_parts(key: str, values: Sequence[Any]) -> dict[tuple[str, str], str]:
    """`n=1` for each value, by its identity."""
    distinct = distinct_values(values)
    labels = zip(distinct, unique_labels(distinct), strict=True)
    return {identity_of(value): f"{key}={label}" for value, label in labels}


def unique_labels(values: Sequence[Any]) -> list[str]:
    """The labels of distinct values: their text if it is safe, short and unique."""
    found: dict[int, str] = {}
    taken: set[str] = set()
    texts = [_shown(value) for value in values]
    safe = [_made_safe(text) for text in texts]
    # A number goes before a text that looks like it, a mapping after it; unchanged before changed texts.
    ranks = [(texts[n] != safe[n], _RANKS.get(yaml_kind(values[n]), 0), n) for n in range(len(values))]
    for changed, rank, index in sorted(ranks):
        label, is_text = safe[index], rank == _RANKS["str"]
        if is_text and not changed and (not label or label in taken):
            label = f'"{label}"'
        if changed or label in taken:
            label = _hashed(label, identity_of(values[index]), taken)
        taken.add(label)
        found[index] = label
    return [found[index] for index in range(len(values))]


def _made_safe(text: str) -> str:
    if len(text) > LABEL_LIMIT:
        text = text[:LABEL_LIMIT]
    if text.isalnum():
        return text
    return "".join("_" if char in _RESERVED_CHARS or not char.isprintable() else char for char in text)


def _hashed(label: str, identity: tuple[str, str], taken: set[str]) -> str:
    """A label with enough of the value's hash to make it unique."""
    digest = _digest(":".join(identity))
    length = next(length for length in range(4, len(digest) + 1) if f"{label}~{digest[:length]}" not in taken)
    return f"{label}~{digest[:length]}"


def suffix_of(parts: Sequence[str]) -> str:
    """The suffix of a combination with these parts: `[n=1,os=linux]`."""
    suffix = f"[{','.join(parts)}]"
    if len(suffix) <= SUFFIX_LIMIT:
        return suffix
    # Many names may be cut, so this takes more of the hash than a single value does.
    end = f"~{_digest(suffix)[:16]}]"
    return suffix[: SUFFIX_LIMIT - len(end)] + end


def _digest(text: str) -> str:
    digest: str = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return digest
