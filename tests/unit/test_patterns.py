"""Which regular expressions are valid, and which may take long to match."""

import re

import pytest
from support.timing import quick

from mprun.jobfile.patterns import (
    MAX_PATTERN_CHARACTERS,
    MAX_STEPS,
    MAX_WIDE_SETS,
    may_take_long,
    pattern_problem,
)

CHEAP = [
    ("listening on", 100_000),
    ("^ready$", 100_000),
    (r"\d{4}-\d{2}-\d{2}", 10),
    ("dev|staging|prod", 50_000),
    ("(?:dev|staging|prod)", 200),
    (r"[a-z0-9_-]+", 200),
    (r"\d+ rows", 500),
    (r".*\.csv", 50),
]
DEAR = [
    ("(a+)+$", 20),
    ("(a|a)*$", 20),
    ("(?:a?){20}", 20),
    ("(?x) (a+) +", 20),
    ("(?ix) (a+) +", 20),
    ("a?" * 30 + "a" * 30, 30),
    ("x+y", 16 * 1024**2),
    (".*.*.*=", 1000),
    (r"(a.*)\1\1\1\1", 1000),
    ("(a|b)" * 40, 40),
    ("x", 16 * 1024**2),
]


@pytest.mark.parametrize(("pattern", "size"), CHEAP)
def test_what_users_write_is_matched_at_once(pattern, size):
    assert not may_take_long(pattern, size)


@pytest.mark.parametrize(("pattern", "size"), DEAR)
def test_what_may_take_long_is_found(pattern, size):
    assert may_take_long(pattern, size)


@pytest.mark.parametrize(
    ("pattern", "unit"),
    [
        ("x+y", "x"),
        ("x+y+z", "xy"),
        (".*.*=", "x"),
        ("(x|y)(x|y)(x|y)z", "x"),
        (r"(x+)\1z", "x"),
        ("x*y", "x"),
        (r"(?=x+y)x+z", "x"),
    ],
)
def test_the_largest_text_that_is_matched_at_once_takes_less_than_a_tenth_of_a_second(pattern, unit):
    size = next(n for n in (2**k for k in range(20, 0, -1)) if not may_take_long(pattern, n))
    text = (unit * size)[:size]
    # The limit is 50 ms on a usual machine; it must hold up to a factor of 10.
    with quick(0.5):
        assert re.search(pattern, text) is None
    assert may_take_long(pattern, MAX_STEPS)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(", "missing ), unterminated subpattern at position 0"),
        ("a{99999999999999999999}", "the repetition number is too large"),
        ("(" * 5000, "nested too deeply"),
        ("a" * 6_000_000, f"too long: 6,000,000 characters (limit: {MAX_PATTERN_CHARACTERS:,})"),
        ("[\u00e4-\uffff]" * 900, "too many character sets with characters beyond ASCII (limit: 20)"),
        (r"(?i)[\u0001-\uffff]" * 300, "too many character sets with characters beyond ASCII (limit: 20)"),
        ("(a{1000}){1000}", ""),
        ("[äöü]+", ""),
    ],
    ids=range(8),
)
def test_a_pattern_that_cannot_be_used_is_refused_at_once(pattern, problem):
    with quick(1):
        assert pattern_problem(pattern) == problem


@pytest.mark.parametrize(("again", "other"), [(r"\1", "xx"), ("(?P=a)", "(?:x)x")])
def test_a_reference_to_a_group_is_counted_like_a_quantifier(again, other):
    """It compares up to the whole text, at each place of it."""
    plain = "(?P<a>ab)" + other
    size = max(size for size in range(10_000) if not may_take_long(plain, size))
    assert may_take_long("(?P<a>ab)" + again, size)


def test_each_alternative_may_double_the_steps():
    assert may_take_long("|".join("abcdefghijklmnop"), 10)
    assert not may_take_long("abcdefghijklmnop" * 2, 10)


@pytest.mark.parametrize("one", ["[\u00e9]", r"[\u00e9]"])
def test_only_so_many_sets_may_have_characters_beyond_ascii(one):
    """Each of them may take 10 ms to compile."""
    assert pattern_problem(one * MAX_WIDE_SETS) == ""
    assert pattern_problem(one * (MAX_WIDE_SETS + 1)).startswith("too many character sets")
    assert pattern_problem("[a]" * 1000) == ""
