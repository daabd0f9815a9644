"""The rows of starts and of tasks that do nothing or little, beside peers that run the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks import peers
from benchmarks.figures import Goal
from benchmarks.measuring import Measure, seconds
from benchmarks.peers import CHAIN, FORKS, LOOP, NOTHING, OURS, SCRIPT, Kind, Peer, Work
from benchmarks.place import Place
from benchmarks.row import Row, Sizes, whole

# The goal of a start, as a multiple of that of the script.
START = 1.6


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
            Goal(text="at most 1.6 × the one-`Process` script", against=(SCRIPT,), most=START),
            Goal(text="sooner than every Python runner", against=runners, least=1),
        ),
        repeat=sizes.starts,
        notes=notes(among),
    )


def start_up_of_each_python(place: Place, sizes: Sizes) -> Row:
    """The same on every Python that has an environment, each beside the script on that Python.

    In the round that warms up, other Pythons compile what they import.
    """
    sides: dict[str, Measure] = {}
    scripts: dict[str, str] = {}
    for version, python in place.pythons().items():
        ours, theirs = f"{OURS}, {version}", f"{SCRIPT}, {version}"
        job = place.write("one.yaml", "tasks:\n  - target: noop:noop\n")
        sides[ours] = whole(ours, place.mprun(job, python=python), place, 1000)
        sides[theirs] = whole(theirs, [python, "one_process.py"], place, 1000)
        scripts[ours] = theirs
    return Row(
        name="pythons",
        title="start-up on each Python",
        unit="ms",
        sides=sides,
        bases=tuple(scripts.values()),
        goals=tuple(
            Goal(text=f"{ours}: at most 1.6 × the script", ours=ours, against=(theirs,), most=START)
            for ours, theirs in scripts.items()
        ),
        repeat=sizes.starts,
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
            *goals_of_throughput(1.5),
            Goal(text="at least 7 × every runner that starts Python anew", against=anew, least=7),
        ),
        notes=notes(among, sizes.slow_tasks),
    )


def goals_of_throughput(least: float) -> tuple[Goal, ...]:
    """The goals for a thousand and for ten thousand."""
    loop = f"at least {least} × the tasks a second of the `Process` loop"
    return (
        Goal(text=loop, against=(LOOP,), least=least),
        Goal(text="at least 0.4 of the bare fork loop", against=(FORKS,), least=0.4),
    )


def more_throughput(place: Place, sizes: Sizes) -> Row:
    """Ten times as many, beside the fastest."""
    among = [peer for peer in peers.that_can(Work.MANY) if peer.name in (OURS, LOOP, FORKS)]
    return Row(
        name="many-tasks",
        title=f"{sizes.many_tasks:,} no-op tasks, two at a time",
        unit="ms a task",
        sides=costs(Work.MANY, place, sizes.many_tasks, sizes.many_tasks, among),
        goals=goals_of_throughput(1.7),
        rounds=3,
        warm_up=False,
    )


def commands(place: Place, sizes: Sizes) -> Row:
    """Commands that do nothing, as lists of words, beside tools that start no shell for them."""
    return Row(
        name="commands",
        title=f"{sizes.tasks:,} commands that do nothing, two at a time",
        unit="ms a task",
        sides=costs(Work.COMMANDS, place, sizes.tasks, sizes.tasks, peers.that_can(Work.COMMANDS)),
        goals=(Goal(text="at most 1.5 × `xargs -P2 -n1`", against=(peers.XARGS,), most=1.5),),
    )


def commands_by_shell(place: Place, sizes: Sizes) -> Row:
    """Commands that do nothing, as text, beside tools that have a shell run each."""
    return Row(
        name="shell-commands",
        title=f"{sizes.tasks:,} commands that do nothing, each by a shell, two at a time",
        unit="ms a task",
        sides=costs(Work.BY_SHELL, place, sizes.tasks, sizes.tasks, peers.that_can(Work.BY_SHELL)),
        goals=(Goal(text="at most 0.4 × GNU parallel", against=(peers.PARALLEL,), most=0.4),),
    )


def chain(place: Place, sizes: Sizes) -> Row:
    """Each task depends on the one before it."""
    return Row(
        name="chain",
        title=f"a chain of {sizes.chain:,} no-op tasks",
        unit="ms a task",
        sides=costs(Work.CHAIN, place, sizes.chain, sizes.chain, peers.that_can(Work.CHAIN)),
        goals=(Goal(text="at least 1.6 × the start-and-join script", against=(CHAIN,), least=1.6),),
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
            Goal(text="at least 45 × a runner that imports per task", against=anew, least=45),
            Goal(text="at least 1.5 × the `Process` loop, numpy imported before", against=(LOOP,), least=1.5),
        ),
        notes=notes(among, sizes.slow_heavy),
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
