"""Runs of a job whose tasks are compared with what they did last, and are skipped if nothing has changed."""

import time

from support.runs import eventually, mprun


def run(path, *options, **more):
    """A run of the job file in a directory."""
    return mprun("job.yaml", *options, cwd=path, **more)


def ran(result, task="t"):
    """Whether a task was started in a run."""
    return bool(result.of("task_started", task))


def why(path, task="t"):
    """What `mprun why` says, in one line."""
    return " ".join(mprun("why", task, cwd=path).stdout.split())


def replace(path, old, new):
    """Edit a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    forget_compiled(path.parent)


def settle(path):
    """Code that has just been written might have changed during its import: let it grow older."""
    forget_compiled(path)
    newest = max(file.stat().st_ctime_ns for file in path.rglob("*"))
    eventually(lambda: time.time_ns() > newest + 50_000_000, 10)


def forget_compiled(path):
    """Remove what Python has compiled of modules that were edited since.

    It would take that for an edited file of the same size, if both are of the same second.
    """
    for compiled in path.rglob("__pycache__/*.pyc"):
        source = compiled.parent.parent / f"{compiled.name.partition('.')[0]}.py"
        # Its flags, which say that it goes by the time of the file.
        goes_by_time = compiled.read_bytes()[4:8] == bytes(4)
        if goes_by_time and source.exists() and source.stat().st_ctime_ns > compiled.stat().st_ctime_ns:
            compiled.unlink()
