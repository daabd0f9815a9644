"""Shows to which attempt an orphan belongs that has lost the tag of its task."""

from __future__ import annotations

import os

from mprun.linux import procfs


class ProcessIdentity:
    """What shows to which attempt an orphan without a tag belongs: its session and its environment."""

    __slots__ = ("_environment", "session")

    def __init__(self, pid: int) -> None:
        stat = procfs.read_stat(pid)
        self.session = stat.session if stat is not None else 0
        variables = frozenset(procfs.environment(pid))
        named = {one for one in variables if one.startswith((b"MPRUN_TASK=", b"MPRUN_ATTEMPT="))}
        # A fork shows the variables of this process, which a task of another run may have started.
        inherited = named.issubset(procfs.environment(os.getpid()))
        self._environment = variables - named if inherited else variables

    def is_tagged(self, run_id: str, task: str, attempt: int) -> bool:
        """Whether its environment is that of this attempt, of this run and not of a run inside it."""
        wanted = (f"MPRUN_TASK={task}", f"MPRUN_ATTEMPT={attempt}", f"MPRUN_RUN_ID={run_id}")
        return all(variable.encode() in self._environment for variable in wanted)

    def is_of_run(self, run_id: str) -> bool:
        """Whether its environment is that of an attempt of this run."""
        has_attempt = any(variable.startswith(b"MPRUN_ATTEMPT=") for variable in self._environment)
        return has_attempt and f"MPRUN_RUN_ID={run_id}".encode() in self._environment
