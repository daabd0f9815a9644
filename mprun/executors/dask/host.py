"""The bridge's connection to the agent on one host: two streams of messages, by calls to a relay.

A call that fails is made again, because the streams have offsets, until the host counts as lost: its worker
is not known to the scheduler any more, its agent has ended, or nothing has come from it for too long.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from mprun.executors.dask.relay import OPERATION
from mprun.launcher.channel import FrameDecoder, frame, messages_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

# How long a relay waits for something to answer, in seconds.
ANSWER_SECONDS = 5.0
# Between two attempts to reach a relay, in seconds.
RETRY_INTERVAL = 0.2
# How often the agent hears that the bridge is there, as a part of the time after which it counts as gone.
BEATS_PER_TIMEOUT = 6
# How much is sent in one call, in bytes.
MAX_SENT_BYTES = 1 << 20


class Host:
    """One worker of a run; `name` is its host's, `slots` how many attempts it runs at once.

    `receive` gets each message, `lose` once why the host is lost.
    """

    def __init__(self, client: Client, number: int, address: str, facts: dict[str, Any], slots: int) -> None:
        self.number = number
        self.address = address
        self.name: str = facts["host"]
        self.facts = facts
        self.slots = slots
        # The agent's pid and the launcher's, once they are known.
        self.main_pid = 0
        self.modules: dict[str, str] = {}
        # What is added to readings of its clock: the least that was seen, which has the shortest way in it.
        self.clock_offset = float("inf")
        self._client = client
        self._key = os.urandom(8).hex()
        self._decoder = FrameDecoder()
        self._unsent: list[tuple[Any, ...]] = []
        self._is_wanted = asyncio.Event()
        self._heard = time.monotonic()
        self.is_over = False

    def __str__(self) -> str:
        return f"{self.name} (worker {self.address})"

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
        """Start the agent, and exchange messages with it until it is over."""
        try:
            _, why = await self._call_until(timeout, "open", keep=timeout)
            if not why:
                why = await self._exchange(timeout, receive)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if not self.is_over:
            self.is_over = True
            lose(self, why or "its agent has ended")

    async def _exchange(self, timeout: float, receive: Callable[[Host, list[tuple[Any, ...]]], None]) -> str:
        """Exchange messages until one way of doing so is over; why that is."""
        self.send("timeout", timeout)
        ways = (self._send_all(timeout), self._receive_all(timeout, receive), self._beat(timeout))
        streams = [asyncio.create_task(way) for way in ways]
        done, others = await asyncio.wait(streams, return_when=asyncio.FIRST_COMPLETED)
        for stream in others:
            stream.cancel()
        return next((stream.result() for stream in done if stream.result()), "")

    async def _call(self, action: str, **details: Any) -> Any:
        relay = self._client.rpc(self.address)
        return await getattr(relay, OPERATION)(action=action, key=self._key, **details)

    async def _call_until(self, timeout: float, action: str, **details: Any) -> tuple[Any, str]:
        """The answer to a call, which is made again if it fails; why there will be none."""
        while True:
            try:
                answer = await asyncio.wait_for(self._call(action, **details), ANSWER_SECONDS * 2)
            except (OSError, TimeoutError):
                if time.monotonic() - self._heard > timeout:
                    return None, f"it was not heard of for {timeout:g}s"
                # The scheduler notices the end of a worker as soon as this process does, not before. To
                # connect to one that has ended would take until the call times out.
                await asyncio.sleep(RETRY_INTERVAL)
                if not await self._is_known():
                    return None, "its worker has ended"
                continue
            return answer, "" if answer is not None else "its worker was restarted"

    async def _is_known(self) -> bool:
        """Whether the scheduler still counts on the worker, as far as that can be asked."""
        try:
            scheduler: Any = self._client.scheduler
            found = await asyncio.wait_for(scheduler.identity(), ANSWER_SECONDS)
        except (OSError, TimeoutError):
            return True
        return self.address in found["workers"]

    async def _send_all(self, timeout: float) -> str:
        offset = 0
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            data = frame(self._unsent)
            self._unsent.clear()
            for at in range(0, len(data), MAX_SENT_BYTES):
                piece = data[at : at + MAX_SENT_BYTES]
                taken, why = await self._call_until(timeout, "send", offset=offset, data=piece)
                if why:
                    return why
                if not taken:
                    # The other stream has the last words of the agent.
                    await asyncio.sleep(timeout)
                    return "its agent has ended"
                offset += len(piece)

    async def _receive_all(
        self, timeout: float, receive: Callable[[Host, list[tuple[Any, ...]]], None]
    ) -> str:
        offset = 0
        while True:
            answer, why = await self._call_until(timeout, "receive", offset=offset, wait=ANSWER_SECONDS)
            if why:
                return why
            data, is_end = answer
            offset += len(data)
            if messages := messages_of(self._decoder, data) if data else []:
                self._heard = time.monotonic()
                receive(self, messages)
            elif time.monotonic() - self._heard > timeout:
                return f"its agent was not heard of for {timeout:g}s"
            if is_end:
                return "its agent has ended"

    async def _beat(self, timeout: float) -> str:
        while True:
            await asyncio.sleep(timeout / BEATS_PER_TIMEOUT)
            self.send("beat")

    def note_clock(self, reading: float) -> None:
        """Take a reading of the host's clock, which has just arrived."""
        self.clock_offset = min(self.clock_offset, time.monotonic() - reading)
