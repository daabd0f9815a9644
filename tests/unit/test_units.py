"""Durations and sizes: parsed and formatted as in a job file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.jobfile.schema.fast_validator import FastValidator
from mprun.jobfile.schema.job_schema import schema_text
from mprun.jobfile.units import duration_text, size_text, to_bytes, to_seconds

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
    assert to_seconds(text) == pytest.approx(meant)
    assert isinstance(to_seconds(text), float)


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
def test_an_invalid_duration_is_refused_by_name(text):
    with pytest.raises(ValueError, match="is not a duration such as"):
        to_seconds(text)


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
    assert to_seconds(text) == pytest.approx(sum(float(number) * UNITS[unit] for number, unit in numbers))


@given(st.text(st.sampled_from("0123456789.msdh -"), max_size=12))
def test_the_schema_accepts_only_readable_durations(text):
    """The schema refuses, with a span, all that `to_seconds` would refuse."""
    schema = json.loads(schema_text())
    valid = FastValidator(schema).test(schema["definitions"]["duration"])(text)
    try:
        to_seconds(text)
        read = True
    except ValueError:
        read = False
    assert not valid or read


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.0005, "0.5ms"),
        (0.5, "500ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m"),
        (90.25, "1m30.25s"),
        (3600, "1h"),
        (3661, "1h1m1s"),
        (86_400, "1d"),
        (1e9, "11574d1h46m40s"),
        (float("inf"), "infs"),
    ],
)
def test_seconds_are_formatted_as_in_a_job_file(seconds, shown):
    assert duration_text(seconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0B"),
        (1, "1B"),
        (1000, "1kB"),
        (1024, "1KiB"),
        (1_000_000, "1MB"),
        (512 * 2**20, "512MiB"),
        (10**9, "1GB"),
        (2**40, "1TiB"),
        (1234, "1234B"),
    ],
)
def test_a_size_is_formatted_in_its_largest_whole_unit(size, shown):
    assert size_text(size) == shown


def test_the_unit_of_a_size_may_be_separated():
    assert size_text(64 * 2**20, " ") == "64 MiB"


@given(st.integers(0, 2**50), st.sampled_from(["", " "]))
def test_a_formatted_size_is_read_back_exactly(size, separator):
    assert to_bytes(size_text(size, separator)) == size
