"""The lines of the lineage."""

from support.reporting import STAMP, exited, finished, started

from mprun.record import events
from mprun.record.run_state import RunState
from mprun.reporters.lineage import Lineage


def lineage(*happened):
    lines, state = Lineage(), RunState()
    shown = []
    for event in happened:
        state.apply(event)
        shown += [line[13:] for line in lines.lines(event, state)]
    return shown


def test_each_event_has_its_line():
    stopping = events.TaskStopping(**STAMP, task="d", attempt=1, signal="SIGTERM", reason="user")
    assert lineage(
        started("a"),
        exited("a", exit_code=-9, signal="SIGKILL", orphans=(7, 8), max_rss=None),
        finished("a", "succeeded"),
        finished("b", "cancelled", "user"),
        finished("c", "unknown", "the launcher was lost"),
        stopping,
        events.TaskJoined(**STAMP, task="a", position=1, of=2),
        events.RunFinished(**STAMP, outcome="failed", exit_code=1, duration=1.0, counts={}),
    ) == [
        "start  a  pid=10 ppid=5 (fork server) attempt=1 target=m:f",
        "exit   a  pid=10 killed by SIGKILL after 1.50s cpu=0.25s rss=- orphans killed: 7, 8",
        "cancel b  stopped by user",
        "unknown c  the launcher was lost",
        "stop   d  SIGTERM (stopped by user)",
        "join   a  1 of 2",
        "end    main process ends",
    ]


def test_a_name_cannot_write_a_line_of_its_own_colour():
    (line,) = lineage(finished("\x1b[31m", "unknown", "\x07"))
    assert "\x1b" not in line
    assert "\x07" not in line


def test_lines_never_run_backwards():
    """C06: a report of the launcher may arrive after what the engine decided in the meantime."""
    at = [f"2026-01-01T12:00:00.{part:03d}000Z" for part in (300, 305, 303, 306)]
    happened = (started("a"), finished("b", "skipped"), exited("a"), finished("a", "unknown"))
    lines, state = Lineage(), RunState()
    shown = []
    for time, event in zip(at, happened, strict=True):
        event = event.replace(time=time)
        state.apply(event)
        shown += lines.lines(event, state)
    assert [line[6:12] for line in shown] == ["00.300", "00.305", "00.305", "00.306"]
