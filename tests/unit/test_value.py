"""Frozen values: what they promise in place of dataclasses."""

from __future__ import annotations

import pickle

import pytest

from mprun.value import Value


class Point(Value):
    x: int
    y: int = 0


class Named(Point):
    name: str


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
