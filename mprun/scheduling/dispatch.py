"""Decide which tasks the executor is given: those that may start now, and those to start on a success."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mprun.scheduling.instructions import Instruction, Start
from mprun.scheduling.task_run import HELD, RUNNING, STARTING, WAITING
from mprun.scheduling.termination import exit_code_decides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.scheduling.ready_queue import ReadyQueue
    from mprun.scheduling.task_run import TaskRun, TaskRuns

Attempts = tuple[tuple[int, int, float | None], ...]

# What waits for more attempts than so many is not looked at each time that one of them starts.
MOST_AWAITED = 8


class Dispatcher:
    """Hands over what may start, and what is held until it may; `instructions` gets the starts."""

    def __init__(
        self,
        courses: TaskRuns,
        admission: ReadyQueue,
        successors: Dependents,
        instructions: list[Instruction],
    ) -> None:
        self._courses = courses
        self._admission = admission
        self._successors = successors
        self._instructions = instructions
        # Whatever runs or is about to, in the order in which it was handed over last.
        self._order: dict[int, None] = {}

    def __bool__(self) -> bool:
        return bool(self._order)

    def __reversed__(self) -> Iterator[TaskRun]:
        return (self._courses.all[number] for number in reversed(self._order))

    def fill(self) -> None:
        """Hand over what may start, in its order, while there are places and tokens, and what may follow."""
        while (course := self._admission.take()) is not None:
            self._hand_over(course, STARTING)
        # What is ready has a place first, in its order.
        while not self._admission.waits and (held := self._successors.take()) is not None:
            self._hand_over(held[0], HELD, after=held[1])

    def _hand_over(self, course: TaskRun, state: int, after: Attempts = ()) -> None:
        course.state = state
        course.stop_reason = None
        course.attempts += 1
        self._order[course.number] = None
        self._instructions.append(Start(task=course.number, attempt=course.attempts, after=after))
        self._successors.look_behind(course)

    def starting(self) -> set[int]:
        """The tasks that have a place and no process yet."""
        courses = [self._courses.all[number] for number in self._order]
        takers = [course.number for course in courses if course.state != HELD and not course.task.daemon]
        # What waits for a place was not started, and nobody waits for its start.
        waiting = takers[len(takers) - max(0, -self._admission.places) :]
        return {course.number for course in courses if course.state == STARTING}.difference(waiting)

    def let_go(self, course: TaskRun) -> None:
        """What was held, if it was, has all that it waited for: it takes the next place."""
        if course.state == HELD:
            course.state = STARTING
            self._successors.let_go()
            self._admission.take_place()

    def release(self, course: TaskRun) -> None:
        """An attempt has ended, or never will begin."""
        self._order.pop(course.number, None)
        if course.state == HELD:
            self._successors.let_go()
        else:
            self._admission.give_back(course.task)


class Dependents:
    """Finds tasks that lack nothing but the success of attempts that were handed over themselves.

    Whoever starts those sees their exit codes first, and need not ask what comes next: a chain
    goes on without a word in between. So this is for tasks of which the exit code says all,
    and `most` may be held so at a time.
    """

    def __init__(self, courses: TaskRuns, most: int) -> None:
        self._courses = courses
        self._most = self._free = most
        # Of tasks that were handed over, those that wait for them and have not been looked at, in the
        # order in which they would go.
        self._unseen: deque[Iterator[TaskRun]] = deque()

    def look_behind(self, course: TaskRun) -> None:
        """This task was handed over: what waits for it may follow."""
        if course.planned.needed_by and self._most and exit_code_decides(course):
            behind = [self._courses.all[number] for number, _ in course.planned.needed_by]
            behind.sort(key=lambda after: after.key)
            self._unseen.append(iter(behind))

    def take(self) -> tuple[TaskRun, Attempts] | None:
        """The next task that may be held, with the attempts that are to succeed before it."""
        while self._free > 0 and self._unseen:
            for course in self._unseen[0]:
                if after := self._awaited(course):
                    self._free -= 1
                    return course, after
            self._unseen.popleft()
        return None

    def let_go(self) -> None:
        """One that was held is held no more."""
        self._free += 1

    def _awaited(self, course: TaskRun) -> Attempts:
        """The attempts that a task waits for; none where it waits for anything else, or for nothing."""
        task = course.task
        if course.state != WAITING or course.planned.late or task.daemon or task.resources:
            return ()
        if course.missing > MOST_AWAITED:
            return ()
        needed = [
            self._courses.all[number]
            for number, condition in course.planned.needs
            if condition == "succeeded" and self._courses.all[number].state in (STARTING, RUNNING, HELD)
        ]
        # What holds by now counts no more, and what is no part of these would be missing still.
        if len(needed) != course.missing or not all(map(exit_code_decides, needed)):
            return ()
        return tuple((before.number, before.attempts, before.task.timeout) for before in needed)
