"""The measured rows, each with its sides, its sizes and its goals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import hosts, large_record, peers, watching
from benchmarks.figures import Goal, RowResult, figure, judge
from benchmarks.measuring import Measure, interleave, seconds
from benchmarks.peers import CHAIN, FORKS, LOOP, NOTHING, OURS, SCRIPT, Kind, Peer, Work
from benchmarks.place import Place

STRAIGHT = "straight to files"
BY_LINE = "straight to files, line by line"
CAT = "`cat`"
LIVE, NO_PROGRESS = "mprun --progress live", "mprun --progress none"
# How much a command of the flood writes for each line of the other flood, in bytes.
BYTES_PER_LINE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of each.

    `seconds` is how long the sleepers are watched. `starts` is how many rounds of start-up count as one,
    because it is the shortest and varies most.
    """

    tasks: int = 1_000
    many_tasks: int = 10_000
    slow_tasks: int = 100
    chain: int = 500
    heavy: int = 200
    slow_heavy: int = 20
    planned: int = 100_000
    long: int = 100_000
    lines: int = 1_000_000
    sleepers: int = 100
    seconds: float = 5
    starts: int = 3


QUICK = Sizes(
    tasks=20,
    many_tasks=40,
    slow_tasks=4,
    chain=5,
    heavy=4,
    slow_heavy=2,
    planned=1_000,
    long=400,
    lines=5_000,
    sleepers=4,
    seconds=0.2,
    starts=1,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: sides that are measured in turn, figures in `unit`, goals.

    A figure has the name of its side, unless `units` names others. `bases` are the sides of which the
    others are multiples. `repeat` multiplies the rounds, `rounds` is their maximum.
    """

    name: str
    title: str
    unit: str
    sides: Mapping[str, Measure]
    bases: tuple[str, ...] = (OURS,)
    goals: tuple[Goal, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1
    rounds: int = 99
    warm_up: bool = True


def measure(row: Row, rounds: int) -> RowResult:
    """Run the rounds of one row."""
    missing = {peer.name: "not here" for peer in peers.PEERS if peer.version() is None}
    sides = {name: side for name, side in row.sides.items() if name not in missing}
    measured, failed = interleave(sides, min(rounds * row.repeat, row.rounds), row.warm_up and rounds > 1)
    gaps = {name: why for name, why in missing.items() if name in row.sides} | failed
    return RowResult(
        name=row.name,
        title=row.title,
        bases=list(row.bases),
        figures=[
            figure(name, row.unit, row.notes.get(name, ""), row.bases, measured)
            if name not in row.units
            else figure(name, row.units[name], "", (), measured)
            for name in measured
        ],
        gaps=[{"name": name, "why": why} for name, why in gaps.items()],
        goals=[judge(goal, measured) for goal in row.goals],
    )


def cost(peer: Peer, work: Work, place: Place, total: int, count: int) -> Measure:
    """Milliseconds per task, for `total` tasks.

    A slow peer gets `count` of them. The time of one task, with start-up, and what each further task adds
    give the time of `total`; if `count` equals `total`, that is the measured time.
    """
    make = peer.commands[work]

    def once() -> Mapping[str, float]:
        whole = seconds(make(place, count), place)
        if count < total:
            one = seconds(make(place, 1), place)
            whole = one + max(whole - one, 0) / (count - 1) * (total - 1)
        return {peer.name: whole / total * 1000}

    return once


def costs(work: Work, place: Place, total: int, fewer: int, among: Sequence[Peer]) -> dict[str, Measure]:
    """Each peer with `total` tasks, slow ones with fewer."""
    return {
        peer.name: cost(peer, work, place, total, min(fewer, total) if peer.slow else total) for peer in among
    }


def notes(among: Sequence[Peer], fewer: int = 0) -> dict[str, str]:
    """The notes on peers that do less than start a process for each task, or get fewer tasks."""
    said = {peer.name: f"{peer.less()}: does less" for peer in among if peer.less()}
    said |= {peer.name: f"reckoned from {fewer}" for peer in among if peer.slow and fewer}
    return said | {peer.name: "keeps a log and a record" for peer in among if peer.records}


def start_up(place: Place, sizes: Sizes) -> Row:
    """One task that does nothing, as a whole command."""
    among = peers.that_can(Work.ONE)
    runners = tuple(peer.name for peer in among if peer.kind is Kind.RUNNER)
    return Row(
        name="start-up",
        title="start-up: one no-op task, the whole command",
        unit="ms",
        sides=costs(Work.ONE, place, 1, 1, among),
        bases=(SCRIPT, NOTHING),
        goals=(
            Goal(text="at most 2.5 × the one-`Process` script", against=(SCRIPT,), most=2.5),
            Goal(text="sooner than every Python runner", against=runners, least=1),
        ),
        repeat=sizes.starts,
        notes=notes(among),
    )


def throughput(place: Place, sizes: Sizes) -> Row:
    """Tasks that do nothing, beside all peers."""
    among = peers.that_can(Work.MANY)
    anew = tuple(peer.name for peer in peers.ANEW)
    return Row(
        name="tasks",
        title=f"{sizes.tasks:,} no-op tasks, two at a time",
        unit="ms a task",
        sides=costs(Work.MANY, place, sizes.tasks, sizes.slow_tasks, among),
        goals=(
            *goals_of_throughput(),
            Goal(text="at least 5 × every runner that starts Python anew", against=anew, least=5),
        ),
        notes=notes(among, sizes.slow_tasks),
    )


def goals_of_throughput() -> tuple[Goal, ...]:
    """The goals for a thousand and for ten thousand."""
    return (
        Goal(text="at least 1.5 × the tasks a second of the `Process` loop", against=(LOOP,), least=1.5),
        Goal(text="at least 0.25 of the bare fork loop", against=(FORKS,), least=0.25),
    )


def more_throughput(place: Place, sizes: Sizes) -> Row:
    """Ten times as many, beside the fastest."""
    among = [peer for peer in peers.that_can(Work.MANY) if peer.name in (OURS, LOOP, FORKS)]
    return Row(
        name="many-tasks",
        title=f"{sizes.many_tasks:,} no-op tasks, two at a time",
        unit="ms a task",
        sides=costs(Work.MANY, place, sizes.many_tasks, sizes.many_tasks, among),
        goals=goals_of_throughput(),
        rounds=3,
        warm_up=False,
    )


def chain(place: Place, sizes: Sizes) -> Row:
    """Each task depends on the one before it."""
    return Row(
        name="chain",
        title=f"a chain of {sizes.chain:,} no-op tasks",
        unit="ms a task",
        sides=costs(Work.CHAIN, place, sizes.chain, sizes.chain, peers.that_can(Work.CHAIN)),
        goals=(Goal(text="at least 1.2 × the start-and-join script", against=(CHAIN,), least=1.2),),
    )


def heavy(place: Place, sizes: Sizes) -> Row:
    """Targets whose module imports numpy."""
    among = peers.that_can(Work.HEAVY)
    anew = tuple(peer.name for peer in among if peer.kind is Kind.TOOL)
    return Row(
        name="heavy",
        title=f"{sizes.heavy:,} tasks of a module that imports numpy, two at a time",
        unit="ms a task",
        sides=costs(Work.HEAVY, place, sizes.heavy, sizes.slow_heavy, among),
        goals=(
            Goal(text="at least 20 × a runner that imports per task", against=anew, least=20),
            Goal(text="at least 1 × the `Process` loop, numpy imported before", against=(LOOP,), least=1),
        ),
        notes=notes(among, sizes.slow_heavy),
    )


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
            Goal(text="at most 10 s", ours="time", most=10),
            Goal(text="at most 1 KiB an instance", ours="memory", most=1),
        ),
        rounds=3,
        warm_up=False,
    )


def plan_of(place: Place, count: int) -> list[str]:
    """The command that plans a matrix of `count` instances."""
    job = f"tasks:\n  - target: noop:noop\n    matrix: {{n: {peers.numbers(count)}}}\n"
    return place.mprun("plan", place.write(f"plan-{count}.yaml", job))


def flood(place: Place, sizes: Sizes) -> Row:
    """Two tasks that print as fast as they can, shown by mprun, or only logged."""
    task = f"  - {{target: flood:flood, args: [{sizes.lines}]}}\n"
    job = place.write("flood.yaml", "tasks:\n" + 2 * task)
    commands = {
        OURS: place.mprun("-j", "2", job),
        "mprun --output none": place.mprun("-j", "2", "--output", "none", job),
        STRAIGHT: [place.python, "straight.py", str(sizes.lines), "block"],
        BY_LINE: [place.python, "straight.py", str(sizes.lines), "line"],
    }
    return Row(
        name="flood",
        title=f"two tasks that print {sizes.lines:,} short lines each",
        unit="s",
        sides={name: whole(name, command, place) for name, command in commands.items()},
        bases=(STRAIGHT, BY_LINE),
        goals=(
            Goal(text="at least 0.9 of straight to files", against=(STRAIGHT,), least=0.9),
            Goal(text="at least 0.9 of straight to files, line by line", against=(BY_LINE,), least=0.9),
        ),
        notes={
            OURS: "logged and shown, line by line",
            "mprun --output none": "logged, line by line",
            STRAIGHT: "a kill loses up to 8 KiB of each",
        },
    )


def flood_of_commands(place: Place, sizes: Sizes) -> Row:
    """Two commands that write as fast as they can, beside pipes that `cat` drains; net of their start."""
    size = sizes.lines * BYTES_PER_LINE
    writers = {"text": "yes a short line | head -c {}", "zeros": "head -c {} /dev/zero"}
    measures: dict[str, Measure] = {}
    for name, write in writers.items():
        sides = {f"mprun, {name}": commands_of(place, write), f"{CAT}, {name}": into_cat(write)}
        measures |= {side: net(side, command, size, place) for side, command in sides.items()}
    return Row(
        name="commands",
        title=f"two commands that write {size // 1_000_000:,} MB each, net of the start",
        unit="s",
        sides=measures,
        bases=tuple(f"{CAT}, {name}" for name in writers),
        goals=tuple(
            Goal(
                text=f"{name}: at least 0.9 of `cat`, which drains a pipe into a file",
                ours=f"mprun, {name}",
                against=(f"{CAT}, {name}",),
                least=0.9,
            )
            for name in writers
        ),
        notes={
            **{f"mprun, {name}": "a kill loses nothing" for name in writers},
            **{f"{CAT}, {name}": "a kill of `cat` loses up to 64 KiB" for name in writers},
        },
    )


def commands_of(place: Place, write: str) -> Callable[[int], list[str]]:
    """The command that runs two commands which write so many bytes each."""

    def command(size: int) -> list[str]:
        text = f'tasks:\n  - command: "{write.format(size)}"\n    matrix: {{n: [1, 2]}}\n'
        return place.mprun("-j", "2", "--output", "none", place.write("commands.yaml", text))

    return command


def into_cat(write: str) -> Callable[[int], list[str]]:
    """The command that has two of them drained by `cat`."""
    return lambda size: [
        "sh",
        "-c",
        f"{write.format(size)} | cat > 1.log & {write.format(size)} | cat > 2.log & wait",
    ]


def net(name: str, command: Callable[[int], list[str]], size: int, place: Place) -> Measure:
    """How much longer a command takes for `size` bytes than for one, in seconds."""

    def once() -> Mapping[str, float]:
        start = statistics.median(seconds(command(1), place) for _ in range(3))
        return {name: seconds(command(size), place) - start}

    return once


def whole(name: str, command: Sequence[str], place: Place) -> Measure:
    """The time of a command, in seconds."""
    return lambda: {name: seconds(command, place)}


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
        goals=(Goal(text="at most 45 MB together", ours="together", most=45),),
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


def long(place: Place, sizes: Sizes) -> Row:
    """A very large run beside one of a hundredth of its size, net of start-up; only with --long."""
    make = peers.matrix("noop")
    one, few, many = (make(place, count) for count in (1, sizes.long // 100, sizes.long))
    fewer, all_of_them = f"{sizes.long // 100:,} tasks", f"{sizes.long:,} tasks"

    def once() -> Mapping[str, float]:
        start = statistics.median(seconds(one, place) for _ in range(3))
        short = statistics.median(seconds(few, place) for _ in range(3))
        taken, engine, launcher = watching.watch_run(many, place, 0.02)
        return {
            fewer: (short - start) / (sizes.long // 100 - 1) * 1000,
            all_of_them: (taken - start) / (sizes.long - 1) * 1000,
            "memory": engine + launcher,
        }

    return Row(
        name="long",
        title=f"{all_of_them} in one run",
        unit="ms a task",
        sides={OURS: once},
        bases=(fewer,),
        units={"memory": "MB"},
        goals=(
            Goal(text="a task at most 1.1 × as dear", ours=all_of_them, against=(fewer,), most=1.1),
            Goal(text="at most 200 MB, engine and launcher together", ours="memory", most=200),
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
    views = ("show", "tree", "runs", f"logs crunch[{sizes.planned // 2}]", "show --json")
    peak: dict[str, float] = {}

    def reader(view: str) -> Measure:
        command = place.mprun(*view.split(), "--state-dir", state.name)

        def once() -> Mapping[str, float]:
            taken, peak[view] = watching.watch_command(command, place)
            return {view: taken, "memory": max(peak.values())}

        return once

    return Row(
        name="readers",
        title=f"reading the record of a run of {sizes.planned:,} tasks",
        unit="s",
        sides={view: reader(view) for view in views},
        bases=(),
        units={"memory": "MB"},
        goals=(
            *(Goal(text=f"`{view}` in at most 1 s", ours=view, most=1) for view in views[:-1]),
            Goal(text="at most 200 MB", ours="memory", most=200),
        ),
        rounds=3,
        warm_up=False,
    )


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
    counts = (sizes.tasks, sizes.many_tasks)
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
        rounds=3,
        warm_up=False,
    )


ROWS: Mapping[str, Callable[[Place, Sizes], Row]] = {
    "start-up": start_up,
    "tasks": throughput,
    "many-tasks": more_throughput,
    "chain": chain,
    "heavy": heavy,
    "plan": planned,
    "flood": flood,
    "commands": flood_of_commands,
    "memory": memory,
    "idle": idle,
    "live-view": live_view,
    "readers": readers,
    "long": long,
    "hosts": over_hosts,
    "hosts-memory": memory_over_hosts,
}
