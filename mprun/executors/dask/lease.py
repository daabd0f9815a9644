"""Keeps dask's scheduler from closing as idle: it counts tasks of its own clients, and sees none of mprun's.

To it, this is a client that names a piece of data, which no worker has, and lets go of it at once: that is a
change of state, after which the scheduler is not idle. It runs nothing, and nothing of it is ever unpickled
there, so that the Python of the scheduler does not matter. What is left of a client ends with its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# How often the scheduler sees a change, in seconds: what it takes for idle is not known, and longer.
INTERVAL = 2.0
# How long it may take to answer, in seconds.
ANSWER_SECONDS = 10.0


async def keep_awake(connect: Callable[[], Awaitable[Any]]) -> None:
    """Let the scheduler not be idle until this is cancelled; `connect` makes a connection to it.

    Returns if it does not take this for a client.
    """
    name = f"mprun-{os.urandom(8).hex()}"
    is_client = True
    while is_client:
        # Whatever has failed, it may work later.
        with contextlib.suppress(Exception):
            comm = await connect()
            try:
                if is_client := await _register(comm, name):
                    await _change(comm, name)
            finally:
                comm.abort()
        await asyncio.sleep(INTERVAL)


async def _register(comm: Any, name: str) -> bool:
    await comm.write({"op": "register-client", "client": name, "reply": False, "versions": {}})
    answer = await asyncio.wait_for(comm.read(), ANSWER_SECONDS)
    return any(isinstance(message, dict) and message.get("op") == "stream-start" for message in answer)


async def _change(comm: Any, key: str) -> None:
    """Have the scheduler see changes until the connection ends."""
    reading = asyncio.create_task(_discard(comm))
    try:
        while not reading.done():
            await comm.write(
                [
                    {"op": "update-data", "who_has": {key: []}, "nbytes": {key: 0}},
                    {"op": "client-releases-keys", "keys": [key]},
                ]
            )
            await asyncio.wait({reading}, timeout=INTERVAL)
    finally:
        reading.cancel()
        await asyncio.wait({reading})


async def _discard(comm: Any) -> None:
    """Take what the scheduler says of the data, so that it does not pile up there."""
    with contextlib.suppress(OSError):
        while True:
            await comm.read()
