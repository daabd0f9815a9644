"""Which attempts have had a process: what is noted of commands, whose logs may not be there."""

import os

import pytest

from mprun.begun_logs import BEGUN, MAX_BYTES, begun_logs, note

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


@pytest.fixture
def logs(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    yield folder
    os.close(folder)


@pytest.fixture
def noted(tmp_path):
    file = os.open(tmp_path / BEGUN, APPEND, 0o600)
    yield file
    os.close(file)


def commands(logs):
    """The names that are not those of files."""
    return begun_logs(logs).difference(os.listdir(logs))


def test_what_is_there_and_what_is_noted_has_begun(logs, tmp_path, noted):
    (tmp_path / "target.1.log").touch()
    for name in ("a.1.log", "b[n=1].1.log", "a.2.log"):
        note(noted, name)
    assert begun_logs(logs) == {"target.1.log", BEGUN, "a.1.log", "b[n=1].1.log", "a.2.log"}


def test_without_commands_it_is_what_is_there(logs, tmp_path):
    (tmp_path / "target.1.log").touch()
    assert begun_logs(logs) == {"target.1.log"}


@pytest.mark.parametrize(
    ("notes", "begun"),
    [([True, False], False), ([True, False, True], True), ([True, False, True, False], False)],
)
def test_the_last_note_counts(logs, noted, notes, begun):
    note(noted, "other.1.log")
    for each in notes:
        note(noted, "a.1.log", begun=each)
    assert commands(logs) == {"other.1.log", *(["a.1.log"] if begun else [])}


def test_a_note_that_was_cut_is_an_error_and_no_name(logs, noted, monkeypatch):
    """It is the end of the space on the disk, which may come back."""
    write = os.write
    note(noted, "one.1.log")
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
    with pytest.raises(OSError, match="No space left"):
        note(noted, "a.1.log.1.log")
    monkeypatch.undo()
    note(noted, "two.1.log")
    assert commands(logs) == {"one.1.log", "two.1.log"}


@pytest.mark.parametrize("kind", ["FIFO", "link", "directory"])
def test_something_else_in_its_place_is_not_read(logs, tmp_path, kind):
    if kind == "FIFO":
        os.mkfifo(tmp_path / BEGUN)
    elif kind == "link":
        (tmp_path.parent / "elsewhere").write_text("a.1.log\n")
        (tmp_path / BEGUN).symlink_to(tmp_path.parent / "elsewhere")
    else:
        (tmp_path / BEGUN).mkdir()
    assert begun_logs(logs) == {BEGUN}


def test_so_much_of_it_is_read(logs, noted):
    note(noted, "a.1.log")
    os.ftruncate(noted, 64 * MAX_BYTES)
    note(noted, "b.1.log")
    assert commands(logs) == {"a.1.log"}
