"""What multiprocessing's fork server imports first: it makes it one of the job's own.

It gives it a session of its own, the launcher's death as its death, and the job's import
path and modules: the fork server of Python 3.11 to 3.13 is told the path but does not
use it, and does not flush what the modules printed before it forks.
"""

from __future__ import annotations

import os
import sys

from mprun.launcher.worker import die_with_parent, flush_output, open_output

# Written by the launcher, read once.
IMPORT_PATH = "MPRUN_FORKSERVER_PATH"
MODULES = "MPRUN_FORKSERVER_MODULES"


def _begin() -> None:
    os.setsid()
    die_with_parent(os.getppid())
    sys.path[:] = os.environ.pop(IMPORT_PATH).split(os.pathsep)
    open_output()
    for module in os.environ.pop(MODULES).split():
        __import__(module)
    flush_output()


# Only in the fork server: it is the launcher that reads the names above.
if IMPORT_PATH in os.environ:
    _begin()
