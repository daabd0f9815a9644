"""Which attempts of a run have had a process: see `mprun.begun_logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.begun_logs import begun_logs

if TYPE_CHECKING:
    from mprun.record.state_files import Folder


def find_begun_logs(logs: Folder) -> frozenset[str]:
    """The names of their logs, of which some may not be there; none if the directory cannot be read."""
    try:
        return begun_logs(logs.descriptor)
    except OSError:
        return frozenset()
