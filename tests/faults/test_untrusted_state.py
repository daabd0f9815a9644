"""A state directory that came with a repository, or that others can write to, moves mprun to nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from support.records import STARTED, ended, record
from support.runs import TIMEOUT, mprun, write

KEPT = '{"kept": true}\n'
RUN = "20260101-120000.000-abcd"
OTHER = "20260101-120000.000-beef"
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
@pytest.mark.parametrize("part", [".mprun", ".mprun/runs"])
def test_a_run_uses_a_temporary_directory_in_place_of_one_that_is_not_its_own(home, flaw, part):
    """C51"""
    make, words = FLAWS[flaw]
    before = sorted(os.listdir(home / ".mprun"))
    make(home / part)
    run = call(home, "job.yaml")
    assert (run.code, run.stdout.split()) == (0, ["a", "|", "heard"])
    warning = run.stderr.splitlines()[0]
    assert warning.startswith("warning: the state directory .mprun is not used: ")
    assert (
        f"`{os.path.basename(part)}` {words}; the record of this run is in {home.parent}/tmp/mprun-"
        in warning
    )
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
        assert done.stderr.startswith("error: the state directory .mprun is not used: "), command
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


@pytest.mark.parametrize("part", ["run", "record"])
def test_a_run_that_is_a_link_is_named_and_neither_removed_nor_completed(home, part):
    """C51: as a run whose process was killed."""
    runs, precious = home / ".mprun" / "runs", home.parent / "precious"
    if part == "run":
        (runs / OTHER).symlink_to(precious)
    else:
        (runs / OTHER).mkdir()
        (runs / OTHER / "events.jsonl").symlink_to(precious / "events.jsonl")
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
    assert OTHER in os.listdir(runs)


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
    runs, precious = home / ".mprun" / "runs", home.parent / "precious"
    if part == "run":
        (runs / OTHER).symlink_to(precious)
    else:
        (runs / OTHER).mkdir()
        (runs / OTHER / "events.jsonl").symlink_to(precious / "events.jsonl")
    held = [sys.executable, "-c", HOLDER, str(precious / "events.jsonl")]
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
