"""What ordering by earlier durations saves in a run, on random graphs in virtual time.

`python benchmarks/order.py [GRAPHS] [SEED]` makes so many graphs of each size (default 500):
layers, arbitrary graphs, forks and joins, chains beside single tasks; 2 to 8 at once; lognormal or
uniform durations, or few long ones; with and without tokens. For each it prints what the
critical path first saves against file order, in percent of the run's time, negative if the run is
longer: with priorities alone, as mprun chooses, and with that choice if every task takes up to a
fifth less or more than recorded. Then it prints what a choice costs. The graphs are those of the
tests (`tests/support/timed_plans.py`).
"""

import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.timed_plans import estimates, noisy, timed_plan

from mprun.scheduling.critical_path import Priorities
from mprun.scheduling.estimates import RunTimings
from mprun.scheduling.forecast import prioritized
from mprun.scheduling.plan import Plan
from mprun.scheduling.simulation import simulate

GRAPHS = 500
SIZES = (10, 30, 100, 300)
NOISE = 0.2
QUANTILES = {"worst": 0.0, "1%": 0.01, "5%": 0.05, "median": 0.5, "95%": 0.95, "best": 1.0}


def seconds(made: Plan, durations: dict[str, float]) -> float:
    """The duration of the run of a plan in virtual time, in seconds."""
    simulated = simulate(made, estimates(durations))
    assert simulated is not None
    return simulated.seconds


def gains(seed: int, size: int, tokens: bool) -> tuple[float, float, float]:
    """The saved shares of a run's time: by priorities alone, as chosen, as chosen with noise."""
    random = Random(f"{seed} {size} {tokens}")
    made, known = timed_plan(random, size, tokens=tokens)
    with_priorities = made.replace(priorities=Priorities(made, estimates(known)))
    chosen = prioritized(made, [RunTimings(durations=known, until_ready={})])
    actual = noisy(random, known, NOISE)
    return (
        1 - seconds(with_priorities, known) / seconds(made, known),
        1 - seconds(chosen, known) / seconds(made, known),
        1 - seconds(chosen, actual) / seconds(made, actual),
    )


def row(label: str, found: tuple[float, ...]) -> None:
    """Print the distribution of some gains."""
    sorted_gains = sorted(found)
    shares = [sorted_gains[int(share * (len(found) - 1))] * 100 for share in QUANTILES.values()]
    mean = sum(found) / len(found) * 100
    longer = sum(gain < -0.01 for gain in found) / len(found) * 100
    cells = "".join(f"{share:9.2f}" for share in (*shares, mean, longer))
    print(f"{label:<44}{cells}")


def cost(tasks: int) -> float:
    """The CPU time to compute priorities and to choose the order, in microseconds per task."""
    made, known = timed_plan(Random(tasks), tasks, tokens=False)
    begun = time.process_time()
    prioritized(made, [RunTimings(durations=known, until_ready={})])
    return (time.process_time() - begun) / len(made.tasks) * 1e6


def main(graphs: int = GRAPHS, seed: int = 0) -> None:
    """Measure and print the table."""
    heads = "".join(f"{head:>9}" for head in (*QUANTILES, "mean", "> 1% +"))
    print(f"saved of the time of {graphs} runs each, in percent".ljust(44) + heads)
    for tokens in (False, True):
        for size in SIZES:
            found = [gains(seed + number, size, tokens) for number in range(graphs)]
            what = f"{size} tasks, {'tokens' if tokens else 'no tokens'}"
            for label, column in zip(
                ("priorities alone", "chosen", "chosen, ±20 %"), zip(*found, strict=True), strict=True
            ):
                row(f"{what}: {label}", column)
    print("\nwhat a choice costs, in µs of CPU time a task")
    for tasks in (100, 1_000, 1_900, 10_000, 100_000):
        print(f"{tasks:>8} tasks: {min(cost(tasks) for _ in range(3)):6.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
