"""Counts what recipes multiply to, before their tasks take up time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.errors import MAX_TASKS, JobFileError, TooManyTasks, UsageError
from mprun.jobfile.budget import MAX_RECIPE_DEPTH, MAX_USES
from mprun.jobfile.dependencies import MAX_DEPENDENCIES
from mprun.jobfile.expansion import least_counts, too_many
from mprun.jobfile.packages import names_package
from mprun.jobfile.recipes import recipe_path

if TYPE_CHECKING:
    from mprun.jobfile.recipes import FileLoader
    from mprun.jobfile.syntax.document import Document


def refuse_too_many_of(document: Document, loader: FileLoader) -> None:
    """Raise JobFileError if the recipes of a job file, which `loader` reads, multiply beyond the limits."""
    # Of each file, the least numbers of tasks, of uses of recipes and of dependencies.
    counts: dict[str, tuple[int, int, int]] = {}
    within: list[str] = []

    def count(path: str, user: Document) -> tuple[int, int, int]:
        if path not in counts:
            counts[path] = (1, 0, 0)
            counts[path] = least_counts(user, lambda name: count_recipe(user, name))
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
            path = recipe_path(loader, [user], name)
            return count(path, loader.checked_document(path))
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
    loader.budget_for(document).expect_uses(uses)
