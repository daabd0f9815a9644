"""Records are read back as events; what is corrupt is named and left out."""

from __future__ import annotations

import json

import pytest
from support.events import FINISHED, JOINED, done, exited, started, write

from mprun.errors import RecordError
from mprun.record import reader
from mprun.record.line_format import encode, encode_line
from mprun.record.reader import CorruptLine, read_lines, read_state
from mprun.record.state_dir import RunDirectory


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(str(tmp_path))


def test_a_torn_line_is_the_last_one(directory):
    write(directory, encode_line(JOINED).encode() + b'{"event":"task_fin')
    first, second = read_lines(directory)
    assert first == JOINED.to_record()
    assert (type(second), str(second)) == (CorruptLine, "line 2 is torn")


@pytest.mark.parametrize(
    "data", [b"x\n", b"\n", b"[]\n", b"null\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"\0\n"]
)
def test_a_line_that_is_not_an_object_is_named_and_the_next_one_read(data, directory):
    write(directory, data + encode_line(FINISHED).encode())
    state, damage = read_state(directory)
    assert damage == ["line 1 is not a JSON object"]
    assert state.tasks["a"].finished == FINISHED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": None}, "`outcome` is not str"),
        ({"task": ["a"]}, "`task` is not str"),
        ({"attempts": 1.5}, "`attempts` is not int"),
        ({"attempts": 2**64}, "`attempts` is not int"),
        ({"reused": 1}, "`reused` is not bool"),
        ({"time": 0}, "`time` is not str"),
    ],
)
def test_a_field_of_another_type_is_damage(change, message, directory):
    write(directory, json.dumps({**FINISHED.to_record(), **change}).encode() + b"\n")
    state, damage = read_state(directory)
    assert damage == [f"a task_finished event is not whole: {message}"]
    assert state.tasks == {}


def test_a_newer_format_is_refused_by_name(directory):
    write(directory, b'{"event":"run_started","format":3}\n')
    with pytest.raises(RecordError, match="has the format 3, and this mprun reads up to 2: upgrade mprun"):
        read_state(directory)


def test_a_record_that_does_not_exist_is_an_error(directory):
    with pytest.raises(RecordError, match=r"events\.jsonl cannot be read: No such file"):
        read_state(directory)


# ---- what recovery reads of a large run


NAMES = ["a", 'with "quotes"', "back\\slash", "ünï,code", "\ud800", 'x","outcome":"y']


def lines_of_a_killed_run():
    """Finished tasks, running tasks, a task with an unknown exit status, and lines that are not events."""
    batch = [event for name in NAMES for event in (started(name), exited(name), done(name))]
    batch += [started("runs"), exited("runs"), started("runs", 2), started("lost"), done("lost", "unknown")]
    foreign = json.dumps({**done("foreign").to_record(), "event": "task_finished"}, indent=None)
    torn = encode_line(done("torn"))[:-20]
    last = encode_line(done("last").replace(time="2026-01-01T12:00:09Z"))
    return encode([*batch, started("torn"), started("foreign")]) + f"{torn}\n\n[]\n{foreign}\n{last}".encode()


def test_only_the_outcome_of_a_finished_task_is_read_and_other_tasks_in_full(directory):
    write(directory, lines_of_a_killed_run())
    whole, _ = read_state(directory)
    seen = reader.read_unfinished(directory)
    assert seen.tasks.keys() == whole.tasks.keys()
    assert (seen.counts(), seen.time) == (whole.counts(), whole.time)
    for name, task in whole.tasks.items():
        assert seen.tasks[name].finished == task.finished
        attempts = [(found.started, found.exited) for found in seen.tasks[name].attempts]
        over = task.finished is not None and task.finished.outcome != "unknown" and name != "foreign"
        assert attempts == ([] if over else [(one.started, one.exited) for one in task.attempts])
    assert seen.tasks["torn"].finished is None
    assert len(seen.tasks["runs"].attempts) == 2


def test_most_lines_of_a_large_run_are_not_parsed(directory, monkeypatch):
    tasks = [f"t[{number}]" for number in range(100)]
    write(directory, encode([event for name in tasks for event in (started(name), exited(name), done(name))]))
    parsed = []
    parse = reader.parse_line
    monkeypatch.setattr(reader, "parse_line", lambda data, *more: parsed.append(data) or parse(data, *more))
    assert reader.read_unfinished(directory).counts() == {"succeeded": 100}
    assert len(parsed) == 100
