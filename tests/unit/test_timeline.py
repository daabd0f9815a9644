"""The timeline of a run, for traces, also of records that someone has damaged."""

from support.timing import cpu_seconds, growth

from mprun.record.events import TaskReady, TaskStarted
from mprun.reporters.timeline import Timeline

ABOUT = {"time": "2026-01-01T00:00:00.000000Z", "run": "r", "task": "a", "attempt": 1}


def with_marks(count):
    timeline = Timeline()
    start = {"pid": 2, "ppid": 1, "start_ticks": None, "host": "h", "daemon": True, "target": "m:f"}
    timeline.add(TaskStarted(**ABOUT, **start))
    for _ in range(count):
        timeline.add(TaskReady(**ABOUT))
    timeline.close()
    (attempt,) = timeline.attempts
    return attempt.marks


def test_an_attempt_has_its_marks_in_order():
    assert [event.event for _, event in with_marks(2)] == ["task_ready", "task_ready"]


def test_many_marks_of_one_attempt_take_linear_time():
    def spent(count):
        return cpu_seconds(lambda: with_marks(count))

    # To copy those that are there for each one takes a hundred times as long.
    assert growth(lambda: spent(4_000), lambda: spent(40_000)) < 30
