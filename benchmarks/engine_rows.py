"""The rows of what engine and launcher themselves take: memory, CPU time while tasks sleep, the live view."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import peers, watching
from benchmarks.figures import Goal
from benchmarks.measuring import Measure
from benchmarks.peers import OURS
from benchmarks.place import Place
from benchmarks.row import Row, Sizes

LIVE, NO_PROGRESS = "mprun --progress live", "mprun --progress none"


def memory(place: Place, sizes: Sizes) -> Row:
    """Engine and launcher while there is one task."""
    job = place.write("nap.yaml", "tasks:\n  - target: asleep:nap\n")

    def once() -> Mapping[str, float]:
        _, engine, launcher = watching.watch_run(place.mprun(job), place)
        return {"engine": engine, "launcher": launcher, "together": engine + launcher}

    return Row(
        name="memory",
        title="peak memory of engine and launcher, one task",
        unit="MB",
        sides={OURS: once},
        bases=(),
        goals=(Goal(text="at most 27 MB together", ours="together", most=27),),
        rounds=3,
        warm_up=False,
    )


def idle(place: Place, sizes: Sizes) -> Row:
    """Engine and launcher while all tasks sleep, also with the live view of them."""
    count = sizes.sleepers
    task = f"  - target: asleep:sleep\n    matrix: {{n: {peers.numbers(count)}}}\n"
    command = place.mprun(place.write("asleep.yaml", f"max_parallel: {count}\ntasks:\n{task}"))
    watched = [*command, "--progress", "live"]
    return Row(
        name="idle",
        title=f"CPU time of engine and launcher while {count} tasks sleep",
        unit="% of a core",
        sides={
            OURS: lambda: {OURS: watching.cpu_of_sleep(command, place, count, sizes.seconds)},
            LIVE: lambda: {LIVE: watching.cpu_of_live_sleep(watched, place, count, sizes.seconds)},
        },
        bases=(),
        goals=(
            Goal(text="at most 1 % of one core", most=1),
            Goal(text="with the live view, too", ours=LIVE, most=1),
        ),
        rounds=3,
        warm_up=False,
    )


def live_view(place: Place, sizes: Sizes) -> Row:
    """Engine and launcher of many short tasks on a terminal, with the live view and without."""
    job = f"max_parallel: 2\ntasks:\n  - {{target: noop:noop, matrix: {{n: {peers.numbers(sizes.tasks)}}}}}\n"
    commands = {
        name: place.mprun(place.write("live.yaml", job), "--progress", progress)
        for name, progress in ((LIVE, "live"), (NO_PROGRESS, "none"))
    }

    def side(name: str) -> Measure:
        return lambda: {name: watching.cpu_on_terminal(commands[name], place) / sizes.tasks * 1000}

    return Row(
        name="live-view",
        title=f"CPU time of engine and launcher for {sizes.tasks:,} no-op tasks on a terminal",
        unit="ms a task",
        sides={name: side(name) for name in commands},
        bases=(NO_PROGRESS,),
        goals=(Goal(text="at most 1.03 × `--progress none`", ours=LIVE, against=(NO_PROGRESS,), most=1.03),),
        repeat=3,
    )
