"""The cluster of a run: connects to its scheduler, or starts one here, and finds its workers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shutil
import tempfile
import time
from importlib.metadata import version
from typing import Any

from mprun.executors.dask import tls
from mprun.executors.dask.host import Host
from mprun.executors.dask.refused import Refused
from mprun.executors.dask.relay import install
from mprun.linux.procfs import count_cores

# How many workers the cluster has that is started if none is named.
LOCAL_WORKERS = 2
# How long the scheduler may take to answer, and then its first worker to come, in seconds.
CONNECT_SECONDS = 10.0
WORKERS_SECONDS = 10.0
# For how long the client tries to reach a scheduler that it has lost, in seconds: as long as a run may be.
RECONNECT_SECONDS = 1e9
# How long workers may take to be ready to answer calls, in seconds.
INSTALL_SECONDS = 30.0
# How long dask may take to close what is ours of it, in seconds.
_CLOSE_SECONDS = 15.0


def import_client() -> Any:
    """Import dask's client."""
    import distributed

    # Without types.
    return distributed.Client


class Cluster:
    """Dask's client, and the cluster if it was started for the run."""

    def __init__(self) -> None:
        self._client: Any = None
        self._cluster: Any = None
        self._starting: asyncio.Future[Any] | None = None
        self._scratch = ""
        self._numbers = itertools.count()

    async def connect(self, options: dict[str, Any]) -> None:
        """Connect to the scheduler that the options of a run name. Raises Refused."""
        address, path = options["scheduler"], options["scheduler_file"]
        where = address or path or "the local cluster"
        security = tls.security(options)
        try:
            make_client = import_client()
            if not address and not path:
                import distributed

                # Without types.
                make_cluster: Any = distributed.LocalCluster
                self._scratch = tempfile.mkdtemp(prefix="mprun-dask-")
                self._cluster = make_cluster(
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
            self._client = make_client(
                self._cluster or address,
                scheduler_file=path,
                security=security,
                asynchronous=True,
                timeout=CONNECT_SECONDS,
                set_as_default=False,
            )
            await self._client
            # Else it closes itself when it has been without its scheduler for as long as it may take to
            # connect, and with it the connections to all workers. The name is dask's own: if it has another
            # one, the hosts are lost then.
            self._client._timeout = RECONNECT_SECONDS
        except (OSError, TimeoutError, ValueError, TypeError, ImportError, RuntimeError) as error:
            help = tls.hint(options)
            raise Refused(
                f"cannot connect to dask at {where}: {str(error) or type(error).__name__}{help}"
            ) from None

    async def first_hosts(self) -> list[Host]:
        """A host for each worker that has a slot, once there are workers. Raises Refused."""
        deadline = time.monotonic() + WORKERS_SECONDS
        while not (workers := await self.workers()):
            if time.monotonic() >= deadline:
                raise Refused(
                    f"the dask scheduler {self._client.scheduler.address} has no workers; start some with "
                    "`dask worker`"
                )
            await asyncio.sleep(0.1)
        try:
            hosts, refused = await self.install(workers)
        except (OSError, TimeoutError) as error:
            raise Refused(
                f"the workers of dask do not answer: {str(error) or type(error).__name__}"
            ) from None
        for reason in refused.values():
            raise Refused(reason)
        if not hosts:
            raise Refused("no dask worker answers with a slot; has each the worker resource `mprun` of 0?")
        return hosts

    async def workers(self) -> dict[str, Any]:
        """What the scheduler says of its workers, by their addresses. Raises OSError or TimeoutError."""
        try:
            answer = await asyncio.wait_for(self._client.scheduler.identity(), CONNECT_SECONDS)
        except (RuntimeError, AttributeError) as error:
            raise OSError(f"dask's client has closed itself: {error}") from None
        found: dict[str, Any] = answer["workers"]
        return found

    async def install(self, workers: dict[str, Any]) -> tuple[list[Host], dict[str, str]]:
        """Have workers answer calls: a host for each that has a slot, and why others cannot be used.

        One that does not answer is in neither. Raises OSError or TimeoutError.
        """
        asking = self._client.run(install, workers=list(workers), on_error="return")
        answers = await asyncio.wait_for(asking, INSTALL_SECONDS)
        hosts, refused = [], {}
        for address, facts in sorted(answers.items()):
            if isinstance(facts, OSError | TimeoutError):
                # It may have ended since, or be out of reach.
                continue
            if isinstance(facts, BaseException):
                refused[address] = (
                    f"the dask worker {address} cannot run mprun: {facts}; install the same version of mprun "
                    "on every host"
                )
            elif facts["mprun"] != (here := version("mprun")):
                refused[address] = (
                    f"the dask worker {address} has mprun {facts['mprun']}, and this is {here}; install the "
                    "same version of mprun on every host"
                )
            else:
                host = Host(self._client, self.workers, next(self._numbers), address, facts, workers[address])
                if host.slots > 0:
                    hosts.append(host)
        return hosts, refused

    async def close(self) -> None:
        """Disconnect, and end the cluster if it was started for the run."""
        if self._starting is not None:
            await asyncio.wait([self._starting], timeout=_CLOSE_SECONDS)
        for owned in (self._client, self._cluster):
            if owned is not None:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(owned.close(), _CLOSE_SECONDS)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
