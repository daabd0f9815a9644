"""What an attempt has printed is matched in the end of its log, in a thread if that may take long."""

from __future__ import annotations

import os
import select

import pytest
from support.records import state_file

from mprun.engine import output_checks
from mprun.engine.output_checks import OutputChecks
from mprun.engine.readiness import Prober
from mprun.engine.unchanged_worker import UnchangedWorker

KEY = (0, 1)
# With it, a match may take long, so that the thread makes it.
SLOW = "(a+)*"


@pytest.fixture
def checks():
    made = OutputChecks()
    yield made
    made.close()


def answer(checks, pattern, log):
    """What `check` answers, now or later."""
    found = checks.check(KEY, pattern, log)
    if found is None:
        assert select.select([checks], [], [], 30)[0]
        found = checks.take()[KEY]
    return found


@pytest.mark.parametrize("more", ["", SLOW])
def test_only_the_end_of_a_long_log_is_searched(checks, tmp_path, monkeypatch, more):
    monkeypatch.setattr(output_checks, "MAX_SEARCHED_BYTES", 10)
    log = state_file(tmp_path / "log")
    (tmp_path / "log").write_text("first\n" + "b" * 20 + "\nlast\n")
    assert answer(checks, f"^last{more}$", log) == ""
    assert answer(checks, f"first{more}", log) == f"expected output that matches 'first{more}'"


@pytest.mark.parametrize("more", ["", SLOW])
def test_each_line_has_a_beginning_and_an_end(checks, tmp_path, more):
    log = state_file(tmp_path / "log")
    (tmp_path / "log").write_text("one\ntwo\nthree\n")
    assert answer(checks, f"^two{more}$", log) == ""


@pytest.mark.parametrize("more", ["", SLOW])
def test_a_log_that_cannot_be_read_is_an_empty_one(checks, tmp_path, more):
    assert answer(checks, f"x{more}", state_file(tmp_path / "log")) != ""
    assert answer(checks, f"^{more}$", state_file(tmp_path / "log")) == ""


def test_a_thread_that_cannot_be_started_is_the_reason(checks, tmp_path, monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(output_checks.threading.Thread, "start", refuse)
    why = answer(checks, f"x{SLOW}", state_file(tmp_path / "log"))
    assert why == f"expected output that matches 'x{SLOW}': can't start new thread"


def test_a_hole_in_a_log_is_not_read(tmp_path):
    """C59: as a sparse file has it, of any size; one part of it is enough."""
    with open(tmp_path / "log", "wb") as file:
        file.write(b"first\n")
        file.seek(8 << 20)
        file.write(b"last\n")
    text = b"".join(output_checks._end_of(state_file(tmp_path / "log")))
    assert text.startswith(b"first\n")
    assert text.endswith(b"last\n")
    assert len(text) < 2 << 20


@pytest.mark.parametrize("make", [OutputChecks, lambda: UnchangedWorker(lambda: None), Prober])
def test_what_is_closed_again_closes_no_file_of_another(make):
    """As after a defect; a thread of the program that runs the job may have opened one meanwhile."""
    closed = make()
    closed.close()
    reader, writer = os.pipe()
    closed.close()
    os.close(reader)
    os.close(writer)
