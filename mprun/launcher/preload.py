"""Imports in the launcher, before it forks, what the processes of tasks need.

Each fork gets a copy, which costs a fraction of an import in the task's own process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

from mprun.launcher import auxiliary, environment, fork, targets, worker
from mprun.launcher.worker import Process, flush_output, open_output, set_variables, share_with_forks
from mprun.linux import run_cgroup, run_tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Preload:
    """The imported targets of a job, and multiprocessing's helpers for its start methods.

    `options` are those of the engine's request to prepare. `functions` has the callables by
    target, `threads` the modules whose import started a thread, `fork_server` a pid or 0, and
    `parents` by start method the pid of the process that a task has for its parent.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self.functions: dict[str, Callable[..., Any]] = {}
        self.threads: list[str] = []
        self.fork_server = 0
        self.parents: dict[str, int] = {}
        self._modules: list[str] = []

    def import_targets(
        self, calls: list[targets.Call], importing: Callable[[int], None]
    ) -> list[targets.PackedBindError]:
        """Import every target and bind its arguments; what is wrong with them.

        `importing` is called with the number of a call before its module is imported.
        """
        worker.hold_folders(self._options["folders"])
        _redirect_output(self._options["log"])
        if self._options["secrets"]:
            from mprun.launcher import start_error

            start_error.hide(self._options["secrets"])
        environment.withhold_params()
        environment.finish_python()
        set_variables(self._options["env"])
        environment.unbuffer_python()
        environment.tag_run(self._options["run_id"])
        worker.tag_run(run_tags.tag_of(self._options["identity"]))
        run_cgroup.mark(self._options["identity"])
        targets.set_import_path(self._options["import_path"])
        if self._options["cwd"] is not None:
            os.chdir(self._options["cwd"])
        # What follows `mprun` on the command line is not meant for the job's modules.
        sys.argv = ["mprun"]
        binder = targets.Binder(importing)
        errors = binder.bind_all(self._options["preload"], calls)
        self.functions, self.threads = binder.functions, binder.threads
        self._modules = [*self._options["preload"], *binder.modules()]
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            # A module that ignores it would make the kernel discard the exit status of every task.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return errors

    def start_auxiliary(self, pause: Callable[[float], None]) -> None:
        """Start multiprocessing's helpers; `pause` is called before each retry, with seconds."""
        method = self._options["start_method"]
        if {*self._options["methods"]} <= {"fork"}:
            worker.map_marks()
        else:
            with targets.without_job_path():
                from mprun.launcher import end_marks

            end_marks.create()
        path = [*sys.path]
        with targets.without_job_path():
            self.fork_server = auxiliary.prepare(
                method, set(self._options["methods"]), self._modules, path, pause
            )
        pid = os.getpid()
        self.parents = {"fork": pid, "spawn": pid, "forkserver": self.fork_server}


def make_process(method: str) -> Process:
    """The process object that each fork copies; `method` is the start method of the job."""
    made = Process(method, "fork")
    share_with_forks(made, fork.launcher_pidfd[0])
    made.warm_up()
    return made


def make_forks_cheap() -> None:
    """Leave as little as possible for a fork to copy or to do; call it after all imports."""
    flush_output()
    worker.has_flushed = os.getpid()
    # A fork that collects garbage copies the pages of all objects that it looks at.
    gc.collect()
    gc.freeze()
    fork.skip_thread_reset()


def import_for_limits() -> None:
    """Import what few tasks need, before the first of them would do so in its own process.

    Raises OSError or ImportError if there is no free descriptor.
    """
    with targets.without_job_path():
        import mprun.launcher.rlimits  # noqa: F401


def import_for_results() -> None:
    """Import what each fork with a result would import, at three times the cost.

    Not done for a job of one task, which would wait for it. If there is no free descriptor, each
    fork imports it itself.
    """
    with contextlib.suppress(OSError, ImportError), targets.without_job_path():
        import mprun.launcher.result_files  # noqa: F401


def _redirect_output(log: str) -> None:
    # No task has run yet, so it is new.
    file = os.open(log, worker.APPEND | os.O_EXCL | worker.AS_FILE, 0o600, dir_fd=worker.logs)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    open_output()
