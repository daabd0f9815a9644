"""Which tasks wait for tokens only, by the plan and the events so far."""

from support import plans
from support.reporting import STAMP, exited, finished, started, state_of

from mprun.record import events
from mprun.reporters.token_waits import MAX_TASKS, TokenWaits

SPEC = {"migrate": (), "load": (), "check": ("migrate",), "train": (), "free": ()}
CLAIMS = {"migrate": {"db": 1}, "load": {"db": 1}, "check": {"db": 1}, "train": {"gpu": 2}}
PLAN = plans.plan(
    SPEC, keys={name: {"resources": claims} for name, claims in CLAIMS.items()}, resources={"db": 1, "gpu": 1}
)


def waiting(*happened, plan=PLAN):
    return TokenWaits(plan, state_of(*happened)).find()


def test_tasks_wait_for_tokens_that_others_hold_once_they_have_what_they_need():
    began = [started("migrate")]
    assert waiting() == {"gpu": ["train"]}
    assert waiting(*began) == {"db": ["load"], "gpu": ["train"]}
    # Between two attempts a task holds none.
    assert waiting(*began, exited("migrate")) == {"gpu": ["train"]}
    ended = [*began, exited("migrate"), finished("migrate", "succeeded")]
    assert waiting(*ended, started("load")) == {"db": ["check"], "gpu": ["train"]}
    assert waiting(*ended, started("load"), finished("train", "cancelled")) == {"db": ["check"]}


def test_a_service_has_to_be_started_or_ready_as_the_condition_says():
    needs = {"serve": (), "use": ("serve:ready",), "watch": ("serve:started",), "hold": ()}
    keys = {name: {"resources": {"db": 1}} for name in ("use", "watch", "hold")}
    plan = plans.plan(needs, daemons=["serve"], keys=keys, resources={"db": 1})
    begun = [started("hold"), started("serve")]
    ready = events.TaskReady(**STAMP, task="serve", attempt=1)
    assert waiting(started("hold"), plan=plan) == {}
    assert waiting(*begun, plan=plan) == {"db": ["watch"]}
    assert waiting(*begun, ready, plan=plan) == {"db": ["use", "watch"]}


def test_a_plan_without_tokens_or_with_too_many_tasks_is_not_searched():
    assert waiting(plan=plans.plan({"a": ()})) == {}
    names = [str(number) for number in range(MAX_TASKS + 1)]
    keys = {name: {"resources": {"db": 1}} for name in names}
    assert (
        waiting(started("0"), plan=plans.plan(dict.fromkeys(names, ()), keys=keys, resources={"db": 1})) == {}
    )
