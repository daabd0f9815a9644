"""Which run is resumed if none is named, over runs that exist only here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mprun.outcomes import Outcome
from mprun.record import resumable


class Params(dict):
    """Params that count how often they are compared."""

    comparisons = 0
    __hash__ = None

    def __eq__(self, other):
        Params.comparisons += 1
        return super().__eq__(other)


def run(number, *, code=1, params=(), file="/job.yaml", **options):
    run_id = f"run-{number}"
    started = SimpleNamespace(
        state_dir=None,
        run=run_id,
        job="job",
        file=file,
        params=Params(params),
        options=options,
        resumed_from=None,
    )
    return SimpleNamespace(
        directory=SimpleNamespace(run_id=run_id),
        outcome=Outcome.FAILED if code else Outcome.SUCCEEDED,
        state=SimpleNamespace(started=started, finished=SimpleNamespace(exit_code=code)),
    )


@pytest.fixture
def find(monkeypatch):
    """A function that returns the id of the run that is found among runs, newest first."""

    def find(runs):
        monkeypatch.setattr(resumable, "list_runs", lambda _, to_read: runs)
        monkeypatch.setattr(resumable, "RunSummary", lambda one: one)
        found = resumable.find_resumable("state")
        return found and found.directory.run_id

    return find


def test_a_run_is_not_compared_with_each_run_that_succeeded(find):
    Params.comparisons = 0
    succeeded = [run(number, code=0, params={"n": number}) for number in range(100)]
    failed = [run(100 + number, params={"n": number}) for number in range(100)]
    assert find([*succeeded, *failed]) is None
    assert Params.comparisons <= 200


@pytest.mark.parametrize(
    ("passed", "failed", "covers"),
    [
        ({}, {}, True),
        ({"partition": "slice:1/2"}, {}, False),
        ({"partition": "slice:1/2"}, {"partition": "slice:2/2"}, False),
        ({}, {"partition": "slice:2/2"}, True),
        ({"params": {"a": 1, "b": [2]}}, {"params": {"b": [2], "a": 1}}, True),
        ({"params": {"a": 1}}, {"params": {"a": "1"}}, False),
        ({"params": {"a": 1}}, {"params": {"a": True}}, False),
        ({"file": "/other.yaml"}, {}, False),
        ({}, {"names": ["a"], "with_dependencies": False}, True),
        ({"names": ["a"]}, {}, False),
        ({"tags": ["t"]}, {"tags": ["t"]}, True),
        ({"params": {"a": 1}, "names": ["a"]}, {"params": {"a": 1}, "names": ["b"]}, False),
        ({"max_parallel": 1}, {}, True),
    ],
)
def test_a_run_that_succeeded_does_the_work_of_one_before_it(find, passed, failed, covers):
    found = find([run(2, code=0, **passed), run(1, **failed)])
    assert found == (None if covers else "run-1")
