"""No message of mprun contains a secret, whatever the message is about (C48)."""

import base64
import html
import json
import shlex
import urllib.parse
from pathlib import Path

import pytest
from support.runs import START_METHODS, mprun, write

from mprun import diagnostics
from mprun.diagnostics import quote, redact, redact_beginning, remember_secret

SECRET = "s3cr'3t value"
WORK = """
    def open_it(path):
        open(path + "/none")

    def give(value):
        return value
    """
JOB = """
    params:
      token: {type: string, secret: true, required: true}
    tasks:
      - {name: path, command: ["/opt/${params.token}/tool"]}
      - {name: name, command: ["${params.token}", x]}
      - {name: system, target: 'work:open_it', args: ['${params.token}']}
      - {name: folder, target: 'work:give', args: ['/${params.token}/dir']}
      - {name: cwd, command: [ls], cwd: '${tasks.folder.result}'}
      - {name: dir, target: 'work:give', args: [1], cwd: '${tasks.folder.result}'}
      - {name: list, target: 'work:give', args: [1], foreach: '${tasks.folder.result}'}
      - {name: expect, target: 'work:give', args: ['${params.token}'], expect: {result: 1}}
    """


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch):
    monkeypatch.setattr(diagnostics, "_secrets", set())


@pytest.mark.parametrize("method", START_METHODS)
def test_messages_of_a_run_have_no_secret(method, tmp_path):
    """On both streams, in the record, and in the logs of tasks that mprun itself writes."""
    write(tmp_path, work=WORK, job=JOB)
    env = {"MPRUN_PARAM_TOKEN": SECRET}
    options = ("-v", "--start-method", method)
    run = mprun("job.yaml", *options, cwd=tmp_path, env=env)
    assert run.code == 1, run.stderr
    record = [event for event in run.events if event.get("task") not in ("folder",)]
    views = [mprun(*command, cwd=tmp_path) for command in (("show", "-v"), ("tree",), ("runs",))]
    own = [run.log(task).decode() for task in ("path", "name", "cwd", "dir")]
    shown = [run.stderr, str(record), *own, *(view.stdout.partition("results:")[0] for view in views)]
    for text in shown:
        assert "3t value" not in text
    assert "/opt/***/tool: No such file or directory" in own[0]
    assert "***: command not found" in run.one("task_exited", "name")["error"]["message"]
    assert "***/none" in run.one("task_exited", "system")["error"]["message"]
    assert "cd: /***/dir: No such file or directory" in run.stderr
    assert own[2:] == ["mprun: cd: /***/dir: No such file or directory\n"] * 2
    results = Path(run.directory.path, "results").glob("*.error.json")
    assert [path.name for path in results if "3t value" in path.read_text()] == ["system.1.error.json"]


@pytest.mark.parametrize(
    "line",
    [
        'env_file: "${env.MPRUN_PARAM_TOKEN}.env"',
        'cwd: "${env.MPRUN_PARAM_TOKEN}"',
        'preload: ["${env.MPRUN_PARAM_TOKEN}"]',
        'tasks: [{name: a, uses: "${env.MPRUN_PARAM_TOKEN}.yaml"}]',
        'tasks: [{name: a, target: "work:s3cr3t"}]',
    ],
)
def test_errors_before_a_run_have_no_secret(line, tmp_path):
    tasks = "" if line.startswith("tasks") else "\ntasks: [{name: a, target: 'work:give', args: [1]}]"
    write(tmp_path, work=WORK)
    job = f"params: {{token: {{type: string, secret: true, required: true}}}}\n{line}{tasks}\n"
    (tmp_path / "job.yaml").write_text(job)
    run = mprun("job.yaml", cwd=tmp_path, env={"MPRUN_PARAM_TOKEN": "s3cr3t"})
    assert run.stderr
    assert "s3cr3t" not in run.stderr
    assert "s3cr3t" not in "".join(map(str, run.events))


