"""The rows of many tasks: a list of items, a plan, a run, and the commands that read its record."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from benchmarks import large_record, peers, watching
from benchmarks.figures import Goal
from benchmarks.measuring import Measure, seconds
from benchmarks.peers import OURS
from benchmarks.place import Place
from benchmarks.row import Row, Sizes

ITEMS = """\
max_parallel: 2
tasks:
  - {{name: numbers, target: items:numbers, args: [{count}]}}
  - {{name: square, target: items:square, foreach: "${{tasks.numbers.result}}", args: ["${{item}}"]}}
  - {{name: total, target: items:total, args: ["${{tasks.square.result}}"]}}
"""
# The commands that read a record, with what they may take at most, in seconds.
SECONDS_OF = {"show": 1, "tree": 1, "runs": 1, "logs": 1, "report": 5, "show --json": None}


def foreach(place: Place, sizes: Sizes) -> Row:
    """A task for each item of a list that a task returns, and one that takes all results."""
    few, many = sizes.items // 10, sizes.items
    fewer, all_of_them = f"{few:,} items", f"{many:,} items"

    def make(count: int) -> list[str]:
        return place.mprun(place.write(f"items-{count}.yaml", ITEMS.format(count=count)))

    def once() -> Mapping[str, float]:
        start = start_of(make(1), place)
        return {
            fewer: (seconds(make(few), place) - start) / (few - 1) * 1000,
            all_of_them: (seconds(make(many), place) - start) / (many - 1) * 1000,
        }

    return Row(
        name="foreach",
        title=f"`foreach` over {all_of_them} whose results one task takes, two at a time, net of the start",
        unit="ms a task",
        sides={OURS: once},
        bases=(fewer,),
        goals=(
            Goal(text="at most 1.1 ms a task", ours=all_of_them, most=1.1),
            Goal(
                text="at most 1.1 × the cost of a task among a tenth",
                ours=all_of_them,
                against=(fewer,),
                most=1.1,
            ),
        ),
        rounds=2,
        warm_up=False,
    )


def start_of(command: list[str], place: Place) -> float:
    """The time of the least run, in seconds."""
    return statistics.median(seconds(command, place) for _ in range(3))


def planned(place: Place, sizes: Sizes) -> Row:
    """`mprun plan` of a matrix; memory is the peak above that of one instance."""
    one, many = (plan_of(place, count) for count in (1, sizes.planned))

    def once() -> Mapping[str, float]:
        _, least = watching.watch_command(one, place)
        taken, most = watching.watch_command(many, place)
        return {"time": taken, "memory": (most - least) * watching.MB / 1024 / (sizes.planned - 1)}

    return Row(
        name="plan",
        title=f"a plan of {sizes.planned:,} instances",
        unit="s",
        sides={OURS: once},
        bases=(),
        units={"memory": "KiB an instance"},
        goals=(
            Goal(text="at most 2 s", ours="time", most=2),
            Goal(text="at most 0.7 KiB an instance", ours="memory", most=0.7),
        ),
        rounds=3,
        warm_up=False,
    )


def plan_of(place: Place, count: int) -> list[str]:
    """The command that plans a matrix of `count` instances."""
    job = f"tasks:\n  - target: noop:noop\n    matrix: {{n: {peers.numbers(count)}}}\n"
    return place.mprun("plan", place.write(f"plan-{count}.yaml", job))


def long(place: Place, sizes: Sizes) -> Row:
    """A very large run beside one of a hundredth, net of start-up, and the readers of its record."""
    make = peers.matrix("noop")
    one, few, many = (make(place, count) for count in (1, sizes.long // 100, sizes.long))
    fewer, all_of_them = f"{sizes.long // 100:,} tasks", f"{sizes.long:,} tasks"
    readers = readers_of(place, f"Process-1[n={sizes.long // 2}]", ".mprun")

    def once() -> Mapping[str, float]:
        start = start_of(one, place)
        short = start_of(few, place)
        with place.kept(".mprun") as state:
            taken, engine, launcher = watching.watch_run(many, place, 0.02)
            figures = {
                fewer: (short - start) / (sizes.long // 100 - 1) * 1000,
                all_of_them: (taken - start) / (sizes.long - 1) * 1000,
                "memory": engine + launcher,
                "empty logs": sum(not log.stat().st_size for log in state.glob("runs/*/logs/*")),
                "disk": watching.bytes_on_disk(state) / sizes.long,
            }
            return figures | {name: watching.watch_command(of, place)[0] for name, of in readers.items()}

    return Row(
        name="long",
        title=f"{all_of_them} in one run",
        unit="ms a task",
        sides={OURS: once},
        bases=(fewer,),
        units={
            "memory": "MB",
            "empty logs": "files",
            "disk": "bytes a task",
            **dict.fromkeys(readers, "s"),
        },
        goals=(
            Goal(text="a task at most 1.1 × as dear", ours=all_of_them, against=(fewer,), most=1.1),
            Goal(text="at most 200 MB, engine and launcher together", ours="memory", most=200),
            Goal(text="no log of a task that has printed nothing", ours="empty logs", most=0),
            *goals_of_readers(),
        ),
        rounds=1,
        warm_up=False,
    )


def readers(place: Place, sizes: Sizes) -> Row:
    """Commands that read the record of a large run."""
    state = place.path / f"large-{sizes.planned}"
    if not state.exists():
        large_record.write_run(state, sizes.planned)
        place.belongings.add(state)
    peak: dict[str, float] = {}

    def reader(view: str, command: list[str]) -> Measure:
        def once() -> Mapping[str, float]:
            taken, peak[view] = watching.watch_command(command, place)
            return {view: taken, "memory": max(peak.values())}

        return once

    among = readers_of(place, f"crunch[{sizes.planned // 2}]", state.name)
    return Row(
        name="readers",
        title=f"reading the record of a run of {sizes.planned:,} tasks",
        unit="s",
        sides={view: reader(view, command) for view, command in among.items()},
        bases=(),
        units={"memory": "MB"},
        goals=(*goals_of_readers(), Goal(text="at most 200 MB", ours="memory", most=200)),
        rounds=3,
        warm_up=False,
    )


def readers_of(place: Place, task: str, state: str) -> dict[str, list[str]]:
    """The commands that read a record, by name."""
    more = {"logs": [task], "report": ["-o", "-"]}
    return {
        view: place.mprun(*view.split(), *more.get(view, []), "--state-dir", state) for view in SECONDS_OF
    }


def goals_of_readers() -> tuple[Goal, ...]:
    """What each reader may take."""
    return tuple(
        Goal(text=f"`{view}` in at most {most} s", ours=view, most=most)
        for view, most in SECONDS_OF.items()
        if most is not None
    )
