"""A plain model of the order of stops: who has to end before whom is asked, and how long that may take.

Like `support.model`, it knows the facts and the instructions of a run, and nothing else.
"""

from __future__ import annotations

from collections import defaultdict

# Why a task is asked to end together with others, and so in order.
ORDERED = ("record_write_failed", "run_finished", "fail_fast", "run_timeout", "user")
# The executor confirms a start or its cancellation at most this many seconds after it was asked.
DELAY = 0.2


class StopModel:
    """Checks the order of the stops in a `Model`; `waits` counts the tasks that had to wait."""

    def __init__(self, model):
        self.model = model
        self.after = defaultdict(set)
        for number, planned in enumerate(model.plan.tasks):
            for need, _ in planned.needs:
                self.after[need].add(number)
        # The live attempts that were sent a signal, and those that were killed.
        self.signalled, self.killed = set(), set()
        # When the end of the run began, and which attempts were live.
        self.began, self.live = None, ()
        self.waits = set()

    def release(self, number):
        """An attempt is over."""
        self.signalled.discard(number)
        self.killed.discard(number)

    def dependents(self, number):
        """The tasks that depend on a task, directly or through others."""
        found, looked_at = set(), set()
        pending = [self.model.group_of.get(number, number)]
        while pending:
            for after in self.after[pending.pop()] - looked_at:
                looked_at.add(after)
                pending.append(after)
                found.update(self.model.instances.get(after) or [after])
        return found

    def blockers(self, number):
        """The live attempts that have to end, or to be killed, before this one is asked."""
        model = self.model
        stopping = model.live if model.ended else model.live & (model.stopped_by_user | model.asked.keys())
        return (stopping - self.killed) & self.dependents(number)

    def note_end(self):
        if self.began is None and self.model.ended:
            self.began, self.live = self.model.now, set(self.model.live)

    def check_signal(self, instruction):
        self.note_end()
        number, model = instruction.task, self.model
        first = number not in self.signalled
        self.signalled.add(number)
        if instruction.signal == "SIGKILL":
            self.killed.add(number)
        if model.killing:
            assert instruction.signal == "SIGKILL", "asked to end after a kill"
            return
        if instruction.reason not in ORDERED:
            return
        if first:
            assert not self.blockers(number), "asked to end before what depends on it"
        if model.ended and number in self.live and number not in model.stopped_by_user:
            limit = self.limit(number) + (0 if first else model.task(number).stop.grace)
            assert model.now - self.began <= limit + 1e-9, "it takes longer than the longest path"

    def limit(self, number):
        """The seconds from the beginning of the run's end until a task is asked, at the latest."""
        limits = {}
        pending = [number]
        while pending:
            one = pending[-1]
            before = self.dependents(one) & self.live
            if missing := before - limits.keys():
                pending += missing
                continue
            pending.pop()
            ends = (limits[other] + self.model.task(other).stop.grace + DELAY for other in before)
            limits[one] = max(ends, default=DELAY)
        return limits[number]

    def check_no_task_waits_in_vain(self):
        self.note_end()
        model = self.model
        if model.killing:
            assert model.alive.keys() <= self.killed, "it is not killed at once"
            return
        for number in model.alive.keys() - self.signalled:
            if model.ended or number in model.stopped_by_user:
                assert self.blockers(number), "it could be asked to end, but is not"
                self.waits.add(number)
