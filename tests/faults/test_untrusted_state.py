"""A state directory that came with a repository, or that others can write to, moves mprun to nothing."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys

import pytest
from support.records import FINISHED, STARTED, ended, exited, record, started
from support.runs import (
    START_METHODS,
    TIMEOUT,
    complaint,
    eventually,
    mprun,
    newest_run,
    read_events,
    start,
    write,
)

KEPT = '{"kept": true}\n'
RUN = "20260101-120000.000-abcd"
OTHER = "20260101-120000.000-beef"
every_start_method = pytest.mark.parametrize("method", START_METHODS)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")

READERS = (
    ("runs",),
    ("runs", "--json"),
    ("runs", "--prune", "0s"),
    ("show",),
    ("show", "--json", RUN),
    ("tree",),
    ("logs",),
    ("logs", "-f"),
    ("result", "a"),
    ("stop",),
    ("stop", "a"),
    ("stop", "--run", RUN),
    ("resume",),
    ("resume", RUN),
)


@pytest.fixture
def home(tmp_path):
    """A directory with a job, a state directory with one run, and `precious`, which nothing may change."""
    home = tmp_path / "home"
    home.mkdir()
    write(home, job="tasks: [{name: a, command: [echo, heard]}]\n")
    record(home, [STARTED, ended()], name=RUN)
    precious = tmp_path / "precious"
    (precious / "sub").mkdir(parents=True)
    (precious / "sub" / "file").write_text(KEPT)
    (precious / "events.jsonl").write_text(KEPT)
    (tmp_path / "tmp").mkdir()
    yield home
    assert (precious / "sub" / "file").read_text() == KEPT
    assert (precious / "events.jsonl").read_text() == KEPT
    assert sorted(os.listdir(precious)) == ["events.jsonl", "sub"]


def call(home, *words):
    return mprun(*words, cwd=home, env={"TMPDIR": str(home.parent / "tmp")})


def give_away(path):
    os.chown(path, 65534, 65534)


def replace_by_link(path):
    target = path.parent.parent / f"{path.name}-elsewhere"
    path.rename(target)
    path.symlink_to(target)


FLAWS = {
    "link": (replace_by_link, "is a symbolic link, not a directory"),
    "writable": (lambda path: path.chmod(0o775), "can be written by other users (mode 0775)"),
    "sticky": (lambda path: path.chmod(0o1777), "can be written by other users (mode 1777)"),
    "owner": (give_away, "belongs to another user (uid 65534)"),
}
every_flaw = pytest.mark.parametrize(
    "flaw", [pytest.param(name, marks=needs_root if name == "owner" else ()) for name in FLAWS]
)


@every_flaw
@pytest.mark.parametrize("part", [".mprun", ".mprun/runs", ".mprun/open"])
def test_a_run_uses_a_temporary_directory_in_place_of_one_that_is_not_its_own(home, flaw, part):
    """C51"""
    make, words = FLAWS[flaw]
    (home / ".mprun" / "open").mkdir()
    before = sorted(os.listdir(home / ".mprun"))
    make(home / part)
    run = call(home, "job.yaml")
    assert (run.code, run.stdout.split()) == (0, ["a", "|", "heard"])
    warning = run.stderr.splitlines()[0]
    assert warning.startswith("warning: the state directory .mprun is not used: ")
    assert f"`{os.path.basename(part)}` {words}; " in warning
    assert f"; the record of this run is in {home.parent}/tmp/mprun-" in warning
    assert len(list((home.parent / "tmp").glob("mprun-*/runs/*/events.jsonl"))) == 1
    assert sorted(os.listdir(home / ".mprun")) == before
    assert os.listdir(home / ".mprun" / "runs") == [RUN]


@every_flaw
@pytest.mark.parametrize("part", [".mprun", ".mprun/runs"])
def test_a_reader_refuses_a_state_directory_that_is_not_its_own(home, flaw, part):
    """C51"""
    make, words = FLAWS[flaw]
    make(home / part)
    for command in READERS:
        if flaw == "owner" and command[0] not in ("stop", "resume") and "--prune" not in command:
            # Root may read what belongs to others.
            continue
        done = call(home, *command)
        assert (done.code, done.stdout) == (2, ""), command
        refusal = "error: the state directory .mprun is not used: "
        assert complaint(done.stderr).startswith(refusal), command
        assert f"`{os.path.basename(part)}` {words}; " in done.stderr
        assert any(remedy in done.stderr for remedy in ("use `--state-dir`", "`chmod -R go-w`"))
    assert os.listdir(home / ".mprun" / "runs") == [RUN]


def mark(home, name=RUN):
    """A pidfile of a run whose process is gone, on this machine."""
    (home / ".mprun" / "open").mkdir(exist_ok=True)
    (home / ".mprun" / "open" / name).symlink_to(f"1 1 another-boot {os.uname().nodename}")


@pytest.mark.parametrize("name", ["sub", "precious", ".hidden", "20260101", RUN + "-x"])
def test_a_name_among_the_pidfiles_without_a_run_id_removes_nothing(home, name):
    """C51"""
    kept = home / ".mprun" / "runs" / name
    kept.mkdir()
    (kept / "file").touch()
    mark(home, name)
    run = call(home, "job.yaml")
    assert run.code == 0
    assert (kept / "file").exists()
    assert os.path.islink(home / ".mprun" / "open" / name)


@pytest.mark.parametrize("part", [".mprun", ".mprun/runs", ".mprun/open"])
def test_a_start_removes_nothing_behind_a_link(home, part):
    """C51: git keeps links, so a repository may have come with these."""
    state, precious = home / ".mprun", home.parent / "precious"
    shutil.rmtree(state)
    (precious / RUN).mkdir()
    try:
        if part == ".mprun":
            (precious / "runs").symlink_to(precious)
            (precious / "open").mkdir()
            (precious / "open" / RUN).symlink_to(f"1 1 another-boot {os.uname().nodename}")
            state.symlink_to(precious)
        else:
            state.mkdir()
            if part == ".mprun/open":
                (state / "open").symlink_to(precious)
                (precious / OTHER).symlink_to(f"1 1 another-boot {os.uname().nodename}")
            else:
                mark(home)
                (state / "runs").symlink_to(precious)
        before = sorted(os.listdir(precious))
        assert call(home, "job.yaml").code == 0
        assert sorted(os.listdir(precious)) == before
    finally:
        (precious / RUN).rmdir()
        for name in ("runs", OTHER):
            (precious / name).unlink(missing_ok=True)
        if (precious / "open").exists():
            shutil.rmtree(precious / "open")


def link_run(home, part):
    """Make a run, or its record, a link to what others need."""
    runs, precious = home / ".mprun" / "runs", home.parent / "precious"
    if part == "run":
        (runs / OTHER).symlink_to(precious)
    else:
        (runs / OTHER).mkdir()
        (runs / OTHER / "events.jsonl").symlink_to(precious / "events.jsonl")


@pytest.mark.parametrize("part", ["run", "record"])
def test_a_run_that_is_a_link_is_named_and_neither_removed_nor_completed(home, part):
    """C51: as a run whose process was killed."""
    link_run(home, part)
    mark(home, OTHER)
    wrong = f"`{OTHER}` is a symbolic link, not a directory"
    if part == "record":
        wrong = "`events.jsonl` is a symbolic link, not a regular file"
    run = call(home, "job.yaml")
    assert run.code == 0
    assert run.stderr.startswith(f"warning: could not clean up killed run {OTHER}: ")
    assert wrong in run.stderr
    listed = {one["run"]: one for one in map(json.loads, call(home, "runs", "--json").stdout.splitlines())}
    assert listed[OTHER]["outcome"] == "corrupt"
    assert wrong in listed[OTHER]["damage"][0]
    assert listed[RUN]["outcome"] == "succeeded"
    for words in (("show", OTHER), ("stop", "--run", OTHER), ("logs", "--run", OTHER), ("resume", OTHER)):
        done = call(home, *words)
        assert done.code == 2
        assert wrong in done.stderr
    pruned = call(home, "runs", "--prune", "0s")
    assert f"kept {OTHER}: its record cannot be read" in pruned.stderr
    assert OTHER in os.listdir(home / ".mprun" / "runs")


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("part", ["run", "record"])
def test_stop_does_not_signal_a_stranger_who_holds_a_lock_behind_a_link(home, part):
    """C51"""
    link_run(home, part)
    held = [sys.executable, "-c", HOLDER, str(home.parent / "precious" / "events.jsonl")]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        stranger.stdout.readline()
        assert call(home, "stop").code == 2
        assert call(home, "stop", "--run", OTHER).code == 2
        assert stranger.poll() is None
        stranger.stdin.close()
        assert stranger.wait(TIMEOUT) == 0


@needs_root
def test_root_reads_the_state_directory_of_another_user_and_changes_nothing(home):
    """C51"""
    for path in [home / ".mprun", *(home / ".mprun").rglob("*")]:
        give_away(path)
    for words in (("runs",), ("show",), ("tree",), ("logs",)):
        assert call(home, *words).code == 0, words
    foreign = home / ".mprun" / "runs" / OTHER
    shutil.copytree(home / ".mprun" / "runs" / RUN, foreign)
    listed = {one["run"]: one for one in map(json.loads, call(home, "runs", "--json").stdout.splitlines())}
    assert "belongs to another user (uid 0)" in listed[OTHER]["damage"][0]
    assert listed[RUN]["outcome"] == "succeeded"


# ---- what is not a regular file


def make_sparse(path):
    with open(path, "wb") as file:
        file.truncate(20 << 30)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as end, contextlib.chdir(path.parent):
        end.bind(path.name)


STRANGE = {
    "fifo": (os.mkfifo, "is a FIFO, not a regular file"),
    "socket": (make_socket, "is a socket, not a regular file"),
    "link": (lambda path: path.symlink_to("/dev/zero"), "is a symbolic link, not a regular file"),
    "directory": (os.mkdir, "is a directory, not a regular file"),
    "device": (
        lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5)),
        "is a device, not a regu",
    ),
}


def can_make_devices(tmp_path):
    with contextlib.suppress(OSError):
        STRANGE["device"][0](tmp_path / "device")
        return True
    return False


@pytest.fixture(params=STRANGE)
def strange(request, tmp_path):
    """A function that makes something that is not a regular file, and what mprun says of it."""
    if request.param == "device" and not can_make_devices(tmp_path):
        pytest.skip("no device can be made here")
    return STRANGE[request.param]


def test_a_record_that_is_not_a_file_is_named_and_the_others_are_shown(home, strange):
    """C59"""
    make, words = strange
    other = home / ".mprun" / "runs" / OTHER
    other.mkdir()
    make(other / "events.jsonl")
    mark(home, OTHER)
    listed = {one["run"]: one for one in map(json.loads, read(home, "runs", "--json").stdout.splitlines())}
    assert (listed[RUN]["outcome"], listed[OTHER]["outcome"]) == ("succeeded", "corrupt")
    assert words in listed[OTHER]["damage"][0]
    for command in ("show", "tree", "logs", "stop", "resume"):
        done = read(home, command, *(["--run"] if command in ("logs", "stop") else []), OTHER)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
    assert read(home, "show", RUN).returncode == 0
    begun = read(home, "job.yaml")
    assert begun.returncode == 0
    assert words in begun.stderr


def read(home, *words):
    """Run a command; unlike `call`, read no record."""
    process = start(*words, cwd=home)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    return subprocess.CompletedProcess(words, process.returncode, stdout.decode(), stderr.decode())


def limited(megabytes):
    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))

    return limit


@pytest.mark.parametrize("begins", [b"", (json.dumps(STARTED) + "\n").encode()])
def test_a_sparse_record_of_20_gb_costs_little_memory(home, begins):
    """C59"""
    other = home / ".mprun" / "runs" / OTHER
    other.mkdir()
    make_sparse(other / "events.jsonl")
    with open(other / "events.jsonl", "r+b") as file:
        file.write(begins)
    for words in (("runs",), ("show", OTHER), ("logs", "-f", "--run", OTHER), ("runs", "--prune", "0s")):
        process = start(*words, cwd=home, preexec_fn=limited(300))
        stdout, stderr = process.communicate(timeout=TIMEOUT)
        assert process.returncode in (0, 2), stderr
        assert b"Traceback" not in stderr
        if words == ("runs",):
            assert RUN.encode() in stdout
        else:
            assert b"longer than 64 MiB" in stderr or b"kept" in stderr


def test_logs_and_results_that_are_not_files_are_named(home, strange):
    """C59"""
    make, words = strange
    runs = home / ".mprun" / "runs"
    shutil.rmtree(runs / RUN)
    finished = {"event": "task_finished", "attempts": 1, "result_kind": "file", "result": None}
    facts = [STARTED, started("a"), exited("a"), {**FINISHED, **finished}, ended()]
    record(home, facts, name=RUN)
    for name in ("logs", "results"):
        (runs / RUN / name).mkdir(exist_ok=True)
    make(runs / RUN / "logs" / "a.1.log")
    make(runs / RUN / "results" / "a.1.json")
    for options in ((), ("--tail", "3"), ("--json",), ("-f",)):
        done = read(home, "logs", "a", *options)
        assert (done.returncode, done.stdout) == (0, "")
        assert f"`a.1.log` {words}" in done.stderr
    shown = read(home, "show")
    assert shown.returncode == 0
    assert f"JSON (`a.1.json` {words}"[:40] in shown.stdout
    assert read(home, "result", "a").returncode in (0, 2)
    compared = read(home, "compare", RUN, RUN)
    assert f"`a.1.log` {words}" in compared.stderr


def test_the_end_of_a_sparse_log_is_found(home):
    """C59"""
    runs = home / ".mprun" / "runs"
    shutil.rmtree(runs / RUN)
    record(home, [STARTED, started("a"), exited("a"), FINISHED, ended()], name=RUN)
    (runs / RUN / "logs").mkdir(exist_ok=True)
    make_sparse(runs / RUN / "logs" / "a.1.log")
    with open(runs / RUN / "logs" / "a.1.log", "ab") as file:
        file.write(b"\none\ntwo\n")
    assert read(home, "logs", "a", "--tail", "1").stdout == "two\n"


HOLE = "\n… 21GB of nothing (a hole in the log) not shown\n"
MAKES_A_HOLE = """
    import os, sys, time

    def make(first="before"):
        print(first, flush=True)
        os.truncate("/proc/self/fd/1", 20 << 30)
        print("after", flush=True)

    def serve():
        # The NULs up to the next block do not leave room for `after` in a piece of a long line.
        make("b")
        time.sleep(60)
