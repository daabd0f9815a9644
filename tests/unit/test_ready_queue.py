"""Which ready task starts next, by its tokens and slots; through the scheduler, in virtual time."""

from __future__ import annotations

import pytest
from support.plans import plan
from support.scheduling import Run
from support.timing import cpu_time, growth

from mprun.jobfile.model import Retry
from mprun.scheduling.scheduler import Scheduler


def claiming(**claims):
    return {name: {"resources": tokens} for name, tokens in claims.items()}


def test_tasks_start_while_there_are_tokens():
    keys = claiming(a={"db": 1}, b={"db": 1}, c={"db": 1})
    run = Run(plan({"a": (), "b": (), "c": ()}, resources={"db": 2}, keys=keys)).started("a", "b")
    assert run.log == ["start a", "start b"]
    assert run.exited("b") == ["succeeded b", "start c"]


def test_a_task_without_its_tokens_does_not_block_later_ones():
    keys = claiming(a={"db": 2}, b={"db": 1}, c={"gpu": 1})
    run = Run(plan({"a": (), "b": (), "c": (), "d": ()}, resources={"db": 2, "gpu": 1}, keys=keys))
    assert run.log == ["start a", "start c", "start d"]


def test_tokens_are_taken_all_or_none():
    keys = claiming(a={"db": 1}, b={"gpu": 1, "db": 1}, c={"gpu": 1})
    run = Run(plan({"a": (), "b": (), "c": ()}, resources={"db": 1, "gpu": 1}, keys=keys))
    assert run.log == ["start a", "start c"]
    run.started("a", "c")
    assert "start b" not in run.exited("a")
    assert run.exited("c")[-1] == "start b"


def test_freed_tokens_go_to_the_first_task_in_the_file():
    keys = claiming(a={"db": 2}, b={"db": 2}, c={"db": 1}, d={"db": 1}, e={"db": 1})
    spec = {"a": (), "b": (), "c": (), "d": (), "e": ()}
    run = Run(plan(spec, resources={"db": 2}, keys=keys)).started("a")
    assert run.exited("a") == ["succeeded a", "join a 1/5", "start b"]
    run.started("b")
    assert run.exited("b")[2:] == ["start c", "start d"]


def test_a_small_claim_passes_a_large_one_that_does_not_fit():
    keys = claiming(a={"db": 1}, b={"db": 2}, c={"db": 1}, d={"db": 1})
    run = Run(plan({"a": (), "b": (), "c": (), "d": ()}, resources={"db": 2}, keys=keys)).started("a", "c")
    assert run.log == ["start a", "start c"]
    assert run.exited("c")[-1] == "start d"


def test_a_daemon_takes_no_slot_but_holds_its_tokens():
    keys = claiming(d={"port": 1}, e={"port": 1})
    run = Run(plan({"d": (), "e": (), "a": ()}, daemons=("d", "e"), resources={"port": 1}, keys=keys))
    assert run.log == ["start d", "start a"]
    run.started("d", "a")
    assert run.exited("d") == ["succeeded d", "start e"]


def test_tokens_are_free_while_a_task_waits_for_its_next_attempt():
    keys = {
        "a": {"resources": {"db": 1}, "retry": Retry(retries=1, delay=5.0)},
        "b": {"resources": {"db": 1}},
    }
    run = Run(plan({"a": (), "b": ()}, resources={"db": 1}, keys=keys)).started("a")
    assert run.exited("a", succeeded=False) == ["retry a 2 in 5", "start b"]
    run.started("b")
    assert run.advance(6.0) == []
    assert run.exited("b", now=7.0)[-1] == "start a"


def test_tokens_of_a_cancelled_start_are_free():
    keys = claiming(a={"db": 1}, b={"db": 1})
    run = Run(plan({"a": (), "b": ()}, resources={"db": 1}, keys=keys))
    assert run.stopped("a") == ["cancel start a"]
    assert run.apply(run.scheduler.handle_start_cancelled(0, 1.0))[-1] == "start b"


