"""Drives an executor as the engine does: attempts of tasks, without a job file."""

from __future__ import annotations

import json
import select
import time
from pathlib import Path

from mprun.engine.resolver import process_limits
from mprun.executors.base import (
    Call,
    ExecutorLost,
    Exited,
    NotStarted,
    PrepareReply,
    PrepareRequest,
    StartCancelled,
    Started,
    StartRequest,
)
from mprun.executors.new_launcher import start_launcher
from mprun.record.results import read_error, read_result, read_usage
from support.logs import read_log
from support.records import state_file

# How long a report may take before the test fails, in seconds.
TIMEOUT = 40


class Ended:
    """What one attempt has left: its reports, log, result and error."""

    def __init__(self, started, exited, log, result):
        self.started = started
        self.exited = exited
        self.code = exited.exit_code
        self.log = read_log(log).decode("utf-8", "backslashreplace")
        files = state_file(result)
        self.result = read_result(files)[0]
        self.error = read_error(files)
        self.usage = read_usage(files)
        self.path = result
        self.files = files


def folder(path):
    """A directory as a launcher gets it."""
    found = path.stat()
    return str(path), found.st_dev, found.st_ino


class Attempts:
    """A launcher that is prepared to call `targets`, and its reports by key.

    `targets` are (target, args) pairs. As a context manager it kills everything at its end.
    """

    def __init__(self, directory, *, method="fork", methods=(), targets=(), preload=(), slots=100):
        self.directory = Path(directory)
        self.method = method
        self._count = 0
        self._paths = {}
        self.started = {}
        self.ended = {}
        self.executor = start_launcher("a-run")
        self._poll = select.poll()
        self._poll.register(self.executor.fileno(), select.POLLIN)
        self.prepared = None
        self.main_log = self.directory / "main.log"
        self.executor.prepare(
            PrepareRequest(
                run_id="a-run",
                # Suites run side by side, and what a launcher that was killed has left is found by it.
                identity=str(self.directory),
                import_path=(str(directory),),
                log=str(self.main_log),
                start_method=method,
                methods=tuple({method, *methods}),
                preload=tuple(preload),
                max_parallel=slots,
                env={},
                folders=(folder(self.directory),) * 2,
                calls=tuple(Call(target=target, args=tuple(args), kwargs={}) for target, args in targets),
            )
        )

    def __enter__(self):
        try:
            assert self.executor.flush()
            self._until(lambda: self.prepared)
            assert not self.prepared.errors, self.prepared.errors
        except BaseException:
            self.executor.close(kill=True)
            raise
        return self

    def __exit__(self, *_):
        self.executor.close(kill=True)

    def start(self, *, target=None, args=(), command=None, limits=None, env=None, cwd=None, **more):
        """Start an attempt and do not wait for it; its key."""
        key = (self._count, 1)
        self._count += 1
        path = self.directory / f"attempt{key[0]}"
        self._paths[key] = path
        self.executor.start(
            StartRequest(
                key=key,
                name=more.get("name", f"task{key[0]}"),
                position=more.get("position", key[0] + 1),
                daemon=more.get("daemon", False),
                start_method=more.get("method", self.method) if command is None else "fork",
                target=target,
                args=tuple(args),
                kwargs={},
                log=f"{path.name}.log",
                result=str(path),
                env=env or {},
                cwd=None if cwd is None else str(cwd),
                command=command,
                limits=process_limits(limits),
                stacks=more.get("stacks", False),
            )
        )
        assert self.executor.flush()
        return key

    def signal(self, key, name, **more):
        self.executor.signal(key, name, **more)
        assert self.executor.flush()

    def cancel(self, key):
        """Cancel the start of an attempt; returns once the launcher has confirmed it."""
        self.executor.cancel(key)
        assert self.executor.flush()
        assert isinstance(self._until(lambda: self.ended.get(key)), StartCancelled)

    def begun(self, key):
        """The attempt's `Started`, once it has started."""
        return self._until(lambda: self.started.get(key))

    def end(self, key):
        """What the attempt has left, once it has ended."""
        exited = self._until(lambda: self.ended.get(key))
        assert isinstance(exited, Exited), exited
        return Ended(self.started[key], exited, self.log(key), str(self._paths[key]))

    def answer(self, key):
        """The last report about an attempt, which may not have been started."""
        return self._until(lambda: self.ended.get(key))

    def run(self, **request):
        return self.end(self.start(**request))

    def log(self, key):
        return Path(f"{self._paths[key]}.log")

    def _until(self, fact):
        end = time.monotonic() + TIMEOUT
        while not (found := fact()):
            assert self._poll.poll(max(0, end - time.monotonic()) * 1000), "nothing was reported"
            for report in self.executor.receive():
                self._take(report)
        return found

    def _take(self, report):
        assert not isinstance(report, ExecutorLost), report
        if isinstance(report, PrepareReply):
            self.prepared = report
        elif isinstance(report, Started):
            self.started[report.key] = report
        elif isinstance(report, (Exited, NotStarted, StartCancelled)):
            self.ended[report.key] = report


def error_file(ended):
    """The contents of an attempt's error file."""
    return json.loads(Path(f"{ended.path}.error.json").read_text(encoding="utf-8"))
