"""Random runs with recipes that are taken as one, in virtual time, each checked by a model."""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random

from mprun.jobfile.model import Retry, Whole
from mprun.scheduling.checked_scheduler import CheckedRoundScheduler
from mprun.scheduling.instructions import CancelStart, Finish, Resolve, ScheduleRetry, Signal, Start
from mprun.scheduling.member_runs import Settle
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.verdict import MET_BY, end_of
from support.plans import plan
from support.random_plans import random_claims, random_keys, random_needs, random_service_keys

TOKENS = {"db": 2, "gpu": 1, "mb": 7}


def round_plan(random):
    """A random plan in which neighbours are recipes."""
    count = random.choice([3, 6, 12])
    names = [f"t{number}" for number in range(count)]
    keys = {name: random_keys(random) for name in names}
    daemons = [name for name in names if random.random() < 0.25]
    for name in daemons:
        keys[name].update(random_service_keys(random))
    if random.random() < 0.4:
        for name in names:
            keys[name]["resources"] = random_claims(random) if random.random() < 0.4 else {}
    at = 0
    while at < count:
        size = random.choice([1, 2, 3, 5])
        if random.random() < 0.6:
            retry = Retry(retries=random.randint(0, 2), delay=random.choice([0.0, 1.0]))
            timeout = random.choice([None, random.random() * 6])
            if retry.retries or timeout:
                whole = Whole(
                    name=f"r{at}", retry=retry, timeout=timeout, allow_failure=random.random() < 0.1
                )
                for name in names[at : at + size]:
                    keys[name]["whole"] = whole
                    if whole.allow_failure:
                        keys[name]["allow_failure"] = True
        at += size
    return plan(
        {name: random_needs(random, names, number, keys, False) for number, name in enumerate(names)},
        daemons=tuple(daemons),
        slots=random.randint(1, 5),
        keys=keys,
        late={name for name in names if random.random() < 0.15},
        skipped={name for name in names if random.random() < 0.05},
        resources=TOKENS,
        fail_fast=random.random() < 0.1,
        on_host_lost=random.choice(["fail", "rerun"]),
        timeout=random.choice([None, None, random.random() * 30]),
    )


