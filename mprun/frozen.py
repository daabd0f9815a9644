"""The base class of mprun's value classes: frozen, slotted, keyword-only.

A start of a job imports some seventy value classes, so what a library would add to the import counts more
than what it would save later. Compared, on Python 3.11 unless noted:

- `dataclasses`: 10 to 35 ms to import, and 1 ms for each class that it generates
  (`python benchmarks/value_classes.py`).
- `attrs`: generates code for each class as dataclasses does, and takes twice as long to import
  (`python -X importtime -c 'import attr'`).
- `msgspec`: tried in full, with every value and event a `msgspec.Struct`. It adds 15 ms of CPU time to every
  command (7.8 ms on 3.13); 1,000 no-op tasks take 0.99 of the time. It also rejects lone surrogates,
  which file names contain, and writes NaN as null. Reading a record of 40,000 tasks takes 0.36 of the time.

Look again when a library's import takes less than 2 ms (a msgspec without `typing_extensions`, `uuid` and
`decimal`; lazy imports of PEP 810 in every supported Python), or when reading large records matters more than
the start. Type checkers treat these classes as dataclasses.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self


class _Setters:
    """The setters of a class's slots, collected when the first instance is created.

    A run never instantiates half of the classes that it imports, and setting an attribute of a new class
    takes as long as creating the class.
    """

    def __get__(self, instance: Frozen | None, cls: type[Frozen]) -> tuple[Any, ...]:
        # The slot's own setter bypasses `__setattr__`, which raises.
        cls._setters = setters = tuple([(name, getattr(cls, name).__set__) for name in cls._fields])
        return setters


_SETTERS = _Setters()


class _Getter:
    """A function that returns all fields of a value as a tuple, created when it is first used."""

    def __get__(self, instance: Frozen | None, cls: type[Frozen]) -> Callable[[Frozen], tuple[Any, ...]]:
        names = cls._fields
        getter = (
            attrgetter(*names) if len(names) > 1 else lambda value: tuple([getattr(value, n) for n in names])
        )
        # A static method, because the lambda would be bound to the value.
        cls._getter = staticmethod(getter)
        return getter


_GETTER = _Getter()


# From so many values of a class on, it saves time to compile its constructor: see `compile_init`.
MIN_TO_COMPILE = 1000


@dataclass_transform(kw_only_default=True, frozen_default=True)
class FrozenType(type):
    """The metaclass of `Frozen`: turns annotations into slots and keeps the defaults in a table."""

    _fields: tuple[str, ...]
    _defaults: dict[str, Any]
    _setters: tuple[tuple[str, Callable[[Frozen, Any], None]], ...]
    _getter: Callable[[Frozen], tuple[Any, ...]]

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> FrozenType:
        """Create the class; its module must have `from __future__ import annotations`."""
        annotations = namespace.get("__annotations__", {})
        own = tuple([field for field, kind in annotations.items() if not kind.startswith("ClassVar")])
        namespace["_defaults"] = defaults = {}
        fields: tuple[str, ...] = ()
        for base in bases:
            if isinstance(base, FrozenType):
                defaults.update(base._defaults)
                fields += base._fields
        for field in own:
            if field in namespace:
                defaults[field] = namespace.pop(field)
        namespace["__slots__"] = own
        namespace["_fields"] = fields + own
        namespace["_setters"] = _SETTERS
        namespace["_getter"] = _GETTER
        return super().__new__(mcls, name, bases, namespace)

    def compile_init(cls) -> None:
        """Generate an `__init__` for a class with thousands of instances.

        It takes a third less time than the general one (`python benchmarks/value_classes.py`); generating it
        takes as long as creating 150 values. Do not call it on a class that has subclasses: they would
        inherit the `__init__`.
        """
        if "__init__" in vars(cls):
            return
        names = {f"set_{field}": set_field for field, set_field in cls._setters}
        parameters = [
            f"{field}=default_{field}" if field in cls._defaults else field for field in cls._fields
        ]
        lines = [f"def __init__(self, *, {', '.join(parameters)}):"]
        lines += [f"    set_{field}(self, {field})" for field in cls._fields]
        names.update({f"default_{field}": value for field, value in cls._defaults.items()})
        exec("\n".join(lines), names)  # noqa: S102  field names are identifiers
        cls.__init__ = names["__init__"]  # type: ignore[misc]


class Frozen(metaclass=FrozenType):
    """An immutable value; its fields are the annotations of its class and of its base classes.

    The constructor takes keywords only. A missing field without a default and an unknown field are
    TypeErrors. Two values are equal if they have the same class and equal fields. Instances share
    the defaults, so defaults must be immutable.
    """

    _fields: ClassVar[tuple[str, ...]]
    _defaults: ClassVar[dict[str, Any]]
    _setters: ClassVar[tuple[tuple[str, Callable[[Frozen, Any], None]], ...]]

    def __init__(self, **fields: Any) -> None:
        if len(fields) < len(self._fields) and self._defaults:
            fields = {**self._defaults, **fields}
        try:
            for name, set_field in self._setters:
                set_field(self, fields[name])
        except KeyError:
            raise TypeError(self._field_error(fields)) from None
        if len(fields) > len(self._fields):
            raise TypeError(self._field_error(fields))

    def _field_error(self, fields: dict[str, Any]) -> str:
        unknown = [name for name in fields if name not in self._fields]
        if unknown:
            return f"{type(self).__name__} has no field `{unknown[0]}`"
        missing = [name for name in self._fields if name not in fields and name not in self._defaults]
        return f"{type(self).__name__} needs the field `{missing[0]}`"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: `{name}` cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: `{name}` cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and type(other) is type(self) and self.to_tuple() == other.to_tuple()

    def __hash__(self) -> int:
        return hash((type(self), self.to_tuple()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.to_dict())

    def to_tuple(self) -> tuple[Any, ...]:
        """The values of the fields, in the order of declaration."""
        return type(self)._getter(self)

    @classmethod
    def from_tuple(cls, values: Iterable[Any]) -> Self:
        """The inverse of `to_tuple`. Raises ValueError if the number of values is wrong."""
        value = cls.__new__(cls)
        for (_, set_field), field in zip(cls._setters, values, strict=True):
            set_field(value, field)
        return value

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; nested values are not converted."""
        return dict(zip(self._fields, self.to_tuple(), strict=True))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**self.to_dict(), **changes})


def _rebuild(cls: type[Frozen], fields: dict[str, Any]) -> Frozen:
    return cls(**fields)
