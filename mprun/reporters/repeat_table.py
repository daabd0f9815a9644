"""Shows how often the tasks failed that a run has repeated, and how to repeat the first failure."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import visible
from mprun.jobfile.resolution import HIDDEN
from mprun.record.commands import short_path
from mprun.record.copies import copy_number, repeat_summary, without_copy
from mprun.reporters import table
from mprun.reporters.format import format_percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from mprun.record.copies import RepeatSummary
    from mprun.record.run_state import RunState

# The column of what a retry has saved is for tasks that have retries.
HEAD = ("TASK", "RUNS", "FAILURES", "FLAKY", "RATE", "95 % INTERVAL")
_FLAKY = HEAD.index("FLAKY")


def write_repeats(state: RunState, stream: TextIO, colour: bool) -> None:
    """Write the table of all tasks, at most `table.MAX_ROWS` of them, and how to repeat the first failure."""
    summary = repeat_summary(state)
    if summary is None:
        return
    head, *shown = cells(summary)
    layout = table.Layout(folded=(0,), right=tuple(range(1, len(head))), optional=("FLAKY", "RUNS"), styled=0)
    table.write(head, shown, stream, colour, layout)
    if line := first_failure_line(state, summary):
        stream.write(line + "\n")


def cells(summary: RepeatSummary) -> list[tuple[str, ...]]:
    """The head of the table and at most `table.MAX_ROWS` rows, without a column that has nothing."""
    left_out = () if any(task.flaky for task in summary.tasks) else (_FLAKY,)
    return [
        tuple(cell for column, cell in enumerate(row) if column not in left_out)
        for row in [HEAD, *rows(summary)[: table.MAX_ROWS]]
    ]


def rows(summary: RepeatSummary) -> list[tuple[str, ...]]:
    """A row for each task, those that fail most often first."""
    return [
        (
            visible(task.task),
            str(task.runs),
            str(task.failures),
            str(task.flaky),
            format_percent(task.rate),
            f"{format_percent(task.low)} to {format_percent(task.high)}",
        )
        for task in summary.tasks
    ]


def first_failure_line(state: RunState, summary: RepeatSummary) -> str:
    """Which copy failed first, and how it is repeated; empty if none failed."""
    if summary.first_failure is None:
        return ""
    words = " ".join(map(shlex.quote, repeat_words(state, summary)))
    return visible(f"first failure: {summary.first_failure}; to repeat it: mprun {words}")


def repeat_words(state: RunState, summary: RepeatSummary) -> list[str]:
    """The words after `mprun` that repeat the first failure: its task, those beside it, and the same seed."""
    started = state.started
    if started is None or summary.first_failure is None:
        return []
    words = [short_path(started.file)]
    known = {without_copy(name) for name in state.tasks if copy_number(name)}
    if known == set(summary.beside):
        words += [word for name in _texts(started.options.get("names")) for word in ("-k", name)]
        words += [word for tag in _texts(started.options.get("tags")) for word in ("-t", tag)]
    else:
        words += _selection(state, summary)
    if started.options.get("with_dependencies") is False:
        words.append("--no-deps")
    words += _params(started.params)
    words += ["--repeat", str(summary.copies), "-j", str(started.max_parallel)]
    if summary.seed is not None:
        words += ["--seed", str(summary.seed)]
    return [*words, "--until-failure"]


def _selection(state: RunState, summary: RepeatSummary) -> Iterator[str]:
    """The task that failed, then those beside it."""
    failed = without_copy(summary.first_failure or "")
    expanded = {without_copy(name) for name in state.expansions()}
    names = [failed, *(name for name in summary.beside if name != failed)]
    # An instance that is known only during the run cannot be selected before it.
    whole = (name.partition("[")[0] for name in names)
    yield from dict.fromkeys(
        group if group in expanded else name for name, group in zip(names, whole, strict=True)
    )


def _params(params: dict[str, Any]) -> Iterator[str]:
    for name, value in params.items():
        yield "-p"
        if value == HIDDEN:
            # A secret is not in the record.
            yield f"{name}=@FILE"
        else:
            yield f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def _texts(found: Any) -> Sequence[str]:
    """The texts in a list of a record."""
    return [one for one in found if isinstance(one, str)] if isinstance(found, (list, tuple)) else []
