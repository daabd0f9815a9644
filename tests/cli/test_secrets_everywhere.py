"""A secret in every key of a job file that takes a text, in everything that leaves mprun (C48, C69)."""

import json
import os
from pathlib import Path

import pytest
from support.runs import eventually, mprun, side_by_side, start, write

from mprun import JobFileError, MprunError, diagnostics, load_job, plan_job
from mprun.diagnostic_text import render
from mprun.diagnostics import redact
from mprun.jobfile.schema.job_schema import schema_text

SECRET = "s3cr3t-väl'ue"
ENV = {"MPRUN_PARAM_TOKEN": SECRET}
PARAM = {"token": {"type": "string", "secret": True, "required": True}}
FORMS = ("x ${params.token}/y", "${env.MPRUN_PARAM_TOKEN}")
WORK = """
    def give(*args, **kwargs):
        pass

    def fail(*args, **kwargs):
        open("/none/" + str(args or kwargs))
    """
SCHEMA = json.loads(schema_text("job"))
# Written at the end of a run, which knows its secrets, also those in what a task has printed.
FILES = ("report", "junit", "trace", "otlp")
COMMANDS = (
    ["plan", "job.yaml"],
    ["plan", "--format", "json", "job.yaml"],
    ["run", "-v", "job.yaml", "--output", "none", *(f"--{name}=at-end.{name}" for name in FILES)],
    ["run", "--events", "-", "job.yaml"],
    ["show", "-v"],
    ["tree", "--json"],
)
VIEWS = (
    *(["show", "--json"], ["tree"], ["logs"], ["report", "-o-"], ["flaky", "--json"]),
    *(["export", f"--{name}=-"] for name in FILES[1:]),
)


def put(text):
    """By a name: the job that has the text at one place, for each key and each kind of value."""
    tasks = SCHEMA["definitions"]["task"]["properties"]
    values = {
        "a text": text,
        "a list": [text],
        "a mapping": {text: text},
        "a value": {"a": text},
    }
    for key in tasks:
        for kind, value in values.items():
            task = {"name": "a", "target": "work:fail", key: value}
            if key in ("command", "uses"):
                del task["target"]
            yield f"task {key} {kind}", {"params": PARAM, "tasks": [task]}
            if key == "with":
                yield f"task with {kind}", {"params": PARAM, "tasks": [{"uses": "none.yaml", "with": value}]}
    for key in SCHEMA["properties"]:
        for kind, value in values.items():
            job = {"params": PARAM, "tasks": [{"name": "a", "target": "work:fail"}], key: value}
            if key == "params":
                job["params"] = {**PARAM, "other": {"default": value}}
            yield f"job {key} {kind}", job
    for probe in ("log", "http", "file", "command", "tcp"):
        ready = {probe: [text] if probe == "command" else text, "timeout": 0.1}
        task = {"name": "a", "command": "sleep 9", "daemon": True, "ready": ready}
        yield f"ready {probe}", {"params": PARAM, "tasks": [task, {"command": "true", "depends_on": ["a"]}]}
    for key in ("result", "raises", "output", "exit_code"):
        yield f"expect {key}", {"params": PARAM, "tasks": [{"target": "work:give", "expect": {key: text}}]}
    for kind, command in (("name", [text]), ("words", ["false", text]), ("shell", f"false {text}; exit 3")):
        yield f"command {kind}", {"params": PARAM, "tasks": [{"command": command, "retry": 1}]}


def texts_of(folder):
    """Each file that the runs of a folder left, by its path from there, and the names of all files."""
    found = {"the names of files": "\n".join(map(str, folder.rglob("*")))}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".pyc", ".py"):
            found[str(path.relative_to(folder))] = path.read_bytes().decode("utf-8", "backslashreplace")
    return found


# Any part of it is too much.
PARTS = ("s3cr3t", "ue/y")


def leaks(texts):
    return {name: text for name, text in texts.items() if any(part in text for part in PARTS)}


def refusal(folder):
    """What `mprun validate` and a run say of a job file that they refuse; empty if they do not."""
    try:
        plan_job(load_job(folder / "job.yaml"))
    except JobFileError as error:
        return f"{error}{render(error.diagnostics)}"
    except MprunError as error:
        return str(error)
    return ""


