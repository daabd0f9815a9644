"""The rows of the live view: a function of the state, the size and the time, without a terminal."""

import pytest
from support.records import STARTED
from support.reporting import STAMP, exited, finished, started, state_of

from mprun.record import events
from mprun.record.event_reader import from_record
from mprun.reporters.format import display_width
from mprun.reporters.frame import Style, frame
from mprun.reporters.task_text import without_colours
from mprun.reporters.view_state import ViewState

SIZES = [(80, 24), (40, 10), (200, 60), (20, 5), (10, 3), (5, 3), (2, 3), (80, 2), (1, 1), (80, 4)]
PLAIN, ASCII, COLOUR = Style(colour=False), Style(colour=False, unicode=False), Style()


def planned(names, group=""):
    return events.TasksPlanned(**STAMP, group=group, tasks=tuple(names), items={})


def daemon(task):
    return events.TaskStarted(
        **STAMP, task=task, attempt=1, pid=9, ppid=5, start_ticks=1, host="h", daemon=True, target="m:f"
    )


def again(task):
    return events.TaskRetrying(**STAMP, task=task, attempt=2, delay=1.0, reason="retry")


def view(*happened, lists=(), now=0.0):
    return ViewState(state_of(*happened), lambda _: now, lists)


def running(count, of=None, name="crunch[{}]"):
    names = [name.format(number) for number in range(of or count)]
    return view(planned(names), *map(started, names[:count]))


def of_fifty():
    """A run of 50 tasks like the one of the documentation."""
    names = ["lint", "connect", "redis", "web", *(f"crunch[{number}]" for number in range(46))]
    ended = [f"crunch[{number}]" for number in range(8, 25)]
    state = view(
        planned(names),
        daemon("redis"),
        events.TaskReady(**STAMP, task="redis", attempt=1),
        daemon("web"),
        *(event for name in ended for event in (started(name), exited(name), finished(name, "succeeded"))),
        *(started("lint"), exited("lint", exit_code=1), finished("lint", "failed")),
        *(started("connect"), exited("connect", exit_code=1), again("connect")),
        *(started(f"crunch[{number}]") for number in range(8)),
        *(started(f"crunch[{number}]") for number in range(25, 27)),
    )
    state.left = 39.6
    for number, task in enumerate(state.longest_running()):
        task.pid, task.cpu, task.memory = 4711 + number, 98.2, 212_000_000
        task.line = f"reading part {number} of 9"
    return state


def test_fifty_tasks_have_a_bar_eight_rows_and_the_services():
    assert frame(of_fifty(), (90, 24), 12.43, PLAIN) == [
        "━━━━━━━━━━━──────────────────────  17/50  1 failed  1 retrying  10 running  ≈ 40s left",
        "  crunch[0]   12.4s  pid 4711    98 % cpu  212 MB  reading part 0 of 9",
        "  crunch[1]   12.4s  pid 4712    98 % cpu  212 MB  reading part 1 of 9",
        "  crunch[2]   12.4s  pid 4713    98 % cpu  212 MB  reading part 2 of 9",
        "  crunch[3]   12.4s  pid 4714    98 % cpu  212 MB  reading part 3 of 9",
        "  crunch[4]   12.4s  pid 4715    98 % cpu  212 MB  reading part 4 of 9",
        "  crunch[5]   12.4s  pid 4716    98 % cpu  212 MB  reading part 5 of 9",
        "  crunch[6]   12.4s  pid 4717    98 % cpu  212 MB  reading part 6 of 9",
        "  crunch[7]   12.4s  pid 4718    98 % cpu  212 MB  reading part 7 of 9",
        "  … and 2 more running",
        "  services: web started, redis ready",
    ]


def test_a_small_terminal_shows_what_matters_most():
    assert frame(of_fifty(), (40, 10), 12.43, PLAIN) == [
        "17/50  1 failed  1 retrying  ≈ 40s left",
        "  crunch[0]   12.4s  reading part 0 of…",
        "  crunch[1]   12.4s  reading part 1 of…",
        "  crunch[2]   12.4s  reading part 2 of…",
        "  crunch[3]   12.4s  reading part 3 of…",
        "  crunch[4]   12.4s  reading part 4 of…",
        "  … and 5 more running",
        "  services: web started, redis ready",
    ]


def test_without_unicode_all_of_it_is_ascii():
    state = of_fifty()
    state.longest_running()[0].line = "größer"
    rows = frame(state, (90, 24), 12.43, ASCII)
    assert all(row.isascii() for row in rows)
    assert rows[0] == "###########----------------------  17/50  1 failed  1 retrying  10 running  ~ 40s left"
    assert rows[1].endswith(r"gr\xf6\xdfer")
    assert rows[9] == "  ... and 2 more running"


