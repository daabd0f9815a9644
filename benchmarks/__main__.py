"""Measures all rows, or the named ones; prints the table, and writes it as JSON and as a picture.

`make bench` makes the environment and runs it; `ARGS='--only start-up,chain --rounds 9'` selects rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

from benchmarks import comparison, peers, picture, results_file, table
from benchmarks.figures import Results, RowResult
from benchmarks.place import ROOT, Place
from benchmarks.row import QUICK, Sizes, measure
from benchmarks.rows import ROWS


def options() -> argparse.Namespace:
    """The command line's options, checked."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="how many rounds; 5, or 1 with --quick")
    parser.add_argument("--only", type=names, default=None, metavar="ROW,…", help=", ".join(ROWS))
    parser.add_argument("--long", action="store_true", help="the row of 100,000 tasks, too")
    parser.add_argument("--quick", action="store_true", help="few tasks, to see that it works: no figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="benchmarks/results.json")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="docs/benchmarks.svg")
    parser.add_argument(
        "--read", type=earlier, metavar="FILE", help="measure nothing: show and draw this JSON"
    )
    compare = "an earlier JSON: show which figures have moved beyond the spread of their rounds"
    parser.add_argument("--compare", type=earlier, metavar="FILE", help=compare)
    found = parser.parse_args()
    if found.rounds is not None and found.rounds < 1:
        parser.error("--rounds: at least 1")
    return found


def names(text: str) -> list[str]:
    """The named rows, in table order."""
    named = text.split(",")
    for name in named:
        if name not in ROWS:
            raise argparse.ArgumentTypeError(f"no row {name!r}; there are {', '.join(ROWS)}")
    return [name for name in ROWS if name in named]


def earlier(path: str) -> Results:
    """The results of an earlier run."""
    try:
        return results_file.read(Path(path))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def machine() -> dict[str, str]:
    """The machine and the Python of the measurement."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return {
        "processor": found[1] if found else platform.machine(),
        "cores": f"{cores} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"Python {platform.python_version()}",
    }


def participants() -> list[dict[str, str | bool]]:
    """The table of peers, with their installed versions."""
    return [
        {
            "name": peer.name,
            "kind": peer.kind.value,
            "version": peer.version() or "not here",
            "fresh": peer.fresh,
            "records": peer.records,
        }
        for peer in peers.PEERS
    ]


def run(chosen: list[str], sizes: Sizes, rounds: int) -> list[RowResult]:
    """Measure the rows, and show each one when it is done."""
    results = []
    with tempfile.TemporaryDirectory(prefix="mprun-bench-") as path:
        place = Place(Path(path).resolve())
        for name in chosen:
            results.append(measure(ROWS[name](place, sizes), rounds))
            print("\n".join(table.lines_of_row(results[-1])), end="\n\n", flush=True)
    return results


def main() -> int:
    """Measure, show, write; 1 if a side of mprun itself failed."""
    chosen = options()
    if chosen.read:
        results: Results = chosen.read
        print("\n".join(table.lines(results)))
    else:
        rounds = chosen.rounds or (1 if chosen.quick else 5)
        wanted = chosen.only or [name for name in ROWS if name != "long" or chosen.long]
        found, load = machine(), os.getloadavg()[0]
        print("\n".join(table.head(found, load)), end="\n\n", flush=True)
        rows = run(wanted, QUICK if chosen.quick else Sizes(), rounds)
        results = Results(machine=found, load=load, rounds=rounds, peers=participants(), rows=rows)
        print("\n".join(table.summary(results)))
    if chosen.compare:
        print("\n" + "\n".join(comparison.lines(chosen.compare, results)))
    write(results, chosen)
    return int(any(gap["name"].startswith(peers.OURS) for row in results["rows"] for gap in row["gaps"]))


def write(results: Results, chosen: argparse.Namespace) -> None:
    """The requested files; those of the repository if everything was measured."""
    whole = not (chosen.only or chosen.quick or chosen.read)
    if target := chosen.json or (ROOT / "benchmarks" / "results.json" if whole else None):
        target.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if target := chosen.svg or (ROOT / "docs" / "benchmarks.svg" if whole else None):
        target.write_text(picture.draw(results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
