"""The lock on a record: which process writes it now."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from mprun.errors import RecordError
from mprun.record import lock
from mprun.record.recorder import Recorder
from mprun.record.state_dir import RunDirectory


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(str(tmp_path))


def python(script, *arguments):
    """Start another Python, which prints `ready` and runs until its input ends."""
    code = textwrap.dedent(script) + "\nprint('ready', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


WRITER = """
    import sys
    from mprun.record.recorder import Recorder
    from mprun.record.state_dir import RunDirectory
    recorder = Recorder(RunDirectory(sys.argv[1]))
"""


def test_the_writer_of_a_record_is_known_while_it_is_alive(directory):
    assert lock.find_writer(directory) is None
    process = python(WRITER, directory.path)
    # Opening the record for reading is enough.
    os.chmod(directory.events, 0o400)
    assert lock.find_writer(directory) == process.pid
    assert lock.find_writer(directory) == process.pid
    process.kill()
    process.communicate()
    assert lock.find_writer(directory) is None


def test_a_record_that_is_closed_has_no_writer(directory):
    writing = Recorder(directory)
    assert lock.find_writer(directory) == os.getpid()
    writing.close()
    assert lock.find_writer(directory) is None


def test_a_second_writer_is_refused(directory):
    process = python(WRITER, directory.path)
    with pytest.raises(RecordError, match="is being written by another process"):
        Recorder(directory)
    process.communicate()


def test_a_process_that_reads_its_own_record_still_holds_the_lock(directory):
    process = python(
        WRITER
        + """
    from mprun.record.lock import find_writer
    from mprun.record.reader import read_state
    import os
    directory = RunDirectory(sys.argv[1])
    assert find_writer(directory) == os.getpid()
    read_state(directory)
    """,
        directory.path,
    )
    assert lock.find_writer(directory) == process.pid
    process.communicate()
