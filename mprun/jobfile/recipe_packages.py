"""Finds the installed packages that offer recipes, by their metadata: no package is imported."""

from __future__ import annotations

# The group of entry points whose values are packages with recipes.
GROUP = "mprun.recipes"


def recipe_packages() -> list[str]:
    """The names of the packages that installed distributions declare to have recipes, sorted."""
    # It takes 20 ms to import, and few commands need it.
    from importlib.metadata import distributions

    found: set[str] = set()
    for distribution in distributions():
        try:
            entry_points = distribution.entry_points
        except (OSError, ValueError):
            # The metadata of one distribution is damaged: that ends no list of the others.
            continue
        found.update(one.value for one in entry_points if one.group == GROUP)
    return sorted(name for name in found if is_package_name(name))


def is_package_name(name: str) -> bool:
    """Whether a text may be the name of a package: identifiers with dots between them."""
    return all(part.isidentifier() for part in name.split("."))
