"""What another terminal asks of a run that goes on: a file for each request, and one for its answer.

The files lie in the run's own directory, which only its user can write; a signal tells the
engine to look (`SIGNAL`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

from mprun.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_dir import RunDirectory

SIGNAL = signal.SIGUSR1

_SUFFIX = ".request.json"
_ANSWER = ".answer.json"


def _folder(directory: RunDirectory) -> str:
    return os.path.join(directory.path, "requests")


def ask(directory: RunDirectory, tasks: list[str]) -> str:
    """Leave a request to stop tasks, by names and patterns; what `answer_to` waits for.

    Raises UsageError where the run is another user's.
    """
    folder = _folder(directory)
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    try:
        if os.stat(directory.path).st_uid != os.geteuid():
            # Also root: the engine does what its own user asks.
            raise UsageError(f"run {directory.run_id} is another user's")
        os.makedirs(folder, 0o700, exist_ok=True)
        _write(os.path.join(folder, name + _SUFFIX), {"stop": tasks})
    except OSError as error:
        raise UsageError(f"run {directory.run_id} cannot be asked: {error.strerror}") from None
    return os.path.join(folder, name)


def answer_to(request: str) -> dict[str, list[str]] | None:
    """The engine's answer to a request, None where there is none yet."""
    return _read(request + _ANSWER)


def withdraw(request: str) -> None:
    """Remove what is left of a request: who was not heard asks for nothing later."""
    for suffix in (_SUFFIX, _ANSWER):
        with contextlib.suppress(OSError):
            os.unlink(request + suffix)


def requests(directory: RunDirectory) -> Iterator[tuple[str, list[str]]]:
    """The engine's part: what was asked since the last time, and where its answer goes."""
    folder = _folder(directory)
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        found = _read(path) if _is_ours(path) else None
        with contextlib.suppress(OSError):
            os.unlink(path)
        tasks = (found or {}).get("stop")
        if isinstance(tasks, list):
            yield path.removesuffix(_SUFFIX), [str(task) for task in tasks]


def answer(request: str, stopped: list[str], over: list[str], unknown: list[str]) -> None:
    """Say what becomes of a request: which tasks are stopped, had ended before, are not there."""
    with contextlib.suppress(OSError):
        _write(request + _ANSWER, {"stopped": stopped, "over": over, "unknown": unknown})


def _is_ours(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return False


def _write(path: str, value: dict[str, Any]) -> None:
    """Write a file so that a reader sees all of it or none."""
    unfinished = path + ".part"
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
    os.rename(unfinished, path)


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as stream:
            value = json.load(stream)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
