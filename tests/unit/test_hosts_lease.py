"""What a run asks of dask's scheduler and workers, with a real scheduler: it has neither run code of ours."""

import asyncio
import contextlib
import pickletools
import resource
from importlib.metadata import version

import pytest

pytest.importorskip("distributed")

from distributed import Scheduler

from mprun.executors.dask import cluster, lease
from mprun.executors.dask.refused import Refused


@contextlib.asynccontextmanager
async def connected():
    """A scheduler, and what is connected to it as for a run."""
    where = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    async with Scheduler(**where, dashboard=False, validate=True) as scheduler:
        found = cluster.Cluster(lambda what: None)
        options = dict.fromkeys(("scheduler_file", "tls_ca", "tls_cert", "tls_key"))
        await found.connect({"scheduler": scheduler.address, **options})
        try:
            yield scheduler, found
        finally:
            await found.close()


async def until(holds):
    async with asyncio.timeout(40):
        while not holds():
            await asyncio.sleep(0.01)


def test_a_scheduler_is_not_idle_during_a_run_and_runs_nothing_for_it(monkeypatch):
    monkeypatch.setattr(lease, "INTERVAL", 0.01)

    async def go():
        async with connected() as (scheduler, found):
            scheduler.handlers["run_function"] = None
            scheduler.periodic_callbacks["idle-timeout"].stop()
            scheduler.check_idle()
            assert scheduler.check_idle() is not None
            awake = asyncio.create_task(found.keep_awake())
            for _ in range(3):
                before = scheduler.transition_counter
                await until(lambda before=before: scheduler.transition_counter > before)
                assert scheduler.check_idle() is None
            awake.cancel()
            await until(lambda: not any(name.startswith("mprun") for name in scheduler.clients))
            assert not scheduler.tasks

    asyncio.run(go())


def test_a_connection_that_fails_or_ends_is_made_again(monkeypatch):
    monkeypatch.setattr(lease, "INTERVAL", 0.01)

    async def go():
        async with connected() as (scheduler, _):
            made = []
            real = cluster.import_core().connect

            async def connect():
                made.append(None)
                if len(made) == 1:
                    raise ValueError
                made[-1] = await real(scheduler.address, deserialize=False)
                return made[-1]

            awake = asyncio.create_task(lease.keep_awake(connect))
            await until(lambda: len(made) == 2 and scheduler.transition_counter)
            before = scheduler.transition_counter
            made[1].abort()
            await until(lambda: len(made) == 3 and scheduler.transition_counter > before)
            awake.cancel()

    asyncio.run(go())


def test_a_scheduler_that_takes_no_clients_is_left_alone(monkeypatch):
    monkeypatch.setattr(lease, "INTERVAL", 0.01)

    class Comm:
        async def write(self, message):
            pass

        async def read(self):
            return {"status": "error"}

        def abort(self):
            pass

    async def connect():
        return Comm()

    asyncio.run(asyncio.wait_for(lease.keep_awake(connect), 20))


def test_long_calls_to_many_hosts_do_not_keep_another_call_waiting():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("needs 2048 open files")

    async def go():
        release = asyncio.Event()

        async def hold():
            await release.wait()

        async with connected() as (scheduler, found):
            scheduler.handlers["hold"] = hold
            calls = [asyncio.create_task(found._scheduler.hold()) for _ in range(600)]
            await asyncio.sleep(0)
            assert await asyncio.wait_for(found.workers(), 30) == {}
            release.set()
            await asyncio.gather(*calls)

    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    try:
        asyncio.run(go())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Worker:
    """A worker of another Python; `function` is what it was asked to run."""

    async def run(self, function, **rest):
        self.function = function
        return {"status": "OK", "result": {"python": "3.9.1", "mprun": version("mprun"), "host": "h"}}


def test_a_worker_of_another_python_is_refused_and_was_sent_a_name_alone():
    worker = Worker()

    async def go():
        found = cluster.Cluster(lambda what: None)
        found._pool = lambda address: worker
        await found.install("tcp://w", {"resources": {}, "nthreads": 1}, 10)

    with pytest.raises(Refused, match=r"the dask worker tcp://w has Python 3\.9\.1, and this machine 3\.1"):
        asyncio.run(go())
    texts = [text for _, text, _ in pickletools.genops(worker.function) if isinstance(text, str)]
    assert texts[:2] == ["mprun.executors.dask.relay", "install"]
    assert not any("code" in text for text in texts)
