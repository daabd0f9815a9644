"""Runs `mprun ARGUMENTS` and counts what each turn of the engine's loop does: steps, not seconds.

The file `turns` gets, for each kind of step, the most of them in one turn, as JSON, and how many facts had
no events yet at the end of one. Signals and the ends of
tasks are noticed between two turns.
"""

import json
import os
import sys
from collections import Counter
from importlib import import_module

import mprun.__main__
from mprun.engine import fact_queue, poller

STEPS = {
    "instances made": ("mprun.engine.late_answers", "plan_instance"),
    "instances added": ("mprun.scheduling.task_runs", "TaskRuns._instance_priority"),
    "tasks finished": ("mprun.scheduling.task_runs", "TaskRuns.finish"),
    "tasks resolved": ("mprun.engine.late_answers", "LateAnswers.answer"),
    "tasks released": ("mprun.scheduling.dispatch", "ReleasedTasks._take"),
    "events": ("mprun.record.run_state", "RunState.apply"),
}


class Turns:
    """The steps of the present turn, and the most of each kind in one."""

    def __init__(self):
        self.now = Counter()
        self.most = Counter()
        self.all = 0

    def count(self, kind, module, function):
        """Count the calls of a function."""
        holder = import_module(module)
        *classes, name = function.split(".")
        for each in classes:
            holder = getattr(holder, each)
        works = getattr(holder, name)

        def counted(*arguments, **options):
            self.now[kind] += 1
            return works(*arguments, **options)

        setattr(holder, name, counted)

    def end(self):
        """The turn has ended."""
        self.most |= self.now
        self.now.clear()
        self.all += 1
        with open("turns", "w", encoding="utf-8") as file:
            json.dump({"turns": self.all, **self.most}, file)


if __name__ == "__main__":
    turns = Turns()
    for kind, place in STEPS.items():
        turns.count(kind, *place)
    wait = poller.Poller.wait

    def end_and_wait(self, timeout):
        turns.end()
        return wait(self, timeout)

    poller.Poller.wait = end_and_wait
    take = fact_queue.FactQueue.take

    def take_and_measure(self):
        facts = take(self)
        turns.most["facts not recorded"] = max(turns.most["facts not recorded"], self.size)
        return facts

    fact_queue.FactQueue.take = take_and_measure
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    mprun.__main__.main()
