"""The next start kills what killed runs have left, completes their records, and harms no other process."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import psutil
import pytest
from support.crash_targets import JOB, write_crash_job
from support.records import STAMP, STARTED
from support.runs import (
    alive,
    complete_lines,
    eventually,
    finish,
    mprun,
    newest_run,
    read_events,
    start,
    write,
    written,
)

from mprun.jobfile.schema.job_schema import schema_text
from mprun.linux import procfs
from mprun.record.pidfile import namespaces
from mprun.record.state_dir import RunDirectory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

NEXT = "tasks: [{target: 'os:getpid'}]\n"
OLD = STAMP["run"]


@pytest.fixture
def run_to_kill(tmp_path, crash_target):
    return functools.partial(crash_target, tmp_path)


@pytest.fixture
def sleeper():
    """Starts processes that are part of no run, and kills them after the test."""
    made = []

    def make(*command, **options):
        options = {"stdout": subprocess.PIPE, **options}
        made.append(subprocess.Popen(command or ["sleep", "60"], start_new_session=True, **options))
        return made[-1]

    yield make
    for process in made:
        # Not waited for yet, unless its session is gone with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def gone():
    """The pid and start time of a process that has ended, so that no process has the pid."""
    process = subprocess.Popen(["true"])
    ticks = procfs.read_stat(process.pid).start_ticks
    process.wait()
    return process.pid, ticks


def old_run(directory, lines, *, owner=None, boot=None, host=None):
    """A run whose engine is gone: its record, and the pidfile that it has left."""
    state = Path(directory, ".mprun")
    for name in ("open", f"runs/{OLD}/logs", f"runs/{OLD}/results"):
        (state / name).mkdir(parents=True, exist_ok=True)
    record = state / "runs" / OLD / "events.jsonl"
    record.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    # Older than all that the test starts.
    pid, ticks = owner or (gone()[0], 1)
    boot, host = boot or procfs.boot_id(), host or os.uname().nodename
    os.symlink(f"{pid} {ticks} {boot} {host}", state / "open" / OLD)
    return record


def task_started(pid, ticks, task="a"):
    return {
        "event": "task_started",
        **STAMP,
        "task": task,
        "attempt": 1,
        "pid": pid,
        "ppid": 1,
        "start_ticks": ticks,
        "host": "h",
        "daemon": False,
        "target": "x:y",
    }


def next_start(directory):
    write(directory, job_next=NEXT)
    run = mprun("-q", "job_next.yaml", cwd=directory)
    assert run.code == 0, run.stderr
    return run


def killed_run(run_id):
    """The beginning of the warning about a killed run."""
    return f"warning: run {run_id} was interrupted: mprun itself was killed"


def pidfiles(directory):
    return os.listdir(directory / ".mprun" / "open")


def test_the_next_start_kills_what_a_killed_run_left_and_completes_its_record(run_to_kill, tmp_path):
    write_crash_job(tmp_path)
    run = run_to_kill("job.yaml")
    run.until("task_started", count=8)
    run.until("task_finished", "quick")
    run.pids(count=3)
    run.kill_both()
    path = newest_run(tmp_path / ".mprun").events
    before = Path(path).read_bytes()
    left = run.survivors()
    assert len(left) > 2
    assert pidfiles(tmp_path) == [RunDirectory(os.path.dirname(path)).run_id]
    stderr = next_start(tmp_path).stderr
    assert run.survivors() == []
    assert stderr.startswith(killed_run(run_id_of(path)) + "; killed the ")
    assert stderr.endswith(" processes that it left\n")
    assert (stderr.count("\n"), pidfiles(tmp_path)) == (1, [])
    after = Path(path).read_bytes()
    assert after.startswith(before)
    events = read_events(path)
    validator = jsonschema.Draft7Validator(json.loads(schema_text("event")))
    for event in events:
        validator.validate(event)
    outcomes = {event["task"]: event["outcome"] for event in events if event["event"] == "task_finished"}
    assert outcomes.pop("quick") == "succeeded"
    assert set(outcomes.values()) == {"unknown"}
    assert len(outcomes) == 7
    last = events[-1]
    assert (last["event"], last["outcome"], last["exit_code"]) == ("run_finished", "interrupted", None)
    assert last["reason"] == "mprun itself was killed; found at the next start"
    assert last["counts"] == {"succeeded": 1, "unknown": 7}
    assert next_start(tmp_path).stderr == ""


def run_id_of(path):
    return os.path.basename(os.path.dirname(path))


def test_a_run_that_is_killed_while_it_imports_leaves_nothing(run_to_kill, tmp_path):
    write(
        tmp_path,
        slow="""\
            import os, signal, subprocess
            subprocess.Popen(["sleep", "60"], start_new_session=True)
            if os.fork() == 0:
                os.setsid()
            else:
                open("importing", "w").close()
            signal.pause()
        """,
        job="tasks: [{target: 'slow:run'}]\n",
    )
    run = run_to_kill("job.yaml")
    eventually((tmp_path / "importing").exists)
    run.kill_both()
    eventually(lambda: len(run.survivors()) == 2)
    next_start(tmp_path)
    assert (run.survivors(), pidfiles(tmp_path)) == ([], [])
    assert len(os.listdir(tmp_path / ".mprun" / "runs")) == 1


def test_a_torn_last_line_is_ended_and_the_record_can_be_read(tmp_path):
    record = old_run(tmp_path, [STARTED, task_started(*gone())])
    with open(record, "a") as file:
        file.write('{"event":"task_finished","task":"a","outcome":"succ')
    before = record.read_bytes()
    stderr = next_start(tmp_path).stderr
    assert stderr == killed_run(OLD) + "; found no processes of it\n"
    assert record.read_bytes().startswith(before + b"\n")
    shown = mprun("show", OLD, cwd=tmp_path)
    assert shown.code == 0
    assert "line 3 is not a JSON object, left out" in shown.stderr
    assert "a     unknown: mprun itself was killed; exit status unknown" in shown.stdout
    end = shown.stdout.splitlines()[-1]
    assert end == (
        "interrupted (mprun itself was killed; found at the next start): exit code unknown, "
        "last event 0.00s after the start"
    )
    listed = mprun("runs", cwd=tmp_path).stdout.splitlines()[-1]
    assert re.search(
        r" >0\.00s  interrupted: mprun itself was killed; found at the next start +\?  1 unknown$", listed
    )
    (engine,) = json.loads(mprun("tree", OLD, "--json", cwd=tmp_path).stdout)["processes"]
    assert (engine["status"], engine["duration"], engine["exit_code"]) == (
        "mprun itself was killed",
        None,
        None,
    )


def log_of(directory, name="a.1.log"):
    """A log of the old run, open for appending as a task has it."""
    path = Path(directory, ".mprun", "runs", OLD, "logs", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "ab")


def test_a_recorded_task_is_killed_with_its_session_and_descendants(tmp_path, sleeper):
    """The task has the proof, its log; what it has started has none of its own."""
    path = tmp_path / "pid"
    inner = "sleep 60 & setsid sleep 60 & echo $!; wait"
    with log_of(tmp_path) as log:
        task = sleeper("sh", "-c", f"sh -c '{inner}' > {path}; while :; do :; done", stdout=log)
    hidden = int(written(path))
    assert alive(hidden)
    old_run(tmp_path, [STARTED, task_started(task.pid, procfs.read_stat(task.pid).start_ticks)])
    stderr = next_start(tmp_path).stderr
    assert stderr == killed_run(OLD) + "; killed the 4 processes that it left\n"
    assert task.wait() == -9
    assert not alive(hidden)


@pytest.mark.parametrize("kind", ["a task", "a session"])
def test_a_forged_record_that_names_a_stranger_has_nothing_killed(tmp_path, sleeper, kind):
    """(C51, C64) The pid and the start are right: anyone can write them into a record."""
    stranger = sleeper("sh", "-c", "sleep 60 & echo $!; wait")
    member = int(stranger.stdout.readline())
    named = stranger.pid if kind == "a task" else member
    old_run(tmp_path, [STARTED, task_started(named, procfs.read_stat(named).start_ticks)])
    stderr = next_start(tmp_path).stderr
    assert stderr.startswith(
        f"{killed_run(OLD)}; found no processes of it; left running, not provably part of this run: process "
    )
    assert f"process {named} (s" in stderr
    assert (stranger.poll(), alive(member)) == (None, True)


def test_a_recorded_pid_of_another_namespace_names_no_process_here(tmp_path, sleeper):
    stranger = sleeper()
    task = task_started(stranger.pid, procfs.read_stat(stranger.pid).start_ticks)
    old_run(tmp_path, [STARTED, task], host=f"{os.uname().nodename} 0:0")
    assert next_start(tmp_path).stderr == killed_run(OLD) + "; found no processes of it\n"
    assert stranger.poll() is None


def test_a_process_that_hides_is_found_by_its_open_log(tmp_path, sleeper):
    """(C64) A session of its own, an empty environment, and standard output is the log of a task."""
    with log_of(tmp_path) as log:
        hidden = sleeper(stdout=log, env={})
    old_run(tmp_path, [STARTED])
    assert next_start(tmp_path).stderr == killed_run(OLD) + "; killed the process that it left\n"
    assert hidden.wait() == -9


@pytest.mark.parametrize("proof", ["reads", "a hard link", "a link", "linked logs", "older"])
def test_what_only_looks_like_the_log_of_the_run_proves_nothing(tmp_path, sleeper, proof):
    """A pager reads; a link in a forged directory leads to a file that a stranger has open."""
    with log_of(tmp_path) as log:
        path = Path(log.name)
        opened, elsewhere = log, tmp_path / path.name
        if proof == "reads":
            opened = open(path, "rb")  # noqa: SIM115  closed below
        elif proof != "older":
            opened = open(elsewhere, "ab")  # noqa: SIM115  closed below
            if proof == "linked logs":
                path.unlink()
                path.parent.rmdir()
                path.parent.symlink_to(tmp_path)
            else:
                path.unlink()
                path.symlink_to(elsewhere) if proof == "a link" else path.hardlink_to(elsewhere)
        with opened:
            stranger = sleeper(stdin=opened, stdout=opened if proof != "reads" else subprocess.PIPE, env={})
    began = procfs.boot_ticks() + 1 if proof == "older" else 1
    old_run(tmp_path, [STARTED], owner=(gone()[0], began))
    assert next_start(tmp_path).stderr == killed_run(OLD) + "; found no processes of it\n"
    assert stranger.poll() is None


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver", "command", "captured"])
def test_a_descendant_that_hides_from_its_run_is_killed_after_both_were_killed(run_to_kill, tmp_path, how):
    """(C64) By its open log at the next start; the pipe of a command is known to the keeper alone."""
    hidden = "setsid env -i sleep 61 & echo $! > pid"
    task = f"{{name: a, command: '{hidden}; wait'}}"
    if how == "captured":
        task = f"{{name: a, command: '{hidden}; wait', capture: text}}"
    elif how != "command":
        task = f"{{name: a, target: 'hiding:run', start_method: {how}}}"
    write(
        tmp_path,
        hiding=f"""\
            import signal, subprocess

            def run():
                subprocess.run(["sh", "-c", {hidden!r}])
                signal.pause()
        """,
        job=f"tasks: [{task}]\n",
    )
    run = run_to_kill("job.yaml")
    pid = int(written(tmp_path / "pid"))
    eventually(lambda: procfs.read_name(pid) == "sleep")
    process = psutil.Process(pid)
    run.kill_both()
    try:
        next_start(tmp_path)
        eventually(lambda: not alive(pid))
    finally:
        # Unless another process has its pid by now.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_process_that_has_got_the_pid_of_a_task_since_is_left_alone(tmp_path, sleeper):
    stranger = sleeper("sh", "-c", "sleep 60 & sleep 60")
    record = old_run(tmp_path, [STARTED, task_started(stranger.pid, 7)])
    stderr = next_start(tmp_path).stderr
    assert stderr == killed_run(OLD) + "; found no processes of it\n"
    assert stranger.poll() is None
    assert read_events(record)[-2]["outcome"] == "unknown"


def test_a_process_in_the_session_of_a_task_that_is_gone_is_named_and_left_running(tmp_path, sleeper):
    leader = sleeper("sh", "-c", "sleep 60 & echo $!")
    member = int(leader.stdout.readline())
    ticks = procfs.read_stat(leader.pid).start_ticks
    leader.wait()
    try:
        old_run(tmp_path, [STARTED, task_started(leader.pid, ticks)])
        stderr = next_start(tmp_path).stderr
        assert alive(member)
        assert stderr == (
            f"{killed_run(OLD)}; found no processes of it; "
            f"left running, not provably part of this run: process {member} (sleep)\n"
        )
    finally:
        os.kill(member, signal.SIGKILL)


def test_a_process_with_the_run_id_in_its_environment_is_killed_wherever_it_is(tmp_path, sleeper):
    of_it = sleeper(env={**os.environ, "MPRUN_RUN_ID": OLD})
    of_another = sleeper(env={**os.environ, "MPRUN_RUN_ID": OLD + "e"})
    old_run(tmp_path, [STARTED])
    stderr = next_start(tmp_path).stderr
    assert stderr == killed_run(OLD) + "; killed the process that it left\n"
    assert (of_it.wait(), of_another.poll()) == (-9, None)


@pytest.mark.parametrize("kind", ["copy", "pidfile", "copy of a killed run", "copy of one long killed"])
def test_a_copied_or_forged_state_directory_has_no_process_of_the_run_elsewhere_killed(
    run_to_kill, tmp_path, kind
):
    """(C51) The run's id, which its processes have in their environment, is the name of a directory."""
    # Without the output of its command, for which it would be killed a second after mprun was.
    script = "setsid sleep 60 > /dev/null 2>&1 & echo $! > pid; wait"
    write(tmp_path, job=json.dumps({"tasks": [{"command": script}, {"command": "sleep 60"}]}))
    run = run_to_kill("job.yaml")
    pid = int(written(tmp_path / "pid"))
    eventually(lambda: procfs.read_name(pid) == "sleep")
    run.until("task_started", count=2)
    run_id = run_id_of(newest_run(tmp_path / ".mprun").events)
    forged = tmp_path / "forged"
    if kind == "pidfile":
        (forged / ".mprun" / "open").mkdir(parents=True, mode=0o700)
    else:
        shutil.copytree(tmp_path / ".mprun", forged / ".mprun", symlinks=True)
        (forged / ".mprun" / "open" / run_id).unlink()
    is_killed = kind.startswith("copy of")
    if is_killed:
        run.kill_both()
    if kind == "copy of one long killed":
        # Nothing is left that writes to the other directory.
        everyone = procfs.processes
        eventually(lambda: [one for one in everyone() if procfs.has_run_id(one, run_id)] == [pid], 20)
    content = f"{gone()[0]} 1 {procfs.boot_id()} {os.uname().nodename} {namespaces()}"
    (forged / ".mprun" / "open" / run_id).symlink_to(content)
    stderr = next_start(forged).stderr
    assert "that it left" not in stderr
    assert alive(pid)
    if not is_killed:
        assert run.engine.poll() is None
        run.kill_both()
    # The run's own directory proves which processes are its.
    assert "that it left" in next_start(tmp_path).stderr
    assert run.survivors() == []


