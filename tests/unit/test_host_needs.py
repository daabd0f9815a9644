"""What daemons hold of workers together, and what can start beside them."""

from types import SimpleNamespace

import pytest

from mprun.errors import JobFileError
from mprun.jobfile import host_needs


def task(name, host, *, daemon=False, **more):
    made = SimpleNamespace(
        name=name, host=host, daemon=daemon, when=more.pop("when", True), inherited_conditions=()
    )
    facts = {"reused": None, "skipped": False, "late": False, "needs": (), **more}
    return SimpleNamespace(task=made, name=name, **facts)


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
    both = [one, SimpleNamespace(**{**vars(one), "name": "a2"})]
    assert list(refused([*both, task("c", {"gpu": 1})], {"gpu": 2})) == ["c"]


def test_what_does_not_run_holds_nothing_and_needs_nothing():
    skipped = task("a", {"gpu": 2}, daemon=True, skipped=True)
    assert refused([skipped, task("c", {"gpu": 1}), task("d", {"x": 1}, reused="ok")], {"gpu": 1}) == {}
    host_needs.refuse_without_hosts([skipped])


def test_many_daemons_are_looked_at_in_bounded_time():
    daemons = [task(f"d{n}", {"gpu": 1 + n % 7 / 10}, daemon=True) for n in range(2000)]
    workers = [{"gpu": 3.3 + n % 5 / 10} for n in range(300)]
    refused([*daemons, task("c", {"gpu": 1})], *workers)


def test_a_daemon_that_starts_after_a_task_leaves_room_for_it():
    needs = {"gpu": 1}
    after = [(0, "succeeded")]
    daemon = task("d", needs, daemon=True, needs=after)
    assert refused([task("a", needs), daemon, task("b", {}, needs=[(1, "started")])], needs) == {}
    # Also by way of another task.
    between = task("b", {}, needs=after)
    far = task("d", needs, daemon=True, needs=[(1, "succeeded")])
    assert refused([task("a", needs), between, far], needs) == {}
    assert list(refused([task("a", needs), between, far, task("c", needs)], needs)) == ["c"]


def test_an_instance_that_no_daemon_waits_for_is_refused_with_the_one_for_which_one_does():
    needs = {"gpu": 1}
    first = task("a", needs)
    second = SimpleNamespace(**{**vars(first), "name": "a2"})
    daemon = task("d", needs, daemon=True, needs=[(0, "succeeded")])
    assert list(refused([first, second, daemon], needs)) == ["a"]


@pytest.mark.parametrize(
    ("more", "holds"),
    [
        ({"when": "${tasks.x.result}", "late": True}, False),
        # It is known to be true.
        ({"when": "${params.x}"}, True),
        ({"late": True}, True),
        ({"needs": [(0, "failed")]}, False),
    ],
)
def test_a_daemon_that_may_never_start_holds_nothing(more, holds):
    tasks = [task("x", {}), task("d", {"gpu": 1}, daemon=True, **more), task("b", {"gpu": 1})]
    assert bool(refused(tasks, {"gpu": 1})) is holds
