"""The process that runs a run, as its pidfile claims, and what is certain of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.linux import procfs
from mprun.linux.open_files import writes_file
from mprun.record.state_dir import EVENTS

if TYPE_CHECKING:
    from mprun.record.state_dir import RunDirectory


class Owner:
    """The process that runs a run, as its pidfile claims: another process may have its pid by now.

    `namespace` is that of its pid and of its clock (`pidfile.namespaces`), "" if an older mprun has written
    the pidfile; `here` is that of this process.
    """

    def __init__(
        self, pid: int, start_ticks: int, boot_id: str, host: str, namespace: str, here: str
    ) -> None:
        self.pid = pid
        self.host = host
        # Whether it started since this machine was booted.
        self.on_this_boot = boot_id == procfs.boot_id()
        # Whether its pid may mean the same process here as there, and whether it certainly does.
        self.may_be_seen = self.on_this_boot and namespace in ("", here)
        self._can_be_seen = self.may_be_seen and namespace != ""
        self._start_ticks = start_ticks
        # The same on the clock of this process; 0, before any process began, if it has another clock.
        self.began = start_ticks if namespace == "" or _clock(namespace) == _clock(here) else 0

    @property
    def on_this_host(self) -> bool:
        """Whether it ran under this host's name: not on another machine, nor in another container."""
        return self.host == os.uname().nodename

    @property
    def is_alive(self) -> bool:
        """Whether it is still running, as far as can be seen from here."""
        return self.may_be_seen and self._is_running()

    @property
    def has_ended(self) -> bool:
        """Whether it is certain that it has ended."""
        return self._can_be_seen and not self._is_running()

    def _is_running(self) -> bool:
        return procfs.is_alive(self.pid, self._start_ticks)

    def find_writer(self, directory: RunDirectory) -> int | None:
        """Its pid, if it runs this run; None if it has ended, 0 if that cannot be seen.

        A pidfile may be forged: its process is one that has the record open for writing.
        """
        if self.is_alive:
            found = directory.stat_events()
            return self.pid if writes_file(self.pid, {EVENTS: (found.st_dev, found.st_ino)}) else 0
        # After a boot, on a machine with the same name, it is more likely gone than on another machine.
        return None if self.has_ended or (self.on_this_host and not self.on_this_boot) else 0


def _clock(namespaces: str) -> str:
    """The time namespace of these, "" for that of the machine."""
    return namespaces.split(":", 2)[2] if namespaces.count(":") > 1 else ""
