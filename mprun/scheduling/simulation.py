"""A run in virtual time, in which every task takes what it is expected to; pure."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.jobfile.model import Instance
from mprun.scheduling.instructions import Finish, Instruction, Resolve, Signal, Start
from mprun.scheduling.plan import plan_instance
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import Scheduler

if TYPE_CHECKING:
    from mprun.scheduling.estimates import Estimates
    from mprun.scheduling.plan import Plan, PlannedTask

# When a daemon ends by itself of which nobody knows that it does.
_NEVER = float("inf")

_SUCCEEDED = AttemptResult(succeeded=True, reason="", exit_code=0)

# The facts of a rehearsal.
_STARTS, _IS_READY, _ENDS = range(3)


class Simulation(Frozen):
    """How long a run is expected to take, in seconds, and its tasks in the order of their start.

    The tasks are places in the plan; one that is skipped stands where that was known.
    """

    seconds: float
    order: tuple[int, ...]


def simulate(plan: Plan, estimates: Estimates) -> Simulation | None:
    """Run a plan in virtual time: every task succeeds and takes what is expected, mprun itself nothing.

    None where it would not come to an end: a task that waits for the end of a daemon of
    which nobody knows when it ends, one that is started again for ever.
    """
    stage = _Stage(plan, estimates)
    return Simulation(seconds=stage.now, order=tuple(stage.order)) if stage.play() else None


class _Stage:
    """Plays the launcher and its tasks, and tells the scheduler what happens."""

    def __init__(self, plan: Plan, estimates: Estimates) -> None:
        # That it would take too long is to be seen.
        self._scheduler = Scheduler(plan.replace(job=plan.job.replace(timeout=None)), max_held=0)
        self._estimates = estimates
        self._tasks = list(plan.tasks)
        self._in_file = len(plan.tasks)
        self._reused = plan.reused
        self._places = plan.max_parallel
        # What was handed over before there is a place for it.
        self._queue: deque[int] = deque()
        self._agenda: list[tuple[float, int, int, int]] = []
        self._count = 0
        self._lives: set[int] = set()
        # Whether a task that has succeeded is started again.
        self._is_endless = False
        self.now = 0.0
        self.order: dict[int, None] = {}

    def play(self) -> bool:
        """Play it to its end; whether there is one."""
        self._carry_out(self._scheduler.begin(0.0))
        while not self._scheduler.finished:
            deadline = self._scheduler.deadline
            if self._agenda and (deadline is None or self._agenda[0][0] <= deadline):
                self.now, _, fact, task = heappop(self._agenda)
                self._happen(fact, task)
            elif deadline is not None:
                self.now = max(self.now, deadline)
                self._carry_out(self._scheduler.handle_deadline(self.now))
            else:
                return False
            if self._is_endless:
                return False
        return True

    def _at(self, delay: float, fact: int, task: int) -> None:
        # What happens at the same time happens in the order in which it was to be.
        self._count += 1
        heappush(self._agenda, (self.now + delay, self._count, fact, task))

    def _happen(self, fact: int, task: int) -> None:
        if fact == _STARTS:
            self._begin(task)
        elif task not in self._lives:
            # It was stopped before.
            return
        elif fact == _IS_READY:
            self._carry_out(self._scheduler.handle_ready(task, 1, self.now))
        else:
            self._end(task)

    def _begin(self, task: int) -> None:
        planned = self._tasks[task]
        self._lives.add(task)
        duration = self._duration(planned)
        if planned.task.ready is not None:
            # Whoever ends was ready before.
            self._at(min(duration, self._estimates.until_ready(planned.name)), _IS_READY, task)
        if duration < _NEVER:
            self._at(duration, _ENDS, task)
        self._carry_out(self._scheduler.handle_started(task, self.now))

    def _duration(self, planned: PlannedTask) -> float:
        task, name = planned.task, planned.name
        if task.daemon and (task.restart != "never" or not self._estimates.knows(name)):
            return _NEVER
        return self._estimates.duration(name)

    def _end(self, task: int) -> None:
        self._lives.discard(task)
        if not self._tasks[task].task.daemon:
            self._places += 1
            if self._queue:
                self._launch(self._queue.popleft())
        self._carry_out(self._scheduler.handle_exited(task, _SUCCEEDED, self.now))

    def _launch(self, task: int) -> None:
        self._places -= not self._tasks[task].task.daemon
        self._at(0.0, _STARTS, task)

    # ---- what the scheduler wants

    def _carry_out(self, instructions: list[Instruction]) -> None:
        pending = deque(instructions)
        while pending:
            instruction = pending.popleft()
            if isinstance(instruction, Start):
                self._start(instruction)
            elif isinstance(instruction, Resolve):
                self._note(instruction.task)
                pending.extend(self._resolved(instruction.task))
            elif isinstance(instruction, Signal):
                self._at(0.0, _ENDS, instruction.task)
            elif isinstance(instruction, Finish):
                self._note(instruction.task)

    def _start(self, instruction: Start) -> None:
        if instruction.attempt > 1:
            self._is_endless = True
        self._note(instruction.task)
        if self._places > 0 or self._tasks[instruction.task].task.daemon:
            self._launch(instruction.task)
        else:
            self._queue.append(instruction.task)

    def _note(self, task: int) -> None:
        if task < self._in_file:
            self.order[task] = None

    def _resolved(self, task: int) -> list[Instruction]:
        planned = self._tasks[task]
        if planned.task.foreach is None:
            return self._scheduler.handle_resolved(task, self.now)
        instances = self._instances(planned)
        instructions = self._scheduler.handle_expanded(task, instances, self.now)
        if task in self._scheduler.expanded:
            self._tasks += instances
        return instructions

    def _instances(self, group: PlannedTask) -> list[PlannedTask]:
        task = group.task.replace(foreach=None)
        names = self._estimates.instances(group.name)
        return [plan_instance(Instance(name=name, task=task), group, self._reused) for name in names]
