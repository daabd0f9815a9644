"""What a terminal shows while a command runs, as an animated SVG."""

from __future__ import annotations

import html
import os
import re
from typing import TYPE_CHECKING

from support.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROOT_BIN = os.path.join(os.path.dirname(__file__), "..", "..", ".venv", "bin")
COLUMNS, ROWS = 96, 20
# In pixels, and in seconds.
CHARACTER, LINE, MARGIN = 8.0, 18, 12
FRAME_SECONDS, LAST_SECONDS = 1.0, 4
# Of these parts of the run, which has so many tasks ended, there is a frame; and of its end.
COUNTED = re.compile(r" (\d+)/\d+\+? ")

# As on a dark terminal, with a contrast of more than 4.5 to 1.
COLOURS = {
    "default": "#d7dae0", "black": "#7f848e", "red": "#ff7b72", "green": "#7ee787", "brown": "#e3b341",
    "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#76e3ea", "white": "#ffffff",
}  # fmt: skip
BACK = "#16181d"

# Runs of characters that look alike: the text, its colour, and whether it is bold.
Row = list[tuple[str, str, bool]]


def animation(folder: Path, command: str, mark: str, shown_folder: str) -> str:
    """Run a command on a terminal in this directory, and draw what was seen, with another name for it."""
    frames = _frames(folder, command)
    for row in (row for frame in frames for row in frame):
        # Paths are longer or shorter then, and what comes after them has another place.
        row[:] = [(text.replace(os.path.realpath(folder), shown_folder), *look) for text, *look in row]
    return _svg(frames, command, mark)


def _frames(folder: Path, command: str) -> list[list[Row]]:
    """One frame for each number of ended tasks, and the last."""
    frames: dict[str, list[Row]] = {}
    most: dict[str, int] = {}
    path = f"{os.path.abspath(ROOT_BIN)}:{os.environ['PATH']}"
    with Screen(folder, COLUMNS, ROWS, PATH=path, MPRUN_PROGRESS="auto") as screen:
        screen.type(command + "\n")

        def look() -> bool:
            rows = screen.lines()
            for row in rows:
                found = COUNTED.search(row)
                # Of the same count, the one with most to see.
                if found and len(rows) >= most.get(found[1], 0):
                    frames[found[1]], most[found[1]] = _rows(screen), len(rows)
            return rows[-1:] == ["$"] and len(rows) > 1

        screen.wait_for(look)
        frames["end"] = _rows(screen)
    return list(frames.values())


def _rows(screen: Screen) -> list[Row]:
    """The rows of the screen."""
    rows = []
    for number in range(ROWS):
        row: Row = []
        for column in range(COLUMNS):
            char = screen._screen.buffer[number][column]
            colour = COLOURS.get(char.fg) or f"#{char.fg}"
            if row and row[-1][1:] == (colour, char.bold):
                row[-1] = (row[-1][0] + char.data, colour, char.bold)
            else:
                row.append((char.data, colour, char.bold))
        rows.append(row)
    return rows


def _svg(frames: Sequence[list[Row]], command: str, mark: str) -> str:
    total = FRAME_SECONDS * (len(frames) - 1) + LAST_SECONDS
    width, height = round(COLUMNS * CHARACTER + 2 * MARGIN), ROWS * LINE + 2 * MARGIN
    share = 100 * FRAME_SECONDS / total
    styles, groups = [], []
    for number, frame in enumerate(frames):
        begin, end = number * share, 100 if number == len(frames) - 1 else (number + 1) * share
        before = f"0%,{begin - 0.01:.2f}%{{opacity:0}}" if number else ""
        after = f"{end + 0.01:.2f}%,100%{{opacity:0}}" if end < 100 else ""
        styles.append(f"@keyframes k{number}{{{before}{begin:.2f}%,{end:.2f}%{{opacity:1}}{after}}}")
        styles.append(f"#f{number}{{animation:k{number} {total:.1f}s linear infinite}}")
        groups.append(f'<g id="f{number}">{_texts(frame)}</g>')
    # Who wants no motion sees the run when most of it was going on.
    still = len(frames) // 2
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    font = "13.3px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace"
    still_style = f"g{{animation:none!important}}#f{still}{{opacity:1}}"
    return f"""<!-- {mark} -->
<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{html.escape(command)}, on a terminal</title>
<style>text{{font:{font};white-space:pre}}g{{opacity:0}}{"".join(styles)}
@media (prefers-reduced-motion:reduce){{{still_style}}}</style>
<rect width="100%" height="100%" rx="8" fill="{BACK}"/>
{"".join(f"{group}{chr(10)}" for group in groups)}</svg>
"""


def _texts(frame: list[Row]) -> str:
    texts = []
    for number, row in enumerate(frame):
        column = 0
        for text, colour, bold in row:
            if text.strip():
                # Its length is given, so that it has its place whatever the font.
                kept = text.rstrip()
                start = column + len(kept) - len(kept.lstrip())
                kept = kept.lstrip()
                weight = ' font-weight="700"' if bold else ""
                place = f'x="{MARGIN + start * CHARACTER:g}" y="{MARGIN + number * LINE + 13}"'
                look = f'fill="{colour}"{weight} textLength="{len(kept) * CHARACTER:g}"'
                texts.append(f"<text {place} {look}>{html.escape(kept)}</text>")
            column += len(text)
    return "".join(texts)
