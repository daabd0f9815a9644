"""The row of jobs of other shapes: results, a graph, shells; each beside a loop that does the same."""

from __future__ import annotations

import json
import random

from benchmarks.figures import Goal
from benchmarks.measuring import Measure
from benchmarks.peers import OURS
from benchmarks.place import Place
from benchmarks.row import Row, Sizes, whole

HAND = "loop"
# What each shell runs.
SCRIPT = "echo one line; echo another line"
# How many tasks one of the graph depends on at most.
MOST_BEFORE = 3

RESULTS = """\
max_parallel: 8
tasks:
  - {{name: compute, target: shapes:compute, matrix: {{n: [{numbers}]}}, args: ["${{matrix.n}}"]}}
  - {{name: total, target: shapes:total, args: ["${{tasks.compute.result}}"]}}
"""


def shapes(place: Place, sizes: Sizes) -> Row:
    """Tasks that return something, that depend on each other, and that print."""
    sides: dict[str, Measure] = {}
    loops: dict[str, str] = {}
    for shape, (count, ours, theirs) in {
        "results": (sizes.results, *of_results(place, sizes.results)),
        "graph": (sizes.graph, *of_graph(place, sizes.graph)),
        "shells": (sizes.shells, *of_shells(place, sizes.shells)),
    }.items():
        for name, command in ((f"{OURS}, {shape}", ours), (f"{HAND}, {shape}", theirs)):
            sides[name] = whole(name, command, place, 1000 / count)
        loops[f"{OURS}, {shape}"] = f"{HAND}, {shape}"
    return Row(
        name="shapes",
        title=(
            f"{sizes.results:,} results of 1 KB after 50 ms of work, eight at a time; "
            f"a graph of {sizes.graph:,}; {sizes.shells:,} shells that print"
        ),
        unit="ms a task",
        sides=sides,
        bases=tuple(loops.values()),
        goals=tuple(
            Goal(text=f"{ours}: no slower than the loop", ours=ours, against=(loop,), least=1)
            for ours, loop in loops.items()
        ),
    )


def of_results(place: Place, count: int) -> tuple[list[str], list[str]]:
    """The commands for tasks whose results one task takes."""
    job = place.write(f"results-{count}.yaml", RESULTS.format(numbers=", ".join(map(str, range(count)))))
    return place.mprun(job), [place.python, "shape_loops.py", "results", str(count)]


def of_graph(place: Place, count: int) -> tuple[list[str], list[str]]:
    """The commands for tasks that do nothing, after others at random; the same ones each time."""
    chance = random.Random(count)
    graph = [
        sorted(chance.sample(range(node), chance.randint(0, min(node, MOST_BEFORE)))) for node in range(count)
    ]
    tasks = "".join(
        f"  - {{name: t{node}, target: noop:noop, depends_on: [{names(before)}]}}\n"
        for node, before in enumerate(graph)
    )
    job = place.write(f"graph-{count}.yaml", f"max_parallel: 2\ntasks:\n{tasks}")
    edges = place.write(f"graph-{count}.json", json.dumps(graph))
    return place.mprun(job), [place.python, "shape_loops.py", "graph", edges]


def of_shells(place: Place, count: int) -> tuple[list[str], list[str]]:
    """The commands for shells that print two lines."""
    numbers = ", ".join(map(str, range(count)))
    text = f'max_parallel: 2\ntasks:\n  - {{command: "{SCRIPT}", matrix: {{n: [{numbers}]}}}}\n'
    loop = [place.python, "shape_loops.py", "shells", str(count), SCRIPT]
    return place.mprun(place.write(f"shells-{count}.yaml", text)), loop


def names(nodes: list[int]) -> str:
    """The names of these nodes in the job, for YAML."""
    return ", ".join(f"t{node}" for node in nodes)
