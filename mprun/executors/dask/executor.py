"""The engine's end of a run on the hosts of a dask cluster."""

from __future__ import annotations

import os
import select
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mprun.errors import LauncherError, UsageError
from mprun.executors.base import ExecutorLost, Exited, HostChange, NotStarted, SlotsChange, Started
from mprun.executors.dask import reports
from mprun.executors.dask.bridge_process import BridgeProcess
from mprun.launcher.channel import EngineChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mprun.executors.base import PrepareRequest, ProbeRequest, Report, StartRequest
    from mprun.launcher.channel import AttemptKey

# How long the bridge may take to import dask, to connect, and to find workers, in seconds: beside the timeout
# that these have to answer.
OPEN_SECONDS = 60.0
# After how many seconds it is said what is waited for.
SAY_SECONDS = 3.0
# The options that are not for the bridge.
_OWN = ("begun", "say")


class DaskExecutor:
    """Speaks with one bridge; see `mprun.executors.by_name.NamedExecutor`."""

    # What is imported, and which files are there, only the hosts know.
    unsupported: frozenset[str] = frozenset(("inputs",))
    # All but `log`: logs are sent.
    probe_kinds = frozenset(("command", "tcp", "http", "file"))

    @staticmethod
    def begin() -> BridgeProcess | None:
        """Start a bridge, which has much to import; None if it could not."""
        return BridgeProcess() if _has_dask() else None

    def __init__(self, options: Mapping[str, Any]) -> None:
        if not _has_dask():
            raise UsageError(
                "`--executor dask` needs the package `distributed`; install it with "
                "`pip install 'mprun[dask]'`, here and on every host"
            )

        path = options["scheduler_file"]
        if path and not os.path.exists(path):
            raise UsageError(f"no such file: {path} (`--scheduler-file`); start the scheduler first")
        begun: BridgeProcess | None = options["begun"]
        self._bridge = (begun or BridgeProcess()).use()
        self._channel = EngineChannel(self._bridge.socket)
        self._say: Callable[[str], None] = options["say"]
        self._host_timeout: float = options["host_timeout"]
        self._open_seconds = OPEN_SECONDS + options["host_timeout"]
        self.slots: int | None = 0
        self.resources: list[tuple[str, dict[str, float]]] = []
        # What has come together with the answer that `wait` was waiting for.
        self._unread: list[tuple[Any, ...]] = []
        # What is known of each attempt that runs, for the report of an end that no one saw.
        self._started: dict[AttemptKey, Started] = {}
        self._send("open", {name: value for name, value in options.items() if name not in _OWN})
        self.flush()

    def wait(self) -> None:
        waiting, deadline = "", time.monotonic() + self._open_seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self], [], [], min(left, SAY_SECONDS))[0] and waiting:
                self._say(f"waiting for {waiting} ...")
                waiting = ""
            messages = self._channel.receive()
            if messages is None:
                raise LauncherError(f"the connection to dask has ended ({self._how()})")
            for number, (kind, *details) in enumerate(messages, 1):
                if kind == "refused":
                    self.close()
                    raise UsageError(details[0])
                if kind == "opened":
                    self.slots, self.resources = details
                    self._unread += messages[number:]
                    return
                if kind == "report":
                    # There is nothing yet to report but its end.
                    raise LauncherError(f"the connection to dask has ended ({details[1][0]})")
                if kind == "waiting":
                    (waiting,) = details
                else:
                    self._unread.append((kind, *details))
        self.close()
        raise UsageError(f"dask took longer than {self._open_seconds:g}s to answer")

    def _send(self, *message: Any) -> None:
        self._channel.send(*message)

    def fileno(self) -> int:
        return self._channel.fileno()

    def prepare(self, request: PrepareRequest) -> None:
        calls = tuple(call.to_tuple() for call in request.calls)
        # The current directory of a worker is any.
        request = request.replace(calls=calls, cwd=request.cwd or os.getcwd())
        self._send("prepare", request.to_tuple())

    def start(self, request: StartRequest) -> None:
        if request.host:
            # A mapping of the job file, which has marks.
            request = request.replace(host=dict(request.host))
        self._send("start", request.to_tuple())

    def cancel(self, key: AttemptKey) -> None:
        self._send("cancel", key)

    def signal(self, key: AttemptKey, name: str, *, title: str = "", to: str = "group") -> None:
        self._send("signal", key, name, title, to)

    def probe(self, request: ProbeRequest) -> None:
        self._send("probe", request.to_tuple())

    def end_probe(self, key: AttemptKey) -> None:
        self._send("end_probe", key)

    def suspend(self) -> None:
        self._send("suspend")

    def resume(self) -> None:
        self._send("resume")

    def wake(self) -> bool:
        return False

    def imports(self) -> None:
        return None

    def usage(self) -> dict[str, Any] | None:
        return None

    def flush(self) -> bool:
        try:
            return self._channel.flush()
        except OSError:
            # `receive` reports that.
            return True

    def receive(self) -> list[Report]:
        messages = self._channel.receive()
        if messages is None:
            # What it has sent to the hosts may have begun there.
            how = (
                f"the connection to dask has ended ({self._how()}); the hosts kill what they still run once "
                f"they have heard nothing for {self._host_timeout:g}s"
            )
            return [ExecutorLost(how=how, unseen=True)]
        messages, self._unread = self._unread + messages, []
        found: list[Report] = []
        for kind, *details in messages:
            if kind == "report":
                found.append(self._remember(reports.unpack(*details)))
            elif kind == "lost":
                found += self._unseen(*details)
            elif kind == "host":
                found.append(HostChange.from_tuple(details))
            elif kind == "slots":
                found.append(SlotsChange.from_tuple(details))
        return found

    def _remember(self, report: Report) -> Report:
        if isinstance(report, Started):
            self._started[report.key] = report
        elif isinstance(report, Exited):
            self._started.pop(report.key, None)
        return report

    def _unseen(
        self,
        clock: float,
        lost: Sequence[tuple[AttemptKey, str]],
        left: Sequence[tuple[int, int]],
    ) -> list[Report]:
        """The reports of attempts on a host that is lost, each with why its end is not known.

        `left` are processes there, each with that of its task, 0 if that is not known.
        """
        started = {key: self._started.pop(key) for key, _ in lost if key in self._started}
        # The others are of an attempt of which no start was reported.
        known = {one.pid for one in started.values()}
        return [
            NotStarted(
                key=key,
                clock=clock,
                message=why,
                unseen=True,
                left_running=tuple(pid for pid, task in left if task not in known),
            )
            if key not in started
            else _unseen_end(started[key], clock, why, left)
            for key, why in lost
        ]

    def close(self, *, kill: bool = False) -> None:
        # It ends what runs on the hosts, in any case.
        self._bridge.close()

    def _how(self) -> str:
        return self._bridge.how()


def _unseen_end(started: Started, clock: float, why: str, left: Sequence[tuple[int, int]]) -> Exited:
    return Exited(
        key=started.key,
        clock=clock,
        pid=started.pid,
        exit_code=None,
        core_dumped=False,
        duration=clock - started.clock,
        cpu=None,
        max_rss=None,
        threads=0,
        orphans=(),
        left_running=tuple(pid for pid, task in left if task in (0, started.pid)),
        unseen=why,
    )


def _has_dask() -> bool:
    return find_spec("distributed") is not None
