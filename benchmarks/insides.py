"""What each use of the insides of others gains: mprun with and without it (docs/architecture.md lists them).

`python benchmarks/insides.py` copies the package once for each, with the newest version that it was tried
with lowered, so that the copy takes the fallback as on a version that is not tested. Then it runs a job
of one no-op task, and one of 1,000 with `-q -j 2`, in turn with the package as it is and with each copy. It
prints the CPU time of all processes (user and system) with the trick as a multiple of that without it:
medians of the rounds' ratios, since what slows a round down slows both of its sides. `--of wall` takes the
time on the clock in place of CPU time; it wants an idle machine. `--of faults` takes the page faults, which
are nearly the same each time, whatever else runs: three rounds are enough. With `--words "-q -j2"` click
reads the command line, which it does not for most runs.
"""

import argparse
import compileall
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mprun"
COMMAND = "from mprun.__main__ import main; main()"
ROWS = {"one task": 1, "1,000 tasks": 1_000}
# What is measured of a run, of its time on the clock and what its processes used.
MEASURES: dict[str, Callable[[float, resource.struct_rusage], float]] = {
    "cpu": lambda taken, usage: usage.ru_utime + usage.ru_stime,
    "wall": lambda taken, usage: taken,
    "faults": lambda taken, usage: usage.ru_minflt / 1_000,
}

PYTHON = ("TRIED_PYTHON = (3, 15)", "TRIED_PYTHON = (0,)")
# By name, the module with the bound, the bound, and one that every version is beyond.
TRICKS = {
    "lazy modules for click": ("cli/lean_imports.py", "TRIED_CLICK = (8, 5)", "TRIED_CLICK = (0,)"),
    "lazy modules for PyYAML": ("cli/lean_imports.py", "TRIED_PYYAML = (6, 0, 4)", "TRIED_PYYAML = (0,)"),
    "lazy modules for multiprocessing": ("launcher/main.py", *PYTHON),
    "the launcher as a fork": ("__main__.py", *PYTHON),
    "the hook of threading": ("launcher/fork.py", *PYTHON),
    "the bootstrap in one piece": ("launcher/worker.py", *PYTHON),
    "wait4(2) without `resource`": ("linux/wait4.py", *PYTHON),
    "JSON without `json`": ("lean_json.py", *PYTHON),
    "the finder of mprun's modules": ("module_finder.py", *PYTHON),
    "prctl(2) without `ctypes`": ("linux/prctl.py", *PYTHON),
}


def copy_package(directory: Path, module: str, line: str, replacement: str) -> None:
    """Copy the package to a directory, with one line of a module replaced."""
    shutil.copytree(PACKAGE, directory / "mprun", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parent / "schemas", directory / "schemas")
    path = directory / "mprun" / module
    text = path.read_text()
    if text.count(line) != 1:
        raise SystemExit(f"{module} does not contain `{line}` once")
    path.write_text(text.replace(line, replacement))


def measure(package: Path, tasks: int, place: Path, words: str, of: str) -> float:
    """What a run of so many no-op tasks takes: seconds, or thousands of page faults."""
    job = place / f"{tasks}.yaml"
    job.write_text("tasks:\n" + "  - target: noop:noop\n" * tasks)
    command = [sys.executable, "-c", COMMAND, job.name, *words.split()]
    variables = {**os.environ, "PYTHONPATH": str(package)}
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=place, env=variables, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"a run with {package} ended with status {status}")
    shutil.rmtree(place / ".mprun")
    return MEASURES[of](taken, usage)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="tricks whose name contains this")
    parser.add_argument("--rounds", type=int, nargs=2, default=[100, 20], metavar=("ONE", "MANY"))
    parser.add_argument("--words", default="-q -j 2")
    parser.add_argument("--of", choices=MEASURES, default="cpu")
    options = parser.parse_args()
    tricks = {name: trick for name, trick in TRICKS.items() if (options.only or "") in name}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "place")
        place.mkdir()
        (place / "noop.py").write_text("def noop():\n    pass\n")
        packages = {"": PACKAGE.parent}
        for number, (name, trick) in enumerate(tricks.items()):
            packages[name] = Path(directory, str(number))
            copy_package(packages[name], *trick)
        for package in packages.values():
            compileall.compile_dir(package / "mprun", quiet=1)
        print(f"{'with it, of what it is without':<40}" + "".join(f"{row:>14}" for row in ROWS))
        found: dict[str, dict[str, list[float]]] = {name: {row: [] for row in ROWS} for name in packages}
        for (row, tasks), rounds in zip(ROWS.items(), options.rounds, strict=True):
            for _ in range(rounds):
                for name in random.sample(list(packages), len(packages)):
                    found[name][row].append(measure(packages[name], tasks, place, options.words, options.of))
        for name in tricks:
            ratios = {
                row: statistics.median(
                    ours / without for ours, without in zip(found[""][row], found[name][row], strict=True)
                )
                for row, rounds in zip(ROWS, options.rounds, strict=True)
                if rounds
            }
            print(f"{name:<40}" + "".join(f"{ratio:>14.3f}" for ratio in ratios.values()), flush=True)
        as_it_is = {row: statistics.median(found[""][row]) * 1000 for row in ROWS if found[""][row]}
        unit = "page faults" if options.of == "faults" else "ms"
        print(f"{'as it is, ' + unit:<40}" + "".join(f"{each:>14.1f}" for each in as_it_is.values()))


if __name__ == "__main__":
    main()
