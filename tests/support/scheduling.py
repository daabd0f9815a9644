"""A scheduler in virtual time, driven by task names, with its intents in words."""

from __future__ import annotations

from mprun.jobfile.model import Instance
from mprun.scheduling.instructions import (
    CancelStart,
    Finish,
    Join,
    MarkReady,
    Resolve,
    ScheduleRetry,
    Signal,
    Start,
)
from mprun.scheduling.plan import plan_instance
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import Scheduler


class Run:
    """Drives a scheduler by task names and keeps what it answered."""

    def __init__(self, the_plan, dice=lambda: 0.0, held=0):
        self.tasks = list(the_plan.tasks)
        self.names = [planned.name for planned in the_plan.tasks]
        self.scheduler = Scheduler(the_plan, dice, ahead=1, held=held)
        self.log = []
        self.reasons = {}
        self.take(self.scheduler.begin(0.0))

    def take(self, intents):
        self.last = [self.words(intent) for intent in intents]
        self.log += self.last
        return self.last

    def words(self, intent):
        name = self.names[intent.task]
        match intent:
            case Start():
                after = ", ".join(self.names[number] for number, _, _ in intent.after)
                return f"start {name} after {after}" if after else f"start {name}"
            case Finish():
                self.reasons[name] = intent.reason
                return f"{intent.outcome} {name}"
            case Join():
                return f"join {name} {intent.position}/{intent.of}"
            case Signal():
                return f"{intent.signal} {name} {intent.reason}{' dump' if intent.dump else ''}"
            case CancelStart():
                return f"withdraw {name}"
            case ScheduleRetry():
                kind = "again" if intent.reason == "retry" else intent.reason
                return f"{kind} {name} {intent.attempt} in {intent.delay:g}"
            case MarkReady():
                return f"ready {name} {intent.attempt}"
            case Resolve():
                return f"resolve {name}"

    def started(self, *names, now=0.0):
        for name in names:
            self.take(self.scheduler.task_started(self.number(name), now))
        return self

    def exited(self, name, succeeded=True, now=1.0, code=None, **more):
        code = code if code is not None else int(not succeeded)
        ending = AttemptResult(succeeded=succeeded, reason="exit", exit_code=code, **more)
        return self.take(self.scheduler.task_exited(self.number(name), ending, now))

    def withdrawn(self, name, now=1.0):
        return self.take(self.scheduler.task_withdrawn(self.number(name), now))

    def is_ready(self, name, attempt=1, now=0.0):
        return self.take(self.scheduler.task_ready(self.number(name), attempt, now))

    def resolved(self, *names, now=0.0):
        for name in names:
            self.take(self.scheduler.task_resolved(self.number(name), now))
        return self

    def skipped(self, name, reason="`when` is false"):
        return self.take(self.scheduler.task_skipped(self.number(name), reason, 0.0))

    def refused(self, name, reason="nothing there"):
        return self.take(self.scheduler.task_refused(self.number(name), reason, 0.0))

    def expanded(self, name, count, now=0.0):
        """Answer that a task is a group of so many, named `name[0]` and so on."""
        number = self.number(name)
        group = self.tasks[number]
        made = [Instance(name=f"{name}[{index}]", groups=(name,), task=group.task) for index in range(count)]
        instances = [plan_instance(instance, group) for instance in made]
        intents = self.scheduler.task_expanded(number, instances, now)
        if number in self.scheduler.expanded:
            self.tasks += instances
            self.names += [planned.name for planned in instances]
        return self.take(intents)

    def stopped(self, name, reason="user", now=1.0):
        return self.take(self.scheduler.stop_task(self.number(name), reason, now))

    def passed(self, now):
        return self.take(self.scheduler.time_passed(now))

    def number(self, name):
        return self.names.index(name)

    def outcome(self, name):
        return self.scheduler.outcomes[self.number(name)]
