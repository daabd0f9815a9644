"""Sixty-four tasks at once, each with a timeout: how late each one ends."""

from pathlib import Path
from random import Random

from seen import Figure, Seen, none_of, spread
from support.runs import START_METHODS, mprun, write

TRIALS = 6 * 64
# All at once.
BATCH = 64


def play(directory: Path, numbers: range, random: Random) -> Seen:
    seen = Seen(trials=len(numbers))
    turn = numbers.start // BATCH
    method = START_METHODS[turn % len(START_METHODS)]
    # All in one instant, as far as their starts are, or one after another.
    alike = random.random() < 0.5
    timeouts = {f"t{n}": 2.5 if alike else round(random.uniform(0.5, 3), 3) for n in numbers}
    tasks = "".join(
        f"- {{name: {name}, target: 'signal:pause', timeout: {seconds}s}}\n"
        for name, seconds in timeouts.items()
    )
    write(directory, job="tasks:\n" + tasks)
    run = mprun("job.yaml", "-q", "-j", BATCH, "--start-method", method, cwd=directory)
    for event in run.of("task_exited"):
        late = event["duration"] - timeouts[event["task"]]
        seen.add(f"late under {method}", late)
        if late < 0:
            seen.add_defect(int(event["task"][1:]), "early", f"{event}")
    outcomes = {event["outcome"] for event in run.of("task_finished")}
    if run.code != 1 or outcomes != {"timed_out"} or len(run.of("task_exited")) != len(numbers):
        seen.add_defect(numbers.start, "outcome", f"{run.code} {outcomes} {run.stderr[-500:]}")
    return seen


def figures(seen: Seen) -> list[Figure]:
    every = [value for values in seen.values.values() for value in values]
    return [
        spread("timeouts, 64 tasks at once: ended late by", every, p99=0.05),
        *(spread(f"… {name}", values) for name, values in sorted(seen.values.items())),
        none_of("… early, or not timed out", seen),
    ]
