"""Durations, sizes, plurals, and text of a given width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.reporters.format import (
    column_widths,
    cut_inside,
    display_width,
    format_duration,
    format_size,
    pad,
    plural,
    truncate,
)


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
def test_duration_is_short(seconds, shown):
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
def test_size_is_in_powers_of_a_thousand(number, shown):
    assert format_size(number) == shown


def test_plural_depends_on_the_number():
    assert [plural(number, "task") for number in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


@given(st.text(), st.integers(1, 20))
def test_truncated_text_fits(text, width):
    cut = truncate(text, width)
    assert display_width(cut) <= width
    assert cut == text or (cut[-1] == "…" and text.startswith(cut[:-1]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("abcdef", "abcd…"), ("abcde", "abcde"), ("跳舞吧", "跳舞…"), ("跳跳跳跳", "跳跳…"), ("", "")],
)
def test_text_is_truncated_by_display_width(text, shown):
    assert truncate(text, 5) == shown


def test_a_cell_is_padded_to_its_width():
    assert pad("跳", 4) == "跳  "
    assert pad("12", 4, right=True) == "  12"
    assert pad("longer", 4) == "longer"


def test_display_width_counts_as_a_terminal_does():
    assert [display_width(text) for text in ("abc", "跳舞", "e\u0301", "é", "")] == [3, 4, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("crunch[12]", 10, "crunch[12]"),
        ("crunch[12]", 9, "crun…[12]"),
        ("crunch[12]", 3, "c…]"),
        ("crunch[12]", 2, "cr"),
        ("crunch[12]", 0, ""),
        ("日本語[語本日]", 9, "日本…日]"),
        ("e\u0301" * 9, 5, "e\u0301e\u0301…e\u0301e\u0301"),
    ],
)
def test_a_long_name_keeps_its_beginning_and_its_end(text, width, shown):
    assert cut_inside(text, width) == shown
    assert display_width(shown) <= max(width, 0)


def test_a_column_is_as_wide_as_its_widest_cell_wherever_that_is():
    rows = [("a", "b", "") for _ in range(2500)]
    for number, row in ((0, ("abc", "b", "")), (1200, ("", "跳舞", "")), (2499, ("", "", "e\u0301"))):
        rows[number] = row
    assert column_widths(rows) == [3, 4, 1]
    assert column_widths(rows[:1000]) == [3, 1, 0]
    assert column_widths([]) == []
