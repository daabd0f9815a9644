"""What a task's process runs: the target, from opening its log to its exit code.

A spawned child imports this module and no other of mprun, so it imports little: what only some
tasks need is imported in the function that needs it.
"""

from __future__ import annotations

import builtins
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from _io import BufferedWriter, FileIO, TextIOWrapper

# A task's process calls these by names of this module, not of theirs: see `Process._bootstrap`.
from _thread import get_native_id
from multiprocessing import context, process, util
from os import close, dup2, getpid, getppid, read, setsid, stat
from os import open as open_file

# Not from `typing`, which takes longer to import than everything else that a task's process needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any, NoReturn

    from mprun.launcher.rlimits import SoftLimits
    from mprun.launcher.start_error import StartError

# prctl(2), from <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
SIGKILL = 9
# setrlimit(2): a limit for real-time processes, in microseconds, so large that it limits nothing. All that
# descends from a task inherits it, in any session and with any environment. Its low bits are the pid of the
# task's process: so the launcher knows whose the orphans are that come to it. Above them is a number of the
# run: so the next start knows what a killed run has left. See `mprun.linux.run_tags`.
RLIMIT_RTTIME = 15
TAG, PID_BITS = 1 << 62, 23
_UNLIMITED, _byte_order = b"\xff" * 8, sys.byteorder
_is_64_bit_linux = sys.platform == "linux" and sys.maxsize > 2**32
# The positions of these fields in PROCESS_REQUEST; a test compares them with those of the channel.
COMMAND, RESULT = 6, 11
# What a report returns that cannot be written.
LOST = object()
# Where Python's own modules are.
_LIBRARY = os.path.dirname(os.__file__)
# What imports need, which a task may change.
_import = builtins.__import__
_finders, _path_hooks, _path = [*sys.meta_path], [*sys.path_hooks], [*sys.path]
_set_lazy_filter: Any = getattr(sys, "set_lazy_imports_filter", None)
# What every task finds in its environment.
OUR_VARIABLES = frozenset({"MPRUN_RUN_ID", "MPRUN_TASK", "MPRUN_ATTEMPT"})
# The files in memory into which a task writes the stacks of its threads: one of its own, because it may have
# to tell why it is ended; and the one that forks share, which costs them nothing: they are asked one by one.
STACKS_NAME, SHARED_STACKS_NAME = "mprun-stacks", "mprun-shared-stacks"
# The stacks are complete once they have not grown for so long, in seconds.
SETTLE_SECONDS = 0.005
# memfd_create(2), from <linux/memfd.h>.
MFD_CLOEXEC = 1
# unshare(2), from <linux/sched.h>.
CLONE_THREAD = 0x10000
# close_range(2), from <linux/close_range.h>.
CLOSE_RANGE_CLOEXEC = 4
# mmap(2), from <sys/mman.h> of Linux: PROT_READ and PROT_WRITE, and the flags of a mapping.
PROT_READ_WRITE = 3
MAP_SHARED, MAP_ANONYMOUS, MAP_FIXED_NOREPLACE = 0x01, 0x20, 0x100000
# The end marks of all tasks, in memory that the launcher shares with them: one byte for each task, by its
# index in the plan, for its end, and then one for the return of its target. See `mark_end`.
MARK_BITS = 18
MARKS = 1 << MARK_BITS
# A mark is one of so many bytes, by the number of the attempt; 0 is none.
MARK_VALUES = 255
# Where they may be in a process: `call_function` passes 32 bits.
MARK_ADDRESSES = (0x70000000, 0x60000000, 0x50000000)
# Where they are in this one, 0 if there are none.
marks = 0

