"""Gives every param of a file its value: from outside, or its default; both are checked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote, remember_secret
from mprun.errors import JobFileError
from mprun.jobfile.param_inputs import UNRECORDED
from mprun.jobfile.param_types import KINDS, ParamError, declare, parse, require_valid, typed
from mprun.jobfile.patterns import MatchError, pattern_problem
from mprun.jobfile.references import Reference, ReferenceProblem
from mprun.jobfile.resolution import HIDDEN, contains_secret
from mprun.jobfile.syntax.document import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.model import Origin
    from mprun.jobfile.param_errors import ParamErrors
    from mprun.jobfile.param_inputs import ParamInput
    from mprun.jobfile.param_types import Param
    from mprun.jobfile.references import Closure
    from mprun.jobfile.syntax.document import Document

    Path = tuple[str | int, ...]

# No one would read more.
MAX_DIAGNOSTICS = 100


def read_texts(nodes: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    """Parse the defaults and choices that are one reference to a text, as the type that they must have.

    `nodes` are the declarations before their references were replaced. What cannot be parsed stays.
    """
    for name, raw in declared.items():
        node = nodes.get(name)
        if not isinstance(raw, dict) or not isinstance(node, dict) or raw.get("type") not in KINDS:
            continue
        if isinstance(node.get("default"), Reference):
            raw["default"] = _typed_or_same(raw["type"], raw["default"])
        choices = node.get("enum")
        for number, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, Reference) and raw["type"] != "list":
                raw["enum"][number] = _typed_or_same(raw["type"], raw["enum"][number])


def _typed_or_same(kind: str, value: Any) -> Any:
    try:
        return typed(kind, value)
    except ParamError:
        return value


def typed_closures(closures: Mapping[str, Closure], declared: Mapping[str, Any]) -> dict[str, Closure]:
    """The closures of params, each of which parses a text as the type of its param."""
    return {
        name: closure.replace(read=partial(_read_late, closure, declare(name, declared[name])))
        if name in declared and isinstance(closure.node, Reference)
        else closure
        for name, closure in closures.items()
    }


def _read_late(closure: Closure, param: Param, text: str) -> Any:
    """The value of a param whose text was known too late to be checked with the others."""
    try:
        return typed(param.kind, text)
    except ParamError as error:
        what = "another text" if contains_secret(closure) else f"the text {quote(text)}"
        message = f"param {quote(param.name)} {error.must}, but `{closure.node}` is {what}"
        raise ReferenceProblem(message, closure.node) from None


def resolve_params(
    document: Document,
    declared: Mapping[str, Any],
    given: Mapping[str, ParamInput],
    *,
    path: Path = ("params",),
    used_by: Origin | None = None,
    lenient: bool = False,
    errors: list[Diagnostic] | None = None,
    invalid: set[str] | None = None,
) -> tuple[dict[str, Any], frozenset[str]]:
    """The value of every declared param, and the names of the secret ones.

    `path` is that of `declared` in the document. For a recipe, `used_by` is the task that uses
    it: its `with` has the values, and errors are located there. A param without a value and a
    default is null; a reference in `with` stays one and is not checked. With `lenient`, which
    is for commands that only read the file, a required param without a value becomes a
    reference to itself.

    Raises JobFileError with all errors, none of which shows the value of a secret. With `errors`, it adds
    them to this list, and a param that has one becomes a reference to itself, too; `invalid` gets its name.
    """
    resolver = _ParamResolver(document, path, used_by, lenient)
    params = [declare(name, raw) for name, raw in declared.items()]
    values: dict[str, Any] = {}
    for param in params:
        before = len(resolver.diagnostics)
        values[param.name] = resolver.value(param, given.get(param.name))
        if len(resolver.diagnostics) > before:
            values[param.name] = missing(param.name)
            if invalid is not None:
                invalid.add(param.name)
        if len(resolver.diagnostics) >= MAX_DIAGNOSTICS:
            break
    for name in sorted(given.keys() - declared.keys())[:MAX_DIAGNOSTICS]:
        resolver.errors.undeclared(name, declared)
    if errors is not None:
        errors += resolver.diagnostics[:MAX_DIAGNOSTICS]
    elif resolver.diagnostics:
        raise JobFileError(resolver.diagnostics[:MAX_DIAGNOSTICS])
    return values, frozenset(param.name for param in params if param.secret)


def missing(name: str) -> Reference:
    """What a param is that has no value yet: a reference to itself."""
    return Reference(text=f"params.{name}", root="params", name=name)


class _ParamResolver:
    """Resolves the params of one file, and collects the errors."""

    def __init__(self, document: Document, path: Path, used_by: Origin | None, lenient: bool) -> None:
        self._document = document
        self._path = path
        self._used_by = used_by
        self._lenient = lenient
        self._errors: ParamErrors | None = None

    @property
    def errors(self) -> ParamErrors:
        """What collects the errors."""
        if self._errors is None:
            # Most params have none.
            from mprun.jobfile.param_errors import ParamErrors

            self._errors = ParamErrors(self._document, self._path, self._used_by)
        return self._errors

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """The errors so far."""
        return [] if self._errors is None else self._errors.diagnostics

    def value(self, param: Param, given: ParamInput | None) -> Any:
        """The value of a param; None if there was an error."""
        if given is not None and given.value is UNRECORDED:
            if param.secret:
                return self._missing(param)
            given = given.replace(value=HIDDEN)
        if param.secret and given is not None:
            # Whatever becomes of it, no message shows it.
            remember_secret(given.value)
        sound = self._examine_declaration(param)
        if given is None:
            # A required param with a default is an error of its declaration.
            return self._missing(param) if param.required and param.default is None else param.default
        if param.secret and not given.secret_ok:
            self.errors.visible_secret(param)
            return None
        if not sound:
            return None
        return self._given(param, given)

    def _missing(self, param: Param) -> Any:
        if self._used_by is None and self._lenient:
            return missing(param.name)
        self.errors.missing(param)
        return None

    def _given(self, param: Param, given: ParamInput) -> Any:
        value = plain(given.value)
        try:
            if value is None and not given.is_text:
                if param.required:
                    raise ParamError("must not be null", None)
                return None
            if given.is_text:
                value = parse(param.kind, value)
            elif given.of_reference:
                value = typed(param.kind, value)
            require_valid(param.kind, value, param.enum, param.pattern)
        except ParamError as error:
            self.errors.invalid_input(param, given, error)
            return None
        except MatchError as error:
            self.errors.unmatched(param, error)
            return None
        return value

    def _examine_declaration(self, param: Param) -> bool:
        """Add the errors of a declaration; whether values can be checked against it."""
        before = len(self.diagnostics)
        if param.pattern is not None:
            problem = pattern_problem(param.pattern)
            if problem:
                self.errors.invalid_pattern(param, problem)
        for number, choice in enumerate(param.enum or ()):
            # For a list it has items, which may have any type; null allows nothing.
            if param.kind != "list" and choice is not None:
                what = f"item {number + 1} of `enum`"
                self._examine(param, choice, what, None, None, "enum", number)
        sound = len(self.diagnostics) == before
        if param.required and param.default is not None:
            self.errors.unused_default(param)
        elif sound and param.default is not None:
            self._examine(param, param.default, "default", param.enum, param.pattern, "default")
        return sound

    def _examine(
        self,
        param: Param,
        value: Any,
        what: str,
        enum: tuple[Any, ...] | None,
        pattern: str | None,
        *steps: str | int,
    ) -> None:
        """Add an error if a value of the declaration violates it."""
        try:
            require_valid(param.kind, value, enum, pattern)
        except ParamError as error:
            self.errors.invalid_declared_value(param, what, error, *steps)
        except MatchError as error:
            self.errors.unmatched(param, error)
