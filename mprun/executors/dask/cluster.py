"""The cluster of a run: connects to its scheduler, or starts one here, and finds its workers.

What is asked of dask's scheduler and workers is what its own client asks of them, over the same kind of
connections. The client itself would take longer to import, and keep a state of its own at the scheduler.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mprun.executors.dask import lease, tls
from mprun.executors.dask.code_check import own_python
from mprun.executors.dask.host import Host
from mprun.executors.dask.lean_distributed import import_core
from mprun.executors.dask.refused import Refused
from mprun.executors.dask.relay import install
from mprun.linux.procfs import count_cores

if TYPE_CHECKING:
    from collections.abc import Callable

# How many workers the cluster has that is started if none is named.
LOCAL_WORKERS = 2
# How long the scheduler may take to answer, and then its first worker to come, in seconds.
CONNECT_SECONDS = 10.0
WORKERS_SECONDS = 10.0
# How many workers are listed, if it is waited for them.
MAX_LISTED = 5
# How long dask may take to close what is ours of it, in seconds.
_CLOSE_SECONDS = 15.0


class Cluster:
    """The connections to a cluster, and the cluster itself if it was started for the run.

    `note_waiting` is told what it is going to wait for, in words.
    """

    def __init__(self, note_waiting: Callable[[str], None]) -> None:
        self._note_waiting = note_waiting
        self._pool: Any = None
        self._scheduler: Any = None
        self._cluster: Any = None
        self._starting: asyncio.Future[Any] | None = None
        self._scratch = ""
        self._numbers = itertools.count()

    async def connect(self, options: dict[str, Any]) -> None:
        """Connect to the scheduler that the options of a run name. Raises Refused."""
        address, path = options["scheduler"], options["scheduler_file"]
        where = address or path or "the local cluster"
        security = tls.security(options)
        self._note_waiting(f"dask at {where}")
        try:
            core = import_core()
            if path:
                address = await _address_in(path)
            elif not address:
                address = await self._start_local()
            if security is None:
                from distributed.security import Security

                # Without types.
                make: Any = Security
                security = make()
            self._pool = await core.ConnectionPool(
                # Each host has a call that waits for long, beside a few short ones: they take no turns.
                limit=sys.maxsize,
                connection_args=security.get_connection_args("client"),
            )
            self._scheduler = self._pool(address)
            await self._require_scheduler(address)
        except (OSError, TimeoutError, ValueError, TypeError, ImportError, RuntimeError) as error:
            why, help = str(error) or type(error).__name__, tls.hint(options)
            if address and isinstance(error, TimeoutError):
                why = await _why_silent(address)
            raise Refused(f"cannot connect to dask at {where}: {why}{help}") from None

    async def _require_scheduler(self, address: str) -> None:
        """Raise Refused if a worker of dask's answers, or the like, and TimeoutError if nothing does."""
        answer = await asyncio.wait_for(self._scheduler.identity(), CONNECT_SECONDS)
        if "workers" not in answer:
            raise Refused(
                f"{address} is the address of dask's {answer.get('type')}, not of its scheduler; a scheduler "
                "writes its own to the file that its option `--scheduler-file` names"
            )

    async def _start_local(self) -> str:
        """Start a cluster on this machine; the address of its scheduler."""
        import distributed

        # Without types.
        make: Any = distributed.LocalCluster
        self._scratch = tempfile.mkdtemp(prefix="mprun-dask-")
        self._cluster = make(
            n_workers=LOCAL_WORKERS,
            threads_per_worker=max(1, count_cores() // LOCAL_WORKERS),
            asynchronous=True,
            dashboard_address=None,
            local_directory=self._scratch,
            silence_logs=logging.CRITICAL,
        )
        self._starting = asyncio.ensure_future(self._cluster)
        # Dask forgets the workers of a cluster that is interrupted while it starts.
        await asyncio.shield(self._starting)
        address: str = self._cluster.scheduler_address
        return address

    async def first_hosts(self, timeout: float) -> tuple[list[Host], list[str]]:
        """A host for each worker that has a slot, once there are workers, and the addresses of others.

        These have not answered within `timeout` seconds. Raises Refused.
        """
        deadline = time.monotonic() + WORKERS_SECONDS
        self._note_waiting(f"a worker of the dask scheduler {self._scheduler.addr}")
        try:
            while not (workers := await self.workers()):
                if time.monotonic() >= deadline:
                    raise Refused(
                        f"the dask scheduler {self._scheduler.addr} has no workers; start some with "
                        "`dask worker`"
                    )
                await asyncio.sleep(0.1)
        except (OSError, TimeoutError) as error:
            raise Refused(f"the dask scheduler does not answer: {_words(error)}") from None
        addresses = sorted(workers)
        listed = ", ".join(addresses[:MAX_LISTED]) + (", ..." if len(addresses) > MAX_LISTED else "")
        self._note_waiting(f"an answer of dask's workers {listed}")
        installing = (self.install(address, workers[address], timeout) for address in addresses)
        found = dict(zip(addresses, await asyncio.gather(*installing, return_exceptions=True), strict=True))
        for refused in found.values():
            if isinstance(refused, BaseException) and not isinstance(refused, OSError | TimeoutError):
                raise refused
        hosts = [host for host in found.values() if isinstance(host, Host)]
        silent = [address for address, error in found.items() if isinstance(error, BaseException)]
        if not hosts and silent:
            raise Refused(
                f"no worker of dask has answered within {timeout:g}s: {_words(found[silent[0]])}; "
                f"each must be reachable from here, as {silent[0]}"
            )
        if not hosts:
            raise Refused("no dask worker answers with a slot; has each the worker resource `mprun` of 0?")
        return hosts, silent

    async def workers(self) -> dict[str, Any]:
        """What the scheduler says of its workers, by their addresses. Raises OSError or TimeoutError."""
        try:
            answer = await asyncio.wait_for(self._scheduler.identity(), CONNECT_SECONDS)
        except RuntimeError as error:
            raise OSError(f"the connections to dask are closed: {error}") from None
        found: dict[str, Any] = answer["workers"]
        return found

    async def install(self, address: str, found: dict[str, Any], timeout: float) -> Host | None:
        """Have a worker answer calls, of which the scheduler says what it has `found`.

        None if it has no slot. Raises Refused if it cannot be used, and OSError or TimeoutError if it does
        not answer within `timeout` seconds: it may have ended, or be out of reach.
        """
        try:
            facts = await asyncio.wait_for(_run(self._pool(address), install), timeout)
        except (OSError, TimeoutError):
            raise
        except Exception as error:
            raise Refused(
                f"the dask worker {address} cannot run mprun: {error}; install the same version of mprun "
                "on every host"
            ) from None
        if facts["mprun"] != (here := version("mprun")):
            raise Refused(
                f"the dask worker {address} has mprun {facts['mprun']}, and this is {here}; install the "
                "same version of mprun on every host"
            )
        if facts["python"] != (here := own_python()):
            raise Refused(
                f"the dask worker {address} has Python {facts['python']}, and this machine {here}; install "
                "the same Python on every host"
            )
        host = Host(self._pool, self.workers, next(self._numbers), address, facts, found)
        return host if host.slots > 0 else None

    async def keep_awake(self) -> None:
        """Let no scheduler close as idle while the run lasts: dask does not see its tasks."""
        core = import_core()
        address, arguments = self._scheduler.addr, self._pool.connection_args
        # Nothing that it says is unpickled here.
        await lease.keep_awake(lambda: core.connect(address, deserialize=False, **arguments))

    async def close(self) -> None:
        """Disconnect, and end the cluster if it was started for the run."""
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=_CLOSE_SECONDS)
        for owned in (self._pool, self._cluster):
            if owned is not None:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(owned.close(), _CLOSE_SECONDS)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


