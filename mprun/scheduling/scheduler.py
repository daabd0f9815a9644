"""Decides what happens next in a run: facts in, instructions out, without a clock, a process or a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mprun.outcomes import Outcome
from mprun.scheduling import retry
from mprun.scheduling.attempt_outcome import never_ready_reason, outcome_of
from mprun.scheduling.dispatch import MAX_TAKEN, Dependents, Dispatcher, ReleasedTasks
from mprun.scheduling.instructions import FAIL_FAST, RUN_FINISHED, USER, Instruction, MarkReady
from mprun.scheduling.join_order import JoinOrder
from mprun.scheduling.ready_queue import ReadyQueue
from mprun.scheduling.task_run import DISPATCHED, PENDING, READY, RUNNING, SETTLED, WAITING, TaskRun
from mprun.scheduling.task_runs import TaskRuns
from mprun.scheduling.termination import Cancellation, Termination
from mprun.scheduling.timers import NEXT_ATTEMPT, RUN_TIMEOUT, Timers
from mprun.scheduling.verdict import TaskEnds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from mprun.scheduling.group_expansion import Expansions
    from mprun.scheduling.losses import Losses
    from mprun.scheduling.pending_retries import PendingRetries
    from mprun.scheduling.plan import Plan, PlannedTask, Reused
    from mprun.scheduling.retry import AttemptResult
    from mprun.scheduling.task_run import Key

# How many tasks are dispatched before there is a slot for them: the executor then starts the next one
# without asking. (`make bench`: a fifth of the time of a run of short tasks.)
AHEAD = 8
# How many tasks are dispatched before their dependencies have succeeded.
MAX_HELD = 8


class Scheduler:
    """Decides for one run; the engine reports facts to it, and carries out the instructions.

    Each method takes the time of the fact, in seconds on a clock that only goes forward, and
    returns the instructions that follow, in the order in which they are to be carried out.
    If `has_more` is true then, `proceed` is to be called soon: one decision takes some milliseconds,
    even if 100,000 tasks become ready at once. `deadline` says when `handle_deadline` is due next,
    `finished` whether the run is over, and `end_reason` why it ends early or has ended. `unstarted()`
    lists the attempts that were dispatched and not reported as started, and `queued` says how long one waited
    for its tokens. By number, `outcomes` has the
    outcome of each task, None if it has none yet or is a group, and `expanded` the tasks that turned
    out to be groups: their instances have outcomes, they have none.

    Tasks are numbered by their index in the plan, from 0; instances that are created during the run
    get the numbers after it. `random` returns a number in [0, 1), for the jitter of a retry's delay.
    """

    # Tests replace the first by one that checks each event against the table of transitions.
    task_run_type: ClassVar[type[TaskRun]] = TaskRun
    task_runs_type: ClassVar[type[TaskRuns]] = TaskRuns
    # Whether tasks may settle before they finish: see `mprun.scheduling.rounds`.
    has_rounds: ClassVar[bool] = False

    def __init__(
        self,
        plan: Plan,
        random: Callable[[], float] = lambda: 0.0,
        ahead: int = AHEAD,
        max_held: int = MAX_HELD,
        max_taken: int = MAX_TAKEN,
    ) -> None:
        self._plan = plan
        self._random = random
        self._instructions: list[Instruction] = []
        self._task_runs = self.task_runs_type(plan, self._instructions, self.task_run_type)
        # A failure that ends the run must not meet a task that starts in the same instant.
        ahead, max_held = (0, 0) if plan.job.fail_fast else (ahead, max_held)
        self._ready_queue = ReadyQueue(plan, self._task_runs.all, ahead)
        dependents = Dependents(self._task_runs, max_held)
        self._dispatcher = Dispatcher(self._task_runs, self._ready_queue, dependents, self._instructions)
        self._released = ReleasedTasks(
            self._task_runs, self._ready_queue, self._dispatcher, self._instructions, max_taken
        )
        # Two tasks that are added or cancelled may make as many facts as one that becomes ready.
        self._max_added = (max_taken + 1) // 2
        self._cancellation = Cancellation(self._task_runs, self._max_added)
        # Once a task has turned out to be a group.
        self._expansions: Expansions | None = None
        self._join_order = JoinOrder(plan)
        self._timers = Timers()
        self._termination = Termination(
            self._task_runs,
            self._ready_queue,
            self._cancellation,
            self._dispatcher,
            self._join_order,
            self._timers,
            self._instructions,
        )
        # Whether the joins have not begun, because more tasks may have to be started first.
        self._is_beginning = True
        # Whether `add_tasks` may be called: the run does not end before.
        self.expects_tasks = False
        self.finished = False
        self.outcomes = self._task_runs.outcomes
        self.expanded = self._task_runs.expanded
        self.unstarted = self._task_runs.unstarted
        self.queued = self._task_runs.queued

    @property
    def end_reason(self) -> str | None:
        """Why the run ends early or has ended; None while it runs normally."""
        return self._termination.end_reason

    def ends(self, stopped: Collection[int]) -> TaskEnds:
        """How the tasks ended, of which these were stopped by request, one by one."""
        flaky = {
            one.number: self._plan.fails_if_flaky(one.task)
            for one in self._task_runs.all
            if retry.is_flaky(one.planned, self.outcomes[one.number], one.tries)
        }
        return TaskEnds(
            tasks=self._task_runs.planned(),
            outcomes=self.outcomes,
            expanded=self.expanded,
            skipped_by_when={one.number for one in self._task_runs.all if one.skipped_by_when},
            stopped=stopped,
            flaky=flaky,
        )

    @property
    def has_more(self) -> bool:
        """Whether `proceed` has more to decide."""
        return bool(self._released.backlog or self._expansions) or self._cancellation.has_more

    @property
    def deadline(self) -> float | None:
        """When `handle_deadline` is due next, on the caller's clock; None if nothing is timed."""
        timer = self._timers.first
        join = self._join_order.deadline
        return timer if join is None else join if timer is None else min(join, timer)

    # ---- facts of the run

    def begin(self, now: float) -> list[Instruction]:
        """The run begins: tasks without dependencies may start."""
        self._task_runs.now = now
        if self._plan.job.timeout is not None:
            self._timers.set(now + self._plan.job.timeout, RUN_TIMEOUT, 0, 0)
        self._finish_known(self._task_runs.all)
        return self._decide()

    def proceed(self, now: float) -> list[Instruction]:
        """Decide more of what `has_more` has announced."""
        self._task_runs.now = now
        if self._expansions:
            self._finish_known(self._expansions.add_more())
        if self._cancellation.has_more:
            self._finish_stopped()
            self._cancellation.finish_more()
        self._released.take_more()
        return self._decide()

    def handle_deadline(self, now: float) -> list[Instruction]:
        """The clock has reached `deadline`; an earlier time does no harm."""
        self._task_runs.now = now
        while (timer := self._timers.pop(now)) is not None:
            kind, task, attempt = timer
            if kind == NEXT_ATTEMPT:
                self._pending_retries().handle_due(self._task_runs.all[task], attempt)
            else:
                self._termination.handle_timer(kind, task, attempt, now)
        return self._decide()

    def handle_executor_lost(self, reason: str, began: Collection[int], now: float) -> list[Instruction]:
        """The executor is gone; of the tasks in `unstarted()`, `began` have begun all the same."""
        self._task_runs.now = now
        self._add_all_instances()
        self._termination.abandon(reason)
        self._losses().lose_all(reason, began)
        return self._decide()

    def handle_attempt_lost(
        self, task: int, attempt: int, reason: str, now: float, *, began: bool
    ) -> list[Instruction]:
        """The run ends, and an attempt will not be reported any more; with `began` it had a process."""
        task_run = self._task_runs.all[task]
        if task_run.state not in DISPATCHED or task_run.attempts != attempt:
            return []
        self._task_runs.now = now
        self._losses().lose(task_run, reason, began=began)
        return self._decide_after(task_run)

    def handle_slots(self, more: int, now: float) -> list[Instruction]:
        """There are so many slots more, or fewer: some of these may be in use."""
        self._task_runs.now = now
        self._ready_queue.slots += more
        return self._decide()

    def stop(self, reason: str, now: float, *, kill: bool = False) -> list[Instruction]:
        """End the run: nothing more starts, and what runs is asked to end in order, or is killed at once."""
        self._task_runs.now = now
        self._termination.end_run(reason, now, kill=kill)
        return self._decide()

    def add_tasks(self, tasks: Sequence[PlannedTask], now: float) -> list[Instruction]:
        """There are more tasks; they get the next numbers, in this order."""
        self._task_runs.now = now
        # Few runs are repeated for some time.
        from mprun.scheduling.group_expansion import add_copies

        # They get the numbers after those of all instances.
        self._add_all_instances()
        self._finish_known(add_copies(self._task_runs, self._join_order, tasks))
        return self._decide()

    def expect_no_tasks(self, now: float) -> list[Instruction]:
        """No more tasks will be added."""
        self._task_runs.now = now
        self.expects_tasks = False
        return self._decide()

    def has_settled(self, task: int) -> bool:
        """Whether a task has ended, and gets its outcome when all of its recipe is over."""
        return self._task_runs.all[task].state is SETTLED

    @property
    def unfinished(self) -> int:
        """How many tasks, daemons aside, have no outcome yet."""
        return self._task_runs.unfinished

    @property
    def spare_slots(self) -> int:
        """How many slots no task takes; below zero, how many tasks wait for one, and for nothing else."""
        return self._ready_queue.spare - len(self._released.backlog)

    # ---- facts of one task

    def handle_resolved(self, task: int, now: float) -> list[Instruction]:
        """The engine knows what the task refers to."""
        task_run = self._task_runs.all[task]
        if not self._accepts_answer(task_run):
            return []
        self._task_runs.now = now
        self._released.make_ready(task_run)
        return self._decide()

    def handle_skipped(self, task: int, reason: str, now: float) -> list[Instruction]:
        """The task's `when` turned out to be false; its dependents see that as a success."""
        return self._finish_resolving(task, Outcome.SKIPPED, reason, now, skipped_by_when=True)

    def handle_unchanged(self, task: int, reused: Reused, now: float) -> list[Instruction]:
        """The task would do again what an earlier run has done, and is finished as it was there."""
        task_run = self._task_runs.all[task]
        if not self._accepts_answer(task_run):
            return []
        self._task_runs.now = now
        # Few runs have any.
        from mprun.scheduling.known_outcomes import finish_unchanged

        finish_unchanged(task_run, reused, self._task_runs, self._join_order)
        return self._decide()

    def handle_resolve_failed(self, task: int, reason: str, now: float) -> list[Instruction]:
        """The task refers to something that does not exist."""
        return self._finish_resolving(task, Outcome.FAILED, reason, now)

    def handle_expanded(self, task: int, instances: Sequence[PlannedTask], now: float) -> list[Instruction]:
        """The task turned out to be a group; its instances get the next numbers, in this order.

        They get none if the task was given up in the meantime: then `expanded` does not contain it. A large
        group begins with its first instances; `proceed` adds the others.
        """
        if not instances:
            return self._finish_resolving(task, Outcome.SUCCEEDED, "the list is empty", now)
        task_run = self._task_runs.all[task]
        if not self._accepts_answer(task_run):
            return []
        self._task_runs.now = now
        if self._expansions is None:
            # Few jobs have a list that is known only during the run.
            from mprun.scheduling.group_expansion import Expansions

            self._expansions = Expansions(
                self._task_runs, self._join_order, self._instructions, self._max_added
            )
        self._finish_known(self._expansions.begin(task_run, instances))
        return self._decide()

    def handle_started(self, task: int, now: float) -> list[Instruction]:
        """An attempt has a process."""
        self._task_runs.now = now
        self._join_order.was_started(task)
        task_run = self._task_runs.all[task]
        self._dispatcher.release_hold(task_run)
        is_first = task_run.start(now)
        self._termination.watch(task_run, now)
        if is_first:
            self._task_runs.announce(task_run, "started")
        return self._decide()

    def handle_ready(self, task: int, attempt: int, now: float) -> list[Instruction]:
        """A probe found this attempt ready; that is too late if the attempt is ending or over."""
        task_run = self._task_runs.all[task]
        is_first = task_run.ready_attempt == 0
        if not task_run.accept_readiness(attempt):
            return []
        self._task_runs.now = now
        self._instructions.append(MarkReady(task=task, attempt=attempt))
        if is_first:
            self._task_runs.announce(task_run, "ready")
        return self._decide()

    def handle_exited(self, task: int, result: AttemptResult, now: float) -> list[Instruction]:
        """An attempt has ended, or could not be started."""
        self._task_runs.now = now
        self._join_order.was_started(task)
        task_run = self._task_runs.all[task]
        outcome, reason = outcome_of(task_run, result, now)
        task_run.end_attempt(now)
        self._dispatcher.release(task_run)
        again = None
        if self._termination.end_reason is None and not task_run.stopped_by_user:
            again = retry.reason_for_another(task_run.task, outcome, task_run.counted, result)
        return self._continue(task_run, outcome, reason, again, result)

    def _continue(
        self, task_run: TaskRun, outcome: str, reason: str, again: str | None, result: AttemptResult
    ) -> list[Instruction]:
        if again == retry.RESTART and task_run.was_never_ready(self._task_runs.now):
            # Otherwise tasks that depend on it being ready would wait without end.
            again, outcome, reason = None, Outcome.FAILED, never_ready_reason(result)
        if again is not None:
            self._pending_retries().schedule(task_run, outcome, reason, again)
        else:
            self._finish(task_run, outcome, reason)
        return self._decide_after(task_run)

    def handle_host_lost(
        self, task: int, reason: str, now: float, *, began: bool = True, is_over: bool = True
    ) -> list[Instruction]:
        """An attempt was lost with its host: no one saw how it ended, unless it never `began`.

        If something of it may not be over, it is followed by no other one.
        """
        self._task_runs.now = now
        self._join_order.was_started(task)
        task_run, losses = self._task_runs.all[task], self._losses()
        if not began:
            if (end := losses.lose_start(task_run)) is not None:
                self._finish(task_run, *end)
            return self._decide_after(task_run)
        is_ending = self._termination.end_reason is not None or not is_over
        again = losses.lose_with_host(task_run, self._plan.job.on_host_lost, is_ending=is_ending)
        if task_run.state is not WAITING:
            result = retry.AttemptResult(succeeded=False, reason=reason)
            return self._continue(task_run, Outcome.UNKNOWN, reason, again, result)
        return self._decide_after(task_run)

    def _losses(self) -> Losses:
        # Few runs have any.
        from mprun.scheduling.losses import Losses

        return Losses(self._task_runs, self._dispatcher, self._join_order, self._released)

    def handle_exit_unknown(self, task: int, reason: str, now: float) -> list[Instruction]:
        """An attempt has ended, and its exit status is unknown."""
        self._task_runs.now = now
        self._join_order.was_started(task)
        task_run = self._task_runs.all[task]
        task_run.end_attempt(now)
        self._dispatcher.release(task_run)
        self._finish(task_run, Outcome.UNKNOWN, reason)
        return self._decide_after(task_run)

    def handle_start_cancelled(self, task: int, now: float) -> list[Instruction]:
        """The executor will not start an attempt: it was asked not to, or a dependency did not succeed."""
        self._task_runs.now = now
        self._join_order.was_started(task)
        task_run = self._task_runs.all[task]
        task_run.cancel_attempt()
        self._dispatcher.release(task_run)
        if task_run.stop_reason is not None or task_run.pending_outcome is not None:
            self._finish_unstarted(task_run, task_run.stop_reason or "")
        elif task_run.unmet:
            task_run.wait()
        else:
            self._released.make_ready(task_run)
        return self._decide_after(task_run)

    def stop_attempt(self, task: int, reason: str, now: float) -> list[Instruction]:
        """End the running attempt of a task, if it has one, as its timeout would."""
        self._task_runs.now = now
        task_run = self._task_runs.all[task]
        if task_run.state is RUNNING:
            self._termination.ask_to_end(task_run, reason, now)
        return self._decide()

    # ---- facts of several tasks

    def stop_tasks(self, tasks: Sequence[int], now: float) -> list[Instruction]:
        """A user stops these tasks, each after those of them that depend on it, and nothing else of the run.

        They get no further attempt, and those that have not started never will.
        """
        self._task_runs.now = now
        if tasks and max(tasks) >= len(self._task_runs.all):
            self._add_all_instances()
        task_runs = [self._task_runs.all[task] for task in tasks]
        for task_run in task_runs:
            task_run.refuse_attempts()
        self._ready_queue.remove([task_run for task_run in task_runs if task_run.state is READY])
        self._cancellation.stop([task_run for task_run in task_runs if task_run.state in PENDING])
        self._finish_stopped()
        self._termination.stop([run for run in task_runs if run.state in DISPATCHED], USER, now)
        return self._decide()

    def _add_all_instances(self) -> None:
        while self._expansions:
            self._finish_known(self._expansions.add_more())

    # ---- decisions

    def _decide(self) -> list[Instruction]:
        if self._task_runs.released:
            self._released.take()
        if self._released.backlog or self._expansions or self._ready_queue.held_back is not None:
            self._released.hold_back(self._next_key(), is_ending=self._task_runs.is_ending)
        if self._is_beginning:
            self._begin_joins()
        # Joins come before starts: a dependent starts after its dependency was joined.
        self._instructions += self._join_order.advance(self._task_runs.outcomes, self._task_runs.now)
        self._dispatcher.fill()
        self._end_the_run()
        if self._released.to_resolve:
            self._released.ask_to_resolve()
        instructions = self._instructions[:]
        self._instructions.clear()
        return instructions

    def _next_key(self) -> Key | None:
        """The first instance that is to be added, for which tasks after it wait; None if none do.

        With priorities the first one to start may be among the last to be added: no task waits for it.
        """
        return self._expansions.next_key if self._expansions and self._plan.priorities is None else None

    def _decide_after(self, task_run: TaskRun) -> list[Instruction]:
        """An attempt of this task is over: tasks that are being stopped may have waited for it."""
        if self._termination.has_order:
            self._termination.handle_over(task_run, self._task_runs.now)
        return self._decide()

    def _begin_joins(self) -> None:
        """Begin the joins after the first starts, as soon as it is known which tasks these are."""
        self._dispatcher.fill()
        if self._ready_queue.expects_more:
            return
        self._is_beginning = False
        self._join_order.begin_after(self._dispatcher.starting())

    def _pending_retries(self) -> PendingRetries:
        # Few runs have any.
        from mprun.scheduling.pending_retries import PendingRetries

        return PendingRetries(self._task_runs, self._released, self._timers, self._random, self._instructions)

    # ---- ends

    def _finish(self, task_run: TaskRun, outcome: str, reason: str, *, skipped_by_when: bool = False) -> None:
        """Finish a task, and every task that can never start because of it."""
        self._task_runs.finish(task_run, outcome, reason, skipped_by_when=skipped_by_when)
        self._task_runs.announce_outcome(task_run)
        if outcome in retry.FAILURES and self._plan.job.fail_fast and not task_run.task.allow_failure:
            self._termination.end_run(FAIL_FAST, self._task_runs.now)

    def _finish_known(self, task_runs: Sequence[TaskRun]) -> None:
        known = [task_run for task_run in task_runs if task_run.planned.reused or task_run.planned.skipped]
        if known:
            # Few runs have any.
            from mprun.scheduling.known_outcomes import finish_known

            finish_known(known, self._task_runs, self._join_order)

    def _finish_resolving(
        self, task: int, outcome: str, reason: str, now: float, *, skipped_by_when: bool = False
    ) -> list[Instruction]:
        """Finish a task that does not run because of what it refers to."""
        task_run = self._task_runs.all[task]
        if not self._accepts_answer(task_run):
            return []
        self._task_runs.now = now
        if outcome == Outcome.SUCCEEDED:
            self._join_order.expand(task, [])
        self._finish(task_run, outcome, reason, skipped_by_when=skipped_by_when)
        return self._decide()

    def _accepts_answer(self, task_run: TaskRun) -> bool:
        """Whether the answer for a task is not too late."""
        return task_run.accept_answer() and not self._task_runs.is_cancelled(task_run)

    def _finish_stopped(self) -> None:
        """Finish the next tasks that a user has stopped before they started."""
        for task_run in self._cancellation.take_stopped():
            self._finish_unstarted(task_run, USER)

    def _finish_unstarted(self, task_run: TaskRun, reason: str) -> None:
        """Finish a task that gets no further attempt: as its last one ended, else as cancelled."""
        self._finish(task_run, *(task_run.pending_outcome or (Outcome.CANCELLED, reason)))

    def _end_the_run(self) -> None:
        """After the last join stop the daemons, the last started one first; then the run is over."""
        if self._task_runs.unfinished or not (self._join_order.done or self._termination.end_reason):
            return
        if self.expects_tasks and self._termination.end_reason is None:
            return
        if self._termination.end_reason is None:
            self._termination.end_run(RUN_FINISHED, self._task_runs.now)
        self.finished = not self._dispatcher and not self._cancellation.has_more
