"""What runs inside a task's process: the target, between its log file and its exit status.

A spawned child imports this module and nothing else of mprun's, so it imports little:
what only some tasks need is imported where they need it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading

# What a task's process calls on its way by names of this module: see `Process._bootstrap`.
from _thread import get_native_id
from multiprocessing import context, process, util
from os import close, dup2, getppid, read, setsid, stat
from os import open as open_file

# As in `typing`, which takes longer to import than all else that a task's process needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from mprun.launcher.rlimits import Held
    from mprun.launcher.start_error import StartError

# prctl(2), from <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIGKILL = 9
# unshare(2), from <linux/sched.h>.
CLONE_THREAD = 0x10000

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
    import ctypes

    _libc: Any = ctypes.CDLL(None)
    _fflush, _prctl, _unshare = _libc.fflush, getattr(_libc, "prctl", None), None

    def call_function(function: int, arguments: tuple[Any, ...], /) -> Any:
        """Call a function of C, as the one in `_ctypes` does."""
        return function(*arguments)  # type: ignore[operator]  # an address in `_ctypes`

    def _flush() -> None:
        sys.stdout.flush()
        sys.stderr.flush()


def resolve(target: str) -> Any:
    """The object at the import path `package.module:callable`; the module is imported.

    Raises whatever the import raises, AttributeError where the path behind the colon
    leads nowhere.
    """
    module, _, path = target.partition(":")
    __import__(module)
    found: Any = sys.modules[module]
    for name in path.split("."):
        found = getattr(found, name)
    return found


def share_with_forks(child: Process, sentinel: int | None) -> None:
    """Be for multiprocessing what a child of this parent is: one that has no children itself."""
    _process["_process_counter"] = itertools.count(1)
    _process["_children"] = set()
    _process["_parent_process"] = process._ParentProcess(  # type: ignore[attr-defined]
        child._parent_name,  # type: ignore[attr-defined]
        child._parent_pid,  # type: ignore[attr-defined]
        sentinel,
    )


def set_process_control(option: int, value: int) -> None:
    """prctl(2) with one argument; nothing where the platform has no prctl."""
    if _prctl:
        call_function(_prctl, (option, value, 0, 0, 0))


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends (Linux); end now where it already has."""
    set_process_control(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


# The memory that putenv(3) makes part of C's environment; setenv(3), which `os.putenv` calls, makes
# copies, and keeps what it has ever copied in a tree.
_in_environment: list[bytes] = []
# How often Python runs a piece of code before it has replaced its instructions by faster ones.
WARM = 32
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Process(multiprocessing.Process):
    """The process of one attempt, named so that a task sees itself as `<Process …>`.

    `default` is the start method of the job, `method` that of the process. `request` has the
    fields of `mprun.launcher.channel.PROCESS_REQUEST`. A launcher has one object for all its
    forks, each of which gets a copy: it sets `request` before each fork.
    """

    def __init__(self, default: str, method: str, request: tuple[Any, ...] = ()) -> None:
        super().__init__()
        # The count starts with the children of this process.
        _process["_process_counter"] = itertools.count(1)
        self.method = method
        if method != default:
            # What the task itself starts is to be started the same way.
            self._start_method = method
        self.request = request
        self._threads = 1
        if request:
            _, name, position, daemon, *_ = request
            self._become(name, position, daemon)

    def _become(self, name: str, position: int, daemon: bool) -> None:
        # As if the tasks were the main process's only children, made in the file's order.
        self._name, self._identity = name, (position,)
        self._config["daemon"] = daemon  # type: ignore[attr-defined]

    # In one piece it costs half as many copied pages as in several: the figures are below.
    def _bootstrap(self, parent_sentinel: int | None = None, gate: int = -1) -> int:  # noqa: C901
        """Everything that happens in the process; its exit code.

        What multiprocessing's own does, with its functions where there is something for them
        to do, but in one piece: a session of its own, bound to the parent, with the log as
        output; then the target; then what is left to do at the end. A forked task pays for
        all that it touches for the first time with the copy of a page: of each function, of
        each attribute of a module that is looked up. In pieces, with each function called,
        it is 240 pages and half of what a short task costs, in one piece 120
        (`python benchmarks/fork_cost.py`). A `gate` is an eventfd on which it waits before
        it begins the attempt.
        """
        key, name, position, daemon, start_method, _, _, _, _, _, log, _, env, _, _, _, parent = self.request
        code = 0
        try:
            setsid()
            if _prctl:
                call_function(_prctl, (PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
                # What a task leaves behind comes to it, and at its end to the launcher.
                call_function(_prctl, (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
            if getppid() != parent:
                # It ended before its death could be told.
                os._exit(1)
            if gate >= 0:
                read(gate, 8)
                close(gate)
            output = open_file(log, _APPEND, 0o600)
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
            if start_method != "spawn":
                # A spawned one has it from its start.
                for variable, text in ((b"MPRUN_TASK", name), (b"MPRUN_ATTEMPT", str(key[1]))):
                    _environ[variable] = value = text.encode()
                    _in_environment.append(variable + b"=" + value)
                    call_function(_putenv, (_in_environment[-1],))
            if env:
                os.environb.update({key.encode(): value.encode() for key, value in env.items()})
            self.run()
        except SystemExit as end:
            code = int(end.code or 0)  # `run` raises it with a number
        except BaseException:
            # The log cannot be opened, or what came of the target cannot be written.
            import traceback

            traceback.print_exc()
            code = 1
        finally:
            # Threads to wait for, and what is to be done at the end.
            if len(_threads) > 1 or _limbo or _ncallbacks() or _threading_atexits:
                threading._shutdown()  # type: ignore[attr-defined]
                if start_method != "spawn":
                    _run_exitfuncs()
            # multiprocessing's own, which comes last: children, queues, managers.
            if start_method != "spawn" and (_finalizers or _process["_children"]):
                util._exit_function()  # type: ignore[attr-defined]
            _flush()
            # The process may leave by os._exit, which leaves C's buffers as they are.
            call_function(_fflush, (None,))
        if start_method == "forkserver":
            # Who reports its end does not wait for it.
            self._leave("usage", self._threads)
        return code

    def warm_up(self) -> None:
        """Look up in the launcher what each fork will: what Python has not in its caches costs pages."""
        _ = self._bootstrap, self.run, self.request, self._start_method, self._threads
        for _ in range(WARM):
            self._become("", 1, False)
        # Their places, which each fork then has only to fill.
        os.environb.update({b"MPRUN_TASK": b"", b"MPRUN_ATTEMPT": b""})
        # The launcher leaves without what it has registered.
        _clear()
        _thread_count()
        _flush()

    def _enter(self, parent_sentinel: int | None) -> None:
        """Be what multiprocessing.current_process() returns; the rest a fork has from the launcher."""
        if self.method == "forkserver":
            # As multiprocessing does from Python 3.13 on: the task runs at its end what it registers
            # itself, not what those who forked it had registered.
            _clear()
        _process["_current_process"] = self
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
        share_with_forks(self, parent_sentinel)
        open_output()
        dump_stacks_on_request()

    def run(self) -> None:
        """Call the target; leave its result or its error in a file, and its exit code.

        Or become the command, which leaves its exit code alone.
        """
        given = self.request
        _, _, _, _, start_method, target, command, limits, args, kwargs, _, _, _, cwd, _, function, _ = given
        held = self._limit_or_become() if limits or command else None
        try:
            try:
                if cwd is not None:
                    os.chdir(cwd)
                if function is None:
                    function = resolve(target)
                result = function(*args, **kwargs)
                _flush()  # what fails here is told
            finally:
                # First of all: what is to be written down now may need what the task used up.
                if held is not None:
                    held.lift()
        except SystemExit as error:
            raise SystemExit(self._exit_code(error.code)) from None
        except BaseException as error:
            self._leave("error", error)
            raise SystemExit(1) from None
        finally:
            self._threads = _thread_count()
            if self._threads > 1 and start_method != "forkserver":
                self._leave("threads", self._threads)
        if result is not None:
            self._leave("result", result)

    def _leave(self, kind: str, *what: object) -> None:
        """Have a file written, of the kind of a function of `result_files`, with what it is told."""
        # A spawned one imports it here, if it has anything to leave; a forked one has it.
        from mprun.launcher import result_files
        from mprun.launcher.channel import RESULT

        getattr(result_files, kind)(self.request[RESULT], *what)

    def _limit_or_become(self) -> Held:
        """Set the limits, or become the command; where that cannot be, end without running it."""
        # Imported by the tasks that have either; the launcher has these modules by now.
        from mprun.launcher.channel import COMMAND, CWD, LIMITS, POSITION
        from mprun.launcher.start_error import StartError

        limits, position = self.request[LIMITS], self.request[POSITION]
        try:
            if self.request[COMMAND] is not None:
                from mprun.launcher.exec_command import become

                become(self.request[COMMAND], self.request[CWD], limits, position)
            from mprun.launcher.rlimits import impose

            return impose(limits or {}, position, spare=True)
        except StartError as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: StartError) -> NoReturn:
        """Say in the log and in a file why nothing is run."""
        try:
            # Python's stream may be a module's by now.
            os.write(2, f"mprun: {refusal}\n".encode("utf-8", "backslashreplace"))
            self._leave("refusal", refusal)
        finally:
            # Also where a tight limit or a full disk prevents that.
            raise SystemExit(refusal.exit_code)

    def _exit_code(self, code: object) -> int:
        """What the kernel will show for `sys.exit(code)`; 1 where that would be a false 0."""
        if code is None or (isinstance(code, int) and code == 0):
            return 0
        self._leave("exit_code", code)
        if isinstance(code, int):
            return code & 0xFF or int(code != 0)
        sys.stderr.write(f"{code}\n")
        return 1


def _thread_count() -> int:
    """How many threads this process has, those that Python does not know of included."""
    # unshare(2): EINVAL where there are others, nothing otherwise, and in a twentieth of the time.
    if _unshare and call_function(_unshare, (CLONE_THREAD,)) == 0:
        return 1
    try:
        # proc(5): a directory for each thread, and each counts as a link, as do . and ..
        return stat("/proc/self/task").st_nlink - 2
    except OSError:
        return 1


def flush_output() -> None:
    """Write out what Python and C have buffered, before a fork would copy it."""
    sys.stdout.flush()
    sys.stderr.flush()
    call_function(_fflush, (None,))


def open_output() -> None:
    """Make Python's standard streams UTF-8 and line-buffered, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def dump_stacks_on_request() -> None:
    """On SIGUSR2, write the stack of every thread to descriptor 2, also in a hang inside C."""
    import faulthandler

    faulthandler.register(signal.SIGUSR2, file=2, all_threads=True)
