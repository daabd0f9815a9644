"""What the live view costs: nothing before it is shown, little afterwards."""

import os
import re
import shlex
import sys
import time
import tracemalloc

from support import plans
from support.reporting import STAMP, exited, finished, started
from support.runs import read_events, write
from support.screen import Screen

from mprun.record import events
from mprun.record.run_state import RunState
from mprun.reporters.frame import Style, frame
from mprun.reporters.live import BUSY_INTERVAL
from mprun.reporters.view_state import ViewState
from mprun.scheduling.estimates import RunTimings
from mprun.scheduling.time_left import TimeLeft

NAMES = [f"noop[{number}]" for number in range(10_000)]
RUN = """
import sys
import mprun.reporters.console
from mprun.__main__ import main

mprun.reporters.console.VIEW_DELAY = float(sys.argv.pop(1))
main()
"""


def shown(directory, delay, progress, **env):
    """What a run on a terminal writes to it, if the view begins after so many seconds."""
    (directory / "begin.py").write_text(RUN)
    with Screen(directory, 100, 30, PYTHONPATH=os.getcwd(), **env) as screen:
        screen.type(f"{shlex.quote(sys.executable)} begin.py {delay} job.yaml --progress {progress}\n")
        screen.wait_for("succeeded in")
        screen.wait_for_prompt()
        return screen.bytes.decode()


def test_a_run_that_ends_before_the_view_begins_imports_nothing_for_it(tmp_path):
    (tmp_path / "job.yaml").write_text("tasks:\n  - command: sleep 0.5\n")

    def imported(delay, progress):
        text = shown(tmp_path, delay, progress, PYTHONPROFILEIMPORTTIME="1")
        return set(re.findall(r"import time: [^\n]*\| +([\w.]+)", text))

    view = {f"mprun.reporters.{name}" for name in ("live", "frame", "view_state", "region", "keys")}
    without = imported(0, "none")
    assert "mprun.reporters.console" in without
    assert not view & without
    assert imported(1000, "live") - without <= {"mprun.linux.foreground", "termios"}
    assert view <= imported(0, "live")


def test_many_short_tasks_are_drawn_five_times_a_second(tmp_path):
    write(tmp_path, work="def noop(_): pass")
    numbers = ", ".join(map(str, range(300)))
    (tmp_path / "job.yaml").write_text(
        f"tasks:\n  - {{target: work:noop, args: ['${{item}}'], foreach: [{numbers}]}}\n"
    )
    text = shown(tmp_path, 0, "live")
    (record,) = tmp_path.glob(".mprun/runs/*/events.jsonl")
    duration = read_events(record)[-1]["duration"]
    frames = len(re.findall(r"━\x1b\[0m  \d+/300", text))
    assert 1 <= frames <= 2 + duration / BUSY_INTERVAL


def test_the_view_of_ten_thousand_tasks_takes_less_than_ten_megabytes():
    run = RunState()
    run.apply(events.TasksPlanned(**STAMP, group="", tasks=tuple(NAMES), items={}))
    plan = plans.plan(dict.fromkeys(NAMES, ()))
    timings = dict.fromkeys(NAMES, 1.5)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        view = ViewState(run, lambda _: 0.0)
        left = TimeLeft(plan, [RunTimings(durations=timings, until_ready={})])
        for name in NAMES:
            for event in (started(name), exited(name), finished(name, "succeeded")):
                view.apply(event)
            left.end(name)
            if name.endswith("99]"):
                view.left = left.seconds((running, 1.0) for running in view.running)
                frame(view, (80, 24), 1.0, Style())
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert view.done == 10_000
    assert peak < 10_000_000


def test_an_event_costs_the_view_less_than_the_state_of_the_run():
    happened = [
        event for name in NAMES[:2000] for event in (started(name), exited(name), finished(name, "succeeded"))
    ]

    def seconds(make):
        took = []
        for _ in range(5):
            fold = make()
            begun = time.thread_time()
            for event in happened:
                fold.apply(event)
            took.append(time.thread_time() - begun)
        return min(took)

    assert seconds(lambda: ViewState(RunState(), lambda _: 0.0)) < seconds(RunState)
