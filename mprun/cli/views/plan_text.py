"""A plan as text, for people."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from mprun.cli.views.plan_notes import notes
from mprun.cli.views.plan_values import beginning, params, resolver, starting_order
from mprun.diagnostics import visible
from mprun.jobfile.references import Reference, Template
from mprun.jobfile.resolution import as_text, shown
from mprun.jobfile.units import duration_text
from mprun.reporters.format import display_width, format_duration, headline, plural, truncate
from mprun.scheduling.stop_limit import stop_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mprun.engine.unchanged_forecast import Expected
    from mprun.scheduling.forecast import Forecast
    from mprun.scheduling.plan import Plan, PlannedTask

# Lines are folded at this width, in columns of a terminal, between words.
WIDTH = 80

# Columns of an argument, and of a word of a command, which may be a path or a script for the shell.
MAX_ARGUMENT_WIDTH = 60
MAX_WORD_WIDTH = 200
# How many arguments, or words of a command, are shown.
MAX_ARGUMENTS = 15
# The default join order is listed for at most this many tasks.
MAX_JOINS = 20
# How many tasks of the critical path are shown.
MAX_PATH_TASKS = 10

_INDENT = " " * 6

NO_SKIPS: dict[str, Any] = {}


def plan_lines(
    plan: Plan, forecast: Forecast | None = None, skips: Mapping[str, Expected] = NO_SKIPS
) -> Iterator[str]:
    """The lines of a plan: its header, its forecast, the tasks in the order of their start, the joins."""
    numbers = (len(plan.tasks), plan.mode, plan.max_concurrency, plan.cpus)
    yield headline(plan.job.name, *numbers, plan.start_method)
    tokens = [f"{visible(name)} {number}" for name, number in plan.job.resources.items()]
    values = [f"{visible(name)}={_param_text(value)}" for name, value in params(plan).items()]
    yield from _listed("tokens:", tokens)
    yield from _listed("params:", values)
    if plan.division is not None:
        from mprun.cli.views.plan_shards import shard_lines

        yield from _folded_lines(shard_lines(plan.job, plan.division))
    if forecast is not None:
        yield from _expected(plan, forecast)
    order = starting_order(plan, forecast)
    for position, number in enumerate(order, start=1):
        yield from _task_lines(position, plan.tasks[number], plan, skips)
    yield from _joins(plan)
    yield from _stops(plan, order)


def _folded_lines(lines: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    for head, items in lines:
        yield from _listed(head, items)


def _expected(plan: Plan, forecast: Forecast) -> Iterator[str]:
    if forecast.seconds is not None:
        words = [f"{format_duration(forecast.seconds)} from {plural(forecast.runs, 'earlier run')}"]
        if forecast.plan.priorities is not None:
            words.append("critical path first")
        if forecast.new:
            words.append(f"{plural(forecast.new, 'task')} of unknown duration")
        yield from _listed("expected:", words)
    names = [visible(plan.tasks[number].name) for number in forecast.path]
    if len(names) > MAX_PATH_TASKS:
        names[MAX_PATH_TASKS // 2 : -MAX_PATH_TASKS // 2] = [f"… {len(names) - MAX_PATH_TASKS:,} more …"]
    if names:
        path = " > ".join(names).split(" ")
        yield from _folded(
            ["critical path:", *path[:-1], f"{path[-1]},", format_duration(forecast.path_seconds)], "", "  "
        )


def _param_text(value: object) -> str:
    return truncate(visible(as_text(value)), MAX_ARGUMENT_WIDTH)


def _joins(plan: Plan) -> Iterator[str]:
    if plan.job.join is None and len(plan.join) > MAX_JOINS:
        yield f"join: {plural(len(plan.join), 'task')}, in the order of the file"
        return
    joins = (
        visible(plan.tasks[entry.task].name)
        + (f" ({duration_text(entry.timeout)} at most)" if entry.timeout is not None else "")
        for entry in plan.join
    )
    yield from _listed("join:", joins) if plan.join else iter(["join: nothing"])


def _stops(plan: Plan, order: Sequence[int]) -> Iterator[str]:
    """The daemons in the order in which they are stopped, and how long that takes at most."""
    daemons = [number for number in reversed(order) if plan.tasks[number].task.daemon]
    limit = stop_limit(plan, daemons)
    most = f" ({duration_text(limit.seconds)} at most)" if limit.has_steps else ""
    yield from _listed(f"stopped at the end{most}:", (visible(plan.tasks[number].name) for number in daemons))


def _listed(head: str, items: Iterable[str]) -> Iterator[str]:
    """`head a, b, c`, folded; no line without items."""
    return _folded(_separated(head, items), "", "  ")


def _separated(head: str, items: Iterable[str]) -> Iterator[str]:
    before = ""
    for item in items:
        yield f"{before}," if before and before != head else head
        before = item
    if before:
        yield before


def _task_lines(
    position: int, planned: PlannedTask, plan: Plan, skips: Mapping[str, Expected]
) -> Iterator[str]:
    start = f"{position:>4}. {visible(planned.name)}"
    resolved = resolver(planned)
    call = list(_call(planned, resolved))
    line = f"{start}  {' '.join(call)}"
    if display_width(line) > WIDTH:
        yield start
        *lines, line = _folded(call, _INDENT, _INDENT + "  ")
        yield from lines
    found = [visible(note) for note in notes(planned, plan, resolved, skips.get(planned.name))]
    if not found:
        yield line
        return
    text = f"[{'; '.join(found)}]"
    if display_width(line) + 2 + display_width(text) <= WIDTH:
        yield f"{line}  {text}"
        return
    yield line
    yield from _folded(text.split(" "), _INDENT, _INDENT + " ")


def _call(planned: PlannedTask, resolved: Callable[[Any], Any]) -> Iterator[str]:
    """The words of a call: a target with its arguments, or `$` and a command."""
    task = planned.task
    if task.command is not None:
        return iter(_command(resolved(task.command)))
    args, kwargs = resolved(task.args), resolved(task.kwargs)
    count = sum(len(value) if isinstance(value, (list, tuple, dict)) else 1 for value in (args, kwargs))
    return _called(task.target or "", _some(chain(_positional(args), _keyword(kwargs)), count))


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


def _some(words: Iterable[str], count: int) -> Iterator[str]:
    yield from islice(words, MAX_ARGUMENTS)
    if count > MAX_ARGUMENTS:
        yield f"… {count - MAX_ARGUMENTS:,} more"


def _positional(args: Any) -> Iterator[str]:
    if isinstance(args, (list, tuple)):
        yield from map(_value, args)
    else:
        yield f"*{_value(args)}"


def _keyword(kwargs: Any) -> Iterator[str]:
    if isinstance(kwargs, dict):
        for name, value in kwargs.items():
            yield f"{visible(as_text(shown(name)))}={_value(value)}"
    else:
        yield f"**{_value(kwargs)}"


def _value(value: Any) -> str:
    """A value as Python writes it; a reference that only the run can resolve, as in the job file."""
    if isinstance(value, Reference):
        return truncate(visible(str(value)), MAX_ARGUMENT_WIDTH)
    text = shown(beginning(value, MAX_ARGUMENT_WIDTH))
    return truncate(visible(repr(text)), MAX_ARGUMENT_WIDTH)


def _command(words: Any) -> list[str]:
    from shlex import quote

    if not isinstance(words, (list, tuple)):
        words = [words]
    if len(words) == 3 and words[0] in ("sh", "/bin/sh") and words[1] == "-c":
        # The job file has it as one string.
        return ["$", *truncate(visible(as_text(shown(words[2]))), MAX_WORD_WIDTH).split(" ")]
    texts = [as_text(shown(word))[: MAX_WORD_WIDTH + 1] for word in words]
    plain = [isinstance(word, (Reference, Template)) or word == "***" for word in words]
    quoted = [text if bare else quote(text) for text, bare in zip(texts, plain, strict=True)]
    return ["$", *_some([truncate(visible(text), MAX_WORD_WIDTH) for text in quoted], len(quoted))]


def _folded(words: Iterable[str], first: str, other: str) -> Iterator[str]:
    """Words, joined by spaces, folded into lines; `first` begins the first line, `other` each other line."""
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
