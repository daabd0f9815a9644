"""The errors of params: in words that show no secret, at the declaration or at the `with` that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote, suggest
from mprun.errors import UsageError
from mprun.jobfile.model import param_variable
from mprun.jobfile.param_inputs import undeclared
from mprun.jobfile.param_types import MAX_CHOICES
from mprun.jobfile.resolution import as_text
from mprun.jobfile.syntax.document import span_of
from mprun.jobfile.syntax.scalars import OutOfRange, resolve, type_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from mprun.jobfile.model import Origin
    from mprun.jobfile.param_inputs import ParamInput
    from mprun.jobfile.param_types import Param, ParamError
    from mprun.jobfile.patterns import MatchError
    from mprun.jobfile.syntax.document import Document

    Path = tuple[str | int, ...]

# Characters: a longer text of the file is not offered in a help text.
_MAX_WRITTEN = 80
# Characters of a name in a help text.
_MAX_NAME = 60


class ParamErrors:
    """Collects the errors of the params of one file; the arguments are as for `resolve_params`."""

    def __init__(self, document: Document, path: Path, used_by: Origin | None) -> None:
        self._document = document
        self._path = path
        self._used_by = used_by
        self.diagnostics: list[Diagnostic] = []

    def undeclared(self, name: str, declared: Collection[str]) -> None:
        """`with` has a param that the recipe does not declare. Raises UsageError if there is no recipe."""
        if self._used_by is None:
            raise UsageError(undeclared(name, declared))
        recipe = quote(self._document.source.path)
        message = f"unknown param {quote(name)} of recipe {recipe}"
        help = suggest(name, declared, "params") if len(declared) <= MAX_CHOICES else ""
        self._note_with(self._used_by, ("with", name), message, help, key=True)

    def missing(self, param: Param) -> None:
        """A required param has no value."""
        name = param.name
        if self._used_by is not None:
            message = f"missing param {quote(name)} of recipe {quote(self._document.source.path)}"
            self._note_with(
                self._used_by, ("with",), message, f"add `{name[:_MAX_NAME]}:` to `with`", key=True
            )
        else:
            self._note(name, f"missing param {quote(name)}", _how_to_give(param))

    def visible_secret(self, param: Param) -> None:
        """A secret was given where others can see it."""
        reason = "every user of the machine can read the command line"
        message = f"secret param {quote(param.name)} is not allowed on the command line: {reason}"
        self._note(param.name, message, _how_to_give(param))

    def invalid_input(self, param: Param, given: ParamInput, error: ParamError) -> None:
        """A value from outside violates the declaration."""
        message = f"param {quote(param.name)} {error.must}, but {given.where} provides "
        if param.secret or given.hidden:
            # Not at `with`, because its line would be quoted.
            self._note(param.name, f"{message}another value", "")
        elif given.is_text:
            shown = "nothing" if error.value == "" else quote(as_text(error.value))
            self._note(param.name, f"{message}{shown}", error.help())
        elif self._used_by is None:
            self._note(param.name, f"{message}{_described(error.value)}", error.help())
        else:
            path = ("with", param.name)
            written = _written(self._used_by.document, (*self._used_by.path, *path), error.value)
            help = error.help(written, of_file=True)
            self._note_with(self._used_by, path, f"{message}{_described(error.value)}", help)

    def invalid_declared_value(self, param: Param, what: str, error: ParamError, *steps: str | int) -> None:
        """A value of the declaration itself, at these steps inside it, violates it."""
        message = f"{what} of param {quote(param.name)} {error.must}, not {_described(error.value)}"
        path = (*self._path, param.name, *steps)
        written = _written(self._document, path, error.value)
        of_reference = "${" in _text_at(self._document, path)
        self._note(param.name, message, error.help(written, of_file=not of_reference), *steps)

    def invalid_pattern(self, param: Param, problem: str) -> None:
        """Its pattern is not a regular expression."""
        message = f"invalid regular expression in `pattern` of param {quote(param.name)}: {problem}"
        self._note(param.name, message, "", "pattern")

    def unmatched(self, param: Param, error: MatchError) -> None:
        """Its pattern takes so long that it may match or not."""
        message = f"the `pattern` of param {quote(param.name)} cannot be matched: {error}"
        self._note(param.name, message, "write it without nested repetitions", "pattern")

    def unused_default(self, param: Param) -> None:
        """It is required, and has a default."""
        message = f"param {quote(param.name)} is required, so its default would never be used"
        self._note(param.name, message, "remove one of them", "default", key=True)

    def _note(self, name: str, message: str, help: str, *steps: str | int, key: bool = False) -> None:
        """Add an error of a declaration, at the param's name or at the steps inside it."""
        path = (*self._path, name, *steps)
        span = span_of(self._document, path, key=key or not steps)
        self.diagnostics.append(
            Diagnostic(message=message, source=self._document.source, span=span, help=help)
        )

    def _note_with(self, used_by: Origin, path: Path, message: str, help: str, key: bool = False) -> None:
        """Add an error of a value in the `with` of a task."""
        document, path = used_by.document, (*used_by.path, *path)
        span = span_of(document, path, key=key)
        self.diagnostics.append(Diagnostic(message=message, source=document.source, span=span, help=help))


def _how_to_give(param: Param) -> str:
    value = "@FILE" if param.secret else "VALUE"
    name = param.name[:_MAX_NAME]
    return f"set it with `-p {name}={value}` or `{param_variable(name)}`"


def _written(document: Document, path: Path, value: Any) -> str:
    """The text of a plain scalar in the file; empty if the value is not written there."""
    text = _text_at(document, path)
    try:
        value_of_text = resolve(text)
    except OutOfRange:
        return ""
    return text if type(value_of_text) is type(value) and value_of_text == value else ""


def _text_at(document: Document, path: Path) -> str:
    """The beginning of the text of a value in the file."""
    span = span_of(document, path)
    begin = span.column - 1
    return document.source.lines[span.line - 1][begin : begin + min(span.width, _MAX_WRITTEN)]


def _described(value: Any) -> str:
    """A value in words: its type, and the value itself if it is a scalar."""
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        return f"a {type_name(value)}"
    return f"the {type_name(value)} {quote(as_text(value))}"
