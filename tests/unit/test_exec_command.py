"""What a task's process does before it becomes its command: it is done once for every command."""

import os
import sys

import pytest

from mprun.launcher import exec_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="close_range(2)")


def keep_only_standard_descriptors():
    exec_command._keep_only_standard_descriptors(lambda first: True)


@pytest.mark.parametrize("step", [exec_command._reset_signals, keep_only_standard_descriptors])
def test_no_function_of_python_is_called_for_each_signal_or_descriptor(step, monkeypatch):
    """`signal.getsignal` makes two members of enumerations of each signal: 70 of 75 microseconds."""
    monkeypatch.setattr(exec_command, "handle_signal", lambda number, handler: None)
    monkeypatch.setattr(exec_command, "pthread_sigmask", lambda how, mask: None)
    called = []
    sys.setprofile(lambda frame, event, argument: event == "call" and called.append(frame.f_code))
    try:
        step()
    finally:
        sys.setprofile(None)
    ours = {__file__, exec_command.__file__}
    assert [code.co_qualname for code in called if code.co_filename not in ours] == []


def test_forks_are_prepared_without_a_look_at_the_directories_of_path(monkeypatch):
    """One of them may be on a file system that does not answer."""
    seen = []
    stat = os.stat
    monkeypatch.setenv("PATH", "/missing:/usr/bin")
    monkeypatch.setattr(os, "stat", lambda path, *args, **more: seen.append(path) or stat(path))
    exec_command.prepare_forks()
    assert seen == [b"/."]
