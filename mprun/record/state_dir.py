"""The state directory: a directory for each run, with its record, its logs and its results."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from mprun.errors import RecordError
from mprun.record.state_files import Folder, NotOurs

if TYPE_CHECKING:
    from mprun.record.state_files import StateFile

DEFAULT = ".mprun"
EVENTS = "events.jsonl"
# The name of the record while the targets are imported: nothing has begun yet.
STARTING = "starting.jsonl"
MAIN_LOG = "main.log"
# The directory with a directory for each task that keeps artifacts.
ARTIFACTS = "artifacts"
# The directory of the pidfiles, beside `runs`.
PIDFILES = "open"
# As `create_run` makes them: UTC in milliseconds, and four hex digits.
RUN_ID = r"[0-9]{8}-[0-9]{6}\.[0-9]{3}-[0-9a-f]{4}"

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
    from mprun.record.hashed_names import hashed_name

    return hashed_name(task)


def log_name(task: str, attempt: int) -> str:
    """The name of the log of an attempt, in the directory of logs."""
    return f"{attempt_name(task, attempt)}.log"


def attempt_name(task: str, attempt: int) -> str:
    """How the names of all files of an attempt begin; of its result files, the name without the suffix."""
    return f"{file_name(task)}.{attempt}"


def _is_default(task: str) -> bool:
    """Whether it is a default name, in capital letters or not: only these keep their capital letter."""
    number = task[8:]
    is_number = len(number) < 10 and number.isascii() and number.isdecimal()
    return is_number and task[:8].lower() == "process-"


class UnusableDirectory(Exception):
    """A directory in the record cannot be created, or is not one that a task may write to."""


class RunDirectory:
    """The directory of one run: `events.jsonl`, `logs/`, `results/`.

    The paths that it gives are names for users, and for the main process, which creates the files.
    """

    def __init__(self, path: str, runs: Folder | None = None) -> None:
        self.path = path
        self.run_id = os.path.basename(path)
        self.events = os.path.join(path, EVENTS)
        if runs is None:
            parent = os.path.dirname(os.path.abspath(path))
            runs = Folder(parent, Folder(os.path.dirname(parent)))
        self._runs = runs
        # The state directory that it is in.
        self.state = runs.within or Folder(os.path.dirname(runs.path))
        self._has_results = False

    @cached_property
    def folder(self) -> Folder:
        """The directory itself."""
        return self._runs.folder(self.run_id)

    @cached_property
    def logs(self) -> Folder:
        """The directory of its logs."""
        return self.folder.folder("logs")

    @cached_property
    def results(self) -> Folder:
        """The directory of the result files."""
        return self.folder.folder("results")

    def ways(self) -> tuple[Folder, ...]:
        """The directories on the way to the record, below the state directory, which itself may be moved."""
        return self.folder, self._runs

    def path_in_state(self) -> str:
        """The path of the record from the state directory."""
        return f"{os.path.basename(self._runs.path)}/{self.run_id}/{EVENTS}"

    @property
    def identity(self) -> str:
        """Its run id, device and inode: no other directory has these, not even a copy.

        Raises OSError if it is gone, or not ours.
        """
        found = os.fstat(self.folder.descriptor)
        return f"{self.run_id} {found.st_dev}:{found.st_ino}"

    def beside(self, run_id: str) -> RunDirectory:
        """Another run of the same state directory."""
        return RunDirectory(os.path.join(os.path.dirname(self.path), run_id), self._runs)

    @property
    def main_log(self) -> str:
        """The log of the main process: what the modules of the targets print when they are imported."""
        return f"{self.path}/logs/{MAIN_LOG}"

    def read_main_log(self) -> bytes:
        """The last 64 KiB of that log."""
        return self.logs.file(MAIN_LOG).read_end(65536)

    def log(self, task: str, attempt: int) -> str:
        """The log of an attempt: what it printed."""
        return f"{self.path}/logs/{log_name(task, attempt)}"

    def log_file(self, task: str, attempt: int) -> StateFile:
        """The same, to read it; attempt 0 is the log of the main process."""
        return self.logs.file(log_name(task, attempt) if attempt else MAIN_LOG)

    def probe_output(self, task: str, attempt: int) -> StateFile:
        """What the command that probes whether an attempt is ready printed at its last try."""
        return self.logs.file(f"{attempt_name(task, attempt)}.ready")

    def result(self, task: str, attempt: int) -> str:
        """The path of the result files of an attempt, without their suffixes."""
        return f"{self.path}/results/{attempt_name(task, attempt)}"

    def result_files(self, task: str, attempt: int) -> StateFile:
        """The same, to read them."""
        return self.results.file(attempt_name(task, attempt))

    def artifacts_of(self, task: str) -> str:
        """The directory for a task's artifacts; only tasks that ask for it have one."""
        return f"{self.path}/{ARTIFACTS}/{file_name(task)}"

    def has_results(self) -> bool:
        """Whether any attempt has left a result file yet; the files are looked for until there is one."""
        if not self._has_results:
            try:
                with os.scandir(self.results.descriptor) as entries:
                    self._has_results = next(entries, None) is not None
            except OSError:
                # An attempt to read a file will fail in the same way.
                self._has_results = True
        return self._has_results

    def open_events(self, flags: int = os.O_RDONLY) -> int:
        """Open the record. Raises OSError; the directory is not held, because there may be thousands.

        It may have another name, too, in a backup that has been made of links.
        """
        return self._runs.folder(self.run_id).open(EVENTS, flags, may_be_linked=True)

    def open_starting(self, flags: int = 0) -> int:
        """Open the record, to write it, of a run that has not begun. Raises OSError."""
        return self.folder.open(STARTING, os.O_RDWR | os.O_APPEND | flags, may_be_linked=True)

    def begin(self) -> None:
        """Give the record its name: the run begins. Raises OSError."""
        self.folder.rename(STARTING, EVENTS)

    def stat_events(self) -> os.stat_result:
        """What is known of the record. Raises OSError."""
        return self._runs.folder(self.run_id).stat(EVENTS)

    def has_record(self) -> bool:
        """Whether it is the directory of a run that has begun, or passes itself off as one."""
        try:
            self.stat_events()
        except NotOurs:
            return is_run_id(self.run_id)
        except OSError:
            return False
        return True

    def size(self) -> int:
        """The disk space that it takes, in bytes."""
        found = 0
        for _, directories, files, descriptor in os.fwalk(".", dir_fd=self.folder.descriptor):
            for name in (*directories, *files):
                with contextlib.suppress(FileNotFoundError):
                    found += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks * 512
        return found

    def close(self) -> None:
        """Hold none of its directories open any more; the next use opens them again."""
        for folder in (*map(vars(self).get, ("results", "logs", "folder")), self._runs, self.state):
            if folder is not None:
                folder.close()

    def remove(self) -> None:
        """Remove all of it, the record last, so that a run that is removed by half is still found as a run.

        Raises OSError if a part of it cannot be removed, or it is not the directory of a run.
        """
        if not is_run_id(self.run_id):
            raise NotOurs(self.path, "has no run id for a name", "")
        self._runs.remove(self.run_id, last=EVENTS)


