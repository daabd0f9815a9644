"""Recipes that are taken as one in a thousand random runs, each checked by a model and the table."""

from __future__ import annotations

import pytest
from support.round_run import run_rounds

BLOCKS = 10


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_runs_keep_the_promises_of_rounds(block, rounds):
    size = 1000 * rounds // BLOCKS
    for seed in range(block * size, (block + 1) * size):
        run_rounds(seed)
