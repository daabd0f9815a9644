"""Frozen values behave as frozen dataclasses do."""

from __future__ import annotations

import pickle

import pytest

from mprun.frozen import Frozen, FrozenType


class Point(Frozen):
    x: int
    y: int = 0


class Named(Point):
    name: str


class One(Frozen):
    only: object


class Hot(Frozen):
    a: object
    b: object = "b"


def test_fields_come_from_the_annotations_of_class_and_base():
    named = Named(x=1, name="a")
    assert named.to_dict() == {"x": 1, "y": 0, "name": "a"}


def test_missing_and_unknown_fields_are_type_errors():
    with pytest.raises(TypeError, match="needs the field `x`"):
        Point()
    with pytest.raises(TypeError, match="has no field `z`"):
        Point(x=1, z=2)


def test_value_is_frozen_and_has_no_dict():
    point = Point(x=1)
    with pytest.raises(AttributeError):
        point.x = 2
    with pytest.raises(AttributeError):
        del point.x
    with pytest.raises(AttributeError):
        _ = point.__dict__


def test_values_are_equal_by_class_and_fields():
    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Named(x=1, name="")
    assert len({Point(x=1), Point(x=1)}) == 1


def test_value_survives_pickling_and_replace():
    point = pickle.loads(pickle.dumps(Point(x=1, y=2)))
    assert point == Point(x=1, y=2)
    assert point.replace(y=3) == Point(x=1, y=3)


def test_from_tuple_is_the_inverse_of_to_tuple():
    for value in (Point(x=1, y=2), Named(x=1, name="a"), One(only=(1,))):
        assert type(value).from_tuple(value.to_tuple()) == value
    with pytest.raises(ValueError, match="shorter"):
        Point.from_tuple((1,))


def test_a_compiled_init_creates_the_same_values():
    plain = [Hot(a=1), Hot(a=1, b="x"), Hot(a=None, b=())]
    Hot.compile_init()
    Hot.compile_init()
    assert [Hot(a=1), Hot(a=1, b="x"), Hot(b=(), a=None)] == plain
    with pytest.raises(TypeError, match="'a'"):
        Hot(b=1)
    with pytest.raises(TypeError, match="'c'"):
        Hot(a=1, c=2)
    with pytest.raises(AttributeError):
        Hot(a=1).a = 2
    assert pickle.loads(pickle.dumps(Hot(a=1))) == Hot(a=1)


def test_type_checkers_treat_values_as_dataclasses():
    assert hasattr(FrozenType, "__dataclass_transform__")
