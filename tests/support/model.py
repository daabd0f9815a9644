"""A plain model of a run, which checks each instruction of the scheduler.

It shares no bookkeeping with the scheduler: it knows the facts and the instructions, and nothing else.
"""

from __future__ import annotations

from collections import Counter

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
from mprun.scheduling.verdict import verdict
from support.stop_model import ORDERED, StopModel

FAILURES = ("failed", "timed_out")
# An attempt that ran for this many seconds was stable.
STABLE_AFTER = 10.0
# In larger plans it takes too long to check which other tasks could have started.
SMALL = 40


class Model:
    """The facts of a run, by task number; `now` is set from outside."""

    def __init__(self, plan, ahead):
        self.plan = plan
        self.ahead = ahead
        self.now = 0.0
        self.tasks = list(plan.tasks)
        self.group_of, self.instances = {}, {}
        # So many tasks are recorded: those of the plan, and instances that were added.
        self.recorded = len(plan.tasks)
        self.attempts, self.lost_attempts = Counter(), Counter()
        # The tasks with a dispatched attempt, and those with a process, with the time of its start.
        self.live, self.alive, self.first_start = set(), {}, {}
        # Why the present attempt was asked to end, and when.
        self.asked = {}
        self.guarded = set()
        self.stopped_by_user = set()
        self.last_outcomes, self.was_up, self.due = {}, {}, {}
        self.to_resolve, self.resolved = set(), set()
        self.seen_started, self.seen_ready, self.ready_now = set(), set(), set()
        self.finished, self.resolve_failed = {}, set()
        # The tasks whose `when` is false, the groups without instances, and what a user stopped in time.
        self.skipped_by_when, self.empty, self.stopped_in_time = set(), set(), set()
        # Whether a signal stopped the run, and whether the launcher was lost.
        self.interrupted = self.lost = False
        self.joined = []
        self.held, self.slots = Counter(), plan.max_parallel
        self.met = set()
        # The held tasks, each with the tasks that have to succeed first.
        self.awaited = {}
        self.ended = self.killing = False
        self.stops = StopModel(self)

    def task(self, number):
        return self.tasks[number].task

    def order(self, number):
        """Sorts tasks: the highest priority first, if there are priorities; then the order of the file."""
        place, priorities = self.group_of.get(number, number), self.plan.priorities
        if priorities is None:
            return 0, place, number
        if number in self.group_of:
            return -priorities.of_instance(place, self.tasks[number].name), place, number
        return -priorities.of(number), place, number

    # ---- facts

    def attempt_started(self, number):
        assert self.may_start(number), "it runs before what it needs"
        self.alive[number] = self.now
        self.first_start.setdefault(number, self.now)
        self.seen_started.add(number)
        # What is known only during the run may change it.
        if not any(planned.late for planned in self.plan.tasks):
            assert len(self.alive) <= self.plan.max_concurrency, "more at once than the plan says"

    def attempt_ended(self, number, result):
        """`result` is None if the exit status is unknown."""
        self.last_outcomes[number] = self.outcome_of(number, result)
        if result is not None and result.exit_code == 0 and not result.asked:
            self.release_held(number, self.now - self.alive.get(number, self.now))
        ran = self.now - self.alive.get(number, self.now)
        self.was_up[number] = number in self.ready_now if self.task(number).ready else ran >= STABLE_AFTER
        self.release(number)

    def outcome_of(self, number, result):
        task, (reason, _) = self.task(number), self.asked.get(number, (None, 0))
        ran = self.alive.get(number)
        if result is None:
            return "unknown"
        if reason == "timeout" and self.now >= ran + task.timeout:
            return "timed_out"
        if reason in ("log_limit", "not_ready"):
            return "failed"
        # Without having been ready, no end is a success.
        succeeded = result.succeeded and (task.ready is None or number in self.ready_now)
        if reason in ORDERED and (result.asked or not succeeded):
            return "stopped"
        return "succeeded" if succeeded else "failed"

    def release(self, number):
        self.live.remove(number)
        self.stops.release(number)
        self.alive.pop(number, None)
        self.asked.pop(number, None)
        self.guarded.discard(number)
        self.ready_now.discard(number)
        if self.awaited.pop(number, None) is None:
            self.slots += not self.task(number).daemon
        self.held.subtract(self.task(number).resources)

    def release_held(self, before, ran):
        """An attempt has succeeded: tasks that were held only for it take a slot."""
        limit = self.task(before).timeout
        if limit is not None and ran >= limit:
            return
        for number in [number for number, after in self.awaited.items() if before in after]:
            self.awaited[number].discard(before)
            if not self.awaited[number]:
                del self.awaited[number]
                self.slots -= 1

    def expanded(self, number, instances):
        self.instances[number] = range(len(self.tasks), len(self.tasks) + len(instances))
        self.tasks += instances
        self.group_of.update(dict.fromkeys(self.instances[number], number))
        if not instances:
            self.empty.add(number)

    def answers(self, number):
        """Whether the success of a probe counts: the attempt is running, and is neither result nor ready."""
        return number in self.alive and number not in self.asked and number not in self.ready_now

    # ---- conditions

    def holds(self, need, condition):
        if self.instances.get(need):
            return all(self.holds(instance, condition) for instance in self.instances[need])
        outcome = self.finished.get(need)
        not_wanted = outcome == "skipped" and need in self.skipped_by_when
        match condition:
            case "passed":
                allowed = outcome in FAILURES and self.task(need).allow_failure
                return outcome == "succeeded" or allowed or not_wanted
            case "succeeded":
                return outcome == "succeeded" or not_wanted
            case "finished":
                return outcome is not None
            case "failed":
                return outcome in FAILURES
        seen = self.seen_started if condition == "started" else self.seen_ready
        return need in seen or outcome == "succeeded" or not_wanted

    def is_out_of_reach(self, need, condition):
        if self.instances.get(need):
            return any(self.is_out_of_reach(instance, condition) for instance in self.instances[need])
        return need in self.finished and not self.holds(need, condition)

    def may_start(self, number):
        """Whether its conditions are met; once they are, they stay met."""
        if number not in self.met:
            needs = self.tasks[self.group_of.get(number, number)].needs
            if not all(self.holds(*need) for need in needs):
                return False
            self.met.add(number)
        return True

    def has_tokens(self, number):
        claims = self.task(number).resources
        return all(self.held[name] + count <= self.plan.job.resources[name] for name, count in claims.items())

    def is_waiting(self, number):
        """Whether its first attempt lacks nothing but a slot and tokens."""
        return (
            number not in self.finished
            and number not in self.stopped_by_user
            and number not in self.live
            and not self.attempts[number]
            and not self.instances.get(number)
            and (number in self.resolved or not self.tasks[number].late)
            and self.may_start(number)
        )

    # ---- instructions

    def check(self, instruction):
        match instruction:
            case Start():
                self.check_start(instruction.task, instruction.attempt, instruction.after)
            case Signal():
                self.check_signal(instruction)
            case CancelStart():
                assert instruction.task in self.live, "a start is cancelled that was not dispatched"
                assert instruction.task not in self.alive, "a start is cancelled that has a process"
                assert instruction.attempt == self.attempts[instruction.task]
                if instruction.task not in self.stopped_by_user:
                    self.end()
                self.asked[instruction.task] = "user", self.now
            case ScheduleRetry():
                self.check_retry(instruction)
            case Expand():
                assert instruction.first == self.recorded, "instances are not recorded in their order"
                self.recorded += instruction.count
                assert self.group_of[self.recorded - 1] == instruction.task, "instances of another group"
            case Finish():
                self.check_finish(instruction.task, instruction)
            case Join():
                assert instruction.task in self.finished, "joined before its end"
                assert instruction.task not in self.joined, "joined twice"
                self.joined.append(instruction.task)
                assert instruction.position == len(self.joined) <= instruction.of, "joins are miscounted"
            case MarkReady():
                assert instruction.attempt == self.attempts[instruction.task]
                assert self.answers(instruction.task), "ready, but it has no attempt to be"
                self.ready_now.add(instruction.task)
                self.seen_ready.add(instruction.task)
            case Resolve():
                assert not self.ended, "resolved after the end"
                assert self.tasks[instruction.task].late
                assert instruction.task not in self.to_resolve, "resolved twice"
                assert instruction.task not in self.finished, "resolved after its outcome"
                assert self.may_start(instruction.task), "resolved too early"
                self.to_resolve.add(instruction.task)

    def check_start(self, number, attempt, after):
        assert number < self.recorded, "started before it is recorded"
        assert not self.ended, "started after the end of the run"
        assert number not in self.stopped_by_user, "started though a user stopped it"
        assert number not in self.live, "two attempts at once"
        assert number not in self.finished, "started after its outcome"
        assert not self.instances.get(number), "a group is started"
        assert not self.tasks[number].skipped, "started though it is skipped"
        assert number in self.resolved or not self.tasks[number].late, "started unresolved"
        assert attempt == self.attempts[number] + 1, "attempts are miscounted"
        assert self.now >= self.due.pop(number, 0.0), "retried too early"
        assert self.has_tokens(number), "more tokens than there are"
        if after:
            self.check_held(number, after)
            self.attempts[number] = attempt
            self.live.add(number)
            self.awaited[number] = {before for before, _, _ in after}
            return
        assert self.may_start(number), "started too early"
        if len(self.tasks) <= SMALL:
            self.check_order(number)
        self.attempts[number] = attempt
        self.live.add(number)
        self.held.update(self.task(number).resources)
        self.slots -= not self.task(number).daemon
        # A held task takes the slot of its dependency, however many tasks are ahead.
        assert self.slots >= -self.ahead or self.task(number).daemon, "more slots than there are"
        assert self.slots >= 0 or self.task(number).daemon or not self.task(number).resources

    def check_held(self, number, after):
        """It lacks nothing but the success of dispatched attempts whose exit code alone decides."""
        task = self.task(number)
        assert not any((task.daemon, task.resources, self.tasks[number].late))
        if len(self.tasks) <= SMALL:
            ready = [other for other in range(len(self.tasks)) if self.is_waiting(other)]
            assert not ready, "held although another task is ready"
        awaited = {before for before, _, _ in after}
        for need, condition in self.tasks[number].needs:
            if need not in awaited:
                assert self.holds(need, condition), "held although more than that is missing"
        needs = dict(self.tasks[number].needs)
        for before, attempt, limit in after:
            task = self.task(before)
            assert limit == task.timeout
            assert needs[before] in ("passed", "succeeded")
            assert before in self.live
            assert before not in self.asked
            assert self.attempts[before] == attempt
            assert not any((task.daemon, task.expect, task.limits and task.limits.log))

    def check_order(self, number):
        ahead = self.slots <= 0 and not self.task(number).daemon
        for other in range(len(self.tasks)):
            if self.order(other) >= self.order(number):
                continue
            undecided = other in self.to_resolve - self.resolved and other not in self.finished
            assert not undecided or self.instances.get(other), "started before an earlier task was resolved"
            if self.is_waiting(other):
                assert not ahead or self.task(other).daemon, "dispatched ahead of an earlier task"
                assert not self.fits(other), "started before an earlier task"

    def fits(self, number):
        return self.has_tokens(number) and (self.slots > 0 or self.task(number).daemon)

    def check_no_task_waits_in_vain(self):
        if not self.ended and len(self.tasks) <= SMALL:
            for number in range(len(self.tasks)):
                assert not (self.is_waiting(number) and self.fits(number)), "a task could start, but does not"

    def check_signal(self, instruction):
        self.stops.check_signal(instruction)
        task = self.task(instruction.task)
        assert instruction.task in self.alive, "a signal to no process"
        assert instruction.attempt == self.attempts[instruction.task]
        ran = self.now - self.alive[instruction.task] + 1e-9
        if instruction.reason == "timeout":
            assert ran >= task.timeout, "timed out too early"
        elif instruction.reason == "not_ready":
            assert ran >= task.ready.timeout, "not ready too early"
            assert instruction.task not in self.ready_now, "stopped though it is ready"
        elif instruction.reason == "log_limit":
            assert instruction.task in self.guarded
        elif instruction.task not in self.stopped_by_user:
            assert instruction.reason in ORDERED
            self.end()
        if instruction.signal == "SIGKILL":
            _, since = self.asked.get(instruction.task, ("", -1.0))
            late = self.now + 1e-9 >= since + task.stop.grace
            assert self.killing or late or task.stop.signal == "SIGKILL", "killed before its grace"
        else:
            assert instruction.signal == task.stop.signal
        reason, since = self.asked.get(instruction.task, (instruction.reason, self.now))
        self.asked[instruction.task] = reason, since

    def check_retry(self, instruction):
        task, last_outcome = self.task(instruction.task), self.last_outcomes[instruction.task]
        assert not self.ended, "retried after the end of the run"
        assert instruction.task not in self.live | self.stopped_by_user | self.finished.keys()
        assert instruction.attempt == self.attempts[instruction.task] + 1
        assert instruction.delay >= 0
        if instruction.reason == "retry":
            assert task.restart == "never"
            assert self.counted(instruction.task) <= task.retry.retries, "more attempts than it has"
            assert last_outcome in FAILURES
        elif instruction.reason == "host_lost":
            assert task.restart == "never"
            assert last_outcome == "unknown"
            assert self.may_run_again_after_loss(instruction.task), "more attempts than it has"
        else:
            assert instruction.reason == "restart"
            lost = last_outcome == "unknown" and self.lost_attempts[instruction.task]
            assert (
                lost or last_outcome in FAILURES or (last_outcome == "succeeded" and task.restart == "always")
            )
            assert task.restart != "never"
            assert not self.was_never_ready(instruction.task), "restarted, though never ready in time"
            assert instruction.delay <= 60 or task.retry.delay
        self.due[instruction.task] = self.now + instruction.delay

    def counted(self, number):
        """The attempts that `retry` counts."""
        rerun = self.plan.job.on_host_lost == "rerun"
        return self.attempts[number] - (min(3, self.lost_attempts[number]) if rerun else 0)

    def may_run_again_after_loss(self, number):
        if self.plan.job.on_host_lost == "rerun" and self.lost_attempts[number] <= 3:
            return True
        retry = self.task(number).retry
        return self.counted(number) <= retry.retries and not retry.exit_codes

    def check_finish(self, number, finish):
        outcome, planned = finish.outcome, self.tasks[number]
        assert number < self.recorded, "an outcome of an instance that is not recorded"
        assert number not in self.finished, "two outcomes for one task"
        assert number not in self.live, "an outcome for a live task"
        assert not self.instances.get(number), "an outcome for a group"
        assert finish.attempts == self.attempts[number], "attempts are miscounted"
        if outcome == "skipped":
            self.skipped_by_when.update({number} if planned.skipped else ())
            assert number in self.skipped_by_when or self.is_unreachable(number), "skipped"
        elif outcome == "cancelled":
            assert not finish.attempts, "cancelled after an attempt"
            if number not in self.stopped_by_user:
                self.end()
        elif not finish.attempts:
            expected = "failed" if number in self.resolve_failed else "succeeded"
            assert outcome == expected
            assert number in self.resolve_failed | self.empty, "an outcome without an attempt"
        else:
            hopeless = (
                outcome == "failed"
                and finish.reason in ("not ready, exit", "not ready, its host was lost")
                and self.was_never_ready(number)
            )
            healing = planned.task.restart != "never" and self.was_up[number]
            if healing and outcome == "stopped":
                assert self.last_outcomes[number] in (*FAILURES, "stopped", "unknown"), (
                    "stopped though it had ended well"
                )
            else:
                assert hopeless or outcome == self.last_outcomes[number], (
                    "the outcome is not the last attempt's"
                )
            self.check_that_was_the_last(number, outcome)
        self.finished[number] = outcome
        if outcome in FAILURES and self.plan.job.fail_fast and not planned.task.allow_failure:
            self.ended = True

    def was_never_ready(self, number):
        """Whether it was never ready, though the time for that is over since its first start."""
        ready = self.task(number).ready
        first = self.first_start.get(number)
        late = ready is not None and first is not None and self.now >= first + ready.timeout
        return late and number not in self.seen_ready and self.attempts[number] >= 3

    def is_unreachable(self, number):
        return any(self.is_out_of_reach(*need) for need in self.tasks[number].needs)

    def check_that_was_the_last(self, number, outcome):
        if self.ended or number in self.stopped_by_user:
            return
        task = self.task(number)
        if number in self.due:
            # It waits for its next attempt, so the run must have ended.
            self.end()
        elif not self.left():
            # If the remaining tasks were asked to end before, no instruction shows that the run ends.
            return
        elif task.restart != "never" and outcome == "failed" and self.was_never_ready(number):
            # It had enough time to be ready: tasks that depend on that have to be skipped.
            return
        elif outcome in FAILURES:
            assert task.restart == "never", "not restarted"
            assert self.counted(number) > task.retry.retries or task.retry.exit_codes, "not retried"
        else:
            assert outcome != "succeeded" or task.restart != "always", "not restarted"

    def end(self):
        """The run ends: either it was ended, or its last task has finished."""
        assert self.ended or not self.left(), "the run ends before its tasks"
        self.ended = True

    def left(self):
        """The unfinished tasks that the run waits for."""
        everyone = (number for number in range(len(self.tasks)) if not self.instances.get(number))
        return [n for n in everyone if n not in self.finished and not self.task(n).daemon]

    def check_end(self, scheduler):
        """Check the end of the run."""
        assert not self.live, "a process outlives the run"
        groups = {number for number, instances in self.instances.items() if instances}
        assert scheduler.expanded == groups
        assert self.finished.keys() == set(range(len(self.tasks))) - groups, "a task without an outcome"
        assert scheduler.outcomes == [self.finished.get(number) for number in range(len(self.tasks))]
        ran = {number for number in self.finished if self.attempts[number]}
        assert {number for number in ran if not self.task(number).daemon} <= set(self.joined), "not joined"
        assert not any(+self.held[name] for name in self.held)
        assert self.slots == self.plan.max_parallel
        self.check_verdict(scheduler)

    # ---- the verdict

    def check_verdict(self, scheduler):
        """Exit 0 if and only if the run went to its end and each task's end is as planned."""
        by_when = {number for number in self.skipped_by_when if self.finished.get(number) == "skipped"}
        ends = scheduler.ends(self.stopped_in_time).replace(tasks=self.tasks)
        assert ends.skipped_by_when == by_when
        given = verdict(
            ends,
            end_reason=scheduler.end_reason,
            signal=(15, "SIGTERM") if self.interrupted else None,
            failure="the launcher is gone" if self.lost else "",
        )
        full = scheduler.end_reason == "run_finished" and not self.interrupted and not self.lost
        bad = [number for number in self.finished if not self.is_as_planned(number)]
        assert (given.exit_code == 0) is (full and not bad), f"exit {given.exit_code}, but {bad} are bad"
        assert (given.outcome == "succeeded") is (given.exit_code == 0)
        assert given.counts == Counter(self.finished.values())
        assert set(given.lacking) <= set(bad)
        self.exit_code = given.exit_code

    def is_as_planned(self, number):
        """Whether this end of a task lets the run succeed."""
        outcome, task = self.finished[number], self.task(number)
        if outcome == "succeeded":
            return True
        if number in self.stopped_in_time:
            return False
        if outcome in FAILURES:
            return task.allow_failure
        if outcome == "skipped":
            return task.allow_failure or self.was_not_to_run(number)
        return outcome in ("stopped", "cancelled") and task.daemon

    def was_not_to_run(self, number):
        """Whether it was skipped although all went well: by a `when`, or as a failure did not come."""
        if number in self.skipped_by_when:
            return True
        pairs = [
            (one, condition)
            for need, condition in self.tasks[number].needs
            for one in self.instances.get(need) or [need]
            if not self.holds(one, condition)
        ]
        return any(
            condition == "failed" or (self.finished[one] == "skipped" and self.was_not_to_run(one))
            for one, condition in pairs
        )
