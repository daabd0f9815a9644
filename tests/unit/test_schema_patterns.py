"""The functions in place of the patterns of the job schema find what the patterns find."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.jobfile.schema import patterns
from mprun.jobfile.schema.job_schema import schema_text

KNOWN = list(patterns._KNOWN)
# Letters, digits and spaces of several kinds, and every character that one of the patterns names.
PIECES = [
    *"abx_-.:=/[]{}*?$0 \n\r\t\0\x1f\x7f\x9f\xa0é²٣ª\u0301\u2028\ud800\U0001d7d8",
    *("${", "${a}", ".py", ".py:", "work:run", "x-", "a.b", "a.b:c.d", "_1", "1a"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=5)


def patterns_of(part):
    if isinstance(part, list):
        return {pattern for item in part for pattern in patterns_of(item)}
    if not isinstance(part, dict):
        return set()
    own = {part["pattern"]} if isinstance(part.get("pattern"), str) else set()
    return own.union(part.get("patternProperties", ()), *map(patterns_of, part.values()))


def test_each_known_pattern_is_in_the_schema():
    assert set(KNOWN) <= patterns_of(json.loads(schema_text("job")))


@pytest.mark.parametrize("pattern", KNOWN)
@given(text=TEXTS)
def test_a_function_finds_what_its_pattern_finds(pattern, text):
    assert bool(patterns.search(pattern)(text)) == bool(re.search(pattern, text)), ascii(text)


@pytest.mark.parametrize("pattern", KNOWN)
def test_a_function_finds_what_its_pattern_finds_in_each_text_of_three_pieces(pattern):
    found, compiled = patterns.search(pattern), re.compile(pattern).search
    ends = ["", *PIECES]
    texts = (first + second + third for first in ends for second in ends for third in ends)
    assert [ascii(text) for text in texts if bool(found(text)) != bool(compiled(text))] == []


def test_any_other_pattern_is_compiled():
    assert patterns.search("^(?:a|b)$")("b")
    assert not patterns.search("^(?:a|b)$")("ab")
