"""A job whose task `b` fails until it is mended, and how to resume a run of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jsonschema

from mprun.jobfile.schema.job_schema import schema_text
from support.runs import mprun, write

WORK = """\
    import os, signal

    def note(name):
        file = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{name}\\n".encode())
        os.close(file)

    def call(result=None, **more):
        note(os.environ["MPRUN_TASK"])
        return result

    def broken(result=None, **more):
        # Fails until `mend` is called.
        note(os.environ["MPRUN_TASK"])
        if not os.path.exists("mended"):
            raise SystemExit(3)
        return result

    def stuck(result=None, **more):
        note(os.environ["MPRUN_TASK"])
        while not os.path.exists("mended"):
            signal.pause()
        return result

    def serve():
        note(os.environ["MPRUN_TASK"])
        signal.pause()

    def large():
        note(os.environ["MPRUN_TASK"])
        return ["x" * 1000] * 100

    class Thing:
        def __repr__(self):
            return "a thing"

    def thing():
        note(os.environ["MPRUN_TASK"])
        return Thing()

    def count(value):
        note(os.environ["MPRUN_TASK"])
        return len(value)
"""
CHAIN = """\
    tasks:
    - {name: a, target: 'work:call', args: [[1, 2]]}
    - {name: b, target: 'work:%s', args: ['${tasks.a.result}']}
    - {name: c, target: 'work:call', args: ['${tasks.b.result}']}
    - {name: alone, target: 'work:call', args: [7]}
"""

SECRET = """\
    params: {key: {type: string, required: true, secret: true}, open: {type: string, default: '***'}}
    tasks:
    - {name: a, target: 'work:broken', args: ['${params.open}'], env: {KEY: '${params.key}'}}
"""


def ran(directory):
    """How often each task has run, in all runs together."""
    path = Path(directory, "ran")
    return Counter(path.read_text().split("\n")[:-1]) if path.exists() else Counter()


def mend(directory):
    Path(directory, "mended").touch()


def first(directory, job, *arguments, code=1, **options):
    write(directory, work=WORK, job=job)
    run = mprun("job.yaml", *arguments, cwd=directory, **options)
    assert run.code == code, run.stderr
    return run


def resume(directory, *arguments, **options):
    """`mprun resume`; every event must match its schema, and every task must have one outcome."""
    run = mprun("resume", *arguments, cwd=directory, **options)
    validate(run.events)
    return run


def validate(events):
    validator = jsonschema.Draft7Validator(json.loads(schema_text("event")))
    for event in events:
        validator.validate(event)
    ends = Counter(event["task"] for event in events if event["event"] == "task_finished")
    assert set(ends.values()) <= {1}, ends


def reused(run):
    return sorted(event["task"] for event in run.of("task_finished") if event["reused"])
