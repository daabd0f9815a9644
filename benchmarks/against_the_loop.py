"""mprun beside the hand-written multiprocessing scripts it replaces: start-up and throughput.

Run it with the Python that mprun is installed in: `python benchmarks/against_the_loop.py`.
All sides run in turn, round by round, so that a machine that slows down slows them all; the
figures are medians, and the ratios are those of each round. Seconds are whole commands.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NOOP = "def noop():\n    pass\n"

ONE_PROCESS = """\
import multiprocessing
from noop import noop
if __name__ == "__main__":
    process = multiprocessing.Process(target=noop)
    process.start()
    process.join()
"""

WINDOW_OF_TWO = """\
import multiprocessing
import sys
from multiprocessing.connection import wait
from noop import noop
if __name__ == "__main__":
    running = []
    for _ in range(int(sys.argv[1])):
        if len(running) == 2:
            ended = wait([process.sentinel for process in running])
            for process in [process for process in running if process.sentinel in ended]:
                process.join()
                running.remove(process)
        process = multiprocessing.Process(target=noop)
        process.start()
        running.append(process)
    for process in running:
        process.join()
"""


def seconds(command: list[str], cwd: str) -> float:
    """How long a whole command takes; it must succeed."""
    begun = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def compare(name: str, ours: list[str], theirs: list[str], rounds: int, cwd: str) -> None:
    """Print one row: the medians of both, and the median ratio with its spread."""
    pairs = [(seconds(ours, cwd), seconds(theirs, cwd)) for _ in range(rounds + 1)][1:]
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    ours_median = statistics.median(pair[0] for pair in pairs)
    theirs_median = statistics.median(pair[1] for pair in pairs)
    print(
        f"{name:<34} {ours_median:>8.3f} {theirs_median:>8.3f} "
        f"{statistics.median(ratios):>7.2f}   {ratios[0]:.2f} to {ratios[-1]:.2f}",
        flush=True,
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tasks", type=int, default=1000)
    options = parser.parse_args()
    mprun = str(Path(sys.executable).with_name("mprun"))
    with tempfile.TemporaryDirectory() as cwd:
        Path(cwd, "noop.py").write_text(NOOP)
        Path(cwd, "one_process.py").write_text(ONE_PROCESS)
        Path(cwd, "window_of_two.py").write_text(WINDOW_OF_TWO)
        Path(cwd, "one.yaml").write_text("tasks:\n  - target: noop:noop\n")
        Path(cwd, "many.yaml").write_text("tasks:\n" + "  - target: noop:noop\n" * options.tasks)
        head = f"seconds, medians of {options.rounds}"
        print(f"{head:<34} {'mprun':>8} {'script':>8} {'ratio':>7}   spread")
        compare(
            "start-up, one no-op task",
            [mprun, "one.yaml"],
            [sys.executable, "one_process.py"],
            options.rounds,
            cwd,
        )
        compare(
            f"{options.tasks} no-op tasks, two at a time",
            [mprun, "-j", "2", "many.yaml"],
            [sys.executable, "window_of_two.py", str(options.tasks)],
            options.rounds,
            cwd,
        )


if __name__ == "__main__":
    main()
