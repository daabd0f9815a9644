"""Resolves the params of a job file: their declarations, and the values from outside."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote, remember_secret, suggest
from mprun.errors import JobFileError, UsageError
from mprun.frozen import Frozen
from mprun.jobfile.model import param_variable
from mprun.jobfile.param_types import KINDS, MAX_CHOICES, ParamError, kind_of, parse, require_valid, typed
from mprun.jobfile.patterns import MatchError, pattern_problem
from mprun.jobfile.references import Reference, ReferenceProblem
from mprun.jobfile.resolution import HIDDEN, as_text, contains_secret
from mprun.jobfile.syntax.document import plain, span_of
from mprun.jobfile.syntax.scalars import OutOfRange, loses_characters, resolve, type_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mprun.jobfile.model import Origin
    from mprun.jobfile.references import Closure
    from mprun.jobfile.syntax.document import Document

    Path = tuple[str | int, ...]

# No one would read more.
MAX_DIAGNOSTICS = 100
# Characters: a longer text of the file is not offered in a help text.
_MAX_WRITTEN = 80
# A value that a record shows as `***`: that of a secret, or this text itself.
UNRECORDED: Any = object()
# Characters of a name in a help text.
_MAX_NAME = 60


class ParamInput(Frozen):
    """A param's value from outside: a text from `-p` or the environment, any YAML from `with`.

    `where` is its source, for messages. A text must be parsed as the declared type; `secret_ok`
    is whether a secret may come from there, `hidden` whether the value contains one, `of_reference`
    whether `with` has one reference: its text is then parsed, too.
    """

    value: Any
    where: str
    is_text: bool = True
    secret_ok: bool = True
    hidden: bool = False
    of_reference: bool = False


class Param(Frozen):
    """A param as the job file declares it; `kind` is one of its five types.

    `default`, `enum` and `pattern` are None if they are not declared. `enum` and `pattern`
    apply to each item of a list.
    """

    name: str
    kind: str
    required: bool = False
    secret: bool = False
    default: Any = None
    enum: tuple[Any, ...] | None = None
    pattern: str | None = None


def declare(name: str, raw: Any) -> Param:
    """The declaration of a param: a plain value is its default, and has its type."""
    if not isinstance(raw, dict):
        return Param(name=name, kind=kind_of([raw]), default=plain(raw))
    default, enum = raw.get("default"), raw.get("enum")
    kind = raw.get("type") or kind_of([default] if isinstance(default, list) else [default, *(enum or ())])
    return Param(
        name=name,
        kind=kind,
        required=bool(raw.get("required")),
        secret=bool(raw.get("secret")),
        default=plain(default),
        enum=None if enum is None else tuple(enum),
        pattern=raw.get("pattern"),
    )


def from_options(
    options: Sequence[str], environment: Mapping[str, str], declared: Collection[str]
) -> dict[str, ParamInput]:
    """The values from `-p NAME=VALUE`, `-p NAME=@FILE` and the environment; the last `-p` wins.

    Raises UsageError for an option without `=`, for a param that is not declared, and for a
    file that cannot be read.
    """
    texts: dict[str, str] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            known = name if name in declared else next(iter(declared), "NAME")
            raise UsageError(f"missing `=` in {quote(f'-p {option}')}; write `-p {known}=VALUE`")
        if not name:
            known = next(iter(declared), "NAME")
            raise UsageError(f"missing name in {quote(f'-p {option}')}; write `-p {known}=VALUE`")
        if name not in declared:
            raise UsageError(_undeclared(name, declared))
        texts[name] = text
    given = {
        name: ParamInput(value=environment[param_variable(name)], where=f"`{param_variable(name)}`")
        for name in declared
        if param_variable(name) in environment
    }
    return given | {name: _from_option(name, text) for name, text in texts.items()}


def _undeclared(name: str, declared: Collection[str]) -> str:
    if not declared:
        return f"unknown param {quote(name)}: the job declares none"
    suggestion = (
        suggest(name, declared, "params") if len(declared) <= MAX_CHOICES else "see `params` in the job file"
    )
    return f"unknown param {quote(name)}; {suggestion}"


def _from_option(name: str, text: str) -> ParamInput:
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        # Few params come from files.
        from mprun.jobfile.text_file import read_text

        if text == "@":
            raise UsageError(f"missing file name in `-p {name}=@`; write `-p {name}=@@` for a literal `@`")
        content, _ = read_text(text[1:], "file", f" of param {quote(name)}")
        # Editors end a file with a newline, which is not part of the value.
        content = content[:-2] if content.endswith("\r\n") else content.removesuffix("\n")
        return ParamInput(value=content, where=quote(f"-p {name}={text}"))
    return ParamInput(value=text, where="`-p`", secret_ok=False)


def from_with(
    values: Mapping[str, Any], hidden: Collection[str] = (), of_reference: Collection[str] = ()
) -> dict[str, ParamInput]:
    """The values in the `with` of a task; those that are known later are references.

    `hidden` are the names of those that contain a secret, `of_reference` of those that are one reference.
    """
    return {
        name: ParamInput(
            value=value,
            where="`with`",
            is_text=False,
            hidden=name in hidden,
            of_reference=name in of_reference,
        )
        for name, value in values.items()
    }


def lossy_inputs(
    document: Document, declared: Mapping[str, Any], given: Mapping[str, ParamInput]
) -> Iterator[Diagnostic]:
    """A warning for each text that becomes a number with fewer characters, as no one asked for a number.

    That is so if the type of the param is only that of its default.
    """
    for name, value in given.items():
        raw = declared.get(name)
        if not value.is_text or (isinstance(raw, dict) and ("type" in raw or raw.get("secret"))):
            continue
        kind, text = declare(name, raw).kind, str(value.value).strip()
        if kind in ("integer", "number") and _becomes_shorter(text):
            message = f"{quote(text)}, given for param {quote(name)}, is the number {as_text(resolve(text))}"
            span = span_of(document, ("params", name), key=True)
            help = "declare the param with `type: string`"
            yield Diagnostic(message=message, source=document.source, span=span, help=help)


def _becomes_shorter(text: str) -> bool:
    try:
        return bool(text) and loses_characters(text, resolve(text))
    except OutOfRange:
        return False


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
    `budget` counts what the values cost that a recipe is given; then OutOfBudget may be raised.
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
        resolver.refuse_undeclared(name, declared)
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
        self.diagnostics: list[Diagnostic] = []

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

    def refuse_undeclared(self, name: str, declared: Collection[str]) -> None:
        """Add an error: `with` has a param that the recipe does not declare."""
        if self._used_by is None:
            raise UsageError(_undeclared(name, declared))
        recipe = quote(self._document.source.path)
        message = f"unknown param {quote(name)} of recipe {recipe}"
        help = suggest(name, declared, "params") if len(declared) <= MAX_CHOICES else ""
        self._note_with(self._used_by, ("with", name), message, help, key=True)

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
            reason = "every user of the machine can read the command line"
            self._note(
                param.name,
                f"secret param {quote(param.name)} is not allowed on the command line: {reason}",
                _how_to_give(param),
            )
            return None
        if not sound:
            return None
        return self._given(param, given)

    def _missing(self, param: Param) -> Any:
        name = param.name
        if self._used_by is not None:
            message = f"missing param {quote(name)} of recipe {quote(self._document.source.path)}"
            self._note_with(
                self._used_by, ("with",), message, f"add `{name[:_MAX_NAME]}:` to `with`", key=True
            )
        elif self._lenient:
            return missing(name)
        else:
            self._note(name, f"missing param {quote(name)}", _how_to_give(param))
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
            self._note_given(param, given, error)
            return None
        except MatchError as error:
            self._note_unmatched(param, error)
            return None
        return value

    def _note_unmatched(self, param: Param, error: MatchError) -> None:
        """Add an error at a pattern that may match or not."""
        message = f"the `pattern` of param {quote(param.name)} cannot be matched: {error}"
        self._note(param.name, message, "write it without nested repetitions", "pattern")

    def _note_given(self, param: Param, given: ParamInput, error: ParamError) -> None:
        message = f"param {quote(param.name)} {error.must}, but {given.where} provides "
        if param.secret or given.hidden:
            # Not at `with`, because its line would be quoted.
            self._note(param.name, f"{message}another value", "")
        elif given.is_text:
            shown = "nothing" if error.value == "" else quote(as_text(error.value))
            self._note(param.name, f"{message}{shown}", error.help())
        elif self._used_by is None:
            self._note(param.name, f"{message}{describe(error.value)}", error.help())
        else:
            path = ("with", param.name)
            written = _written(self._used_by.document, (*self._used_by.path, *path), error.value)
            self._note_with(
                self._used_by, path, f"{message}{describe(error.value)}", error.help(written, of_file=True)
            )

    def _examine_declaration(self, param: Param) -> bool:
        """Add the errors of a declaration; whether values can be checked against it."""
        before = len(self.diagnostics)
        if param.pattern is not None:
            problem = pattern_problem(param.pattern)
            if problem:
                message = f"invalid regular expression in `pattern` of param {quote(param.name)}: {problem}"
                self._note(param.name, message, "", "pattern")
        for number, choice in enumerate(param.enum or ()):
            # For a list it has items, which may have any type; null allows nothing.
            if param.kind != "list" and choice is not None:
                what = f"item {number + 1} of `enum`"
                self._examine(param, choice, what, None, None, "enum", number)
        sound = len(self.diagnostics) == before
        if param.required and param.default is not None:
            message = f"param {quote(param.name)} is required, so its default would never be used"
            self._note(param.name, message, "remove one of them", "default", key=True)
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
            message = f"{what} of param {quote(param.name)} {error.must}, not {describe(error.value)}"
            written = _written(self._document, (*self._path, param.name, *steps), error.value)
            of_reference = "${" in _text_at(self._document, (*self._path, param.name, *steps))
            self._note(param.name, message, error.help(written, of_file=not of_reference), *steps)
        except MatchError as error:
            self._note_unmatched(param, error)


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


def describe(value: Any) -> str:
    """A value in words: its type, and the value itself if it is a scalar."""
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        return f"a {type_name(value)}"
    return f"the {type_name(value)} {quote(as_text(value))}"
