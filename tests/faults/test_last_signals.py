"""Signals in the last milliseconds of a run: the exit code is that of the record."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.runs import finish, start, write


def _has_ended(process):
    """Whether a process has ended; it is not reaped, so that its pid stays its own."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _wait_for_end(process, state_dir):
    """Wait until the end of the run is recorded, or the process has ended, without a pause."""
    while not _has_ended(process):
        for record in Path(state_dir, "runs").glob("*/events.jsonl"):
            if b'"run_finished"' in record.read_bytes():
                return


# Which signal it is makes no difference to what is printed.
@pytest.mark.parametrize(
    ("number", "options"),
    [
        *((number, ()) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)),
        (signal.SIGTERM, ("--events", "-")),
        # mprun has no handler for these, which end any program.
        *((number, ()) for number in (signal.SIGQUIT, signal.SIGUSR2, signal.SIGALRM, signal.SIGRTMIN)),
    ],
)
def test_a_storm_of_signals_after_the_end_was_recorded_changes_nothing(tmp_path, number, options, rounds):
    """(C76)"""
    write(tmp_path, job="tasks: [{name: a, command: [echo, hello]}]")
    for round_number in range(rounds):
        state_dir = tmp_path / str(round_number)
        process = start("job.yaml", *options, "--state-dir", state_dir, cwd=tmp_path)
        _wait_for_end(process, state_dir)
        while not _has_ended(process):
            os.kill(process.pid, number)
        run = finish(process, state_dir)
        assert run.code == run.one("run_finished")["exit_code"], (round_number, run.stderr)
        assert "Traceback" not in run.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_storm_of_signals_from_the_first_event_on_ends_with_the_exit_code_of_the_record(
    tmp_path, number, rounds
):
    """(C76)"""
    write(tmp_path, job="tasks: [{name: a, command: [sleep, '0.01']}]")
    for round_number in range(rounds):
        state_dir = tmp_path / str(round_number)
        process = start("job.yaml", "--state-dir", state_dir, cwd=tmp_path)
        while not list(Path(state_dir, "runs").glob("*/events.jsonl")) and not _has_ended(process):
            pass
        while not _has_ended(process):
            os.kill(process.pid, number)
        run = finish(process, state_dir)
        assert run.code == run.one("run_finished")["exit_code"], (round_number, run.stderr)
        assert "Traceback" not in run.stderr