def test_a_task_without_a_recorded_start_is_named_and_left_running(tmp_path, sleeper):
    process = sleeper()
    old_run(tmp_path, [STARTED, task_started(process.pid, None)])
    assert f"part of this run: process {process.pid} (sleep)\n" in next_start(tmp_path).stderr
    assert process.poll() is None


def test_a_run_of_another_boot_has_no_processes(tmp_path, sleeper):
    process = sleeper(env={**os.environ, "MPRUN_RUN_ID": OLD})
    ticks = procfs.read_stat(process.pid).start_ticks
    record = old_run(tmp_path, [STARTED, task_started(process.pid, ticks)], boot="another")
    stderr = next_start(tmp_path).stderr
    assert stderr == killed_run(OLD) + "; found no processes of it\n"
    assert process.poll() is None
    assert (read_events(record)[-1]["event"], pidfiles(tmp_path)) == ("run_finished", [])


@pytest.mark.parametrize(
    "owner",
    [
        {"boot": "another", "host": "another"},
        {"owner": (os.getpid(), procfs.read_stat(os.getpid()).start_ticks)},
    ],
    ids=["on another machine", "alive"],
)
def test_a_run_that_may_be_active_is_left_alone(tmp_path, owner):
    record = old_run(tmp_path, [STARTED, task_started(*gone())], **owner)
    before = record.read_bytes()
    assert next_start(tmp_path).stderr == ""
    assert (record.read_bytes(), pidfiles(tmp_path)) == (before, [OLD])


