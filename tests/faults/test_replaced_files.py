"""A task that puts something else in the place of a file of its run (C51, C59, C67)."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest
from support.runs import START_METHODS, eventually, mprun, start, write

from mprun.record.state_files import CREATE, Folder, NotOurs

KEPT = '{"kept": true}\n'
# What each kind of task writes by its name, with each kind of end.
JOB = """
    start_method: %s
    tasks:
      - {name: plant, target: 'work:plant', args: ['%s'], daemon: true, ready: {file: planted}}
      - {name: prints, target: 'builtins:print', args: [heard], depends_on: {plant: ready}}
      - {name: returns, target: 'os:getpid', depends_on: prints}
      - {name: raises, target: 'work:fail', depends_on: prints, allow_failure: true}
      - {name: command, command: 'echo a; echo b >&2', depends_on: prints}
      - {name: captured, command: echo c, capture: text, depends_on: prints}
      - name: serves
        command: [sleep, '60']
        daemon: true
        ready: {command: [echo, ready], timeout: 20s}
        depends_on: prints
      - {name: client, command: 'true', depends_on: {serves: ready}}
"""
LOGS = [
    "prints.1.log",
    "returns.1.log",
    "raises.1.log",
    "command.1.log",
    "captured.1.log",
    "serves.1.ready",
]
RESULTS = ["returns.1.json.part", "raises.1.error.json.part", "captured.1.stdout", "captured.1.json.part"]
WORK = f"""
    import os, pathlib, socket, time

    NAMES = {[*("logs/" + name for name in LOGS), *("results/" + name for name in RESULTS)]!r}

    def fail():
        raise ValueError("no")

    def plant(kind):
        (run,) = pathlib.Path(".mprun/runs").iterdir()
        for name in NAMES:
            path = run / name
            kept = pathlib.Path("precious", path.name)
            kept.write_text({KEPT!r})
            if kind == "hard link":
                os.link(kept, path)
            elif kind == "symbolic link":
                path.symlink_to(kept.absolute())
            elif kind == "FIFO":
                os.mkfifo(path)
                # It has a reader: who opens it does not wait, and is not refused.
                os.open(path, os.O_RDWR)
            elif kind == "socket":
                socket.socket(socket.AF_UNIX).bind(f"/proc/self/fd/{{os.open(path.parent, 0)}}/{{path.name}}")
            else:
                # /dev/null: what is written to it is lost.
                os.mknod(path, 0o20666, os.makedev(1, 3))
        open("planted", "w").close()
        time.sleep(60)
"""
KINDS = ["hard link", "symbolic link", "FIFO", "socket", "device"]


@pytest.mark.parametrize(
    ("method", "kind"),
    [*(("fork", kind) for kind in KINDS), *((method, "hard link") for method in START_METHODS[1:])],
)
def test_nothing_is_written_to_what_is_in_the_place_of_a_file(tmp_path, method, kind):
    if kind == "device" and os.geteuid():
        pytest.skip("only root makes devices")
    (tmp_path / "precious").mkdir()
    write(tmp_path, work=WORK, job=JOB % (method, kind))
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    kept = [*(tmp_path / "precious").iterdir()]
    assert {path.read_text() for path in kept} == {KEPT}
    assert len(kept) == len(LOGS) + len(RESULTS)
    folder = Path(run.directory.path)
    logs = {name: (folder / "logs" / name) for name in LOGS}
    for path in logs.values():
        found = path.lstat()
        assert (stat.S_ISREG(found.st_mode), found.st_nlink) == (True, 1), path
    assert logs["prints.1.log"].read_text() == "heard\n"
    assert logs["command.1.log"].read_text() == "a\nb\n"
    assert logs["captured.1.log"].read_text() == "c\n"
    assert logs["serves.1.ready"].read_text() == "ready\n"
    assert "ValueError: no" in logs["raises.1.log"].read_text()
    assert isinstance(run.result("returns"), int)
    assert run.result("captured") == "c"
    assert run.one("task_exited", "raises")["error"]["message"] == "no"
    # What was there is said: by the launcher, and by what is not a task yet, whose output the former has.
    what = {"hard link": "a file that has another name, too (a hard link)"}.get(kind, f"a {kind}")
    said = (folder / "logs" / "main.log").read_text()
    for name in LOGS:
        assert said.count(f"mprun: {name} was {what}; a new file takes its place\n") == 1
    assert "Traceback" not in said


REPLACES = """
    import os, pathlib, sys, time

    def replace(kind):
        (log,) = pathlib.Path(".mprun/runs").glob("*/logs/t.1.log")
        print("first", flush=True)
        if kind == "hard link":
            log.unlink()
            os.link("precious", log)
        else:
            log.unlink()
            os.mkfifo(log)
            os.open(log, os.O_RDWR)
        time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["hard link", "FIFO"])
def test_the_stacks_of_a_task_go_to_no_other_file(tmp_path, kind):
    """Nor to a reader; they are in the log of the main process then."""
    (tmp_path / "precious").write_text(KEPT)
    job = {"tasks": [{"name": "t", "target": "work:replace", "args": [kind], "timeout": "1s"}]}
    write(tmp_path, work=REPLACES, job=json.dumps(job))
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    assert run.outcome("t") == "timed_out"
    assert (tmp_path / "precious").read_text() == KEPT
    main = Path(run.directory.path, "logs", "main.log").read_text()
    assert f"mprun: t.1.log is a {'file that has another name' if kind == 'hard link' else kind}" in main
    assert "in replace" in main


def test_a_record_that_has_another_name_gets_no_end(tmp_path):
    """A task has put a link in its place, or a backup is made of links; the next start says so."""
    write(
        tmp_path, job="tasks: [{target: 'time:sleep', args: [60]}]", job_next="tasks: [{target: 'os:getpid'}]"
    )
    engine = start("job.yaml", cwd=tmp_path)
    record = eventually(lambda: next(tmp_path.glob(".mprun/runs/*/events.jsonl"), None))
    eventually(lambda: "task_started" in record.read_text())
    os.link(record, tmp_path / "kept")
    os.kill(engine.pid, signal.SIGKILL)
    engine.communicate()
    before = record.read_text()
    after = mprun("job_next.yaml", cwd=tmp_path)
    assert after.code == 0
    assert "was interrupted: mprun itself was killed; " in after.stderr
    assert "its record has another name, too (a hard link), so its end is not added" in after.stderr
    assert (tmp_path / "kept").read_text() == before
    assert not [*(tmp_path / ".mprun/open").iterdir()]
    shown = mprun("show", record.parent.name, cwd=tmp_path)
    assert "interrupted" in shown.stdout


@pytest.mark.parametrize("flags", [CREATE, os.O_WRONLY | os.O_CREAT | os.O_APPEND])
def test_a_file_of_the_record_that_has_another_name_is_not_written(tmp_path, flags):
    """As those of a traceback, and of the lines that were not shown; it may be read."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    kept = tmp_path / "kept"
    kept.write_text(KEPT)
    os.link(kept, state / "traceback.txt")
    folder = Folder(str(state))
    with pytest.raises(NotOurs, match=r"another name, too \(a hard link\)"):
        folder.open("traceback.txt", flags)
    assert kept.read_text() == KEPT
    assert folder.file("traceback.txt").read(100) == KEPT.encode()
