"""Files that a user names: only regular ones are read, and none is waited for (C55)."""

import hashlib
import os
import pty
import socket
import sys
from contextlib import ExitStack

import pytest

from mprun import api
from mprun.diagnostic_text import render
from mprun.errors import JobFileError, UsageError
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
        b"root:$6$horse9:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
        b"HOME=/root\0SECRET=horse9\0",
        b"-----BEGIN PRIVATE KEY-----\nhorse9==\n-----END PRIVATE KEY-----\n",
        b"horse9: [\n",
        b"- horse9\n",
        b"password: horse9\n",
    ],
)
def test_nothing_of_a_file_that_is_not_a_job_file_is_quoted_C56(load, tmp_path, text):
    (tmp_path / "other").write_bytes(text)
    for do in (lambda: api.load_job(tmp_path / "other"), lambda: load("tasks: [{name: t, uses: other}]\n")):
        message = refused(do)
        assert "is not a job file" in message
        assert "horse9" not in message


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nkind: Secret\ndata: {token: horse9}\nstringData: {horse9: horse9}\n",
        "name: horse9\nenv: horse9\nparams: {x: {type: horse9}}\ntimeout: horse9\n",
        'pass: horse9\n"a key": horse9\n12: horse9\nstatus: |\n  horse9\n',
        '{"password": "horse9", "x": ["horse9"]}\n',
        "password: horse9 horse9: horse9\n",
        "horse9: [\n",
        "password: horse9\npassword: horse9\n",
        "a: !horse9 horse9\n",
        "a: *horse9\n",
        "<<: horse9\n",
        "- horse9\n",
        "horse9\n",
        "# horse9\n",
        '"horse9\n',
    ],
)
def test_no_value_of_a_yaml_file_without_tasks_is_quoted_C56(load, tmp_path, text):
    other = tmp_path / "other.yaml"
    other.write_text(text)
    uses = "tasks: [{name: t, uses: other.yaml}]\n"
    for do in (lambda: api.load_job(other), lambda: load(uses)):
        with pytest.raises(UsageError) as caught:
            do()
        shown = render(getattr(caught.value, "diagnostics", ()))
        assert "horse9" not in f"{caught.value}\n{shown}"
        assert f"{other}:" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message", "help"),
    [
        ("password: [horse9\nuser: me\n", "unclosed `[`", "add the missing `]`"),
        (
            "password: horse9\npassword: x\n",
            "duplicate key `…`: first used on line 1",
            "remove one of them",
        ),
        ("password: !horse9 x\n", "tags are not supported: `…`", ""),
        ("horse9\nb: c\n", "unexpected `:`", "check the line above for a missing `: `"),
    ],
)
def test_an_error_in_the_yaml_of_a_file_without_tasks_has_its_place_and_remedy(tmp_path, text, message, help):
    (tmp_path / "other.yaml").write_text(text)
    with pytest.raises(JobFileError) as caught:
        api.load_job(tmp_path / "other.yaml")
    found = caught.value.diagnostics[0]
    assert found.message == message
    assert help in found.help
    assert "horse9" not in found.source.lines.text


def test_the_keys_of_a_file_without_tasks_are_named_with_their_lines(load, tmp_path):
    (tmp_path / "other.yaml").write_text("target: 'work:f'\nparam: {x: 1}\n")
    with pytest.raises(JobFileError) as caught:
        api.load_job(tmp_path / "other.yaml")
    found = [(one.span.line, one.message, one.help) for one in caught.value.diagnostics]
    assert found == [
        (1, "missing key `tasks` in the job", "add `tasks:` with a list below it"),
        (1, "unknown key `target` in the job", "move it to a task: it is a task key"),
        (2, "unknown key `param` in the job", "did you mean `params`?"),
    ]
    assert "2 | param: …\n" in render(caught.value.diagnostics)


@pytest.mark.parametrize("key", ["tasks", "task", "taks", "Tasks", "taskss", "tsaks", "tesks", "tass"])
def test_a_file_with_a_typo_in_tasks_is_quoted(tmp_path, key):
    job = tmp_path / "job.yaml"
    for text in (f"{key}: [{{target: 'os:getpid', argz: [shown]}}]\n", f"{key}: [shown\n"):
        job.write_text(text)
        with pytest.raises(JobFileError) as caught:
            api.load_job(job)
        assert "shown" in render(caught.value.diagnostics)


@pytest.mark.parametrize("key", ["pass", "data", "stats", "masks2", "jobs", "ask", "tasksets"])
def test_a_file_with_another_key_is_not_quoted(tmp_path, key):
    job = tmp_path / "job.yaml"
    job.write_text(f"{key}: [hidden]\n")
    with pytest.raises(JobFileError) as caught:
        api.load_job(job)
    assert "hidden" not in render(caught.value.diagnostics)


def test_a_link_with_the_name_of_a_job_file_is_what_it_leads_to_C56(load, tmp_path):
    (tmp_path / "secrets").write_text("root:horse9:0\n")
    (tmp_path / "link.yaml").symlink_to("secrets")
    for do in (lambda: api.load_job(tmp_path / "link.yaml"), lambda: load("tasks: [{uses: link.yaml}]\n")):
        with pytest.raises(UsageError, match=r"link.yaml` is not a job file") as caught:
            do()
        assert "horse9" not in f"{caught.value}{render(getattr(caught.value, 'diagnostics', ()))}"
