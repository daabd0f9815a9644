"""JSON by the parts in C is the same as by `json`."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun import lean_json
from mprun.jobfile.schema.job_schema import schema_text
from mprun.outcomes import Outcome

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(Outcome)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(SCALARS, inner))


@given(VALUES)
def test_a_value_is_encoded_as_json_does(value):
    compact = json.dumps(value, ensure_ascii=False, check_circular=False, separators=(",", ":"))
    assert lean_json.encode_compactly(value) == compact
    try:
        strict = json.dumps(value, allow_nan=False)
    except ValueError:
        with pytest.raises(ValueError, match="Out of range"):
            lean_json.encode_strictly(value)
    else:
        assert lean_json.encode_strictly(value) == strict


@given(st.text())
def test_a_text_is_encoded_as_json_does(text):
    assert lean_json.encode_text(text) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("value", [object(), [b""], {"key": {1}}])
def test_what_is_not_json_is_refused(value):
    for encode in (lean_json.encode_compactly, lean_json.encode_strictly):
        with pytest.raises(TypeError):
            encode(value)


def test_a_value_that_contains_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(ValueError, match="Circular"):
        lean_json.encode_strictly(value)


@pytest.mark.parametrize("name", ["job", "event"])
def test_the_schemas_are_decoded_as_json_does(name):
    assert lean_json.decode(schema_text(name)) == json.loads(schema_text(name))


@given(VALUES)
def test_what_was_encoded_is_decoded_as_json_does(value):
    text = json.dumps(value)
    if not any(name in text for name in ("NaN", "Infinity")):
        assert lean_json.decode(text) == json.loads(text)
    assert math.isinf(lean_json.decode("1e999"))
