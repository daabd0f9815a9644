"""Who may be handed over before what it waits for has ended, to start on its success; pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mprun.scheduling.task_run import HELD, RUNNING, STARTING, WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.scheduling.task_run import TaskRun, TaskRuns

Attempts = tuple[tuple[int, int, float | None], ...]

# What waits for more attempts than so many is not looked at each time that one of them starts.
MOST_AWAITED = 8


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
        if course.planned.needed_by and self._most and _is_judged_by_its_code(course):
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
        if len(needed) != course.missing or not all(map(_is_judged_by_its_code, needed)):
            return ()
        return tuple((before.number, before.attempts, before.task.timeout) for before in needed)


def _is_judged_by_its_code(course: TaskRun) -> bool:
    """Whether exit code 0 is a success, in its time, unless the attempt was asked to end before."""
    task = course.task
    watched = task.ready is not None or (task.limits is not None and task.limits.log is not None)
    return task.expect is None and not watched and not task.daemon and course.stop_reason is None
