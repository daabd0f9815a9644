"""Shell completion of job files, and of what one declares: its params, their choices and its tasks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.cli.completion import job_files_and_recipes
from mprun.cli.lean_imports import import_yaml_parser
from mprun.diagnostics import is_visible
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.jobfile.packages import names_package
from mprun.jobfile.resolution import as_text
from mprun.jobfile.summary import read_summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import click
    from click.shell_completion import CompletionItem

    from mprun.jobfile.param_types import Param

# The user waits for the list, and does not read a longer one.
_MAX_ITEMS = 200
# Bytes of a job file: a larger one takes longer to read than anyone waits for a completion.
_MAX_BYTES = 512 * 1024


def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The job files, params, choices or tasks that begin with the text; none if the job file is invalid.

    Never raises: what the shell would show of it would be in the middle of the command line.
    """
    from click.shell_completion import CompletionItem

    try:
        if parameter.name in ("job", "jobs"):
            return job_files_and_recipes(incomplete)
        found = list(_texts(context, parameter, incomplete))
    except Exception:
        return []
    return [CompletionItem(text) for text in found[:_MAX_ITEMS]]


def _texts(context: click.Context, parameter: click.Parameter, incomplete: str) -> Iterator[str]:
    job = context.params.get("job") or _job_of_words()
    if not job or job == STANDARD_INPUT_PATH:
        return
    if parameter.name == "params":
        yield from _beginning(_of_params(_params(job), incomplete), incomplete)
        return
    yield from _beginning(_tasks(job), incomplete)


def _job_of_words() -> str | None:
    """The first word that names a job file.

    While the value of an option is completed, click does not look at the words before it.
    """
    from click.shell_completion import split_arg_string

    words = split_arg_string(os.environ.get("COMP_LINE") or os.environ.get("COMP_WORDS", ""))[1:]
    return next((word for word in words if names_package(word) or os.path.isfile(word)), None)


def _beginning(texts: Iterable[str], incomplete: str) -> Iterator[str]:
    for text in texts:
        if text.startswith(incomplete) and all(map(is_visible, text)):
            yield text


def _params(job: str) -> list[Param]:
    import_yaml_parser()
    return [one.param for one in read_summary(job, os.environ, max_bytes=_MAX_BYTES).params]


def _of_params(params: list[Param], incomplete: str) -> Iterator[str]:
    """`name=` of each param; once a name is complete, its values."""
    name, equals, _ = incomplete.partition("=")
    for param in params:
        if not equals:
            yield f"{param.name}="
        elif param.name == name:
            yield from (f"{name}={value}" for value in _values(param))


def _values(param: Param) -> Iterator[str]:
    if param.enum is not None:
        yield from map(as_text, param.enum)
    elif param.kind == "boolean":
        yield from ("true", "false")


def _tasks(job: str) -> Iterator[str]:
    """The names of the tasks, before them those of their groups."""
    import_yaml_parser()
    # Refuses what is too large.
    read_summary(job, os.environ, max_bytes=_MAX_BYTES)
    loaded = load_job_file(job, {}, (), os.environ, lenient=True)
    yield from dict.fromkeys(name for task in loaded.tasks for name in (*task.groups, task.name))
