"""Files that a user names: only regular ones are read, and none is waited for (C55)."""

import hashlib
import os
import pty
import socket
import sys
from contextlib import ExitStack

import pytest

from mprun import api
from mprun.errors import UsageError
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.text_file import read_bytes


@pytest.fixture
def not_regular(request, tmp_path):
    """A path to what is not a regular file, and what messages call it."""
    path = str(tmp_path / "odd")
    with ExitStack() as stack:
        if request.param == "a FIFO":
            os.mkfifo(path)
        elif request.param == "a socket":
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(path)
        elif request.param == "a link to a device":
            os.symlink("/dev/zero", path)
        elif request.param == "a terminal":
            controller, terminal = pty.openpty()
            stack.callback(os.close, controller)
            stack.callback(os.close, terminal)
            os.symlink(os.ttyname(terminal), path)
        else:
            os.mkdir(path)
        yield path


ODD = pytest.mark.parametrize(
    "not_regular",
    ["a FIFO", "a socket", "a link to a device", "a terminal", "a directory"],
    indirect=True,
)
JOB = "tasks: [{target: 'os:getpid'}]\n"


def refused(do):
    with pytest.raises(UsageError) as caught:
        do()
    return str(caught.value)


@pytest.fixture
def load(tmp_path):
    def load(text, *options):
        (tmp_path / "job.yaml").write_text(text)
        return load_job_file(str(tmp_path / "job.yaml"), {}, options, {})

    return load


REASONS = ("not a regular file", "is a directory", "cannot read")


@ODD
def test_what_is_not_a_regular_file_is_refused_wherever_a_file_is_named_C55(load, not_regular):
    said = [
        refused(lambda: api.load_job(not_regular)),
        refused(lambda: load("tasks: [{name: t, uses: odd}]\n")),
        refused(lambda: load(f"env_file: odd\n{JOB}")),
        refused(lambda: load(f"params: {{x: 1}}\n{JOB}", f"x=@{not_regular}")),
        refused(lambda: load(f"params: {{x: {{secret: true}}}}\n{JOB}", f"x=@{not_regular}")),
    ]
    assert all(any(reason in one for reason in REASONS) for one in said), said


def test_a_recipe_that_is_a_fifo_is_refused_at_its_name_C55(load, tmp_path):
    os.mkfifo(tmp_path / "odd")
    message = refused(lambda: load("tasks: [{name: t, uses: odd}]\n"))
    assert "job.yaml:1:25: " in message
    assert "is a FIFO, not a regular file" in message


def test_a_file_of_proc_that_says_it_is_empty_is_read():
    assert read_bytes("/proc/self/cmdline", 1 << 20).startswith(sys.orig_argv[0].encode())


def test_what_changes_while_it_is_read_is_read_as_it_was_opened(tmp_path, monkeypatch):
    """A file that is exchanged for a FIFO between two looks at its name."""
    path = tmp_path / "file"
    path.write_bytes(b"text")
    real = os.open

    def exchanged(name, flags, *rest, **more):
        descriptor = real(name, flags, *rest, **more)
        os.remove(path)
        os.mkfifo(path)
        return descriptor

    monkeypatch.setattr(os, "open", exchanged)
    assert read_bytes(str(path), 100) == b"text"


def test_an_env_file_is_read_once_so_that_the_record_has_the_hash_of_what_was_read(load, tmp_path):
    (tmp_path / "env").write_text("A=1\n")
    job = load(f"env_file: env\n{JOB}")
    assert dict(job.files)[str(tmp_path / "env")] == hashlib.sha256(b"A=1\n").hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        b"root:$6$hunter2:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
        b"HOME=/root\0SECRET=hunter2\0",
        b"-----BEGIN PRIVATE KEY-----\nhunter2==\n-----END PRIVATE KEY-----\n",
        b"hunter2: [\n",
        b"- hunter2\n",
        b"password: hunter2\n",
    ],
)
def test_nothing_of_a_file_that_is_not_a_job_file_is_quoted_C56(load, tmp_path, text):
    (tmp_path / "other").write_bytes(text)
    for do in (lambda: api.load_job(tmp_path / "other"), lambda: load("tasks: [{name: t, uses: other}]\n")):
        message = refused(do)
        assert "is not a job file" in message
        assert "hunter2" not in message
