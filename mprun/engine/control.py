"""How another process stops tasks of an active run: the client's side and the engine's.

A client writes a request, one JSON file in the folder `requests` of the run's directory, and
sends the engine the signal REQUEST. The engine reads all requests, removes them, and writes an
answer beside each. Only the user of the run can write to the directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from mprun.engine.signals import REQUEST
from mprun.errors import MprunError, UsageError
from mprun.linux import pidfd_signals, procfs
from mprun.record import lock
from mprun.record.state_files import CREATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import StateFile

    # By `stopped`, `finished` (before the request) and `unknown`: names of tasks, as asked for if unknown.
    # `known` are names that may have been meant, if there are unknown ones.
    Answer = dict[str, list[str]]

# How long the engine may take to answer, and how often the client looks for the answer.
ANSWER_TIMEOUT_SECONDS = 5.0
_POLL_INTERVAL_SECONDS = 0.02

# The directory of the requests in that of a run; a request and an answer are not longer.
_REQUESTS = "requests"
_MAX_BYTES = 64 << 20
_REQUEST_SUFFIX = ".request.json"
_ANSWER_SUFFIX = ".answer.json"


# ---- the client's side


def stop_tasks(directory: RunDirectory, names: list[str]) -> Answer:
    """Ask the engine to stop tasks, by names and patterns; its answer.

    Raises UsageError if the run has finished or belongs to another user, MprunError if the
    engine cannot receive the signal or does not answer in ANSWER_TIMEOUT_SECONDS.
    """
    _require_signal_handler(directory, REQUEST)
    request = _write_request(directory, names)
    try:
        _signal_engine(directory, REQUEST)
        return _wait_for_answer(directory, request)
    finally:
        # A request without an answer must not take effect later.
        for suffix in (_REQUEST_SUFFIX, _ANSWER_SUFFIX):
            with contextlib.suppress(OSError):
                request.folder.unlink(request.name + suffix)


def stop_run(directory: RunDirectory) -> None:
    """Ask the engine to stop the whole run (SIGTERM); does not wait for its end.

    Raises UsageError if the run has finished or belongs to another user, MprunError if the
    engine cannot receive the signal.
    """
    _require_signal_handler(directory, signal.SIGTERM)
    _signal_engine(directory, signal.SIGTERM)


def engine_is_suspended(directory: RunDirectory) -> bool:
    """Whether the engine of an active run is stopped by a signal or a debugger."""
    engine = lock.find_writer(directory)
    stat = procfs.read_stat(engine) if engine else None
    return stat is not None and stat.state in "Tt"


def _require_signal_handler(directory: RunDirectory, number: int) -> None:
    """Raise an error if the engine would not notice this signal, or would be killed by it."""
    engine = lock.find_writer(directory)
    stat = procfs.read_stat(engine) if engine else None
    if engine is None or (stat is not None and not stat.is_alive):
        raise _finished(directory)
    if engine == 0:
        raise MprunError(
            f"run {directory.run_id} is running where this command cannot see it, as in a container; "
            "stop it from there"
        )
    if stat is not None and stat.state in "Tt":
        raise MprunError(
            f"run {directory.run_id} is suspended; "
            f"resume it with `fg` in its terminal, or with `kill -CONT {engine}`"
        )
    if stat is not None and not procfs.handles_signal(engine, number):
        raise MprunError(
            f"run {directory.run_id} does not handle signals: "
            f"process {engine} runs it in a thread other than its main thread"
        )


def _signal_engine(directory: RunDirectory, number: int) -> None:
    """Send a signal to the engine, never to another process that has got its pid since."""
    engine = lock.find_writer(directory)
    try:
        pidfd = pidfd_signals.open_pidfd(engine or 0)
    except (OSError, ValueError):
        raise _finished(directory) from None
    try:
        # It holds the record's lock after its pidfd was opened, so the pidfd is the engine's.
        if lock.find_writer(directory) != engine:
            raise _finished(directory)
        pidfd_signals.send(engine or 0, pidfd, number)
    except PermissionError:
        raise _belongs_to_another_user(directory) from None
    except ProcessLookupError:
        raise _finished(directory) from None
    finally:
        pidfd_signals.close_pidfd(pidfd)


def _write_request(directory: RunDirectory, names: list[str]) -> StateFile:
    """Write a request; its file without the suffix."""
    try:
        folder = directory.folder.make(_REQUESTS)
        request = folder.file(f"{os.getpid()}-{os.urandom(4).hex()}")
        _write(request.with_suffix(_REQUEST_SUFFIX), {"stop": names})
    except OSError as error:
        raise UsageError(f"cannot send a request to run {directory.run_id}: {error.strerror}") from None
    return request


def _wait_for_answer(directory: RunDirectory, request: StateFile) -> Answer:
    deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
    while (answer := _read(request.with_suffix(_ANSWER_SUFFIX))) is None:
        _require_signal_handler(directory, REQUEST)
        if time.monotonic() > deadline:
            raise MprunError(f"run {directory.run_id} does not answer")
        time.sleep(_POLL_INTERVAL_SECONDS)
    return answer


def _finished(directory: RunDirectory) -> UsageError:
    return UsageError(f"run {directory.run_id} has finished")


def _belongs_to_another_user(directory: RunDirectory) -> UsageError:
    return UsageError(f"run {directory.run_id} belongs to another user")


# ---- the engine's side


def read_requests(directory: RunDirectory) -> Iterator[tuple[StateFile, list[str]]]:
    """The requests since the last call: each as its file for `write_answer`, and the names to stop."""
    folder = directory.folder.folder(_REQUESTS)
    try:
        names = sorted(name for name in folder.names() if name.endswith(_REQUEST_SUFFIX))
    except OSError:
        return
    for name in names:
        request = _read(folder.file(name))
        with contextlib.suppress(OSError):
            folder.unlink(name)
        tasks = (request or {}).get("stop")
        if isinstance(tasks, list):
            yield folder.file(name.removesuffix(_REQUEST_SUFFIX)), [str(task) for task in tasks]


def write_answer(request: StateFile, answer: Answer) -> None:
    """Answer a request."""
    with contextlib.suppress(OSError):
        _write(request.with_suffix(_ANSWER_SUFFIX), answer)


# ---- the files


def _write(file: StateFile, value: dict[str, Any]) -> None:
    """Write a file in one step: a reader sees all of it or no file."""
    unfinished = file.with_suffix(".part")
    with open(unfinished.open(CREATE | os.O_EXCL), "w", encoding="utf-8") as stream:
        json.dump(value, stream)
    file.folder.rename(unfinished.name, file.name)


def _read(file: StateFile) -> dict[str, Any] | None:
    """The content of a file, None if there is no such file or it is not a JSON object."""
    data = file.read(_MAX_BYTES)
    try:
        value = None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
