"""What several of these tests use, and takes long to make."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.report_records import large_run
from support.runs import environment

# Runs the command and says what memory it took at most; rusage has that of the test, too, from before exec.
MEASURED = """
import sys
from mprun.cli.main import main
sys.argv[1:] = ["report", "-o", "page.html"]
code = main()
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
sys.exit(code)
"""


@pytest.fixture(scope="session")
def largest_report(tmp_path_factory):
    """The report of a run of 100,000 tasks, of which 1,000 failed: its path, and the memory that it took."""
    directory = tmp_path_factory.mktemp("largest")
    large_run(directory, 100_000)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], cwd=directory, env=environment(), capture_output=True, check=True
    )
    name, kib = done.stdout.split()
    assert (name, done.stderr) == (b"page.html", b"")
    return directory / "page.html", int(kib) * 1024
