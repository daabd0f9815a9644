"""The start of a new Python that the kernel kills if the launcher ends: what is left of one that failed."""

import errno
import io
import os

import pytest

from mprun.launcher import spawn


@pytest.mark.parametrize("pipes", [0, 1])
def test_no_descriptor_is_left_open_if_there_are_too_few_for_the_pipes(monkeypatch, pipes):
    make_pipe, left = os.pipe, [None] * pipes

    def pipe():
        if not left:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        left.pop()
        return make_pipe()

    monkeypatch.setattr(spawn, "_pickled", lambda popen, process: io.BytesIO())
    monkeypatch.setattr(spawn.resource_tracker, "getfd", lambda: 0)
    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", pipe)
        with pytest.raises(OSError, match="Too many open files"):
            spawn._GuardedSpawn._launch(spawn._GuardedSpawn.__new__(spawn._GuardedSpawn), None)
    assert os.listdir("/proc/self/fd") == before
