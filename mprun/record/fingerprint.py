"""What a task depends on and what it made, as digests, and the first difference between two in words."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# The version of the format: a digest of another one says nothing.
FORMAT = 5


def _nowhere(_path: str) -> bool:
    return False


class Fingerprint(Frozen):
    """All that decides whether a task would do the same again; every part is by name.

    `settings` has what the job file says, with references resolved, as keyed digests: without the key no one
    can try what a secret was. `inputs` and `outputs` have the SHA-256 of each file by its path, `code` of
    each module of the project its path, from the state directory, and the digest of its syntax tree,
    `distributions` the version of each other one that is used, with a digest of what it has installed.
    `python` is the version of Python. `shown` says in words what some of the settings are.
    """

    settings: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, str]
    python: str
    code: dict[str, list[str]]
    distributions: dict[str, str]
    shown: dict[str, str] = {}  # noqa: RUF012  values are frozen

    def difference(self, now: Fingerprint, is_there: Callable[[str], bool] = _nowhere) -> str:
        """The first difference of `now` from this one, as a clause; empty if there is none.

        `is_there` says whether there is a file of this path, in `inputs` or `outputs` or not.
        """
        return (
            # Another version may have other defaults.
            _version("Python", self.python, now.python)
            or _first_setting(self, now)
            or _first_file(self.inputs, now.inputs, "input", is_there)
            or _first_file(self.outputs, now.outputs, "output", is_there)
            or _first_file(_digests(self.code), _digests(now.code), "module")
            or _first_moved(self.code, now.code)
            or _first_version(self.distributions, now.distributions)
        )


def _digests(code: Mapping[str, list[str]]) -> dict[str, str]:
    return {module: digest for module, (_, digest) in code.items()}


def _first_moved(then: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> str:
    """The first module with another path: the same code may read what is beside it."""
    moved = (module for module, (path, _) in now.items() if then[module][0] != path)
    module = next(moved, "")
    return f"module {quote(module)} is imported from another file" if module else ""


def _differing(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    names = [*then, *(name for name in now if name not in then)]
    return (name for name in names if then.get(name) != now.get(name))


def _first_setting(then: Fingerprint, now: Fingerprint) -> str:
    """What has become of the first setting that differs, by its label."""
    for label in _differing(then.settings, now.settings):
        before, after = then.shown.get(label, ""), now.shown.get(label, "")
        if label not in now.settings:
            return f"{label} is gone"
        if label not in then.settings:
            return f"{label} is new" + (f": {after}" if after else "")
        if before == after:
            # It is the result of the same task, or not shown.
            return f"{label}, {after}, has changed" if after else f"{label} has changed"
        return f"{label} has changed" + (f" from {before} to {after}" if before and after else "")
    return ""


def _first_file(
    then: Mapping[str, str], now: Mapping[str, str], what: str, is_there: Callable[[str], bool] = _nowhere
) -> str:
    """What has become of the first file that differs; one with another name is both gone and new."""
    for name in _differing(then, now):
        if name in now:
            return f"{what} {quote(name)} {'has changed' if name in then else 'is new'}"
        if is_there(name):
            return f"{quote(name)} is no longer among its `{what}s`"
        text = f"{what} {quote(name)} is gone"
        renamed = (new for new, digest in now.items() if new not in then and digest == then[name])
        new = next(renamed, "")
        return f"{text}, and {quote(new)} with the same content is new" if new else text
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
    texts = [found[name] for name in ("settings", "inputs", "outputs", "distributions", "shown")]
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
