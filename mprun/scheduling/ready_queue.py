"""Holds the ready tasks until each has a slot and its tokens, and decides which one starts next."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from mprun.scheduling.task_run import HELD, RESOLVING, WAITING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.jobfile.model import Task
    from mprun.scheduling.plan import Plan
    from mprun.scheduling.task_run import Key, TaskRun

# Sorts after every key.
_LAST = (1 << 62,)


class _Queue:
    """Ready tasks that claim the same: if the first of them has to wait, all of them have to."""

    __slots__ = ("blocked", "blocked_in", "claims", "daemon", "keys", "missing")

    def __init__(self, daemon: bool, claims: tuple[tuple[str, int], ...]) -> None:
        self.daemon = daemon
        self.claims = claims
        self.keys: list[Key] = []
        # Whether it waits for tokens, for which it waited last, and in which pass that was.
        self.blocked = False
        self.missing = ""
        self.blocked_in = -1


# A heap of queues, sorted by their first task. An entry is stale if another task is the queue's
# first by now, or if the queue was blocked or unblocked since.
_Heads = list[tuple["Key", _Queue]]


class ReadyQueue:
    """The ready tasks; the one with the lowest key that has a slot and its tokens goes first.

    Daemons take no slot. `ahead` tasks may go before there is a slot for them, so the executor
    need not ask for them. It knows nothing of tokens, so tasks that claim any stay here.

    `passes` counts how often all tasks were taken that may go. `lacked` names the tokens for which the last
    one that went had waited; it is empty if it had waited for none.
    """

    def __init__(self, plan: Plan, task_runs: list[TaskRun], ahead: int) -> None:
        self._task_runs = task_runs
        # The free slots; below zero, how many tasks have gone ahead, or use slots that are gone.
        self.slots = plan.max_parallel
        self._ahead = ahead
        self._tokens = dict(plan.job.resources)
        # One queue for each set of claims: a decision looks at the first task of each, even if ten
        # thousand tasks wait for a token.
        self._queues: dict[tuple[bool, tuple[tuple[str, int], ...]], _Queue] = {}
        self._daemons: _Heads = []
        self._takers: _Heads = []
        # The queues that wait for tokens: those of tasks that take a slot, and all of them by the
        # missing token, sorted by how many of it they claim.
        self._blocked: _Heads = []
        self._lacking: dict[str, list[tuple[int, Key, _Queue]]] = {}
        # The tasks that are being resolved, and some that were.
        self._resolving: list[Key] = []
        # The first of the tasks that will be ready or resolved soon; None if there are none.
        self.held_back: Key | None = None
        # The tasks of the plan in their order, and the index of the first one that waits for another;
        # the index only grows.
        self._sequence = sorted(task_runs, key=_key) if plan.priorities else task_runs
        self._waiting = 0
        self._in_plan = len(task_runs)
        self.lacked = ""
        self.passes = 0

    @property
    def expects_more(self) -> bool:
        """Whether a task is being resolved, and so may be ready an instant later."""
        return self._first_resolving() is not _LAST

    def expect(self, task_run: TaskRun) -> None:
        """A task is being resolved: tasks that come after it go when that is done."""
        heappush(self._resolving, task_run.key)

    def add(self, task_run: TaskRun) -> None:
        """A task is ready."""
        queue = self._queue(task_run.task)
        heappush(queue.keys, task_run.key)
        if queue.keys[0] == task_run.key:
            self._push_head(queue)

    def take(self) -> TaskRun | None:
        """The first task that may go, with its slot and its tokens; None if none may."""
        first = daemon = self._first(self._daemons)
        taker = self._first(self._takers) if self.slots > -self._ahead else None
        if taker is not None and (self.slots > 0 or self._may_go_ahead(taker)):
            first = taker if daemon is None or taker.keys[0] < daemon.keys[0] else daemon
        if first is None or first.keys[0] >= self._first_resolving():
            self.passes += 1
            return None
        task_run = self._task_runs[first.keys[0][-1]]
        if first.claims:
            self.lacked = first.missing if first.blocked_in >= task_run.queued_in else ""
        self._pop(first)
        return task_run

    @property
    def waits(self) -> bool:
        """Whether a task is ready and has not gone, or may be ready an instant later."""
        return self.expects_more or any(queue.keys for queue in self._queues.values())

    @property
    def spare(self) -> int:
        """How many slots no task takes that has all else; below zero, how many such tasks have none."""
        self._first_resolving()
        resolving = [key for key in self._resolving if self._task_runs[key[-1]].state is RESOLVING]
        queues = self._queues.values()
        ready = sum(len(queue.keys) for queue in queues if not (queue.daemon or queue.blocked))
        return self.slots - ready - len(resolving)

    def take_slot(self) -> None:
        """A task goes that was never here."""
        self.slots -= 1

    def release(self, task: Task) -> None:
        """A task that went is over: its slot and its tokens are free."""
        self.slots += not task.daemon
        for name, count in task.resources.items():
            self._tokens[name] += count
            lacking = self._lacking.get(name)
            while lacking and lacking[0][0] <= self._tokens[name]:
                _, _, queue = heappop(lacking)
                queue.blocked = False
                # Tasks that come in the present pass have not waited.
                queue.blocked_in = self.passes - 1
                if queue.keys:
                    self._push_head(queue)

    def remove(self, task_runs: Iterable[TaskRun]) -> None:
        """These ready tasks will not go."""
        removed: dict[_Queue, set[Key]] = {}
        for task_run in task_runs:
            removed.setdefault(self._queue(task_run.task), set()).add(task_run.key)
        for queue, keys in removed.items():
            queue.keys[:] = [key for key in queue.keys if key not in keys]
            heapify(queue.keys)
            if queue.keys:
                self._push_head(queue)

    def clear(self) -> None:
        """No more tasks will go."""
        for queue in self._queues.values():
            queue.keys.clear()

    def _queue(self, task: Task) -> _Queue:
        claims = tuple(sorted(task.resources.items())) if task.resources else ()
        queue = self._queues.get((task.daemon, claims))
        if queue is None:
            queue = self._queues[task.daemon, claims] = _Queue(task.daemon, claims)
        return queue

    def _push_head(self, queue: _Queue) -> None:
        """Enter a queue, by its present first task, into the heap that it belongs to."""
        if not queue.blocked:
            heappush(self._daemons if queue.daemon else self._takers, (queue.keys[0], queue))
        elif not queue.daemon:
            heappush(self._blocked, (queue.keys[0], queue))

    def _first(self, heads: _Heads) -> _Queue | None:
        """The queue with the first task that has its tokens; the queues before it become blocked."""
        while heads:
            key, queue = heads[0]
            if _is_head(key, queue) and not queue.blocked and not self._lacks_tokens(queue):
                return queue
            heappop(heads)
        return None

    def _lacks_tokens(self, queue: _Queue) -> bool:
        """Whether a queue has to wait for tokens; if so, it becomes blocked."""
        for name, count in queue.claims:
            if self._tokens[name] < count:
                heappush(self._lacking.setdefault(name, []), (count, queue.keys[0], queue))
                queue.blocked = True
                queue.missing, queue.blocked_in = name, self.passes
                self._push_head(queue)
                return True
        return False

    def _may_go_ahead(self, queue: _Queue) -> bool:
        """Whether no task before the queue's first one waits for tokens or may yet become ready."""
        if queue.claims:
            return False
        blocked = self._blocked
        while blocked and not (_is_head(*blocked[0]) and blocked[0][1].blocked):
            heappop(blocked)
        sequence = self._sequence
        while self._waiting < self._in_plan and sequence[self._waiting].state not in (WAITING, HELD):
            self._waiting += 1
        waiting = sequence[self._waiting].key if self._waiting < self._in_plan else _LAST
        return queue.keys[0] < min(waiting, blocked[0][0] if blocked else _LAST)

    def _first_resolving(self) -> Key:
        resolving = self._resolving
        while resolving and self._task_runs[resolving[0][-1]].state is not RESOLVING:
            heappop(resolving)
        first = resolving[0] if resolving else _LAST
        return first if self.held_back is None else min(first, self.held_back)

    def _pop(self, queue: _Queue) -> None:
        heads = self._daemons if queue.daemon else self._takers
        heappop(queue.keys)
        heappop(heads)
        if queue.keys:
            heappush(heads, (queue.keys[0], queue))
        self.slots -= not queue.daemon
        for name, count in queue.claims:
            self._tokens[name] -= count


def _key(task_run: TaskRun) -> Key:
    return task_run.key


def _is_head(key: Key, queue: _Queue) -> bool:
    return bool(queue.keys) and queue.keys[0] == key
