"""An option of a command as data, of which click makes its own.

`mprun.cli.command_line` reads most runs without click, whose import takes a tenth of the time of a start.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import click

Command = TypeVar("Command", bound="Callable[..., Any]")


class Option:
    """The names and attributes of `click.option`; as a decorator, it gives a click command the option.

    In place of `type`, `choices` are the values that it may have, and `least` is the smallest integer.
    `make_type` makes of the choices a type of click that takes others, too.
    """

    __slots__ = ("attributes", "choices", "least", "make_type", "name", "names")

    def __init__(
        self,
        *names: str,
        choices: Sequence[str] = (),
        least: int | None = None,
        make_type: Callable[[Sequence[str]], click.ParamType[Any]] | None = None,
        **attributes: Any,
    ) -> None:
        self.names = names
        self.choices = choices
        self.least = least
        self.make_type = make_type
        self.attributes = attributes
        # The argument of the command that gets its value, by the rule of click.
        last = names[-1]
        self.name = last if last[0] != "-" else last.removeprefix("--").replace("-", "_")

    def __call__(self, command: Command) -> Command:
        import click

        attributes = self.attributes
        if self.choices:
            attributes = {**attributes, "type": (self.make_type or click.Choice)(self.choices)}
        elif self.least is not None:
            attributes = {**attributes, "type": click.IntRange(min=self.least)}
        return click.option(*self.names, **attributes)(command)

    def default(self) -> Any:
        """Its value if neither the command line nor the environment has it."""
        attributes = self.attributes
        if attributes.get("multiple"):
            return ()
        if attributes.get("count"):
            return 0
        default = attributes.get("default", False if "is_flag" in attributes else None)
        callback = attributes.get("callback")
        return callback(None, None, default) if callback is not None and default else default

    def read(self, text: str) -> Any:
        """The value that a word of the command line gives it; None if click has to read or refuse it."""
        if self.choices:
            return text if text in self.choices else None
        if self.least is not None:
            is_number = text.isascii() and text.isdecimal() and len(text) < 10
            return int(text) if is_number and int(text) >= self.least else None
        return text


def click_context() -> click.Context | None:
    """What click knows of the command; None if the command line was read without it."""
    click = sys.modules.get("click")
    return None if click is None else click.get_current_context(silent=True)
