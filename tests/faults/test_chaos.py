"""Random jobs are killed, or their disk is full, at every failpoint and at random moments.

`--rounds N` runs N rounds of each failpoint, and 3 N at random moments, always with the same seeds: this
notices what breaks. `make reliability` searches: it runs any number of rounds, and reports figures.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.chaos_cases import AT_FAILPOINTS, CASES, play
from support.kills import BOUND
from support.timing import assert_quick

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# How many rounds run at once, because a round mostly waits.
MAX_ROUNDS_AT_ONCE = 4


@pytest.mark.parametrize("case", CASES)
def test_the_record_of_a_killed_run_can_be_trusted(tmp_path, case, rounds):
    def go(number):
        directory = tmp_path / str(number)
        directory.mkdir()
        code, seconds, defects = play(directory, case, number)
        assert_quick(seconds, BOUND, time.monotonic)
        return code, seconds, [defect for defect in defects if not defect[0].startswith("late,")]

    # A failpoint is the same moment in each round.
    numbers = range(rounds if case in AT_FAILPOINTS else 3 * rounds)
    with ThreadPoolExecutor(MAX_ROUNDS_AT_ONCE) as pool:
        seen = list(pool.map(go, numbers))
    codes, seconds, defects = zip(*seen, strict=True)
    hit = sum(code != 0 for code in codes)
    print(
        f"\n{case}: {len(codes)} rounds, {hit} hit in time, longest {max(seconds) * 1000:.0f} ms",
        end=" ",
    )
    assert {number: found for number, found in zip(numbers, defects, strict=True) if found} == {}
