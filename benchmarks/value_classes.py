"""What it costs to define thirty frozen value classes: dataclasses beside mprun's own `Frozen`.

Also, what it costs to create a hundred thousand values with fourteen fields, with and without `compile_init`.
`python benchmarks/value_classes.py` runs each in a new Python and prints medians in ms.
"""

import statistics
import subprocess
import sys

COUNT = 30
FIELDS = "\n    a: int\n    b: str\n    c: float = 0.0\n    d: str = ''\n"

DATACLASSES = f"""
import time
begun = time.perf_counter()
from dataclasses import dataclass
for _ in range({COUNT}):
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Point:{FIELDS.replace(chr(10), chr(10) + "    ")}
print(time.perf_counter() - begun)
"""

VALUES = f"""
from __future__ import annotations
import time
begun = time.perf_counter()
from mprun.frozen import Frozen
for _ in range({COUNT}):
    class Point(Frozen):{FIELDS.replace(chr(10), chr(10) + "    ")}
print(time.perf_counter() - begun)
"""

MANY = """
import time
from mprun.record.events import TaskExited
values = dict.fromkeys(TaskExited._fields)
{compile_init}
begun = time.perf_counter()
for _ in range(100_000):
    TaskExited(**values)
print(time.perf_counter() - begun)
"""


def milliseconds(program: str) -> float:
    """The median of what the program prints, over eleven new Pythons."""
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in range(11)
    ]
    return statistics.median(float(run.stdout) for run in runs) * 1000


if __name__ == "__main__":
    print(f"{COUNT} dataclasses: {milliseconds(DATACLASSES):.1f} ms")
    print(f"{COUNT} values: {milliseconds(VALUES):.1f} ms")
    plain = milliseconds(MANY.format(compile_init=""))
    compiled = milliseconds(MANY.format(compile_init="TaskExited.compile_init()"))
    print(f"100,000 of one: {plain:.0f} ms, with compile_init {compiled:.0f} ms")
