"""What two fingerprints differ in, in words, and the texts by which values are compared."""

import pytest

from mprun.record.fingerprint import Fingerprint, canonical, from_dict

THEN = Fingerprint(
    settings={"its target": "1", "argument `n`": "2"},
    inputs={"a.csv": "3", "b.csv": "4"},
    outputs={"out": "5"},
    python="3.11.7",
    code={"work": ["work.py", "6"]},
    distributions={"acme": "1.0"},
    shown={"argument `n`": "`2`"},
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"settings": {"its target": "1"}}, "argument `n` is gone"),
        ({"settings": {"its target": "0", "argument `n`": "0"}}, "its target has changed"),
        ({"settings": {**THEN.settings, "argument 1": "2"}}, "argument 1 is new"),
        (
            {
                "settings": {"its target": "1", "argument `n`": "0"},
                "shown": {**THEN.shown, "argument `n`": "`3`"},
            },
            "argument `n` has changed from `2` to `3`",
        ),
        (
            {"settings": {**THEN.settings, "argument 1": "2"}, "shown": {"argument 1": "`2`"}},
            "argument 1 is new: `2`",
        ),
        ({"inputs": {"b.csv": "4"}}, "input `a.csv` is gone"),
        (
            {"inputs": {"b.csv": "4", "c.csv": "3"}},
            "input `a.csv` is gone, and `c.csv` with the same content is new",
        ),
        ({"inputs": {**THEN.inputs, "0.csv": "1"}}, "input `0.csv` is new"),
        ({"settings": {}, "python": "3.12.0"}, "Python has changed from 3.11.7 to 3.12.0"),
        ({"outputs": {}}, "output `out` is gone"),
        ({"python": "3.12.0"}, "Python has changed from 3.11.7 to 3.12.0"),
        ({"code": {"work": ["moved/work.py", "6"]}}, "module `work` is imported from another file"),
        ({"code": {"work": ["work.py", "7"]}}, "module `work` has changed"),
        ({"distributions": {}}, "distribution `acme` is gone"),
        ({"distributions": {"acme": "1.0", "base": "1"}}, "distribution `base` is new"),
        ({"distributions": {"acme": "2.0"}}, "distribution `acme` has changed from 1.0 to 2.0"),
    ],
)
def test_the_first_difference_is_named(changes, said):
    assert THEN.difference(THEN.replace(**changes)) == said


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
        ([1, 2], (1, 2), True),
        ([1, 2], [2, 1], False),
        (1, True, False),
        (1, 1.0, False),
        (1, "1", False),
        ({1: "a"}, {"1": "a"}, False),
        (None, "None", False),
        (["a,b"], ["a", "b"], False),
        ("a':'b", {"a": "b"}, False),
        ([[1], 2], [[1, 2]], False),
    ],
)
def test_values_have_the_same_text_only_if_they_are_equal(one, other, same):
    assert (canonical(one) == canonical(other)) == same


@pytest.mark.parametrize("key", THEN.to_dict())
@pytest.mark.parametrize("value", [None, 1, [], {"a": 1}, {"a": [1, 2]}])
def test_what_is_not_a_fingerprint_is_refused(key, value):
    assert from_dict(THEN.to_dict()) == THEN
    wrong = from_dict({**THEN.to_dict(), key: value})
    assert wrong is None
    assert from_dict({name: part for name, part in THEN.to_dict().items() if name != key}) is None
