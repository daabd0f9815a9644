"""The combinations of a matrix.

The rules are those of GitHub Actions
(https://docs.github.com/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations):
`exclude` comes before `include`, and a later entry of `include` does not match the values that
an earlier one adds.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from mprun.jobfile.instance_names import (
    as_label,
    distinct_values,
    identity_of,
    name_parts,
    suffix_of,
    unique_labels,
    yaml_kind,
)
from mprun.jobfile.references import ReferenceProblem
from mprun.jobfile.syntax.scalars import kind_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    # The values of an instance, one for each key, and the suffix of its name.
    Combination = tuple[tuple[Any, ...], str]

# Comparisons of a combination with the entries of `include` and `exclude`.
MAX_STEPS = 2_000_000
# Comparisons of a value on an axis with a mapping in an entry, and what mappings in entries match together.
MAX_MAPPINGS = 100_000


class TooManyCombinations(Exception):
    """The matrix would take too long to expand."""


def combinations(
    axes: Mapping[str, Sequence[Any]],
    include: Sequence[Mapping[str, Any]] = (),
    exclude: Sequence[Mapping[str, Any]] = (),
) -> tuple[tuple[str, ...], Iterator[Combination]]:
    """The keys of a matrix, and for each of its instances their values and its name's suffix.

    The axes come in their order, and the last varies fastest; then the keys that only
    `include` names. An instance that lacks one has None for it, and its suffix does not
    show it. The same value twice on an axis counts once, and so does the same entry. An
    entry of `exclude` with a key that is not an axis leaves nothing out. A mapping in an entry matches
    every one that has its keys with these values.

    Values are compared as YAML would: `1` is neither `true` nor `"1"`; `1` and `1.0` are
    the same number to an entry, but two values on an axis. Suffixes are unique: where
    texts would look alike, one is quoted or has the beginning of its hash.

    Raises TooManyCombinations.
    """
    matrix = _Matrix(axes, include, exclude)
    return matrix.keys, matrix.combinations()


def refuse_other(found: Any, written: Any) -> None:
    """Raise ReferenceProblem if a value that is known only during the run is not a matrix.

    `written` is the node that was resolved. An axis may be an empty list: then there are no instances.
    """
    if not isinstance(found, dict):
        raise ReferenceProblem(f"`matrix` must be a mapping of lists, but `{written}` is {kind_of(found)}")
    for key, value in found.items():
        if isinstance(value, list):
            if key not in ("include", "exclude") or all(isinstance(entry, dict) for entry in value):
                continue
            raise ReferenceProblem(f"`matrix.{key}` must be a list of mappings")
        node = written.get(key) if isinstance(written, dict) else None
        but = f"`{node}` is {kind_of(value)}" if node is not None else f"it is {kind_of(value)}"
        raise ReferenceProblem(f"`matrix.{key}` must be a list, but {but}")


class _Matrix:
    """A matrix, with the label of each of its values."""

    def __init__(
        self,
        axes: Mapping[str, Sequence[Any]],
        include: Sequence[Mapping[str, Any]],
        exclude: Sequence[Mapping[str, Any]],
    ) -> None:
        self._axes = axes
        self._include = include
        # The different values of an axis and their forms, and how many were compared with mappings.
        self._distinct: dict[str, list[tuple[Any, Hashable]]] = {}
        self._comparisons = 0
        indexes = {key: index for index, key in enumerate(axes)}
        self._added = _Entries(indexes)
        self._left_out = _Entries(indexes)
        for entry in include:
            for key in entry:
                indexes.setdefault(key, len(indexes))
        # Before any entry is looked at closely.
        if len(indexes) * len(include) > MAX_STEPS:
            raise TooManyCombinations(f"too many keys in `include`: {len(indexes):,}")
        for number, entry in enumerate(include):
            self._added.add(number, self._forms(entry))
        for number, entry in enumerate(exclude):
            if entry.keys() <= axes.keys():
                self._left_out.add(number, self._forms(entry))
        self.keys = tuple(indexes)
        self._indexes = indexes
        self._refuse_too_many()
        labels = zip(self.keys, unique_labels(self.keys), strict=True)
        self._parts = {key: name_parts(label, self._values_of(key)) for key, label in labels}

    def _forms(self, entry: Mapping[str, Any]) -> dict[str, list[Hashable]]:
        """The forms of the values that an entry matches, by axis.

        A mapping matches every one that has its keys with these values.
        """
        return {key: self._forms_on(key, value) for key, value in entry.items() if key in self._axes}

    def _forms_on(self, key: str, value: Any) -> list[Hashable]:
        if not isinstance(value, dict):
            return [_form(value)]
        if key not in self._distinct:
            self._distinct[key] = [(other, _form(other)) for other in distinct_values(self._axes[key])]
        self._comparisons += len(self._distinct[key])
        if self._comparisons > MAX_MAPPINGS:
            raise TooManyCombinations("too many mappings in `include` and `exclude`")
        matching = [form for other, form in self._distinct[key] if _contains(other, value)]
        return matching or [_form(value)]

    def _values_of(self, key: str) -> list[Any]:
        return [*self._axes.get(key, ()), *(entry[key] for entry in self._include if key in entry)]

    def _refuse_too_many(self) -> None:
        count = 1
        for values in self._axes.values():
            count *= len(values)
        if count * (1 + self._added.steps + self._left_out.steps) > MAX_STEPS:
            entries = len(self._include) + len(self._left_out)
            with_entries = f" to compare with {entries:,} entries" if entries else ""
            # The digits of a larger number would say nothing.
            many = f"{count:,}" if count < 10**12 else f"over {10**12:,}"
            raise TooManyCombinations(f"too many combinations: {many}{with_entries}")

    def combinations(self) -> Iterator[Combination]:
        matched: set[int] = set()
        if self._axes:
            yield from self._originals(matched)
        yield from self._others(matched)

    def _originals(self, matched: set[int]) -> Iterator[Combination]:
        """The product of the axes; adds the entries of `include` that were merged to `matched`."""
        from itertools import product

        axes = [distinct_values(values) for values in self._axes.values()]
        parts = [
            [self._parts[key][identity_of(value)] for value in values]
            for key, values in zip(self._axes, axes, strict=True)
        ]
        if not self._include and not self._left_out:
            # Without entries, which saves time for very many combinations.
            for values, shown in zip(product(*axes), product(*parts), strict=True):
                yield values, suffix_of(shown)
            return
        forms = [[_form(value) for value in values] for values in axes]
        merged = [self._extras(entry) for entry in self._include]
        extra = len(self.keys) - len(axes)
        for values, shown, form in zip(product(*axes), product(*parts), product(*forms), strict=True):
            if self._left_out.any_matches(form):
                continue
            added = self._added.that_match(form)
            matched.update(added)
            more = [None] * extra
            more_shown: list[str | None] = [None] * extra
            for number in added:
                for index, value, part in merged[number]:
                    more[index], more_shown[index] = value, part
            yield (*values, *more), suffix_of([*shown, *filter(None, more_shown)])

    def _extras(self, entry: Mapping[str, Any]) -> list[tuple[int, Any, str]]:
        """What an entry adds to a combination: the index after the axes, the value, its part of the name."""
        first = len(self._axes)
        return [
            (self._indexes[key] - first, value, self._parts[key][identity_of(value)])
            for key, value in entry.items()
            if key not in self._axes
        ]

    def _others(self, matched: set[int]) -> Iterator[Combination]:
        """The entries of `include` that matched no combination: each is a combination of its own."""
        seen = set()
        for number, entry in enumerate(self._include):
            if number not in matched:
                suffix = suffix_of(
                    [self._parts[key][identity_of(entry[key])] for key in self.keys if key in entry]
                )
                if suffix not in seen:
                    seen.add(suffix)
                    yield tuple([entry.get(key) for key in self.keys]), suffix


class _Entries:
    """Entries of `include` or `exclude`, by the axes that they name and their values."""

    def __init__(self, indexes: Mapping[str, int]) -> None:
        self._indexes = dict(indexes)
        # What mappings add beyond the first.
        self._added = 0
        self._by_axes: dict[tuple[int, ...], dict[tuple[Hashable, ...], list[int]]] = {}

    def __len__(self) -> int:
        return sum(len(numbers) for entries in self._by_axes.values() for numbers in entries.values())

    @property
    def steps(self) -> int:
        """The steps to compare one combination and to add what matches, at most."""
        return sum(max(map(len, entries.values())) for entries in self._by_axes.values())

    def add(self, number: int, forms: Mapping[str, list[Hashable]]) -> None:
        """Add an entry: on each axis that it names, the forms of the values that it matches."""
        from itertools import product

        named = sorted(((self._indexes[key], found) for key, found in forms.items()), key=itemgetter(0))
        entries = self._by_axes.setdefault(tuple([index for index, _ in named]), {})
        for more, values in enumerate(product(*[found for _, found in named])):
            entries.setdefault(values, []).append(number)
            self._added += more > 0
            if self._added > MAX_MAPPINGS:
                raise TooManyCombinations("too many mappings in `include` and `exclude`")

    def any_matches(self, form: tuple[Hashable, ...]) -> bool:
        """Whether an entry matches a combination."""
        for axes, entries in self._by_axes.items():
            if tuple([form[index] for index in axes]) in entries:
                return True
        return False

    def that_match(self, form: tuple[Hashable, ...]) -> list[int]:
        """The numbers of the entries that match a combination, in order."""
        found: list[int] = []
        for axes, entries in self._by_axes.items():
            found += entries.get(tuple([form[index] for index in axes]), ())
        found.sort()
        return found


def _form(value: Any) -> Hashable:
    """A key that is equal for values that an entry considers the same."""
    kind = yaml_kind(value)
    if kind == "int" or (kind == "float" and not math.isnan(value)):
        return "number", value
    return kind, as_label(value)


def _contains(value: Any, part: Any) -> bool:
    """Whether a value has what an entry asks for: of a mapping, each of its keys."""
    if isinstance(part, dict):
        return isinstance(value, dict) and all(
            key in value and _contains(value[key], below) for key, below in part.items()
        )
    return _form(value) == _form(part)
