"""The words and units of all views, and their tables, lines and tails."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.diagnostics import visible
from mprun.outcomes import format_exit
from mprun.record import events
from mprun.record.run_state import RunState
from mprun.record.state_dir import RunDirectory
from mprun.reporters import table
from mprun.reporters.console import Console
from mprun.reporters.format import display_width, format_duration, format_size, pad, plural, truncate
from mprun.reporters.lineage import Lineage
from mprun.reporters.tail import PIECE, Tail


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0, "0.00s"),
        (0.414, "0.41s"),
        (9.994, "9.99s"),
        (12.34, "12.3s"),
        (60, "1m00s"),
        (187.9, "3m07s"),
        (3600, "1h00m"),
        (7530, "2h05m"),
        (360_000, "100h00m"),
    ],
)
def test_a_span_is_short(seconds, shown):
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "-"),
        (0, "0B"),
        (999, "999B"),
        (1000, "1.0kB"),
        (9_900, "9.9kB"),
        (11_400_000, "11MB"),
        (5e12, "5000GB"),
    ],
)
def test_a_size_is_in_powers_of_a_thousand(number, shown):
    assert format_size(number) == shown


def test_a_count_has_its_plural():
    assert [plural(number, "task") for number in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


@given(st.text(st.characters()), st.booleans())
def test_visible_text_cannot_act_on_a_terminal(text, multiline):
    shown = visible(text, multiline=multiline)
    for char in shown:
        assert (multiline and char in "\t\n") or not (ord(char) < 32 or 127 <= ord(char) < 160)
        assert char not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    if text.isprintable():
        assert shown == text


def test_controls_are_shown_as_python_writes_them():
    text = "a\x1b[31m\x07\x9b\u202e\r\nb\tc"
    assert visible(text, multiline=True) == "a\\x1b[31m\\x07\\x9b\\u202e\\r\nb\tc"
    assert visible(text) == "a\\x1b[31m\\x07\\x9b\\u202e\\r\\nb\\tc"


def test_invisible_characters_are_shown_in_a_single_line_only():
    assert visible("a\u200bb\u00a0c") == "a\\u200bb\\xa0c"
    assert visible("a\u200bb\u00a0c\n", multiline=True) == "a\u200bb\u00a0c\n"
    woman_at_a_computer = "\U0001f469\u200d\U0001f4bb"
    assert visible(woman_at_a_computer) == woman_at_a_computer


@given(st.text(), st.integers(1, 20))
def test_truncated_text_fits(text, width):
    cut = truncate(text, width)
    assert display_width(cut) <= width
    assert cut == text or (cut[-1] == "…" and text.startswith(cut[:-1]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("abcdef", "abcd…"), ("abcde", "abcde"), ("跳舞吧", "跳舞…"), ("跳跳跳跳", "跳跳…"), ("", "")],
)
def test_a_text_is_cut_to_the_columns_that_it_takes(text, shown):
    assert truncate(text, 5) == shown


def test_a_cell_is_padded_to_its_width():
    assert pad("跳", 4) == "跳  "
    assert pad("12", 4, right=True) == "  12"
    assert pad("longer", 4) == "longer"


def test_display_width_counts_as_a_terminal_does():
    assert [display_width(text) for text in ("abc", "跳舞", "e\u0301", "é", "")] == [3, 4, 1, 1, 0]


# -- how a process ended


@pytest.mark.parametrize(
    ("code", "signal", "core", "words"),
    [
        (0, None, False, "exit 0"),
        (255, None, False, "exit 255"),
        (-9, "SIGKILL", False, "killed by SIGKILL"),
        (-11, "SIGSEGV", True, "killed by SIGSEGV (core dumped)"),
        (None, None, False, "exit status unknown"),
    ],
)
def test_an_end_has_its_words(code, signal, core, words):
    assert format_exit(code, signal, core) == words


# -- tables

STAMP = {"time": "2026-01-01T12:00:00Z", "run": "r"}


def started(task):
    return events.TaskStarted(
        **STAMP, task=task, attempt=1, pid=10, ppid=5, start_ticks=1, host="h", daemon=False, target="m:f"
    )


def exited(task, **more):
    facts = {
        "exit_code": 0,
        "signal": None,
        "duration": 1.5,
        "cpu": 0.25,
        "max_rss": 11_000_000,
        "threads": 1,
        "error": None,
        "orphans": (),
    }
    return events.TaskExited(**STAMP, task=task, attempt=1, pid=10, **{**facts, **more})


def finished(task, outcome, reason=""):
    return events.TaskFinished(**STAMP, task=task, outcome=outcome, attempts=1, reason=reason)


def state_of(*happened):
    state = RunState()
    for event in happened:
        state.apply(event)
    return state


def test_a_row_says_all_of_a_task():
    state = state_of(
        finished("never", "skipped", "`a` did not succeed"),
        started("a"),
        exited("a", exit_code=1, error={"type": "E", "message": "no\nmusic"}),
        finished("a", "failed", "exit 1"),
        started("runs"),
    )
    assert table.rows(state) == [
        ("a", "failed: exit 1 (E: no music)", "10", "5", "1.50s", "0.25s", "11MB", "1"),
        ("runs", "running", "10", "5", "-", "-", "-", "1"),
        ("never", "skipped: `a` did not succeed", "-", "-", "-", "-", "-", "0"),
    ]


def test_rows_survive_what_a_damaged_record_leaves_out():
    state = state_of(
        exited("a"), started("b"), exited("b", error={}), finished("b", "failed", ""), finished("c", "odd")
    )
    assert [row[0] for row in table.rows(state)] == ["b", "a", "c"]


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["C"]), max_size=9), st.integers(0, 10**6)),
        max_size=5,
    )
)
def test_a_plain_table_is_aligned(cells):
    lines = [(name, "ok", str(number)) for name, number in cells]
    stream = io.StringIO()
    table.write(("NAME", "OUTCOME", "NUMBER"), lines, stream)
    shown = stream.getvalue().split("\n")[:-1]
    assert len(shown) == len(lines) + 1
    assert len({display_width(line) for line in shown}) == 1


@given(st.integers(20, 300))
def test_a_narrow_terminal_gives_up_numbers_and_keeps_names_and_outcomes(width):
    lines = [
        (
            "a long name of a task",
            "failed: exit 1 (ValueError: no)",
            "10500",
            "10452",
            "0.01s",
            "-",
            "12MB",
            "1",
        )
    ]
    places = table._fitting_columns(table.HEAD, lines, width)
    assert places[:2] == [0, 1]
    assert places == sorted(places)
    if width > 110:
        assert len(places) == len(table.HEAD)
    if width < 40:
        assert places == [0, 1]
    assert len(places) <= len(table._fitting_columns(table.HEAD, lines, width + 20))


@pytest.mark.parametrize(
    ("good", "bad", "rows", "said"),
    [
        (500, 0, 500, []),
        (501, 0, 0, ["501 of 501 tasks (succeeded or skipped) not shown"]),
        (500, 2, 2, ["500 of 502 tasks (succeeded or skipped) not shown"]),
        (0, 501, 500, ["500 of the 501 tasks that did not succeed shown"]),
        (
            1,
            501,
            500,
            [
                "500 of the 501 tasks that did not succeed shown",
                "1 of 502 tasks (succeeded or skipped) not shown",
            ],
        ),
    ],
)
def test_of_very_many_tasks_it_is_said_which_have_no_row(good, bad, rows, said, tmp_path, capsys):
    state = state_of(
        *(finished(f"good{number}", "succeeded") for number in range(good)),
        *(finished(f"bad{number}", "cancelled", "fail_fast") for number in range(bad)),
    )
    directory = RunDirectory(str(tmp_path / "state" / "runs" / "r"))
    console = Console(directory, [], is_ended=lambda: False)
    over = events.RunFinished(**STAMP, outcome="failed", exit_code=0, duration=1.0, counts={})
    console.handle(over, state)
    shown = capsys.readouterr().err.splitlines()
    assert len([line for line in shown if line.startswith(("good", "bad"))]) == rows
    command = f"mprun show --state-dir {os.path.relpath(tmp_path / 'state')}"
    expected = ["; ".join([*said, f"`{command}` lists all"])] if said else []
    assert [line for line in shown if "lists all" in line] == expected


# -- lineage


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


# -- tails


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"

    def add(data):
        with open(path, "ab") as file:
            file.write(data)

    tail = Tail(str(path))
    yield add, tail
    tail.close()


def test_a_tail_shows_whole_lines_and_at_the_end_the_rest(log):
    add, tail = log
    assert list(tail.read()) == []
    add(b"one\ntw")
    assert list(tail.read()) == [b"one\n"]
    add(b"o\nthree")
    assert list(tail.read()) == [b"two\n"]
    assert list(tail.read()) == []
    assert list(tail.read(to_end=True)) == [b"three\n"]
    assert list(tail.read(to_end=True)) == []


def test_a_flood_is_read_in_pieces_and_at_most_one_a_turn(log):
    add, tail = log
    add(b"x" * 99 + b"\n")
    add((b"x" * 99 + b"\n") * 30_000)
    first = list(tail.read())
    assert len(first) == 1
    rest = list(tail.read(to_end=True))
    pieces = first + rest
    assert all(len(piece) <= 2 * PIECE and piece.endswith(b"\n") for piece in pieces)
    assert b"".join(pieces) == (b"x" * 99 + b"\n") * 30_001


def test_a_line_without_end_is_broken_into_pieces(log):
    add, tail = log
    add(b"x" * (3 * PIECE) + b"\nend\n")
    pieces = list(tail.read(to_end=True))
    assert max(map(len, pieces)) <= 2 * PIECE
    assert b"".join(pieces).replace(b"\n", b"") == b"x" * (3 * PIECE) + b"end"
    assert pieces[-1].endswith(b"end\n")


def test_a_tail_that_is_closed_has_no_descriptor(log):
    add, tail = log
    add(b"a\n")
    list(tail.read())
    before = len(os.listdir("/proc/self/fd"))
    tail.close()
    tail.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
