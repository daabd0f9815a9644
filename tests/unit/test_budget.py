"""What each part of a job file costs of the budget, in units of about a nanosecond."""

from __future__ import annotations

import pytest

from mprun.errors import OutOfBudget
from mprun.jobfile import budget
from mprun.jobfile.budget import Budget, node_count
from mprun.jobfile.syntax.document import parse

SOURCE = parse("tasks: []", "job.yaml").source


@pytest.fixture
def spent():
    """How many units a method of a budget spends."""

    def spend(method, *arguments):
        one = Budget(SOURCE)
        before = one.left
        getattr(one, method)(*arguments)
        return before - one.left

    return spend


@pytest.mark.parametrize(
    ("node", "count"),
    [("text", 1), ([], 1), ([1, [2, 3]], 5), ((1, 2), 3), ({}, 1), ({"a": 1}, 3), ({"a": {"b": [1]}}, 6)],
)
def test_keys_values_and_containers_are_nodes(node, count):
    assert node_count(node) == count


def test_a_text_costs_by_the_bytes_that_it_may_take_in_memory(spent):
    kept, checked = budget.KEPT_BYTE, budget.CHECKED_BYTE
    assert spent("spend_text", "a" * 10, True, None) == budget.PIECE + 10 * kept
    assert spent("spend_text", "a" * 10, False, None) == budget.PIECE + 10 * checked
    # One character beyond ASCII makes a string of Python's up to four times as large.
    assert spent("spend_text", "a" * 9 + "\u20ac", True, None) == budget.PIECE + 40 * kept


def test_instances_cost_as_much_as_one_of_them_each(spent):
    assert spent("spend_instances", 800, 5) == 800 / budget.CHECKED_BYTE * 5
    assert spent("spend_instances", 800, 0) == 0


def test_what_most_jobs_have_is_free(spent):
    assert spent("spend_variables", budget.FREE_VARIABLES) == 0
    assert spent("spend_variables", budget.FREE_VARIABLES + 2) == 2 * budget.VARIABLE
    nodes = [0] * (budget.FREE_NODES - 1)
    assert spent("spend_defaults", nodes, 10, SOURCE, 0) == 0
    assert spent("spend_defaults", [0, *nodes], 10, SOURCE, 0) == 10 * budget.NODE_OF_DEFAULTS
    characters = budget.FREE_CHARACTERS + 3 * budget.FREE_CHARACTERS_OF_TASK
    assert spent("spend_use", characters, 3, 1) == 0
    assert spent("spend_use", characters + 1, 3, 1) == budget.CHARACTER_OF_RECIPE


def test_what_a_run_resolves_costs_nothing():
    one = Budget(SOURCE)
    one.close()
    one.spend(10 * budget.LIMIT)
    assert one.left > budget.LIMIT


def test_recipes_are_nested_so_deep_and_no_deeper():
    one = Budget(SOURCE)
    one.expect_uses(2)
    one.spend_use(0, 1, budget.MAX_RECIPE_DEPTH)
    with pytest.raises(OutOfBudget, match="recipes are nested more than 64 deep"):
        one.spend_use(0, 1, budget.MAX_RECIPE_DEPTH + 1)