def test_every_form_of_a_secret_is_redacted():
    remember_secret({"password": "it's\na secret", "pin": 17, "none": None, "yes": True})
    assert redact("a: it's\na secret!") == "a: ***!"
    assert redact(repr("it's\na secret")[1:-1] + r" it's\na secret") == "*** ***"
    assert redact("its: a secret") == "its: ***"
    # A short one is part of many words and numbers.
    assert redact("exit 17, x17, 170, None, True, password") == "exit ***, x17, 170, None, True, ***"


ENCODED = {
    "repr of bytes": lambda text: repr(text.encode()),
    "ascii": ascii,
    "repr of a repr": lambda text: repr([repr(text)]),
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "a URL": urllib.parse.quote,
    "a part of a URL": lambda text: urllib.parse.quote(text, safe=""),
    "a query": lambda text: urllib.parse.urlencode({"q": text}),
    "a shell": lambda text: shlex.join(["echo", text]),
    "XML": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of more": lambda text: base64.b64encode(f"user:{text}, x".encode()).decode(),
    "base64 of even more": lambda text: base64.urlsafe_b64encode(f"users:{text}".encode()).decode(),
}


@pytest.mark.parametrize("secret", ["s3cr'3t väl\"ue", "a\\b<&>s3cr3t/?%+~ü", "two\nlines of it\n"])
@pytest.mark.parametrize("encoding", ENCODED)
def test_a_secret_is_redacted_however_it_is_written(encoding, secret):
    remember_secret(secret)
    shown = redact("before " + ENCODED[encoding](secret) + " after")
    assert "***" in shown
    for part in ("s3cr", "lines", "3t", "two"):
        assert part not in shown
        assert base64.b64encode(part.encode()).decode()[:-1] not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


def test_a_secret_of_many_lines_costs_little(monkeypatch):
    lines = [f"k'{number:06d}" for number in range(20_000)]
    remember_secret("\n".join(lines))
    assert len(diagnostics._secrets) < 50_000
    assert redact(f"a {lines[0]} b {lines[-1]} c") == "a *** b *** c"
    # Not each of them is looked for in each text.
    monkeypatch.setattr(
        diagnostics,
        "sorted",
        lambda found, **_: pytest.fail("all") if len(found) > 100 else found,
        raising=False,
    )
    assert redact("nothing to hide here") == "nothing to hide here"


def test_a_large_secret_without_lines_costs_little():
    secret = "a'\"\\e" * 200_000
    remember_secret(secret)
    assert sum(map(len, diagnostics._secrets)) < 12 * len(secret)
    assert redact(f"{secret} {secret!r} {json.dumps(secret)}") == "*** '***' \"***\""


def test_each_long_line_of_a_secret_is_redacted():
    remember_secret('{\n  "key": "s3cr3t"\n}\n')
    assert redact('a {b} c "key": "s3cr3t" d') == "a {b} c *** d"


def test_a_secret_with_bytes_that_are_not_utf_8_is_redacted():
    remember_secret("s3cr\udcff3t")
    assert redact("a s3cr\udcff3t") == "a ***"
    assert redact(repr("s3cr\udcff3t")) == "'***'"


def test_a_quote_is_redacted_before_it_is_cut():
    remember_secret("k" * 300)
    assert quote("k" * 300) == "`***`"


@pytest.mark.parametrize("before", [0, 90, 95, 795, 799])
def test_of_a_long_text_only_the_beginning_is_searched(before, monkeypatch):
    """The engine would stand still for a task that raises an exception with 30 MB of text."""
    secret = "s3cr3t-" * 10
    remember_secret(secret)
    text = "." * before + secret + "x" * 10_000_000
    read = []
    monkeypatch.setattr(diagnostics, "redact", lambda part: read.append(len(part)) or redact(part))
    shown = redact_beginning(text, 100)
    assert sum(read) <= 1000
    assert "s3" not in shown
    assert shown == (redact(text[:2000])[:100])


def test_a_secret_that_is_longer_than_what_is_searched_is_not_shown_in_part():
    secret = "".join(map(str, range(10_000)))
    remember_secret(secret)
    assert redact_beginning(f"a {secret} b", 100) == "a ***"
    assert redact_beginning(f"a {secret[:-1]}", 100) == "a ***"
    assert redact_beginning("a" * 2000, 100) == "a" * 100
