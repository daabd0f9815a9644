"""Turns the objects of a record into events: a record may be corrupt, or of another version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.record.events import KEYS, KINDS, Event, TasksPlanned, annotation_of

if TYPE_CHECKING:
    from typing import Any

# No clock and no kernel returns larger numbers, and no view can show them.
_LIMIT = 2**63
# By the kind of an event, and the keys and types of a record that had all of its fields, in order and of the
# right types: where in the record numbers are, whose size must be checked each time.
_shapes: dict[tuple[object, ...], list[int]] = {}
# What a task returned: any value, of any size.
_ANYTHING: tuple[type, ...] = (object,)
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "None": (type(None),),
    "bool": (bool,),
    "dict": (dict,),
    "float": (int, float),
    "int": (int,),
    "str": (str,),
    "tuple": (list,),
}
# Filled when the first event of a kind is read: a run reads none, and a record may have a million.
_fields: dict[type[Event], tuple[tuple[str, tuple[type, ...]], ...]] = {}


def from_record(record: dict[str, Any]) -> Event | None:
    """The event in an object of a record; None for a kind that this version does not know.

    Keys that this version does not know are left out. Raises TypeError if a field without a default is
    missing or has another type, because a record may be corrupt.
    """
    event = record.get("event")
    if not isinstance(event, str):
        raise TypeError("`event` is not str")
    kind = KINDS.get(event)
    if kind is None:
        return None
    # A record has a million lines of a few dozen shapes.
    shape = (kind, *record, *map(type, record.values()))
    numbers = _shapes.get(shape)
    if numbers is not None:
        values = list(record.values())
        if all(-_LIMIT < values[index] < _LIMIT for index in numbers):
            return kind.from_tuple(values[1:])
    fields = {}
    for name, kinds in _fields_of(kind):
        if name in record:
            value = fields[name] = record[name]
            if kinds is _ANYTHING:
                continue
            if not isinstance(value, kinds) or (isinstance(value, (int, float)) and not abs(value) < _LIMIT):
                raise TypeError(f"`{name}` is not {annotation_of(kind, name)}")
    if kind is TasksPlanned and not _are_texts((*fields.get("tasks", ()), *fields.get("items", {}).values())):
        raise TypeError("`tasks` or `items` has more than texts")
    found = kind.__new__(kind)
    # Not a generated `__init__`, which has another message for a missing field.
    Frozen.__init__(found, **fields)
    if kind is not TasksPlanned and tuple(record) == KEYS[event]:
        _shapes[shape] = [
            index
            for index, (name, kinds) in enumerate(_fields_of(kind), start=1)
            if kinds is not _ANYTHING and type(fields[name]) in (int, float)
        ]
    return found


def _are_texts(values: tuple[object, ...]) -> bool:
    # They are names, by which tasks are looked up.
    return all(isinstance(value, str) for value in values)


def _fields_of(kind: type[Event]) -> tuple[tuple[str, tuple[type, ...]], ...]:
    """The fields of a kind, each with the types that it can have in JSON."""
    if kind not in _fields:
        _fields[kind] = tuple((name, _types(annotation_of(kind, name))) for name in kind._fields)
    return _fields[kind]


def _types(annotation: str) -> tuple[type, ...]:
    if annotation == "Any":
        return _ANYTHING
    kinds = [kind.partition("[")[0] for kind in annotation.split(" | ")]
    return tuple(found for kind in kinds for found in _JSON_TYPES[kind])
