"""Click's errors in the words of mprun: what is wrong with the command line, then the remedy.

Only a command line that is wrong imports this module.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mprun.cli.messages import say
from mprun.diagnostics import closest, did_you_mean, quote
from mprun.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


# What peers call a command of mprun.
_SYNONYMS = {
    "cancel": "stop",
    "check": "validate",
    "diff": "compare",
    "down": "stop",
    "history": "runs",
    "kill": "stop",
    "lint": "validate",
    "info": "describe",
    "inspect": "describe",
    "ls": "list",
    "output": "logs",
    "ps": "tree",
    "start": "run",
    "status": "show",
    "tail": "logs --follow",
    "up": "run",
}


def refuse_typo(word: str, commands: Mapping[str, click.Command]) -> None:
    """Raise UsageError if a word that names no file is close to a command."""
    meant = _SYNONYMS.get(word) or closest(word, commands)
    if meant:
        message = f"{quote(word)} is neither a command nor a job file"
        raise UsageError(f"{message}; did you mean `mprun {meant}`?")


def explain_usage(error: click.ClickException, commands: Mapping[str, click.Command]) -> None:
    """Print a click error on stderr; a command that needs arguments and gets none prints its help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    else:
        say("error", describe(error, commands))


def describe(error: click.ClickException, commands: Mapping[str, click.Command]) -> str:
    """The message and its remedy, on one line."""
    if isinstance(error, click.BadOptionUsage):
        return _bad_option(error.option_name, commands)
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return error.format_message()
    if isinstance(error, click.MissingParameter):
        return f"missing {_kind(error)}; {_usage(context)}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return _bad_value(error, error.param, context)
    if isinstance(error, click.NoSuchOption):
        remedy = _similar_option(error.option_name, context) or f"see `{context.command_path} --help`"
        return f"unknown option {quote(error.option_name)}; {remedy}"
    found = re.search(r"\((.*)\)$", error.message, re.DOTALL)
    if "unexpected" in error.message and found:
        return f"unexpected argument {quote(found[1])}; {_usage(context)}"
    return error.format_message()


def _similar_option(name: str, context: click.Context) -> str:
    """An option of the command that was probably meant, or one of mprun itself: `mprun --version`."""
    own, outer = _options(context), context.parent
    meant = closest(name, [*own, *(_options(outer) if outer else ())])
    if outer and meant and meant not in own:
        meant = f"{outer.command_path} {meant}"
    return f"did you mean {quote(meant)}?" if meant else ""


def _options(context: click.Context) -> list[str]:
    return [name for param in context.command.get_params(context) for name in param.opts]


def _usage(context: click.Context) -> str:
    pieces = context.command.collect_usage_pieces(context)
    return f"write `{' '.join([context.command_path, *pieces])}`"


def _kind(error: click.MissingParameter) -> str:
    if isinstance(error.param, click.Option):
        return f"option {quote(_name(error.param))}"
    name = error.param.make_metavar(error.ctx) if error.param and error.ctx else str(error.param_hint)
    return f"argument {quote(name.removesuffix('...'))}"


def _bad_option(name: str, commands: Mapping[str, click.Command]) -> str:
    """An option that lacks its value, or a flag that has one.

    Click does not say of which command; an option means the same in all of them.
    """
    params = (param for command in commands.values() for param in command.params if name in param.opts)
    option = next((param for param in params if isinstance(param, click.Option)), None)
    if option is None or option.is_flag or option.count:
        return f"{quote(name)} does not take a value; write `{name}`"
    return f"missing value of {quote(name)}; write `{name} {option.metavar or 'VALUE'}`"


def _bad_value(error: click.BadParameter, param: click.Parameter, context: click.Context) -> str:
    """An invalid value, and its environment variable if it comes from one."""
    name = quote(_name(param) if isinstance(param, click.Option) else str(param.name).upper())
    source = context.get_parameter_source(param.name or "")
    origin = (
        f" (from the environment variable `{param.envvar}`)" if source is ParameterSource.ENVIRONMENT else ""
    )
    value, must = _value_of(error.message), _must(param.type)
    if value is None or not must:
        return f"invalid value for {name}: {error.message.removesuffix('.')}{origin}"
    message = f"{name} must be {must}, not {quote(value)}{origin}"
    choices = [str(one) for one in param.type.choices] if isinstance(param.type, click.Choice) else []
    remedy = did_you_mean(value, choices)
    return f"{message}; {remedy}" if remedy else message


def _name(param: click.Parameter) -> str:
    """An option as it is documented: `--max-parallel`, which also has the name `-j`."""
    return max(param.opts, key=len)


def _value_of(message: str) -> str | None:
    """The value that click's message starts with: `'x' is not one of ...`, `0 is not in the range x>=1.`."""
    found, is_not, _ = message.partition(" is not ")
    if not is_not:
        return None
    try:
        return str(ast.literal_eval(found))
    except (ValueError, SyntaxError):
        return None


def _must(kind: click.ParamType[Any]) -> str:
    """What a value of this type must be; empty for a type that says so itself."""
    if isinstance(kind, click.Choice):
        return "one of " + ", ".join(quote(str(choice)) for choice in kind.choices)
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        number = "an integer" if isinstance(kind, click.types.IntParamType) else "a number"
        return number + _range(kind)
    return ""


def _range(kind: object) -> str:
    """` from 1 to 10`, ` of at least 1`, ` above 0`: the limits of a number; empty if it has none."""
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    if least is None:
        return "" if most is None else f" of at most {most}"
    if getattr(kind, "min_open", False):
        return f" above {least}"
    return f" of at least {least}" if most is None else f" from {least} to {most}"
