"""Compares what the hosts of a run have imported: code is compared, never sent."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.executors.dask.host import Host

# No one would read more.
MAX_DIFFERENCES = 10


def own_python() -> str:
    """The version of this Python, as a host says its own."""
    return ".".join(map(str, sys.version_info[:3]))


def differences(hosts: Sequence[Host]) -> tuple[str, ...]:
    """In what the hosts differ from this machine, or from the first of them, in words."""
    found = _differences(hosts)
    return tuple(text for _, text in zip(range(MAX_DIFFERENCES), found, strict=False))


def _differences(hosts: Sequence[Host]) -> Iterator[str]:
    paths = dict.fromkeys(path for host in hosts for path in host.modules)
    for path in paths:
        expected, where = _hash_here(path), "this machine"
        if not expected:
            first = next(host for host in hosts if path in host.modules)
            expected, where = first.modules[path], str(first)
        for host in hosts:
            got = host.modules.get(path)
            if got is None:
                yield f"{path}: imported on {where}, and not on {host}"
            elif got != expected:
                yield f"{path}: sha256 {got} on {host}, and {expected} on {where}"


def _hash_here(path: str) -> str:
    """The hash of a file of this machine, "" if it has none."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""
