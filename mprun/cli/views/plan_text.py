"""A plan as text, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.cli.views.plan_notes import notes
from mprun.cli.views.plan_values import known, params, starts
from mprun.diagnostics import visible
from mprun.jobfile.references import Reference, Template, as_text, shown
from mprun.jobfile.units import duration_text
from mprun.reporters.format import display_width, format_duration, headline, plural, truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mprun.scheduling.forecast import Forecast
    from mprun.scheduling.plan import Plan, PlannedTask

# A line is folded at this many columns of a terminal, between its words.
WIDTH = 80

# An argument is shown with at most this many characters, a word of a command with more:
# it may be a path, or a script for the shell. Of either, at most so many are shown.
ARGUMENT_LIMIT = 60
WORD_LIMIT = 200
ARGUMENTS = 15

# A join order that nobody wrote is not spelled out for more tasks than these.
JOINS = 20

# A critical path is shown with at most so many tasks.
PATH = 10

_INDENT = " " * 6


def plan_lines(plan: Plan, forecast: Forecast | None = None) -> Iterator[str]:
    """The lines of a plan: what it is, what to expect, each task in the order of its start, the joins."""
    numbers = (len(plan.tasks), plan.mode, plan.max_concurrency, plan.cpus)
    yield headline(plan.job.name, *numbers, plan.start_method)
    tokens = [f"{visible(name)} {number}" for name, number in plan.job.resources.items()]
    values = [f"{visible(name)}={_of_param(value)}" for name, value in params(plan).items()]
    yield from _listed("tokens:", tokens)
    yield from _listed("params:", values)
    if forecast is not None:
        yield from _expected(plan, forecast)
    for place, number in enumerate(starts(plan, forecast), start=1):
        yield from _task_lines(place, plan.tasks[number], plan)
    yield from _joins(plan)
    daemons = (visible(planned.name) for planned in reversed(plan.tasks) if planned.task.daemon)
    yield from _listed("stopped at the end:", daemons)


def _expected(plan: Plan, forecast: Forecast) -> Iterator[str]:
    if forecast.seconds is not None:
        words = [f"{format_duration(forecast.seconds)} from {plural(forecast.runs, 'earlier run')}"]
        if forecast.plan.priorities is not None:
            words.append("critical path first")
        if forecast.new:
            words.append(f"{plural(forecast.new, 'task')} of unknown duration")
        yield from _listed("expected:", words)
    names = [visible(plan.tasks[number].name) for number in forecast.path]
    if len(names) > PATH:
        names[PATH // 2 : -PATH // 2] = [f"… {len(names) - PATH:,} more …"]
    if names:
        way = " > ".join(names).split(" ")
        yield from _folded(
            ["critical path:", *way[:-1], f"{way[-1]},", format_duration(forecast.path_seconds)], "", "  "
        )


def _of_param(value: object) -> str:
    return truncate(visible(as_text(value)), ARGUMENT_LIMIT)


def _joins(plan: Plan) -> Iterator[str]:
    if plan.job.join is None and len(plan.join) > JOINS:
        yield f"join: {plural(len(plan.join), 'task')}, in the order of the file"
        return
    joins = (
        visible(plan.tasks[entry.task].name)
        + (f" ({duration_text(entry.timeout)} at most)" if entry.timeout is not None else "")
        for entry in plan.join
    )
    yield from _listed("join:", joins) if plan.join else iter(["join: nothing"])


def _listed(head: str, items: Iterable[str]) -> Iterator[str]:
    """`head a, b, c`, folded; nothing where there are no items."""
    return _folded(_separated(head, items), "", "  ")


def _separated(head: str, items: Iterable[str]) -> Iterator[str]:
    before = ""
    for item in items:
        yield f"{before}," if before and before != head else head
        before = item
    if before:
        yield before


def _task_lines(place: int, planned: PlannedTask, plan: Plan) -> Iterator[str]:
    start = f"{place:>4}. {visible(planned.name)}"
    call = list(_call(planned, known(planned)))
    line = f"{start}  {' '.join(call)}"
    if display_width(line) > WIDTH:
        yield start
        *lines, line = _folded(call, _INDENT, _INDENT + "  ")
        yield from lines
    said = [visible(note) for note in notes(planned, plan, known(planned))]
    text = f"[{'; '.join(said)}]"
    if not said or display_width(line) + 2 + display_width(text) <= WIDTH:
        yield f"{line}  {text}" if said else line
        return
    yield line
    yield from _folded(text.split(" "), _INDENT, _INDENT + " ")


def _call(planned: PlannedTask, resolved: Callable[[Any], Any]) -> Iterator[str]:
    """The words of what is called: a target with its arguments, or `$` and a command."""
    task = planned.task
    if task.command is not None:
        return iter(_command(resolved(task.command)))
    arguments = _some([*_positional(resolved(task.args)), *_keyword(resolved(task.kwargs))])
    return _called(task.target or "", arguments)


def _called(target: str, arguments: Iterator[str]) -> Iterator[str]:
    before = f"{target}("
    first = True
    for argument in arguments:
        if first:
            before += argument
        else:
            yield f"{before},"
            before = argument
        first = False
    yield f"{before})"


def _some(words: Sequence[str]) -> Iterator[str]:
    yield from words[:ARGUMENTS]
    if len(words) > ARGUMENTS:
        yield f"… {len(words) - ARGUMENTS:,} more"


def _positional(args: Any) -> list[str]:
    if isinstance(args, (list, tuple)):
        return [_value(value) for value in args]
    return [f"*{_value(args)}"]


def _keyword(kwargs: Any) -> list[str]:
    if isinstance(kwargs, dict):
        return [f"{visible(as_text(shown(name)))}={_value(value)}" for name, value in kwargs.items()]
    return [f"**{_value(kwargs)}"]


def _value(value: Any) -> str:
    """A value as Python writes it; what is known only during the run as the job file does."""
    if isinstance(value, Reference):
        return truncate(visible(str(value)), ARGUMENT_LIMIT)
    # Most of a long text would be written for nothing.
    text = value[: ARGUMENT_LIMIT + 1] if isinstance(value, str) else shown(value)
    return truncate(visible(repr(text)), ARGUMENT_LIMIT)


def _command(words: Any) -> list[str]:
    from shlex import quote

    if not isinstance(words, (list, tuple)):
        words = [words]
    if len(words) == 3 and words[0] in ("sh", "/bin/sh") and words[1] == "-c":
        # Written as one string, so shown as one.
        return ["$", *truncate(visible(as_text(shown(words[2]))), WORD_LIMIT).split(" ")]
    texts = [as_text(shown(word))[: WORD_LIMIT + 1] for word in words]
    plain = [isinstance(word, (Reference, Template)) or word == "***" for word in words]
    quoted = [text if bare else quote(text) for text, bare in zip(texts, plain, strict=True)]
    return ["$", *_some([truncate(visible(text), WORD_LIMIT) for text in quoted])]


def _folded(words: Iterable[str], first: str, other: str) -> Iterator[str]:
    """Words, joined by spaces, as lines that fit; `first` and `other` begin the first and the others."""
    line, used = "", 0
    for word in words:
        width = display_width(word)
        if line and used + 1 + width <= WIDTH:
            line, used = f"{line} {word}", used + 1 + width
            continue
        if line:
            yield line
        start = other if line else first
        line, used = start + word, len(start) + width
    if line:
        yield line
