"""Durations as job files write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.jobfile.schema.fast_validator import FastValidator
from mprun.jobfile.schema.job_schema import schema_text
from mprun.jobfile.units import seconds

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (0, 0.0),
        (5, 5.0),
        (0.25, 0.25),
        ("500ms", 0.5),
        ("1m30s", 90.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1.5h", 5400.0),
        ("1h1m1s1ms", 3661.001),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_seconds_or_numbers_with_units(text, meant):
    assert seconds(text) == pytest.approx(meant)
    assert isinstance(seconds(text), float)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        " 5s",
        "5s ",
        "-5s",
        "5x",
        "5S",
        "1,5s",
        ".5s",
        "5.s",
        "1m30",
        "\u0665s",
        "5s\n",
        "1e3s",
    ],
)
def test_what_is_no_duration_is_refused_by_name(text):
    with pytest.raises(ValueError, match="is not a duration such as"):
        seconds(text)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 999_999_999), st.none() | st.integers(0, 999), st.sampled_from(sorted(UNITS))
        ),
        min_size=1,
        max_size=5,
    )
)
def test_parts_add_up(parts):
    numbers = [
        (f"{whole}" if fraction is None else f"{whole}.{fraction}", unit) for whole, fraction, unit in parts
    ]
    text = "".join(number + unit for number, unit in numbers)
    assert seconds(text) == pytest.approx(sum(float(number) * UNITS[unit] for number, unit in numbers))


@given(st.text(st.sampled_from("0123456789.msdh -"), max_size=12))
def test_the_schema_lets_pass_what_can_be_read_and_nothing_else(text):
    """What `seconds` would refuse must have been refused with a place."""
    schema = json.loads(schema_text())
    valid = FastValidator(schema).test(schema["definitions"]["duration"])(text)
    try:
        seconds(text)
        read = True
    except ValueError:
        read = False
    assert not valid or read
