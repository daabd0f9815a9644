"""The params of a job file, as `mprun list` and `mprun describe` show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import visible
from mprun.jobfile.param_types import ParamError, parse, require_valid
from mprun.jobfile.patterns import MatchError
from mprun.jobfile.resolution import as_text
from mprun.reporters.format import truncate

if TYPE_CHECKING:
    from mprun.jobfile.param_types import Param
    from mprun.jobfile.summary import ParamSummary

# Columns of a default value or a choice, and how many choices are shown.
_MAX_VALUE = 40
_MAX_CHOICES = 20
# What an example sets a param to, the first that is valid.
_EXAMPLES = (
    "VALUE",
    "2026-01-31",
    "1",
    "a",
    "A",
    "abc",
    "1.0",
    "a.b",
    "2026-01-31T00:00:00Z",
    "a@b.c",
)
_EXAMPLE_OF_KIND = {"integer": "1", "number": "1.5", "boolean": "true", "list": "a,b"}


def in_short(param: Param) -> str:
    """`day` of a required param, `n=3` of one with a default."""
    name = visible(param.name)
    return name if param.required or param.default is None else f"{name}={value_text(param.default)}"


def in_words(param: Param, default: Any) -> str:
    """`string, required` or `integer, default 3, one of 3, 4`; `default` is what a run would use."""
    words = [param.kind]
    if param.required:
        words.append("required")
    if param.secret:
        words.append("secret")
    if default is not None and not param.secret and not param.required:
        words.append(f"default {value_text(default)}")
    if param.enum is not None:
        some = [value_text(choice) for choice in param.enum[:_MAX_CHOICES]]
        more = ["…"] if len(param.enum) > _MAX_CHOICES else []
        words.append(f"{'items of' if param.kind == 'list' else 'one of'} {', '.join((*some, *more))}")
    if param.pattern is not None:
        words.append(f"pattern {visible(truncate(param.pattern, _MAX_VALUE))}")
    return ", ".join(words)


def value_text(value: Any) -> str:
    """A value on one line, cut to 40 columns."""
    if isinstance(value, list):
        value = ",".join(map(as_text, value))
    return truncate(visible(as_text(value)), _MAX_VALUE)


def example(param: Param) -> str:
    """A text that is a valid value of the param; `VALUE` if none is known that its pattern allows."""
    choices = [as_text(choice) for choice in (param.enum or ())[:1]]
    for text in (*choices, _EXAMPLE_OF_KIND.get(param.kind, ""), *_EXAMPLES):
        try:
            if text:
                require_valid(param.kind, parse(param.kind, text), param.enum, param.pattern)
                return text
        except (ParamError, MatchError):
            continue
    return _EXAMPLES[0]


def as_object(summary: ParamSummary) -> dict[str, Any]:
    """A param for `--json`: its default is null if it has none, its choices if any value is allowed."""
    param = summary.param
    return {
        "name": param.name,
        "type": param.kind,
        "required": param.required,
        "secret": param.secret,
        "default": None if param.secret else param.default,
        "choices": None if param.enum is None else [*param.enum],
        "pattern": param.pattern,
        "description": summary.description,
    }
