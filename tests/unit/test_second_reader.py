"""A second process helps to read a large record; what is read is the same, whatever becomes of it."""

from __future__ import annotations

import os
import random
from io import StringIO
from pathlib import Path

import pytest
from support.events import FINISHED, JOINED, STAMP, exited, started, write
from support.report_records import large_run

from mprun.cli.commands import group
from mprun.cli.views.run_json import show_json
from mprun.errors import UnreadableRecord
from mprun.record import events, large_record, reader, second_reader
from mprun.record.line_format import encode
from mprun.record.state_dir import RunDirectory

RECORDS = sorted((Path(__file__).parent.parent / "records").iterdir())


def life(name):
    return [started(name), exited(name), FINISHED.replace(task=name), JOINED.replace(task=name)]


def many_tasks():
    """The lines of tasks, some of which do not just succeed, and of two at the same time."""
    facts = [events.TasksPlanned(**STAMP, group="", tasks=("a", "b"), items={"a": "é"})]
    for number in range(200):
        one = life(f"task[é{number}]")
        if number % 7 == 3:
            one[1] = one[1].replace(exit_code=1)
            one[2] = one[2].replace(outcome="failed", reason="exit 1")
        facts += one
    first, second = life("a"), life("b")
    facts += [first[0], second[0], *second[1:], *first[1:]]
    return encode(facts)


@pytest.fixture
def helped(monkeypatch):
    """Small records are read like large ones, by two processes; the pids of the second ones."""
    for name, value in {"_PIECE_SIZE": 300, "_MIN_PIECES": 0, "_PIECES_PER_TURN": 3}.items():
        monkeypatch.setattr(second_reader, name, value)
    monkeypatch.setattr(second_reader, "count_cores", lambda: 2)
    monkeypatch.setattr(large_record, "_BLOCK_SIZE", 1000)
    pids, fork = [], os.fork

    def watched():
        pid = fork()
        if pid:
            pids.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", watched)
    return pids


def text_of(directory, monkeypatch, *, is_large, may_fork=True):
    with monkeypatch.context() as patch:
        patch.setattr(reader, "_MIN_LARGE", 0 if is_large else 1 << 60)
        state, damage = reader.read_state(directory, may_fork=may_fork)
    text = StringIO()
    show_json(directory, state, text)
    return damage, state.time, state.known_names(), list(state.tasks), text.getvalue()


def assert_none_is_left(pids):
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(str(tmp_path))
    write(directory, many_tasks())
    return directory


def test_two_processes_read_the_same_as_one(directory, helped, monkeypatch):
    expected = text_of(directory, monkeypatch, is_large=False)
    assert not helped
    assert text_of(directory, monkeypatch, is_large=True) == expected
    assert len(helped) == 1
    assert_none_is_left(helped)
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    reader.read_state(directory, may_fork=True)
    assert os.listdir("/proc/self/fd") == before
    assert len(helped) == 2


def test_nothing_is_forked_unless_the_caller_allows_it(directory, helped, monkeypatch):
    expected = text_of(directory, monkeypatch, is_large=False)
    assert text_of(directory, monkeypatch, is_large=True, may_fork=False) == expected
    monkeypatch.setattr(second_reader, "count_cores", lambda: 1)
    assert text_of(directory, monkeypatch, is_large=True) == expected
    monkeypatch.undo()
    assert text_of(directory, monkeypatch, is_large=True) == expected
    assert not helped


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_two_processes_read_a_damaged_record_as_one_does(record, helped, tmp_path, monkeypatch):
    directory, dice = RunDirectory(str(tmp_path)), random.Random(1)
    whole = record.read_bytes()
    for _ in range(8):
        at = dice.randrange(len(whole))
        write(directory, whole[:at] + dice.choice([b"", b"\xff", b"\n", b"\0", b'"']) + whole[at + 1 :])
        expected = text_of(directory, monkeypatch, is_large=False)
        assert text_of(directory, monkeypatch, is_large=True) == expected


