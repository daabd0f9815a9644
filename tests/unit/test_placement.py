"""On which worker an attempt starts: `mprun.executors.dask.placement`."""

import random

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


def with_resources(resources, slots=None, limit=100):
    found = Placement()
    found.resources = resources
    found.share(slots or dict.fromkeys(resources, 2), limit)
    return found


def ask(found, number, daemon=False, **needs):
    assert found.submit(key(number), (), daemon=daemon, now=0.0, needs=needs) == ""


def test_a_request_goes_only_to_a_worker_that_has_what_it_needs():
    found = with_resources({"a": {}, "b": {"gpu": 2.0}})
    for number in range(3):
        ask(found, number, gpu=1)
    # The third one has a slot neither on `b` nor what it needs elsewhere.
    assert take(found) == [("b", 0), ("b", 1)]
    assert found.waiting == 1
    found.handle_started(key(0))
    found.handle_over(key(0))
    assert take(found) == [("b", 2)]
    assert found.waiting == 0


def test_nothing_is_sent_ahead_beyond_what_a_worker_has_to_spare():
    found = with_resources({"a": {"gpu": 2.0}}, {"a": 1})
    short(found)
    for number in range(4):
        ask(found, number, gpu=0.5 + 0.25)
    # Two take 1.5: it counts from being sent.
    assert take(found) == [("a", 0), ("a", 1)]
    found.handle_started(key(0))
    assert take(found) == []
    found.handle_over(key(0))
    assert take(found) == [("a", 2)]


def test_fractions_add_up_to_what_there_is():
    found = with_resources({"a": {"gpu": 0.3}}, {"a": 5})
    for number in range(4):
        ask(found, number, gpu=0.1)
    assert take(found) == [("a", 0), ("a", 1), ("a", 2)]


def test_a_request_that_waits_for_what_it_needs_does_not_hold_up_others():
    found = with_resources({"a": {}, "b": {"gpu": 1.0}})
    ask(found, 0, gpu=1)
    ask(found, 1, gpu=1)
    submit(found, [2, 3])
    assert take(found) == [("b", 0), ("a", 2), ("a", 3)]
    assert found.waiting == 1


def test_a_request_is_first_in_line_for_what_it_needs():
    found = with_resources({"a": {"gpu": 2.0}}, {"a": 8})
    ask(found, 0, gpu=1)
    ask(found, 1, gpu=2)
    ask(found, 2, gpu=1)
    submit(found, [3])
    # One is left of two, and is kept for the second one.
    assert take(found) == [("a", 0), ("a", 3)]
    found.handle_over(key(0))
    assert take(found) == [("a", 1)]
    found.handle_over(key(1))
    assert take(found) == [("a", 2)]


def test_a_request_comes_before_later_ones_that_need_nothing():
    found = with_resources({"a": {"gpu": 1.0}}, {"a": 1})
    ask(found, 0, gpu=1)
    ask(found, 1, gpu=1)
    submit(found, [2, 3])
    assert take(found) == [("a", 0)]
    found.handle_over(key(0))
    assert take(found) == [("a", 1)]
    found.handle_over(key(1))
    assert take(found) == [("a", 2)]


def test_the_only_worker_that_has_something_is_used_though_others_have_the_few_slots():
    found = with_resources({"a": {}, "b": {"gpu": 1.0}}, {"a": 1, "b": 1}, limit=1)
    ask(found, 0, gpu=1)
    submit(found, [1, 2])
    assert take(found) == [("b", 0)]
    found.handle_started(key(0))
    assert take(found) == []
    found.handle_over(key(0))
    assert take(found) == [("a", 1)]
    ask(found, 3, gpu=1)
    assert take(found) == []
    found.handle_over(key(1))
    assert take(found) == [("a", 2)]
    found.handle_over(key(2))
    assert take(found) == [("b", 3)]


def test_few_slots_are_not_all_sent_ahead_to_while_a_request_waits_for_one():
    found = with_resources({"a": {}, "b": {"gpu": 1.0}}, {"a": 1, "b": 1}, limit=1)
    short(found)
    submit(found, [0, 1])
    assert take(found) == [("a", 0), ("a", 1)]
    ask(found, 2, gpu=1)
    submit(found, [3])
    assert take(found) == []
    found.handle_started(key(0))
    found.handle_over(key(0))
    assert take(found) == []
    found.handle_over(key(1))
    assert take(found) == [("b", 2)]


def test_a_daemon_takes_no_slot_and_holds_what_it_needs():
    found = with_resources({"a": {"gpu": 1.0}}, {"a": 1})
    ask(found, 0, daemon=True, gpu=1)
    assert take(found) == [("a", 0)]
    found.handle_started(key(0))
    submit(found, [1])
    ask(found, 2, gpu=1)
    assert take(found) == [("a", 1)]
    ask(found, 3, daemon=True, gpu=1)
    assert found.waiting == 1
    found.handle_over(key(1))
    assert take(found) == []
    found.handle_over(key(0))
    assert take(found) == [("a", 2)]


