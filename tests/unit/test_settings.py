"""The settings of the tests themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEST = "tests/process/test_process_model.py"


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGHUP", 129), ("SIGTERM", 143)])
def test_the_tests_pass_although_a_signal_was_ignored_when_they_were_started(number, code):
    """C87. `nohup make test` ignores SIGHUP, and a shell SIGINT for what it starts in the background."""
    case = f"{TEST}::test_a_signal_to_the_engine_stops_every_task_and_completes_the_record"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"{case}[{number}-{code}-fork]",
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.Signals[number], signal.SIG_IGN),
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
