"""Events are appended to a record whole, in order, with one write for each batch."""

from __future__ import annotations

import itertools
import json
import os

import pytest
from support.events import FINISHED, JOINED, write

from mprun.errors import RecordError, RecordRemoved
from mprun.record.event_reader import from_record
from mprun.record.line_format import encode
from mprun.record.reader import read_lines, read_state
from mprun.record.recorder import Recorder
from mprun.record.state_dir import RunDirectory


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(str(tmp_path))


def test_appended_events_are_read_back(directory):
    recorder = Recorder(directory)
    recorder.append([JOINED])
    recorder.append([FINISHED, JOINED])
    recorder.close()
    assert [from_record(value) for value in read_lines(directory)] == [JOINED, FINISHED, JOINED]
    state, damage = read_state(directory)
    assert (damage, state.tasks["a"].finished) == ([], FINISHED)


def test_a_file_system_that_counts_no_links_has_not_lost_the_record(directory, monkeypatch):
    """C60"""
    monkeypatch.setattr(
        os, "fstat", lambda file, real=os.fstat: os.stat_result((*real(file)[:3], 0, *real(file)[4:]))
    )
    recorder = Recorder(directory)
    recorder.append([JOINED])
    recorder.close()


def test_a_file_system_that_numbers_files_anew_has_not_lost_the_record(directory, monkeypatch):
    """C60"""
    numbers = itertools.count(1)
    monkeypatch.setattr(
        os, "lstat", lambda *a, real=os.lstat, **k: os.stat_result((0, next(numbers), *real(*a, **k)[2:]))
    )
    recorder = Recorder(directory)
    recorder.append([JOINED])
    recorder.append([JOINED])
    os.unlink(directory.events)
    with pytest.raises(RecordRemoved):
        recorder.append([JOINED])
    recorder.close()


def test_a_look_at_the_record_is_one_call_for_each_write(directory, monkeypatch):
    """C60"""
    recorder = Recorder(directory)
    calls = []
    for name in ("fstat", "stat", "lstat", "open"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, real=real, name=name, **k: calls.append(name) or real(*a, **k)
        )
    recorder.append([JOINED])
    monkeypatch.undo()
    recorder.close()
    assert calls == ["lstat"]


def test_a_batch_is_one_write(directory, monkeypatch):
    written = []
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda file, data: written.append(bytes(data)) or write_all(file, data))
    recorder = Recorder(directory)
    recorder.append([FINISHED, JOINED])
    recorder.close()
    assert written == [encode([FINISHED, JOINED])]


def test_a_short_write_is_continued_and_a_full_disk_is_an_error(directory, monkeypatch):
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write_all(file, data[:7]))
    recorder = Recorder(directory)
    recorder.append([JOINED])
    assert list(read_lines(directory)) == [JOINED.to_record()]

    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordError, match="the record cannot be written: No space left on device"):
        recorder.append([JOINED])
    recorder.close()


def test_events_that_could_not_be_written_are_written_before_the_next(directory, monkeypatch):
    write_all, room = os.write, [100]

    def write_some(file, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write_all(file, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_some)
    recorder = Recorder(directory)
    for _ in range(3):
        with pytest.raises(RecordError):
            recorder.append([FINISHED])
    room[0] = 10_000
    recorder.append([JOINED])
    recorder.append([JOINED])
    recorder.close()
    expected = [*[FINISHED.to_record()] * 3, *[JOINED.to_record()] * 2]
    assert [json.loads(json.dumps(one)) for one in read_lines(directory)] == json.loads(json.dumps(expected))


def test_a_torn_line_is_ended_before_the_next_is_appended(directory):
    write(directory, encode([JOINED]) + encode([FINISHED])[:20])
    recorder = Recorder(directory)
    recorder.close_last_line()
    recorder.append([FINISHED])
    recorder.close_last_line()
    recorder.close()
    state, damage = read_state(directory)
    assert damage == ["line 2 is not a JSON object"]
    assert state.tasks["a"].finished == FINISHED