@pytest.mark.parametrize(
    "wrong", [b"\xff", b"x" * 400 + b"\n", b"\n", b"{}\n", encode([FINISHED])[:-9] + b"\n"]
)
def test_a_line_that_is_not_right_is_read_in_its_place(wrong, directory, helped, monkeypatch):
    data = many_tasks()
    middle = data.index(b"\n", len(data) // 2) + 1
    write(directory, data[:middle] + wrong + data[middle:] + b"torn")
    expected = text_of(directory, monkeypatch, is_large=False)
    assert expected[0]
    assert text_of(directory, monkeypatch, is_large=True) == expected
    assert len(helped) == 1


@pytest.mark.parametrize("sent", [0, 3, 10, 5000])
def test_what_the_second_process_has_not_sent_the_first_one_finds(sent, directory, helped, monkeypatch):
    expected = text_of(directory, monkeypatch, is_large=False)
    write_some, left = os.write, [sent]

    def killed_later(pipe, data):
        if pipe in (1, 2):
            return write_some(pipe, data)
        size = write_some(pipe, data[: left[0]]) if left[0] else 0
        left[0] -= size
        if not left[0]:
            os.kill(os.getpid(), 9)
        return size

    monkeypatch.setattr(second_reader.os, "write", killed_later)
    assert text_of(directory, monkeypatch, is_large=True) == expected
    assert len(helped) == 1
    assert_none_is_left(helped)


@pytest.mark.parametrize("refused", ["fork", "pipe"])
def test_without_a_second_process_the_first_one_finds_all(directory, helped, monkeypatch, refused):
    expected = text_of(directory, monkeypatch, is_large=False)

    def refuse():
        raise BlockingIOError

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, refused, refuse)
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    reader.read_state(directory, may_fork=True)
    assert os.listdir("/proc/self/fd") == before
    assert text_of(directory, monkeypatch, is_large=True) == expected


def test_a_record_that_is_refused_leaves_no_process(directory, helped, monkeypatch):
    data = many_tasks()
    newer = b'{"event":"task_later","format":99}\n'
    middle = data.index(b"\n", len(data) // 2) + 1
    write(directory, data[:middle] + newer + data[middle:])
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    with pytest.raises(UnreadableRecord):
        reader.read_state(directory, may_fork=True)
    assert len(helped) == 1
    assert_none_is_left(helped)


@pytest.mark.parametrize("view", [["show"], ["tree"], ["logs", "crunch[1]"]])
def test_commands_that_show_a_large_run_are_helped(view, helped, tmp_path, monkeypatch, capfd):
    large_run(tmp_path, 50)
    monkeypatch.setattr(reader, "_MIN_LARGE", 0)
    group.main([*view, "--state-dir", str(tmp_path / ".mprun")], standalone_mode=False)
    assert len(helped) == 1
    assert_none_is_left(helped)


def test_pieces_are_whole_lines_and_do_not_end_between_the_lines_of_an_end(directory, monkeypatch):
    monkeypatch.setattr(second_reader, "_PIECE_SIZE", 300)
    data = many_tasks()
    with open(directory.events, "rb") as file:
        file.readline()
        first = file.tell()
        pieces = second_reader.pieces_of(file)
    assert [begin for begin, _ in pieces] == [first, *(end for _, end in pieces[:-1])]
    assert len(data) - pieces[-1][1] < 2000
    start = b'{"event":"task_started"'
    begins = [begin for begin, _ in pieces if begin <= data.rindex(start)]
    assert len(begins) > 100
    assert all(data[begin:].startswith(start) for begin in begins)


def test_pieces_end_where_no_line_does(directory, monkeypatch):
    data = many_tasks()
    monkeypatch.setattr(second_reader, "_PIECE_SIZE", 300)
    monkeypatch.setattr(second_reader, "_CUT_SIZES", (50, 2000))
    middle = data.index(b"\n", len(data) // 2) + 1
    write(directory, data[:middle] + b"\0" * 10_000 + b"\n" + data[middle:])
    with open(directory.events, "rb") as file:
        last = second_reader.pieces_of(file)[-1][1]
    assert middle - 3000 < last <= middle
