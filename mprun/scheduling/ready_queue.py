"""Who may start next: the ready tasks, the places, the tokens; pure."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from mprun.scheduling.task_run import HELD, RESOLVING, WAITING

if TYPE_CHECKING:
    from mprun.jobfile.model import Task
    from mprun.scheduling.plan import Plan
    from mprun.scheduling.task_run import Key, TaskRun

# After every key.
_LAST = (1 << 62,)


class _Queue:
    """Ready tasks that ask for the same: where the first of them has to wait, all have to."""

    __slots__ = ("blocked", "claims", "daemon", "keys")

    def __init__(self, daemon: bool, claims: tuple[tuple[str, int], ...]) -> None:
        self.daemon = daemon
        self.claims = claims
        self.keys: list[Key] = []
        # Whether it waits for tokens.
        self.blocked = False


# Sorted by the first task of a queue. An entry is void when its queue has another first by now,
# or has changed between those that wait for tokens and those that need not.
_Heads = list[tuple["Key", _Queue]]


class ReadyQueue:
    """Holds the ready tasks until each has a place and its tokens; first come the lowest keys.

    Daemons take no place. `ahead` tasks may go before there is a place for them: whoever
    starts them then need not ask first. What starts them knows nothing of tokens, so those
    that claim any stay here.
    """

    def __init__(self, plan: Plan, courses: list[TaskRun], ahead: int) -> None:
        self._courses = courses
        # Below zero: how many have gone ahead.
        self.places = plan.max_parallel
        self._ahead = ahead
        self._tokens = dict(plan.job.resources)
        # One for each way to claim: with ten thousand tasks behind a token, each decision
        # looks at the first of them.
        self._queues: dict[tuple[bool, tuple[tuple[str, int], ...]], _Queue] = {}
        self._daemons: _Heads = []
        self._takers: _Heads = []
        # Those of the takers of places that wait for tokens, and all, by what they lack, sorted
        # by how many of it they claim.
        self._blocked: _Heads = []
        self._lacking: dict[str, list[tuple[int, Key, _Queue]]] = {}
        # The tasks that are being resolved, and some that were.
        self._resolving: list[Key] = []
        # The tasks of the file in their order, and the first of them that waits for another; it
        # only moves on.
        self._sequence = sorted(courses, key=_key) if plan.priorities else courses
        self._waiting = 0
        self._in_file = len(courses)

    @property
    def expects_more(self) -> bool:
        """Whether what is being resolved may be ready an instant later."""
        return self._first_resolving() is not _LAST

    def expect(self, course: TaskRun) -> None:
        """A task is being resolved: nothing that comes after it goes before that is done."""
        heappush(self._resolving, course.key)

    def add(self, course: TaskRun) -> None:
        """A task is ready; it waits here from now on."""
        queue = self._queue(course.task)
        heappush(queue.keys, course.key)
        if queue.keys[0] == course.key:
            self._show(queue)

    def take(self) -> TaskRun | None:
        """Let the first go that may, with its place and its tokens; None when none may."""
        first = daemon = self._first(self._daemons)
        taker = self._first(self._takers) if self.places > -self._ahead else None
        if taker is not None and (self.places > 0 or self._may_go_ahead(taker)):
            first = taker if daemon is None or taker.keys[0] < daemon.keys[0] else daemon
        if first is None or first.keys[0] >= self._first_resolving():
            return None
        return self._courses[self._let_go(first)[-1]]

    @property
    def waits(self) -> bool:
        """Whether any task is ready and has not gone, or may be ready an instant later."""
        return self.expects_more or any(queue.keys for queue in self._queues.values())

    def take_place(self) -> None:
        """A task went that did not wait here."""
        self.places -= 1

    def give_back(self, task: Task) -> None:
        """A task that went has ended: its place and its tokens are free."""
        self.places += not task.daemon
        for name, count in task.resources.items():
            self._tokens[name] += count
            lacking = self._lacking.get(name)
            while lacking and lacking[0][0] <= self._tokens[name]:
                _, _, queue = heappop(lacking)
                queue.blocked = False
                if queue.keys:
                    self._show(queue)

    def remove(self, course: TaskRun) -> None:
        """A task that is ready will not go."""
        queue = self._queue(course.task)
        queue.keys.remove(course.key)
        heapify(queue.keys)
        if queue.keys:
            self._show(queue)

    def clear(self) -> None:
        """Nothing will go any more."""
        for queue in self._queues.values():
            queue.keys.clear()

    def _queue(self, task: Task) -> _Queue:
        claims = tuple(sorted(task.resources.items())) if task.resources else ()
        queue = self._queues.get((task.daemon, claims))
        if queue is None:
            queue = self._queues[task.daemon, claims] = _Queue(task.daemon, claims)
        return queue

    def _show(self, queue: _Queue) -> None:
        """Put a queue where its first task is looked for."""
        if not queue.blocked:
            heappush(self._daemons if queue.daemon else self._takers, (queue.keys[0], queue))
        elif not queue.daemon:
            heappush(self._blocked, (queue.keys[0], queue))

    def _first(self, heads: _Heads) -> _Queue | None:
        """The queue with the first task that has its tokens; those before it step aside."""
        while heads:
            key, queue = heads[0]
            if _leads(key, queue) and not queue.blocked and not self._lacks(queue):
                return queue
            heappop(heads)
        return None

    def _lacks(self, queue: _Queue) -> bool:
        """Whether a queue has to wait for tokens; it is noted for which."""
        for name, count in queue.claims:
            if self._tokens[name] < count:
                heappush(self._lacking.setdefault(name, []), (count, queue.keys[0], queue))
                queue.blocked = True
                self._show(queue)
                return True
        return False

    def _may_go_ahead(self, queue: _Queue) -> bool:
        """Only where no task before it waits for tokens or may yet become ready."""
        if queue.claims:
            return False
        blocked = self._blocked
        while blocked and not (_leads(*blocked[0]) and blocked[0][1].blocked):
            heappop(blocked)
        while self._waiting < self._in_file and self._sequence[self._waiting].state not in (WAITING, HELD):
            self._waiting += 1
        waiting = self._sequence[self._waiting].key if self._waiting < self._in_file else _LAST
        return queue.keys[0] < min(waiting, blocked[0][0] if blocked else _LAST)

    def _first_resolving(self) -> Key:
        resolving = self._resolving
        while resolving and self._courses[resolving[0][-1]].state != RESOLVING:
            heappop(resolving)
        return resolving[0] if resolving else _LAST

    def _let_go(self, queue: _Queue) -> Key:
        heads = self._daemons if queue.daemon else self._takers
        key = heappop(queue.keys)
        heappop(heads)
        if queue.keys:
            heappush(heads, (queue.keys[0], queue))
        self.places -= not queue.daemon
        for name, count in queue.claims:
            self._tokens[name] -= count
        return key


def _key(course: TaskRun) -> Key:
    return course.key


def _leads(key: Key, queue: _Queue) -> bool:
    return bool(queue.keys) and queue.keys[0] == key
