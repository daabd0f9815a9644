"""Gets what a lost launcher leaves behind: its orphans become children of the engine.

The launcher looks after its tasks as long as it is alive. When it dies, the kernel gives its
children, and all their orphaned descendants, to the engine, which is a child subreaper (prctl(2)).
`mprun.executors.orphan_kills` kills them.
"""

from __future__ import annotations

import sys

from mprun.linux import prctl, procfs


class Subreaper:
    """Makes this process the parent of the orphans of one launcher, and knows which these are.

    Without a `run_id` all children of this process belong to the run, except those that exist
    now: that is the command line. With a `run_id` this process is someone else's program, and only
    processes that provably belong to the run are killed; it is a subreaper until `close`. `keeper`
    has the pid of the process that saves the output of commands, 0 if there is none, and when it began,
    in clock ticks since boot; None is unknown. `cgroup` is the directory
    of the run's cgroup, "" if it has none, and `cgroup_folder` that directory held open. `identity` is that
    of the directory of the run, by which its processes are tagged, "" if it is unknown. `sessions` are those
    of the run's processes, and `ignored` the children that are not of the run. `killed` has the start times
    of those that were killed, by pid: a process that has ended shows no environment any more.
    """

    def __init__(self, launcher: int, run_id: str | None = None) -> None:
        self.run_id = run_id
        self.keeper: tuple[int, int | None] = (0, None)
        self.cgroup = ""
        self.cgroup_folder = -1
        self.identity = ""
        self.sessions = {launcher}
        self.killed: dict[int, int] = {}
        self.ignored: set[int] = set()
        self._is_open = sys.platform == "linux" and run_id is not None
        if self._is_open:
            # Not the command, which has a process to itself.
            from mprun.executors.subreaper_users import SubreaperUsers

            SubreaperUsers.add()
        elif sys.platform == "linux":
            # A process that a shell has exec'd has the shell's background jobs as its children.
            self.ignored = {*procfs.children()} - {launcher}
            prctl.set_child_subreaper(True)

    def close(self) -> None:
        """Stop being a subreaper, unless this process was one before."""
        if self._is_open:
            self._is_open = False
            from mprun.executors.subreaper_users import SubreaperUsers

            SubreaperUsers.remove()