def test_a_run_whose_record_is_locked_is_active_even_if_its_engine_cannot_be_seen(tmp_path):
    """As in another container: the kernel's lock counts."""
    record = old_run(tmp_path, [STARTED])
    code = (
        "import sys; from mprun.record.recorder import Recorder\n"
        "from mprun.record.state_dir import RunDirectory\n"
        "recorder = Recorder(RunDirectory(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(record.parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert next_start(tmp_path).stderr == ""
        assert pidfiles(tmp_path) == [OLD]
        holder.stdin.close()
    assert "was killed" in next_start(tmp_path).stderr


def test_an_active_run_is_left_alone_by_another_start(tmp_path):
    # The run must not wait long for the tasks that ignore signals.
    write_crash_job(tmp_path, job=f"    defaults: {{stop: {{grace: 100ms}}}}\n{JOB}")
    engine = start("job.yaml", cwd=tmp_path)
    try:
        state_dir = tmp_path / ".mprun"
        directory = eventually(lambda: newest_run(state_dir))
        eventually(lambda: len(complete_lines(Path(directory.events))) > 7)
        assert next_start(tmp_path).stderr == ""
        assert engine.poll() is None
        assert not [e for e in complete_lines(Path(directory.events)) if e["event"] == "run_finished"]
    finally:
        engine.send_signal(signal.SIGINT)
        finish(engine, state_dir)
    assert pidfiles(tmp_path) == []


def test_two_starts_at_once_complete_a_record_once(tmp_path):
    tasks = [task_started(*gone(), task=f"t{number}") for number in range(2000)]
    record = old_run(tmp_path, [STARTED, *tasks])
    write(tmp_path, job_next=NEXT)
    stderr = [
        finish(process, tmp_path / ".mprun").stderr
        for process in [start("-q", "job_next.yaml", cwd=tmp_path) for _ in range(4)]
    ]
    assert sorted(map(len, stderr))[:3] == [0, 0, 0]
    events = read_events(record)
    assert len([e for e in events if e["event"] == "run_finished"]) == 1
    assert len([e for e in events if e["event"] == "task_finished"]) == 2000


def test_a_run_that_had_finished_is_left_as_it_is(tmp_path):
    finished = {
        "event": "run_finished",
        **STAMP,
        "outcome": "failed",
        "exit_code": 1,
        "duration": 1,
        "counts": {},
    }
    record = old_run(tmp_path, [STARTED, finished])
    before = record.read_bytes()
    assert next_start(tmp_path).stderr == ""
    assert (record.read_bytes(), pidfiles(tmp_path)) == (before, [])


def test_a_start_by_a_task_of_the_killed_run_does_not_recover_it(tmp_path):
    old_run(tmp_path, [STARTED])
    write(tmp_path, job_next=NEXT)
    # `environment` removes the variable that the test itself was started with.
    assert mprun("-q", "job_next.yaml", cwd=tmp_path, env={"MPRUN_RUN_ID": OLD}).stderr == ""
    assert pidfiles(tmp_path) == [OLD]


@pytest.mark.parametrize("damage", ["newer", "a directory", "not a pidfile", "a file for a pidfile"])
def test_a_run_that_cannot_be_cleaned_up_is_named_and_does_not_stop_the_start(tmp_path, damage):
    record = old_run(tmp_path, [{**STARTED, "format": 99} if damage == "newer" else STARTED])
    pidfile = tmp_path / ".mprun" / "open" / OLD
    if damage == "a directory":
        record.unlink()
        record.mkdir()
    elif damage in ("not a pidfile", "a file for a pidfile"):
        pidfile.unlink()
        pidfile.write_text("nonsense") if damage == "a file for a pidfile" else pidfile.symlink_to("nonsense")
    before = None if damage == "a directory" else record.read_bytes()
    stderr = next_start(tmp_path).stderr
    if damage in ("newer", "a directory"):
        assert stderr.startswith(f"warning: could not clean up killed run {OLD}: ")
    else:
        assert stderr == ""
    assert before is None or record.read_bytes() == before
