"""The state directory: a directory for each run, with its record, its logs and its results."""

from __future__ import annotations

import contextlib
import os
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.errors import RecordError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = ".mprun"
EVENTS = "events.jsonl"

# Regular expressions would say the same, but to compile them takes a hundredth of a start.
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_PLAIN = _FIRST | frozenset("._=,[]-")


@lru_cache(maxsize=1024)
def file_name(task: str) -> str:
    """A task's name as part of a file name: safe, short, and different for different names.

    Also on a file system that does not distinguish capital letters.
    """
    if _is_default(task):
        if task.startswith("Process-"):
            return task
    elif task[:1] in _FIRST and len(task) <= 80 and _PLAIN.issuperset(task):
        return task
    import hashlib

    digest = hashlib.sha256(task.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    readable = re.sub("[^A-Za-z0-9._=-]+", "_", task)[:40].strip("._-")
    return f"{readable}~{digest}"


def _is_default(task: str) -> bool:
    """Whether it is a default name, in capital letters or not: only these keep their capital letter."""
    number = task[8:]
    is_number = len(number) < 10 and number.isascii() and number.isdecimal()
    return is_number and task[:8].lower() == "process-"


class RunDirectory:
    """The directory of one run: `events.jsonl`, `logs/`, `results/`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.run_id = os.path.basename(path)
        self.events = os.path.join(path, EVENTS)
        self._has_results = False

    @property
    def main_log(self) -> str:
        """The log of the main process: what the modules of the targets print when they are imported."""
        return f"{self.path}/logs/main.log"

    def read_main_log(self) -> bytes:
        """The last 64 KiB of that log."""
        try:
            with open(self.main_log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 65536))
                return file.read()
        except OSError:
            return b""

    def log(self, task: str, attempt: int) -> str:
        """The log of an attempt: what it printed."""
        return f"{self.path}/logs/{file_name(task)}.{attempt}.log"

    def probe_output(self, task: str, attempt: int) -> str:
        """What the command that probes whether an attempt is ready printed at its last try."""
        return f"{self.path}/logs/{file_name(task)}.{attempt}.ready"

    def result(self, task: str, attempt: int) -> str:
        """The path of the result files of an attempt, without their suffixes."""
        return f"{self.path}/results/{file_name(task)}.{attempt}"

    def has_results(self) -> bool:
        """Whether any attempt has left a result file yet; the files are looked for until there is one."""
        if not self._has_results:
            try:
                with os.scandir(f"{self.path}/results") as entries:
                    self._has_results = next(entries, None) is not None
            except OSError:
                # An attempt to read a file will fail in the same way.
                self._has_results = True
        return self._has_results

    def size(self) -> int:
        """The disk space that it takes, in bytes."""
        found = 0
        for _, directories, files, descriptor in os.fwalk(self.path):
            for name in (*directories, *files):
                with contextlib.suppress(FileNotFoundError):
                    found += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks * 512
        return found

    def remove(self) -> None:
        """Remove all of it, for a run that never started."""
        import shutil

        shutil.rmtree(self.path, ignore_errors=True)


def create_run(state_dir: str, now: float) -> RunDirectory:
    """Create the directory of a new run; `now` is the wall clock, in seconds since the epoch.

    Raises RecordError if the state directory cannot be written.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    run_id = f"{stamp}.{int(now % 1 * 1000):03d}-{os.urandom(2).hex()}"
    path = os.path.join(os.path.abspath(state_dir), "runs", run_id)
    try:
        _make_private(os.path.abspath(state_dir))
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        for directory in (path, os.path.join(path, "logs"), os.path.join(path, "results")):
            os.mkdir(directory, 0o700)
    except OSError as error:
        raise RecordError(f"the state directory {state_dir} cannot be written: {error.strerror}") from None
    return RunDirectory(path)


def _make_private(directory: str) -> None:
    """Create the state directory, for its owner only and ignored by git."""
    if os.path.isdir(directory):
        return
    # Another run may create it at the same time.
    os.makedirs(directory, 0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    file = os.open(os.path.join(directory, ".gitignore"), flags, 0o600)
    with open(file, "w", encoding="ascii") as stream:
        stream.write("*\n")


def create_run_or_temporary(state_dir: str, now: float) -> tuple[RunDirectory, str]:
    """Like `create_run`, but in a temporary directory if that fails, with a warning that says so."""
    try:
        return create_run(state_dir, now), ""
    except RecordError as error:
        import tempfile

        temporary = tempfile.mkdtemp(prefix="mprun-")
        return create_run(temporary, now), f"{error}; the record of this run is in {temporary}"


def is_run_id(name: str) -> bool:
    """Whether a name is a run id, as `create_run` makes them: UTC in milliseconds, and four hex digits."""
    return re.fullmatch(r"[0-9]{8}-[0-9]{6}\.[0-9]{3}-[0-9a-f]{4}", name) is not None


def list_runs(state_dir: str) -> Iterator[RunDirectory]:
    """The runs of a state directory, newest first."""
    parent = os.path.join(state_dir, "runs")
    try:
        names = os.listdir(parent)
    except OSError:
        return
    for name in sorted(names, reverse=True):
        if os.path.exists(os.path.join(parent, name, EVENTS)):
            yield RunDirectory(os.path.join(parent, name))


def find_run(state_dir: str, run: str | None) -> RunDirectory:
    """The run with this id, or with the only id that begins with it; the newest run for None.

    Raises UsageError if there is no such run, or more than one.
    """
    known = list(list_runs(state_dir))
    if not known:
        raise UsageError(f"no runs in {state_dir} yet; start one with `mprun JOB`, or use `--state-dir`")
    if run is None:
        return known[0]
    found = [one for one in known if one.run_id == run] or [
        one for one in known if one.run_id.startswith(run)
    ]
    if len(found) != 1:
        runs_found = f"{len(found)} runs" if found else "no run"
        raise UsageError(
            f"{runs_found} in {state_dir} with an id that begins with {quote(run)}; "
            f"the newest run is {known[0].run_id}"
        )
    return found[0]
