"""Lines of large records are recognised without parsing them; views show the same as if they were parsed."""

from __future__ import annotations

import json
import random
import tracemalloc
from contextlib import closing
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.events import FINISHED, JOINED, STAMP, exited, started, write
from support.report_records import large_run
from support.timing import cpu_seconds

from mprun.cli.traces import CHROME, OTLP
from mprun.cli.views import process_tree
from mprun.cli.views.process_tree import write_tree
from mprun.cli.views.run_json import show_json
from mprun.record import events, large_record, reader, second_reader
from mprun.record.event_reader import from_record
from mprun.record.found import END_TIME, ENDED, EXIT_PID, JOIN, JOINED_NAME, LATER, OTHER, START, STARTED
from mprun.record.line_format import encode, encode_line
from mprun.record.line_scanner import line_matcher, success_finder
from mprun.record.process_tree import build_tree
from mprun.record.state_dir import RunDirectory
from mprun.record.task_lines import event_of_line, lines_of_end
from mprun.record.task_state import TaskState
from mprun.reporters import table
from mprun.reporters.format import format_duration
from mprun.reporters.plain_cells import plain_cells
from mprun.reporters.report.report_data import ReportData

RUN = STAMP["run"]
RECORDS = sorted((Path(__file__).parent.parent / "records").iterdir())
ERROR = {"type": "E", "message": 'no "x"\n\udc80', "traceback": "…"}
EVENTS = (
    started("a[é]"),
    events.TaskReady(**STAMP, task="a", attempt=1),
    events.TaskStopping(**STAMP, task="a", attempt=1, signal="SIGTERM", reason="user"),
    exited("a").replace(exit_code=-9, signal="SIGKILL", error=ERROR, orphans=(7, 8), duration=1e-05),
    exited("a").replace(exit_code=None, cpu=None, max_rss=None, threads=None),
    events.TaskRetrying(**STAMP, task="a", attempt=2, delay=0.5, reason="retry, no [1] of \\"),
    FINISHED,
    FINISHED.replace(outcome="failed", reason="exit 1", result={"x": [None, "\\"]}, reused=True),
    JOINED,
)


