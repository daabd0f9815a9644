"""The values that params get from outside: the command line, the environment, a caller, or `with`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote, suggest
from mprun.errors import UsageError
from mprun.frozen import Frozen
from mprun.jobfile.model import param_variable
from mprun.jobfile.param_types import MAX_CHOICES, declare
from mprun.jobfile.resolution import as_text
from mprun.jobfile.syntax.document import span_of
from mprun.jobfile.syntax.scalars import OutOfRange, loses_characters, resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mprun.jobfile.syntax.document import Document

# A value that a record shows as `***`: that of a secret, or this text itself.
UNRECORDED: Any = object()


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


def inputs_of_job(
    document: Document,
    params: Mapping[str, Any],
    options: Sequence[str],
    environment: Mapping[str, str],
    warnings: list[Diagnostic],
) -> dict[str, ParamInput]:
    """The values for the params of a job file, which are as for `load_job_file`; adds the warnings."""
    declared = document.root.get("params") or {}  # type: ignore[attr-defined]
    inputs = from_options(options, environment, declared)
    warnings += lossy_inputs(document, declared, inputs)
    for name, value in params.items():
        if value is UNRECORDED and (name in inputs or name not in declared):
            continue
        inputs[name] = ParamInput(value=value, where="`params`", is_text=False)
    return inputs


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
            raise UsageError(undeclared(name, declared))
        texts[name] = text
    given = {
        name: ParamInput(value=environment[param_variable(name)], where=f"`{param_variable(name)}`")
        for name in declared
        if param_variable(name) in environment
    }
    return given | {name: _from_option(name, text) for name, text in texts.items()}


def undeclared(name: str, declared: Collection[str]) -> str:
    """The message about a value for a param that is not declared."""
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
