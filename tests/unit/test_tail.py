"""Reading a log while it grows: in whole lines, in pieces, to its end."""

import os

import pytest
from support.records import state_file

from mprun.reporters.last_lines import last_lines
from mprun.reporters.tail import PIECE, Tail


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"

    def add(data):
        with open(path, "ab") as file:
            file.write(data)

    tail = Tail(state_file(path))
    yield add, tail
    tail.close()


@pytest.mark.parametrize("hold", [False, True])
def test_a_log_that_is_not_there_has_no_news_until_something_is_written(log, hold):
    add, tail = log
    assert not tail.has_news(hold=hold)
    add(b"one\n")
    assert tail.has_news(hold=hold)
    assert list(tail.read()) == [b"one\n"]


def test_tail_returns_whole_lines_and_at_the_end_the_rest(log):
    add, tail = log
    assert list(tail.read()) == []
    add(b"one\ntw")
    assert list(tail.read()) == [b"one\n"]
    add(b"o\nthree")
    assert list(tail.read()) == [b"two\n"]
    assert list(tail.read()) == []
    assert list(tail.read(to_end=True)) == [b"three\n"]
    assert list(tail.read(to_end=True)) == []


@pytest.mark.parametrize("hold", [True, False])
def test_a_log_has_news_until_all_of_it_was_read(log, tmp_path, hold):
    add, tail = log

    def news():
        found = tail.has_news(hold=hold)
        return found, list(tail.read()) if found else []

    assert news() == (False, [])
    add(b"")
    assert news() == news() == (False, [])
    add(b"one\n")
    assert news() == (True, [b"one\n"])
    assert news() == news() == (False, [])
    add(b"half")
    # An unfinished line may become due by time alone.
    assert news() == news() == (True, [])
    add(b"\n" + (b"x" * 99 + b"\n") * (PIECE // 50))
    pieces = []
    while (found := news())[0]:
        pieces += found[1]
    assert b"".join(pieces) == b"half\n" + (b"x" * 99 + b"\n") * (PIECE // 50)
    assert news() == (False, [])
    # Another file in its place, as the launcher puts it there if a task reads its own log.
    path, other = tmp_path / "log", tmp_path / "other"
    other.write_bytes(path.read_bytes() + b"two\n")
    other.rename(path)
    assert news() == (True, [b"two\n"])
    path.write_bytes(b"three\n")
    assert news()[0]
    assert news()[1] in ([b"three\n"], [])


def test_a_log_that_was_set_aside_is_read_on(log, tmp_path):
    add, tail = log
    add(b"one\ntw")
    assert list(tail.read()) == [b"one\n"]
    descriptors = len(os.listdir("/proc/self/fd"))
    tail.set_aside()
    tail.set_aside()
    assert len(os.listdir("/proc/self/fd")) == descriptors - 1
    add(b"o\n")
    assert tail.has_news()
    assert list(tail.read()) == [b"two\n"]
    tail.set_aside()
    assert tail.lost_bytes() == 0
    tail.set_aside()
    (tmp_path / "log").write_bytes(b"3\n")
    # The engine asks before the rest is read.
    assert tail.lost_bytes() == 8
    assert b"".join(tail.read()).endswith(b"truncated here: what is above is in it no more\n3\n")


@pytest.mark.parametrize("hold", [True, False])
def test_news_that_were_not_read_stay_news(log, hold):
    add, tail = log
    add(b"one\n")
    assert tail.has_news(hold=hold)
    assert tail.has_news(hold=hold)
    # What waits for a reader is begun, and dropped.
    next(tail.read())
    assert tail.has_news(hold=hold)


def test_a_log_that_is_held_while_it_is_empty_may_be_replaced(log, tmp_path):
    add, tail = log
    add(b"")
    assert not tail.has_news(hold=True)
    (tmp_path / "log").unlink()
    assert not tail.has_news(hold=True)
    add(b"one\n")
    assert tail.has_news(hold=True)
    assert list(tail.read()) == [b"one\n"]
    # It was the other file that was looked at before.
    assert list(tail.read()) == []
    assert not tail.has_news(hold=True)


def test_that_a_log_was_replaced_is_noticed_also_after_many_looks_at_nothing(log, tmp_path):
    add, tail = log
    add(b"")
    assert not any(tail.has_news(hold=True) for _ in range(100))
    (tmp_path / "log").unlink()
    add(b"one\n")
    # Half a second of the console's looks.
    assert any(tail.has_news(hold=True) for _ in range(5))
    assert list(tail.read()) == [b"one\n"]


def test_a_log_that_grows_after_many_looks_at_nothing_is_read_from_its_start(log):
    add, tail = log
    add(b"")
    assert not any(tail.has_news(hold=True) for _ in range(100))
    add(b"one\ntwo\n")
    assert tail.has_news(hold=True)
    assert list(tail.read()) == [b"one\ntwo\n"]


def test_long_output_is_read_one_piece_per_call(log):
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


@pytest.mark.parametrize("offset", range(4))
def test_a_line_without_end_is_broken_between_characters(log, offset):
    """C12: what is put in front of a line would else be inside one."""
    add, tail = log
    text = "a" * offset + "😀" * (PIECE // 3)
    add(text.encode())
    pieces = [line.decode() for piece in tail.read(to_end=True) for line in piece.splitlines()]
    assert len(pieces) == 2
    assert "".join(pieces) == text


def test_closed_tail_has_no_descriptor(log):
    add, tail = log
    add(b"a\n")
    list(tail.read())
    before = len(os.listdir("/proc/self/fd"))
    tail.close()
    tail.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\nb", "\n\n", "a\n\nb\n", "x\n" * 300_000 + "end"])
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 299_999, 300_000, 300_001, 300_002])
def test_tail_begins_with_the_last_lines(text, lines, tmp_path):
    path = tmp_path / "log"
    path.write_text(text)
    wanted = "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""
    tail = Tail(state_file(path), lines=lines)
    assert b"".join(tail.read_bytes(to_end=True)).decode() == wanted
    tail.close()


def test_tail_continues_in_a_file_that_replaces_the_one_it_has_read(log, tmp_path):
    """The launcher gives a log a new inode if a task reads its own log."""
    add, tail = log
    add(b"one\ntwo")
    assert list(tail.read()) == [b"one\n"]
    (path,) = tmp_path.iterdir()
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes() + b"-three\nfour\n")
    other.rename(path)
    assert list(tail.read()) == [b"two-three\nfour\n"]


NOTE = "… the log was truncated here: what is above is in it no more\n".encode()


@pytest.mark.parametrize(
    "added", ["three\n", "three, four\n", "one\n" * 100], ids=["less", "as much", "more"]
)
def test_tail_begins_again_in_a_file_that_was_truncated(log, tmp_path, added):
    """C09: also if it has grown again since; a task may do it often, so that is said once."""
    add, tail = log
    add(b"one\ntwo\nhalf")
    assert list(tail.read()) == [b"one\ntwo\n"]
    (path,) = tmp_path.iterdir()
    for number in (1, 2):
        assert tail.lost_bytes() == (number > 1) * 12
        os.truncate(path, 0)
        add(f"{added}{number}\n".encode())
        lost = tail.lost_bytes()
        note = b"half\n" + NOTE if number == 1 else b""
        assert b"".join(tail.read()) == note + f"{added}{number}\n".encode()
        assert tail.lost_bytes() == lost
    assert lost == 12 + len(added) + 2
    assert list(tail.read(to_end=True)) == []


def test_tail_begins_again_in_a_file_of_which_it_has_read_nothing_but_the_position(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    tail = Tail(state_file(path), lines=0)
    assert list(tail.read()) == []
    os.truncate(path, 4)
    assert b"".join(tail.read()) == NOTE + b"one\n"
    tail.close()


def test_the_last_line_does_not_end_in_half_a_character(tmp_path):
    """C13: the live view shows it."""
    path = tmp_path / "log"
    path.write_bytes("one\ntwo €".encode()[:-1])
    assert last_lines(state_file(path), 2) == ["one", "two"]
