"""The records of random runs, killed or out of disk space at failpoints and random moments, and resumed."""

from pathlib import Path
from random import Random

import support.chaos_cases
from seen import Figure, Seen, none_of, spread
from support.chaos_cases import CASES

TRIALS = 5 * len(CASES)
BATCH = 1


def play(directory: Path, numbers: range, random: Random) -> Seen:
    seen = Seen(trials=1)
    case = CASES[numbers.start % len(CASES)]
    code, seconds, defects = support.chaos_cases.play(directory, case, random.random())
    seen.add(f"{case} hit" if code else f"{case} over before", 1)
    if case != "both":
        seen.add("seconds", seconds)
    for kind, details in defects:
        seen.add_defect(numbers.start, kind, f"{case}: {details}")
    return seen


def figures(seen: Seen) -> list[Figure]:
    hit = sum(len(values) for name, values in seen.values.items() if name.endswith(" hit"))
    return [
        Figure("runs killed or out of disk", "", f"{hit} before their end", seen.trials),
        none_of("events acknowledged and lost", seen, "lost event", "forgotten event", "run without"),
        none_of("records that do not open", seen, "does not open"),
        none_of("false success, wrong result", seen, "false success", "wrong result"),
        none_of("not resumed, or nothing to resume lost", seen, "not resumed"),
        none_of("what succeeded and was run again", seen, "run again"),
        none_of("survivors, also of the next start", seen, "survivor", "not recovered"),
        Figure("… late, for whatever reason", "", str(seen.count("late")), seen.trials),
        spread("gone after the engine", seen.values.get("seconds", []), worst=1.0),
    ]
