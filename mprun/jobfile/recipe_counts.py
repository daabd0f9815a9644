"""Counts what recipes multiply to, before their tasks take up time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.errors import MAX_TASKS, JobFileError, TooManyTasks, UsageError
from mprun.jobfile.budget import MAX_RECIPE_DEPTH, MAX_USES
from mprun.jobfile.dependencies import MAX_DEPENDENCIES
from mprun.jobfile.expansion import too_many
from mprun.jobfile.packages import names_package
from mprun.jobfile.recipes import recipe_path
from mprun.jobfile.task_builder import merged
from mprun.jobfile.task_checks import task_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.jobfile.checked_files import CheckedFiles
    from mprun.jobfile.syntax.document import Document


def refuse_too_many_of(document: Document, files: CheckedFiles) -> None:
    """Raise JobFileError if the recipes of a job, whose files are `files`, multiply beyond the limits."""
    # Of each file, the least numbers of tasks, of uses of recipes and of dependencies.
    counts: dict[str, tuple[int, int, int]] = {}
    within: list[str] = []

    def count(path: str, user: Document) -> tuple[int, int, int]:
        if path not in counts:
            counts[path] = (1, 0, 0)
            counts[path] = _least_counts(user, lambda name: count_recipe(user, name))
        return counts[path]

    def count_recipe(user: Document, name: str) -> tuple[int, int, int]:
        if len(within) > MAX_RECIPE_DEPTH:
            # Refused when it is expanded, too.
            return 1, 0, 0
        if user is not document and names_package(name):
            # The params of a recipe may decide where its packages are looked for.
            return 1, 0, 0
        within.append(name)
        try:
            path = recipe_path(files, [user], name)
            return count(path, files.document(path))
        except (UsageError, JobFileError):
            # Reported when the recipe is expanded, at the task that uses it.
            return 1, 0, 0
        finally:
            within.pop()

    total, uses, needs = count(document.source.path, document)
    if total > MAX_TASKS:
        raise JobFileError([too_many(("tasks",), document, TooManyTasks(total))])
    if uses > MAX_USES:
        many = f"{uses:,}" if uses < 10**12 else f"over {10**12:,}"
        error = TooManyTasks(f"too many uses of recipes: {many} (limit: {MAX_USES:,})")
        raise JobFileError([too_many(("tasks",), document, error)])
    if needs > MAX_DEPENDENCIES:
        over = f"too many dependencies, groups expanded (limit: {MAX_DEPENDENCIES:,})"
        raise JobFileError([too_many(("tasks",), document, TooManyTasks(over))])
    files.budget_for(document).expect_uses(uses)


def _least_counts(
    document: Document, of_recipe: Callable[[str], tuple[int, int, int]]
) -> tuple[int, int, int]:
    """The least numbers of tasks, of uses of recipes and of dependencies, before any of them is made.

    `of_recipe` returns the same numbers for a recipe, by its name in the document.
    """
    raw: Any = document.root
    total = uses = needs = 0
    # How many tasks a name means, and how many have a dependency on it.
    sizes: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for number in range(len(raw["tasks"])):
        keys = merged(raw, number)
        of_each = of_recipe(keys["uses"]) if "uses" in keys else (1, -1, 0)
        instances = _least_instances(keys.get("matrix"), keys.get("foreach"))
        total += of_each[0] * instances
        uses += (of_each[1] + 1) * instances
        needs += of_each[2] * instances
        sizes[task_name(raw["tasks"][number], number)] = of_each[0] * instances
        given = keys.get("depends_on") or ()
        for name in (given,) if isinstance(given, str) else given:
            waiting[name] = waiting.get(name, 0) + of_each[0] * instances
    needs += sum(count * sizes.get(name, 0) for name, count in waiting.items())
    return total, uses, needs


def _least_instances(matrix: Any, foreach: Any) -> int:
    if isinstance(foreach, list):
        return len(foreach)
    if not isinstance(matrix, dict) or not matrix.keys().isdisjoint(("include", "exclude")):
        return 1
    # Few tasks have one.
    from math import prod

    # The same value twice counts once, and the length of a reference is unknown.
    return prod(len(set(map(repr, axis))) if isinstance(axis, list) else 1 for axis in matrix.values())
