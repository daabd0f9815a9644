"""Plans of random graphs, and how long each of their tasks takes."""

from __future__ import annotations

from itertools import pairwise

from mprun.scheduling.estimates import Estimates, RunTimings
from support.plans import plan


def layered(random, count):
    """Layers of tasks; each task depends on some of the layer before."""
    layers, names = [], []
    while len(names) < count:
        layer = [f"t{len(names) + number}" for number in range(random.randint(1, max(2, count // 4)))]
        layers.append(layer)
        names += layer
    spec = dict.fromkeys(layers[0], ())
    for before, layer in pairwise(layers):
        for name in layer:
            spec[name] = tuple(random.sample(before, min(len(before), random.randint(1, 3))))
    return spec


def anything(random, count):
    """Each task depends on up to three of the tasks before it."""
    return {
        f"t{number}": tuple(
            f"t{other}" for other in random.sample(range(number), min(number, random.randint(0, 3)))
        )
        for number in range(count)
    }


def fork_join(random, count):
    """One task, then many at once, then one that depends on all of them; and so on."""
    spec, before = {}, ()
    while len(spec) < count:
        fork, join = f"t{len(spec)}", None
        spec[fork] = before
        wide = [f"t{len(spec) + number}" for number in range(random.randint(2, max(3, count // 3)))]
        spec.update(dict.fromkeys(wide, (fork,)))
        join = f"t{len(spec)}"
        spec[join] = tuple(wide)
        before = (join,)
    return spec


def chains(random, count):
    """Chains of tasks, and single tasks, shuffled in the file."""
    spec, left = {}, count
    while left > 0:
        length = min(left, random.choice([1, 1, 1, 1, 2, 5, max(2, count // 4)]))
        for link in range(length):
            spec[f"t{left - link}"] = (f"t{left - link + 1}",) if link else ()
        left -= length
    names = list(spec)
    random.shuffle(names)
    return {name: spec[name] for name in names}


SHAPES = (layered, anything, fork_join, chains)


def lognormal(random):
    return random.lognormvariate(0, 1)


def uniform(random):
    return random.uniform(0.1, 10)


def few_long(random):
    return random.choice([20.0] + [1.0] * 9) * random.uniform(0.8, 1.2)


SPANS = (lognormal, uniform, few_long)


def timed_plan(random, count, shape=None, tokens=None):
    """A plan of about this many tasks with 2 to 8 slots, and how long each task takes, by name.

    With `tokens`, some of the tasks claim one or two tokens; if None, in a third of the plans.
    """
    spec = (shape or random.choice(SHAPES))(random, count)
    tokens = random.random() < 0.33 if tokens is None else tokens
    keys = {}
    if tokens:
        keys = {name: {"resources": {"db": random.randint(1, 2)}} for name in spec if random.random() < 0.4}
    made = plan(
        spec, slots=random.randint(2, 8), keys=keys, resources={"db": random.randint(2, 3)} if tokens else {}
    )
    span = random.choice(SPANS)
    return made, {name: span(random) for name in spec}


def estimates(durations, until_ready=None):
    return Estimates([RunTimings(durations=durations, until_ready=until_ready or {})])


def noisy(random, durations, share):
    """Durations that differ from these by up to a share of them."""
    return {name: seconds * random.uniform(1 - share, 1 + share) for name, seconds in durations.items()}
