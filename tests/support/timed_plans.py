"""Plans of random graphs, with how long each of their tasks takes."""

from __future__ import annotations

from itertools import pairwise

from mprun.scheduling.estimates import Estimates, RunTimings
from support.plans import plan


def layered(dice, count):
    """Layers of tasks, each of which needs some of the layer before."""
    layers, names = [], []
    while len(names) < count:
        layer = [f"t{len(names) + number}" for number in range(dice.randint(1, max(2, count // 4)))]
        layers.append(layer)
        names += layer
    spec = dict.fromkeys(layers[0], ())
    for before, layer in pairwise(layers):
        for name in layer:
            spec[name] = tuple(dice.sample(before, min(len(before), dice.randint(1, 3))))
    return spec


def anything(dice, count):
    """Each task needs up to three of all that stand before it."""
    return {
        f"t{number}": tuple(
            f"t{other}" for other in dice.sample(range(number), min(number, dice.randint(0, 3)))
        )
        for number in range(count)
    }


def fork_join(dice, count):
    """One task, many at once, one that needs all of them; and again."""
    spec, before = {}, ()
    while len(spec) < count:
        fork, join = f"t{len(spec)}", None
        spec[fork] = before
        wide = [f"t{len(spec) + number}" for number in range(dice.randint(2, max(3, count // 3)))]
        spec.update(dict.fromkeys(wide, (fork,)))
        join = f"t{len(spec)}"
        spec[join] = tuple(wide)
        before = (join,)
    return spec


def chains(dice, count):
    """Chains of some tasks, and tasks alone, in any order of the file."""
    spec, left = {}, count
    while left > 0:
        length = min(left, dice.choice([1, 1, 1, 1, 2, 5, max(2, count // 4)]))
        for link in range(length):
            spec[f"t{left - link}"] = (f"t{left - link + 1}",) if link else ()
        left -= length
    names = list(spec)
    dice.shuffle(names)
    return {name: spec[name] for name in names}


SHAPES = (layered, anything, fork_join, chains)


def lognormal(dice):
    return dice.lognormvariate(0, 1)


def uniform(dice):
    return dice.uniform(0.1, 10)


def few_long(dice):
    return dice.choice([20.0] + [1.0] * 9) * dice.uniform(0.8, 1.2)


SPANS = (lognormal, uniform, few_long)


def timed_plan(dice, count, shape=None, tokens=None):
    """A plan of about so many tasks at 2 to 8 at once, and how long each takes, by name.

    With `tokens`, some of the tasks claim one or two of a few; where None, in a third of the plans.
    """
    spec = (shape or dice.choice(SHAPES))(dice, count)
    tokens = dice.random() < 0.33 if tokens is None else tokens
    keys = {}
    if tokens:
        keys = {name: {"resources": {"db": dice.randint(1, 2)}} for name in spec if dice.random() < 0.4}
    made = plan(
        spec, slots=dice.randint(2, 8), keys=keys, resources={"db": dice.randint(2, 3)} if tokens else {}
    )
    span = dice.choice(SPANS)
    return made, {name: span(dice) for name in spec}


def estimates(durations, until_ready=None):
    return Estimates([RunTimings(durations=durations, until_ready=until_ready or {})])


def noisy(dice, durations, share):
    """Durations that differ from these by up to a share."""
    return {name: seconds * dice.uniform(1 - share, 1 + share) for name, seconds in durations.items()}
