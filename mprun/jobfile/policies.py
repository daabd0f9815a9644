"""Reads what a task says about its attempts: `retry`, `stop`, `ready`, `limits` and `expect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.model import READY_KINDS, Expect, Limits, Ready, Retry, Stop, signal_name
from mprun.jobfile.resolution import as_text
from mprun.jobfile.units import optional_seconds, to_bytes, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

# Frozen values, which the many tasks without these keys share.
_NO_RETRY = Retry()
_DEFAULT_STOP = Stop()


def policies(
    keys: dict[str, Any], tree: Callable[..., Any]
) -> tuple[Retry, Stop, Ready | None, Limits | None, Expect | None]:
    """What the keys of a task, merged with the defaults, say; `tree` parses the expected result."""
    return (
        _retry(keys.get("retry")),
        _stop(keys.get("stop") or {}),
        # As a default, this applies only to daemons.
        _ready(keys.get("ready")) if keys.get("daemon") else None,
        _limits(keys.get("limits")),
        _expect(keys.get("expect"), tree),
    )


def _retry(value: Any) -> Retry:
    if value is None:
        return _NO_RETRY
    if isinstance(value, int):
        return Retry(retries=value)
    longest = value.get("max_delay")
    return Retry(
        # A mapping without `retries` means one retry.
        retries=value.get("retries", 1),
        delay=to_seconds(value.get("delay", 0)),
        backoff=float(value.get("backoff", 1)),
        max_delay=None if longest is None else to_seconds(longest),
        jitter=float(value.get("jitter", 0)),
        exceptions=tuple(value.get("exceptions") or ()),
        exit_codes=tuple(value.get("exit_codes") or ()),
    )


def _stop(value: dict[str, Any]) -> Stop:
    default = _DEFAULT_STOP
    if not value:
        return default
    name, grace = value.get("signal"), value.get("grace")
    return Stop(
        signal=default.signal if name is None else signal_name(name),
        grace=default.grace if grace is None else to_seconds(grace),
        to=value.get("to") or default.to,
    )


def _expect(value: Any, tree: Any) -> Expect | None:
    if value is None:
        return None
    codes = value.get("exit_code", ())
    most = value.get("max_rss")
    result = value.get("result")
    mark = value.marks_of("result")[1] if isinstance(result, str) else 0
    return Expect(
        result=tree(result, mark),
        has_result="result" in value,
        raises=value.get("raises"),
        exit_codes=(codes,) if isinstance(codes, int) else tuple(codes),
        output=value.get("output"),
        max_seconds=value.get("max_seconds"),
        max_rss=None if most is None else to_bytes(most),
    )


def _ready(value: dict[str, Any] | None) -> Ready | None:
    if value is None:
        return None
    kind = next(kind for kind in READY_KINDS if kind in value)
    default = _command_probe(value[kind]) if kind == "command" else Ready(kind=kind, what=str(value[kind]))
    times = ("timeout", "interval", "try_timeout")
    return default.replace(**{name: to_seconds(value[name]) for name in times if value.get(name) is not None})


def _command_probe(node: Any) -> Ready:
    # Few jobs have one.
    import shlex

    if not isinstance(node, list):
        return Ready(kind="command", what=as_text(node), command=("/bin/sh", "-c", as_text(node)))
    words = tuple(map(as_text, node))
    return Ready(kind="command", what=shlex.join(words), command=words)


def _limits(value: dict[str, Any] | None) -> Limits | None:
    if not value:
        return None
    cpus = value.get("cpus")
    return Limits(
        memory=_optional_bytes(value.get("memory")),
        cpu_time=optional_seconds(value.get("cpu_time")),
        open_files=value.get("open_files"),
        nice=value.get("nice"),
        cpus=tuple(cpus) if isinstance(cpus, list) else cpus,
        log=_optional_bytes(value.get("log")),
    )


def _optional_bytes(value: Any) -> int | None:
    return None if value is None else to_bytes(value)