"""


@every_start_method
def test_a_log_that_is_a_hole_of_20_gb_is_not_read(tmp_path, method):
    """C59, C67: the run, `logs`, an expected output and a probe go past it, and the run says so."""
    job = f"""
        start_method: {method}
        tasks:
          - {{name: hole, target: 'holes:make', expect: {{output: after}}}}
          - {{name: serve, target: 'holes:serve', daemon: true, ready: {{log: after, timeout: 20s}}}}
          - {{name: client, target: 'os:getpid', depends_on: {{serve: ready}}}}
    """
    write(tmp_path, holes=MAKES_A_HOLE, job=job)
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert "21GB of nothing (a hole in the log) not shown" in run.stdout
    assert run.stdout.count("after\n") == 2
    assert len(run.stdout) < 1 << 20
    for options in ((), ("-f",), ("-f", "--timestamps"), ("--json",)):
        done = mprun("logs", "hole", *options, cwd=tmp_path)
        assert done.code == 0
        assert len(done.stdout) < 2 << 20
        assert "before" in done.stdout
        assert "21GB of nothing" in done.stdout
        assert "after" in done.stdout


def test_a_log_of_which_nothing_but_a_hole_is_there_is_named(home):
    """C59"""
    runs = home / ".mprun" / "runs"
    shutil.rmtree(runs / RUN)
    record(home, [STARTED, started("a"), exited("a"), FINISHED, ended()], name=RUN)
    (runs / RUN / "logs").mkdir(exist_ok=True)
    make_sparse(runs / RUN / "logs" / "a.1.log")
    for options in ((), ("-f",), ("--tail", "3")):
        shown = read(home, "logs", "a", *options).stdout
        assert shown == (HOLE if options[:1] != ("--tail",) else HOLE.replace("21GB", "1.1GB"))


STAYS = """
    import os, sys

    def put(folder, *names):
        run = os.path.dirname(os.path.dirname(os.readlink("/proc/self/fd/1")))
        os.makedirs(f"{run}/{folder}", exist_ok=True)
        for name in names:
            path = f"{run}/{folder}/{name}"
            if os.path.lexists(path):
                os.unlink(path)
            os.mkfifo(path)

    def own_results():
        put("results", *(f"own_results.1.{kind}" for kind in ("json", "error.json", "usage.json", "repr")))

    def results_of_next():
        names = [f"{name}.1.{kind}" for name in ("next", "captured") for kind in ("error.json", "stdout")]
        put("results", *names, "captured.1.json.part", "next.1.usage.json")
        put("logs", "logged.1.log", "commanded.1.log")

    def own_log():
        put("logs", "own_log.1.log")

    def main_log():
        put("logs", "main.log", "probed.1.ready")

    def fine():
        return 1