def test_what_needs_something_is_not_placed_before_others_have_succeeded():
    found = with_resources({"a": {"gpu": 1.0}})
    submit(found, [0])
    take(found)
    assert found.submit(key(1), [key(0)], daemon=False, now=0.0, needs={"gpu": 1}) is None
    assert found.waiting == 0


def test_only_what_an_idle_worker_has_is_taken_back_for_it():
    found = with_resources({"a": {"gpu": 2.0}, "b": {}}, {"a": 1, "b": 1})
    short(found)
    ask(found, 0, gpu=1)
    ask(found, 1, gpu=1)
    assert take(found) == [("a", 0), ("a", 1)]
    found.handle_started(key(0))
    assert found.steal(STEAL_AFTER) is None
    # Another worker that has it comes.
    found.resources["c"] = {"gpu": 1.0}
    found.share({"a": 1, "b": 1, "c": 1}, 100)
    assert found.steal(STEAL_AFTER) == ("a", key(1))
    assert found.handle_taken_back(key(1))
    assert take(found) == [("c", 1)]
    # It counts there, and no longer on the first one.
    ask(found, 2, gpu=1)
    assert take(found) == [("a", 2)]
    ask(found, 3, gpu=1)
    assert take(found) == []


def test_requests_that_wait_do_not_keep_others_from_being_taken_back():
    found = with_resources({"a": {"gpu": 1.0}, "b": {}}, {"a": 1, "b": 1})
    short(found)
    ask(found, 0, gpu=1)
    ask(found, 1, gpu=1)
    submit(found, [2, 3, 4])
    take(found)
    found.handle_started(key(2))
    assert found.places[key(2)] == "b"
    for number in (2, 4):
        if found.places[key(number)] == "b":
            found.handle_over(key(number))
    assert found.places[key(3)] == "a"
    assert found.steal(STEAL_AFTER) == ("a", key(3))


def test_what_no_worker_has_is_known_while_there_are_workers():
    found = with_resources({"a": {"gpu": 1.0}})
    ask(found, 0, gpu=2)
    ask(found, 1, gpu=1)
    ask(found, 2, disk=1)
    assert take(found) == [("a", 1)]
    assert found.hopeless == [key(0), key(2)]
    found.resources["b"] = {"gpu": 2.0}
    found.share({"a": 2, "b": 2}, 100)
    assert found.hopeless == [key(2)]
    assert take(found) == [("b", 0)]
    # One that is about to leave gets nothing more.
    ask(found, 3, gpu=2)
    found.share({"a": 2}, 100)
    assert found.hopeless == [key(2), key(3)]
    assert found.withdraw(key(2))
    assert found.hopeless == [key(3)]
    found.lose("a")
    found.lose("b")
    assert found.hopeless == []


def test_what_a_lost_worker_had_needs_nothing_any_more():
    found = with_resources({"a": {"gpu": 1.0}, "b": {"gpu": 1.0}})
    ask(found, 0, gpu=1)
    ask(found, 1, gpu=1)
    assert take(found) == [("a", 0), ("b", 1)]
    found.handle_started(key(0))
    assert found.lose("a") == ([key(0)], [])
    # The same attempt may be asked for again, or as another one.
    ask(found, 0, gpu=1)
    assert take(found) == []
    found.handle_over(key(1))
    assert take(found) == [("b", 0)]


def test_random_requests_never_take_more_than_there_is_and_all_start():
    for seed in range(60):
        dice = random.Random(seed)
        resources = {name: {"gpu": float(dice.randint(0, 3)), "disk": 1.0} for name in "abc"}
        slots = {name: dice.randint(1, 3) for name in "abc"}
        found = with_resources(resources, slots, limit=dice.choice([1, 2, 3, 100]))
        if dice.random() < 0.5:
            short(found)
        most = max(each["gpu"] for each in resources.values())
        asked = {}
        for number in range(40):
            needs = {"gpu": dice.randint(1, int(most))} if most and dice.random() < 0.5 else {}
            if dice.random() < 0.2:
                needs["disk"] = dice.choice([0.5, 1])
            asked[number] = needs
        left, placed, ended = list(asked), {}, set()
        while len(ended) < len(asked):
            if left and dice.random() < 0.6:
                number = left.pop(0)
                ask(found, number, **asked[number])
            for name, number in take(found):
                placed[number] = name
                for what in ("gpu", "disk"):
                    held = sum(asked[one].get(what, 0) for one, at in placed.items() if at == name)
                    assert held <= resources[name][what] + 1e-6, seed
            assert left or placed, seed
            if placed and (dice.random() < 0.5 or not left):
                number = dice.choice(list(placed))
                found.handle_started(key(number))
                found.handle_over(key(number))
                del placed[number]
                ended.add(number)
        assert found.waiting == 0


def test_what_is_to_start_after_another_is_not_placed_on_a_worker_that_has_left():
    found = placement({"a": 1, "b": 1})
    submit(found, [0])
    ((name, _),) = take(found)
    found.handle_started(key(0))
    found.leave(name)
    assert found.submit(key(1), [key(0)], daemon=False, now=0.0) is None
    assert found.lose(name) == ([key(0)], [])
