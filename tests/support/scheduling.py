"""Drives a scheduler in virtual time by task names, and has its instructions as short texts."""

from __future__ import annotations

from mprun.jobfile.model import Instance
from mprun.scheduling.checked_scheduler import CheckedScheduler
from mprun.scheduling.instance_plan import plan_instance
from mprun.scheduling.instructions import (
    CancelStart,
    Expand,
    Finish,
    Join,
    MarkReady,
    Resolve,
    ScheduleRetry,
    Signal,
    Start,
)
from mprun.scheduling.member_runs import Settle
from mprun.scheduling.retry import AttemptResult


class Run:
    """A scheduler, and the instructions that it returned: those of the last fact, and all of them."""

    def __init__(self, the_plan, random=lambda: 0.0, held=0, scheduler_type=CheckedScheduler):
        self.tasks = list(the_plan.tasks)
        self.names = [planned.name for planned in the_plan.tasks]
        self.scheduler = scheduler_type(the_plan, random, ahead=1, max_held=held)
        self.log = []
        self.reasons = {}
        self.apply(self.scheduler.begin(0.0))

    def apply(self, instructions):
        # An expansion is seen by what its instances do.
        shown = [one for one in instructions if not isinstance(one, Expand)]
        self.last = [self.describe(instruction) for instruction in shown]
        self.log += self.last
        return self.last

    def describe(self, instruction):
        name = self.names[instruction.task]
        match instruction:
            case Start():
                after = ", ".join(self.names[number] for number, _, _ in instruction.after)
                return f"start {name} after {after}" if after else f"start {name}"
            case Finish():
                self.reasons[name] = instruction.reason
                return f"{instruction.outcome} {name}"
            case Settle():
                return f"({instruction.outcome} {name})"
            case Join():
                return f"join {name} {instruction.position}/{instruction.of}"
            case Signal():
                return (
                    f"{instruction.signal} {name} {instruction.reason}{' dump' if instruction.dump else ''}"
                )
            case CancelStart():
                return f"cancel start {name}"
            case ScheduleRetry():
                return f"{instruction.reason} {name} {instruction.attempt} in {instruction.delay:g}"
            case MarkReady():
                return f"ready {name} {instruction.attempt}"
            case Resolve():
                return f"resolve {name}"

    def started(self, *names, now=0.0):
        for name in names:
            self.apply(self.scheduler.handle_started(self.number(name), now))
        return self

    def exited(self, name, succeeded=True, now=1.0, code=None, **more):
        code = code if code is not None else int(not succeeded)
        ending = AttemptResult(succeeded=succeeded, reason="exit", exit_code=code, **more)
        return self.apply(self.scheduler.handle_exited(self.number(name), ending, now))

    def start_cancelled(self, name, now=1.0):
        return self.apply(self.scheduler.handle_start_cancelled(self.number(name), now))

    def is_ready(self, name, attempt=1, now=0.0):
        return self.apply(self.scheduler.handle_ready(self.number(name), attempt, now))

    def resolved(self, *names, now=0.0):
        for name in names:
            self.apply(self.scheduler.handle_resolved(self.number(name), now))
        return self

    def skipped(self, name, reason="`when` is false"):
        return self.apply(self.scheduler.handle_skipped(self.number(name), reason, 0.0))

    def resolve_failed(self, name, reason="nothing there"):
        return self.apply(self.scheduler.handle_resolve_failed(self.number(name), reason, 0.0))

    def expanded(self, name, count, now=0.0):
        """Answer that a task is a group of this many instances, named `name[0]` and so on."""
        number = self.number(name)
        group = self.tasks[number]
        made = [Instance(name=f"{name}[{index}]", groups=(name,), task=group.task) for index in range(count)]
        instances = [plan_instance(instance, group) for instance in made]
        instructions = self.scheduler.handle_expanded(number, instances, now)
        if number in self.scheduler.expanded:
            self.tasks += instances
            self.names += [planned.name for planned in instances]
        return self.apply(instructions)

    def stopped(self, *names, now=1.0):
        """A user stops these tasks."""
        return self.apply(self.scheduler.stop_tasks([self.number(name) for name in names], now))

    def log_limit_exceeded(self, name, now=1.0):
        return self.apply(self.scheduler.stop_attempt(self.number(name), "log_limit", now))

    def advance(self, now):
        """The clock has reached this time."""
        return self.apply(self.scheduler.handle_deadline(now))

    def number(self, name):
        return self.names.index(name)

    def outcome(self, name):
        return self.scheduler.outcomes[self.number(name)]
