"""Draws results as plain SVG: bars of start-up and of the cost of a task, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from xml.sax.saxutils import escape

from benchmarks.figures import Figure, Results, RowResult, ratio
from benchmarks.table import number

WIDTH, LEFT, RIGHT = 880, 336, 690
MARGIN, BAR, STEP = 28, 14, 22

# The card has a background of its own, because the colours of the page may differ from those of the system.
STYLE = """\
text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #1f2328 }
.card { fill: #ffffff; stroke: #d1d9e0 }
.head { font-size: 16px; font-weight: 600 }
.small { font-size: 12px }
.small, .tick { fill: #59636e }
.tick { font-size: 11px }
.ours { font-weight: 600 }
.grid { stroke: #d1d9e0 }
.bar { fill: #9aa4af }
.ours.bar { fill: #0969da }
.less.bar { fill: url(#less) }
.hatch { stroke: #9aa4af }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .card { fill: #0d1117; stroke: #3d444d }
  .small, .tick { fill: #9198a1 }
  .grid { stroke: #3d444d }
  .bar { fill: #6e7681 }
  .ours.bar { fill: #4493f8 }
  .hatch { stroke: #6e7681 }
}
"""

HATCH = (
    '<defs><pattern id="less" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><line class="hatch" x1="1" y1="0" x2="1" y2="5" stroke-width="2"/>'
    "</pattern></defs>"
)


# The drawn rows; with a logarithmic axis if their figures lie far apart.
PANELS = ("start-up", "tasks")
LOGARITHMIC = ("tasks",)


def draw(results: Results) -> str:
    """The whole picture; without panels for rows that were not measured."""
    parts: list[str] = []
    top = MARGIN
    for row in panels(results):
        parts += panel_at(top, row)
        top += height(row["figures"])
    parts += legend(top, results)
    bottom = top + 44
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" width="{WIDTH}" '
        f'height="{bottom}" role="img" aria-label="{escape(spoken(results), {chr(34): "&quot;"})}">\n'
        f"<style>\n{STYLE}</style>\n{HATCH}\n"
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{bottom - 1}" rx="8"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def panels(results: Results) -> list[RowResult]:
    """The rows to draw that were measured."""
    return [row for row in results["rows"] if row["name"] in PANELS and row["figures"]]


def height(figures: list[Figure]) -> int:
    """The height of a panel: title, bars, axis, and space below."""
    return 34 + STEP * len(figures) + 44


def panel_at(top: float, row: RowResult) -> Iterator[str]:
    """A panel's title, axis and bars, the shortest first."""
    figures, logarithmic = row["figures"], row["name"] in LOGARITHMIC
    scale, ticks = axis(figures, logarithmic)
    first = top + 30
    end = first + STEP * len(figures)
    yield text(MARGIN, top + 8, title(row), "head")
    for tick in ticks:
        x = scale(tick)
        yield f'<line class="grid" x1="{x:.1f}" y1="{first - 4}" x2="{x:.1f}" y2="{end}"/>'
        yield text(x, end + 14, f"{tick:g}", "tick", "middle")
    unit = figures[0]["unit"] + (", logarithmic" if logarithmic else "")
    yield text(RIGHT + 10, end + 14, unit, "tick")
    ours = next((figure for figure in figures if figure["name"] == "mprun"), None)
    for place, figure in enumerate(sorted(figures, key=lambda figure: figure["median"])):
        yield from bar(first + STEP * place, figure, scale, ours)


def bar(top: float, figure: Figure, scale: Callable[[float], float], ours: Figure | None) -> Iterator[str]:
    """A line of a panel: name, bar, figure, and multiple of mprun's."""
    kind = "ours" if figure is ours else "less" if "does less" in figure["note"] else ""
    end = scale(figure["median"])
    yield text(LEFT - 10, top + 11, plain(figure["name"]), kind, "end")
    yield (
        f'<rect class="{(kind + " bar").strip()}" x="{LEFT}" y="{top}" '
        f'width="{max(end - LEFT, 1):.1f}" height="{BAR}" rx="2"/>'
    )
    yield text(RIGHT + 80, top + 11, number(figure["median"]), kind, "end")
    times = ratio(figure["values"], ours["values"]) if ours else None
    if times is not None and figure is not ours:
        yield text(WIDTH - MARGIN, top + 11, f"{number(times)} ×", "small", "end")


def axis(figures: list[Figure], logarithmic: bool) -> tuple[Callable[[float], float], list[float]]:
    """The position of a value, in pixels, and the values to mark."""
    most = max(figure["median"] for figure in figures)
    if not logarithmic:
        step = round_step(most / 5)
        marks = [step * n for n in range(int(most / step) + 1)]
        return (lambda value: LEFT + (RIGHT - LEFT) * value / most), marks
    low = math.floor(math.log10(min(figure["median"] for figure in figures)))
    high = math.log10(most)
    marks = [digit * 10.0**power for power in range(low, math.ceil(high) + 1) for digit in (1, 3)]
    width = (RIGHT - LEFT) / max(high - low, 1e-9)
    return (lambda value: LEFT + width * (math.log10(value) - low)), [mark for mark in marks if mark <= most]


def round_step(rough: float) -> float:
    """The next of 1, 2, 5, 10, ... above."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)


def legend(top: float, results: Results) -> Iterator[str]:
    """What the hatched bars mean, and the machine."""
    yield f'<rect class="less bar" x="{MARGIN}" y="{top}" width="26" height="{BAR}" rx="2"/>'
    yield text(
        MARGIN + 34,
        top + 11,
        "does less: starts no process for a task · right: how many times as long as mprun, "
        "which keeps a log and a record of each",
        "small",
    )
    machine = ", ".join(results["machine"].values())
    yield text(MARGIN, top + 30, f"{machine}; medians, all sides in turn", "small")


def spoken(results: Results) -> str:
    """The picture in words, for screen readers."""
    return ". ".join(
        f"{title(row)}: " + ", ".join(map(figure_in_words, row["figures"])) for row in panels(results)
    )


def title(row: RowResult) -> str:
    """A row's title, as the head of a panel."""
    return row["title"][:1].upper() + row["title"][1:]


def figure_in_words(figure: Figure) -> str:
    """One bar in words."""
    return f"{plain(figure['name'])} {number(figure['median'])} {figure['unit']}"


def plain(name: str) -> str:
    """A name without backticks."""
    return name.replace("`", "")


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text."""
    chosen = f' class="{kind}"' if kind else ""
    placed = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{chosen}{placed}>{escape(words)}</text>'
