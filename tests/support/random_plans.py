"""Random plans with every policy of a job file."""

from __future__ import annotations

from mprun.jobfile.model import Ready, Retry, Stop
from mprun.scheduling.concurrency import most_together
from support.plans import plan

CONDITIONS = ["", "", "", ":succeeded", ":finished", ":failed", ":started", ":ready", ":ready"]
TOKENS = {"db": 2, "gpu": 1, "mb": 7}


class RandomPriorities:
    """Random priorities, many of them equal; an instance has at most that of its group."""

    def __init__(self, random, count):
        self.priorities = [random.randint(0, 4) for _ in range(count)]

    def of(self, number):
        return self.priorities[number]

    def of_instance(self, group, name):
        return self.priorities[group] - len(name) % 2


def random_keys(random):
    """Random fields of a task."""
    keys = {"allow_failure": random.random() < 0.2}
    if random.random() < 0.3:
        keys["retry"] = Retry(
            retries=random.randint(0, 3),
            delay=random.random(),
            backoff=random.choice([1.0, 2.0]),
            jitter=random.random(),
            exit_codes=random.choice([(), (), (1,), (2,)]),
        )
    if random.random() < 0.2:
        keys["timeout"] = random.random() * 5
    if random.random() < 0.2:
        keys["stop"] = Stop(signal=random.choice(["SIGINT", "SIGINT", "SIGKILL"]), grace=random.random() * 3)
    return keys


def random_service_keys(random):
    """Random fields of a daemon, in addition."""
    keys = {"restart": random.choice(["never", "on-failure", "always"])}
    if random.random() < 0.6:
        keys["ready"] = Ready(kind="tcp", what="80", timeout=random.random() * 4)
    return keys


def random_claims(random):
    return {
        name: random.randint(1, TOKENS[name])
        for name in random.sample(list(TOKENS), random.choice([1, 1, 2]))
    }


def random_needs(random, names, number, keys, chain):
    """Dependencies on earlier tasks: any of them, or in a `chain` of services on the last one as it runs."""
    if chain and random.random() < 0.9:
        return tuple(f"{need}:started" for need in names[max(0, number - 1) : number])
    needs = random.sample(names[:number], min(number, random.choice([0, 0, 0, 1, 1, 2, 3])))
    # A dependency on the readiness of a task without `ready` is an error of the job file.
    conditions = {need: CONDITIONS if "ready" in keys[need] else CONDITIONS[:-2] for need in needs}
    return tuple(need + random.choice(conditions[need]) for need in needs)


def random_plan(random):
    """A random plan: most are small, some have 300 tasks, and each policy is in some of them."""
    most = random.choices([8, 30, 300], [60, 30, 10])[0]
    count = 300 if most == 300 and random.random() < 0.2 else random.randint(1, most)
    names = [f"t{number}" for number in range(count)]
    # A chain of services, each of which depends on the one before.
    chain = most == 8 and random.random() < 0.2
    daemons = [name for name in names if random.random() < (0.7 if chain else 0.25)]
    keys = {name: random_keys(random) for name in names}
    for name in daemons:
        keys[name].update(random_service_keys(random))
    if random.random() < 0.5:
        for name in names:
            keys[name]["resources"] = random_claims(random) if random.random() < 0.4 else {}
    many_late, many_skipped = random.choice([0, 0, 0.1, 0.4]), random.choice([0, 0, 0.1])
    join = None
    if random.random() < 0.5:
        join = [(name, random.choice([None, random.random() * 5])) for name in names if random.random() < 0.5]
        random.shuffle(join)
    made = plan(
        {name: random_needs(random, names, number, keys, chain) for number, name in enumerate(names)},
        daemons=tuple(daemons),
        join=join,
        slots=random.randint(1, 8),
        keys=keys,
        late={name for name in names if random.random() < many_late},
        skipped={name for name in names if random.random() < many_skipped},
        resources=TOKENS,
        fail_fast=random.random() < 0.1,
        on_host_lost=random.choice(["fail", "rerun"]),
        timeout=random.choice([None, None, None, random.random() * (20 + count)]),
    )
    # Tasks were marked as skipped after the job was planned.
    made = made.replace(max_concurrency=most_together(made.tasks, made.max_parallel, TOKENS))
    return made.replace(priorities=RandomPriorities(random, count)) if random.random() < 0.3 else made
