"""The hosts of a run: they come and go with dask's workers, and share the slots of the run.

A host is lost if its worker or its agent has ended, or is not heard of. It gets no further attempts then, but
those that it has count as running until nothing of it can run any more: the bridge gives them up only then,
so that none of them runs twice at once. That is certain once no process of the agent is left on its machine,
as far as another worker there can tell, or at `Host.ends_at`. What that worker still sees then, it kills.

Before the first start a host that is lost is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol

from mprun.executors.base import ExecutorLost
from mprun.executors.dask.code_check import differences
from mprun.executors.dask.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from mprun.executors.base import PrepareReply, PrepareRequest, Report
    from mprun.executors.dask.cluster import Cluster
    from mprun.executors.dask.host import Host
    from mprun.executors.dask.placement import Placement

    class Owner(Protocol):
        """The bridge."""

        def spawn(self, work: Coroutine[Any, Any, Any]) -> object: ...
        def receive(self, host: Host, messages: list[tuple[Any, ...]]) -> None: ...
        def report(self, report: Report) -> None: ...
        def give_up(self, host: Host, why: str, left: Sequence[tuple[int, int]]) -> None: ...
        def tell(self, change: str, host: str, **facts: Any) -> None: ...
        def tell_slots(self, more: int, reason: str = "") -> None: ...
        def place(self) -> None: ...


# How often it is looked which workers there are, in seconds.
WATCH_SECONDS = 1.0
# How often it is looked whether a lost host is gone, in seconds, and how often it must have seemed so: a
# process that becomes another program shows no variables for an instant.
GONE_INTERVAL = 0.2
GONE_TIMES = 2
# How long what is still seen by then may take to be gone, in seconds, while it is killed again and again.
KILL_SECONDS = 5.0
# How often a worker is used again after a loss of its agent.
MAX_JOINS = 4


class Membership:
    """The hosts of one run, by the names by which the placement knows them: their numbers, as texts."""

    def __init__(self, cluster: Cluster, placement: Placement, owner: Owner) -> None:
        self.hosts: dict[str, Host] = {}
        self.is_suspended = False
        self._cluster = cluster
        self._placement = placement
        self._owner = owner
        self.timeout = 0.0
        self._limit: int | None = None
        self._request: PrepareRequest | None = None
        # The first answers, until there are all, and who has answered well, with whether it is in use.
        self._replies: dict[str, PrepareReply] | None = None
        self._members: dict[str, bool] = {}
        # The hosts that are lost and not given up.
        self._leaving: set[str] = set()
        self._reference: Host | None = None
        # By address: how often a worker has joined, and which ones are not asked again.
        self._joins: dict[str, int] = {}
        self._refused: set[str] = set()
        # And those that are being asked.
        self._installing: set[str] = set()
        # Why no host was left before the preparation, "" if there are some.
        self._lost_before = ""
        # How many slots the engine knows of.
        self._told_slots = 0
        self._closing: asyncio.Event | None = None
        self._alone: asyncio.TimerHandle | None = None

    # ---- the beginning

    async def open(self, options: dict[str, Any]) -> None:
        """Connect, and use the workers that are there. Raises Refused."""
        self.timeout = options["host_timeout"]
        self._limit = options["max_parallel"]
        await self._cluster.connect(options)
        hosts, silent = await self._cluster.first_hosts(self.timeout)
        for host in hosts:
            self._add(host)
        for address in silent:
            self._owner.tell("refused", address, reason=f"it did not answer within {self.timeout:g}s")
        self._owner.spawn(self._cluster.keep_awake())
        slots = sum(host.slots for host in self.hosts.values())
        self._told_slots = slots if self._limit is None else min(slots, self._limit)

    def _add(self, host: Host) -> None:
        self.hosts[str(host.number)] = host
        self._placement.resources[str(host.number)] = host.resources
        self._joins[host.address] = self._joins.get(host.address, 0) + 1
        self._owner.spawn(host.run(self.timeout, self._owner.receive, self.lose))

    def prepare(self, request: PrepareRequest) -> None:
        """Have the hosts import the targets."""
        if self._lost_before:
            self._owner.report(ExecutorLost(how=self._lost_before))
            return
        self._request, self._replies = request, {}
        for host in self.hosts.values():
            self._ask(host, request)

    def _ask(self, host: Host, request: PrepareRequest) -> None:
        host.send("prepare", request.replace(max_parallel=host.slots).to_tuple())

    def handle_prepared(self, host: Host, reply: PrepareReply) -> None:
        """A host has imported the targets, or cannot."""
        if host.is_over:
            # It was lost meanwhile: what it says comes late.
            return
        host.main_pid = reply.pid
        if self._replies is None:
            self._join(host, reply)
            return
        self._replies[str(host.number)] = reply
        self._begin_if_all(self._replies)

    def _begin_if_all(self, replies: dict[str, PrepareReply]) -> None:
        if replies.keys() >= self.hosts.keys():
            self._replies = None
            self._begin(replies)

    def _begin(self, replies: dict[str, PrepareReply]) -> None:
        self._members = dict.fromkeys(replies, True)
        used = [self.hosts[name] for name in replies]
        self._reference = used[0]
        failed = next((host for host in used if replies[str(host.number)].errors), None)
        errors = () if failed is None else replies[str(failed.number)].errors
        if failed is not None and not all(reply.errors for reply in replies.values()):
            errors = tuple(error.replace(message=f"on {failed}: {error.message}") for error in errors)
        lacking = tuple(f"{host}: {text}" for host in used for text in replies[str(host.number)].differences)
        self._owner.report(
            replies[str(used[0].number)].replace(
                errors=errors,
                threads=tuple(dict.fromkeys(name for reply in replies.values() for name in reply.threads)),
                refused=tuple(dict.fromkeys(name for reply in replies.values() for name in reply.refused)),
                differences=() if errors else lacking or differences(used),
                hosts=tuple({"host": host.name, **self._facts(host)} for host in used),
            )
        )
        self._tell_slots()
        self._owner.spawn(self._watch())

    def _facts(self, host: Host) -> dict[str, Any]:
        return {
            "worker": host.address,
            "main_pid": host.main_pid,
            "slots": host.slots,
            "boot_id": host.facts["boot_id"],
        }

    # ---- slots

    @property
    def slots(self) -> int:
        """How many attempts run at once now."""
        names = [name for name, in_use in self._members.items() if in_use]
        # The engine counts the attempts on lost hosts as running until they are given up.
        slots = sum(self.hosts[name].slots for name in (*names, *self._leaving))
        return slots if self._limit is None else min(slots, self._limit)

    def _share(self) -> None:
        """Share the slots among the hosts; those of attempts on lost hosts are taken until these are over."""
        capacities = {name: self.hosts[name].slots for name, in_use in self._members.items() if in_use}
        limit = sum(capacities.values())
        if self._limit is not None:
            limit = self._limit - self._placement.left_behind
        self._placement.share(capacities, limit)

    def _tell_slots(self) -> None:
        self._share()
        if self.slots != self._told_slots:
            self._owner.tell_slots(self.slots - self._told_slots)
            self._told_slots = self.slots
        self._owner.place()

    # ---- workers that come

    async def _watch(self) -> None:
        while self._closing is None:
            await asyncio.sleep(WATCH_SECONDS)
            if self.is_suspended:
                continue
            with contextlib.suppress(OSError, TimeoutError):
                await self._look(await self._cluster.workers())

    async def _look(self, workers: dict[str, Any]) -> None:
        """Use new workers, and give nothing to those that are about to leave."""
        self._refused &= workers.keys()
        self._joins = {address: times for address, times in self._joins.items() if address in workers}
        for name in self._members:
            found = workers.get(self.hosts[name].address)
            self._members[name] = found is not None and found["status"] == "running"
        self._tell_slots()
        known = {host.address for host in self.hosts.values() if not host.is_over}
        known |= self._refused | self._installing
        for address, found in workers.items():
            has_failed = self._joins.get(address, 0) >= MAX_JOINS
            if address not in known and found["status"] == "running" and not has_failed:
                self._installing.add(address)
                self._owner.spawn(self._install(address, found))

    async def _install(self, address: str, found: dict[str, Any]) -> None:
        """Begin to use a new worker; one that does not answer is asked again while it is there."""
        host = None
        try:
            host = await self._cluster.install(address, found, self.timeout)
        except Refused as refused:
            self._refused.add(address)
            self._owner.tell("refused", address, reason=str(refused))
        except (OSError, TimeoutError):
            pass
        finally:
            self._installing.discard(address)
        if host is not None and self._closing is None and self._request is not None:
            self._add(host)
            self._ask(host, self._request)

    def _join(self, host: Host, reply: PrepareReply) -> None:
        problems = [error.message for error in reply.errors]
        if not problems and self._reference is not None:
            problems = list(reply.differences or differences((self._reference, host)))
        if problems:
            self._refused.add(host.address)
            host.is_over = True
            host.send("close")
            self._owner.tell("refused", host.name, worker=host.address, reason="; ".join(problems))
            return
        self._members[str(host.number)] = True
        if self._alone is not None:
            self._alone.cancel()
            self._alone = None
        self._owner.tell("joined", host.name, **self._facts(host))
        if self.is_suspended:
            # Before it is sent anything to start.
            host.send("suspend")
        self._tell_slots()

    # ---- workers that go

    def lose(self, host: Host, why: str, *, is_gone: bool = False) -> None:
        """A host is lost; with `is_gone` nothing of it runs any more."""
        host.is_over = True
        name = str(host.number)
        if host.is_worker_gone:
            # What comes under its address is another one.
            self._joins.pop(host.address, None)
        if self._closing is not None:
            self._note_closed()
        elif self._request is None or self._replies is not None:
            self._leave_out(host, why)
        elif self._members.pop(name, None) is not None:
            self._leaving.add(name)
            self._placement.leave(name)
            self._share()
            self._owner.spawn(self._give_up(host, why, is_gone=is_gone))
        elif name not in self._leaving:
            # It has had no attempts.
            host.is_given_up = True
            self._forget(host)

    def _forget(self, host: Host) -> None:
        """Keep nothing of a host that is given up: workers may come and go for days."""
        self.hosts.pop(str(host.number), None)
        self._placement.resources.pop(str(host.number), None)

    def _leave_out(self, host: Host, why: str) -> None:
        """Begin without a host: it has had no attempts."""
        host.is_given_up = True
        self._forget(host)
        self._owner.tell("lost", host.name, worker=host.address, reason=why)
        how = f"on {host}: {why}"
        if self._replies is None:
            self._lost_before = "" if self.hosts else how
        elif self.hosts:
            self._replies.pop(str(host.number), None)
            self._begin_if_all(self._replies)
        else:
            self._owner.report(ExecutorLost(how=how))

    async def _give_up(self, host: Host, why: str, *, is_gone: bool) -> None:
        left = [] if is_gone else await self._await_end(host)
        # With the last host goes the run, if no other one can come.
        is_last = not self._members and len(self._leaving) == 1
        has_scheduler = not is_last or await self._has_scheduler()
        self._leaving.discard(str(host.number))
        host.is_given_up = True
        if self._closing is not None:
            return
        self._owner.tell("lost", host.name, worker=host.address, reason=why)
        # Before the end of the run, which takes what is not known to have begun for cancelled.
        self._owner.give_up(host, why, left)
        self._forget(host)
        if not has_scheduler and not self._members:
            self._end_alone(host, why)
            return
        self._tell_slots()
        if is_last and not self._members:
            self._owner.tell_slots(0, f"no host is left; waiting {self.timeout:g}s for another one")
            self._wait_alone(host, why)

    async def _await_end(self, host: Host) -> Sequence[tuple[int, int]]:
        """Wait until nothing of a lost host runs any more, as far as is known; what is left all the same."""
        times = 0
        # What was last seen: a worker that has much to kill may take too long to answer.
        left: Sequence[tuple[int, int]] = []
        while True:
            found = await self._remains(host, kill=time.monotonic() >= host.ends_at)
            times = times + 1 if found == [] else 0
            left = left if found is None else found
            end = host.ends_at + (KILL_SECONDS if left else 0.0)
            if times == GONE_TIMES or time.monotonic() >= end:
                return left
            await asyncio.sleep(GONE_INTERVAL)

    def _wait_alone(self, host: Host, why: str) -> None:
        loop = asyncio.get_running_loop()
        self._alone = loop.call_later(self.timeout, self._end_alone, host, why)

    async def _has_scheduler(self) -> bool:
        try:
            await self._cluster.workers()
        except (OSError, TimeoutError):
            return False
        return True

    async def _remains(self, host: Host, *, kill: bool) -> list[tuple[int, int]] | None:
        """What a worker on the same machine, or its own, sees of a lost host; None if none can tell."""
        others = [other for other in self.hosts.values() if other is host or not other.is_over]
        answers = await asyncio.gather(*(other.remains_of(host, kill=kill) for other in others))
        return next((answer for answer in answers if answer is not None), None)

    def _end_alone(self, host: Host, why: str) -> None:
        if self.is_suspended:
            # Meanwhile it is not looked for other workers.
            self._wait_alone(host, why)
            return
        self._owner.report(ExecutorLost(how=f"no host is left; the last one, {host}: {why}"))

    # ---- the end

    def handle_closed(self, host: Host) -> None:
        """An agent has ended in order: nothing is left of it."""
        host.is_over = True
        if self._closing is None and str(host.number) not in self._leaving:
            # It was refused.
            self._forget(host)
        self._note_closed()

    def _note_closed(self) -> None:
        if self._closing is not None and all(host.is_over for host in self.hosts.values()):
            self._closing.set()

    async def close(self, timeout: float) -> None:
        """End the agents, and wait until nothing is left on any host."""
        self._closing = asyncio.Event()
        for host in self.hosts.values():
            if not host.is_over:
                host.send("close")
        self._note_closed()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), timeout)
