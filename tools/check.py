"""Run the named checks, continue after a failure, and list the failures at the end.

    tools/check.py lint                  ruff, mypy, the contract of imports
    tools/check.py newest                the tests with the newest of everything, made anew
    tools/check.py tests [VERSION...]    the tests on the default Python, and on each installed version

Several checks run in lanes, four side by side, because a suite waits half of its time. A lane is a check that
this program runs by itself (`suite VENV MARK ...` is a part of the tests), with its output in a file. A line
every half minute says how far the lanes are; the output of one that fails is shown whole. The environment
that several lanes share is made in a lane, too, beside those that do not use it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

# At the same time. A test that measures time holds beside three others that keep a core busy each.
LANES = 4
# The tests with the mark `once`: how many lanes there are of each directory, the longest ones first. The last
# ones are short, because a core is idle as long as one of them is alone.
ONCE = {"tests/cli": 3, "tests/faults": 3, "tests/process": 4, "tests/unit": 6}
# Where the output of the lanes is.
LOGS = Path(".lanes")
# The lane that makes the environment of the others.
SHARED = "environment .venv"
# Between two lines of progress, and between two looks at the lanes, in seconds.
PROGRESS_INTERVAL = 30
POLL_INTERVAL = 0.2
# What pytest prints: a character for each test, and how much has run.
DOTS = re.compile(r"^[.sFEx]+ +\[ *(\d+%)\]$", re.MULTILINE)
SUMMARY = re.compile(r"^(?:\d+ .*\bpassed\b.* in .*s.*|SKIPPED .*)$", re.MULTILINE)

# What ends this program also ends the lanes, which are not in its group: a terminal that is closed reaches
# this program alone. (Ctrl-C raises KeyboardInterrupt.)
ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)

PASSED = "all passed"
DEFAULT = f"{sys.version_info.major}.{sys.version_info.minor}"

failed: list[str] = []


def say(title: str) -> None:
    print(f"\n== {title}", flush=True)


def show(output: bytes) -> None:
    """Print as it is, whatever the locale, because what a program has printed may have any character."""
    sys.stdout.flush()
    sys.stdout.buffer.write(output)
    sys.stdout.flush()


def step(title: str, *command: str, **variables: str) -> bool:
    """Run a command under a title, with `variables` in its environment; remember the title if it fails."""
    say(title)
    try:
        passed = subprocess.run(command, env=os.environ | variables).returncode == 0
    except OSError as error:
        print(error, flush=True)
        passed = False
    if not passed:
        failed.append(title)
    return passed


def style() -> bool:
    """What looks at the text of the code; whether there is an environment for it."""
    if not step("environment for lint", "tools/venv", ".venv", "lint", "test"):
        return False
    step("ruff check", ".venv/bin/ruff", "check")
    step("ruff format", ".venv/bin/ruff", "format", "--check", "--diff")
    step("mypy", ".venv/bin/mypy")
    return True


def lint() -> None:
    if style():
        tests = ("tests/unit/test_house.py", "tests/unit/test_texts.py")
        step("import contract, words", ".venv/bin/python", "-m", "pytest", "-q", *tests)


def suite(venv: str, mark: str = "", *options: str) -> None:
    """The tests in an environment: all, or those that a mark and pytest's `options` select."""
    # Tests with the same result on every Python need more than the others.
    groups = ["test"] if venv.startswith(".venv-3") else ["test", "once", "hosts", "docs", "release"]
    if not step(f"environment {venv}", "tools/venv", venv, *groups):
        return
    pytest = [f"{venv}/bin/python", "-m", "pytest", "-qrs", "-m", mark, *options]
    # In the directory that suites share by default, each also removes what earlier ones left: two that end at
    # the same time fail on each other's removals.
    directory = tempfile.mkdtemp(prefix="tests-")
    if step(f"tests in {venv}", *pytest, PYTEST_DEBUG_TEMPROOT=directory):
        shutil.rmtree(directory, ignore_errors=True)
    else:
        print(f"The directories of its tests are in {directory}", flush=True)


def newest() -> None:
    shutil.rmtree(".venv-newest", ignore_errors=True)
    suite(".venv-newest")


def lanes_of_tests(versions: list[str]) -> dict[str, list[str]]:
    """The arguments of each lane by its name.

    The tests on other Pythons come first: they start while the shared environment is made. Tests that give
    the same result on every Python run on the default one alone. Short lanes come last, so that none is left
    alone at the end.
    """
    lanes = {}
    for version in versions:
        if version == DEFAULT:
            continue
        if subprocess.run(["tools/python", version], stdout=subprocess.DEVNULL).returncode:
            say(f"Python {version} is not installed: skipped")
        else:
            lanes[f"tests on {version}"] = ["suite", f".venv-{version}", "not once"]
    lanes[f"tests on {DEFAULT}"] = ["suite", ".venv", "not once"]
    for directory, count in ONCE.items():
        for number in range(1, count + 1):
            part = f"{number}/{count}"
            name = f"tests on {DEFAULT}, once, {directory} {part}"
            lanes[name] = ["suite", ".venv", "once", f"--part={part}", directory]
    return lanes


