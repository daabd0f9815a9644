"""What a task depends on and what it made, as digests, and the first difference between two in words."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

# The version of the format: a digest of another one says nothing.
FORMAT = 2


class Fingerprint(Frozen):
    """All that decides whether a task would do the same again; every part is by name.

    `settings` has what the job file says, with references resolved, as keyed digests: without the key no one
    can try what a secret was. `inputs` and `outputs` have the SHA-256 of each file by its path, `code` of
    each module of the project its path and the digest of its syntax tree, `distributions` the version of
    each other one that is used, with a digest of what it has installed. `python` is the version of Python.
    """

    settings: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, str]
    python: str
    code: dict[str, list[str]]
    distributions: dict[str, str]

    def difference(self, now: Fingerprint) -> str:
        """The first difference of `now` from this one, as a clause; empty if there is none."""
        return (
            _first(self.settings, now.settings, "{}")
            or _first(self.inputs, now.inputs, "input {}")
            or _first(self.outputs, now.outputs, "output {}")
            or _version("Python", self.python, now.python)
            or _first(_digests(self.code), _digests(now.code), "module {}")
            or _first_version(self.distributions, now.distributions)
        )


def _digests(code: Mapping[str, list[str]]) -> dict[str, str]:
    # Another directory alone changes nothing.
    return {module: digest for module, (_, digest) in code.items()}


def _first(then: Mapping[str, str], now: Mapping[str, str], words: str) -> str:
    """What has become of the first part that differs; labels of settings are words already."""
    names = [*then, *(name for name in now if name not in then)]
    for name in names:
        if then.get(name) != now.get(name):
            shown = words.format(name if words == "{}" else quote(name))
            return (
                f"{shown} {'is gone' if name not in now else 'is new' if name not in then else 'has changed'}"
            )
    return ""


def _first_version(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    for name in sorted({*then, *now}):
        if text := _version(f"distribution {quote(name)}", then.get(name), now.get(name)):
            return text
    return ""


def _version(what: str, then: str | None, now: str | None) -> str:
    if then == now:
        return ""
    if then is None:
        return f"{what} is new"
    if now is None:
        return f"{what} is gone"
    # What is behind the version is a digest.
    versions = [text.rpartition(" ")[0] or text for text in (then, now)]
    if versions[0] == versions[1]:
        return f"{what} has changed in version {versions[0]}"
    return f"{what} has changed from {versions[0]} to {versions[1]}"


def canonical(value: Any) -> str:
    """A text that two values share only if they and their types are equal; the order of keys is nothing."""
    if isinstance(value, dict):
        pairs = sorted(f"{canonical(key)}:{canonical(item)}" for key, item in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(canonical, value))}]"
    return repr(value)


def keyed_digest(key: bytes, text: str) -> str:
    """A digest of a text that may be secret: without the key no one can try texts."""
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def from_dict(found: Any) -> Fingerprint | None:
    """The fingerprint of `Fingerprint.to_dict`; None for anything else."""
    if not isinstance(found, dict) or found.keys() != {*Fingerprint._fields}:
        return None
    texts = (found["settings"], found["inputs"], found["outputs"], found["distributions"])
    code = found["code"]
    if not all(map(_has_texts, texts)) or not isinstance(found["python"], str) or not isinstance(code, dict):
        return None
    pairs = (pair for pair in code.values())
    if not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair)
        for pair in pairs
    ):
        return None
    return Fingerprint(**found)


def _has_texts(node: Any) -> bool:
    return isinstance(node, dict) and all(isinstance(value, str) for value in node.values())
