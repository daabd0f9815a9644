"""The settings of the tests themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEST = "tests/process/test_process_model.py"


CASE = f"{TEST}::test_a_signal_to_the_engine_stops_every_task_and_completes_the_record"
SIGNALS = {"SIGINT": 130, "SIGHUP": 129, "SIGTERM": 143}


def ignore_all():
    for number in SIGNALS:
        signal.signal(signal.Signals[number], signal.SIG_IGN)


# Each test in the other pytest has 60 seconds, and that one has to start.
@pytest.mark.timeout(240)
def test_the_tests_pass_although_signals_were_ignored_when_they_were_started():
    """C87. `nohup make test` ignores SIGHUP, and a shell SIGINT for what it starts in the background."""
    cases = [f"{CASE}[{number}-{code}-fork]" for number, code in SIGNALS.items()]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *cases],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=230,
        preexec_fn=ignore_all,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
