"""Requests wait for their dependencies and for a free slot, and are dropped if a dependency fails."""

import pytest

from mprun.launcher.channel import KEY, START_REQUEST
from mprun.launcher.start_queue import StartQueue


def request(number, after=(), daemon=False):
    """A packed request for the first attempt of a task, which follows those tasks within 5 seconds."""
    fields = dict.fromkeys(START_REQUEST)
    fields |= {"key": (number, 1), "daemon": daemon, "after": tuple(((other, 1), 5.0) for other in after)}
    return tuple(fields.values())


def queue(*requests, free_slots=5):
    made = StartQueue()
    made.free_slots = free_slots
    for each in requests:
        made.add(each)
    return made


def taken(made):
    numbers = []
    while (found := made.take()) is not None:
        numbers.append(found[KEY][0])
    return numbers


def test_a_success_releases_its_dependents_in_the_order_of_their_requests():
    made = queue(request(1, [0]), request(2, [0, 9]), request(3))
    assert taken(made) == [3]
    assert made.attempt_ended((0, 1), 0, seconds=4.9) == []
    made.add(request(4))
    assert taken(made) == [1, 4]
    made.attempt_ended((9, 1), 0)
    assert taken(made) == [2]
    assert not made.entries


@pytest.mark.parametrize(
    ("code", "how"),
    [(1, {}), (0, {"seconds": 5.0}), (0, {"asked": True}), (None, {})],
    ids=["a failure", "a success that was too late", "a success that was asked to end", "never started"],
)
def test_a_request_is_dropped_with_its_dependents_unless_its_dependency_succeeds_in_time(code, how):
    made = queue(request(1, [0]), request(2, [1]), request(3, [0]), request(4), request(5, [9]))
    assert (made.first_after((1, 1)), made.first_after((4, 1))) == (request(2, [1]), None)
    assert made.attempt_ended((0, 1), code, **how) == [(1, 1), (2, 1), (3, 1)]
    assert taken(made) == [4]
    assert (5, 1) in made
    assert made.cancel((5, 1)) == [(5, 1)]
    assert made.cancel((5, 1)) == []
    assert not made.entries


def test_a_daemon_needs_no_slot():
    daemon = request(2, daemon=True)
    made = queue(request(1), daemon, free_slots=0)
    assert taken(made) == [2]
    made.put_back(daemon)
    assert taken(made) == [2]