def test_no_time_left_is_shown_once_the_run_takes_longer_than_before():
    state = of_fifty()
    state.left = 0.0
    assert frame(state, (90, 24), 12.43, PLAIN)[0].endswith("  10 running")


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 50])
def test_each_running_task_has_a_row_up_to_eight(count):
    rows = frame(running(count, 50), (80, 24), 5.0, PLAIN)
    assert len(rows) == 1 + min(count, 8) + (count > 8)
    assert (rows[-1] == f"  … and {count - 8} more running") == (count > 8)
    assert ("running" in rows[0]) == (count > 0)


def test_a_name_that_is_too_long_is_cut_where_instances_do_not_differ():
    state = running(2, name="train[dataset=images,model=large,seed={}]")
    rows = frame(state, (80, 24), 5.0, PLAIN)
    assert [row.split()[0] for row in rows[1:]] == [
        "train[datase…large,seed=0]",
        "train[datase…large,seed=1]",
    ]
    rows = frame(state, (200, 24), 5.0, PLAIN)
    assert [row.split()[0] for row in rows[1:]] == list(state.running)


def test_a_task_that_has_just_begun_has_no_row_yet():
    assert len(frame(running(3), (80, 24), 0.1, PLAIN)) == 1


def test_the_task_that_has_run_for_longest_comes_first():
    state = running(2, name="t{}")
    state.apply(exited("t0"))
    state._began = lambda event: 3.0 if event.task == "t0" else 0.0
    state.apply(started("t0"))
    rows = frame(state, (80, 24), 5.0, PLAIN)
    assert [row.split()[:2] for row in rows[1:]] == [["t1", "5.0s"], ["t0", "2.0s"]]


def test_ten_thousand_tasks_are_counted_by_group():
    names = [
        *(f"crunch[{number}]" for number in range(9000)),
        *(f"get[{number}]" for number in range(999)),
        "x",
    ]
    state = view(planned(names), *(finished(name, "succeeded") for name in names[:4119]))
    state.apply(finished(names[4119], "succeeded"))
    rows = frame(state, (80, 24), 1.0, PLAIN)
    assert rows[0].endswith("  4,120/10,000")
    assert rows[1:] == ["  crunch 4,120/9,000  get 0/999"]
    state.apply(finished(names[4120], "failed"))
    rows = frame(state, (80, 24), 1.0, PLAIN)
    assert rows[0].endswith("  4,120/10,000  1 failed")
    assert rows[1:] == ["  crunch 4,120/9,000 (1 failed)  get 0/999"]


def test_a_task_that_was_told_to_stop_is_not_counted_as_running():
    state = running(3)
    stopping = {"attempt": 1, "signal": "SIGTERM", "reason": "user"}
    state.apply(events.TaskStopping(**STAMP, task="crunch[0]", **stopping))
    assert frame(state, (80, 24), 1.0, PLAIN)[0].endswith("  0/3  1 stopping  2 running")
    state.apply(exited("crunch[0]"))
    assert frame(state, (80, 24), 1.0, PLAIN)[0].endswith("  0/3  2 running")


def test_tasks_that_wait_for_tokens_are_named():
    state = running(1, 9)
    state.waiting = {"gpu": ["a"], "db": ["b", "c", "d", "e\x1b"]}
    rows = frame(state, (80, 24), 1.0, PLAIN)
    assert rows[2:] == ["  waiting for db: b, c, d and 1 more; gpu: a"]


def test_groups_that_have_ended_come_last_and_there_may_be_many():
    names = [f"g{group}[{number}]" for group in range(30) for number in range(9)]
    state = view(planned(names), *(finished(name, "succeeded") for name in names[:9]))
    row = frame(state, (400, 24), 1.0, PLAIN)[-1]
    assert row.startswith("  g1 0/9  ")
    assert row.endswith("  … and 10 more groups")


def test_how_many_tasks_there_will_be_may_be_unknown():
    state = view(planned(["a", "b", "c"]), started("a"), lists=["b", "c"])
    for event, count in [
        (started("a"), "0/3+"),
        (planned(["b[0]", "b[1]", "b[2]"], group="b"), "0/5+"),
        (finished("c", "skipped"), "1/5"),
    ]:
        state._run.apply(event)
        state.apply(event)
        assert f"  {count}  " in frame(state, (80, 24), 1.0, PLAIN)[0]