async def _why_silent(address: str) -> str:
    """Why nothing of dask's answers there; dask itself tries until the time is up, and does not say."""
    from distributed.comm.addressing import get_address_host_port

    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(*get_address_host_port(address)), 1.0)
    except TimeoutError:
        pass
    except (OSError, ValueError, OverflowError) as error:
        number: int = getattr(error, "errno", None) or 0
        return os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
    else:
        writer.close()
    return f"no scheduler has answered within {CONNECT_SECONDS:g}s"


async def _address_in(path: str) -> str:
    """The address in the file that a scheduler writes. Raises OSError or ValueError."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            with open(path, encoding="utf-8") as file:
                address = json.load(file)["address"]
            if isinstance(address, str):
                return address
            raise TypeError
        except (ValueError, KeyError, TypeError):
            # It may be about to be written.
            if time.monotonic() >= deadline:
                raise ValueError("the file does not have the address of a scheduler") from None
        await asyncio.sleep(0.05)


async def _run(worker: Any, function: Callable[[Any], Any]) -> Any:
    """What a function returns on a worker; raises what it raises there.

    It is sent by its name: code of another Python would crash the worker.
    """
    from distributed.core import clean_exception
    from distributed.protocol.pickle import dumps

    # Without types.
    pack: Any = dumps
    unpack: Any = clean_exception
    answer = await worker.run(function=pack(function), args=pack(()), kwargs=pack({}), wait=True)
    if answer["status"] != "OK":
        raise unpack(**answer)[1]
    return answer["result"]


def _words(error: object) -> str:
    return str(error) or type(error).__name__