# The newest Python whose private names, all of them in the block below, were checked. A newer one may
# give them another meaning: there, a task's process is `mprun.launcher.portable_process`, which runs
# multiprocessing's own bootstrap.
TRIED_PYTHON = (3, 15)
IS_TRIED = sys.version_info[:2] <= TRIED_PYTHON
if IS_TRIED:
    # `ctypes`, which uses it, takes 2 ms and more to import, and each fork copies it.
    import _ctypes
    from _ctypes import call_function
    from atexit import _clear, _ncallbacks, _run_exitfuncs

    _program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # dlopen(3): None is this program
    _fflush: Any = _ctypes.dlsym(_program, "fflush")
    _putenv = _ctypes.dlsym(_program, "putenv")
    _prctl: Any = _ctypes.dlsym(_program, "prctl") if sys.platform == "linux" else 0
    _unshare: Any = _ctypes.dlsym(_program, "unshare") if sys.platform == "linux" else 0
    _setrlimit: Any = _ctypes.dlsym(_program, "setrlimit") if _is_64_bit_linux else 0
    _openat: Any = _ctypes.dlsym(_program, "openat") if _is_64_bit_linux else 0
    _getrlimit: Any = _ctypes.dlsym(_program, "getrlimit") if _is_64_bit_linux else 0
    _mmap, _exit = _ctypes.dlsym(_program, "mmap"), _ctypes.dlsym(_program, "_exit")
    _memset, _memchr = _ctypes.dlsym(_program, "memset"), _ctypes.dlsym(_program, "memchr")
    # The state of a process in multiprocessing and threading: looking up an attribute of a module costs
    # a task several pages, an entry of a dictionary none.
    _process = process.__dict__
    _flush = util._flush_std_streams  # type: ignore[attr-defined]
    _finalizers = util._finalizer_registry  # type: ignore[attr-defined]
    _after_forkers = util._afterfork_registry.data  # type: ignore[attr-defined]
    _main_thread = threading.main_thread().__dict__
    _threads, _limbo = threading._active, threading._limbo  # type: ignore[attr-defined]
    _threading_atexits = threading._threading_atexits  # type: ignore[attr-defined]
    _environ = os.environb._data  # type: ignore[attr-defined]
    # A task replaces it; keeping it costs a task less than freeing its memory, page by page.
    _replaced = process._current_process  # type: ignore[attr-defined]
else:
    import contextlib
    import ctypes

    _libc: Any = ctypes.CDLL(None)
    _fflush, _prctl, _unshare = _libc.fflush, getattr(_libc, "prctl", None), None
    _setrlimit = _libc.setrlimit if _is_64_bit_linux else None
    _getrlimit = _libc.getrlimit if _is_64_bit_linux else None
    _mmap, _memset, _memchr = _libc.mmap, _libc.memset, _libc.memchr

    def call_function(function: int, arguments: tuple[Any, ...], /) -> Any:
        """Call a C function, as the one in `_ctypes` does."""
        return function(*arguments)  # type: ignore[operator]  # an address in `_ctypes`

    def _flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            # A task may have closed it, or put something else there.
            with contextlib.suppress(AttributeError, ValueError):
                stream.flush()


def _find_close_range() -> Any:
    try:
        return _ctypes.dlsym(_program, "close_range") if IS_TRIED else _libc.close_range
    except (OSError, AttributeError):
        # This Python was built for an older C library than the one that is here, or the library has none.
        return None


# close_range(2), since Linux 5.11.
_close_range = _find_close_range()


def close_on_exec(first: int) -> bool:
    """Have an exec close all descriptors from this number on; whether the system can do that in one call."""
    # -1 is the highest number that there can be.
    return bool(_close_range) and call_function(_close_range, (first, -1, CLOSE_RANGE_CLOEXEC)) == 0


def _inherited_tag() -> int:
    """The tag of the run in whose processes this one is, without a pid; TAG if there is none."""
    # Nothing else refers to this object, which the call fills.
    limit = bytes(16)
    if not _getrlimit or call_function(_getrlimit, (RLIMIT_RTTIME, limit)) != 0:
        return TAG
    found = int.from_bytes(limit[:8], _byte_order)
    return found >> PID_BITS << PID_BITS if TAG <= found < 2 * TAG else TAG


# That of what this process starts.
run_tag = _inherited_tag()


def tag_run(tag: int) -> None:
    """Tag all that this process will start as of a run; `tag` is as `mprun.linux.run_tags` makes it."""
    global run_tag
    if _setrlimit and call_function(_setrlimit, (RLIMIT_RTTIME, _as_limit(tag))) == 0:
        run_tag = tag


