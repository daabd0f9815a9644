"""The attempts that were handed over, until each has ended, and who is handed over next; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.scheduling.instructions import Intent, Start
from mprun.scheduling.task_run import HELD, STARTING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.scheduling.dependents import Attempts, Dependents
    from mprun.scheduling.ready_queue import ReadyQueue
    from mprun.scheduling.task_run import TaskRun, TaskRuns


class Dispatcher:
    """Hands over what may start, and what is held until it may; `intents` gets the starts."""

    def __init__(
        self, courses: TaskRuns, admission: ReadyQueue, successors: Dependents, intents: list[Intent]
    ) -> None:
        self._courses = courses
        self._admission = admission
        self._successors = successors
        self._intents = intents
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
        self._intents.append(Start(task=course.number, attempt=course.attempts, after=after))
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
