"""Plans drawn at random, of every policy that a job file knows."""

from __future__ import annotations

from mprun.jobfile.model import Ready, Retry, Stop
from support.plans import plan

CONDITIONS = ["", "", "", ":succeeded", ":finished", ":failed", ":started", ":ready", ":ready"]
TOKENS = {"db": 2, "gpu": 1, "mb": 7}


class RandomPriorities:
    """Ranks that follow nothing, with many that are equal; instances have at most their group's."""

    def __init__(self, dice, count):
        self.priorities = [dice.randint(0, 4) for _ in range(count)]

    def of(self, number):
        return self.priorities[number]

    def of_instance(self, group, name):
        return self.priorities[group] - len(name) % 2


def random_keys(dice):
    """More fields of a task."""
    keys = {"allow_failure": dice.random() < 0.2}
    if dice.random() < 0.3:
        keys["retry"] = Retry(
            retries=dice.randint(0, 3),
            delay=dice.random(),
            backoff=dice.choice([1.0, 2.0]),
            jitter=dice.random(),
            exit_codes=dice.choice([(), (), (1,), (2,)]),
        )
    if dice.random() < 0.2:
        keys["timeout"] = dice.random() * 5
    if dice.random() < 0.2:
        keys["stop"] = Stop(signal="SIGINT", grace=dice.random())
    if dice.random() < 0.3:
        keys["ready"] = Ready(kind="tcp", what="80", timeout=dice.random() * 4)
    return keys


def random_claims(dice):
    return {name: dice.randint(1, TOKENS[name]) for name in dice.sample(list(TOKENS), dice.choice([1, 1, 2]))}


def random_needs(dice, names, number, keys):
    needs = dice.sample(names[:number], min(number, dice.choice([0, 0, 0, 1, 1, 2, 3])))
    # Readiness of what never says that it is ready is refused before the run.
    conditions = {need: CONDITIONS if "ready" in keys[need] else CONDITIONS[:-2] for need in needs}
    return tuple(need + dice.choice(conditions[need]) for need in needs)


def random_plan(dice):
    """Most are small, some have 300 tasks; each policy is in some of them."""
    most = dice.choices([8, 30, 300], [60, 30, 10])[0]
    count = 300 if most == 300 and dice.random() < 0.2 else dice.randint(1, most)
    names = [f"t{number}" for number in range(count)]
    daemons = [name for name in names if dice.random() < 0.15]
    keys = {name: random_keys(dice) for name in names}
    for name in daemons:
        keys[name]["restart"] = dice.choice(["never", "on-failure", "always"])
    if dice.random() < 0.5:
        for name in names:
            keys[name]["resources"] = random_claims(dice) if dice.random() < 0.4 else {}
    many_late, many_skipped = dice.choice([0, 0, 0.1, 0.4]), dice.choice([0, 0, 0.1])
    join = None
    if dice.random() < 0.5:
        join = [(name, dice.choice([None, dice.random() * 5])) for name in names if dice.random() < 0.5]
        dice.shuffle(join)
    made = plan(
        {name: random_needs(dice, names, number, keys) for number, name in enumerate(names)},
        daemons=tuple(daemons),
        join=join,
        slots=dice.randint(1, 8),
        keys=keys,
        late={name for name in names if dice.random() < many_late},
        skipped={name for name in names if dice.random() < many_skipped},
        resources=TOKENS,
        fail_fast=dice.random() < 0.1,
        timeout=dice.choice([None, None, None, dice.random() * (20 + count)]),
    )
    return made.replace(priorities=RandomPriorities(dice, count)) if dice.random() < 0.3 else made
