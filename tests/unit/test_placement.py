"""On which worker an attempt starts: `mprun.executors.dask.placement`."""

import pytest

from mprun.executors.dask.placement import AHEAD, SHORT, STEAL_AFTER, Placement


def placement(slots, limit=100):
    found = Placement()
    found.share(slots, limit)
    return found


def key(number):
    return (number, 1)


def submit(found, numbers, **options):
    for number in numbers:
        assert found.submit(key(number), options.get("after", ()), daemon=False, now=0.0) == ""


def take(found, now=0.0):
    return [(name, number) for name, (number, _) in found.take(now)]


def short(found):
    """Attempts have been short so far."""
    for _ in range(20):
        found.note_duration(0.0)


@pytest.mark.parametrize(
    ("limit", "shares"),
    [(100, {"a": 4, "b": 1}), (3, {"a": 2, "b": 1}), (2, {"a": 1, "b": 1}), (1, {"a": 1, "b": 0})],
)
def test_the_slots_of_a_run_are_shared_among_the_workers(limit, shares):
    found = placement({"a": 4, "b": 1}, limit)
    assert {name: load.slots for name, load in found.loads.items()} == shares


def test_a_request_goes_to_the_worker_with_the_most_room():
    found = placement({"a": 2, "b": 1})
    submit(found, range(5))
    assert take(found) == [("a", 0), ("b", 1), ("a", 2)]
    for number in range(3):
        found.handle_started(key(number))
    assert take(found) == []
    found.handle_over(key(1))
    assert take(found) == [("b", 3)]


def test_workers_get_more_than_they_have_slots_only_while_attempts_are_short():
    found = placement({"a": 1})
    short(found)
    submit(found, range(10))
    assert len(take(found)) == 1 + AHEAD
    long = placement({"a": 1})
    short(long)
    for _ in range(20):
        long.note_duration(2 * SHORT)
    submit(long, range(10))
    assert len(take(long)) == 1


def test_a_daemon_takes_no_slot():
    found = placement({"a": 1})
    assert found.submit(key(0), (), daemon=True, now=0.0) == ""
    assert take(found) == [("a", 0)]
    found.handle_started(key(0))
    submit(found, [1])
    assert take(found) == [("a", 1)]


def test_what_waits_for_others_goes_where_these_are_if_that_is_one_worker():
    found = placement({"a": 1, "b": 1})
    submit(found, [0, 1])
    assert take(found) == [("a", 0), ("b", 1)]
    assert found.submit(key(2), [key(0)], daemon=False, now=0.0) == "a"
    assert found.submit(key(3), [key(0), key(1)], daemon=False, now=0.0) is None
    assert found.submit(key(4), [key(9)], daemon=False, now=0.0) is None


def test_a_request_that_waits_on_a_busy_worker_starts_on_an_idle_one():
    found = placement({"a": 1, "b": 1})
    short(found)
    submit(found, range(4))
    assert take(found) == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]
    for number in (0, 1):
        found.handle_started(key(number))
    assert found.steal(STEAL_AFTER) is None
    found.handle_over(key(1))
    found.handle_started(key(3))
    found.handle_over(key(3))
    assert found.steal(STEAL_AFTER / 2) is None
    assert found.steal(STEAL_AFTER) == ("a", key(2))
    # Once.
    assert found.steal(STEAL_AFTER) is None
    assert found.handle_taken_back(key(2))
    assert take(found) == [("b", 2)]


def test_a_request_that_was_started_before_it_could_be_taken_back_stays():
    found = placement({"a": 1, "b": 1})
    short(found)
    submit(found, range(3))
    take(found)
    found.handle_started(key(0))
    found.handle_over(key(1))
    assert found.steal(STEAL_AFTER) == ("a", key(2))
    found.handle_started(key(2))
    assert not found.handle_taken_back(key(2))


def test_a_cancelled_request_is_not_taken_for_one_that_was_taken_back():
    found = placement({"a": 1, "b": 1})
    short(found)
    submit(found, range(3))
    take(found)
    found.handle_started(key(0))
    found.handle_over(key(1))
    assert found.steal(STEAL_AFTER) == ("a", key(2))
    assert not found.withdraw(key(2))
    assert not found.handle_taken_back(key(2))


def test_a_request_without_a_worker_is_withdrawn():
    found = placement({"a": 1})
    submit(found, range(2))
    take(found)
    assert found.withdraw(key(1))
    found.handle_over(key(0))
    assert take(found) == []


def test_what_a_lost_worker_had_is_told_and_its_slots_are_gone():
    found = placement({"a": 1, "b": 1})
    short(found)
    submit(found, range(5))
    take(found)
    found.handle_started(key(0))
    assert found.lose("a") == ([key(0)], [key(2), key(4)])
    submit(found, [5])
    assert take(found) == [("b", 5)]
    assert found.lose("b") == ([], [key(1), key(3), key(5)])
    submit(found, [6])
    assert take(found) == []


def test_a_worker_with_less_than_its_slots_gets_nothing_ahead():
    # Its launcher would start it at once.
    found = placement({"a": 2, "b": 2}, limit=2)
    short(found)
    submit(found, range(5))
    assert take(found) == [("a", 0), ("b", 1)]


def test_a_worker_that_joins_gets_its_share():
    found = placement({"a": 1})
    submit(found, range(3))
    assert take(found) == [("a", 0)]
    found.share({"a": 1, "b": 1}, 100)
    assert take(found) == [("b", 1)]


def test_a_worker_that_is_about_to_leave_gets_nothing_more():
    found = placement({"a": 1, "b": 1})
    found.share({"b": 1}, 100)
    submit(found, range(3))
    assert take(found) == [("b", 0)]


def test_what_a_worker_that_has_left_still_runs_takes_slots_until_it_is_given_up():
    found = placement({"a": 2, "b": 2}, limit=2)
    submit(found, range(2))
    assert take(found) == [("a", 0), ("b", 1)]
    found.leave("a")
    assert found.left_behind == 1
    # An answer that comes before that counts.
    found.handle_started(key(0))
    assert found.lose("a") == ([key(0)], [])
    assert found.left_behind == 0
