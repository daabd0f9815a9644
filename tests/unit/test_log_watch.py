"""The launcher's look at logs that were truncated; tests/process/test_command_output.py has it whole."""

import errno
import os
import sys

import pytest

from mprun.launcher import worker
from mprun.launcher.log_watch import LogWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_a_full_disk_leaves_no_descriptor_open(tmp_path, monkeypatch):
    log = tmp_path / "a.1.log"
    log.write_bytes(b"lost\n")
    directory = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(worker, "logs", directory)
    watch = LogWatch(log.name)
    watch.look()
    log.write_bytes(b"")

    def write(_file, _data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        watch.report()
    assert os.listdir("/proc/self/fd") == before
    assert watch.lost == 5
    os.close(directory)
