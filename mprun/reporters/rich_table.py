"""Lays out a table on a terminal by rich, which can fold cells, and takes 120 ms to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mprun.outcomes import Outcome
from mprun.reporters.format import display_width

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Literal, TextIO

STYLES: dict[str, str] = {
    Outcome.SUCCEEDED: "green",
    Outcome.FAILED: "bold red",
    Outcome.TIMED_OUT: "bold red",
    Outcome.UNKNOWN: "bold red",
    Outcome.STOPPED: "cyan",
    Outcome.SKIPPED: "yellow",
    Outcome.CANCELLED: "yellow",
    Outcome.INTERRUPTED: "yellow",
    Outcome.CORRUPT: "bold red",
    Outcome.NEWER: "yellow",
}


def write_rich(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    stream: TextIO,
    colour: bool | None,
    *,
    folded: Collection[int],
    right: Collection[int],
    optional: Sequence[str],
    styled: int,
    min_text_width: int,
) -> None:
    """Write a table on a terminal; with `colour` None, in colour if that has colours.

    The rest is the layout: see `mprun.reporters.table.Layout`.
    """
    # Without colours also without bold: NO_COLOR means no escape codes.
    system: Literal["auto"] | None = None if colour is False else "auto"
    console = Console(file=stream, highlight=False, color_system=system, soft_wrap=False)
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    columns = fitting_columns(head, lines, console.width, folded, optional, min_text_width)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(head[column], justify=justify, overflow="fold", no_wrap=column not in folded)
    for row in lines:
        style = STYLES.get(row[styled].partition(" ")[0].rstrip(":"), "")
        cells = [Text(row[column], style if column == styled else "") for column in columns]
        table.add_row(*cells)
    console.print(table)


def fitting_columns(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    width: int,
    folded: Collection[int],
    optional: Sequence[str],
    min_text_width: int,
) -> list[int]:
    """The columns for which a terminal of this width has room."""
    needed = {}
    for column in range(len(head)):
        widest = max(display_width(row[column]) for row in (head, *lines))
        needed[column] = min(widest, min_text_width) if column in folded else widest
    for name in optional:
        # Between two columns there are two spaces, and one space at each end.
        if sum(needed.values()) + 2 * len(needed) > width and name in head:
            del needed[head.index(name)]
    return list(needed)
