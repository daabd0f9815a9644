"""Simulates a run in virtual time, in which every task takes as long as it is expected to."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.jobfile.model import Instance
from mprun.scheduling.instance_plan import plan_instance
from mprun.scheduling.instructions import Finish, Instruction, Resolve, Signal, Start
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import Scheduler

if TYPE_CHECKING:
    from mprun.scheduling.estimates import Estimates
    from mprun.scheduling.plan import Plan, PlannedTask

# The duration of a daemon that is not expected to end by itself.
_ENDLESS = float("inf")

_SUCCEEDED = AttemptResult(succeeded=True, reason="", exit_code=0)

# The facts of a simulation.
_STARTED, _READY, _EXITED = range(3)


class Simulation(Frozen):
    """How long a run is expected to take, in seconds, and the order in which its tasks start.

    `order` has indices of the plan; a task that is skipped has the position at which that is known.
    """

    seconds: float
    order: tuple[int, ...]


def simulate(plan: Plan, estimates: Estimates) -> Simulation | None:
    """Run a plan in virtual time: every task succeeds and takes as long as expected, mprun takes no time.

    None if the run would not end: a task waits for the end of a daemon that is not expected to end,
    or a daemon restarts without end.
    """
    simulator = _Simulator(plan, estimates)
    return Simulation(seconds=simulator.now, order=tuple(simulator.order)) if simulator.run() else None


class _Simulator:
    """Takes the place of the executor and its tasks, and reports to the scheduler."""

    def __init__(self, plan: Plan, estimates: Estimates) -> None:
        # Without the timeout of the job, to see how long the run would take.
        self._scheduler = Scheduler(plan.replace(job=plan.job.replace(timeout=None)), max_held=0)
        self._estimates = estimates
        self._tasks = list(plan.tasks)
        self._in_plan = len(plan.tasks)
        self._reused = plan.reused
        self._slots = plan.max_parallel
        # The tasks that wait for a slot.
        self._queue: deque[int] = deque()
        self._agenda: list[tuple[float, int, int, int]] = []
        self._count = 0
        self._running: set[int] = set()
        # Whether a task that has succeeded is started again.
        self._is_endless = False
        self.now = 0.0
        self.order: dict[int, None] = {}

    def run(self) -> bool:
        """Run to the end; False if there is none."""
        self._carry_out(self._scheduler.begin(0.0))
        while not self._scheduler.finished:
            if self._scheduler.has_more:
                self._carry_out(self._scheduler.proceed(self.now))
                continue
            deadline = self._scheduler.deadline
            if self._agenda and (deadline is None or self._agenda[0][0] <= deadline):
                self.now, _, fact, task = heappop(self._agenda)
                self._report(fact, task)
            elif deadline is not None:
                self.now = max(self.now, deadline)
                self._carry_out(self._scheduler.handle_deadline(self.now))
            else:
                return False
            if self._is_endless:
                return False
        return True

    def _at(self, delay: float, fact: int, task: int) -> None:
        # Facts of the same instant keep the order in which they were entered.
        self._count += 1
        heappush(self._agenda, (self.now + delay, self._count, fact, task))

    def _report(self, fact: int, task: int) -> None:
        if fact == _STARTED:
            self._begin(task)
        elif task not in self._running:
            # It was stopped before.
            return
        elif fact == _READY:
            self._carry_out(self._scheduler.handle_ready(task, 1, self.now))
        else:
            self._end(task)

    def _begin(self, task: int) -> None:
        planned = self._tasks[task]
        self._running.add(task)
        duration = self._duration(planned)
        if planned.task.ready is not None:
            # A task that ends was ready before.
            self._at(min(duration, self._estimates.until_ready(planned.name)), _READY, task)
        if duration < _ENDLESS:
            self._at(duration, _EXITED, task)
        self._carry_out(self._scheduler.handle_started(task, self.now))

    def _duration(self, planned: PlannedTask) -> float:
        task, name = planned.task, planned.name
        if task.daemon and (task.restart != "never" or not self._estimates.knows(name)):
            return _ENDLESS
        return self._estimates.duration(name)

    def _end(self, task: int) -> None:
        self._running.discard(task)
        if not self._tasks[task].task.daemon:
            self._slots += 1
            if self._queue:
                self._launch(self._queue.popleft())
        self._carry_out(self._scheduler.handle_exited(task, _SUCCEEDED, self.now))

    def _launch(self, task: int) -> None:
        self._slots -= not self._tasks[task].task.daemon
        self._at(0.0, _STARTED, task)

    # ---- instructions

    def _carry_out(self, instructions: list[Instruction]) -> None:
        pending = deque(instructions)
        while pending:
            instruction = pending.popleft()
            if isinstance(instruction, Start):
                self._start(instruction)
            elif isinstance(instruction, Resolve):
                self._note(instruction.task)
                pending.extend(self._resolve(instruction.task))
            elif isinstance(instruction, Signal):
                self._at(0.0, _EXITED, instruction.task)
            elif isinstance(instruction, Finish):
                self._note(instruction.task)

    def _start(self, instruction: Start) -> None:
        if instruction.attempt > 1:
            self._is_endless = True
        self._note(instruction.task)
        if self._slots > 0 or self._tasks[instruction.task].task.daemon:
            self._launch(instruction.task)
        else:
            self._queue.append(instruction.task)

    def _note(self, task: int) -> None:
        if task < self._in_plan:
            self.order[task] = None

    def _resolve(self, task: int) -> list[Instruction]:
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
