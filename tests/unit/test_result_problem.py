"""C31: why a value is not JSON, where, and what to return instead."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import types
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import files_at, state_file

from mprun.launcher.result_files import write_result
from mprun.launcher.result_problem import describe
from mprun.record import results


@dataclasses.dataclass
class Point:
    x: int = 1


class Colour(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Opaque:
    def __repr__(self):
        raise RuntimeError

    @property
    def __class__(self):
        raise RuntimeError


def numpy_like(name, value, shape=()):
    """A value of a class that looks like numpy's, in its order of attributes."""
    body = {"item": lambda self: value, "tolist": lambda self: value, "shape": shape, "__module__": "numpy"}
    return type(name, (), {**body, "__int__": lambda self: 1, "__float__": lambda self: 1.0})()


CYCLE: list = [1]
CYCLE.append({"a": CYCLE})


def deep(depth):
    found: object = 1
    for _ in range(depth):
        found = [found]
    return found


JSON = ", which is not JSON"
CASES = [
    (pathlib.PurePosixPath("/x"), "a PurePosixPath" + JSON, "return a string instead"),
    (
        {"files": [1, pathlib.PurePosixPath("y")]},
        "a dict with a PurePosixPath at `files.1`" + JSON,
        "return a string instead",
    ),
    (numpy_like("int64", 3), "a numpy.int64" + JSON, "return `int(...)` of it instead"),
    (
        [{"n": numpy_like("bool_", True)}],
        "a list with a numpy.bool_ at `0.n`" + JSON,
        "return `bool(...)` of it instead",
    ),
    (numpy_like("ndarray", [1], (1,)), "a numpy.ndarray" + JSON, "return its `tolist()` instead"),
    (datetime.datetime(2026, 1, 1), "a datetime" + JSON, "return its `isoformat()` instead"),
    (datetime.timedelta(1), "a timedelta" + JSON, "return its `total_seconds()` instead"),
    (Point(), "a Point" + JSON, "return `dataclasses.asdict(...)` of it instead"),
    (Colour.RED, "a Colour" + JSON, "return its `value` instead"),
    (decimal.Decimal(1), "a Decimal" + JSON, "return `float(...)` of it instead"),
    (uuid.UUID(int=1), "a UUID" + JSON, "return a string instead"),
    (type("UserId", (), {})(), "a UserId" + JSON, "return a string instead"),
    (type("Update", (), {})(), "an Update" + JSON, "return a string instead"),
    (type("HTTPAnswer", (), {})(), "an HTTPAnswer" + JSON, "return a string instead"),
    (type("URLParts", (), {})(), "a URLParts" + JSON, "return a string instead"),
    (b"x", "bytes" + JSON, "return `decode()` of it instead"),
    ({"a"}, "{'a'}" + JSON, "return a list instead"),
    (collections.deque([1]), "a deque" + JSON, "return a list instead"),
    ({}.keys(), "dict_keys" + JSON, "return a list instead"),
    (1j, "a complex" + JSON, "return a string instead"),
    (math.nan, "the number nan" + JSON, "return None or a string instead"),
    ((1, math.inf), "a tuple with the number inf at `1`" + JSON, "return None or a string instead"),
    (10**5000, "an integer with too many digits" + JSON, "return `hex(...)` of it instead"),
    ({(1, 2): 3}, "a dict with the key (1, 2), a tuple" + JSON, "use strings as keys"),
    (
        {1: "a", "1": "b"},
        "a dict with the keys 1 and '1', which are the same key in JSON",
        "use strings as keys",
    ),
    (
        {"null": 1, None: 2},
        "a dict with the keys 'null' and None, which are the same key in JSON",
        "use strings as keys",
    ),
    (
        [{True: 1, "true": 2}],
        "a list with a dict with the keys True and 'true' at `0`, which are the same key in JSON",
        "use strings as keys",
    ),
    (
        {1.5: 1, "1.5": 2},
        "a dict with the keys 1.5 and '1.5', which are the same key in JSON",
        "use strings as keys",
    ),
    (
        {Number.ONE: 1, "1": 2},
        "a dict with the keys <Number.ONE: 1> and '1', which are the same key in JSON",
        "use strings as keys",
    ),
    ({math.inf: 1}, "a dict with the key inf, a float" + JSON, "use strings as keys"),
    (CYCLE, "a list with a list that contains itself at `1.a`" + JSON, "return a value without it"),
    (deep(5000), "a value that is nested too deeply", "return a string instead"),
]


@pytest.mark.parametrize(("value", "what", "remedy"), CASES, ids=lambda value: str(type(value).__name__))
def test_a_result_that_is_not_json_is_described_with_a_remedy(tmp_path, value, what, remedy):
    assert describe(value) == {"what": what, "remedy": remedy}
    path = str(tmp_path / "a.1")
    write_result(files_at(path), value)
    assert results.read_value(state_file(path)) == (None, "repr")
    problem = results.read_problem(state_file(path))
    assert (problem.what, problem.remedy) == (what, remedy)


def test_a_value_that_cannot_be_described_has_its_repr(tmp_path):
    path = str(tmp_path / "a.1")
    write_result(files_at(path), [Opaque()])
    problem = results.read_problem(state_file(path))
    assert problem.what.endswith(", which is not JSON")
    assert problem.remedy == "return a string instead"


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
KEYS = (
    st.text(max_size=3)
    | st.integers(-3, 3)
    | st.booleans()
    | st.none()
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3).map(collections.OrderedDict)
        | st.lists(inner, max_size=2).map(lambda items: types.SimpleNamespace(items=items).items)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_a_result_is_json_if_it_loses_nothing_as_json(tmp_path_factory, value):
    """What is kept as JSON has as many keys as it had; of all else, it is known why."""
    path = str(tmp_path_factory.getbasetemp() / "any.1")
    for suffix in results.ADOPTED_SUFFIXES:
        pathlib.Path(path + suffix).unlink(missing_ok=True)
    write_result(files_at(path), value)
    read, kind = results.read_value(state_file(path))
    assert (kind == "json") == (count(value) == count(json.loads(json.dumps(value))))
    if kind == "json":
        assert (describe(value), count(read)) == ({}, count(value))
    else:
        assert "which are the same key in JSON" in describe(value)["what"]


def count(value):
    """How many values there are in a value."""
    if isinstance(value, dict):
        return 1 + sum(map(count, value.values()))
    return 1 + sum(map(count, value)) if isinstance(value, (list, tuple)) else 1


@given(VALUES, st.randoms())
def test_the_path_leads_to_what_is_not_json(value, random):
    holder = {"root": value}
    found, path = holder, ["root"]
    while isinstance(found[path[-1]], (list, dict)) and found[path[-1]] and random.random() < 0.8:
        found = found[path[-1]]
        path.append(random.choice(list(found) if isinstance(found, dict) else range(len(found))))
    if isinstance(found, tuple):
        return
    found[path[-1]] = Point()
    what = describe(holder)["what"]
    shown = ".".join(map(str, path))
    assert (
        what == f"a dict with a Point at `{shown}`, which is not JSON"
        or "same key" in what
        or len(shown) > 60
    )
