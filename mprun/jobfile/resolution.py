"""Resolves references: replaces each by its value, once that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import did_you_mean
from mprun.jobfile.references import (
    Closure,
    Reference,
    ReferenceProblem,
    SiblingReference,
    Template,
    append_text,
    references,
)
from mprun.jobfile.syntax.scalars import kind_of, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.jobfile.references import Scope

# Shown instead of a secret.
HIDDEN = "***"


def resolve(node: Any, resolver: Resolver) -> Any:
    """A compiled tree with every reference replaced by its value.

    A reference that is all of a string keeps the type of its value; inside a longer string, a
    value that is not a string is written as JSON. If `resolver` returns a reference, it stays.
    """
    if isinstance(node, Reference):
        return resolver(node)
    if isinstance(node, Template):
        return _filled(node, resolver)
    if isinstance(node, Closure):
        resolver.spend_closure()
        value = resolve(node.node, resolver.in_scope(node))
        return node.read(value) if node.read is not None and isinstance(value, str) else value
    if isinstance(node, dict):
        return {
            key if isinstance(key, str) else _resolved_key(key, resolver): resolve(value, resolver)
            for key, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        return [resolve(item, resolver) for item in node]
    return node


def _resolved_key(key: Any, resolver: Resolver) -> Any:
    found = resolve(key, resolver)
    if isinstance(found, (dict, list)):
        raise ReferenceProblem(
            f"`{key}` is a {type_name(found)}, which cannot be used as a key", next(references(key))
        )
    return found


def _filled(template: Template, resolver: Resolver) -> Any:
    pieces: list[str | Reference] = []
    for part in template.parts:
        if not isinstance(part, Reference):
            pieces.append(part)
            continue
        value = resolver(part)
        if isinstance(value, Reference):
            pieces.append(value)
        elif isinstance(value, Template):
            resolver.spend_pieces(value.parts, part)
            pieces += value.parts
        else:
            text = as_text(value)
            resolver.spend_pieces((text,), part)
            pieces.append(text)
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(map(str, pieces))
    parts: list[str | Reference] = []
    texts: list[str] = []
    for piece in (*pieces, None):
        if isinstance(piece, str):
            texts.append(piece)
            continue
        append_text(parts, "".join(texts))
        texts = []
        if piece is not None:
            parts.append(piece)
    return Template(parts=tuple(parts))


def as_text(value: Any) -> str:
    """A value as part of a string: a string as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    if type(value) is int:
        # As JSON has it, but without the import, which compiles regular expressions.
        return repr(value)
    import json

    return json.dumps(_shown_inside(value), ensure_ascii=False)


