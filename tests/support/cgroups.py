"""Cgroups of version 2 for tests: in some a run can have one of its own, in others it cannot."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from mprun.linux.procfs import own_cgroup
from mprun.linux.run_cgroup import PREFIX
from support.runs import environment


class Cgroup:
    """One of a test, below that of the test; `owner` is the id of the user to whom it is delegated."""

    def __init__(self, owner=0, *, can_have_children=True):
        self.path = Path(own_cgroup()[0], f"test-{os.getpid()}-{os.urandom(3).hex()}")
        self.path.mkdir()
        if not can_have_children:
            Path(self.path, "cgroup.max.descendants").write_text("0")
        if owner:
            for name in ("", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                os.chown(self.path / name, owner, owner)

    def enter(self):
        """Move this process there, for `preexec_fn`."""
        Path(self.path, "cgroup.procs").write_text("0")

    def start(self, *arguments, cwd, prefix=(), **options):
        """Start `mprun ARGUMENTS` there."""
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "mprun", *map(str, arguments)],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**options.pop("env", {})),
            preexec_fn=self.enter,
            **options,
        )

    def runs(self):
        """The cgroups of runs that are in it."""
        return [path for path in self.path.iterdir() if path.name.startswith(PREFIX)]

    def pids(self):
        return {int(pid) for file in self.path.glob("**/cgroup.procs") for pid in file.read_text().split()}

    def close(self):
        """End all that is in it, and remove it."""
        Path(self.path, "cgroup.kill").write_text("1")
        while "populated 1" in Path(self.path, "cgroup.events").read_text():
            time.sleep(0.001)
        for directory, _, _ in os.walk(self.path, topdown=False):
            os.rmdir(directory)


def why_none():
    """Why this test can make no cgroup that may have another one; "" if it can."""
    own = own_cgroup()[0]
    if not own:
        return "no cgroups of version 2"
    with contextlib.suppress(OSError):
        made = Cgroup()
        try:
            if not Path(made.path, "cgroup.kill").exists():
                return "a kernel before Linux 5.14"
            if subprocess.run(["true"], preexec_fn=made.enter, check=False).returncode == 0:
                return ""
        finally:
            made.close()
    return "no cgroup can be made and entered here"
