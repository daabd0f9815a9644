"""A plan as a graph of its tasks, in the languages of Mermaid and Graphviz.

A task is a node, a dependency an edge, a recipe a box around its tasks. Daemons are round,
tasks with `foreach` have a double border, and tasks that will be skipped a dashed one. The
critical path is bold, if earlier runs recorded how long the tasks take.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.jobfile.model import PASSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.scheduling.forecast import Forecast
    from mprun.scheduling.plan import Plan, PlannedTask

    # The line that opens the box of a recipe, by its number and name; the line of a node.
    Open = Callable[[int, str], str]
    Node = Callable[[int, PlannedTask, str], str]


def mermaid_lines(plan: Plan, forecast: Forecast | None = None) -> Iterator[str]:
    """The lines of a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html).

    Mermaid draws at most 500 edges unless its `maxEdges` is set.
    """
    yield "flowchart TD"
    path = _path(plan, forecast)
    yield from _nodes(plan, _mermaid_subgraph, "end", partial(_mermaid_node, path))
    for number, planned in enumerate(plan.tasks):
        for need, condition in planned.needs:
            label = "" if condition == PASSED else f"|{condition}|"
            yield f"  n{need} -->{label} n{number}"
    if any(planned.skipped for planned in plan.tasks):
        yield "  classDef skipped stroke-dasharray: 5 5"
    if path:
        yield "  classDef critical stroke-width: 4px"


def dot_lines(plan: Plan, forecast: Forecast | None = None) -> Iterator[str]:
    """The lines of a graph in the DOT language (https://graphviz.org/doc/info/lang.html)."""
    yield "digraph {"
    yield f"  graph [label={_dot_text(plan.job.name)}, labelloc=t]"
    yield "  node [shape=box]"
    yield from _nodes(plan, _dot_cluster, "}", partial(_dot_node, _path(plan, forecast)))
    for number, planned in enumerate(plan.tasks):
        for need, condition in planned.needs:
            label = "" if condition == PASSED else f" [label={_dot_text(condition)}]"
            yield f"  n{need} -> n{number}{label}"
    yield "}"


def _path(plan: Plan, forecast: Forecast | None) -> set[int]:
    """The numbers of the tasks that are drawn bold."""
    path = forecast.path if forecast is not None else ()
    return {number for number in path if not plan.tasks[number].skipped}


def _nodes(plan: Plan, opened: Open, closed: str, node: Node) -> Iterator[str]:
    """The nodes in the order of the plan, in which the tasks of a recipe follow each other."""
    boxes: dict[tuple[str, ...], int] = {}
    inside: list[str] = []
    for number, planned in enumerate(plan.tasks):
        *recipes, name = _steps(planned.name)
        common = 0
        while common < min(len(inside), len(recipes)) and inside[common] == recipes[common]:
            common += 1
        while len(inside) > common:
            inside.pop()
            yield f"{_indent(inside)}{closed}"
        for recipe in recipes[common:]:
            # With a selection of tasks, a box may be opened again: it keeps its number.
            box = boxes.setdefault((*inside, recipe), len(boxes))
            yield f"{_indent(inside)}{opened(box, recipe)}"
            inside.append(recipe)
        yield f"{_indent(inside)}{node(number, planned, name)}"
    while inside:
        inside.pop()
        yield f"{_indent(inside)}{closed}"


def _indent(inside: list[str]) -> str:
    return "  " * (len(inside) + 1)


def _steps(name: str) -> list[str]:
    """The recipes that a task is in, and its name in the innermost one; a `/` in brackets does not count."""
    if "/" not in name:
        return [name]
    steps, depth = [""], 0
    for char in name:
        depth += (char == "[") - (char == "]")
        if char == "/" and depth == 0:
            steps.append("")
        else:
            steps[-1] += char
    return steps


def _mermaid_subgraph(number: int, name: str) -> str:
    return f"subgraph g{number}[{_mermaid_text(name)}]"


def _mermaid_node(path: set[int], number: int, planned: PlannedTask, name: str) -> str:
    task = planned.task
    left, right = ("[[", "]]") if task.foreach is not None else ("([", "])") if task.daemon else ("[", "]")
    look = ":::skipped" if planned.skipped else ":::critical" if number in path else ""
    return f"n{number}{left}{_mermaid_text(name)}{right}{look}"


def _mermaid_text(text: str) -> str:
    r"""A label in quotes; characters other than letters and digits become entities.

    Mermaid reads Markdown in a label (`1. a` is a list, `_a_` italic), `\n` as the end of
    a line and `#…;` as an entity. A few characters between letters and digits are safe.
    """
    text = visible(text, multiline=True)
    if text.isalnum():
        return f'"{text}"'
    shown = [
        char if char.isalnum() or _is_safe(text, index) else f"#{ord(char)};"
        for index, char in enumerate(text)
    ]
    return f'"{"".join(shown)}"'


def _is_safe(text: str, index: int) -> bool:
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    if text[index] == " ":
        return before not in ("", " ") and after != ""
    return text[index] in "_-./,=" and before.isalnum() and after.isalnum()


def _dot_cluster(number: int, name: str) -> str:
    # Graphviz draws a box around a subgraph whose name begins with `cluster`.
    return f"subgraph cluster_{number} {{ label={_dot_text(name)}"


def _dot_node(path: set[int], number: int, planned: PlannedTask, name: str) -> str:
    look = [f"label={_dot_text(name)}"]
    if planned.task.daemon:
        look.append("shape=oval")
    if planned.task.foreach is not None:
        look.append("peripheries=2")
    if planned.skipped:
        look.append("style=dashed")
    if number in path:
        look.append("penwidth=3")
    return f"n{number} [{', '.join(look)}]"


def _dot_text(text: str) -> str:
    r"""A label in quotes; in it Graphviz reads escapes such as `\N` and HTML's entities."""
    shown = visible(text, multiline=True).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return '"' + shown.replace("\n", "\\n").replace("\t", " ") + '"'
