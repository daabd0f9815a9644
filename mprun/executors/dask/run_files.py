"""The logs and result files of a run, which the bridge writes as they arrive from the hosts."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING

from mprun.executors.dask.artifacts import ArrivingArtifacts, Attributes, Path, require_name
from mprun.executors.dask.pieces import append_piece

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.executors.dask.pieces import Piece
    from mprun.launcher.channel import AttemptKey

# A name that no attempt's files have, for a file that has not arrived as a whole.
_PART = ".part-"
# In place of the descriptor of a file that could not be written.
_FAILED = -1
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class RunFiles:
    """Writes below the directories of a run: each a path, its device and its inode.

    Raises OSError if another directory has taken the place of one.
    """

    def __init__(self, folders: tuple[tuple[str, int, int], ...]) -> None:
        self._logs, self._results = (_open_folder(*folder) for folder in folders)
        # Open logs, by name, those of attempts that run and of their probes: the descriptor, and the host.
        self._open: dict[str, tuple[int, int]] = {}
        # Result files that have not arrived as a whole: each a name of its own, and the descriptor.
        self._parts: dict[tuple[int, str], tuple[str, int]] = {}
        self._numbers = itertools.count()
        # Opened for the first of them.
        self._artifacts = -1
        self._arriving: dict[AttemptKey, ArrivingArtifacts] = {}
        # Why a log is not complete, by its name.
        self.errors: dict[str, str] = {}

    def begin(self, log: str) -> None:
        """Make a log empty."""
        self.end(log)
        with contextlib.suppress(OSError):
            os.close(self._create(log, os.O_TRUNC))

    def append(self, log: str, data: Piece, host: int = -1) -> None:
        """Add to a log what has come from a host."""
        if log in self.errors:
            return
        try:
            if log not in self._open:
                self._open[log] = self._create(log, os.O_APPEND), host
            append_piece(self._open[log][0], data)
        except OSError as error:
            self.errors[log] = error.strerror or str(error)

    def end(self, log: str) -> str:
        """The log is complete: it is there, even if it is empty; why that is not so, "" if it is."""
        if log not in self._open:
            self.append(log, b"")
        if log in self._open:
            os.close(self._open.pop(log)[0])
        return self.errors.pop(log, "")

    def write_result(self, host: int, name: str, data: Piece, *, is_last: bool) -> None:
        """Add to a result file, which appears once it is whole.

        If that fails it never appears, and the engine fails the attempt, as its result is missing.
        """
        part, file = self._parts.get((host, name)) or self._begin_part(host, name)
        if file != _FAILED:
            try:
                append_piece(file, data)
            except OSError:
                os.close(file)
                file = _FAILED
                self._parts[host, name] = part, _FAILED
        if not is_last:
            return
        del self._parts[host, name]
        with contextlib.suppress(OSError):
            if file == _FAILED:
                os.unlink(part, dir_fd=self._results)
            else:
                os.close(file)
                require_name(name)
                os.rename(part, name, src_dir_fd=self._results, dst_dir_fd=self._results)

    def _begin_part(self, host: int, name: str) -> tuple[str, int]:
        part, file = f"{_PART}{next(self._numbers)}", _FAILED
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            file = os.open(part, flags, 0o600, dir_fd=self._results)
        self._parts[host, name] = part, file
        return part, file

    def drop(self, host: int, logs: Mapping[AttemptKey, str]) -> None:
        """Nothing more will arrive from a host, on which these attempts ran, each with its log."""
        self.drop_results(host)
        for key, log in logs.items():
            self.end(log)
            self.drop_artifacts(key)
        # Those of probes. The log of the main processes is opened again.
        for log in [log for log, (_, where) in self._open.items() if where == host]:
            self.end(log)

    def drop_results(self, host: int) -> None:
        """The rest of what has arrived in part from a host will not arrive."""
        for key in [key for key in self._parts if key[0] == host]:
            part, file = self._parts.pop(key)
            with contextlib.suppress(OSError):
                if file != _FAILED:
                    os.close(file)
                os.unlink(part, dir_fd=self._results)

    def add_artifact(self, key: AttemptKey, path: Path, data: Piece | Attributes | None) -> None:
        """Add what an attempt has left as an artifact; see `artifacts.pieces`."""
        # If there is no directory for it, `end_artifacts` says so.
        with contextlib.suppress(OSError):
            self._arriving_of(key).add(path, data)

    def _arriving_of(self, key: AttemptKey) -> ArrivingArtifacts:
        if self._artifacts < 0:
            run = os.open("..", _FOLDER, dir_fd=self._logs)
            self._artifacts = os.open("artifacts", _FOLDER, dir_fd=run)
            os.close(run)
        if key not in self._arriving:
            number, attempt = key
            self._arriving[key] = ArrivingArtifacts(self._artifacts, f"{_PART}{number}-{attempt}")
        return self._arriving[key]

    def end_artifacts(self, key: AttemptKey, task: str, error: str) -> str:
        """The artifacts of an attempt have arrived: why they are not complete, "" if they are."""
        try:
            arriving = self._arriving_of(key)
        except OSError as failure:
            return failure.strerror or str(failure)
        del self._arriving[key]
        arriving.keep(task)
        arriving.remove()
        return error or arriving.error

    def drop_artifacts(self, key: AttemptKey) -> None:
        """The rest of them will not arrive."""
        if (arriving := self._arriving.pop(key, None)) is not None:
            arriving.remove()

    def _create(self, log: str, flags: int) -> int:
        require_name(log)
        flags |= os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(log, flags, 0o600, dir_fd=self._logs)

    def close(self) -> None:
        """Remove what has not arrived as a whole."""
        for key in list(self._arriving):
            self.drop_artifacts(key)
        for host in {host for host, _ in self._parts}:
            self.drop_results(host)


def _open_folder(path: str, device: int, inode: int) -> int:
    folder = os.open(path, _FOLDER)
    found = os.fstat(folder)
    if (found.st_dev, found.st_ino) != (device, inode):
        os.close(folder)
        raise OSError(f"{path} was replaced")
    return folder
