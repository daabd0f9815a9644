"""What a request to stop tasks means in a run; few runs get any."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.engine.control import Answer
    from mprun.engine.task_table import TaskTable

# Among so many names the client looks for one that an unknown name may mean.
MAX_KNOWN_NAMES = 10_000


class Request:
    """What the names in a request mean in a run.

    `to_stop` has the numbers of the tasks that have not finished, and `known` the names that mean any task.
    """

    def __init__(self, names: Sequence[str], table: TaskTable, outcomes: Sequence[str | None]) -> None:
        self._table = table
        found = {name: table.names.resolve(name) for name in names}
        numbers = dict.fromkeys(number for resolved in found.values() for number in resolved)
        instances = [one for number in numbers for one in table.instances(number)]
        self._finished = [number for number in instances if outcomes[number] is not None]
        self._unknown = [name for name, resolved in found.items() if not resolved]
        self.to_stop = [number for number in instances if outcomes[number] is None]
        self.known = [name for name, resolved in found.items() if resolved]

    def answer(self, has_settled: Callable[[int], bool]) -> Answer:
        """What the client gets to know. It waits for no task that has settled: it does not run again."""
        tasks, names = self._table.tasks, self._table.names
        settled = dict.fromkeys(filter(has_settled, self.to_stop))
        return {
            "stopped": [tasks[number].name for number in self.to_stop if number not in settled],
            "finished": [tasks[number].name for number in (*self._finished, *settled)],
            "unknown": self._unknown,
            "known": list(islice(names.all(), MAX_KNOWN_NAMES)) if self._unknown else [],
        }
