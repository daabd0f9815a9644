"""What runs inside a task's process: the target, between its log file and its exit status.

A spawned child imports this module and nothing else of mprun's, so it imports little:
what only some tasks need is imported where they need it.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import context, process, util

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
# Called once here, so that a forked task finds the symbol resolved.
_libc.fflush(None)


class Assignment:
    """What a process is to do, and where it leaves what came of it.

    `call` is the target where the process that forks has resolved it, else None; with a
    `command` there is no target. `limits` are by name, as the job file has them.
    `result` is a path without its suffix: `.json`, `.repr`, `.error.json` and
    `.usage.json` are written beside it. `parent` is the pid that the process must find
    as its parent; `meter` asks for its own CPU time and memory, where nobody who
    reports waits for it.
    """

    __slots__ = (
        "args",
        "call",
        "command",
        "cwd",
        "env",
        "kwargs",
        "limits",
        "log",
        "meter",
        "parent",
        "result",
        "target",
    )

    def __init__(
        self,
        *,
        target: str | None,
        command: tuple[str, ...] | None,
        limits: dict[str, Any] | None,
        call: Callable[..., Any] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        log: str,
        result: str,
        env: dict[str, str],
        cwd: str | None,
        parent: int,
        meter: bool,
    ) -> None:
        self.target = target
        self.command = command
        self.limits = limits
        self.call = call
        self.args = args
        self.kwargs = kwargs
        self.log = log
        self.result = result
        self.env = env
        self.cwd = cwd
        self.parent = parent
        self.meter = meter


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


def set_process_control(option: int, value: int) -> None:
    """prctl(2) with one argument; nothing where the platform has no prctl."""
    if sys.platform == "linux":
        _libc.prctl(option, value, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends (Linux); end now where it already has."""
    set_process_control(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class Process(multiprocessing.Process):
    """The process of one attempt, named so that a task sees itself as `<Process …>`."""

    def __init__(
        self, name: str, position: int, daemon: bool, method: str, default: str, assignment: Assignment
    ) -> None:
        super().__init__(name=name, daemon=daemon)
        # As if the tasks were the main process's only children, made in the file's order.
        self._identity = (position,)
        self.method = method
        if method != default:
            # What the task itself starts is to be started the same way.
            self._start_method = method
        self.assignment = assignment
        self._threads = 1

    def start(self) -> None:
        """Start the process.

        multiprocessing's own `start` first polls every child that runs, which costs a
        system call each; here whoever started it waits for it.
        """
        self._popen: Any = self._Popen(self)
        self._sentinel = self._popen.sentinel

    @staticmethod
    def _Popen(task: Process) -> Any:  # type: ignore[override]
        if task.method == "fork":
            from mprun.popen import ForkPopen

            return ForkPopen(task)
        # It needs sockets, temporary files and more, which a launcher that forks must not hold.
        from mprun.popen_exec import POPENS

        return POPENS[task.method](task)

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        """Everything that happens in the process; its exit code.

        What multiprocessing's own does, in its order and with its functions, but without
        opening an empty standard input (it is empty already) and without its imports
        inside functions: what a forked child runs for the first time it pays for with
        copies of pages, here a twentieth of the time of a short task (`make bench`).
        """
        code = 0
        try:
            self._enter()
            self._become_current(parent_sentinel)
            self.run()
        except SystemExit as end:
            code = int(end.code or 0)  # `run` raises it with a number
        except BaseException:
            # The log cannot be opened, or what came of the target cannot be written.
            import traceback

            traceback.print_exc()
            code = 1
        finally:
            threading._shutdown()  # type: ignore[attr-defined]
            if self.method != "spawn":
                atexit._run_exitfuncs()
            util._flush_std_streams()  # type: ignore[attr-defined]
            # The process may leave by os._exit, which leaves C's buffers as they are.
            _libc.fflush(None)
        if self.assignment.meter:
            self._write("usage.json", _usage(self._threads))
        return code

    def _become_current(self, parent_sentinel: int | None) -> None:
        """Be what multiprocessing.current_process() returns, a child without children."""
        if self._start_method is not None:
            context._force_start_method(self._start_method)
        process._process_counter = itertools.count(1)  # type: ignore[attr-defined]
        process._children = set()  # type: ignore[attr-defined]
        process._current_process = self  # type: ignore[attr-defined]
        process._parent_process = process._ParentProcess(  # type: ignore[attr-defined]
            self._parent_name,  # type: ignore[attr-defined]
            self._parent_pid,  # type: ignore[attr-defined]
            parent_sentinel,
        )
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
        util._finalizer_registry.clear()  # type: ignore[attr-defined]
        util._run_after_forkers()  # type: ignore[attr-defined]

    def _enter(self) -> None:
        """Become a session of one's own, bound to the parent, with the log as output."""
        todo = self.assignment
        os.setsid()
        die_with_parent(todo.parent)
        # What a task leaves behind comes to it, and at its end to the launcher.
        set_process_control(PR_SET_CHILD_SUBREAPER, 1)
        log = os.open(todo.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        if todo.env:
            os.environb.update({key.encode(): value.encode() for key, value in todo.env.items()})
        if self.method != "spawn":
            # As multiprocessing does from Python 3.13 on: the task runs what it
            # registers itself, not what those who forked it had registered.
            atexit._clear()
            atexit.register(util._exit_function)  # type: ignore[attr-defined]
        if self.method != "fork":
            # A forked task has the launcher's streams and handlers, which are like this already.
            open_output()
            dump_stacks_on_request()

    def run(self) -> None:
        """Call the target; leave its result or its error in a file, and its exit code.

        Or become the command, which leaves its exit code alone.
        """
        todo = self.assignment
        held = self._limit_or_become() if todo.limits or todo.command else None
        try:
            try:
                if todo.cwd is not None:
                    os.chdir(todo.cwd)
                call = todo.call or resolve(todo.target)  # type: ignore[arg-type]  # no command: a target
                result = call(*todo.args, **todo.kwargs)
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
            if self._threads > 1 and not todo.meter:
                self._write("usage.json", {"threads": self._threads})
        if result is not None:
            self._write_result(result)

    def _limit_or_become(self) -> Held:
        """Set the limits, or become the command; where that cannot be, end without running it."""
        # Imported by the tasks that have either; the launcher has these modules by now.
        from mprun.refusal import Refusal

        todo, (position,) = self.assignment, self._identity
        try:
            if todo.command is not None:
                from mprun.command import become

                become(todo.command, todo.cwd, todo.limits, position)
            from mprun.limits import impose

            return impose(todo.limits or {}, position, spare=True)
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
        return os.stat("/proc/self/task").st_nlink - 2
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
