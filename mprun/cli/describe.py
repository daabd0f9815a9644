"""The command that describes a job file: its params, its tasks and how to run it."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from mprun.cli.lean_imports import import_yaml_parser
from mprun.cli.messages import print_json, print_lines
from mprun.cli.options import complete_job, json_option
from mprun.cli.views.job_params import as_object, example, in_words
from mprun.diagnostics import visible
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.model import PARAM_VARIABLE, STANDARD_INPUT_PATH
from mprun.jobfile.references import Reference, Template
from mprun.jobfile.summary import summary_of
from mprun.jobfile.task_checks import RUN_KEYS, task_name
from mprun.record.commands import shell_word, short_path
from mprun.reporters.format import column_widths, pad, plural
from mprun.reporters.terminal import terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.model import Job
    from mprun.jobfile.summary import JobSummary, ParamSummary

# Tasks that are shown as text.
_MAX_TASKS = 100


@click.command()
@click.argument("job", type=click.Path(readable=False), shell_complete=complete_job)
@json_option("One JSON object.")
def describe(job: str, as_json: bool) -> int:
    """Describe a job file: its params, its tasks, and how to run it.

    JOB is a YAML file, or PACKAGE:FILE for one in an installed package. `mprun JOB --help` shows
    the same. No target is imported.
    """
    outside = {name: text for name, text in os.environ.items() if not name.startswith(PARAM_VARIABLE)}
    import_yaml_parser()
    # What a run would use that sets nothing: the params of this environment are not part of the job file.
    loaded = load_job_file(job, {}, (), outside, lenient=True)
    summary = summary_of(loaded.origin.document)
    if as_json:
        print_json(_as_object(job, loaded, summary))
    else:
        print_lines(_lines(job, loaded, summary))
    return 0


def _lines(named: str, job: Job, summary: JobSummary) -> Iterator[str]:
    first, *rest = summary.description.splitlines() or [""]
    yield visible(f"{summary.name}: {first or plural(len(job.tasks), 'task')}")
    yield from (visible(line) for line in rest)
    if first:
        yield ""
    if job.path != STANDARD_INPUT_PATH:
        yield f"file: {visible(short_path(job.path))}"
    if summary.requires:
        yield f"requires: {visible(summary.requires)}"
    rows = [
        [
            visible(one.param.name),
            in_words(one.param, _default(job, one.param.name)),
            visible(one.description),
        ]
        for one in summary.params
    ]
    yield from _table("params:", rows)
    tasks = list(_tasks(job))
    rows = [[visible(task["name"]), _what(task), visible(task["description"])] for task in tasks[:_MAX_TASKS]]
    yield from _table("tasks:", rows)
    if len(tasks) > _MAX_TASKS:
        yield f"  and {plural(len(tasks) - _MAX_TASKS, 'more task')}"
    yield from _table("outputs:", [[visible(name), visible(text)] for name, text in summary.outputs])
    if tags := _tags(tasks):
        yield f"tags: {', '.join(map(visible, tags))}"
    yield f"example: {_example(named, summary)}"
    yield "options of a run: mprun run --help"


def _default(job: Job, name: str) -> Any:
    """The value of a param that a run would use that does not set it; None if it has none."""
    value = job.params.get(name)
    return None if isinstance(value, (Reference, Template)) else value


def _table(head: str, rows: list[list[str]]) -> Iterator[str]:
    if not rows:
        return
    yield head
    widths = column_widths(rows)
    columns = terminal_width(sys.stdout)
    is_wide = columns is not None and sum(widths) + 2 * len(widths) > columns
    for row in rows:
        *cells, last = (pad(cell, width) for cell, width in zip(row, widths, strict=True))
        if not is_wide:
            cells.append(last)
        yield f"  {'  '.join(cells)}".rstrip()
        if is_wide and row[-1]:
            # The terminal breaks only what is still too long.
            yield f"      {row[-1]}"


def _tasks(job: Job) -> Iterator[dict[str, Any]]:
    """The tasks as the file lists them; `tasks` is how many each one becomes."""
    root: Any = job.origin.document.root
    defaults = root.get("defaults") or {}
    counts = Counter(instance.groups[0] if instance.groups else instance.name for instance in job.tasks)
    for number, own in enumerate(root["tasks"]):
        name = task_name(own, number)
        has_own = any(key in own for key in RUN_KEYS)
        holder = own if has_own else defaults
        kind = next((key for key in RUN_KEYS if key in holder), "target")
        runs = holder.get(kind)
        tags = own.get("tags", defaults.get("tags")) or ()
        yield {
            "name": name,
            "kind": kind,
            "runs": runs if isinstance(runs, str) else shlex.join(map(str, runs or ())),
            "description": own.get("description", defaults.get("description")) or "",
            "tags": [tags] if isinstance(tags, str) else [str(tag) for tag in tags],
            "tasks": counts[name],
        }


def _what(task: dict[str, Any]) -> str:
    # As it runs, not as YAML has to escape it.
    runs = task["runs"].partition("\n")[0].replace("$${", "${")
    words = [visible(runs)[:80]]
    if task["kind"] == "uses":
        words.insert(0, "uses")
    if task["tasks"] > 1:
        words.append(f"({plural(task['tasks'], 'task')})")
    if task["tags"]:
        words.append(f"[{', '.join(map(visible, task['tags']))}]")
    return " ".join(words)


def _tags(tasks: list[dict[str, Any]]) -> list[str]:
    return sorted({tag for task in tasks for tag in task["tags"]})


def _example(named: str, summary: JobSummary) -> str:
    """A command line for a shell, with a value for each required param."""
    options: list[str] = []
    for one in summary.params:
        if not one.param.required:
            continue
        # Every user of the machine can read the command line, and a shell keeps it.
        value = "@FILE" if one.param.secret else example(one.param)
        options += ["-p", shell_word(f"{one.param.name}={value}")]
    return " ".join(["mprun", shell_word(named), *options])


def _as_object(named: str, job: Job, summary: JobSummary) -> dict[str, Any]:
    tasks = list(_tasks(job))
    return {
        "job": named,
        "file": job.path,
        "name": summary.name,
        "description": summary.description,
        "requires": summary.requires or None,
        "params": [{**as_object(one), "default": _default_json(job, one)} for one in summary.params],
        "tasks": tasks,
        "outputs": [{"name": name, "reference": text} for name, text in summary.outputs],
        "tags": _tags(tasks),
        "example": _example(named, summary),
    }


def _default_json(job: Job, one: ParamSummary) -> Any:
    return None if one.param.secret else _default(job, one.param.name)
