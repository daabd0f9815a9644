"""What daemons hold of workers together, and what can start beside them."""

from types import SimpleNamespace

import pytest

from mprun.errors import JobFileError
from mprun.jobfile import host_needs


def task(name, host, *, daemon=False, **more):
    made = SimpleNamespace(name=name, host=host, daemon=daemon)
    return SimpleNamespace(task=made, name=name, **{"reused": None, "skipped": False, **more})


class Found(str):
    """A diagnostic: the name of the task and the message."""

    sort_key = str.__str__


@pytest.fixture(autouse=True)
def places(monkeypatch):
    monkeypatch.setattr(
        host_needs, "_diagnostic", lambda task, message, help: Found(f"{task.name}: {message}")
    )


def refused(tasks, *workers):
    try:
        host_needs.refuse_unmet(tasks, [(f"w{number}", each) for number, each in enumerate(workers)])
    except JobFileError as error:
        return dict(found.split(": ", 1) for found in error.diagnostics)
    return {}


SERVERS = [task("a", {"gpu": 2}, daemon=True), task("b", {"gpu": 1}, daemon=True)]


def test_daemons_that_fit_on_no_workers_together_are_refused():
    found = refused([*SERVERS, task("c", {"gpu": 1})], {"gpu": 2})
    assert list(found) == ["a", "b"]
    assert "hold `gpu: 3` together" in found["a"]


def test_a_task_is_refused_only_if_there_is_no_room_for_it_however_the_daemons_are_spread():
    # The first daemon takes all of one worker; the second one has a choice, and leaves 2 of one of them.
    assert refused([*SERVERS, task("c", {"gpu": 2})], {"gpu": 2}, {"gpu": 2}, {"gpu": 1}) == {}
    found = refused([*SERVERS, task("c", {"gpu": 2}), task("d", {"gpu": 1})], {"gpu": 2}, {"gpu": 2})
    assert list(found) == ["c"]
    assert found["c"].startswith("it could never start")


def test_each_instance_of_a_daemon_holds_what_it_needs():
    one = task("a", {"gpu": 1}, daemon=True)
    both = [one, SimpleNamespace(task=one.task, name="a2", reused=None, skipped=False)]
    assert list(refused([*both, task("c", {"gpu": 1})], {"gpu": 2})) == ["c"]


def test_what_does_not_run_holds_nothing_and_needs_nothing():
    skipped = task("a", {"gpu": 2}, daemon=True, skipped=True)
    assert refused([skipped, task("c", {"gpu": 1}), task("d", {"x": 1}, reused="ok")], {"gpu": 1}) == {}
    host_needs.refuse_without_hosts([skipped])


def test_many_daemons_are_looked_at_in_bounded_time():
    daemons = [task(f"d{n}", {"gpu": 1 + n % 7 / 10}, daemon=True) for n in range(2000)]
    workers = [{"gpu": 3.3 + n % 5 / 10} for n in range(300)]
    refused([*daemons, task("c", {"gpu": 1})], *workers)