def create_run(state_dir: str, now: float) -> RunDirectory:
    """Create the directory of a new run; `now` is the wall clock, in seconds since the epoch.

    Raises RecordError if the state directory cannot be written, or others can write to it.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    run_id = f"{stamp}.{int(now % 1 * 1000):03d}-{os.urandom(2).hex()}"
    state = Folder(os.path.abspath(state_dir))
    try:
        create_state(state)
        with contextlib.suppress(FileNotFoundError):
            # A foreign one would keep the run from being found after a kill.
            state.folder(PIDFILES).require()
        runs = state.make("runs")
        _keep_apart(runs)
        os.mkdir(run_id, 0o700, dir_fd=runs.descriptor)
        run = RunDirectory(f"{runs.path}/{run_id}", runs)
        run.folder.make("logs")
        run.folder.make("results")
    except NotOurs as error:
        why = f"{error.strerror}; {error.remedy}" if error.remedy else error.strerror
        raise RecordError(f"the state directory {state_dir} is not used: {why}") from None
    except OSError as error:
        raise RecordError(f"the state directory {state_dir} cannot be written: {error.strerror}") from None
    return run


# ioctl(2), from <linux/fs.h>: the attributes of a directory, and the one that chattr(1) calls `T`. The
# kernel takes them as an int, whatever the names of the requests say.
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _FS_TOPDIR_FL = 0x80086601, 0x40086602, 0x20000


def _keep_apart(runs: Folder) -> None:
    """Tell the file system that the directories in this one are unrelated."""
    # ext4 then puts each run into a region of its own. Else a new run gets the region of one that was
    # removed, and without a journal ext4 does not use the inodes of removed files again within a minute:
    # for each new file it looks at all of them (docs/speed.md). Other file systems refuse the attribute.
    import fcntl

    with contextlib.suppress(OSError):
        found = fcntl.ioctl(runs.descriptor, _FS_IOC_GETFLAGS, bytes(4))
        flags = int.from_bytes(found, sys.byteorder)
        if not flags & _FS_TOPDIR_FL:
            wanted = flags | _FS_TOPDIR_FL
            fcntl.ioctl(runs.descriptor, _FS_IOC_SETFLAGS, wanted.to_bytes(4, sys.byteorder))


def create_state(state: Folder) -> None:
    """Create the state directory, for its owner only and ignored by git, if it does not exist.

    Raises OSError.
    """
    if os.path.lexists(state.path):
        return
    _make_parents(os.path.dirname(state.path))
    # Another run may create it at the same time.
    with contextlib.suppress(FileExistsError):
        os.mkdir(state.path, 0o700)
        _require_owners(state)
    with open(state.open(".gitignore", os.O_WRONLY | os.O_CREAT), "w", encoding="utf-8") as stream:
        stream.write("*\n")


def _require_owners(state: Folder) -> None:
    """Raise NotOurs if the directory that was just made is not this user's: then none would be there."""
    try:
        state.require()
    except NotOurs:
        os.rmdir(state.path)
        what = "would be on a file system without owners and permissions"
        raise NotOurs(state.path, what, "use `--state-dir` to name a directory on another one") from None


def _make_parents(path: str) -> None:
    """Make the directories above a state directory: no one else can write to them, whatever the umask."""
    if not os.path.isdir(path):
        _make_parents(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)


def create_run_or_temporary(state_dir: str, now: float) -> tuple[RunDirectory, str]:
    """Like `create_run`, but in a temporary directory if that fails, with a warning that says so."""
    try:
        return create_run(state_dir, now), ""
    except RecordError as error:
        import tempfile

        temporary = tempfile.mkdtemp(prefix="mprun-")
        return create_run(temporary, now), f"{error}; the record of this run is in {temporary}"


def is_run_id(name: str) -> bool:
    """Whether a name is a run id."""
    return re.fullmatch(RUN_ID, name) is not None
