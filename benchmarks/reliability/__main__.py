"""How reliable mprun is: the promises of docs/faults.md, measured with real processes.

`make reliability` from a clone, or `python benchmarks/reliability` with a Python that mprun is
installed in; Linux only. `--only kills,chaos --rounds 10000 --jobs 3` runs as many trials of
these two; without `--rounds`, each measure runs a few. A defect is reported at once, with the
directory that shows it, which is kept, and the options that repeat its trial with the same
random numbers. The commands below the table repeat all trials.
"""

import argparse
import importlib
import math
import os
import platform
import shlex
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In this order: measures that wait first, those that load the machine last.
MEASURES = ("kills", "chaos", "ends", "flood", "hostile", "timeouts", "stops", "leftovers", "hosts")


def main() -> int:
    """Measure, print the table, and write it as JSON; 1 if a figure does not hold."""
    options = _options()
    if sys.platform != "linux":
        sys.exit("reliability: /proc, pidfds and subreapers are Linux's")
    # The tests and this command run the same rounds.
    sys.path.insert(0, str(ROOT / "tests"))
    from rounds import Rounds
    from seen import as_json, table

    base = Path(tempfile.mkdtemp(prefix="reliability-"))
    rows = []
    for name in options.only:
        measure = importlib.import_module(name)
        if why := getattr(measure, "missing", str)():
            print(f"{name}: skipped: {why}", file=sys.stderr, flush=True)
            continue
        count = options.rounds or (sys.maxsize if options.seconds < math.inf else measure.TRIALS)
        begun = time.monotonic()
        rounds = Rounds(name, measure.play, measure.BATCH, options.seed, base)
        try:
            seen = rounds.go(options.first, count, options.jobs, options.seconds)
        except KeyboardInterrupt:
            # The results of the trials that ran.
            options.only, seen = (), rounds.seen
        command = f"make reliability ARGS={shlex.quote(_arguments(name, seen.trials, options))}"
        rows += [
            (figure, f"{command}  # {time.monotonic() - begun:.0f} s") for figure in measure.figures(seen)
        ]
        print(f"{name}: {seen.trials:,} trials, {seen.count()} defects", file=sys.stderr, flush=True)
        if not options.only:
            break
    about = f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    busy = f"load {os.getloadavg()[1]:.1f}; {options.jobs} at once: the times are those of a machine as busy"
    print(f"{about}, {busy}\n")
    print(table(rows))
    if options.json:
        Path(options.json).write_text(as_json(rows, machine=about, at_once=options.jobs, seed=options.seed))
    if not any(base.iterdir()):
        base.rmdir()
    return int(any(figure.holds is False for figure, _ in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(MEASURES), help="which measures, with commas: %(default)s")
    parser.add_argument("--rounds", type=int, help="trials of each measure: a few, or as --seconds allow")
    parser.add_argument("--first", type=int, default=0, help="the number of the first trial")
    parser.add_argument("--seed", default="0", help="the seed of all random numbers")
    parser.add_argument("--jobs", type=int, default=1, help="how many batches of trials run at once")
    parser.add_argument("--seconds", type=float, default=math.inf, help="the time limit of each measure")
    parser.add_argument("--json", metavar="FILE", help="write the table to FILE as JSON")
    options = parser.parse_args()
    options.only = tuple(options.only.split(","))
    if unknown := set(options.only) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    return options


def _arguments(name: str, trials: int, options: argparse.Namespace) -> str:
    words = ["--only", name, "--rounds", str(trials), "--jobs", str(options.jobs)]
    words += ["--first", str(options.first)] if options.first else []
    words += ["--seed", options.seed] if options.seed != "0" else []
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(main())