class RoundRun:
    """In place of the launcher: processes that start, end and ignore signals at random."""

    def __init__(self, seed):
        self.random = random = Random(seed)
        self.plan = round_plan(random)
        self.scheduler = CheckedRoundScheduler(self.plan, random.random, random.choice([1, 8]))
        self.now, self.agenda, self.trace = 0.0, [], []
        self.attempts, self.live, self.running, self.signalled = Counter(), {}, {}, set()
        # How tasks have ended in the present round, and for good; who has started and was ready in it.
        self.settled, self.finished = {}, {}
        self.started, self.ready = set(), set()
        self.rounds, self.stopped, self.ended = Counter(), set(), False
        random_end = any(one.task.restart != "never" for one in self.plan.tasks) or random.random() < 0.3
        if random_end:
            self.at(random.random() * 25, random.choice(["stop", "stop", "kill", "lose"]), None)
        for _ in range(random.choice([0, 0, 1])):
            self.at(random.random() * 8, "stop task", None)

    def whole(self, task):
        return self.plan.tasks[task].task.whole

    def members(self, whole):
        return [n for n, one in enumerate(self.plan.tasks) if one.task.whole is whole]

    def at(self, delay, what, task):
        heapq.heappush(self.agenda, (self.now + delay, self.random.random(), what, task, self.attempts[task]))

    def run(self):
        self.carry_out(self.scheduler.begin(0.0))
        for _ in range(20_000):
            if self.scheduler.finished:
                break
            if self.scheduler.has_more:
                self.carry_out(self.scheduler.proceed(self.now))
            else:
                self.step()
        assert self.scheduler.finished, "the run does not end"
        assert not self.live, "a process outlives the run"
        assert self.finished.keys() == set(range(len(self.plan.tasks))), "a task without an outcome"

    def step(self):
        deadline, first = self.scheduler.deadline, self.agenda[0][0] if self.agenda else None
        times = [time for time in (first, deadline) if time is not None]
        assert times, "no fact and no deadline is left"
        self.now = max(self.now, min(times))
        if first is None or first > self.now:
            self.carry_out(self.scheduler.handle_deadline(self.now))
            return
        _, _, what, task, attempt = heapq.heappop(self.agenda)
        if what == "later":
            self.answer(attempt)
        elif task is None:
            self.outside(what)
        elif self.live.get(task) == attempt:
            getattr(self, what)(task)

    def outside(self, what):
        if what == "stop task":
            task = self.random.randrange(len(self.plan.tasks))
            self.stopped.add(task)
            self.carry_out(self.scheduler.stop_tasks([task], self.now))
        elif what == "lose":
            self.ended = True
            for task in self.live.keys() - self.running.keys():
                self.attempts[task] -= 1
            self.live.clear()
            self.carry_out(self.scheduler.handle_executor_lost("gone", set(), self.now))
        else:
            self.ended = True
            self.carry_out(self.scheduler.stop("user", self.now, kill=what == "kill"))

    # ---- facts

    def begin(self, task):
        if self.random.random() < 0.03:
            return self.end(task)
        self.running[task] = self.now
        self.started.add(task)
        daemon = self.plan.tasks[task].task.daemon
        self.at(self.random.random() * (20 if daemon else 4), "end", task)
        if self.plan.tasks[task].task.ready is not None and self.random.random() < 0.8:
            self.at(self.random.random() * 3, "be_ready", task)
        return self.carry_out(self.scheduler.handle_started(task, self.now))

    def be_ready(self, task):
        if task in self.running and task not in self.signalled:
            self.ready.add(task)
        self.carry_out(self.scheduler.handle_ready(task, self.attempts[task], self.now))

    def end(self, task):
        began_at = self.running.pop(task, None)
        began = began_at is not None
        del self.live[task]
        asked = task in self.signalled
        self.signalled.discard(task)
        chance = self.random.random()
        if chance < 0.03:
            found = self.scheduler.handle_host_lost(task, "its host was lost", self.now)
        elif chance < 0.05 and began:
            found = self.scheduler.handle_exit_unknown(task, "unknown", self.now)
        else:
            code = self.random.choice([0, 0, 0, 1, 2])
            result = AttemptResult(succeeded=code == 0, reason="exit", exit_code=code, asked=asked)
            # A report may be late, and a timer may have struck since the end.
            late = self.random.choice([0.0, 0.0, 0.2]) if began else 0.0
            found = self.scheduler.handle_exited(task, result, max(began_at or 0.0, self.now - late))
        self.carry_out(found)

    def cancelled(self, task):
        del self.live[task]
        self.attempts[task] -= 1
        self.carry_out(self.scheduler.handle_start_cancelled(task, self.now))

    def answer(self, task):
        what = self.random.choice(["handle_resolved"] * 3 + ["handle_skipped", "handle_resolve_failed"])
        more = () if what == "handle_resolved" else ("so",)
        self.carry_out(getattr(self.scheduler, what)(task, *more, self.now))

    # ---- instructions

    def carry_out(self, instructions):
        asked, again, over, ended = [], {}, [], self.ended
        for one in instructions:
            self.trace.append((round(self.now, 3), one))
            if self.begins_round(one):
                self.begin_round(one.task)
            match one:
                case Resolve():
                    asked.append(one.task)
                case ScheduleRetry() if one.task in self.settled:
                    again[self.whole(one.task).name] = self.whole(one.task)
                case Settle():
                    self.settle(one)
                case Finish():
                    self.finish(one)
                    over.append(self.whole(one.task))
                case _:
                    self.give(one)
        for whole in again.values():
            self.check_round(whole)
        for whole in over:
            early = self.ended or ended or self.scheduler.end_reason
            assert whole is None or early or self.is_over(whole), "an outcome before its recipe is over"
        for task in asked:
            if self.random.random() < 0.5:
                self.answer(task)
            else:
                heapq.heappush(self.agenda, (self.now + 0.3, self.random.random(), "later", None, task))

    def give(self, one):
        """Carry out what concerns an attempt."""
        match one:
            case Start():
                self.check_start(one)
                self.attempts[one.task] += 1
                assert one.attempt == self.attempts[one.task], "attempts are miscounted"
                self.live[one.task] = one.attempt
                self.at(self.random.random() * 0.2, "begin", one.task)
            case CancelStart() if self.random.random() < 0.7:
                self.agenda = [entry for entry in self.agenda if entry[3] != one.task]
                heapq.heapify(self.agenda)
                self.at(0.05, "cancelled", one.task)
            case Signal():
                assert one.task in self.running, "a signal to no process"
                self.signalled.add(one.task)
                if one.signal == "SIGKILL" or self.random.random() < 0.7:
                    self.at(self.random.random() * 0.1, "end", one.task)

    def settle(self, settle):
        assert self.whole(settle.task) is not None, "settled, but of no recipe"
        assert settle.task not in self.finished.keys() | self.live.keys(), "settled too early"
        self.settled[settle.task] = settle.outcome
        self.ended |= self.fails_fast(settle) and self.is_last(self.whole(settle.task))

    def finish(self, finish):
        assert finish.task not in self.finished.keys() | self.live.keys(), "two ends, or too early"
        assert finish.attempts == self.attempts[finish.task], "attempts are miscounted"
        self.finished[finish.task] = finish.outcome
        self.ended |= self.fails_fast(finish)

    def begins_round(self, one):
        """Whether a task of a recipe had ended in a round, and is looked at again."""
        return isinstance(one, (Start, Resolve, Settle)) and one.task in self.settled

    def fails_fast(self, end):
        failed = end.outcome in ("failed", "timed_out")
        return self.plan.job.fail_fast and failed and not self.plan.tasks[end.task].task.allow_failure

    def is_last(self, whole):
        """Whether no other round of a recipe may follow."""
        return self.rounds[whole.name] == whole.retry.retries or bool(self.stopped & set(self.members(whole)))

    def check_start(self, start):
        assert not self.ended, "started after the end of the run"
        assert start.task not in self.live, "it has an attempt"
        assert start.task not in self.finished, "it has its outcome"
        for need, condition in self.plan.tasks[start.task].needs:
            inside = self.whole(need) is not None and self.whole(need) is self.whole(start.task)
            assert self.holds(need, condition, inside), f"it starts before {need} {condition}"

    def holds(self, need, condition, inside):
        known = self.plan.tasks[need].task
        outcome = self.settled.get(need) if inside else self.finished.get(need)
        if inside and outcome is None:
            outcome = self.finished.get(need)
        skipped = need in self.scheduler_skipped()
        if (
            outcome is not None
            and end_of(outcome, allow_failure=known.allow_failure, skipped_by_when=skipped)
            in MET_BY[condition]
        ):
            return True
        seen = {"started": self.started, "ready": self.ready}.get(condition, ())
        return need in seen and (inside or self.whole(need) is None or self.is_over(self.whole(need)))

    def scheduler_skipped(self):
        return {run.number for run in self.scheduler._task_runs.all if run.skipped_by_when}

    def is_over(self, whole):
        """Whether every task of a recipe, daemons aside, has its outcome."""
        tasks = self.plan.tasks
        return all(n in self.finished or tasks[n].task.daemon for n in self.members(whole))

    def check_round(self, whole):
        members = self.members(whole)
        assert not self.live.keys() & set(members), "the next round is planned while one of it has an attempt"
        assert not self.finished.keys() & set(members), "another round after an outcome"
        assert not self.ended, "another round after the end"
        self.rounds[whole.name] += 1
        assert self.rounds[whole.name] <= whole.retry.retries, "more rounds than it has"

    def begin_round(self, task):
        """Forget how the tasks of a recipe ended in the round before."""
        for member in self.members(self.whole(task)):
            if not self.plan.tasks[member].skipped:
                self.settled.pop(member, None)
                self.started.discard(member)
                self.ready.discard(member)


def run_rounds(seed):
    """Run the random run of this seed to its end, with all checks."""
    run = RoundRun(seed)
    try:
        run.run()
    except AssertionError as error:
        last = "\n".join(map(str, run.trace[-12:]))
        wholes = {
            n: (one.task.whole and one.task.whole.name, one.needs) for n, one in enumerate(run.plan.tasks)
        }
        raise AssertionError(f"seed {seed}: {error}\n{wholes}\n{last}") from error
    return run
