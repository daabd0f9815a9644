"""The rows of runs on the workers of a dask cluster."""

from __future__ import annotations

from benchmarks import hosts
from benchmarks.figures import Goal
from benchmarks.place import Place
from benchmarks.row import Row, Sizes


def over_hosts(place: Place, sizes: Sizes) -> Row:
    """Tasks that do nothing, on two workers of a dask cluster."""
    sides = hosts.commands(place)
    return Row(
        name="hosts",
        title=f"{sizes.tasks:,} no-op tasks, on two dask workers and without dask, net of the start",
        unit="ms a task",
        sides={name: hosts.per_task(name, command, sizes.tasks, place) for name, command in sides.items()},
        bases=(hosts.HERE,),
        units={hosts.first(name): "s" for name in sides},
        goals=(
            Goal(text="at most 2 × the time without dask", ours=hosts.HOSTS, against=(hosts.HERE,), most=2),
            Goal(text="the first task in at most 1 s", ours=hosts.first(hosts.HOSTS), most=1),
        ),
    )


def memory_over_hosts(place: Place, sizes: Sizes) -> Row:
    """Engine and bridge with few and with many tasks."""
    counts = (sizes.tasks // 2, sizes.many_tasks // 2)
    sides = {
        f"{name}, {count:,}": hosts.memory(name, command, count, place)
        for name, command in hosts.commands(place).items()
        for count in counts
    }
    few, many = (f"bridge, {count:,} tasks" for count in counts)
    engines = tuple(f"{name}, {counts[1]:,} tasks" for name in (hosts.HERE, hosts.HOSTS))
    figures = (
        few,
        many,
        *(f"{name}, {count:,} tasks" for name in (hosts.HERE, hosts.HOSTS) for count in counts),
    )
    return Row(
        name="hosts-memory",
        title="peak memory of the engine, and of the process with dask's client",
        unit="MB",
        sides=sides,
        bases=(),
        units=dict.fromkeys(figures, "MB"),
        goals=(
            Goal(
                text="the client at most 1.1 × with ten times the tasks", ours=many, against=(few,), most=1.1
            ),
            Goal(
                text="the engine at most 1.1 × that without dask",
                ours=engines[1],
                against=engines[:1],
                most=1.1,
            ),
        ),
        rounds=2,
        warm_up=False,
    )