"""
STAYING = """
    start_method: %s
    timeout: 40s
    tasks:
      - {name: own_results, target: 'work:own_results'}
      - {name: own_log, target: 'work:own_log', expect: {output: never}, allow_failure: true}
      - {name: main_log, target: 'work:main_log'}
      - {name: results_of_next, target: 'work:results_of_next'}
      - {name: next, target: 'work:fine', depends_on: results_of_next}
      - {name: captured, command: [echo, x], capture: text, depends_on: results_of_next, allow_failure: true}
      - {name: logged, target: 'work:fine', depends_on: results_of_next, allow_failure: true}
      - {name: commanded, command: [echo, x], depends_on: results_of_next, allow_failure: true}
      - name: end
        target: 'work:fine'
        depends_on: {captured: finished, logged: finished, commanded: finished, next: finished}
"""


@every_start_method
def test_the_engine_does_not_wait_for_fifos_that_a_task_puts_into_its_run(tmp_path, method):
    """C67"""
    write(tmp_path, work=STAYS, job=STAYING % method)
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    failed = {event["task"] for event in run.of("task_finished") if event["outcome"] == "failed"}
    # In the place of the others there are new files.
    assert failed == {"own_log"}
    assert run.outcome("end") == "succeeded"


REQUESTING = """
    tasks:
      - name: stay
        command:
          - sh
          - -c
          - |
            run=$(dirname "$(dirname "$(ls -t .mprun/runs/*/logs/main.log)")")
            mkdir -p -m 700 $run/requests
            mkfifo $run/requests/0.request.json $run/requests/0.answer.json.part
            touch there
            exec sleep 60
"""


def test_the_engine_answers_requests_beside_fifos(tmp_path):
    """C67"""
    write(tmp_path, job=REQUESTING)
    process = start("job.yaml", cwd=tmp_path)
    try:
        eventually((tmp_path / "there").exists)
        stopped = mprun("stop", "stay", cwd=tmp_path)
        assert (stopped.code, stopped.stdout) == (0, ""), stopped.stderr
        assert process.wait(TIMEOUT) == 1
    finally:
        process.kill()
        process.communicate()


# ---- a record that is removed

REMOVES = """
    import glob, os, shutil, signal, time

    def remove(what):
        with open("began", "w"):
            pass
        while not os.path.exists("beside began"):
            time.sleep(0.01)
        # Else mprun would miss the record when it writes that start, and stop this task.
        (record,) = glob.glob(".mprun/runs/*/events.jsonl")
        while open(record).read().count('"event":"task_started"') < 2:
            time.sleep(0.01)
        shutil.rmtree(what) if os.path.isdir(what) else os.unlink(what)

    def be_gentle():
        signal.signal(signal.SIGTERM, lambda *_: (open("was asked", "w").close(), os._exit(0)))
        with open("beside began", "w"):
            pass
        signal.pause()

    def come():
        open("it came", "w").close()
"""
REMOVING = """
    start_method: %s
    tasks:
      - {name: removes, target: 'work:remove', args: ['%s']}
      - {name: beside, target: 'work:be_gentle', stop: {grace: 10s}}
      - {name: next, target: 'work:come', depends_on: {beside: finished}}
"""


@every_start_method
def test_a_run_whose_record_is_removed_ends_in_order_with_a_reason(tmp_path, method):
    """C60"""
    write(tmp_path, work=REMOVES, job=REMOVING % (method, ".mprun"))
    run = mprun("-v", "job.yaml", cwd=tmp_path)
    assert run.code == 3
    assert (tmp_path / "was asked").exists()
    assert not (tmp_path / "it came").exists()
    # What is known, because no command can show it later.
    assert "error: the record of this run was removed" in run.stderr
    assert "Traceback" not in run.stderr
    (row,) = [line for line in run.stderr.splitlines() if line.startswith("removes ")]
    assert row.split()[1] == "succeeded"
    (row,) = [line for line in run.stderr.splitlines() if line.startswith("beside ")]
    assert row.split()[1] == "stopped:"
    assert "record: " not in run.stderr
    assert "resume: " not in run.stderr
    assert not (tmp_path / ".mprun").exists()


@pytest.mark.parametrize("last", ["command", "target"])
def test_a_run_whose_last_task_removes_the_record_does_not_succeed(tmp_path, last):
    """C60: nothing is written between the end of the task and that of the run."""
    task = "command: [rm, -rf, .mprun]" if last == "command" else "target: 'shutil:rmtree', args: [.mprun]"
    write(tmp_path, job=f"tasks: [{{name: last, {task}}}]\n")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 3
    assert "error: the record of this run was removed" in run.stderr
    assert "succeeded in" not in run.stderr


def test_a_record_that_git_clean_removes(tmp_path):
    """C60"""
    write(tmp_path, job="tasks: [{name: clean, command: [git, clean, -fdxq, -e, job.yaml]}]\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.stdout) == (3, "")
    assert "error: the record of this run was removed" in run.stderr


LOSES_THE_RECORD = {
    "truncated": (": > $record", "shortened"),
    # In one step: a file that is emptied first may be seen when it is empty.
    "begun anew": (
        "cat $record $record > copy; dd if=copy of=$record bs=1M conv=notrunc status=none",
        "written to by another process",
    ),
    "forged": ("tail -n 1 $record >> $record", "written to by another process"),
    "torn": ("printf x >> $record", "written to by another process"),
    "renamed": ("mv $record $record.old", "removed"),
    "removed beside a link": ("ln $record $record.old; rm $record", "removed"),
    "replaced by a copy": ("cp $record copy; mv copy $record", "replaced"),
    "replaced by a link": ("mv $record kept; ln -s $PWD/kept $record", "replaced"),
}


@pytest.mark.parametrize("how", LOSES_THE_RECORD)
@pytest.mark.parametrize("then", ["true", "false"])
def test_a_run_whose_record_cannot_be_read_any_more_does_not_succeed(tmp_path, how, then):
    """C60: the file is still there, but not under its name, or not all of it."""
    command, told = LOSES_THE_RECORD[how]
    # Nothing is written between this and the end of the task.
    begun = "until grep -q task_started $record; do sleep 0.01; done"
    script = f"record=$(echo .mprun/runs/*/events.jsonl); {begun}; {command}; {then}"
    write(tmp_path, job=f"tasks: [{{name: loses, command: {json.dumps(script)}}}]\n")
    run = read(tmp_path, "job.yaml")
    assert run.returncode == 3
    assert f"error: the record of this run was {told}: " in run.stderr
    assert "Traceback" not in run.stderr
    assert "succeeded in" not in run.stderr


def test_a_backup_by_hard_links_leaves_the_record_where_it_is(tmp_path):
    """C60"""
    write(tmp_path, job="tasks: [{name: back_up, command: [cp, -al, .mprun, backup]}]\n")
    assert mprun("job.yaml", cwd=tmp_path).code == 0
    assert [one["event"] for one in read_events(newest_run(tmp_path / "backup").events)][-1] == "run_finished"


def test_a_record_that_is_moved_is_kept(tmp_path):
    """C60"""
    write(tmp_path, job="tasks: [{name: move, command: [mv, .mprun, elsewhere]}]\n")
    assert mprun("job.yaml", cwd=tmp_path).code == 0
    assert newest_run(tmp_path / "elsewhere") is not None