class Lane:
    """A check that runs beside others."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self._started = time.monotonic()
        LOGS.mkdir(exist_ok=True)
        self._log = LOGS / (re.sub(r"\W+", "-", name).strip("-") + ".log")
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, __file__, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # A test that signals its own group, by mistake, ends its lane, which says so.
                process_group=0,
            )

    def end(self) -> None:
        """Have it end, and the tests that it runs, with what they have started in its group."""
        if self.process.poll() is None:
            # It is not reaped yet, so its group is its own.
            os.killpg(self.process.pid, signal.SIGTERM)

    def _text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="backslashreplace")

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._started:.0f} s"

    def progress(self) -> str:
        done = DOTS.findall(self._text())
        return f"{self.name} {done[-1] if done else '0%'} ({self._seconds()})"

    def report(self) -> None:
        """Say how it ended; all that it printed is shown if it failed."""
        if self.process.returncode:
            say(f"{self.name}: FAILED after {self._seconds()}")
            show(self._log.read_bytes() + b"\n")
            failed.append(self.name)
        else:
            say(f"{self.name}: passed in {self._seconds()}")
            if self.name == SHARED:
                # What could not be installed, too.
                show(self._log.read_bytes().removesuffix(f"\n== {PASSED}\n".encode()))
            else:
                print(*SUMMARY.findall(self._text()), sep="\n", flush=True)


def needs_shared(arguments: list[str]) -> bool:
    """Whether a lane needs the shared environment: only tests on another Python do not."""
    return arguments[0] in ("lint", "style") or arguments[:2] == ["suite", ".venv"]


def side_by_side(waiting: dict[str, list[str]]) -> None:
    """Run each lane, `LANES` at a time; those that need the shared environment, after its lane."""
    running: list[Lane] = []
    left = dict(waiting)
    shown = time.monotonic()
    is_made = False
    try:
        while left or running:
            ready = [name for name, arguments in left.items() if is_made or not needs_shared(arguments)]
            for name in ready[: LANES - len(running)]:
                running.append(Lane(name, left.pop(name)))
            time.sleep(POLL_INTERVAL)
            for lane in [lane for lane in running if lane.process.poll() is not None]:
                running.remove(lane)
                lane.report()
                if lane.name == SHARED:
                    is_made = True
                    if lane.process.returncode:
                        left = {name: left[name] for name in left if not needs_shared(left[name])}
            if running and time.monotonic() > shown + PROGRESS_INTERVAL:
                shown = time.monotonic()
                print(" | ".join(lane.progress() for lane in running), flush=True)
    finally:
        for lane in running:
            lane.end()
        for lane in running:
            lane.process.wait()


def check(arguments: list[str]) -> None:
    """Run the checks that the arguments name; several of them in lanes."""
    lanes: dict[str, list[str]] = {}
    # Several lanes use it, and only one may make it.
    shared = ["shared", "test"]
    while arguments:
        name, *arguments = arguments
        if name == "lint":
            lanes["lint"] = ["lint"]
            shared.append("lint")
        elif name == "newest":
            lanes["newest"] = ["newest"]
        elif name == "tests":
            lanes |= lanes_of_tests(arguments)
            shared += ["once", "hosts", "docs", "release", "tools/packages", "tools/browser"]
            break
        else:
            sys.exit(f"tools/check.py: lint, newest or tests, not {name!r}")
    lint = {name: lanes.pop(name) for name in ("lint",) if name in lanes}
    if lint and len(lanes) > 1:
        # The tests have the rest of it.
        lint["lint"] = ["style"]
    side_by_side({SHARED: shared, **lanes, **lint})


def make_shared(groups: list[str]) -> None:
    """Make the environment of several lanes, and run the tools without which tests are skipped."""
    extras = [group for group in groups if group.startswith("tools/")]
    if step(SHARED, "tools/venv", ".venv", *[group for group in groups if group not in extras]):
        for command in extras:
            say(command)
            subprocess.run([command], stdin=subprocess.DEVNULL)


def end(number: int, _frame: FrameType | None) -> None:
    """Exit in order because of a signal."""
    # Two may be sent at once: by timeout(1) and make, by a shell and the kernel.
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main(arguments: list[str]) -> None:
    for number in ENDING:
        # nohup(1) has SIGHUP ignored on purpose.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    if arguments[:1] == ["suite"]:
        suite(*arguments[1:])
    elif arguments[:1] == ["shared"]:
        make_shared(arguments[1:])
    elif arguments == ["lint"]:
        lint()
    elif arguments == ["style"]:
        style()
    elif arguments == ["newest"]:
        newest()
    else:
        check(arguments)
    if failed:
        say("FAILED:" + "".join(f"\n   {title}" for title in failed))
        sys.exit(1)
    say(PASSED)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
