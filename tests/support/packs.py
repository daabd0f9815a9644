"""Zip files as `mprun pack` would never write them, made of one that it has written."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

from support.runs import TIMEOUT, environment

FILE = stat.S_IFREG | 0o600


def entry(name, mode=FILE):
    """An entry of a zip file with a name that `ZipInfo` would shorten or change."""
    info = zipfile.ZipInfo("x")
    info.filename = name
    info.create_system = 3
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def repack(source, target, *extra, change=lambda name, data: data):
    """Write a zip file again, its files changed, and with more: pairs of an entry and its bytes.

    A change to None leaves the file out.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new, warnings.catch_warnings():
        # zipfile warns of duplicate names.
        warnings.simplefilter("ignore")
        for info in old.infolist():
            data = change(info.filename, old.read(info))
            if data is not None:
                new.writestr(info, data)
        for info, data in extra:
            new.writestr(info, data)


class Measured(NamedTuple):
    """How a command ended, what it took (CPU time in seconds, peak memory in bytes), and what it printed."""

    code: int
    seconds: float
    memory: int
    stdout: str
    stderr: str


# In a process of its own, because its peak memory includes that from before its exec.
_MEASURE = """
import json, os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "mprun", *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(pid, 0)
found = [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]
with open("measured.json", "w") as file:
    json.dump(found, file)
"""


def measured(*arguments, cwd, **variables):
    """Run `mprun ARGUMENTS` and measure it."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *map(str, arguments)],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        timeout=TIMEOUT,
        check=True,
    )
    path = Path(cwd, "measured.json")
    numbers = json.loads(path.read_text())
    path.unlink()
    texts = (data.decode("utf-8", "backslashreplace") for data in (done.stdout, done.stderr))
    return Measured(*numbers, *texts)


def names_below(directory):
    """The paths of all files and directories below a directory, relative to it."""
    found = []
    for folder, directories, files in os.walk(directory):
        found += [os.path.relpath(os.path.join(folder, name), directory) for name in (*directories, *files)]
    return sorted(found)
