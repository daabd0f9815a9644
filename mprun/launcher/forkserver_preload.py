"""The module that multiprocessing's fork server imports first, to set it up for the job.

It starts a session, dies with the launcher, and has the job's import path and modules: the
fork server of Python 3.11 to 3.13 receives the path but does not use it, and does not flush what
the modules have printed before it forks.
"""

from __future__ import annotations

import os
import sys

from mprun.launcher.worker import flush_output, import_module, open_output
from mprun.linux.prctl import die_with_parent

if sys.version_info >= (3, 14):
    # The fork server and the launcher prove to each other that they share a key. multiprocessing imports this
    # only then, by the import path of the job.
    import hmac  # noqa: F401

# Environment variables that the launcher sets, and that are removed when they are read.
IMPORT_PATH = "MPRUN_FORKSERVER_PATH"
MODULES = "MPRUN_FORKSERVER_MODULES"


def _begin() -> None:
    os.setsid()
    die_with_parent(os.getppid())
    # Each task writes what it has used. By the import path of the job it might find another `resource`.
    import resource  # noqa: F401

    sys.path[:] = os.environ.pop(IMPORT_PATH).split(os.pathsep)
    sys.argv = ["mprun"]
    open_output()
    for module in os.environ.pop(MODULES).split():
        import_module(module)
    flush_output()


# Only in the fork server: the launcher imports this module for the names above.
if IMPORT_PATH in os.environ:
    _begin()
