"""The text of diagnostics for people: each with its source line, and carets under what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import ELLIPSIS, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.diagnostics import Diagnostic, Span

# Characters of a quoted source line: terminals are rarely wider.
_MAX_COLUMNS = 160
# Carets with the help text behind them; behind more, it would be out of sight.
_MAX_CARETS_BESIDE = 60
_TAB_COLUMNS = 4

_BOLD_RED, _BLUE, _RED, _RESET = "\x1b[1;31m", "\x1b[34m", "\x1b[31m", "\x1b[0m"


def render(diagnostics: Iterable[Diagnostic], colour: bool = False) -> str:
    """The text of diagnostics for people, each with its source line and carets under the span."""
    return "\n\n".join(_render_one(diagnostic, colour) for diagnostic in diagnostics)


def _render_one(diagnostic: Diagnostic, colour: bool) -> str:
    paint = _painted if colour else _plain
    span, source = diagnostic.span, diagnostic.source
    number, help = str(span.line), visible(diagnostic.help)
    gutter = " " * len(number)
    where = visible(source.place(span))
    lines = [
        f"{paint('error:', _BOLD_RED)} {visible(diagnostic.message)}",
        f"{gutter}{paint('-->', _BLUE)} {where}",
    ]
    if 1 <= span.line <= len(source.lines):
        shown, indent, carets = _excerpt(source.lines[span.line - 1], span)
        beside, help = ("", help) if carets > _MAX_CARETS_BESIDE else (f" {help}", "")
        marked = f"{'^' * carets}{beside}".rstrip()
        lines += [
            paint(f"{gutter} |", _BLUE),
            f"{paint(f'{number} |', _BLUE)} {shown}".rstrip(),
            f"{paint(f'{gutter} |', _BLUE)} {' ' * indent}{paint(marked, _RED)}",
        ]
    if help:
        lines.append(f"{gutter} {paint('=', _BLUE)} {help}")
    return "\n".join(lines)


def _painted(text: str, colour: str) -> str:
    return f"{colour}{text}{_RESET}"


def _plain(text: str, colour: str) -> str:
    return text


def _excerpt(line: str, span: Span) -> tuple[str, int, int]:
    """The part of a line to show, the columns before the carets, and the number of carets."""
    start = min(span.column - 1, len(line))
    end = min(start + span.width, len(line))
    first, last = _window(len(line), start, end)
    cells = [_cell(c) for c in line[first:last]]
    before = ELLIPSIS if first else ""
    after = ELLIPSIS if last < len(line) else ""
    indent = len(before) + sum(columns for _, columns in cells[: start - first])
    carets = sum(columns for _, columns in cells[start - first : end - first])
    return before + "".join(text for text, _ in cells) + after, indent, max(carets, 1)


def _window(length: int, start: int, end: int) -> tuple[int, int]:
    """The slice of a long line to show, so that it contains the caret."""
    if length <= _MAX_COLUMNS:
        return 0, length
    first = 0 if end <= _MAX_COLUMNS else max(0, min(start - _MAX_COLUMNS // 4, length - _MAX_COLUMNS))
    return first, first + _MAX_COLUMNS


def _cell(char: str) -> tuple[str, int]:
    """A character as it is shown, and how many columns of a terminal that takes."""
    if char == "\t":
        return " " * _TAB_COLUMNS, _TAB_COLUMNS
    if char.isascii() and char.isprintable():
        return char, 1
    text = visible(char)
    return text, len(text) if text != char else _columns(char)


def _columns(char: str) -> int:
    # unicodedata takes 1 ms to import, and few lines need it.
    import unicodedata

    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
