"""Counts the runs for which a program that embeds mprun is a child subreaper."""

from __future__ import annotations

from _thread import allocate_lock

from mprun.linux import prctl


class SubreaperUsers:
    """Counts the runs that need this process to be a subreaper: a program may run one in each thread."""

    _lock = allocate_lock()
    _count = 0
    _was_subreaper = False

    @classmethod
    def add(cls) -> None:
        """One run more."""
        with cls._lock:
            if cls._count == 0:
                cls._was_subreaper = prctl.is_child_subreaper()
                prctl.set_child_subreaper(True)
            cls._count += 1

    @classmethod
    def remove(cls) -> None:
        """One run less; after the last one, this process is what it was before."""
        with cls._lock:
            cls._count -= 1
            if cls._count == 0 and not cls._was_subreaper:
                prctl.set_child_subreaper(False)
