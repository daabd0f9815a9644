"""Runs over two hosts, each in a network namespace, with kills and cuts at random moments."""

import importlib.util
from pathlib import Path
from random import Random

import support.network
from seen import Figure, Seen, none_of, spread
from support.host_rounds import FAULTS, HOST_TIMEOUT, Hosts

# One round of each fault, on the same cluster.
BATCH = len(FAULTS)
TRIALS = BATCH


def missing() -> str:
    """Why this cannot be measured here, "" if it can be."""
    if importlib.util.find_spec("distributed") is None:
        return "`distributed` is not installed (`pip install 'mprun[dask]'`)"
    return str(support.network.missing())


def play(directory: Path, numbers: range, random: Random) -> Seen:
    seen = Seen(trials=len(numbers))
    faults = [FAULTS[number % len(FAULTS)] for number in numbers]
    with Hosts(directory) as hosts:
        for number, fault in zip(numbers, faults, strict=True):
            done = hosts.play(number, fault, random)
            seen.add(f"{fault} hit" if done.hit else f"{fault} missed", 1)
            seen.add(f"gone {'cut' if done.is_cut else 'told'}", done.gone_after)
            for kind, details in done.defects:
                seen.add_defect(number, kind, f"{fault}: {details}")
    return seen


def figures(seen: Seen) -> list[Figure]:
    hit = sum(len(values) for name, values in seen.values.items() if name.endswith(" hit"))
    return [
        Figure("runs over two hosts, with a fault", "", f"{hit} before their end", seen.trials),
        none_of("attempts that did their work twice, or two at once", seen, "twice", "at once"),
        none_of("false success, wrong output or result", seen, "false success", "differs"),
        none_of("tokens held twice", seen, "token"),
        none_of("another outcome or exit code than promised", seen, "outcome", "traceback"),
        none_of("records that do not open", seen, "does not open"),
        none_of("survivors on a host", seen, "survivor"),
        none_of("other defects", seen, "broken", "hung"),
        spread("nothing left on a host, told of the end", seen.values.get("gone told", []), worst=5.0),
        spread(f"… cut off, with {HOST_TIMEOUT:g} s to wait", seen.values.get("gone cut", []), worst=10.0),
    ]
