"""Survivors of a kill of engine, launcher or both; the tasks fork twice, hide and ignore signals."""

from itertools import product
from pathlib import Path
from random import Random

from seen import Figure, Seen, none_of, spread
from support.kills import BOUND, Kills
from support.runs import START_METHODS

TRIALS = 75
# The number of killed runs in one directory when the next start cleans up.
BATCH = 5
# Fewer kills of both, because only the next start cleans up after them.
COMBINATIONS = list(product(["engine", "launcher", "engine", "launcher", "both"], START_METHODS))


def play(directory: Path, numbers: range, random: Random) -> Seen:
    seen = Seen()
    who, method = COMBINATIONS[numbers.start // BATCH % len(COMBINATIONS)]
    kills = Kills(directory, method)
    for number in numbers:
        seconds, defects = kills.play(who, random)
        seen.trials += 1
        seen.add(f"{who} {method}", seconds)
        for kind, details in defects:
            seen.add_defect(number, kind, f"{who} killed under {method}: {details}")
    for kind, details in kills.close():
        seen.add_defect(numbers.start, kind, f"{who} killed under {method}: {details}")
    return seen


def figures(seen: Seen) -> list[Figure]:
    alone = [value for name, values in seen.values.items() if not name.startswith("both") for value in values]
    return [
        none_of("survivors of a kill", seen, "survivor"),
        none_of("… and what the next start does not end", seen, "not recovered"),
        none_of("… and wrong exit codes", seen, "exit code"),
        Figure("… late, for whatever reason", "", str(seen.count("late")), seen.trials),
        spread("gone after a kill of engine or launcher", alone, p99=0.1, worst=BOUND),
        *(spread(f"… {name}", values, worst=BOUND) for name, values in sorted(seen.values.items())),
    ]
