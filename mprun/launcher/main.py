"""The way into the launcher, by which it imports multiprocessing without what only few tasks need.

Each fork would copy that. `multiprocessing.reduction` takes pickle, socket, selectors, struct and
array to import, and `multiprocessing.util` the whole of subprocess for one function: together half
of what the launcher would hold beyond a bare Python, and a tenth of what a short task costs. A task,
or a module of its, that makes use of them imports them then.
"""

from __future__ import annotations

import os
import signal
import sys
from types import ModuleType

from mprun.lazy_import import install_lazy, uninstall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


# The newest Python whose multiprocessing was tried with lazy modules.
TRIED_PYTHON = (3, 15)


def launch(descriptor: int) -> NoReturn:
    """Be a launcher on this end of a socket pair; does not return."""
    code = 1
    try:
        if sys.version_info[:2] <= TRIED_PYTHON:
            import_multiprocessing()
            from _socket import socket
        else:
            from socket import socket  # type: ignore[assignment]
        from mprun.launcher import auxiliary, fork, worker
        from mprun.launcher.launcher import Launcher

        os.setsid()
        worker.set_process_control(worker.PR_SET_CHILD_SUBREAPER, 1)
        _reset_signals()
        worker.dump_stacks_on_request()
        sys.modules["__main__"] = ModuleType("__main__")
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  for as long as we live
        fork.launcher_pidfd.append(os.pidfd_open(os.getpid()))
        os.set_inheritable(descriptor, False)
        fork.keep_descriptors_private()
        Launcher(socket(fileno=descriptor)).serve()
        auxiliary.remove_files()
        code = 0
    except Exception:
        # A defect of ours; it belongs with what the main process printed.
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _reset_signals() -> None:
    """Whoever started mprun may have had signals ignored or blocked; tasks inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The two that Python itself ignores stay so.
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def import_multiprocessing() -> None:
    """Import it, and what the launcher needs of it, as lean as can be."""
    reduction = install_lazy("multiprocessing.reduction")
    install_lazy("subprocess", _args_from_interpreter_flags=_args_from_interpreter_flags)
    try:
        import multiprocessing.util
    finally:
        uninstall("subprocess")
    # As the import of a module has it.
    multiprocessing.reduction = reduction


def _args_from_interpreter_flags() -> Any:
    """As subprocess has it."""
    import subprocess

    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
