"""Shows results as text: a block per row, with its goals below."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure, Results, RowResult, Verdict

WIDTH = 46


def lines(results: Results) -> Iterator[str]:
    """The whole table, with the missed goals at the end."""
    yield from head(results["machine"], results["load"])
    for row in results["rows"]:
        yield ""
        yield from lines_of_row(row)
    yield ""
    yield from summary(results)


def head(machine: dict[str, str], load: float) -> Iterator[str]:
    """The machine, and whether it was quiet enough."""
    yield ", ".join(machine.values())
    if load > 0.5:
        # Each of mprun's tasks has a session of its own, and Linux shares a busy core by session
        # (sched(7), autogroup): beside other work they get more than a script's processes do.
        yield f"warning: load {load:.1f}: the machine has other work to do, and the ratios are not fair"


def lines_of_row(row: RowResult) -> Iterator[str]:
    """Title, figures, what is missing, goals."""
    heads = "".join(f"{'× ' + short(base):>15}" for base in row["bases"])
    rounds = max((len(figure["values"]) for figure in row["figures"]), default=0)
    taken = f" · {row['taken']:.0f} s" if "taken" in row else ""
    yield f"{row['name']} · {row['title']} · rounds: {rounds}{taken}"
    yield f"  {'':<{WIDTH}}{'':>10} {'':<16}{heads}"
    for figure in row["figures"]:
        yield line(figure, row["bases"])
    for gap in row["gaps"]:
        yield f"  {gap['name']:<{WIDTH}}{'–':>10} {gap['why']}"
    for verdict in row["goals"]:
        yield f"  {goal(verdict)}"


def short(base: str) -> str:
    """A base as the head of a column."""
    known = {
        "python -c pass": "pass",
        "straight to files": "straight",
        "straight to files, line by line": "line by line",
    }
    return known.get(base, base.replace("one-`Process` script", "script"))


def line(figure: Figure, bases: list[str]) -> str:
    """One line: the median, its multiples, the lowest and highest of the rounds."""
    ratios = "".join(f"{shown(figure['ratios'].get(base)):>15}" for base in bases)
    spread = f"{number(figure['low'])} to {number(figure['high'])}"
    note = f"  {figure['note']}" if figure["note"] else ""
    median = f"{number(figure['median']):>10} {figure['unit']:<16}"
    return f"  {figure['name']:<{WIDTH}}{median}{ratios}   {spread}{note}"


def goal(verdict: Verdict) -> str:
    """A goal, and whether it is met."""
    words = {True: "met", False: "NOT MET", None: "not measured"}[verdict["met"]]
    against = f" (beside {verdict['against']})" if verdict["against"] else ""
    return f"{words + ':':<14}{verdict['goal']}: {shown(verdict['figure'])}{against}"


def summary(results: Results) -> Iterator[str]:
    """How long it took, the number of goals that are met, and each one that is not."""
    if taken := sum(row.get("taken", 0) for row in results["rows"]):
        yield f"{taken / 60:.1f} minutes"
    goals = [(row["name"], verdict) for row in results["rows"] for verdict in row["goals"]]
    yield f"{sum(verdict['met'] is True for _, verdict in goals)} of {len(goals)} goals met"
    for name, verdict in goals:
        if not verdict["met"]:
            yield f"  {name:<12}{goal(verdict)}"


def shown(figure: float | None) -> str:
    """A figure that may be missing."""
    return "–" if figure is None else number(figure)


def number(value: float) -> str:
    """Three significant digits, and never fewer than before the decimal point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
