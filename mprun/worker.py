"""What runs inside a task's process: the target, between its log file and its exit status.

A spawned child imports this module and nothing else of mprun's, so it imports little:
what only some tasks need is imported where they need it.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import threading

# What a task's process calls on its way by names of this module: see `Process._bootstrap`.
from _thread import get_native_id
from atexit import _clear, _ncallbacks, _run_exitfuncs  # type: ignore[attr-defined]
from multiprocessing import context, process, util
from operator import itemgetter
from os import close, dup2, getppid, putenv, setsid, stat
from os import open as open_file

# As in `typing`, which takes longer to import than all else that a task's process needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from mprun.limits import Held
    from mprun.refusal import Refusal

# prctl(2), from <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIGKILL = 9

_libc = ctypes.CDLL(None)
_fflush = _libc.fflush
# Called once here, so that a forked task finds the symbol resolved.
_fflush(None)
_prctl: Callable[..., object] = _libc.prctl if sys.platform == "linux" else lambda *_: None


class Assignment(tuple):  # type: ignore[type-arg]  # of many types
    """What a process is to do, and where it leaves what came of it: a tuple, as it travels.

    `position` is the task's place in the file, from 1. With a `command` there is no
    `target`. `limits` are by name, as the job file has them. `result` is a path without its
    suffix: `.json`, `.repr`, `.error.json` and `.usage.json` are written beside it. `call` is
    the target where the process that forks has resolved it, else None. `parent` is the pid
    that the process must find as its parent.
    """

    __slots__ = ()

    name: str = property(itemgetter(0))  # type: ignore[assignment]
    position: int = property(itemgetter(1))  # type: ignore[assignment]
    attempt: int = property(itemgetter(2))  # type: ignore[assignment]
    daemon: bool = property(itemgetter(3))  # type: ignore[assignment]
    method: str = property(itemgetter(4))  # type: ignore[assignment]
    target: str | None = property(itemgetter(5))  # type: ignore[assignment]
    command: tuple[str, ...] | None = property(itemgetter(6))  # type: ignore[assignment]
    limits: dict[str, Any] | None = property(itemgetter(7))  # type: ignore[assignment]
    args: tuple[Any, ...] = property(itemgetter(8))  # type: ignore[assignment]
    kwargs: dict[str, Any] = property(itemgetter(9))  # type: ignore[assignment]
    log: str = property(itemgetter(10))  # type: ignore[assignment]
    result: str = property(itemgetter(11))  # type: ignore[assignment]
    env: dict[str, str] = property(itemgetter(12))  # type: ignore[assignment]
    cwd: str | None = property(itemgetter(13))  # type: ignore[assignment]
    call: Callable[..., Any] | None = property(itemgetter(14))  # type: ignore[assignment]
    parent: int = property(itemgetter(15))  # type: ignore[assignment]


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
    _finalizers.clear()
    util._run_after_forkers()  # type: ignore[attr-defined]


def set_process_control(option: int, value: int) -> None:
    """prctl(2) with one argument; nothing where the platform has no prctl."""
    _prctl(option, value, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends (Linux); end now where it already has."""
    set_process_control(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


# What multiprocessing and threading keep of a process, by whatever name they give it: the
# attribute of a module costs a task several pages, an entry of a dictionary none.
_process = process.__dict__
_finalizers = util._finalizer_registry  # type: ignore[attr-defined]
_after_forkers = util._afterfork_registry.data  # type: ignore[attr-defined]
_main_thread = threading.main_thread().__dict__
_threads, _limbo = threading._active, threading._limbo  # type: ignore[attr-defined]
_threading_atexits = threading._threading_atexits  # type: ignore[attr-defined]
_environ = os.environb._data  # type: ignore[attr-defined]
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Process(multiprocessing.Process):
    """The process of one attempt, named so that a task sees itself as `<Process …>`.

    `default` is the start method of the job, the assignment's that of the process. A
    launcher has one object for all its forks, each of which has a copy: it is given its
    `assignment` before each of them.
    """

    def __init__(self, default: str, method: str, assignment: Assignment | None = None) -> None:
        super().__init__()
        # The count starts with the children of this process.
        _process["_process_counter"] = itertools.count(1)
        self.method = method
        if method != default:
            # What the task itself starts is to be started the same way.
            self._start_method = method
        self.assignment: Assignment = assignment  # type: ignore[assignment]
        self._threads = 1
        if assignment is not None:
            self._become(assignment.name, assignment.position, assignment.daemon)

    def _become(self, name: str, position: int, daemon: bool) -> None:
        # As if the tasks were the main process's only children, made in the file's order.
        own = self.__dict__
        own["_name"], own["_identity"] = name, (position,)
        own["_config"]["daemon"] = daemon
        if "_start_method" in own:
            context._force_start_method(own["_start_method"])

    def start(self) -> None:
        """Start the process by a new Python or by the fork server.

        multiprocessing's own `start` first polls every child that runs, which costs a
        system call each; here whoever started it waits for it.
        """
        # It needs sockets, temporary files and more, which a launcher that forks must not hold.
        from mprun.popen_exec import POPENS

        self._popen: Any = POPENS[self.method](self)
        self._sentinel = self._popen.sentinel

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        """Everything that happens in the process; its exit code.

        What multiprocessing's own does, with its functions where there is something for them
        to do, but in one piece: a session of its own, bound to the parent, with the log as
        output; then the target; then what is left to do at the end. A forked task pays for
        all that it touches for the first time with the copy of a page: of each function, of
        each attribute of a module that is looked up. In pieces, with each function called,
        it is 240 pages and half of what a short task costs, in one piece 100.
        """
        name, position, attempt, daemon, method, _, _, _, _, _, log, _, env, _, _, parent = self.assignment
        code = 0
        try:
            setsid()
            _prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
            if getppid() != parent:
                os._exit(1)
            # What a task leaves behind comes to it, and at its end to the launcher.
            _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            output = open_file(log, _APPEND, 0o600)
            dup2(output, 1)
            dup2(output, 2)
            close(output)
            if method == "fork":
                self._become(name, position, daemon)
                _process["_current_process"] = self
                _main_thread["_native_id"] = get_native_id()
            else:
                self._enter(parent_sentinel)
            if method != "spawn":
                # As multiprocessing does from Python 3.13 on: the task runs what it
                # registers itself, not what those who forked it had registered.
                _clear()
                # A spawned one has it from its start.
                value = name.encode()
                putenv(b"MPRUN_TASK", value)
                _environ[b"MPRUN_TASK"] = value
                value = b"%d" % attempt
                putenv(b"MPRUN_ATTEMPT", value)
                _environ[b"MPRUN_ATTEMPT"] = value
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
                if method != "spawn":
                    _run_exitfuncs()
            # multiprocessing's own, which comes last: children, queues, managers.
            if method != "spawn" and (_finalizers or _process["_children"]):
                util._exit_function()  # type: ignore[attr-defined]
            util._flush_std_streams()  # type: ignore[attr-defined]
            # The process may leave by os._exit, which leaves C's buffers as they are.
            _fflush(None)
        if method == "forkserver":
            # Who reports its end does not wait for it.
            self._write("usage.json", _usage(self._threads))
        return code

    def _enter(self, parent_sentinel: int | None) -> None:
        """What a fork of the launcher has from the launcher: see `share_with_forks`."""
        if self._start_method is not None:
            context._force_start_method(self._start_method)
        _process["_current_process"] = self
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
        share_with_forks(self, parent_sentinel)
        open_output()
        dump_stacks_on_request()

    def run(self) -> None:
        """Call the target; leave its result or its error in a file, and its exit code.

        Or become the command, which leaves its exit code alone.
        """
        _, _, _, _, method, target, command, limits, args, kwargs, _, _, _, cwd, call, _ = self.assignment
        held = self._limit_or_become() if limits or command else None
        try:
            try:
                if cwd is not None:
                    os.chdir(cwd)
                if call is None:
                    call = resolve(target)
                result = call(*args, **kwargs)
                util._flush_std_streams()  # type: ignore[attr-defined]  # what fails here is told
            finally:
                # First of all: what is to be written down now may need what the task used up.
                if held is not None:
                    held.lift()
        except SystemExit as error:
            raise SystemExit(self._exit_code(error.code)) from None
        except BaseException as error:
            self._write_error(error)
            raise SystemExit(1) from None
        finally:
            self._threads = _thread_count()
            if self._threads > 1 and method != "forkserver":
                self._write("usage.json", {"threads": self._threads})
        if result is not None:
            self._write_result(result)

    def _limit_or_become(self) -> Held:
        """Set the limits, or become the command; where that cannot be, end without running it."""
        # Imported by the tasks that have either; the launcher has these modules by now.
        from mprun.refusal import Refusal

        todo = self.assignment
        try:
            if todo.command is not None:
                from mprun.command import become

                become(todo.command, todo.cwd, todo.limits, todo.position)
            from mprun.limits import impose

            return impose(todo.limits or {}, todo.position, spare=True)
        except Refusal as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> NoReturn:
        """Say in the log and in a file why nothing is run."""
        try:
            # Python's stream may be a module's by now.
            os.write(2, f"mprun: {refusal}\n".encode("utf-8", "backslashreplace"))
            self._write("error.json", _told(refusal.cause or refusal, str(refusal)))
        finally:
            # Also where a tight limit or a full disk prevents that.
            raise SystemExit(refusal.exit_code)

    def _exit_code(self, code: object) -> int:
        """What the kernel will show for `sys.exit(code)`; 1 where that would be a false 0."""
        if code is None or (isinstance(code, int) and code == 0):
            return 0
        self._write("error.json", _told(SystemExit(), str(code)))
        if isinstance(code, int):
            return code & 0xFF or int(code != 0)
        sys.stderr.write(f"{code}\n")
        return 1

    def _write_error(self, error: BaseException) -> None:
        import traceback

        # Without this module's own frame: it tells the user nothing.
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        text = "".join(traceback.format_exception(type(error), error, trace))
        lines = traceback.format_exception_only(type(error), error)
        message = "".join(lines).partition(": ")[2].strip()
        self._write("error.json", _told(error, message, text))
        try:
            sys.stderr.write(text)
        except Exception:
            # The task has put something else there, or nothing.
            os.write(2, text.encode("utf-8", "backslashreplace"))

    def _write_result(self, result: object) -> None:
        import json

        try:
            text, suffix = json.dumps(result, allow_nan=False), "json"
        except Exception:
            text, suffix = _safe_repr(result), "repr"
        _write_whole(f"{self.assignment.result}.{suffix}", text)

    def _write(self, suffix: str, value: dict[str, Any]) -> None:
        import json

        _write_whole(f"{self.assignment.result}.{suffix}", json.dumps(value))


def _thread_count() -> int:
    """How many threads this process has, those that Python does not know of included."""
    try:
        # proc(5): a directory for each thread, and each counts as a link, as do . and ..
        return stat("/proc/self/task").st_nlink - 2
    except OSError:
        return 1


def flush_output() -> None:
    """Write out what Python and C have buffered, before a fork would copy it."""
    sys.stdout.flush()
    sys.stderr.flush()
    _libc.fflush(None)


def open_output() -> None:
    """Make Python's standard streams UTF-8 and line-buffered, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _told(error: BaseException, message: str, traceback: str = "") -> dict[str, Any]:
    """What is kept of an exception; `bases` names its class and those above, with and without module."""
    kind, number = type(error), getattr(error, "errno", None)
    return {
        "type": kind.__qualname__,
        "message": message,
        "traceback": traceback,
        "bases": [
            name
            for base in kind.__mro__[:-1]
            for name in (base.__qualname__, f"{base.__module__}.{base.__qualname__}")
        ],
        # Whoever raises an OSError may have given it anything.
        "errno": number if isinstance(error, OSError) and isinstance(number, int) else None,
    }


def dump_stacks_on_request() -> None:
    """On SIGUSR2, write the stack of every thread to descriptor 2, also in a hang inside C."""
    import faulthandler

    faulthandler.register(signal.SIGUSR2, file=2, all_threads=True)


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__qualname__}, whose repr raised {type(error).__qualname__}>"


def _write_whole(path: str, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    unfinished = path + ".part"
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)
    if "MPRUN_FAILPOINTS" in os.environ:
        from mprun.failpoints import reached

        reached("worker.result")
    os.rename(unfinished, path)


def _usage(threads: int) -> dict[str, Any]:
    import resource

    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "threads": threads,
        "cpu": own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        "max_rss": max(own.ru_maxrss, children.ru_maxrss) * 1024,
    }