def everything(folder):
    """What each command prints, and what each file has, but for what the task itself has said."""
    printed = {}
    for words in COMMANDS:
        env = ENV if "job.yaml" in words else {}
        printed[" ".join(words)] = b"".join(start(*words, cwd=folder, env=env).communicate()).decode()
    files = texts_of(folder)
    started = any("run_started" in text for text in files.values())
    assert not started or {f"at-end.{name}" for name in FILES} <= files.keys()
    return {
        **printed,
        # The traceback of a task is its own, and its message there.
        **{path: text for path, text in files.items() if not path.endswith((".error.json", "a.1.log"))},
    }


@pytest.mark.parametrize("form", FORMS)
def test_no_key_shows_a_secret(form, tmp_path, monkeypatch):
    monkeypatch.setattr(diagnostics, "_secrets", set())
    monkeypatch.setenv(*next(iter(ENV.items())))
    write(tmp_path, work=WORK)
    accepted = {}
    for number, (name, job) in enumerate(put(form)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder, work=WORK)
        (folder / "job.yaml").write_text(json.dumps(job))
        refused = redact(refusal(folder))
        assert leaks({name: refused}) == {}
        if not refused:
            accepted[name] = folder
    assert {"task args a list", "task env a value", "command name", "command shell"} <= accepted.keys()
    found = side_by_side(lambda folder: leaks(everything(folder)), accepted.values())
    assert {name: one for name, one in zip(accepted, found, strict=True) if one} == {}


LATER = (
    *(["export", f"--{name}=-"] for name in FILES[1:]),
    *(["report", "-o-"], ["show", "-v"], ["show", "--json"], ["tree"], ["logs"]),
)


@pytest.mark.parametrize("form", FORMS)
def test_no_later_command_shows_a_secret_that_no_task_has_said(form, tmp_path, monkeypatch):
    """It does not know the secret any more, so the record, logs and results must not have it."""
    monkeypatch.setattr(diagnostics, "_secrets", set())
    monkeypatch.setenv(*next(iter(ENV.items())))
    write(tmp_path, work="def give(*a, **k): pass\ndef fail(*a, **k): raise ValueError('no')\n")
    job = {"params": PARAM, "env": {"T": form}, "tasks": []}
    for name, one in put(form):
        if one.keys() == {"params", "tasks"} and one["params"] == PARAM:
            (tmp_path / "job.yaml").write_text(json.dumps(one))
            # What depends on a name is tried in a file of its own, above.
            if not refusal(tmp_path) and len(one["tasks"]) == 1:
                job["tasks"].append({**one["tasks"][0], "name": f"{len(job['tasks'])} {name}"})
    assert len(job["tasks"]) > 8
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    run = mprun("job.yaml", cwd=tmp_path, env=ENV)
    assert len(run.of("task_finished")) == len(job["tasks"])
    (tmp_path / "job.yaml").unlink()
    printed = side_by_side(lambda words: start(*words, cwd=tmp_path).communicate()[0].decode(), LATER)
    found = {" ".join(words): text for words, text in zip(LATER, printed, strict=True)}
    assert all(found.values())
    assert leaks({**found, **texts_of(tmp_path)}) == {}


def command_lines():
    """The command lines of all processes, by pid."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[folder.name] = (folder / "cmdline").read_bytes(), (folder / "comm").read_bytes()
        except OSError:
            continue
    return found


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_no_process_of_mprun_shows_a_secret(method, tmp_path):
    write(
        tmp_path,
        work="""
            import os, time

            def wait(*args, **kwargs):
                open("waits", "w").close()
                while not os.path.exists("go"):
                    time.sleep(0.01)
            """,
    )
    task = {"name": "a", "target": "work:wait", "args": ["${params.token}"], "env": {"T": "${params.token}"}}
    (tmp_path / "job.yaml").write_text(json.dumps({"params": PARAM, "tasks": [task]}))
    process = start("job.yaml", "--start-method", method, cwd=tmp_path, env=ENV)
    eventually((tmp_path / "waits").exists)
    shown = command_lines()
    views = side_by_side(lambda words: mprun(*words, cwd=tmp_path).stdout, VIEWS)
    (tmp_path / "go").touch()
    process.communicate()
    assert process.returncode == 0
    assert str(process.pid) in shown
    assert [line for line in shown.values() if b"s3cr3t" in b"".join(line)] == []
    assert [text for text in views if "s3cr3t" in text] == []
    assert os.path.exists(tmp_path / ".mprun")
