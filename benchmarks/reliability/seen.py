"""The results of trials, and their figures."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Seen:
    """The results of some trials.

    `values` are the measurements by name, in seconds unless the name says otherwise.
    Each of `defects` is the number of its trial, the kind, and the details.
    """

    trials: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)
    defects: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def add_defect(self, number: int, kind: str, details: object) -> None:
        self.defects.append((number, kind, str(details)))

    def count(self, *kinds: str) -> int:
        """The number of defects whose kind begins with one of these words; all if none is given."""
        return sum(kind.startswith(kinds) for _, kind, _ in self.defects) if kinds else len(self.defects)

    def merge(self, other: "Seen") -> None:
        self.trials += other.trials
        self.defects += other.defects
        for name, values in other.values.items():
            self.values.setdefault(name, []).extend(values)


@dataclass
class Figure:
    """One line of the table; `holds` is None without a goal."""

    name: str
    goal: str
    seen: str
    trials: int
    holds: bool | None = None


def none_of(name: str, seen: Seen, *kinds: str, trials: int | None = None) -> Figure:
    """The number of defects of these kinds, which must be 0."""
    count = seen.count(*kinds)
    return Figure(name, "0", str(count), seen.trials if trials is None else trials, count == 0)


def spread(
    name: str, values: Iterable[float], *, p99: float | None = None, worst: float | None = None
) -> Figure:
    """The figure of a duration; `p99` and `worst` are its goals, in seconds."""
    ordered = sorted(values)
    goals = [
        f"{word} < {_format(goal)}" for word, goal in (("p99", p99), ("worst", worst)) if goal is not None
    ]
    if not ordered:
        return Figure(name, ", ".join(goals), "-", 0)
    measured = {"p50": _at(ordered, 0.5), "p99": _at(ordered, 0.99), "worst": ordered[-1]}
    holds = (p99 is None or measured["p99"] < p99) and (worst is None or measured["worst"] < worst)
    text = ", ".join(f"{word} {_format(value)}" for word, value in measured.items())
    return Figure(name, ", ".join(goals), text, len(ordered), holds if goals else None)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _format(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


HEAD = ("figure", "goal", "seen", "trials", "")


def table(rows: list[tuple[Figure, str]]) -> str:
    """The figures in columns, each measure's command below them."""
    lines = [HEAD]
    for figure, _ in rows:
        met = {True: "holds", False: "DOES NOT HOLD", None: ""}[figure.holds]
        lines.append((figure.name, figure.goal, figure.seen, f"{figure.trials:,}", met))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*shown, "", *dict.fromkeys(f"# {command}" for _, command in rows)])


def as_json(rows: list[tuple[Figure, str]], **more: object) -> str:
    """The same for programs."""
    return json.dumps({"figures": [{**vars(figure), "command": command} for figure, command in rows], **more})
