"""A task's process on a Python whose private names no one has checked: multiprocessing's own bootstrap.

`mprun.launcher.worker` runs a bootstrap of its own, because it is faster, and relies on private names of
CPython for it. This process does the same with multiprocessing's bootstrap and public names, for every start
method; it is slower, and its `run` sets up what the other bootstrap does.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

from mprun.launcher import environment, worker
from mprun.launcher.channel import CAPTURE, ENV, LOG, STACKS
from mprun.launcher.own_files import open_own
from mprun.linux import prctl


class Process(worker.Process):
    """The process of one attempt; see `mprun.launcher.worker.Process` for the arguments."""

    _bootstrap = multiprocessing.Process._bootstrap  # type: ignore[attr-defined]

    def __init__(self, default: str, method: str, request: tuple[Any, ...] = ()) -> None:
        _, name, position, daemon, *_ = request
        multiprocessing.Process.__init__(self, name=name, daemon=daemon)
        # The names of the processes that the task starts: as if the tasks were numbered in the file's order.
        self._identity = (position,)
        self.method = method
        self.request = request
        self._is_default = method == default
        self._threads = 1

    def run(self) -> None:
        """Bind the process to its parent and its log, then call the target or become the command."""
        key, name, _, _, _, target, *_, parent, output = self.request
        log, env, stacks, capture = (self.request[place] for place in (LOG, ENV, STACKS, CAPTURE))
        os.setsid()
        prctl.die_with_parent(parent)
        worker.own_descendants()
        if target is not None:
            prctl.set_name(f"mprun: {name}")
        if output < 0:
            output = open_own(worker.logs, log, worker.APPEND)
            os.close(worker.logs)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        if not self._is_default:
            multiprocessing.set_start_method(self.method, force=True)
        if self.method != "fork":
            worker.open_output()
            worker.flush_before_forks()
            worker.dump_stacks_into_memory(worker.SHARED_STACKS_NAME)
        environment.tag_attempt(name, key[1])
        worker.set_variables(env)
        if stacks:
            worker.dump_stacks_into_memory()
        try:
            super().run()
            worker.mark_end(key)
        except SystemExit as end:
            if not end.code:
                worker.mark_end(key)
            raise
        finally:
            # multiprocessing flushes Python's streams, and leaves C's buffers as they are.
            worker.flush_c_output()
            if capture and target is not None:
                self._report("write_modules")
            if self.method == "forkserver":
                # The fork server, which waits for this process, does not report what it used.
                self._report("write_usage", self._threads)