def _shown_inside(node: Any) -> Any:
    """A tree with each unresolved reference replaced by its text."""
    if isinstance(node, (Reference, Template)):
        return str(node)
    if isinstance(node, dict):
        # Other keys are left to JSON, in which `true` is not `True`.
        return {_shown_inside(key): _shown_inside(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_shown_inside(item) for item in node]
    return node


def shown(node: Any) -> Any:
    """A resolved tree for people: unresolved references as the job file writes them."""
    return _shown_inside(node)


def contains_secret(closure: Closure, seen: set[int] | None = None) -> bool:
    """Whether a closure refers to a secret, also through a variable or a param that is a closure.

    `seen` are the ids of the closures that were looked at.
    """
    scope = closure.scope
    seen = set() if seen is None else seen
    seen.add(id(closure))
    for reference in references(closure.node):
        if reference.root == "params" and reference.name in scope.secrets:
            return True
        value = {"params": scope.params, "env": scope.env}.get(reference.root, {}).get(reference.name)
        if isinstance(value, Closure) and id(value) not in seen and contains_secret(value, seen):
            return True
    return False


class Resolver:
    """Finds the value of a reference; with `reveal` that of a secret, too.

    `axes` and `values` are those of an instance; `item` is an axis of that name. `values` are nodes, unless
    `is_plain` says that none has a reference. With `is_check`, nothing keeps what is resolved.
    `is_nested` is whether the scope is that of a closure. Without
    `results`, which takes a reference to a task's result and returns it, such a reference stays.
    Raises ReferenceProblem for an invalid reference.
    """

    def __init__(
        self,
        scope: Scope,
        axes: Sequence[str] = (),
        values: Sequence[Any] = (),
        *,
        results: Callable[[Reference], Any] | None = None,
        reveal: bool = False,
        is_plain: bool = False,
        is_check: bool = False,
        is_nested: bool = False,
    ) -> None:
        self._is_nested = is_nested
        self._scope = scope
        self._is_plain = is_plain
        self._is_check = is_check
        # A task whose list is not known yet has axes, but no values.
        self._of_axis = dict(zip(axes, values, strict=False))
        self._results = results
        self._reveal = reveal

    def in_scope(self, closure: Closure) -> Resolver:
        """The same resolver in the scope of a closure."""
        return Resolver(
            closure.scope,
            closure.axes,
            closure.values,
            results=self._results,
            reveal=self._reveal,
            is_check=self._is_check,
            is_nested=True,
        )

    def spend_closure(self) -> None:
        """Count the resolution of a closure. Raises OutOfBudget."""
        if self._scope.budget is not None:
            self._scope.budget.spend_closure(self._is_nested)

    def spend_nodes(self, value: Any, reference: Reference) -> None:
        """Count a value that is copied in place of a reference. Raises OutOfBudget."""
        if self._scope.budget is not None and isinstance(value, (dict, list)):
            self._scope.budget.spend_nodes(value, reference)

    def spend_pieces(self, pieces: Sequence[str | Reference], reference: Reference) -> None:
        """Count what a reference adds to a string. Raises OutOfBudget."""
        budget = self._scope.budget
        for piece in pieces if budget is not None else ():
            text = piece if isinstance(piece, str) else piece.text
            budget.spend_text(text, not self._is_check, reference)  # type: ignore[union-attr]

    def __call__(self, reference: Reference) -> Any:
        root, name = reference.root, reference.name
        if root == "tasks":
            if isinstance(reference, SiblingReference):
                reference = self._selected(reference)
                if next(references(reference.selector), None) is not None:
                    # The group does not have the value of its instances, such as `item`.
                    return reference
            return reference if self._results is None else _walk(self._results(reference), reference)
        if root == "params":
            value = self._param(reference, name)
            if self._is_check and isinstance(value, (dict, list)) and self._scope.budget is not None:
                self._scope.budget.count_shared(value, reference)
            return value
        if root == "env":
            if name not in self._scope.env:
                # Only a similar name is shown, not all variables.
                help = did_you_mean(name, self._scope.env)
                raise ReferenceProblem(f"environment variable `{name}` is not set", reference, help=help)
            return _walk(resolve(self._scope.env[name], self), reference)
        key = "item" if root == "item" else name
        if key not in self._of_axis:
            return reference
        value = self._of_axis[key]
        return _walk(value if self._is_plain else resolve(value, self), reference)

    def _selected(self, reference: SiblingReference) -> SiblingReference:
        """The reference with the values that select its instance, as far as they are known."""
        resolver = self if reference.closure is None else self.in_scope(reference.closure)
        selector = tuple([(axis, resolve(node, resolver)) for axis, node in reference.selector])
        return reference.selecting(selector, [as_text(_shown_inside(value)) for _, value in selector])

    def _param(self, reference: Reference, name: str) -> Any:
        if name not in self._scope.params:
            known = tuple(self._scope.params)
            raise ReferenceProblem(
                f"unknown param `{name}`", reference, kind="params", word=name, candidates=known
            )
        value = self._scope.params[name]
        if name in self._scope.secrets and not self._reveal:
            return HIDDEN
        if isinstance(value, Reference) and value.root == "params":
            # Missing, which `mprun validate` allows.
            return reference
        # All else is plain, and may be large.
        if isinstance(value, (Closure, Reference, Template)):
            value = resolve(value, self)
        return _walk(value, reference)


def _walk(value: Any, reference: Reference) -> Any:
    """Follow a reference's path into a value."""
    for depth, step in enumerate(reference.path):
        if isinstance(value, (Reference, Template)):
            # Known only during the run: extend the path.
            return _deeper(value, reference, reference.path[depth:])
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, (list, tuple)) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise _no_step(value, step, reference)
    return value


def _deeper(value: Reference | Template, reference: Reference, rest: tuple[str, ...]) -> Reference:
    if isinstance(value, Template):
        raise ReferenceProblem(f"invalid reference `{reference}`: a string has no parts", reference)
    return value.replace(text=".".join((value.text, *rest)), path=(*value.path, *rest))


def _no_step(value: Any, step: str, reference: Reference) -> ReferenceProblem:
    if isinstance(value, dict):
        names = tuple(str(key) for key in value)
        return ReferenceProblem(
            f"invalid reference `{reference}`: unknown key `{step}`",
            reference,
            kind="keys",
            word=step,
            candidates=names,
        )
    if isinstance(value, (list, tuple)):
        what = f"a list of {len(value)} item{'s' if len(value) != 1 else ''}"
    else:
        what = kind_of(value)
    return ReferenceProblem(f"invalid reference `{reference}`: no `{step}` in {what}", reference)


def is_true(value: Any) -> bool:
    """Whether `when` is true: not for false, null, 0, empty values, and `false`, `no`, `off` and `0`."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "no", "off", "0")
    return bool(value)
