"""Which cases of a test run on every Python; the others run on the default one alone.

Most of what depends on the version of Python depends on little else: one case of a table is enough then,
and the whole table, once, for the rest.
"""

import pytest

from support.runs import START_METHODS


def once(*values, **options):
    """A case that runs on the default Python alone: `pytest.param` with the mark."""
    return pytest.param(*values, marks=pytest.mark.once, **options)


def one_on_each(kept, cases):
    """The cases of one parameter: `kept` runs on every Python, the others once."""
    cases = tuple(cases)
    assert kept in cases
    return [case if case == kept else once(case) for case in cases]


# Forks are what the launcher makes by itself: `fork.py`, with names that are private to CPython.
forked_on_each = pytest.mark.parametrize("method", one_on_each("fork", START_METHODS))
# A new Python imports, and gets by pickle, what a fork has.
spawned_on_each = pytest.mark.parametrize("method", one_on_each("spawn", START_METHODS))
