"""Draws what `mprun tree` shows as boxes: mprun, its main process, and the processes of the tasks."""

from __future__ import annotations

import html
import json
from typing import Any

# In pixels: a box, and the space to the next one.
WIDTH, HEIGHT, ACROSS, DOWN = 190, 46, 44, 14
# A page with a theme of its own may be light while the system is dark, which a picture cannot know: the boxes
# have a background, and the lines a colour that is seen on both.
STYLE = (
    "text{font:13.3px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#1f2328}"
    ".pid{fill:#59636e}rect{fill:#f6f8fa;stroke:#8c959f}.task{fill:#ddf4ff;stroke:#54aeff}"
    "path{stroke:#8c959f;fill:none}"
)


def process_tree(record: str, mark: str) -> str:
    """The SVG of a tree, as `mprun tree --json` writes it; `mark` says what it was made from."""
    boxes: list[str] = []
    lines: list[str] = []
    depth, rows = _draw(json.loads(record)["processes"][0], 0, 0, boxes, lines)
    width, height = depth * (WIDTH + ACROSS) - ACROSS + 2, rows * (HEIGHT + DOWN) - DOWN + 2
    size = f'width="{width}" height="{height}" viewBox="-1 -1 {width} {height}"'
    return (
        f'<!-- {mark} -->\n<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        f"<title>the processes of a run, each beside its parent</title>\n<style>{STYLE}</style>\n"
        + "\n".join([*lines, *boxes])
        + "\n</svg>\n"
    )


def _draw(node: dict[str, Any], column: int, row: int, boxes: list[str], lines: list[str]) -> tuple[int, int]:
    """Draw a process and those below it; how many columns and rows that takes."""
    x, y = column * (WIDTH + ACROSS), row * (HEIGHT + DOWN)
    kind = ' class="task"' if node["role"] == "task" else ""
    boxes.append(f'<rect{kind} x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>')
    boxes.append(f'<text x="{x + 12}" y="{y + 19}">{html.escape(node["name"])}</text>')
    boxes.append(f'<text class="pid" x="{x + 12}" y="{y + 36}">pid {node["pid"]}</text>')
    columns, rows = 1, 0
    for child in node["children"]:
        end = (row + rows) * (HEIGHT + DOWN) + HEIGHT // 2
        start = x + WIDTH
        middle, start_y = start + ACROSS // 2, y + HEIGHT // 2
        lines.append(f'<path d="M{start} {start_y}H{middle}V{end}H{start + ACROSS}"/>')
        deeper, taken = _draw(child, column + 1, row + rows, boxes, lines)
        columns, rows = max(columns, 1 + deeper), rows + taken
    return columns, max(rows, 1)