def _as_limit(tag: int) -> bytes:
    return tag.to_bytes(8, _byte_order) + _UNLIMITED


def own_descendants() -> None:
    """Tag all that this process will start as its own; its orphans go to the launcher, which reaps them.

    If that is refused, they become children of this process, and at its end the launcher's.
    """
    tag = _as_limit(run_tag | getpid())
    if _prctl and (not _setrlimit or call_function(_setrlimit, (RLIMIT_RTTIME, tag)) != 0):
        call_function(_prctl, (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def can_tag(limit: int) -> bool:
    """Whether the tasks of this process can tag what they start; `limit` is its own, which it keeps."""
    own = limit.to_bytes(8, _byte_order, signed=True) + _UNLIMITED
    return bool(_setrlimit) and call_function(_setrlimit, (RLIMIT_RTTIME, own)) == 0


def map_marks(file: int = -1) -> None:
    """Map the end marks: those in a file in memory, else new ones, which forks share."""
    global marks
    flags = MAP_SHARED | MAP_FIXED_NOREPLACE | (MAP_ANONYMOUS if file < 0 else 0)
    for address in MARK_ADDRESSES if sys.platform == "linux" else ():
        if call_function(_mmap, (address, 2 * MARKS, PROT_READ_WRITE, flags, file, 0)) == address:
            marks = address
            return


def map_inherited_marks(file: Any) -> None:
    """Map the end marks in a process that the launcher has not forked; `file` holds their descriptor."""
    descriptor = file.detach()
    map_marks(descriptor)
    close(descriptor)


def mark_end(key: tuple[int, int], where: int = 0) -> None:
    """Mark that this process has come to its end, or with `MARKS` that its target has returned.

    An exit code of 0 alone does not show that: a task may call `os._exit`, or become another program.
    Each of MARK_VALUES attempts of a task has another mark, and then the launcher erases it.
    """
    if marks and not key[0] >> MARK_BITS:
        call_function(_memset, (marks + where + key[0], key[1] % MARK_VALUES + 1, 1))


def is_marked(key: tuple[int, int], where: int = 0) -> bool:
    """Whether the process of this attempt has made the mark that `mark_end` makes, or cannot make marks."""
    if not marks or key[0] >> MARK_BITS:
        return True
    # memchr(3): the address of the mark, or NULL.
    return bool(call_function(_memchr, (marks + where + key[0], key[1] % MARK_VALUES + 1, 1)))


def erase_marks(key: tuple[int, int]) -> None:
    """Erase what the attempts of a task have marked: the next ones would make the same marks again."""
    if marks and not key[0] >> MARK_BITS:
        for where in (0, MARKS):
            call_function(_memset, (marks + where + key[0], 0, 1))


def import_module(name: str) -> None:
    """Import a module. Raises what the import raises; a child that the module forks ends with the import."""
    own = getpid()
    try:
        __import__(name)
    finally:
        if getpid() != own:
            end_fork(sys.exc_info()[1])


def set_import_path(path: list[str]) -> None:
    """Set the import path of the job, in a process that the launcher has not forked."""
    global _path
    sys.path[:] = path
    _path = [*path]


def import_standard(name: str) -> None:
    """Import a module of Python's or mprun's own, of which the job may have a file of the same name."""
    if name not in sys.modules:
        before = [*sys.path]
        sys.path[:] = [path for path in before if path.startswith(_LIBRARY)]
        is_lazy = set_lazy_filter(is_never_needed)
        try:
            _import(name)
        except Exception:
            # A task may have made that impossible: who needs it finds out.
            return
        finally:
            sys.path[:] = before
            set_lazy_filter(is_lazy)


def is_never_needed(importing: str, name: str, names: object) -> bool:
    """Whether a lazy import (Python 3.15) need not be done at once: only annotations use it."""
    return name == "typing"


def set_lazy_filter(is_lazy: Any) -> Any:
    """Set which lazy imports are lazy (sys.set_lazy_imports_filter); the filter from before.

    What Python's own modules import only once they use it would be found in the job's directories then.
    """
    if _set_lazy_filter is None:
        return None
    before = sys.get_lazy_imports_filter()  # type: ignore[attr-defined]  # since Python 3.15
    _set_lazy_filter(is_lazy)
    return before


def resolve(target: str) -> Any:
    """Import the module of `package.module:callable`; the object at the path behind the colon.

    Raises what the import raises, and AttributeError if there is no such object.
    """
    module, _, path = target.partition(":")
    import_module(module)
    found: Any = sys.modules[module]
    for name in path.split("."):
        found = getattr(found, name)
    return found


def share_with_forks(child: Process, sentinel: int | None) -> None:
    """Set the state of multiprocessing to that of a child, which has a parent and no children."""
    _process["_process_counter"] = itertools.count(1)
    _process["_children"] = set()
    _process["_parent_process"] = process._ParentProcess(  # type: ignore[attr-defined]
        child._parent_name,  # type: ignore[attr-defined]
        child._parent_pid,  # type: ignore[attr-defined]
        sentinel,
    )


# The memory that putenv(3) makes part of C's environment. `os.putenv` calls setenv(3) instead, which
# copies its arguments, and keeps all that it has ever copied.
_in_environment: list[bytes] = []
# After so many calls Python has replaced the instructions of a function by faster ones.
WARM_UP_CALLS = 32
# How the files of a run are opened. A task may have put a link or a FIFO in their place: it is not followed,
# and no process waits until another one opens it, too.
AS_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
# The log of an attempt is new: nothing is opened that is there already.
_NEW_LOG = APPEND | os.O_EXCL | AS_FILE
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# The directory of the result files: its path, device and inode, as `open_folder` takes them.
results = "/", 0, 0
# The open directory of the logs, which the process of an attempt closes once it has opened its log.
logs = -1


def open_folder(path: str, device: int, inode: int) -> int:
    """Open a directory of the run. Raises OSError if a task has put another one or a link in its place.

    `device` and `inode` are those of the directory that the engine holds open, `inode` 0 if they change.
    """
    folder = open_file(path, _FOLDER)
    found = os.fstat(folder)
    if inode and (found.st_dev, found.st_ino) != (device, inode):
        close(folder)
        raise FileNotFoundError(2, "the directory of the run was replaced", path)
    return folder


def hold_folders(folders: tuple[tuple[str, int, int], ...]) -> None:
    """Hold the logs open, and know the results, before the first module is imported. Raises OSError."""
    global logs, results
    logs, results = open_folder(*folders[0]), folders[1]


def hold_inherited_folders(of_logs: Any, of_results: tuple[str, int, int]) -> None:
    """The same in a process that the launcher has not forked; `of_logs` holds the descriptor."""
    global logs, results
    logs, results = of_logs.detach(), of_results


def open_results() -> int:
    """Open the directory of the result files. Raises OSError."""
    return open_folder(*results)


class Process(multiprocessing.Process):
    """The process of one attempt; a task sees itself as `<Process name=...>`.

    `default` is the start method of the job, `method` that of the process. `request` has the
    fields of `mprun.launcher.channel.PROCESS_REQUEST`. A launcher has one object for all its
    forks, each of which gets a copy: it sets `request` before each fork.
    """

    # For a process that is not a fork of the launcher: what its messages must not contain.
    secrets: tuple[str, ...] = ()
    # For such a process, too: what maps the end marks there.
    inherited_marks: object = None
    # And what makes the directories of the run known there.
    inherited_folders: object = None
    # And, for a new Python, what sets the import path of the job.
    inherited_path: object = None

    def __init__(self, default: str, method: str, request: tuple[Any, ...] = ()) -> None:
        super().__init__()
        # The names of the children that a task starts are numbered from 1.
        _process["_process_counter"] = itertools.count(1)
        self.method = method
        if method != default:
            # Processes that the task starts use the same method.
            self._start_method = method
        self.request = request
        self._threads = 1
        if request:
            _, name, position, daemon, *_ = request
            self._become(name, position, daemon)

    def _become(self, name: str, position: int, daemon: bool) -> None:
        # As if the tasks were the main process's only children, created in the order of the file.
        self._name, self._identity = name, (position,)
        self._config["daemon"] = daemon  # type: ignore[attr-defined]

    # In one piece it costs half as many copied pages as in several: the figures are below.
    def _bootstrap(self, parent_sentinel: int | None = None, barrier: int = -1) -> int:  # noqa: C901
        """Run the process from its first step to its last; its exit code.

        It does what multiprocessing's own `_bootstrap` does, but in one function: it starts a
        session, binds itself to its parent, opens the log, runs the target, and cleans up. A forked
        task pays for everything that it touches first with the copy of a page of memory: for each
        function, and for each attribute of a module. Split into functions, this copies 240
        pages, half the cost of a short task; as one function it copies 120
        (`python benchmarks/fork_cost.py`). `barrier` is an eventfd on which the process waits before
        it begins the attempt.
        """
        given = self.request
        # fmt: off
        (key, name, position, daemon, start_method, target, _, _, _, _,
         log, _, env, _, stacks, _, capture, _, parent, _) = given
        # fmt: on
        code, own = 0, getpid()
        try:
            setsid()
            if _prctl:
                call_function(_prctl, (PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
                # What `own_descendants` does, without the pages of a call.
                tag = (run_tag | own).to_bytes(8, _byte_order) + _UNLIMITED
                if not _setrlimit or call_function(_setrlimit, (RLIMIT_RTTIME, tag)) != 0:
                    call_function(_prctl, (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
            if getppid() != parent:
                # The parent had died before the signal for its death was set.
                os._exit(1)
            if barrier >= 0:
                read(barrier, 8)
                close(barrier)
            # Last in the request: the descriptor that the launcher has opened for it, or -1.
            if (output := given[-1]) < 0:
                # In Python this costs six pages more.
                output = call_function(_openat, (logs, log.encode(), _NEW_LOG, 0o600)) if _openat else -1
                if output < 0:
                    from mprun.launcher.own_files import open_own

                    # Or this raises the reason.
                    output = open_own(logs, log, APPEND)
                close(logs)
            dup2(output, 1)
            dup2(output, 2)
            close(output)
            if self._start_method is not None:
                context._force_start_method(self._start_method)
            if start_method == "fork":
                self._become(name, position, daemon)
                _process["_current_process"] = self
                _main_thread["_native_id"] = get_native_id()
            else:
                self._enter(parent_sentinel)
            if _finalizers:
                _finalizers.clear()
            if _after_forkers:
                util._run_after_forkers()  # type: ignore[attr-defined]
            if _prctl and target is not None:
                # What `ps -o comm`, `top` and `pgrep` show; the kernel keeps 15 bytes of it.
                call_function(_prctl, (PR_SET_NAME, b"mprun: " + name.encode(), 0, 0, 0))
            if start_method != "spawn":
                # A spawned process has them from its start.
                for variable, text in ((b"MPRUN_TASK", name), (b"MPRUN_ATTEMPT", str(key[1]))):
                    _environ[variable] = value = text.encode()
                    _in_environment.append(variable + b"=" + value)
                    call_function(_putenv, (_in_environment[-1],))
            if env:
                set_variables(env)
            if stacks:
                dump_stacks_into_memory()
            self.run()
        except SystemExit as end:
            code = int(end.code or 0)  # `run` raises it with an int
        except OSError as error:
            code = self._refuse_without_log(error)
        except BaseException:
            # This needs no module, of which none may be there to import.
            sys.__excepthook__(*sys.exc_info())
            code = 1
        finally:
            # Wait for threads, then run the exit handlers.
            if len(_threads) > 1 or _limbo or _ncallbacks() or _threading_atexits:
                if code == 0:
                    mark_end(key, MARKS)
                threading._shutdown()  # type: ignore[attr-defined]
                end_forks_with_their_handler(sys._getframe())
                # Also in a spawned process, where Python would run them so late that it refuses to fork.
                _run_exitfuncs()
            # multiprocessing's exit handlers come last: for children, queues, managers.
            if start_method != "spawn" and (_finalizers or _process["_children"]):
                util._exit_function()  # type: ignore[attr-defined]
            if getpid() != own:
                # An exit handler of multiprocessing has forked.
                end_fork(None)
            _flush()
            # The process may end by os._exit, which does not flush C's buffers.
            call_function(_fflush, (None,))
        if capture and target is not None:
            # Last of all: threads and exit handlers import, too.
            self._report("write_modules")
        if start_method == "forkserver":
            # The launcher does not reap it, so it reports itself what it has used.
            self._report("write_usage", self._threads)
        if code == 0 and marks and not key[0] >> MARK_BITS:
            # What `mark_end` does, without the pages of a call.
            call_function(_memset, (marks + key[0], key[1] % MARK_VALUES + 1, 1))
        if start_method == "fork":
            # For `os._exit`, each fork would look it up in the C library, and copy ten pages for that.
            call_function(_exit, (code,))
        return code

    def warm_up(self) -> None:
        """Use in the launcher what each fork will use: what Python has not cached costs a fork pages."""
        _ = self._bootstrap, self.run, self.request, self._start_method, self._threads
        for _ in range(WARM_UP_CALLS):
            self._become("", 1, False)
        # So that each fork only replaces the values.
        os.environb.update({b"MPRUN_TASK": b"", b"MPRUN_ATTEMPT": b""})
        # The launcher exits without running exit handlers.
        _clear()
        thread_count()
        _flush()

    def _enter(self, parent_sentinel: int | None) -> None:
        """Set up what a fork already has from the launcher: see `multiprocessing.current_process`."""
        if self.method == "forkserver":
            # As multiprocessing does from Python 3.13 on: the task runs only the exit handlers that
            # it registers itself, not those of the fork server.
            _clear()
        _process["_current_process"] = self
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
        share_with_forks(self, parent_sentinel)
        open_output()
        flush_before_forks()
        dump_stacks_into_memory(SHARED_STACKS_NAME)

    def run(self) -> None:
        """Call the target, write its result or its error to a file, and exit with its code.

        Or execute the command, of which there is only the exit code.
        """
        given, own = self.request, getpid()
        # fmt: off
        (_, _, _, _, start_method, target, command, limits, args, kwargs,
         _, _, _, cwd, _, _, _, function, _, _) = given
        # fmt: on
        soft_limits = self._limit_or_become() if limits or command else None
        if cwd is not None:
            self._change_directory(cwd)
        try:
            try:
                if function is None:
                    function = resolve(target)
                result = function(*args, **kwargs)
                _flush()  # its errors are the task's
            finally:
                if getpid() != own:
                    end_fork(sys.exc_info()[1])
                # First of all: writing the result may need memory or files that the task has used up.
                if soft_limits is not None:
                    soft_limits.lift()
        except SystemExit as error:
            raise SystemExit(self._exit_code(error.code)) from None
        except BaseException as error:
            self._report_error(error)
            raise SystemExit(1) from None
        finally:
            self._threads = thread_count()
            if self._threads > 1 and start_method != "forkserver":
                self._report("write_threads", self._threads)
        if result is not None and (unfinished := self._report("write_result", result, what="the result")):
            if unfinished is LOST:
                raise SystemExit(1)
            from mprun.launcher.start_error import StartError

            name = target.partition(":")[2]
            self._exit_unstarted(StartError(f"`{name}` returned {unfinished.format(name)}"))

    def _report_error(self, error: BaseException) -> None:
        """Print what the target raised, and write it to a file."""
        trace = user_trace(error)
        # With what `traceback` and `linecache` import when they show a line.
        for name in ("traceback", "ast", "tokenize"):
            import_standard(name)
        said = self._report("print_error", error, trace)
        if said is LOST:
            # It needs no module.
            sys.__excepthook__(type(error), error.with_traceback(trace), trace)
        else:
            self._report("write_error", error, *said, what="the error")

    def _report(self, writer: str, *details: object, what: str = "") -> Any:
        """Call a `writer` of `result_files`, by name; what it returns, or LOST if that is not possible.

        A task may have changed its user or its root, used up its descriptors, or made modules
        impossible to import. If even then nothing can be written, the log says so of `what`.
        """
        try:
            return _writer(writer)((open_results, self.request[RESULT]), *details)
        except Exception:
            restore_means()
        try:
            return _writer(writer)((open_results, self.request[RESULT]), *details)
        except Exception as error:
            if what:
                say(f"mprun: {what} cannot be recorded: {type(error).__name__}: {error}\n")
            return LOST

    def _limit_or_become(self) -> SoftLimits:
        """Set the limits, or execute the command; if that is impossible, exit without running the task."""
        if self.request[COMMAND] is not None:
            # One import in place of several, of which each costs a fork pages.
            from mprun.launcher.exec_command import become

            self._exit_unstarted(become(self.request, close_on_exec))
        # Not at the top: only tasks that have limits need them, and forks have them already.
        import_standard("resource")
        from mprun.launcher.channel import LIMITS, POSITION
        from mprun.launcher.rlimits import impose
        from mprun.launcher.start_error import StartError

        try:
            return impose(self.request[LIMITS] or {}, self.request[POSITION], with_margin=True)
        except StartError as error:
            self._exit_unstarted(error)

    def _change_directory(self, path: str) -> None:
        """Change to the directory of the task; if that is impossible, exit without running it."""
        try:
            os.chdir(path)
        except OSError as error:
            from mprun.launcher import start_error

            if self.secrets:
                start_error.hide(self.secrets)
            self._exit_unstarted(start_error.StartError(f"cd: {path}: {error.strerror}", 1, error))

    def _exit_unstarted(self, error: StartError) -> NoReturn:
        """Exit; the log and a result file say why the task was not run."""
        say(f"mprun: {error}\n")
        self._report("write_start_error", error)
        raise SystemExit(error.exit_code)

    def _refuse_without_log(self, error: OSError) -> int:
        """Say why the task is not run, in the log of the main process and in a result file; its exit code."""
        reason = f"its log cannot be created: {error.strerror}"
        say(f"mprun: {self.request[1]}: {reason}\n")
        try:
            from mprun.launcher.start_error import StartError

            self._report("write_start_error", StartError(reason, 1, error))
        except ImportError:
            # Its exit code shows that it has failed.
            return 1
        return 1

    def _exit_code(self, code: object) -> int:
        """The exit code that the kernel shows for `sys.exit(code)`; 1 if it would turn the value into 0."""
        if code is None or (isinstance(code, int) and code == 0):
            return 0
        self._report("write_exit_code", code)
        if isinstance(code, int):
            return code & 0xFF or int(code != 0)
        sys.stderr.write(f"{code}\n")
        return 1


def _writer(name: str) -> Any:
    """A function of `result_files`, for the frame itself to call: JSON from deeper may be nested less."""
    module = sys.modules.get("mprun.launcher.result_files")
    if module is None:
        # A spawned process imports it here, if it has anything to write; a fork has it already.
        import_standard("mprun.launcher.result_files")
        from mprun.launcher import result_files as module
    return getattr(module, name)


def say(text: str) -> None:
    """Write a message to the log, whatever a module has made of `sys.stderr`."""
    # The log's disk may be full, or a tight limit be reached.
    try:  # noqa: SIM105
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def restore_means() -> None:
    """Make imports and new files possible again at the end of a task, as far as that can be done."""
    builtins.__import__ = _import
    sys.meta_path[:], sys.path_hooks[:] = _finders, _path_hooks
    sys.path += [path for path in _path if path not in sys.path]
    resource = sys.modules.get("resource")
    try:
        if resource is not None:
            # Only a task that has imported it can have lowered the limit.
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        # Standard input is empty, so its descriptor is the one that is missed least.
        close(0)
    except (OSError, ValueError):
        pass


def set_variables(env: dict[str, str]) -> None:
    """Set the variables that a job or a task sets, in UTF-8 in any locale; those that mprun sets win."""
    os.environb.update(
        {name.encode(): text.encode() for name, text in env.items() if name not in OUR_VARIABLES}
    )
    if "TZ" in env:
        # As if the process had been started with it.
        import time

        time.tzset()


def end_fork(raised: BaseException | None) -> NoReturn:
    """End a child that a task or a module has forked, and that came back from it instead of ending itself.

    It ends with its own exit code, as under plain Python. Only the attempt's own process writes its result
    and runs its exit handlers.
    """
    code: object = None
    try:
        if isinstance(raised, SystemExit):
            code = raised.code
            if code is not None and not isinstance(code, int):
                sys.stderr.write(f"{code}\n")
                code = 1
        elif raised is not None:
            code = 1
            trace = user_trace(raised)
            sys.excepthook(type(raised), raised.with_traceback(trace), trace)
        threading._shutdown()  # type: ignore[attr-defined]
        flush_output()
    finally:
        os._exit(code & 0xFF if isinstance(code, int) else 0)


def thread_count() -> int:
    """How many threads this process has, including those that Python does not know."""
    # unshare(2): EINVAL if there are others, else it does nothing, in a twentieth of the time.
    if _unshare and call_function(_unshare, (CLONE_THREAD,)) == 0:
        return 1
    try:
        # proc(5): it has a directory for each thread, and each counts as a link, like . and ..
        return stat("/proc/self/task").st_nlink - 2
    except OSError:
        return 1


def user_trace(raised: BaseException) -> TracebackType | None:
    """The traceback of an exception from the frame that mprun called on."""
    trace = raised.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def end_forks_with_their_handler(caller: FrameType) -> None:
    """Have a child that an exit handler forks end where this handler ends: it would run the others, too.

    `caller` is the frame that calls the exit handlers. Nothing else shows their end: `atexit` calls them
    from C, and from Python 3.14 on it calls a copy of its list.
    """

    def watch() -> None:
        def see(frame: FrameType, event: str, argument: object) -> None:
            if event == "return" and frame.f_back is caller:
                end_fork(None)

        sys.setprofile(see)

    os.register_at_fork(after_in_child=watch)


# The pid of a launcher that has flushed for the last time. It prints nothing any more, and to flush before
# each fork would have the fork copy the memory of its streams.
has_flushed: int | None = None


def flush_before_forks() -> None:
    """Flush before each fork of this process, so that its child has nothing of it to flush once more.

    This holds for the forks of its forks, too.
    """
    os.register_at_fork(before=_flush_before_fork)


def _flush_before_fork() -> None:
    if getpid() != has_flushed:
        flush_output()


def flush_output() -> None:
    """Write what Python and C have buffered."""
    _flush()
    flush_c_output()


def flush_c_output() -> None:
    """Write what C has buffered: a process that leaves by os._exit would lose it."""
    call_function(_fflush, (None,))


def open_output() -> None:
    """Make Python's standard streams UTF-8 and line-buffered, in any locale."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if not hasattr(stream, "reconfigure"):
            continue
        if isinstance(getattr(stream, "buffer", None), FileIO):
            # PYTHONUNBUFFERED gives it no buffer: `print` would write the line and its end apart, and lose
            # what a full disk does not take, without an error.
            stream = TextIOWrapper(BufferedWriter(stream.detach()))
            stream.mode = "w"
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        stream.reconfigure(
            encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False
        )


def dump_stacks_on_request(file: int) -> None:
    """On SIGUSR2, write the stack of every thread to a descriptor, even if one hangs in C code."""
    import faulthandler

    faulthandler.register(signal.SIGUSR2, file=file, all_threads=True)


def create_memory_file(name: str) -> int:
    """Create a file in memory; its descriptor, which no other program inherits. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    if not IS_TRIED:
        raise OSError
    # This Python was built for an older C library than the one that is here.
    file = call_function(_ctypes.dlsym(_program, "memfd_create"), (name.encode(), MFD_CLOEXEC))
    if file < 0:
        raise OSError
    return int(file)


def dump_stacks_into_memory(name: str = STACKS_NAME) -> None:
    """On SIGUSR2, write the stacks into a file in memory, in which the launcher or the engine finds them."""
    # Not contextlib, which a spawned task does not need. Without a free descriptor there is no dump.
    try:  # noqa: SIM105
        dump_stacks_on_request(create_memory_file(name))
    except OSError:
        pass
