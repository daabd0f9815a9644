"""A world of virtual time in which a scheduler's run takes place, drawn at random from a seed."""

from __future__ import annotations

import heapq
from collections import deque
from random import Random

from mprun.jobfile.model import Instance
from mprun.launcher.channel import attempt_succeeded
from mprun.scheduling.checked_scheduler import CheckedScheduler
from mprun.scheduling.instructions import CancelStart, Resolve, Signal, Start
from mprun.scheduling.plan import plan_instance
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import AHEAD, MAX_HELD
from support.model import Model
from support.random_plans import random_plan


class RandomRun:
    """Processes that start, are ready, end when they like, and obey signals or not.

    It tells the model and the scheduler what happens, and lets the model judge what the
    scheduler wants.
    """

    def __init__(self, seed):
        self.random = Random(seed)
        self.plan = random_plan(self.random)
        self.ahead = self.random.choice([1, AHEAD])
        self.most_held = self.random.choice([0, 1, MAX_HELD])
        self.scheduler = CheckedScheduler(self.plan, self.random.random, self.ahead, self.most_held)
        self.model = Model(self.plan, self.ahead)
        self.now = 0.0
        self.agenda = []
        # What the launcher was told to start, and what has a place there.
        self.queue, self.placed = [], set()
        # Of what it holds, the attempts that are to succeed before; and what it was to send a signal.
        self.held, self.signalled = {}, set()
        self.answering = deque()
        self.depth_first = self.random.random() < 0.5
        self.trace = []
        # The task of the last fact or instruction, whose story is told if it breaks a promise.
        self.task = None
        self.plan_what_comes_from_outside()

    def plan_what_comes_from_outside(self):
        """Stops, a loss of the launcher; what is started again for ever has to be stopped."""
        random, long = self.random, 10 + len(self.plan.tasks)
        endless = any(planned.task.restart != "never" for planned in self.plan.tasks)
        if endless or random.random() < 0.3:
            self.at(random.random() * long, "stop", None)
        if random.random() < 0.1:
            self.at(random.random() * long, "kill", None)
        if random.random() < 0.05:
            self.at(random.random() * long, "lose", None)
        for _ in range(random.choice([0, 0, 1, 3])):
            self.at(random.random() * 5, "stop task", None)

    def at(self, delay, what, task):
        attempt = self.model.attempts[task]
        heapq.heappush(self.agenda, (self.now + delay, self.random.random(), what, task, attempt))

    # ---- the run

    def run(self):
        self.carry_out(self.scheduler.begin(self.now))
        for step in range(50_000):
            if self.scheduler.finished:
                self.model.check_end(self.scheduler)
                return
            self.step()
            if step % 4 == 0:
                self.model.check_nobody_waits_in_vain()
        raise AssertionError("the run does not end")

    def step(self):
        deadline = self.scheduler.deadline
        first = self.agenda[0][0] if self.agenda else None
        times = [time for time in (first, deadline) if time is not None]
        assert times, "nothing will ever happen"
        self.now = self.model.now = max(self.now, min(times))
        if first is not None and first <= self.now:
            _, _, what, task, attempt = heapq.heappop(self.agenda)
            if task is None:
                self.happen_outside(what)
            elif what == "ready" or (attempt == self.model.attempts[task] and task in self.model.live):
                self.happen(what, task, attempt)
        else:
            timeout = self.plan.job.timeout
            self.model.ended |= timeout is not None and self.now >= timeout
            self.carry_out(self.scheduler.handle_deadline(self.now))

    def happen_outside(self, what):
        scheduler, model = self.scheduler, self.model
        if what == "stop task":
            task = self.random.randrange(len(model.tasks))
            reason = self.random.choice(["user", "log_limit"])
            if reason == "log_limit":
                model.guarded.update({task} & model.alive.keys())
            elif not model.instances.get(task):
                model.unwanted.add(task)
            self.carry_out(scheduler.stop_task(task, reason, self.now))
            return
        model.ended = True
        if what == "lose":
            self.lose()
        else:
            model.killing |= what == "kill"
            self.carry_out(scheduler.stop("user", self.now, kill=what == "kill"))

    def lose(self):
        self.queue.clear()
        self.held.clear()
        self.placed.clear()
        for task in list(self.model.live):
            self.model.attempt_ended(task, None)
        self.carry_out(
            self.scheduler.handle_executor_lost(
                "launcher lost", {number for number, _ in self.scheduler.unstarted()}, self.now
            )
        )
        assert self.scheduler.finished

    def happen(self, what, task, attempt):
        self.task = task
        scheduler, random = self.scheduler, self.random
        if what == "withdrawn":
            self.model.release(task)
            self.model.attempts[task] -= 1
            self.carry_out(scheduler.handle_start_cancelled(task, self.now))
        elif what == "started":
            if random.random() < 0.01:
                self.end(task, AttemptResult(succeeded=False, reason="could not be started"))
            else:
                self.begin(task)
        elif what == "ready":
            # Now and then the attempt is over, or is ending.
            due = attempt == self.model.attempts[task] and self.model.answers(task)
            self.carry_out(scheduler.handle_ready(task, attempt, self.now))
            assert not due or task in self.model.ready_now, "it is ready, and nobody marks it"
        elif task in self.model.alive:
            code = random.choice([0, 0, 0, 0, 1, 2])
            lost = random.random() < 0.01
            self.end(
                task, None if lost else AttemptResult(succeeded=code == 0, reason="exit", exit_code=code)
            )

    def begin(self, task):
        random, daemon = self.random, self.model.task(task).daemon
        self.model.process_started(task)
        self.at(random.random() * (random.choice([1, 30]) if daemon else 4), "exited", task)
        if self.model.task(task).ready is not None and random.random() < 0.8:
            self.at(random.random() * 3, "ready", task)
        self.carry_out(self.scheduler.handle_started(task, self.now))

    def end(self, task, ending):
        self.placed.discard(task)
        if ending is not None:
            ending = ending.replace(asked=task in self.signalled)
        self.signalled.discard(task)
        key = task, self.model.attempts[task]
        ran = self.now - self.model.alive.get(task, self.now)
        self.model.attempt_ended(task, ending)
        if ending is None:
            self.settle_held(key)
        else:
            self.settle_held(key, ending.exit_code, asked=ending.asked, seconds=ran)
        self.launch()
        if ending is None:
            self.carry_out(self.scheduler.handle_exit_unknown(task, "nobody saw its end", self.now))
        else:
            self.carry_out(self.scheduler.handle_exited(task, ending, self.now))

    # ---- what the scheduler wants

    def carry_out(self, instructions):
        for instruction in instructions:
            self.task = instruction.task
            self.trace.append((self.now, instruction))
            self.model.check(instruction)
            match instruction:
                case Start():
                    self.start(instruction)
                case Signal():
                    # One in ten comes too late. What has a limit to its log is followed by nobody.
                    if instruction.reason == "log_limit" or self.random.random() < 0.9:
                        self.signalled.add(instruction.task)
                    if instruction.signal == "SIGKILL" or self.random.random() < 0.7:
                        self.at(self.random.random() * 0.1, "exited", instruction.task)
                case CancelStart():
                    if instruction.task in self.queue:
                        self.drop(instruction.task)
        asked = [instruction.task for instruction in instructions if isinstance(instruction, Resolve)]
        self.answer(asked)

    def answer(self, asked):
        """In order; whether before or after what comes of the first answers is left open."""
        if self.depth_first:
            for task in asked:
                self.resolve(task)
            return
        outermost = not self.answering
        self.answering.extend(asked)
        while outermost and self.answering:
            self.resolve(self.answering[0])
            self.answering.popleft()

    def start(self, instruction):
        self.queue.append(instruction.task)
        if instruction.after:
            self.held[instruction.task] = {
                (task, attempt): limit for task, attempt, limit in instruction.after
            }
            assert len(self.held) <= self.most_held, "too many tasks wait for others"
            known = {(task, self.model.attempts[task]) for task in (*self.queue, *self.placed)}
            # Now and then it has ended, and nobody has been told yet.
            if not known.issuperset(self.held[instruction.task]) or self.random.random() < 0.05:
                self.drop(instruction.task)
        self.launch()
        waiting = [task for task in self.queue if task not in self.held]
        assert len(waiting) <= self.ahead + self.most_held, "too many tasks wait for a place"

    def drop(self, task):
        self.queue.remove(task)
        self.held.pop(task, None)
        self.at(self.random.random() * 0.1, "withdrawn", task)
        self.settle_held((task, self.model.attempts[task]))

    def settle_held(self, key, exit_code=None, **how):
        for task in [task for task, after in self.held.items() if key in after]:
            if task not in self.held:
                continue
            limit = self.held[task].pop(key)
            if not attempt_succeeded(exit_code, **how, timeout=limit):
                self.drop(task)
            elif not self.held[task]:
                del self.held[task]

    def launch(self):
        """What the launcher does by itself: it starts what waits as soon as there is a place."""
        taken = sum(not self.model.task(other).daemon for other in self.placed)
        for task in list(self.queue):
            if task in self.held:
                continue
            if self.model.task(task).daemon or taken < self.plan.max_parallel:
                taken += not self.model.task(task).daemon
                self.queue.remove(task)
                self.placed.add(task)
                self.at(self.random.random() * 0.1, "started", task)

    def resolve(self, task):
        scheduler, model = self.scheduler, self.model
        given_up = task in model.finished
        kinds = ["resolved", "resolved", "resolved", "skipped", "refused"]
        kind = self.random.choice(kinds if task in model.group_of else [*kinds, "expanded"])
        if not given_up:
            model.resolved.add(task)
        if kind == "resolved":
            instructions = scheduler.handle_resolved(task, self.now)
        elif kind == "skipped":
            model.passed.update(() if given_up else {task})
            instructions = scheduler.handle_skipped(task, "`when` is false", self.now)
        elif kind == "refused":
            model.refused.add(task)
            instructions = scheduler.handle_resolve_failed(task, "nothing there", self.now)
        else:
            group = model.tasks[task]
            named = [f"{group.name}[{index}]" for index in range(self.random.randint(0, 4))]
            made = [plan_instance(Instance(name=name, task=group.task), group) for name in named]
            if not given_up:
                model.expanded(task, made)
            instructions = scheduler.handle_expanded(task, made, self.now)
        assert not given_up or instructions == [], "an answer that comes too late has consequences"
        self.carry_out(instructions)


def run_seed(seed):
    """The run of this seed, to its end, with every check."""
    run = RandomRun(seed)
    try:
        run.run()
    except AssertionError as error:
        told = f"seed {seed}: {error}"
        if "story of task" not in told and run.task is not None:
            told += f"\n{run.scheduler.story(run.task)}"
        raise AssertionError(told) from error
    return run
