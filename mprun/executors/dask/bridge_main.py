"""The program of the bridge's process: what it imports, serves, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
from typing import TYPE_CHECKING

from mprun.executors.dask import lean_distributed
from mprun.executors.dask.bridge import Bridge

if TYPE_CHECKING:
    from typing import NoReturn


def serve(descriptor: int) -> NoReturn:
    """Run a bridge that serves this end of a socket pair; does not return."""
    code = 1
    try:
        # What dask has to say of the cluster is not for the terminal of the run.
        logging.disable(logging.CRITICAL)
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        with contextlib.suppress(Exception):
            # If it cannot be imported, the answer to the engine's first request says so.
            lean_distributed.import_core()
        gc.freeze()
        gc.enable()
        asyncio.run(Bridge(sock).serve())
        code = 0
    finally:
        os._exit(code)
