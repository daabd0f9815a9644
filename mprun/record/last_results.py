"""What each task of a state directory did last: its fingerprint, and the run that has its result.

`unchanged/` in the state directory has a file for each task with `inputs` or `outputs` of each job file.
While such a task runs, its file names the run alone: so after a kill, or a failure, nothing is known of it.
The files carry a keyed digest of their content: one that is torn or edited counts as none, and so does
one of another directory: a result may contain paths.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.frozen import Frozen
from mprun.record import fingerprint, results
from mprun.record.fingerprint import Fingerprint, keyed_digest
from mprun.record.state_dir import RunDirectory, is_run_id
from mprun.record.state_files import CREATE, Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_files import StateFile

FOLDER = "unchanged"
_KEY, _KEY_BYTES, _LOCK = "key", 32, "lock"
# No more is read of a file; a fingerprint with 100,000 files has 15 MB.
_MAX_BYTES = 64 << 20
# The name of the job file is within so many bytes, unless it is very long.
_MAX_BEGINNING = 4096
# When there are more files, the oldest are removed.
MAX_TASKS = 20_000


class LastResult(Frozen):
    """How a task succeeded last: what it depended on, and the `run` that ran it.

    The record of the run `holder` has its result. `attempts` is how many it took, `files` has the keyed
    digest of each file of its result by suffix. `also` has the files of the modules that only its process
    had imported, "" of one without a file. It was `flaky` if it succeeded only after it was retried.
    """

    run: str
    holder: str
    attempts: int
    fingerprint: Fingerprint
    files: dict[str, str]
    also: dict[str, str] = {}  # noqa: RUF012  values are frozen
    flaky: bool = False


class Unknown(Frozen):
    """Why nothing is known of how a task succeeded last, as a clause."""

    why: str


class LastResults:
    """The files about the tasks of one job file; `job` names it. Every method raises OSError.

    Of several runs at once, each changes them only while it is `locked`.
    """

    def __init__(self, state: Folder, job: str) -> None:
        self.state = state
        self._job = job
        self._folder = state.folder(FOLDER)
        self._secret = b""
        # Whether there is a file of this job file; None until that is asked.
        self._is_known: bool | None = None

    def open(self, *, create: bool) -> None:
        """Read the key, or make it. Raises OSError."""
        if create:
            self._folder = self.state.make(FOLDER)
        key = self._folder.file(_KEY)
        self._secret = _read_key(key)
        if not self._secret and create:
            self._write(_KEY, os.urandom(_KEY_BYTES))
            # Another run may have made it at the same time.
            self._secret = _read_key(key)
        if not self._secret:
            raise OSError(0, "the key of the digests cannot be read")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other run change the files meanwhile."""
        import fcntl

        lock = self._folder.open(_LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def digest(self, text: str) -> str:
        """A keyed digest of a text, which may be secret."""
        return keyed_digest(self._secret, text)

    def read(self, task: str) -> LastResult | Unknown:
        """How a task succeeded last."""
        file = self._folder.file(self._name(task))
        data = file.read(_MAX_BYTES)
        if data is None:
            return Unknown(why=self._why_nothing())
        found = self._verified(data, task)
        if found is None and self._is_of_another_version(data):
            return Unknown(why="what an earlier run has left to compare with is by another version of mprun")
        if found is None:
            return Unknown(why="what an earlier run has left to compare with is damaged")
        if found.get("place") != self._place():
            return Unknown(why=f"it ran in another directory, {quote(str(found.get('place')))}")
        if isinstance(ran := found.get("running"), str):
            why = found.get("why") or "did not finish it successfully"
            return Unknown(why=f"the last run that started it, {ran}, {why}")
        return _last_result(found) or Unknown(why="what an earlier run has left to compare with is damaged")

    def _place(self) -> str:
        return os.path.realpath(self.state.path)

    def _why_nothing(self) -> str:
        if self._is_known is None:
            self._is_known = any(map(self._is_of_job, self._folder.names()))
        job = "no earlier run of this job file has left anything to compare with"
        return "no earlier run has compared a task of this name" if self._is_known else job

    def _is_of_job(self, name: str) -> bool:
        data = self._folder.file(name).read(_MAX_BYTES) or b""
        # What it begins with is enough: it is only said.
        return json.dumps(self._job).encode() in data[:_MAX_BEGINNING]

    def begin(self, task: str, run: str, why: str = "") -> None:
        """A run is about to start a task, or has run it and leaves nothing to compare with, which is why."""
        self._write_signed(task, {"running": run, "why": why})

    def is_running(self, task: str, run: str) -> bool:
        """Whether no other run has started the task since `begin`."""
        found = self._verified(self._folder.file(self._name(task)).read(_MAX_BYTES) or b"", task)
        return found is not None and found.get("running") == run

    def write(self, task: str, last: LastResult) -> None:
        """A task has succeeded, or is as it was."""
        self._write_signed(task, {**last.to_dict(), "fingerprint": last.fingerprint.to_dict()})

    def named_run(self, last: LastResult) -> str:
        """A run with a record, since which nothing has changed: the one that ran the task, if it has one."""
        return last.run if self._record_of(last.run).has_record() else last.holder

    def _record_of(self, run: str) -> RunDirectory:
        return RunDirectory(f"{self.state.path}/runs/{run}", self.state.folder("runs"))

    def result(self, task: str, last: LastResult) -> RunDirectory | None:
        """The record that still has the result of a task, unchanged; None if there is none."""
        directory = self._record_of(last.holder)
        if not is_run_id(last.holder) or not directory.has_record():
            return None
        return directory if self.result_digests(directory, task, last.attempts) == last.files else None

    def result_digests(self, directory: RunDirectory, task: str, attempts: int) -> dict[str, str]:
        """The keyed digest of each file of a result, by suffix; a file that is not ours is left out."""
        files = directory.result_files(task, attempts)
        found = {}
        for suffix in results.ADOPTED_SUFFIXES:
            data = files.with_suffix(suffix).read(results.VALUE_LIMIT + 1)
            if data is not None:
                # It may contain what the task was given.
                found[suffix] = hmac.new(self._secret, data, hashlib.sha256).hexdigest()
        return found

    def forget(self, task: str) -> None:
        """What a task did last says nothing any more."""
        with contextlib.suppress(FileNotFoundError):
            self._folder.unlink(self._name(task))

    def limit(self) -> None:
        """Remove the oldest files if there are too many."""
        names = self._folder.names()
        if len(names) <= MAX_TASKS:
            return
        aged = []
        for name in names:
            with contextlib.suppress(OSError):
                aged.append((self._folder.stat(name).st_mtime_ns, name))
        for _, name in sorted(aged)[: len(aged) - MAX_TASKS]:
            if name not in (_KEY, _LOCK):
                with contextlib.suppress(OSError):
                    self._folder.unlink(name)

    def _name(self, task: str) -> str:
        text = f"{self._job}\0{task}"
        return f"{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}.json"

    def _verified(self, data: bytes, task: str) -> dict[str, Any] | None:
        """The content of a task's file; None if mprun has not written it so for this task."""
        found = self._signed(data)
        if found is None or found.get("format") != fingerprint.FORMAT:
            return None
        # A file of another task may have been put in its place.
        return found if (found.get("job"), found.get("task")) == (self._job, task) else None

    def _is_of_another_version(self, data: bytes) -> bool:
        found = self._signed(data)
        return found is not None and found.get("format") != fingerprint.FORMAT

    def _signed(self, data: bytes) -> dict[str, Any] | None:
        """The content of a file that has the digest of its content; None of another one."""
        signature, _, text = data.partition(b"\n")
        expected = hmac.new(self._secret, text, hashlib.sha256).hexdigest().encode()
        found = json.loads(text) if hmac.compare_digest(signature, expected) else None
        return found if isinstance(found, dict) else None

    def _write_signed(self, task: str, content: dict[str, Any]) -> None:
        known = {"format": fingerprint.FORMAT, "job": self._job, "task": task, "place": self._place()}
        content = {**known, **content}
        text = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()
        signature = hmac.new(self._secret, text, hashlib.sha256).hexdigest().encode()
        self._write(self._name(task), signature + b"\n" + text)

    def _write(self, name: str, data: bytes) -> None:
        """Write a file that appears with all its content at once."""
        temporary = f"{name}.{os.getpid()}"
        with open(self._folder.open(temporary, CREATE), "wb") as stream:
            stream.write(data)
        self._folder.rename(temporary, name)


def _read_key(key: StateFile) -> bytes:
    """The key; empty if there is none that only its owner can read."""
    try:
        if key.stat().st_mode & 0o077:
            return b""
    except OSError:
        return b""
    found = key.read(_KEY_BYTES + 1) or b""
    return found if len(found) == _KEY_BYTES else b""


def _last_result(found: dict[str, Any]) -> LastResult | None:
    known = fingerprint.from_dict(found.get("fingerprint"))
    run, holder, attempts, files, also = map(found.get, ("run", "holder", "attempts", "files", "also"))
    if (
        known is None
        or not isinstance(run, str)
        or not isinstance(holder, str)
        or not isinstance(files, dict)
        or not isinstance(also, dict)
    ):
        return None
    if type(attempts) is not int or attempts < 1:
        return None
    return LastResult(
        run=run,
        holder=holder,
        attempts=attempts,
        fingerprint=known,
        files=files,
        also=also,
        flaky=found.get("flaky") is True,
    )