def test_a_failure_that_is_allowed_is_not_counted_as_one():
    state = view(planned(["a"]))
    state.apply(events.TaskFinished(**STAMP, task="a", outcome="failed", attempts=1, reason="", allowed=True))
    assert (state.done, state.failed) == (1, 0)


def test_the_state_is_the_same_wherever_in_the_run_the_view_begins():
    happened = [
        planned(["a", "b", "c", "d", "s"]),
        *(daemon("s"), started("a"), exited("a"), finished("a", "failed")),
        *(started("b"), exited("b", exit_code=1), again("b"), started("c")),
        events.TaskStopping(**STAMP, task="s", attempt=1, signal="SIGTERM", reason="user"),
    ]
    whole = view(*happened)
    for place in range(1, len(happened)):
        run = state_of(*happened[:place])
        state = ViewState(run, lambda _: 0.0)
        for event in happened[place:]:
            run.apply(event)
            state.apply(event)
        for field in ("total", "ended", "failed", "retrying", "stopping", "services", "groups"):
            assert getattr(state, field) == getattr(whole, field), (place, field)
        assert list(state.running) == list(whole.running) == ["c"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("style", [PLAIN, ASCII, COLOUR])
@pytest.mark.parametrize(
    "name", ["crunch[{}]", "n" * 300 + "{}", "日本語" * 20 + "{}", "e\u0301\u202e\x1b[2J{}"]
)
def test_no_row_is_too_long_and_there_are_never_too_many(size, style, name):
    state = running(20, 300, name)
    state.services.update({name.format(number): "ready" for number in range(9)})
    state.left, state.least_rows = 7000.0, 30
    for task in state.longest_running():
        task.line, task.cpu, task.memory = "漢字\x1b[31mred\r\n\t" * 30, 12345.0, 10**13
    rows = frame(state, size, 10.0, style)
    assert len(rows) <= max(0, size[1] - 2)
    for row in rows:
        text = without_colours(row)
        assert text.isprintable()
        assert "\u202e" not in text
        assert display_width(text) <= size[0] - 1
        assert style is COLOUR or text == row


def test_the_view_does_not_shrink_but_with_the_terminal():
    state = of_fifty()
    state.least_rows = len(frame(state, (80, 24), 12.0, PLAIN))
    for name in list(state.running)[:9]:
        state.apply(exited(name))
    assert len(frame(state, (80, 24), 12.0, PLAIN)) == state.least_rows == 11
    assert len(frame(state, (80, 8), 12.0, PLAIN)) == 6


@pytest.mark.parametrize(("ended", "failed"), [(0, 0), (0, 3), (1, 0), (300, 1), (299, 0), (0, 300)])
def test_the_bar_is_as_long_whatever_has_ended(ended, failed):
    names = [str(number) for number in range(300)]
    state = view(planned(names))
    for number, name in enumerate(names[: max(ended, failed)]):
        state.apply(finished(name, "failed" if number < failed else "succeeded"))
    for style in (PLAIN, ASCII, COLOUR):
        row = frame(state, (80, 24), 1.0, style)[0]
        bar = without_colours(row).partition("  ")[0]
        assert len(bar) == 33
        assert style is not COLOUR or ("\x1b[31m━" in row) == (failed > 0)


def on_hosts(*names):
    """A run of a task on each of these hosts, whose names are listed at its start."""
    hosts = [{"host": name, "main_pid": 5, "slots": 1} for name in names]
    begun = from_record({**STARTED, "hosts": hosts})
    tasks = [started(f"task-{number}").replace(host=name) for number, name in enumerate(names)]
    return view(begun, planned([task.task for task in tasks]), *tasks)


def test_a_run_on_several_hosts_names_them():
    rows = frame(on_hosts("alpha", "beta", "alpha"), (80, 24), 9.0, PLAIN)
    assert rows[1:] == [
        "  task-0    9.0s  pid 10     alpha",
        "  task-1    9.0s  pid 10     beta",
        "  task-2    9.0s  pid 10     alpha",
        "  hosts: alpha 2 running, beta 1 running",
    ]
    # Two workers of one host are not two hosts.
    assert frame(on_hosts("alpha", "alpha"), (80, 24), 9.0, PLAIN)[1:] == [
        "  task-0    9.0s  pid 10",
        "  task-1    9.0s  pid 10",
    ]


def test_a_long_name_of_a_host_leaves_room_for_the_rest():
    rows = frame(on_hosts("a" * 60, "b"), (80, 24), 9.0, PLAIN)
    assert max(map(display_width, rows)) < 80
    assert "…" in rows[1]
