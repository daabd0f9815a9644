"""The scheduler in ten thousand random runs, each judged by a model."""

from __future__ import annotations

import pytest
from support.world import play

RUNS, BLOCKS = 10_000, 20


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_runs_keep_every_promise(block):
    size = RUNS // BLOCKS
    for seed in range(block * size, (block + 1) * size):
        play(seed)


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_same_seed_gives_the_same_trace(seed):
    assert play(seed).trace == play(seed).trace
