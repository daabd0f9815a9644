"""The scheduler in thousands of random runs, each checked by a model and by the table of transitions.

`--rounds N` is for a longer search: it makes N thousand runs.
"""

from __future__ import annotations

import pytest
from support.random_run import run_seed

BLOCKS = 20


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_runs_keep_every_promise(block, rounds):
    size = 1000 * rounds // BLOCKS
    for seed in range(block * size, (block + 1) * size):
        run_seed(seed)


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_same_seed_gives_the_same_trace(seed):
    assert run_seed(seed).trace == run_seed(seed).trace
