"""The command that measures the reliability of mprun reports its figures and every defect."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from random import Random

import pytest
from support.runs import ROOT, TIMEOUT, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and subreapers are Linux's")

COMMAND = ROOT / "benchmarks" / "reliability"
SIZES = {"kills": 2, "chaos": 1, "ends": 40, "hostile": 40, "stops": 1, "timeouts": 3, "leftovers": 30}


def reliability(directory, *arguments):
    """Run the command; its exit code, its figures and its output."""
    done = subprocess.run(
        [sys.executable, COMMAND, *arguments, "--json", "figures.json"],
        cwd=directory,
        env=environment(TMPDIR=str(directory)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads((directory / "figures.json").read_text()), done.stdout


@pytest.mark.parametrize("name", SIZES)
def test_each_measure_runs_its_trials_and_finds_no_defect(tmp_path, name):
    code, measured, shown = reliability(tmp_path, "--only", name, "--rounds", str(SIZES[name]), "--jobs", "2")
    first = measured["figures"][0]
    assert first["trials"] == SIZES[name]
    counts = [figure for figure in measured["figures"] if figure["goal"] == "0"]
    assert {figure["seen"] for figure in counts} == {"0"}, shown
    assert f"make reliability ARGS='--only {name} --rounds {SIZES[name]} --jobs 2'" in shown
    # Times must not fail the test, because the machine may be busy.
    held = all(figure["holds"] in (True, None) for figure in measured["figures"])
    assert code == int(not held)


class WorstRandom(Random):
    """Random choices that repeat the whole text a hundred times, ten times over."""

    def random(self):
        return 0.9

    def choice(self, words):
        return words[-1]

    def randrange(self, *bounds):
        if bounds == (6,):
            return 1
        self.last = 0 if getattr(self, "last", 0) else bounds[-1] - 1
        return self.last


def test_making_a_hostile_file_takes_little_memory(monkeypatch):
    monkeypatch.syspath_prepend(COMMAND)
    import hostile

    tracemalloc.start()
    try:
        made = hostile.mutated(b"tasks: []\n" * 100, WorstRandom())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(made) == hostile.MOST_BYTES
    assert most < 8 * hostile.MOST_BYTES


@pytest.fixture
def rounds(monkeypatch):
    monkeypatch.syspath_prepend(COMMAND)
    import rounds

    return rounds


def test_a_defect_is_reported_with_its_number_and_repeated_by_its_seed(rounds, tmp_path, capsys):
    import seen

    thrown = {}

    def play(directory, numbers, random):
        found = seen.Seen(trials=len(numbers))
        for number in numbers:
            thrown.setdefault(number, []).append(random.random())
            if number == 7:
                found.add_defect(number, "lost", "a thing")
            if number == 8:
                raise RuntimeError("broken")
        return found

    for first, count in ((0, 20), (7, 1)):
        measured = rounds.Rounds("some", play, 1, "seed", tmp_path).go(first, count, 2, 60)
        assert measured.trials == count
        assert seen.none_of("lost things", measured, "lost").holds is False
    assert len(thrown[7]) == 2
    assert len(set(thrown[7])) == 1
    assert thrown[7][0] == Random("seed some 7").random()
    assert "some 7: lost: a thing" in capsys.readouterr().err
    # The directories of failed rounds are kept, and of rounds that could not be measured.
    assert sorted({path.name.split("-")[1] for path in tmp_path.iterdir()}) == ["7", "8"]


def test_the_99th_percentile_and_the_worst_are_compared_with_their_goals(rounds):
    from seen import spread

    values = [0.01] * 98 + [0.2, 0.9]
    assert spread("all", values, p99=0.1, worst=1.0).holds is False
    assert spread("all", values, p99=0.95, worst=1.0).holds is True
    assert spread("all", values, p99=0.95, worst=0.8).holds is False
    assert spread("none", [], p99=0.1).trials == 0
