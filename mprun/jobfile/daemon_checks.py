"""Checks of the keys that are only for daemons, and of those that are only for other tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import did_you_mean
from mprun.jobfile.schema.job_schema import task_keys
from mprun.jobfile.syntax.document import Mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Path = tuple[str | int, ...]


def daemon_key_errors(own: Any, shown: str, daemon: object) -> Iterator[tuple[Path, str, str]]:
    """The keys that do not fit a task: the path from it, the message, the help.

    As defaults they apply to those tasks that they fit. `shown` is what messages call the task.
    """
    if daemon is True:
        for key in ("inputs", "outputs"):
            if own.get(key) is not None:
                message = f"`{key}` is only valid for tasks that come to an end ({shown} is a daemon)"
                yield (key,), message, "remove it"
    if daemon is not False:
        return
    if own.get("restart") in ("on-failure", "always"):
        message = f"`restart` is only valid for daemons ({shown} would never finish)"
        yield ("restart",), message, "add `daemon: true`, or use `retry`"
    if own.get("ready") is not None:
        message = f"`ready` is only valid for daemons, which serve other tasks ({shown} is waited for)"
        yield ("ready",), message, "add `daemon: true`"


def keys_of_daemons(
    tasks: Sequence[Any], shown: Callable[[int], str], defaults: Any, numbers: Sequence[int]
) -> Iterator[tuple[Path, str, str, bool]]:
    """Keys of these tasks that do not fit, and defaults for daemons where there are none.

    Each is the path from the document, the message, the help, and whether the key is marked. `shown` is what
    messages call a task.
    """
    of_all = defaults.get("daemon", False)
    for number in numbers:
        item = tasks[number]
        if any(key not in task_keys() and did_you_mean(str(key), ["daemon"]) for key in item):
            # The key that is misspelt is an error of its own.
            continue
        for below, message, help in daemon_key_errors(item, shown(number), item.get("daemon", of_all)):
            yield ("tasks", number, *below), message, help, below != ("restart",)
    if "ready" in defaults and of_all is False and tasks:
        items = (item for item in tasks if isinstance(item, Mapping))
        if all(item.get("daemon", False) is False for item in items):
            message = "`ready` is only valid for daemons, and none of the tasks is one"
            yield ("defaults", "ready"), message, "add `daemon: true` to the tasks that serve others", True
