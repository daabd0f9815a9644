"""Resolves tasks that refer to results, and expands those whose list is known only now, some in each turn."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from mprun import failpoints
from mprun.engine.late_answers import Expanded, Expanding, Failed, LateAnswers, Resolved, Skipped
from mprun.frozen import MIN_TO_COMPILE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from mprun.clock import Clock
    from mprun.engine.fact_queue import Fact
    from mprun.engine.late_answers import Answer
    from mprun.engine.resolver import TaskResolver
    from mprun.engine.task_table import TaskTable
    from mprun.engine.unchanged_checks import UnchangedChecks
    from mprun.scheduling.instructions import Instruction, Resolve
    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.scheduling.scheduler import Scheduler

    # For types alone: nothing looks at it during a run.
    class Act(Protocol):
        """Does what the scheduler has decided, after noting these facts."""

        def __call__(self, instructions: list[Instruction], *, facts: Sequence[Fact] = ()) -> None: ...


# How many tasks are resolved in one turn of the engine's loop: some 30 ms.
MAX_RESOLVED_PER_TURN = 1000


class ResolveQueue:
    """The tasks whose references are to be resolved: of a large group, only so many in one turn.

    Between two turns the engine notices signals, ends and timeouts.
    """

    def __init__(self) -> None:
        self._waiting: deque[int] = deque()
        self._left = MAX_RESOLVED_PER_TURN

    @property
    def is_waiting(self) -> bool:
        """Whether some have to be resolved in a later turn."""
        return bool(self._waiting)

    def admits(self, number: int) -> bool:
        """Whether this task is to be resolved now; else it waits for a later turn."""
        if self._left <= 0:
            self._waiting.append(number)
            return False
        self._left -= 1
        return True

    def begin_turn(self) -> list[int]:
        """The tasks that have waited and are to be resolved in the turn that begins."""
        count = min(len(self._waiting), MAX_RESOLVED_PER_TURN)
        self._left = MAX_RESOLVED_PER_TURN - count
        return [self._waiting.popleft() for _ in range(count)]


class LateReferences:
    """The tasks of a run whose references are resolved during the run, and what follows for each."""

    def __init__(
        self,
        resolver: TaskResolver,
        plan: Plan,
        scheduler: Scheduler,
        table: TaskTable,
        clock: Clock,
        act: Act,
    ) -> None:
        self._answers = LateAnswers(resolver, plan, table)
        self._scheduler = scheduler
        self._table = table
        self._clock = clock
        self._act = act
        # Of jobs with tasks that say `inputs` or `outputs`.
        self.unchanged: UnchangedChecks | None = None
        self._to_resolve = ResolveQueue()
        # The tasks that are being expanded: one after the other adds its instances to the run.
        self._expansions: list[Expanding] = []

    @property
    def has_more(self) -> bool:
        """Whether `proceed` is to be called soon."""
        return self._to_resolve.is_waiting or bool(self._expansions)

    def resolve(self, resolve: Resolve) -> None:
        """Resolve the references of a task to results, now or in a later turn."""
        if self._to_resolve.admits(resolve.task):
            self._answer(resolve.task)

    def proceed(self) -> None:
        """A turn begins: resolve those that have waited, and take a step of an expansion."""
        if self.unchanged is not None:
            self.unchanged.proceed()
        for number in self._to_resolve.begin_turn():
            self._answer(number)
        if self._expansions:
            self._expand_more()

    def _answer(self, number: int) -> None:
        """Resolve the references of a task, and tell the scheduler the answer."""
        failpoints.reached("loop.resolve")
        answer = self._answers.answer(number)
        if isinstance(answer, Expanding):
            self._expansions.append(answer)
            if len(self._expansions) == 1:
                self._expand_more()
        else:
            self._handle_answer(number, answer)

    def _expand_more(self) -> None:
        expanding = self._expansions[0]
        answer = expanding.step()
        if answer is not None:
            del self._expansions[0]
            self._handle_answer(expanding.number, answer)
        elif self._scheduler.end_reason is not None:
            # Its task is given up, like those of the others.
            self._expansions.clear()

    def _handle_answer(self, number: int, answer: Answer) -> None:
        now = self._clock.timed()
        match answer:
            case Resolved():
                if self.unchanged is not None and self.unchanged.begin(number):
                    return
                instructions = self._scheduler.handle_resolved(number, now)
            case Skipped(reason=reason):
                instructions = self._scheduler.handle_skipped(number, reason, now)
            case Failed(reason=reason):
                instructions = self._scheduler.handle_resolve_failed(number, reason, now)
            case Expanded(tasks=instances):
                instructions = self._scheduler.handle_expanded(number, instances, now)
                try:
                    self._expand_table(number, instances)
                except Exception:
                    # Starts that no one knows of would be waited for.
                    with contextlib.suppress(Exception):
                        self._act(instructions)
                    raise
        self._act(instructions)

    def _expand_table(self, number: int, instances: Sequence[PlannedTask]) -> None:
        # Unless the task was given up meanwhile.
        if number in self._scheduler.expanded:
            self._table.expand(number, instances)
            if len(instances) >= MIN_TO_COMPILE:
                from mprun.engine.task_values import compile_inits

                compile_inits()
