"""Names the processes that were killed at the end of a task, or could not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.reporters.format import truncate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The kernel keeps 15 bytes of it, which may be control characters.
_MAX_PROCESS_NAME = 30


def named_pids(pids: Sequence[int], names: Mapping[str, str] | None) -> list[str]:
    """Processes by pid, and by the name of their program where it is known: `4711 (redis-server)`.

    `names` may be those of a damaged record.
    """
    shown = ((pid, visible(str(names.get(str(pid)) or "")) if names else "") for pid in pids)
    return [f"{pid} ({truncate(name, _MAX_PROCESS_NAME)})" if name else str(pid) for pid, name in shown]
