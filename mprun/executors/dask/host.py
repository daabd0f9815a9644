"""The bridge's connection to the agent on one host: two streams of messages, by calls to a relay.

A call that fails, or takes too long, is made again over another connection, because the streams have offsets,
until the host counts as lost: its worker is not known to the scheduler any more, its agent has ended, or
nothing has come from it for too long.

By then the agent has ended what ran there, so that the same can be started elsewhere. For that no clocks need
to agree: the agent is sent readings of its own host's clock that have come here, and it ends when the newest
one is too old. Nothing that was heard here is older.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from mprun.executors.dask.agent import beat_interval
from mprun.executors.dask.relay import OPERATION
from mprun.launcher.channel import FrameDecoder, frame, messages_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mprun.launcher.channel import AttemptKey

# How long a relay waits for something to answer, in seconds, and what part of the timeout of hosts at most.
ANSWER_SECONDS = 5.0
ANSWERS_PER_TIMEOUT = 6
# How long a call may take beyond that, in the same way.
CALL_SECONDS = 10.0
CALLS_PER_TIMEOUT = 3
# Between two attempts to reach a relay, in seconds.
RETRY_INTERVAL = 0.2
# Between two attempts to reach the relay of a host that is lost, in seconds.
LATE_INTERVAL = 1.0
# For how long it is tried to, in seconds; longer if its relay may keep something for longer.
LATE_SECONDS = 30.0
# How long a worker may take to say what it sees of another one's agent, in seconds.
REMAINS_SECONDS = 1.0
# How much is sent in one call, in bytes, and answered: less while calls take too long.
MAX_BYTES = 1 << 20
MIN_BYTES = 1 << 14


class Host:
    """One worker of a run; `name` is its host's, `slots` how many attempts it runs at once.

    `resources` is how much it has of what tasks can ask for by `host`. `receive` gets each message, `lose`
    once why the host is lost. `connect` makes calls to the worker at an address. `found` is what the
    scheduler says of the worker, and `list_workers` asks it for that of all workers.
    """

    def __init__(
        self,
        connect: Callable[[str], Any],
        list_workers: Callable[[], Awaitable[dict[str, Any]]],
        number: int,
        address: str,
        facts: dict[str, Any],
        found: dict[str, Any],
    ) -> None:
        self.number = number
        self.address = address
        self.name: str = facts["host"]
        self.facts = facts
        self.resources: dict[str, float] = found["resources"]
        self.slots = int(self.resources.get("mprun", found["nthreads"]))
        # The agent's pid and the launcher's, once they are known.
        self.main_pid = 0
        self.modules: dict[str, str] = {}
        # The identity of its agent's directory, and the sessions that the agent and its launcher lead: their
        # pids, and when they began.
        self.identity = ""
        self.sessions: list[tuple[int, int]] = []
        # What has ended its agent, if that could say so.
        self.failure = ""
        # What is added to readings of its clock: the least that was seen, which has the shortest way in it.
        self.clock_offset = float("inf")
        self._connect = connect
        self._list_workers = list_workers
        self._key = os.urandom(8).hex()
        self._decoder = FrameDecoder()
        self._unsent: list[tuple[Any, ...]] = []
        self._is_wanted = asyncio.Event()
        self._timeout = self._call_seconds = CALL_SECONDS
        # How much is sent in one call, and answered.
        self._size = 1 << 16
        # When something last came from the agent, and when a reading of its clock did.
        self._heard = self._read_at = time.monotonic()
        # How much of its stream has been taken.
        self._received = 0
        # Whether it takes no further attempts; whether the attempts that it had have been given up.
        self.is_over = self.is_given_up = False
        # Whether that which was there when it was lost is another worker, or none.
        self.is_worker_gone = False
        # The attempts that have begun on it, once its launcher is lost and that is known.
        self.begun: set[AttemptKey] | None = None

    def __str__(self) -> str:
        return f"{self.name} (worker {self.address})"

    @property
    def ends_at(self) -> float:
        """When nothing of it runs any more, whatever has become of it, on this machine's monotonic clock."""
        # The agent ends one interval after its timeout, and what it runs within another one.
        return max(self._heard, self._read_at) + self._timeout + 2 * beat_interval(self._timeout)

    async def remains_of(self, other: Host, *, kill: bool) -> list[tuple[int, int]] | None:
        """What this host sees of another one's agent; None if it is on another machine, or does not know.

        See `mprun.executors.dask.remains.look`.
        """
        machine = self.facts["processes"]
        if machine is None or machine != other.facts["processes"]:
            return None
        known = {"key": other._key, "identity": other.identity, "sessions": other.sessions}
        try:
            found = await self._ask(REMAINS_SECONDS, action="remains", kill=kill, **known)
        except (OSError, TimeoutError):
            return None
        # Lists arrive as tuples.
        return list(found)

    def send(self, *message: Any) -> None:
        """Queue a message to the agent."""
        self._unsent.append(message)
        self._is_wanted.set()

    async def run(
        self,
        timeout: float,
        receive: Callable[[Host, list[tuple[Any, ...]]], None],
        lose: Callable[[Host, str], None],
    ) -> None:
        """Start the agent, and exchange messages with it until it is over.

        After a loss, `receive` gets what it has still to say.
        """
        self._timeout = timeout
        self._call_seconds = min(CALL_SECONDS, timeout / CALLS_PER_TIMEOUT)
        try:
            _, why = await self._call_until("open", keep=timeout)
            if not why:
                why = await self._exchange(receive)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if not self.is_over:
            self.is_over = True
            lose(self, self.failure or why or "its agent has ended")
            await self._receive_late(receive)

    async def _receive_late(self, receive: Callable[[Host, list[tuple[Any, ...]]], None]) -> None:
        """Take what arrives after the loss, as long as the relay may keep it."""
        deadline = time.monotonic() + max(LATE_SECONDS, 2 * self._timeout)
        is_ended = False
        while time.monotonic() < deadline:
            try:
                if not is_ended:
                    await self._call("end")
                    is_ended = True
                answer = await self._call("receive", offset=self._received, wait=LATE_INTERVAL)
            except (OSError, TimeoutError):
                await asyncio.sleep(LATE_INTERVAL)
                continue
            if answer is None:
                return
            data, is_end = answer
            self._received += len(data)
            if messages := messages_of(self._decoder, data) if data else []:
                receive(self, messages)
            if is_end:
                return

    async def _exchange(self, receive: Callable[[Host, list[tuple[Any, ...]]], None]) -> str:
        """Exchange messages until one way of doing so is over; why that is."""
        ways = (self._send_all(), self._receive_all(receive), self._beat())
        streams = [asyncio.create_task(way) for way in ways]
        done, others = await asyncio.wait(streams, return_when=asyncio.FIRST_COMPLETED)
        for stream in others:
            stream.cancel()
        return next((stream.result() for stream in done if stream.result()), "")

    async def _call(self, action: str, **details: Any) -> Any:
        seconds = details.get("wait", 0.0) + self._call_seconds
        return await self._ask(seconds, action=action, key=self._key, **details)

    async def _ask(self, seconds: float, **details: Any) -> Any:
        """The relay's answer to a call. Raises OSError or TimeoutError."""
        try:
            relay = self._connect(self.address)
            return await asyncio.wait_for(getattr(relay, OPERATION)(**details), seconds)
        except RuntimeError as error:
            raise OSError(f"the connections to dask are closed: {error}") from None

    async def _call_until(self, action: str, **details: Any) -> tuple[Any, str]:
        """The answer to a call, which is made again if it fails; why there will be none."""
        while True:
            begun = time.monotonic()
            try:
                answer = await self._call(action, **self._limited(details))
            except (OSError, TimeoutError):
                self._size = max(MIN_BYTES, self._size // 2)
                if self._is_unheard():
                    return None, f"it was not heard of for {self._timeout:g}s"
                # Dask itself would try to connect to a worker that has ended until the call times out.
                await asyncio.sleep(RETRY_INTERVAL)
                if await self._is_refused() or not await self._is_known():
                    self.is_worker_gone = True
                    return None, "its worker has ended"
                continue
            if time.monotonic() - begun < self._call_seconds / 4:
                self._size = min(MAX_BYTES, 2 * self._size)
            self.is_worker_gone = answer is None
            return answer, "" if answer is not None else "its worker was restarted"

    def _limited(self, details: dict[str, Any]) -> dict[str, Any]:
        """The details of a call, with no more data than the connection takes by now."""
        if "data" in details:
            return {**details, "data": details["data"][: self._size]}
        return {**details, "most": self._size} if "wait" in details else details

    def _is_unheard(self) -> bool:
        """Whether the host is lost because nothing comes from it."""
        return time.monotonic() - self._heard > self._timeout + 2 * beat_interval(self._timeout)

    async def _is_refused(self) -> bool:
        """Whether nothing listens at the worker's address any more, as its machine says."""
        from distributed.comm.addressing import get_address_host_port

        try:
            where = get_address_host_port(self.address)
            connecting = asyncio.open_connection(*where)
            _, writer = await asyncio.wait_for(connecting, self._call_seconds)
        except ConnectionRefusedError:
            return True
        except (OSError, TimeoutError, ValueError):
            return False
        writer.close()
        return False

    async def _is_known(self) -> bool:
        """Whether the scheduler still counts on the worker, as far as that can be asked."""
        try:
            return self.address in await asyncio.wait_for(self._list_workers(), self._call_seconds)
        except (OSError, TimeoutError):
            return True

    async def _send_all(self) -> str:
        offset = 0
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            data = memoryview(frame(self._unsent))
            self._unsent.clear()
            while data:
                taken, why = await self._call_until("send", offset=offset, data=bytes(data[:MAX_BYTES]))
                if why:
                    return why
                if taken < 0:
                    # The other stream has the last words of the agent.
                    await asyncio.sleep(self._timeout)
                    return "its agent has ended"
                offset += taken
                data = data[taken:]

    async def _receive_all(self, receive: Callable[[Host, list[tuple[Any, ...]]], None]) -> str:
        wait = min(ANSWER_SECONDS, self._timeout / ANSWERS_PER_TIMEOUT)
        while True:
            answer, why = await self._call_until("receive", offset=self._received, wait=wait)
            if why:
                return why
            data, is_end = answer
            self._received += len(data)
            if data:
                self._heard = time.monotonic()
                if messages := messages_of(self._decoder, data):
                    receive(self, messages)
            elif self._is_unheard():
                return f"its agent was not heard of for {self._timeout:g}s"
            if is_end:
                return "its agent has ended"

    async def _beat(self) -> str:
        while True:
            await asyncio.sleep(beat_interval(self._timeout))
            with contextlib.suppress(OSError, TimeoutError):
                reading = await self._call("clock")
                if reading is not None:
                    self._read_at = time.monotonic()
                    self.send("beat", reading)

    def note_clock(self, reading: float) -> None:
        """Take a reading of the host's clock, which has just arrived."""
        self.clock_offset = min(self.clock_offset, time.monotonic() - reading)
