"""A random run of the scheduler in virtual time, by a seed, checked by a model."""

from __future__ import annotations

import heapq
from collections import deque
from random import Random

from mprun.jobfile.model import Instance
from mprun.launcher.channel import attempt_succeeded
from mprun.scheduling.checked_scheduler import CheckedScheduler
from mprun.scheduling.dispatch import MAX_TAKEN
from mprun.scheduling.instance_plan import plan_instance
from mprun.scheduling.instructions import CancelStart, Resolve, Signal, Start
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import AHEAD, MAX_HELD
from support.model import Model
from support.random_plans import random_plan


class RandomRun:
    """In place of the launcher: its processes start, become ready, end at random, and may ignore signals.

    It reports facts to the model and to the scheduler, and has the model check the instructions.
    """

    def __init__(self, seed):
        self.random = Random(seed)
        self.plan = random_plan(self.random)
        self.ahead = self.random.choice([1, AHEAD])
        self.max_held = self.random.choice([0, 1, MAX_HELD])
        # Few seeds have so many tasks that become ready at once that they do so in parts.
        max_taken = Random(f"{seed} released").choice([1, 2, MAX_TAKEN])
        self.scheduler = CheckedScheduler(self.plan, self.random.random, self.ahead, self.max_held, max_taken)
        self.model = Model(self.plan, self.ahead)
        self.now = 0.0
        self.agenda = []
        # The tasks that the launcher was asked to start, and those that have a slot.
        self.queue, self.with_slot = [], set()
        # For each held task the attempts that have to succeed first; and the tasks that got a signal.
        self.held, self.signalled = {}, set()
        self.answering = deque()
        self.depth_first = self.random.random() < 0.5
        self.trace = []
        # The task of the last fact or instruction: if a check fails, the message has its story.
        self.task = None
        self.enter_outside_events()

    def enter_outside_events(self):
        """Enter stops and a loss of the launcher; a run with endless restarts has to be stopped."""
        random, long = self.random, 10 + len(self.plan.tasks)
        endless = any(planned.task.restart != "never" for planned in self.plan.tasks)
        if endless or random.random() < 0.3:
            self.at(random.random() * long, "stop", None)
        if random.random() < 0.1:
            self.at(random.random() * long, "kill", None)
        if random.random() < 0.05:
            self.at(random.random() * long, "lose", None)
        for _ in range(random.choice([0, 0, 1, 3])):
            self.at(random.random() * 5, random.choice(["stop tasks", "log limit"]), None)

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
            if self.scheduler.has_more:
                self.carry_out(self.scheduler.proceed(self.now))
                continue
            self.step()
            if step % 4 == 0 and not self.scheduler.has_more:
                self.model.check_no_task_waits_in_vain()
            self.model.stops.check_no_task_waits_in_vain()
        raise AssertionError("the run does not end")

    def step(self):
        deadline = self.scheduler.deadline
        first = self.agenda[0][0] if self.agenda else None
        times = [time for time in (first, deadline) if time is not None]
        assert times, "no fact and no deadline is left"
        self.now = self.model.now = max(self.now, min(times))
        if first is not None and first <= self.now:
            _, _, what, task, attempt = heapq.heappop(self.agenda)
            if task is None:
                self.outside_event(what)
            elif what == "ready" or (attempt == self.model.attempts[task] and task in self.model.live):
                self.report(what, task, attempt)
        else:
            timeout = self.plan.job.timeout
            self.model.ended |= timeout is not None and self.now >= timeout
            self.carry_out(self.scheduler.handle_deadline(self.now))

    def outside_event(self, what):
        scheduler, model = self.scheduler, self.model
        if what == "stop tasks":
            tasks = self.random.sample(
                range(len(model.tasks)), min(len(model.tasks), self.random.choice([1, 1, 3, 9]))
            )
            model.stopped_by_user.update(task for task in tasks if not model.instances.get(task))
            model.stopped_in_time |= model.stopped_by_user.intersection(tasks) - model.finished.keys()
            self.carry_out(scheduler.stop_tasks(tasks, self.now))
            return
        if what == "log limit":
            task = self.random.randrange(len(model.tasks))
            model.guarded.update({task} & model.alive.keys())
            self.carry_out(scheduler.stop_attempt(task, "log_limit", self.now))
            return
        model.ended = True
        if what == "lose":
            model.lost = True
            self.lose()
        else:
            model.interrupted = True
            model.killing |= what == "kill"
            self.carry_out(scheduler.stop("user", self.now, kill=what == "kill"))

    def lose(self):
        self.queue.clear()
        self.held.clear()
        self.with_slot.clear()
        for task in list(self.model.live):
            self.model.attempt_ended(task, None)
        self.carry_out(
            self.scheduler.handle_executor_lost(
                "the launcher is gone", {number for number, _ in self.scheduler.unstarted()}, self.now
            )
        )
        assert self.scheduler.finished

    def report(self, what, task, attempt):
        self.task = task
        scheduler, random = self.scheduler, self.random
        if what == "start cancelled":
            self.model.release(task)
            self.model.attempts[task] -= 1
            self.carry_out(scheduler.handle_start_cancelled(task, self.now))
        elif what == "started":
            chance = random.random()
            if chance < 0.01:
                self.end(task, AttemptResult(succeeded=False, reason="could not be started"))
            elif chance < 0.02:
                self.end(task, None, host_lost=True)
            elif chance < 0.03:
                self.lose_start(task)
            else:
                self.begin(task)
        elif what == "ready":
            # The attempt may be over, or ending.
            due = attempt == self.model.attempts[task] and self.model.answers(task)
            self.carry_out(scheduler.handle_ready(task, attempt, self.now))
            assert not due or task in self.model.ready_now, "it is ready, but is not marked as ready"
        elif task in self.model.alive:
            code = random.choice([0, 0, 0, 0, 1, 2])
            if random.random() < 0.03:
                self.end(task, None, host_lost=True)
                return
            lost = random.random() < 0.01
            self.end(
                task, None if lost else AttemptResult(succeeded=code == 0, reason="exit", exit_code=code)
            )

    def begin(self, task):
        random, daemon = self.random, self.model.task(task).daemon
        self.model.attempt_started(task)
        self.at(random.random() * (random.choice([1, 30]) if daemon else 4), "exited", task)
        if self.model.task(task).ready is not None and random.random() < 0.8:
            self.at(random.random() * 3, "ready", task)
        self.carry_out(self.scheduler.handle_started(task, self.now))

    def lose_start(self, task):
        """Its host is lost, and the attempt is known not to have begun."""
        self.with_slot.discard(task)
        self.update_held((task, self.model.attempts[task]))
        self.model.release(task)
        self.model.attempts[task] -= 1
        self.launch()
        self.carry_out(self.scheduler.handle_host_lost(task, "", self.now, began=False))

    def lose_held(self, key):
        """Take some of the held attempts that wait for this one, which has just been lost with its host."""
        lost = [task for task, after in self.held.items() if key in after and self.random.random() < 0.5]
        for task in lost:
            self.queue.remove(task)
            self.held.pop(task)
            self.update_held((task, self.model.attempts[task]))
        return lost

    def end(self, task, result, *, host_lost=False):
        self.with_slot.discard(task)
        if result is not None:
            result = result.replace(asked=task in self.signalled)
        self.signalled.discard(task)
        key = task, self.model.attempts[task]
        ran = self.now - self.model.alive.get(task, self.now)
        self.model.attempt_ended(task, result)
        lost_too = self.lose_held(key) if host_lost else []
        if result is None:
            self.update_held(key)
        else:
            self.update_held(key, result.exit_code, asked=result.asked, seconds=ran)
        self.launch()
        if host_lost:
            self.model.lost_attempts[task] += 1
            self.carry_out(self.scheduler.handle_host_lost(task, "its host was lost", self.now))
            for other in lost_too:
                self.model.attempt_ended(other, None)
                self.model.lost_attempts[other] += 1
                self.carry_out(self.scheduler.handle_host_lost(other, "its host was lost", self.now))
        elif result is None:
            self.carry_out(self.scheduler.handle_exit_unknown(task, "exit status unknown", self.now))
        else:
            self.carry_out(self.scheduler.handle_exited(task, result, self.now))

    # ---- instructions

    def carry_out(self, instructions):
        for instruction in instructions:
            self.task = instruction.task
            self.trace.append((self.now, instruction))
            self.model.check(instruction)
            match instruction:
                case Start():
                    self.start(instruction)
                case Signal():
                    # One in ten signals comes too late. No task is held for one with a log limit.
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
        """Answer in order, each at once, or after the instructions that follow from the first answers."""
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
            assert len(self.held) <= self.max_held, "too many tasks are held"
            known = {(task, self.model.attempts[task]) for task in (*self.queue, *self.with_slot)}
            # Sometimes one of them has ended, but its report has not arrived yet.
            if not known.issuperset(self.held[instruction.task]) or self.random.random() < 0.05:
                self.drop(instruction.task)
        self.launch()
        waiting = [task for task in self.queue if task not in self.held]
        assert len(waiting) <= self.ahead + self.max_held, "too many tasks wait for a slot"

    def drop(self, task):
        self.queue.remove(task)
        self.held.pop(task, None)
        self.at(self.random.random() * 0.1, "start cancelled", task)
        self.update_held((task, self.model.attempts[task]))

    def update_held(self, key, exit_code=None, **how):
        for task in [task for task, after in self.held.items() if key in after]:
            if task not in self.held:
                continue
            limit = self.held[task].pop(key)
            if not attempt_succeeded(exit_code, **how, timeout=limit):
                self.drop(task)
            elif not self.held[task]:
                del self.held[task]

    def launch(self):
        """Start waiting tasks while there are slots, as the launcher does by itself."""
        taken = sum(not self.model.task(other).daemon for other in self.with_slot)
        for task in list(self.queue):
            if task in self.held:
                continue
            if self.model.task(task).daemon or taken < self.plan.max_parallel:
                taken += not self.model.task(task).daemon
                self.queue.remove(task)
                self.with_slot.add(task)
                self.at(self.random.random() * 0.1, "started", task)

    def resolve(self, task):
        scheduler, model = self.scheduler, self.model
        # Or it will be finished as cancelled.
        is_late = task in model.finished or model.ended or task in model.stopped_by_user
        kinds = ["resolved", "resolved", "resolved", "skipped", "resolve failed"]
        kind = self.random.choice(kinds if task in model.group_of else [*kinds, "expanded"])
        if not is_late:
            model.resolved.add(task)
        if kind == "resolved":
            instructions = scheduler.handle_resolved(task, self.now)
        elif kind == "skipped":
            model.skipped_by_when.update(() if is_late else {task})
            instructions = scheduler.handle_skipped(task, "`when` is false", self.now)
        elif kind == "resolve failed":
            model.resolve_failed.add(task)
            instructions = scheduler.handle_resolve_failed(task, "nothing there", self.now)
        else:
            group = model.tasks[task]
            named = [f"{group.name}[{index}]" for index in range(self.random.randint(0, 4))]
            made = [plan_instance(Instance(name=name, task=group.task), group) for name in named]
            if not is_late:
                model.expanded(task, made)
            instructions = scheduler.handle_expanded(task, made, self.now)
        assert not is_late or instructions == [], "an answer that comes too late has an effect"
        self.carry_out(instructions)


def run_seed(seed):
    """Run the random run of this seed to its end, with all checks."""
    run = RandomRun(seed)
    try:
        run.run()
    except AssertionError as error:
        message = f"seed {seed}: {error}"
        if "story of task" not in message and run.task is not None:
            message += f"\n{run.scheduler.story(run.task)}"
        raise AssertionError(message) from error
    return run
