"""The base of every value in mprun: frozen, slotted, keyword-only.

The standard library's dataclasses would do the same. They are not used because a run
starts by importing some thirty value classes: `dataclasses` takes 10 to 35 ms to import
and 1 ms for each class, together more than a whole hand-written multiprocessing script
takes (`python benchmarks/value_classes.py` measures it; type checkers treat both alike).
"""

from __future__ import annotations

from _operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self


class _Setters:
    """The setters of a class's slots, found when its first instance is made.

    Of the classes that a run imports half are never used, and to set an attribute of a class
    just made takes as long as to make it.
    """

    def __get__(self, instance: Frozen | None, cls: type[Frozen]) -> tuple[Any, ...]:
        # A slot's own setter passes by `__setattr__`, which refuses.
        cls._setters = setters = tuple([(name, getattr(cls, name).__set__) for name in cls._fields])
        return setters


_SETTERS = _Setters()


class _Getter:
    """What gives all fields of a value in one call, as a tuple even of one: found as the setters are."""

    def __get__(self, instance: Frozen | None, cls: type[Frozen]) -> Callable[[Frozen], tuple[Any, ...]]:
        names = cls._fields
        getter = (
            attrgetter(*names) if len(names) > 1 else lambda value: tuple([getattr(value, n) for n in names])
        )
        # As a static method, else the fallback would be bound to the value.
        cls._getter = staticmethod(getter)
        return getter


_GETTER = _Getter()


@dataclass_transform(kw_only_default=True, frozen_default=True)
class ValueType(type):
    """Make slots of a class's annotations and keep its defaults beside them."""

    _fields: tuple[str, ...]
    _defaults: dict[str, Any]
    _setters: tuple[tuple[str, Callable[[Frozen, Any], None]], ...]
    _getter: Callable[[Frozen], tuple[Any, ...]]

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> ValueType:
        """Create the class; its module must have `from __future__ import annotations`."""
        annotations = namespace.get("__annotations__", {})
        own = tuple([field for field, kind in annotations.items() if not kind.startswith("ClassVar")])
        namespace["_defaults"] = defaults = {}
        fields: tuple[str, ...] = ()
        for base in bases:
            if isinstance(base, ValueType):
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
        """Make a constructor for a class of which there will be thousands.

        It takes a third less time (`python benchmarks/value_classes.py`); to make it takes as
        long as 150 values do. Not for a class that others derive from: they would inherit it.
        """
        if "__init__" in vars(cls):
            return
        names = {f"set_{field}": set_field for field, set_field in cls._setters}
        shown = [f"{field}=given_{field}" if field in cls._defaults else field for field in cls._fields]
        lines = [f"def __init__(self, *, {', '.join(shown)}):"]
        lines += [f"    set_{field}(self, {field})" for field in cls._fields]
        names.update({f"given_{field}": value for field, value in cls._defaults.items()})
        exec("\n".join(lines), names)  # noqa: S102  fields are Python's own names
        cls.__init__ = names["__init__"]  # type: ignore[misc]


class Frozen(metaclass=ValueType):
    """A frozen value; its fields are the annotations of its class and of its base.

    Made by keyword; a field that has no default must be given, an unknown one is a
    TypeError. Equal to another of the same class with equal fields. Defaults are shared
    between instances, so they must be immutable.
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
            raise TypeError(self._misfit(fields)) from None
        if len(fields) > len(self._fields):
            raise TypeError(self._misfit(fields))

    def _misfit(self, fields: dict[str, Any]) -> str:
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
        """The values of the fields, in the order of their declaration."""
        return type(self)._getter(self)

    @classmethod
    def from_tuple(cls, values: Iterable[Any]) -> Self:
        """The value whose `to_tuple` this is. Raises ValueError where that is none of this class."""
        value = cls.__new__(cls)
        for (_, set_field), given in zip(cls._setters, values, strict=True):
            set_field(value, given)
        return value

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; values inside are not converted."""
        return dict(zip(self._fields, self.to_tuple(), strict=True))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{**self.to_dict(), **changes})


def _rebuild(cls: type[Frozen], fields: dict[str, Any]) -> Frozen:
    return cls(**fields)
