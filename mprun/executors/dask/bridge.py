"""The process that speaks with a dask cluster for the engine.

It has dask's client with its event loop, so that the engine stays what it is on one machine: a process of one
thread that imports little. It ends when the engine's end of their socket is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from mprun.executors import base
from mprun.executors.dask import reports
from mprun.executors.dask.cluster import Cluster
from mprun.executors.dask.code_check import differences
from mprun.executors.dask.placement import STEAL_AFTER, Placement
from mprun.executors.dask.refused import Refused
from mprun.executors.dask.run_files import RunFiles
from mprun.launcher.channel import FrameDecoder, frame, messages_of

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import NoReturn

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
        self._cluster = Cluster()
        self._timeout = 0.0
        # By the number of each, as a text: the name by which the placement knows it.
        self._hosts: dict[str, Host] = {}
        self._placement = Placement()
        self._files: RunFiles | None = None
        # The log of each attempt that is not over, and the requests that are not placed.
        self._logs: dict[AttemptKey, str] = {}
        self._requests: dict[AttemptKey, tuple[Any, ...]] = {}
        # The answers to `prepare`, by the host's number, until there are all.
        self._prepared: dict[str, base.PrepareReply] | None = None
        # The hosts that were lost before that, and why.
        self._lost_before: list[str] = []
        # The attempts that have artifacts, and why those that have arrived are not complete.
        self._with_artifacts: set[AttemptKey] = set()
        self._artifacts_errors: dict[AttemptKey, str] = {}
        # Where the last attempts that have ended were.
        self._ended_at: dict[AttemptKey, str] = {}
        self._suspending: set[str] = set()
        # What has been reported and not been sent.
        self._unsent: list[tuple[Any, ...]] = []
        self._has_unsent = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Event | None = None
        self._look: asyncio.TimerHandle | None = None

    # ---- the engine

    async def serve(self) -> None:
        """Carry out the engine's requests until it closes its end."""
        loop = asyncio.get_running_loop()
        self._spawn(self._send_all())
        try:
            while data := await loop.sock_recv(self._socket, _CHUNK_BYTES):
                for kind, *details in messages_of(self._decoder, data) or ():
                    if kind == "open":
                        self._spawn(self._open(*details))
                    else:
                        getattr(self, f"_handle_{kind}")(*details)
                self._place()
        except ConnectionError:
            pass
        await self._close()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        # The event loop has only weak references.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, *message: Any) -> None:
        self._unsent.append(message)
        self._has_unsent.set()

    def _report(self, report: base.Report) -> None:
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
        self._timeout = options["host_timeout"]
        try:
            await self._cluster.connect(options)
            async for host in self._cluster.hosts():
                self._hosts[str(host.number)] = host
                self._spawn(host.run(self._timeout, self._receive, self._lose))
        except Refused as refused:
            self._send("refused", str(refused))
            return
        slots = {name: host.slots for name, host in self._hosts.items()}
        self._send("opened", sum(slots.values()))

    # ---- requests

    def _handle_prepare(self, fields: tuple[Any, ...]) -> None:
        request = base.PrepareRequest.from_tuple(fields)
        try:
            self._files = RunFiles(request.folders)
        except OSError as error:
            self._report(base.ExecutorLost(how=str(error)))
            return
        if self._lost_before:
            self._report(base.ExecutorLost(how=self._lost_before[0]))
            return
        # It is there even if nothing is printed.
        self._files.append(request.log, b"")
        self._prepared = {}
        self._placement.share({name: host.slots for name, host in self._hosts.items()}, request.max_parallel)
        for name, host in self._hosts.items():
            load = self._placement.loads.get(name)
            if load is not None:
                host.send("prepare", request.replace(max_parallel=load.slots).to_tuple())

    def _handle_start(self, request: tuple[Any, ...]) -> None:
        key = request[reports.REQUEST_KEY]
        self._requests[key], self._logs[key] = request, request[reports.LOG]
        if request[reports.ARTIFACTS]:
            self._with_artifacts.add(key)
        after = [each for each, _ in request[reports.AFTER]]
        daemon = request[reports.DAEMON]
        place = self._placement.submit(key, after, daemon=daemon, now=time.monotonic())
        if place is None:
            self._cancelled(key)
        elif place:
            self._hosts[place].send("start", request)

    def _cancelled(self, key: AttemptKey) -> None:
        self._forget(key)
        self._report(base.StartCancelled(key=key, clock=time.monotonic()))

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
        # It may have ended, and the engine has not read of it yet, or asks what it has left. Nor may it know
        # yet that its host is lost.
        place = self._placement.places.get(key) or self._ended_at.get(key, "")
        if place in self._placement.loads:
            self._hosts[place].send(*message)

    def _handle_suspend(self) -> None:
        self._suspending = set(self._placement.loads)
        for name in self._placement.loads:
            self._hosts[name].send("suspend")

    def _handle_resume(self) -> None:
        for name in self._placement.loads:
            self._hosts[name].send("resume")

    def _handle_close(self) -> None:
        """The engine's end of the socket follows."""

    # ---- placement

    def _place(self) -> None:
        """Send what there is room for, and have taken back what waits in vain."""
        now = time.monotonic()
        for name, key in self._placement.take(now):
            self._hosts[name].send("start", self._requests[key])
        while (stolen := self._placement.steal(now)) is not None:
            name, key = stolen
            self._hosts[name].send("cancel", key)
        if self._look is None and self._placement.waits:
            self._look = asyncio.get_running_loop().call_later(STEAL_AFTER, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._place()

    # ---- what the hosts say

    def _receive(self, host: Host, messages: list[tuple[Any, ...]]) -> None:
        for kind, *details in messages:
            if kind == "report":
                self._handle_report(host, *details)
            elif kind == "now":
                host.note_clock(*details)
            elif kind == "modules":
                (host.modules,) = details
            elif kind == "closed":
                host.is_over = True
                self._note_closed()
            elif self._files is not None:
                self._keep(self._files, host, kind, details)
        self._place()

    def _keep(self, files: RunFiles, host: Host, kind: str, details: list[Any]) -> None:
        """Write what has arrived of a file."""
        if kind == "log":
            files.append(*details)
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

    def _handle_report(self, host: Host, kind: str, fields: list[Any]) -> None:
        placement = self._placement
        if kind == "PrepareReply":
            self._handle_prepared(host, reports.unpack(kind, fields))
            return
        if kind == "ExecutorLost":
            # The agent has ended what was left.
            host.send("close")
            self._lose(host, f"its main process was lost: {fields[0]}")
            return
        if kind == "Suspended":
            self._suspending.discard(str(host.number))
            if self._suspending:
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

    def _handle_prepared(self, host: Host, reply: Any) -> None:
        if self._prepared is None:
            return
        host.main_pid = reply.pid
        self._prepared[str(host.number)] = reply
        self._complete_preparation()

    def _complete_preparation(self) -> None:
        """Answer the engine once every host has answered."""
        replies = self._prepared
        if replies is None or not self._placement.loads or replies.keys() < self._placement.loads.keys():
            return
        self._prepared = None
        used = [self._hosts[name] for name in self._placement.loads]
        first = replies[str(used[0].number)]
        failed = next((host for host in used if replies[str(host.number)].errors), None)
        errors = () if failed is None else replies[str(failed.number)].errors
        if failed is not None and not all(reply.errors for reply in replies.values()):
            errors = tuple(error.replace(message=f"on {failed}: {error.message}") for error in errors)
        lacking = tuple(f"{host}: {text}" for host in used for text in replies[str(host.number)].differences)
        self._report(
            first.replace(
                errors=errors,
                threads=tuple(dict.fromkeys(name for reply in replies.values() for name in reply.threads)),
                refused=tuple(dict.fromkeys(name for reply in replies.values() for name in reply.refused)),
                differences=() if errors else lacking or differences(used),
                hosts=tuple(
                    {
                        "host": host.name,
                        "worker": host.address,
                        "main_pid": host.main_pid,
                        "slots": self._placement.loads[str(host.number)].slots,
                        "boot_id": host.facts["boot_id"],
                    }
                    for host in used
                ),
            )
        )

    def _lose(self, host: Host, why: str) -> None:
        """A host is gone: no one sees how its attempts end."""
        host.is_over = True
        name = str(host.number)
        if self._closing is not None:
            self._note_closed()
            return
        if self._files is None:
            self._lost_before.append(f"on {host}: {why}")
        if name not in self._placement.loads:
            return
        if self._prepared is not None:
            self._report(base.ExecutorLost(how=f"on {host}: {why}"))
            return
        running, unstarted = self._placement.lose(name)
        now = time.monotonic()
        for key in (*running, *unstarted):
            if self._files is not None and key in running:
                self._files.end(self._logs[key])
                self._files.drop_artifacts(key)
            lost = "; its artifacts are lost" if key in self._with_artifacts else ""
            self._forget(key)
            self._send("lost", key, now, f"host {host.name} was lost: {why}{lost}")
        if name in self._suspending:
            self._handle_report(host, "Suspended", [])
        if not self._placement.loads:
            self._report(base.ExecutorLost(how=f"no host is left; the last one, {host}: {why}"))
        self._place()

    # ---- the end

    def _note_closed(self) -> None:
        if self._closing is not None and all(host.is_over for host in self._hosts.values()):
            self._closing.set()

    async def _close(self) -> None:
        """End the agents, and wait until nothing is left on any host."""
        self._closing = asyncio.Event()
        for host in self._hosts.values():
            if not host.is_over:
                host.send("close")
        self._note_closed()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), CLOSE_SECONDS)
        if self._files is not None:
            self._files.close()
        await self._cluster.close()


def serve(descriptor: int) -> NoReturn:
    """Run a bridge that serves this end of a socket pair; does not return."""
    code = 1
    try:
        # What dask has to say of the cluster is not for the terminal of the run.
        logging.disable(logging.CRITICAL)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        asyncio.run(Bridge(sock).serve())
        code = 0
    finally:
        os._exit(code)
