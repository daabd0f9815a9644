"""The rows of the table, in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import engine_rows, host_rows, large_rows, output_rows, shape_rows, task_rows
from benchmarks.place import Place
from benchmarks.row import Row, Sizes

ROWS: Mapping[str, Callable[[Place, Sizes], Row]] = {
    "start-up": task_rows.start_up,
    "pythons": task_rows.start_up_of_each_python,
    "tasks": task_rows.throughput,
    "many-tasks": task_rows.more_throughput,
    "commands": task_rows.commands,
    "shell-commands": task_rows.commands_by_shell,
    "chain": task_rows.chain,
    "heavy": task_rows.heavy,
    "shapes": shape_rows.shapes,
    "foreach": large_rows.foreach,
    "plan": large_rows.planned,
    "long": large_rows.long,
    "readers": large_rows.readers,
    "live-view": engine_rows.live_view,
    "flood": output_rows.flood,
    "command-flood": output_rows.flood_of_commands,
    "idle": engine_rows.idle,
    "memory": engine_rows.memory,
    "hosts": host_rows.over_hosts,
    "hosts-memory": host_rows.memory_over_hosts,
}