def test_tokens_of_a_task_of_unknown_outcome_are_free():
    keys = claiming(a={"db": 1}, b={"db": 1})
    run = Run(plan({"a": (), "b": ()}, resources={"db": 1}, keys=keys)).started("a")
    assert run.apply(run.scheduler.handle_exit_unknown(0, "exit status unknown", 1.0))[-1] == "start b"


def test_a_task_that_claims_tokens_is_not_dispatched_ahead_of_a_slot():
    keys = claiming(b={"db": 1})
    run = Run(plan({"a": (), "b": (), "c": ()}, slots=1, resources={"db": 1}, keys=keys)).started("a")
    assert run.log == ["start a"]
    assert run.exited("a") == ["succeeded a", "join a 1/3", "start b", "start c"]


@pytest.mark.parametrize(("claimed_by", "ahead"), [("b", []), ("c", ["start b"])])
def test_no_task_is_dispatched_ahead_past_one_that_waits_for_tokens(claimed_by, ahead):
    keys = claiming(s={"db": 1}, **{claimed_by: {"db": 1}})
    spec = {"s": (), "a": (), "b": (), "c": ()}
    run = Run(plan(spec, daemons=("s",), slots=1, resources={"db": 1}, keys=keys))
    assert run.log == ["start s", "start a", *ahead]


def test_a_ready_task_that_a_user_stops_is_passed_over():
    keys = claiming(a={"db": 1}, b={"db": 1}, c={"db": 1})
    run = Run(plan({"a": (), "b": (), "c": ()}, resources={"db": 1}, keys=keys)).started("a")
    assert run.stopped("b") == ["cancelled b"]
    assert run.exited("a")[-1] == "start c"


def test_ten_thousand_tasks_behind_one_token_take_no_longer_than_a_few():
    def seconds(count):
        names = [f"t{number}" for number in range(count)]
        keys = claiming(**{name: {"db": 1} for name in names})
        made = plan(dict.fromkeys(names, ()), resources={"db": 1}, keys=keys)
        run = Run(made, scheduler_type=Scheduler)
        with cpu_time() as spent:
            for number in range(100):
                run.started(names[number])
                run.exited(names[number])
        return spent.seconds

    assert growth(lambda: seconds(200), lambda: seconds(10_000)) < 10


def test_it_is_known_how_long_a_task_waited_for_tokens():
    keys = claiming(a={"db": 1}, b={"db": 1}, c={"db": 1})
    run = Run(plan({"a": (), "b": (), "x": (), "c": ("x",)}, resources={"db": 1}, keys=keys))
    run.started("a", "x", now=0.25)
    run.exited("a", now=1.0)
    run.started("b", now=1.25)
    run.exited("b", now=2.0)
    run.exited("x", now=3.0)
    run.started("c", now=3.5)
    queued = {name: run.scheduler.queued(run.number(name), 1) for name in "abc"}
    assert queued == {"a": (0.25, ""), "b": (1.25, "db"), "c": (0.5, "")}


def test_a_task_that_becomes_ready_when_tokens_are_freed_has_not_waited_for_them():
    keys = claiming(a={"db": 1}, b={"db": 2}, c={"db": 1})
    run = Run(plan({"a": (), "b": (), "c": ("a",)}, resources={"db": 2}, keys=keys)).started("a")
    run.exited("a", now=1.0)
    run.started("b", now=1.0)
    run.exited("b", now=4.0)
    run.started("c", now=4.0)
    assert run.scheduler.queued(run.number("b"), 1) == (1.0, "db")
    assert run.scheduler.queued(run.number("c"), 1) == (3.0, "db")


def test_of_an_earlier_attempt_the_wait_is_unknown():
    run = Run(plan({"a": ()}, keys={"a": {"retry": Retry(retries=1)}})).started("a")
    run.exited("a", succeeded=False)
    run.apply(run.scheduler.handle_deadline(1.0))
    assert run.scheduler.queued(run.number("a"), 1) is None
