"""The rows of output: how fast the lines of targets and the bytes of commands reach their logs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from benchmarks.figures import Goal
from benchmarks.measuring import Measure, seconds
from benchmarks.peers import OURS
from benchmarks.place import Place
from benchmarks.row import Row, Sizes, whole

STRAIGHT = "straight to files"
BY_LINE = "straight to files, line by line"
CAT = "`cat`"
# How much a command of the flood writes for each line of the other flood, in bytes.
BYTES_PER_LINE = 500


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
        goals=(Goal(text="at least 0.9 of straight to files, line by line", against=(BY_LINE,), least=0.9),),
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
        name="command-flood",
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
