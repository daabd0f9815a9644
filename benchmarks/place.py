"""The directory in which every side runs: its files, compiled, and one environment for all."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(__file__).with_name("programs")
# The environments of other Pythons, which `tools/bench-env` makes.
OTHERS = ".venv-bench-3.*/bin/python"


class Failed(Exception):
    """A side that did not do its work; its figure would mean nothing."""


class Place:
    """A directory for programs, job files and what the sides leave, which `tidy` removes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = sys.executable
        self.environment = environment()
        for program in PROGRAMS.glob("[!_]*.py"):
            shutil.copy(program, path)
        # No side should pay for compiling: not the scripts, not mprun. pip has compiled the peers.
        compileall.compile_dir(path, quiet=1)
        compileall.compile_dir(ROOT / "mprun", quiet=1)
        self.belongings = {path / name for name in os.listdir(path)}

    def write(self, name: str, text: str) -> str:
        """Write a file that stays; its name."""
        (self.path / name).write_text(text, encoding="utf-8")
        self.belongings.add(self.path / name)
        return name

    def tidy(self) -> None:
        """Move away what a run has left, records too, so that each run begins with nothing.

        It is removed with the directory at the end: after a thousand files were removed, ext4 takes half a
        millisecond for each new one, because it looks for an inode number that was not used recently.
        """
        left = set(self.path.iterdir()) - self.belongings
        if left:
            away = Path(tempfile.mkdtemp(prefix="left-", dir=self.path))
            self.belongings.add(away)
            for path in left:
                path.rename(away / path.name)

    @contextmanager
    def kept(self, name: str) -> Iterator[Path]:
        """What the runs meanwhile leave under this name is tidied away only afterwards."""
        path = self.path / name
        self.belongings.add(path)
        try:
            yield path
        finally:
            self.belongings.discard(path)
            self.tidy()

    def pythons(self) -> dict[str, str]:
        """By version, this Python and those that `make bench` has made an environment for."""
        others = {python.parts[-3].rpartition("-")[2]: str(python) for python in ROOT.glob(OTHERS)}
        found = {**others, f"{sys.version_info[0]}.{sys.version_info[1]}": self.python}
        return dict(sorted(found.items(), key=lambda each: int(each[0].rpartition(".")[2])))

    def mprun(self, *arguments: str, python: str = "") -> list[str]:
        """A command line of mprun, as installed in an environment, or else by `-m`."""
        python = python or self.python
        script = Path(python).with_name("mprun")
        installed = script.exists() and "PYTHONPATH" not in self.environment
        return [*([str(script)] if installed else [python, "-m", "mprun"]), *arguments]


def environment() -> dict[str, str]:
    """This environment without variables that change what Python or mprun does.

    `PYTHONPATH` is set only if this checkout's mprun is not the installed one.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MPRUN_"))}
    found = subprocess.run(
        [sys.executable, "-c", "import mprun; print(mprun.__file__)"],
        cwd="/",
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    if Path(found.stdout.strip() or "/").parent != ROOT / "mprun":
        kept["PYTHONPATH"] = str(ROOT)
    return kept
