"""In dask's worker: starts agents, and passes bytes between each and the bridge of its run.

A relay is driven by calls on the worker's event loop, which never wait for the agent's work. Both directions
are streams with offsets: bytes that arrive again are passed over, and what was sent stays until it is
acknowledged, so that a connection may break and be made again. An agent that sends more than the bridge takes
has to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Any

from mprun.executors.dask import remains
from mprun.executors.dask.remains import KEY_VARIABLE
from mprun.linux import procfs

# The name of the call that the bridge makes.
OPERATION = "mprun"
# How much of an agent's stream is kept here, and how much is in one answer, in bytes.
MAX_KEPT_BYTES = 1 << 21
MAX_ANSWER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
# How often it is looked whether an agent has ended for whose output there is no room, in seconds.
ROOM_SECONDS = 1.0
# What an agent runs: not what is in the worker's working directory.
_PROGRAM = "from mprun.executors.dask.agent import serve; serve({}, {})"

# The relays of this worker, by a key that the bridge has made.
_relays: dict[str, Relay] = {}


def install(dask_worker: Any) -> dict[str, Any]:
    """Have a worker answer the bridge's calls; what the bridge must know of it."""
    dask_worker.handlers[OPERATION] = _handle
    return {
        "host": os.uname().nodename,
        "mprun": version("mprun"),
        "python": ".".join(map(str, sys.version_info[:3])),
        "boot_id": procfs.boot_id(),
        # Whether what runs on one worker is seen on another one.
        "processes": remains.machine(),
    }


async def _handle(action: str, key: str, **details: Any) -> Any:
    if action == "open":
        # The answer to a call that has opened it may have been lost.
        if key not in _relays:
            _relays[key] = Relay(key, **details)
        return True
    if action == "remains":
        # Some ten milliseconds, which the event loop does not wait for.
        return await asyncio.to_thread(remains.look, key, **details)
    relay = _relays.get(key)
    if relay is None:
        # The worker has been restarted under the same address.
        return None
    if action == "clock":
        return time.monotonic()
    if action == "end":
        return relay.end()
    return await (relay.send(**details) if action == "send" else relay.receive(**details))


class Relay:
    """The streams of one agent.

    What it has sent is kept for `keep` seconds after its end and the bridge's last call: for so long the
    bridge may be cut off, or take it in pieces.
    """

    def __init__(self, key: str, keep: float) -> None:
        self._key, self._keep = key, keep
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        descriptor = theirs.fileno()
        command = [sys.executable, "-P", "-c", _PROGRAM.format(descriptor, float(keep))]
        # In a session of its own: signals of the worker's terminal are not for it.
        self._process = subprocess.Popen(
            command,
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, KEY_VARIABLE: key},
        )
        theirs.close()
        self._kept = bytearray()
        # The offset of the first byte that is kept, and how much the agent was sent.
        self._start = self._passed_on = 0
        self._is_closed = False
        self._has_more, self._has_room = asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()
        self._called = time.monotonic()
        # The event loop has only a weak reference.
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._socket, _CHUNK_BYTES):
                self._kept += data
                self._has_more.set()
                # A bridge that is gone makes no room, and its agent ends after a while.
                while len(self._kept) > MAX_KEPT_BYTES and self._process.poll() is None:
                    self._has_room.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._has_room.wait(), ROOM_SECONDS)
        self._is_closed = True
        self._has_more.set()
        self._socket.close()
        # It ends by itself now, which takes as long as its launcher.
        while self._process.poll() is None:
            await asyncio.sleep(0.05)
        self._called = time.monotonic()
        while (left := self._called + self._keep - time.monotonic()) > 0:
            await asyncio.sleep(left)
        _relays.pop(self._key, None)

    def end(self) -> bool:
        """Kill the agent, which has been silent for too long: its launcher ends what it runs."""
        if self._process.poll() is None:
            self._process.kill()
        return True

    async def send(self, offset: int, data: bytes) -> int:
        """Pass on what the agent does not have yet; how much of it that has now, -1 if it takes nothing."""
        async with self._sending:
            new = data[max(0, self._passed_on - offset) :]
            if self._is_closed:
                return -1
            try:
                await asyncio.get_running_loop().sock_sendall(self._socket, new)
            except OSError:
                return -1
            self._passed_on += len(new)
        return len(data)

    async def receive(self, offset: int, wait: float, most: int = MAX_ANSWER_BYTES) -> tuple[bytes, bool]:
        """What the agent has sent from an offset on, once there is something, and whether that is all.

        What came before it is acknowledged. At most `most` bytes are answered.
        """
        self._called = time.monotonic()
        if offset < self._start:
            # A call of a connection that was given up, which arrives late: no one reads the answer.
            return b"", False
        del self._kept[: offset - self._start]
        self._start = offset
        self._has_room.set()
        if not self._kept and not self._is_closed:
            self._has_more.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_more.wait(), wait)
        # While it waited, a later call may have come.
        data = bytes(self._kept[:most]) if offset == self._start else b""
        return data, self._is_closed and len(data) == len(self._kept)
