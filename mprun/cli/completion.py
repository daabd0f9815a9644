"""Shell completion of job files and recipes, of the ids of runs, and of the names of their tasks."""

from __future__ import annotations

import os
import sys
from itertools import islice
from typing import TYPE_CHECKING

from mprun.record.packed_path import is_packed
from mprun.record.run_list import find_run, list_runs
from mprun.record.state_dir import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click
    from click.shell_completion import CompletionItem

# The user waits for the list, and does not read a longer one.
_MAX_RECIPES = 100
_MAX_RUNS = 100
_MAX_RECORD_LINES = 5000


def job_files_and_recipes(incomplete: str) -> list[CompletionItem]:
    """Files, and the recipes of installed packages whose name begins with the text, if it has any."""
    from click.shell_completion import CompletionItem

    recipes = islice(_recipes(incomplete), _MAX_RECIPES) if incomplete else ()
    return [CompletionItem(incomplete, type="file"), *map(CompletionItem, recipes)]


def _recipes(incomplete: str) -> Iterator[str]:
    """Those of the packages that declare some; after `package:`, those of any package."""
    # Few words that are completed name a job.
    from mprun.jobfile.packages import PackageFileError, find_package, job_files
    from mprun.jobfile.recipe_packages import is_package_name, recipe_packages

    named, colon, _ = incomplete.partition(":")
    names = [named] if colon else [name for name in recipe_packages() if name.startswith(named)]
    for name in filter(is_package_name, names):
        try:
            package = find_package(name, [os.curdir, *sys.path], remedies=False)
        except PackageFileError:
            continue
        for file in job_files(package):
            recipe = f"{name}:{file}"
            if recipe.startswith(incomplete) and recipe.isprintable():
                yield recipe


def complete_run(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[str] | list[CompletionItem]:
    """The newest runs whose id begins with the text, without reading them; files if there are none."""
    from mprun.errors import MprunError

    names = (directory.run_id for directory in list_runs(_state_dir(context)))
    try:
        found = list(islice((name for name in names if name.startswith(incomplete)), _MAX_RUNS))
    except MprunError:
        found = []
    if found or not incomplete:
        return found
    from click.shell_completion import CompletionItem

    # A packed run.
    return [CompletionItem(incomplete, type="file")]


def complete_task(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The tasks of the run and their groups, as far as the first lines of its record name them."""
    from mprun.errors import MprunError

    run = context.params.get("run")
    if run is None and (first := (context.params.get("tasks") or ("",))[0]) and is_packed(first):
        run = first
    try:
        names = dict.fromkeys(_tasks(_state_dir(context), run))
    except (MprunError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]


def _tasks(state_dir: str, run: str | None) -> Iterator[str]:
    from mprun.cli.views.logs import names_of
    from mprun.record.reader import read_lines

    for line in islice(read_lines(find_run(state_dir, run)), _MAX_RECORD_LINES):
        task = line.get("task") if isinstance(line, dict) else None
        if isinstance(task, str):
            yield from names_of(task)


def _state_dir(context: click.Context) -> str:
    # While a shell completes, click does not look up all defaults and variables.
    return context.params.get("state_dir") or os.environ.get("MPRUN_STATE_DIR") or DEFAULT
