"""Random jobs, killed or out of disk at every failpoint and at random moments: what must hold, holds.

`--rounds N` goes 3 N rounds for each case; each is replayed by its seed. `make reliability`
goes as many as wished, and says what it saw.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.chaos_cases import CASES, play

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# A round waits more than it works: so many go on at once.
AT_ONCE = 4


@pytest.mark.parametrize("case", CASES)
def test_whatever_befalls_a_run_its_record_can_be_trusted(tmp_path, case, rounds):
    def go(number):
        directory = tmp_path / str(number)
        directory.mkdir()
        return play(directory, case, number)

    numbers = range(3 * rounds)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(go, numbers))
    codes, seconds, defects = zip(*seen, strict=True)
    hit = sum(code != 0 for code in codes)
    print(
        f"\n{case}: {len(codes)} rounds, {hit} not over before, longest {max(seconds) * 1000:.0f} ms", end=" "
    )
    assert {number: found for number, found in zip(numbers, defects, strict=True) if found} == {}
