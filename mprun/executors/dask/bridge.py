"""The bridge: it speaks with a dask cluster for the engine, in a process of its own.

It has dask's client with its event loop, so that the engine stays what it is on one machine: a process of one
thread that imports little. It ends when the engine's end of their socket is closed.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

from mprun.executors import base
from mprun.executors.dask import cluster, reports
from mprun.executors.dask.membership import Membership
from mprun.executors.dask.placement import STEAL_AFTER, Placement
from mprun.executors.dask.refused import Refused
from mprun.executors.dask.run_files import RunFiles
from mprun.executors.dask.unmet_needs import UnmetNeeds
from mprun.launcher.channel import FrameDecoder, frame, messages_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from mprun.executors.dask.host import Host
    from mprun.launcher.channel import AttemptKey

# How long the agents may take to end what they run, at the end of a run, in seconds.
CLOSE_SECONDS = 15.0
_CHUNK_BYTES = 1 << 18
# Of so many attempts that have ended it is known where they were: the engine asks at once.
MAX_ENDED = 10_000


class Bridge:
    """Serves one engine over one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._decoder = FrameDecoder()
        self._placement = Placement()
        self._cluster = cluster.Cluster(lambda what: self._send("waiting", what))
        self._members = Membership(self._cluster, self._placement, self)
        self._files: RunFiles | None = None
        # The log of each attempt that is not over, and the requests that are not placed.
        self._logs: dict[AttemptKey, str] = {}
        self._requests: dict[AttemptKey, tuple[Any, ...]] = {}
        # The attempts that have artifacts, and why those that have arrived are not complete.
        self._with_artifacts: set[AttemptKey] = set()
        self._artifacts_errors: dict[AttemptKey, str] = {}
        # Where the last attempts that have ended were.
        self._ended_at: dict[AttemptKey, str] = {}
        self._unmet = UnmetNeeds(self._placement, self)
        self._suspending: set[str] = set()
        # What has been reported and not been sent.
        self._unsent: list[tuple[Any, ...]] = []
        self._has_unsent = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opening: asyncio.Task[Any] | None = None
        self._look: asyncio.TimerHandle | None = None

    # ---- the engine

    async def serve(self) -> None:
        """Carry out the engine's requests until it closes its end."""
        loop = asyncio.get_running_loop()
        self.spawn(self._send_all())
        try:
            while data := await loop.sock_recv(self._socket, _CHUNK_BYTES):
                for kind, *details in messages_of(self._decoder, data) or ():
                    if kind == "open":
                        self._opening = self.spawn(self._open(*details))
                    else:
                        getattr(self, f"_handle_{kind}")(*details)
                self.place()
        except ConnectionError:
            pass
        except Exception as error:
            self._fail(error)
        await self._close()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have something done beside all else."""
        # The event loop has only weak references.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_done)
        return task

    def _note_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # What waits for its work would wait without end.
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End the run because of a defect of ours."""
        self.report(base.ExecutorLost(how=f"{type(error).__name__}: {error}", unseen=True))

    def _send(self, *message: Any) -> None:
        self._unsent.append(message)
        self._has_unsent.set()

    def report(self, report: base.Report) -> None:
        """Report to the engine."""
        self._send(*reports.pack(report))

    async def _send_all(self) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            data = frame(self._unsent)
            self._unsent.clear()
            try:
                await asyncio.get_running_loop().sock_sendall(self._socket, data)
            except OSError:
                return

    # ---- the cluster

    async def _open(self, options: dict[str, Any]) -> None:
        try:
            await self._members.open(options)
        except Refused as refused:
            self._send("refused", str(refused))
        else:
            hosts = self._members.hosts.values()
            resources = [(str(host), dict(host.resources)) for host in hosts]
            self._send("opened", sum(host.slots for host in hosts), resources)

    def tell(self, change: str, host: str, **facts: Any) -> None:
        """Tell the engine of a host; see `mprun.executors.base.HostChange`."""
        self._send("host", time.monotonic(), change, host, facts)

    def tell_slots(self, more: int, reason: str = "") -> None:
        """Tell the engine that the run has so many slots more, and what the user must know."""
        self._send("slots", time.monotonic(), more, reason)

    # ---- requests

    def _handle_prepare(self, fields: tuple[Any, ...]) -> None:
        request = base.PrepareRequest.from_tuple(fields)
        try:
            self._files = RunFiles(request.folders)
        except OSError as error:
            self.report(base.ExecutorLost(how=str(error)))
            return
        # It is there even if nothing is printed.
        self._files.append(request.log, b"")
        self._members.prepare(request)

    def _handle_start(self, request: tuple[Any, ...]) -> None:
        key = request[reports.REQUEST_KEY]
        self._requests[key], self._logs[key] = request, request[reports.LOG]
        if request[reports.ARTIFACTS]:
            self._with_artifacts.add(key)
        after = [each for each, _ in request[reports.AFTER]]
        daemon = request[reports.DAEMON]
        needs = request[reports.HOST]
        # One whose artifacts cannot be kept fails here, after its host has seen it succeed.
        is_certain = self._with_artifacts.isdisjoint(after)
        place = None
        if is_certain:
            place = self._placement.submit(key, after, daemon=daemon, now=time.monotonic(), needs=needs)
        if place is None:
            self._cancelled(key)
        elif place:
            self._members.hosts[place].send("start", request)

    def _cancelled(self, key: AttemptKey) -> None:
        self._forget(key)
        self.report(base.StartCancelled(key=key, clock=time.monotonic()))

    def refuse(self, key: AttemptKey, why: str) -> None:
        """Report that a request that is not placed cannot be carried out."""
        self._placement.withdraw(key)
        self._forget(key)
        self.report(base.NotStarted(key=key, clock=time.monotonic(), message=why))

    def _forget(self, key: AttemptKey) -> None:
        self._requests.pop(key, None)
        self._logs.pop(key, None)
        self._with_artifacts.discard(key)

    def _handle_cancel(self, key: AttemptKey) -> None:
        if self._placement.withdraw(key):
            self._cancelled(key)
        else:
            self._to_host_of(key, "cancel", key)

    def _handle_signal(self, key: AttemptKey, *details: Any) -> None:
        self._to_host_of(key, "signal", key, *details)

    def _handle_probe(self, fields: tuple[Any, ...]) -> None:
        self._to_host_of(fields[0], "probe", fields)

    def _handle_end_probe(self, key: AttemptKey) -> None:
        self._to_host_of(key, "end_probe", key)

    def _to_host_of(self, key: AttemptKey, *message: Any) -> None:
        # It may have ended, or its host is lost, and the engine has not read that yet, or asks what is left.
        place = self._placement.places.get(key) or self._ended_at.get(key, "")
        if place in self._placement.loads:
            self._members.hosts[place].send(*message)

    def _handle_suspend(self) -> None:
        self._members.is_suspended = True
        self._suspending = set(self._placement.loads)
        for name in self._placement.loads:
            self._members.hosts[name].send("suspend")

    def _handle_resume(self) -> None:
        self._members.is_suspended = False
        for name in self._placement.loads:
            self._members.hosts[name].send("resume")

    def _handle_close(self) -> None:
        """The engine's end of the socket follows."""

    # ---- placement

    def place(self) -> None:
        """Send what there is room for, and have taken back what waits in vain."""
        now = time.monotonic()
        for name, key in self._placement.take(now):
            self._members.hosts[name].send("start", self._requests[key])
        while (stolen := self._placement.steal(now)) is not None:
            name, key = stolen
            self._members.hosts[name].send("cancel", key)
        if self._look is None and self._placement.waits:
            self._look = asyncio.get_running_loop().call_later(STEAL_AFTER, self._look_again)
        self._unmet.look(now, self._members.timeout)

    def _look_again(self) -> None:
        self._look = None
        self.place()

    # ---- what the hosts say

    def receive(self, host: Host, messages: list[tuple[Any, ...]]) -> None:
        """Take messages of a host."""
        if host.is_given_up:
            self._ignore(host, messages)
            return
        for kind, *details in messages:
            if kind == "report":
                self._handle_report(host, *details)
            elif kind == "now":
                host.note_clock(*details)
            elif kind == "modules":
                (host.modules,) = details
            elif kind == "identity":
                host.identity, host.sessions = details
            elif kind == "failed":
                host.failure = f"its agent has failed: {details[0]}"
            elif kind == "begun":
                host.begun = set(details[0])
            elif kind == "closed":
                self._members.handle_closed(host)
            elif self._files is not None:
                self._keep(self._files, host, kind, details)
        self.place()

    def _keep(self, files: RunFiles, host: Host, kind: str, details: list[Any]) -> None:
        """Write what has arrived of a file."""
        if kind == "log":
            log, data = details
            files.append(log, data, host.number)
        elif kind == "new_log":
            files.begin(*details)
        elif kind == "end_log":
            files.end(*details)
        elif kind == "file":
            name, data, is_last = details
            files.write_result(host.number, name, data, is_last=is_last)
        elif self._placement.places.get(details[0]) == str(host.number):
            # Of an attempt that was not given up.
            if kind == "artifact":
                files.add_artifact(*details)
            elif kind == "end_artifacts":
                self._artifacts_errors[details[0]] = files.end_artifacts(*details)

    def _was_last_to_suspend(self, host: Host) -> bool:
        """Whether all hosts are suspended now, by this one; not if it has joined since they were asked."""
        was_awaited = str(host.number) in self._suspending
        self._suspending.discard(str(host.number))
        return was_awaited and not self._suspending

    def _handle_report(self, host: Host, kind: str, fields: list[Any]) -> None:
        placement = self._placement
        if kind == "PrepareReply":
            reply: Any = reports.unpack(kind, fields)
            self._members.handle_prepared(host, reply)
            return
        if kind == "ExecutorLost":
            # The agent has ended what was left, as far as it could.
            how, _, left = fields
            host.send("close")
            self._members.lose(host, f"its main process was lost: {how}", is_gone=not left)
            return
        if kind == "Suspended":
            if not self._was_last_to_suspend(host):
                return
        elif kind != "Importing":
            key = fields[reports.KEY]
            fields[reports.CLOCK] += min(host.clock_offset, time.monotonic() - fields[reports.CLOCK])
            if kind != "Probed" and placement.places.get(key) != str(host.number):
                # It was given up.
                return
            if kind == "Started":
                fields[reports.STARTED_HOST] = host.name
                placement.handle_started(key)
                self._requests.pop(key, None)
            elif kind == "StartCancelled" and placement.handle_taken_back(key):
                return
            elif kind != "Probed":
                placement.handle_over(key)
                if kind == "Exited":
                    self._note_ended(key, str(host.number))
                    placement.note_duration(fields[reports.DURATION])
                if kind == "Exited" and self._files is not None:
                    lost = self._files.end(self._logs[key])
                    fields[reports.LOG_ERROR] = fields[reports.LOG_ERROR] or lost
                    fields[reports.ARTIFACTS_ERROR] = self._artifacts_errors.pop(key, "")
                self._forget(key)
        self._send("report", kind, fields)

    def _note_ended(self, key: AttemptKey, name: str) -> None:
        self._ended_at[key] = name
        if len(self._ended_at) > MAX_ENDED:
            del self._ended_at[next(iter(self._ended_at))]

    def _ignore(self, host: Host, messages: list[tuple[Any, ...]]) -> None:
        """Say what a host has sent after its attempts were given up: how they have ended."""
        for kind, *details in messages:
            if kind == "report" and details[0] == "Exited":
                report = base.Exited.from_tuple(details[1])
                self.tell("late_answer", host.name, key=report.key, exit_code=report.exit_code)

    def give_up(self, host: Host, why: str, left: Sequence[tuple[int, int]]) -> None:
        """Report the attempts of a host as lost: no one sees how they end.

        `left` are processes that could not be killed: see `mprun.executors.dask.remains.look`.
        """
        name = str(host.number)
        running, unstarted = self._placement.lose(name)
        now = time.monotonic()
        if self._files is not None:
            self._files.drop(host.number, {key: self._logs[key] for key in running})
        lost, cancelled = [], []
        for key in (*running, *unstarted):
            self._artifacts_errors.pop(key, None)
            more = "; its artifacts are lost" if key in self._with_artifacts else ""
            self._forget(key)
            if key in running or host.begun is None or key in host.begun:
                lost.append((key, f"host {host.name} was lost: {why}{more}"))
            else:
                cancelled.append(base.StartCancelled(key=key, clock=now, host_lost=True))
        self._send("lost", now, lost, left)
        for report in cancelled:
            self.report(report)
        if name in self._suspending:
            self._handle_report(host, "Suspended", [])
        self.place()

    # ---- the end

    async def _close(self) -> None:
        if self._opening is not None:
            # What it has begun is closed below.
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._members.close(CLOSE_SECONDS)
        if self._files is not None:
            self._files.close()
        await self._cluster.close()
