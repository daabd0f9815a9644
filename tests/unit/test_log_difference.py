"""The first line in which two logs differ, apart from what differs in each run."""

from types import SimpleNamespace

import pytest
from support.timing import quick

from mprun.record.log_difference import MAX_LOG, checkouts, first_difference
from mprun.record.volatile import masker


def difference(old, new, old_pids=(), new_pids=()):
    found = first_difference(old.encode(), new.encode(), masker(old_pids), masker(new_pids))
    return found and (found.line, found.old, found.new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2026-01-01T12:00:00.123Z start", "2026-02-03T08:01:02.9Z start"),
        ("at 12:00:01,5", "at 9:10:11"),
        ("at 1796000937.6447775", "at 1796000938"),
        ("took 1.25s", "took 300ms"),
        ("took 3 seconds", "took 1 second"),
        ("<object at 0x7f00aa>", "<object at 0x7f11bb>"),
        ("pid=12 done", "pid=4711 done"),
        ("run 20260101-120000.000-abcd", "run 20260202-130000.123-0f0f"),
        ("id 01234567-89ab-cdef-0123-456789abcdef", "id 11111111-89ab-cdef-0123-456789abcdef"),
        ("/tmp/tmpab12_cde/x", "/tmp/tmpzz12_cde/x"),
    ],
)
def test_what_differs_in_each_run_is_masked(old, new):
    assert difference(old, new) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("12 rows", "13 rows"),
        ("12 rows", "13 Rows"),
        ("a1b2", "a1b3"),
        ("exit 1", "exit 2"),
        ("v1.2.3", "v1.2.4"),
    ],
)
def test_all_else_is_a_difference(old, new):
    assert difference(old, new) == (1, old, new)


def test_a_pid_of_the_run_is_masked_wherever_it_is():
    assert difference("worker 4711 is up", "worker 99 is up", {4711}, {99}) is None
    assert difference("worker 4711 is up", "worker 98 is up", {4711}, {99}) is not None


def test_the_first_line_that_differs_is_found():
    assert difference("a\nb\nc\n", "a\nx\ny\n") == (2, "b", "x")
    assert difference("a\nb\n", "a\n") == (2, "b", None)
    assert difference("", "a\n") == (1, None, "a")
    assert difference("a\n", "a") is None


def test_a_log_of_which_the_end_was_not_read_is_not_shorter():
    assert difference("a\n" * (MAX_LOG // 2), "a\n") is None
    assert difference("b\n" * (MAX_LOG // 2), "a\n") == (1, "b", "a")


def test_lines_that_are_hostile_take_no_longer():
    with quick(5):
        for text in (
            "1" * 10**6,
            "1:" * 500_000,
            "0x" * 500_000,
            "1-" * 500_000,
            "\x1b[31m\xff" * 100_000,
            "tmp" * 300_000,
        ):
            lines = "\n".join(text[at : at + 5000] for at in range(0, 10**6, 5000))
            difference(lines, lines.replace("1", "2") + "x")


def test_the_directories_of_two_runs_and_of_their_shards_are_masked():
    def state(cwd, *shards):
        return SimpleNamespace(started=SimpleNamespace(cwd=cwd, shards=shards or None))

    assert checkouts(state("/a/shop"), state("/a/shop")) == []
    assert checkouts(SimpleNamespace(started=None), state("/")) == []
    places = checkouts(state("/a/shop"), state("/a/shop-2", {"cwd": "/agent/1"}, {"cwd": None}, "damaged"))
    assert sorted(places) == ["/a/shop", "/a/shop-2", "/agent/1"]
    mask = masker((), places)
    lines = ("in /a/shop/x.py", "in /a/shop-2/x.py", "in /agent/1/x.py")
    assert {mask(line) for line in lines} == {"in …/x.py"}
    assert mask("/a/shopping /a/shop_2 /agent/12") == "/a/shopping /a/shop_2 /agent/12"
