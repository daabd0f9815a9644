"""Adds the hosts that join a run to those that it has had from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mprun.record.events import HostChanged, RunStarted


def with_joined(started: RunStarted | None, change: HostChanged) -> RunStarted | None:
    """The start of a run, with this host if it has joined."""
    if change.change != "joined" or started is None or started.hosts is None:
        return started
    names = ("host", "worker", "main_pid", "slots", "boot_id")
    return started.replace(hosts=(*started.hosts, {name: getattr(change, name) for name in names}))
