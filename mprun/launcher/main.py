"""The entry point of the launcher, which imports multiprocessing without what few tasks need.

Each fork would copy it. `multiprocessing.reduction` imports pickle, socket, selectors, struct and
array, and `multiprocessing.util` all of subprocess for one function: together they are half of
what the launcher would hold beyond a bare Python, and a tenth of the cost of a short task. They are
imported when a task, or a module that it uses, uses them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import ModuleType

from mprun.lazy_import import install_lazy, uninstall
from mprun.linux import run_cgroup
from mprun.linux.prctl import die_with_parent, set_child_subreaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


# The newest Python whose multiprocessing was tried with lazy modules.
TRIED_PYTHON = (3, 15)


def launch(descriptor: int, parent: int = 0) -> NoReturn:
    """Run a launcher that serves this end of a socket pair; does not return.

    It dies with the process `parent`, a pid, until it prepares the job.
    """
    code = 1
    try:
        if parent:
            # While the launcher imports, it has no tasks to kill first, and does not read its socket.
            die_with_parent(parent)
        # The engine takes longer until it has a job to prepare.
        run_cgroup.make_and_enter()
        if sys.version_info[:2] <= TRIED_PYTHON:
            import_multiprocessing()
            from _socket import socket
        else:
            from socket import socket  # type: ignore[assignment]
        from mprun.launcher import auxiliary, fork, worker
        from mprun.launcher.launcher import Launcher

        os.setsid()
        set_child_subreaper(True)
        _reset_signals()
        worker.dump_stacks_into_memory(worker.SHARED_STACKS_NAME)
        sys.modules["__main__"] = ModuleType("__main__")
        _empty_standard_input()
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  it stays open
        fork.open_launcher_pidfd()
        os.set_inheritable(descriptor, False)
        fork.keep_descriptors_private()
        worker.flush_before_forks()
        Launcher(socket(fileno=descriptor)).serve()
        auxiliary.remove_files()
        code = 0
    except Exception:
        # A bug in mprun; it belongs into the log of the main process.
        from mprun.launcher.targets import without_job_path

        with without_job_path():
            import traceback

            traceback.print_exc()
    finally:
        os._exit(code)


def kill_unused(launcher: int) -> None:
    """Kill a launcher that was forked for a run that did not start, if it is not reaped, and reap it."""
    with contextlib.suppress(ChildProcessError):
        if os.waitid(os.P_PID, launcher, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            os.kill(launcher, signal.SIGKILL)
        from mprun.linux.cgroup_end import end_unused

        end_unused(launcher)
        os.waitpid(launcher, 0)


def _empty_standard_input() -> None:
    try:
        null = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        os.write(2, f"error: cannot open {os.devnull}: {error.strerror}\n".encode())
        os._exit(1)
    os.dup2(null, 0)
    os.close(null)


def _reset_signals() -> None:
    """Reset signals that mprun handles, or that its parent has ignored or blocked: tasks inherit that."""
    # Except the two that Python itself ignores.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def import_multiprocessing() -> None:
    """Import multiprocessing and the parts of it that the launcher needs, and nothing else."""
    reduction = install_lazy("multiprocessing.reduction")
    install_lazy("subprocess", _args_from_interpreter_flags=_args_from_interpreter_flags)
    try:
        import multiprocessing.util
    finally:
        uninstall("subprocess")
    # The import of a submodule sets this attribute.
    multiprocessing.reduction = reduction


def _args_from_interpreter_flags() -> Any:
    """Import subprocess when `multiprocessing.util` calls its function of this name."""
    from mprun.launcher.targets import without_job_path

    with without_job_path():
        import subprocess

    # What is in the working directory must not be taken for Python's own while the new process starts; then
    # it gets the import path of the job.
    return ["-P", *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]