def parsed(line):
    return from_record(reader.parse_line(line.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("event", EVENTS)
def test_what_mprun_writes_about_a_task_is_recognised(event):
    line = encode([event]).decode()
    found = line_matcher(RUN)(line[:-1])
    assert (found["time"], found["task"]) == (event.time, event.task)
    assert event_of_line(line) == parsed(line)


@pytest.mark.parametrize("event", EVENTS)
def test_so_is_a_line_without_the_fields_that_have_a_default(event):
    record = {name: value for name, value in event.to_record().items() if name not in event._defaults}
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
    assert line_matcher(RUN)(line[:-1])
    assert event_of_line(line) == parsed(line)


PIECES = [
    "\\",
    '"',
    "\r",
    "\0",
    "0",
    "-",
    "1",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "1e9",
    "NaN",
    "1.5",
]
PIECES += [
    "é",
    "\x7f",
    " ",
    "\u2028",
    "\ufeff",
    "٣",
    "9" * 20,
    "run_ends",
    "timed-out",
    "\\u00e9",
    "task_",
    "r",
]


LIFE = (started("a"), exited("a"), FINISHED, JOINED)
LIVES = [encode_line(event) for event in EVENTS]
LIVES += ["".join(map(encode_line, LIFE)), "".join(map(encode_line, LIFE[1:]))]
LIVES += [
    "".join(map(encode_line, (exited("a"), FINISHED.replace(result={"x": [None]}, result_kind="json")))),
    "".join(map(encode_line, (exited("a").replace(cpu=None, max_rss=None), FINISHED.replace(allowed=True)))),
]


@st.composite
def damaged(draw):
    text = draw(st.sampled_from(LIVES))[:-1]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(["", *PIECES])) + text[at + draw(st.integers(0, 9)) :]
    return text + "\n"


def events_in(row):
    """The events of what was found in a text, and the lines of what was not recognised."""
    if row[START]:
        yield event_of_line(row[START])
        assert json.loads(row[START])["task"] == row[STARTED]
    if row[EXIT_PID]:
        yield from map(event_of_line, lines_of_end(RUN, row))
    if row[JOIN]:
        yield events.TaskJoined(
            **{**STAMP, "time": row[END_TIME]}, task=row[ENDED], **json.loads(f"{{{row[JOIN][1:]}}}")
        )
    if row[LATER]:
        yield event_of_line(row[LATER])
        assert json.loads(row[LATER])["task"] == row[JOINED_NAME]
    if not (row[START] or row[EXIT_PID] or row[LATER]):
        is_recognised = line_matcher(RUN)(row[OTHER])
        yield event_of_line(row[OTHER]) if is_recognised else row[OTHER]


def test_the_exit_the_end_and_the_join_of_a_task_are_found_at_once():
    others = [exited("b"), FINISHED.replace(task="b"), JOINED.replace(task="c")]
    text = encode([*LIFE, *others]).decode()
    found = success_finder(RUN)(text)
    names = [(row[STARTED], row[ENDED], row[JOINED_NAME]) for row in found]
    assert names == [("a", "a", ""), ("", "b", ""), ("", "", "c")]


def test_a_start_is_found_together_with_the_end_of_another_task_that_follows():
    facts = [*LIFE, started("b"), started("c"), exited("b"), FINISHED.replace(task="b"), started("d")]
    # That is not the end of a task that just succeeds.
    facts += [exited("d").replace(exit_code=1), started("e"), exited("e")]
    found = success_finder(RUN)(encode(facts).decode())
    names = [(row[STARTED], row[ENDED], bool(row[OTHER])) for row in found]
    alone = [("b", "", False), ("c", "b", False), ("d", "", False), ("", "", True), ("e", "", False)]
    assert names == [("a", "a", False), *alone, ("", "", True)]


@given(damaged())
@example(encode([exited("a"), FINISHED.replace(time="later"), JOINED]).decode())
@example(encode([one.replace(task="") for one in LIFE]).decode())
@example(encode([exited("a"), FINISHED.replace(result=[1], result_kind="json"), JOINED]).decode())
def test_what_is_recognised_is_what_parsing_finds(text):
    lines = [line + "\n" for line in text.split("\n")[:-1]]
    found = [one for row in success_finder(RUN)(text) for one in events_in(row)]
    assert len(found) == len(lines)
    for one, line in zip(found, lines, strict=True):
        if isinstance(one, str):
            assert one == line[:-1]
        else:
            assert one == parsed(line)


@pytest.mark.parametrize(
    "other",
    [
        "",
        "x",
        encode_line(JOINED)[1:-1],
        encode_line(JOINED.replace(run="s"))[:-1],
        encode_line(JOINED)[:-1].replace("task_joined", "task_found"),
        encode_line(JOINED)[:-1].replace("task_joined", "task_ready"),
        encode_line(FINISHED)[:-1].replace("succeeded", "timed-out"),
        encode_line(FINISHED.replace(reason="run_ends"))[:-1],
        encode_line(exited("a").replace(max_rss=2**63))[:-1],
    ],
)
def test_another_line_is_left_as_it_is_and_in_its_place(other):
    line = encode_line(JOINED)
    first, second, third = success_finder(RUN)(f"{line}{other}\n{line}")
    assert first[LATER] == third[LATER] == line[:-1]
    assert (*second[:-1], second[OTHER]) == ("",) * (len(second) - 1) + (other,)
    assert line_matcher(RUN)(other) is None


@pytest.mark.parametrize("run", ['r","foo":"y', "r\\u0020", "{", "}{0}", "r\n", "r.*", "é"])
def test_no_line_of_a_run_with_an_odd_id_is_recognised(run):
    """The id is that of the first line, which another program may have written."""
    line = encode_line(JOINED).replace(f'"run":"{RUN}"', f'"run":"{run}"')
    assert [row[OTHER] for row in success_finder(run)(line)] == line.split("\n")[:-1]
    assert not any(map(line_matcher(run), line.split("\n")))


# ---- whole records


def text_of(directory):
    """What views show of a record."""
    state, damage = reader.read_state(directory)
    text = StringIO()
    show_json(directory, state, text)
    table.write(table.HEAD, table.rows(state, plain=plain_cells), text)
    tree = [root.to_json() for root in build_tree(directory, state)]
    joins = {}
    again, _ = reader.read_state(directory, joins=joins)
    page = list(ReportData(again, joins, None, alive=False, now=state.time).script_rows())
    traces = ["".join(kind.pieces(directory, None)) for kind in (CHROME, OTLP)]
    for width in (None, 40, 70):
        with mock.patch.object(process_tree, "terminal_width", lambda stream, width=width: width):
            write_tree(build_tree(directory, state), text, True)
    return damage, state.time, state.known_names(), list(state.tasks), tree, text.getvalue(), page, traces


def damage_of(data, dice):
    at = dice.randrange(len(data))
    lines = data.split(b"\n")
    dice.shuffle(lines)
    piece = dice.choice(PIECES).encode()
    return dice.choice(
        [
            data[:at],
            data[:at] + piece + data[at + dice.randrange(4) :],
            b"\n".join(lines),
            data + b"\xff\n" + data,
        ]
    )


def plain_record():
    """A record of tasks that mostly just succeed, in the forms that are recognised at once."""
    facts = []
    for number, name in enumerate(["a", "b[é]", "c", "", "d", "e", "f"]):
        result = {"result": [number, {"x": None}], "result_kind": "json"} if number % 3 == 1 else {}
        facts += [started(name), exited(name), FINISHED.replace(task=name, **result)]
        facts.append(JOINED.replace(task=name, time="2026-01-01T12:00:01Z" if number % 2 else STAMP["time"]))
    facts.insert(9, events.TaskReady(**STAMP, task="c", attempt=1))
    return encode([*facts, exited("g").replace(exit_code=1), FINISHED.replace(task="g", outcome="failed")])


WHOLE = {path.name: path.read_bytes() for path in RECORDS} | {"plain": plain_record()}


@pytest.mark.parametrize("record", WHOLE)
@pytest.mark.parametrize("block_size", [100, 2000])
def test_a_damaged_record_looks_the_same_however_it_is_read(record, block_size, tmp_path, monkeypatch):
    directory, dice = RunDirectory(str(tmp_path)), random.Random(block_size)
    monkeypatch.setattr(large_record, "_BLOCK_SIZE", block_size)
    monkeypatch.setattr(second_reader, "_PIECE_SIZE", block_size)
    whole = WHOLE[record]
    for data in (whole, *(damage_of(whole, dice) for _ in range(40))):
        write(directory, data)
        monkeypatch.setattr(reader, "_MIN_LARGE", 1 << 60)
        expected = text_of(directory)
        monkeypatch.setattr(reader, "_MIN_LARGE", 0)
        assert text_of(directory) == expected


def test_a_task_that_just_succeeded_is_shown_with_its_item_its_log_and_its_artifacts(tmp_path, monkeypatch):
    directory = RunDirectory(str(tmp_path / "runs" / RUN))
    names = ["a", "%s", "50 %", "\x7f", "[é]", "\u202e", "x" * 99]
    facts = [fact for name in names for fact in (started(name), exited(name), FINISHED.replace(task=name))]
    items = {"a": 'one\n"%s"', "%s": "\u202e"}
    Path(directory.path, "logs").mkdir(parents=True)
    planned = events.TasksPlanned(**STAMP, group="", tasks=tuple(names), items=items)
    write(directory, encode([planned, *facts, started("b")]))
    for name in names[:4]:
        Path(directory.log(name, 1)).touch()
        Path(directory.artifacts_of(name)).mkdir(parents=True)
        Path(directory.artifacts_of(name), "kept").touch()
    expected = text_of(directory)
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    assert text_of(directory) == expected
    shown = StringIO()
    show_json(directory, reader.read_state(directory)[0], shown)
    first = json.loads(shown.getvalue())["tasks"][0]
    assert (first["item"], first["log"]) == (items["a"], directory.log("a", 1))
    assert first["artifacts"] == directory.artifacts_of("a")


def test_durations_of_a_large_record_are_rounded_as_in_a_small_one():
    numbers = ["0.0", "0.005", "0.125", "1.005", "9.994999", "9.995", "9.996", "0.1", "1.5e-05", "5.0e-4"]
    numbers += [
        "9.999e-05",
        "10.0",
        "59.95",
        "3600.5",
        "null",
        *(f"{random.Random(1).random()}" for _ in "ab"),
    ]
    dice = random.Random(2)
    numbers += [repr(round(dice.uniform(0, 10), dice.randrange(1, 7))) for _ in range(2000)]
    for number in numbers:
        start = ("", "a", "1", "2")
        task = TaskState("a", start)
        task.end = (*start, "", "a", "1", number, number, "4096", "1", "")
        shown = format_duration(None if number == "null" else float(number))
        assert plain_cells(task) == ("1", "2", shown, shown, "4.1kB")


def test_a_task_that_was_looked_at_before_its_end_has_its_end_afterwards():
    """Both may be in the same row."""
    (row,) = success_finder(RUN)(encode(LIFE).decode())
    task = TaskState("a", row)
    assert task.attempts[0].exited is None
    assert task.finished is None
    task.end = row
    exit_line, end_line, _ = encode(LIFE[1:]).decode().splitlines()
    assert task.attempts[0].exited == event_of_line(exit_line)
    assert task.finished == event_of_line(end_line)


def test_a_task_with_more_lines_than_are_kept_has_all_its_attempts(tmp_path, monkeypatch):
    directory = RunDirectory(str(tmp_path))
    facts = [(started("a", attempt=number), exited("a", attempt=number)) for number in range(1, 100)]
    write(directory, encode([fact for pair in facts for fact in pair]))
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    state, _ = reader.read_state(directory)
    assert [(one.started.attempt, one.exited.attempt) for one in state.tasks["a"].attempts] == [
        (number, number) for number in range(1, 100)
    ]


def test_a_line_that_is_too_long_ends_what_is_read_of_a_large_record(tmp_path, monkeypatch):
    directory = RunDirectory(str(tmp_path))
    line = encode([JOINED])
    monkeypatch.setattr(reader, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    monkeypatch.setattr(large_record, "_BLOCK_SIZE", 1000)
    write(directory, line + line + b"\0" * (1 << 20) + b"\n" + encode([FINISHED]))
    state, damage = reader.read_state(directory)
    assert damage == ["line 3 is longer than 1 MiB: it and all that follows"]
    assert state.tasks["a"].outcome is None


def test_a_follower_that_catches_up_gets_what_it_takes_in_order(tmp_path, monkeypatch):
    directory = RunDirectory(str(tmp_path))
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    facts = [started("b"), started("a"), exited("a"), FINISHED, exited("b"), started("c")]
    write(directory, encode(facts) + b"torn")
    with closing(reader.RecordFollower(directory)) as record:
        found = []
        record.catch_up(found.append, "b".__eq__)
        # The first line is parsed, because it names the run.
        assert [(one.event, one.task) for one in found] == [("task_started", "b"), ("task_exited", "b")]
        assert [*record.state.tasks] == ["b", "a", "c"]
        with open(directory.events, "ab") as file:
            file.write(b" after all\n" + encode([JOINED]))
        assert list(record.read()) == [JOINED]
        assert record.damage == ["line 7 is not a JSON object"]


def test_a_success_that_has_more_to_say_is_not_taken_for_a_plain_one(tmp_path, monkeypatch):
    directory = RunDirectory(str(tmp_path))
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    ends = [{}, {"reused": True}, {"flaky": True}, {"reason": "flaky"}, {"outcome": "failed"}]
    exits = [
        {"orphans": (7,)},
        {"left_running": (7,)},
        {"lost_output": 1},
        {"core_dumped": True},
        {"attempt": 2},
    ]
    cases = [({}, end) for end in ends] + [(change, {}) for change in exits]
    facts = []
    for name, (exit_change, end_change) in zip("abcdefghij", cases, strict=True):
        end = FINISHED.replace(task=name, **end_change)
        facts += [started(name), exited(name).replace(**exit_change), end]
    # The first line is parsed, and so is all of its task.
    write(directory, encode([*facts, started("k"), exited("k"), FINISHED.replace(task="k")]))
    state, _ = reader.read_state(directory)
    assert [task.name for task in state.tasks.values() if task.end] == ["k"]


# ---- what it costs

TASKS = 4000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large")
    return RunDirectory(str(path / ".mprun" / "runs" / large_run(path, TASKS)))


def test_views_of_a_large_record_parse_only_what_has_something_to_say(large, monkeypatch):
    lines, tasks = [], set()
    parse, unpack = reader.parse_line, TaskState.attempts.fget
    monkeypatch.setattr(
        reader, "parse_line", lambda data, number=1: lines.append(data) or parse(data, number)
    )
    monkeypatch.setattr(TaskState, "attempts", property(lambda task: tasks.add(task.name) or unpack(task)))
    state, damage = reader.read_state(large)
    assert (len(state.tasks), damage) == (TASKS, [])
    assert len(lines) < TASKS / 100
    assert len(table.rows(state, plain=plain_cells)) == TASKS
    assert build_tree(large, state)
    # Of a hundred tasks one has failed.
    assert len(tasks) == TASKS / 100


def test_a_large_record_is_read_in_a_third_of_the_time_of_its_lines(large, monkeypatch):
    sizes = {"blocks": 0, "lines": 1 << 60}
    took = {}
    for name, size in sizes.items():
        monkeypatch.setattr(reader, "_MIN_LARGE", size)
        took[name] = min(cpu_seconds(lambda: reader.read_state(large)) for _ in range(3))
    assert took["blocks"] < took["lines"] / 3, took


def test_a_task_of_a_large_record_takes_a_kilobyte(large):
    reader.read_state(large)
    tracemalloc.start()
    try:
        state, _ = reader.read_state(large)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / len(state.tasks) < 1200
    # A block of lines, and what is found in it.
    assert peak - kept < 8 << 20
