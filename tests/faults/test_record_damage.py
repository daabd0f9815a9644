"""Records that are torn, corrupt, older, newer or read-only: what is read, and that nothing is changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from support.records import FINISHED, STARTED, ended, exited, read, record, started
from support.runs import ROOT, complaint, mprun, write

from mprun.record.event_reader import from_record
from mprun.record.reader import parse_line

# Every command that reads the runs of a state directory, or one of them.
READERS = [
    ["runs"],
    ["runs", "--json"],
    ["runs", "--prune", "1h", "--dry-run"],
    *[[reader, option, "RUN"] for reader in ("show", "tree") for option in ("--json", "")],
    ["show", "-v", "RUN"],
    ["logs", "--run", "RUN"],
    ["logs", "-f", "--json", "--run", "RUN"],
]


def fingerprint(directory):
    """Every file in a directory, with a hash of its bytes and the time of its last change."""
    return {
        str(path.relative_to(directory)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.lstat().st_mtime_ns,
        )
        for path in directory.rglob("*")
    }


WHOLE = [STARTED, started("a"), exited("a"), FINISHED, ended()]
DAMAGED = {
    "torn": (WHOLE, lambda data: data[:-20]),
    "torn_in_its_first_line": (WHOLE, lambda data: data[:40]),
    "corrupt_in_the_middle": (WHOLE, lambda data: data[:900] + b"\x00\xff}\n{" * 20 + data[920:]),
    "a_hole_of_zeros": (WHOLE, lambda data: data[:1000] + b"\x00" * 4096 + data[1000:]),
    "without_a_beginning": (WHOLE[1:], bytes),
    "twice_the_same": (WHOLE + WHOLE, bytes),
    "in_another_order": (WHOLE[::-1], bytes),
    "empty": ([], lambda data: b""),
    "newer": ([{**STARTED, "format": 99}, *WHOLE[1:]], bytes),
    "text": (["# this is not it"], bytes),
}


@pytest.fixture(scope="module")
def museum(tmp_path_factory):
    """A state directory with a run for each kind of damage and one that is whole, and their names by kind."""
    path = tmp_path_factory.mktemp("museum")
    names = {}
    for number, (kind, (lines, spoil)) in enumerate({**DAMAGED, "whole": (WHOLE, bytes)}.items()):
        name = record(path, lines, f"20260101-{120000 + number}.000-abcd")
        file = path / ".mprun" / "runs" / name / "events.jsonl"
        file.write_bytes(spoil(file.read_bytes()))
        (file.parent / "logs" / "a.1.log").write_bytes(b"what a printed\n")
        names[kind] = name
    return path, names


@pytest.mark.parametrize("kind", [*DAMAGED, "whole"])
def test_no_reader_changes_a_byte_or_fails_without_a_message(museum, kind):
    path, names = museum
    before = fingerprint(path)
    for words in READERS:
        done = read(path, *[names[kind] if word == "RUN" else word for word in words if word])
        assert "Traceback" not in done.stderr, words
        of_all = "RUN" not in words
        assert done.code == (2 if kind == "newer" and not of_all else 0), (words, done)
        if kind == "newer" and not of_all:
            refusal = "this record has the format 99, and this mprun reads up to 2: upgrade mprun\n"
            assert complaint(done.stderr) == f"error: run {names[kind]}: {refusal}"
        elif kind not in ("whole", "newer", "without_a_beginning", "twice_the_same", "in_another_order"):
            # A line that is left out is named.
            assert of_all or kind == "empty" or "left out" in done.stderr, words
    assert fingerprint(path) == before


def test_the_readable_part_of_a_corrupt_record_is_read(museum):
    path, names = museum
    for kind in ("torn", "corrupt_in_the_middle", "a_hole_of_zeros", "without_a_beginning", "whole"):
        shown = read(path, "show", names[kind])
        assert "\na " in shown.stdout, kind
        assert "what a printed\n" in read(path, "logs", "--run", names[kind]).stdout


def test_a_run_beside_corrupt_ones_succeeds_and_changes_none(museum):
    path, names = museum
    write(path, job="tasks: [{name: hear, command: [echo, heard]}]\n")
    before = {name: fingerprint(path / ".mprun" / "runs" / name) for name in names.values()}
    # There are pidfiles for these records, as if the runs had been killed.
    (path / ".mprun" / "open").mkdir(0o700)
    for kind in ("newer", "text", "empty", "whole"):
        (path / ".mprun" / "open" / names[kind]).symlink_to("1 1 another-boot another-host")
    run = mprun("job.yaml", cwd=path)
    assert (run.code, run.outcome("hear")) == (0, "succeeded")
    after = {name: fingerprint(path / ".mprun" / "runs" / name) for name in names.values()}
    assert after == before
    entries = [json.loads(line) for line in read(path, "runs", "--json").stdout.splitlines()]
    listed = {entry["run"]: entry["outcome"] for entry in entries}
    assert (listed[names["newer"]], listed[names["text"]]) == ("newer", "corrupt")
    assert listed[names["whole"]] == listed[os.path.basename(run.directory.path)] == "succeeded"


def test_a_corrupt_run_is_not_resumed_by_guessing(museum):
    path, names = museum
    for kind, code in (("newer", 2), ("text", 2), ("empty", 2), ("without_a_beginning", 2)):
        runs = len(list((path / ".mprun" / "runs").iterdir()))
        done = read(path, "resume", names[kind])
        assert done.code == code, (kind, done)
        assert "Traceback" not in done.stderr
        assert len(list((path / ".mprun" / "runs").iterdir())) == runs


def test_no_run_writes_into_an_existing_directory(tmp_path):
    """With this clock and these random numbers, both runs would have the same id."""
    write(
        tmp_path,
        sitecustomize="import os, time\nos.urandom = bytes\ntime.time = lambda: 1.8e9\n",
        job="tasks: [{name: hear, command: [echo, heard]}]\n",
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    first = mprun("job.yaml", cwd=tmp_path, env={"PYTHONPATH": path})
    assert first.code == 0
    before = fingerprint(Path(first.directory.path))
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    second = mprun("job.yaml", cwd=tmp_path, env={"PYTHONPATH": path, "TMPDIR": str(elsewhere)})
    assert fingerprint(Path(first.directory.path)) == before
    assert "cannot be written: File exists" in second.stderr


# ---- formats

# Written when format 1 was new. Do not change it: every later mprun must read it.
FIRST = ROOT / "tests" / "records" / "format-1.jsonl"


def test_a_record_of_the_first_version_is_read(tmp_path):
    name = record(tmp_path, FIRST.read_text().splitlines())
    shown, drawn = read(tmp_path, "show", "-v", name), read(tmp_path, "tree", name)
    assert (shown.code, shown.stderr, drawn.code, drawn.stderr) == (0, "", 0, "")
    assert [line.split()[:2] for line in shown.stdout.splitlines()[4:7]] == [
        ["fetch", "succeeded"],
        ["crunch", "failed:"],
        ["never", "skipped:"],
    ]
    assert "failed: exit 1 after 1.50s" in shown.stdout
    assert "fetch" in drawn.stdout
    value = json.loads(read(tmp_path, "show", "--json", name).stdout)
    assert value["tasks"][0]["result"] == {"rows": [1, 2]}
    listed = json.loads(read(tmp_path, "runs", "--json").stdout)
    assert (listed["outcome"], listed["damage"]) == ("failed", [])


RECORDS = ROOT / "tests" / "records"
# The same run, recorded in the last version of format 1 and in format 2.
SAME_RUN = ("format-1-resumed.jsonl", "format-2.jsonl")


def test_every_reader_shows_a_run_in_format_1_as_the_same_run_in_format_2(tmp_path):
    answers = []
    for fixture in SAME_RUN:
        folder = tmp_path / fixture
        folder.mkdir()
        name = record(folder, (RECORDS / fixture).read_text().splitlines())
        commands = [[name if word == "RUN" else word for word in words if word] for words in READERS]
        commands += [["resume", name], ["stop", "--run", name], ["stop"]]
        answers.append([read(folder, *command) for command in commands])
    # Only the name of the directory differs.
    first, second = (
        json.dumps(one).replace(fixture, "") for one, fixture in zip(answers, SAME_RUN, strict=True)
    )
    assert first == second
    shown = answers[0][READERS.index(["show", "", "RUN"])].stdout
    assert "timed_out: timeout after 0.3s" in shown
    assert "succeeded: reused from 20251231-120000.000-abcd" in shown
    assert "stopped: end of the run" in shown


@pytest.mark.parametrize("fixture", SAME_RUN)
def test_a_run_in_either_format_is_resumed(fixture, tmp_path):
    write(tmp_path, job="tasks: [{name: fetch, command: ['false']}, {name: hang, command: [echo, done]}]\n")
    lines = [json.loads(line) for line in (RECORDS / fixture).read_text().splitlines()]
    path = tmp_path / "job.yaml"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    lines[0] |= {"file": str(path), "files": [{"path": str(path), "sha256": sha256}], "params": {}}
    name = record(tmp_path, lines)
    results = tmp_path / ".mprun" / "runs" / name / "results"
    results.mkdir()
    (results / "fetch.1.json").write_text('{"rows":[1,2]}')
    resumed = mprun("resume", name, cwd=tmp_path)
    assert (resumed.code, resumed.outcome("hang")) == (0, "succeeded"), resumed.stderr
    fetched = resumed.one("task_finished", "fetch")
    assert (fetched["reused"], fetched["result"]) == (True, {"rows": [1, 2]})
    assert resumed.events[0]["format"] == 2


def test_the_first_record_has_every_field_without_a_default():
    """A field that is added later needs a default, or older records are corrupt."""
    lines = [parse_line(line) for line in FIRST.read_bytes().splitlines(keepends=True)]
    assert {line["event"] for line in lines} >= {
        "run_started",
        "task_started",
        "task_ready",
        "task_stopping",
        "task_retrying",
        "task_exited",
        "task_finished",
        "task_joined",
        "run_finished",
    }
    assert all(from_record(line) is not None for line in lines)


@pytest.mark.parametrize("later", [3, "3.0", None, True])
def test_a_newer_record_is_refused_by_name_by_every_reader(tmp_path, later):
    name = record(tmp_path, [{**STARTED, "format": later}, FINISHED])
    for words in (["show"], ["tree"], ["logs"], ["show", "--json"], ["resume"]):
        done = read(tmp_path, *words)
        assert (done.code, done.stdout) == (2, "")
        assert f"error: run {name}: this record has the format {later}" in complaint(done.stderr)
        assert "and this mprun reads up to 2: upgrade mprun" in done.stderr
    assert name in read(tmp_path, "runs").stdout


# ---- a read-only file system


def test_a_read_only_state_directory_is_read_and_a_run_uses_another(tmp_path):
    state = tmp_path / ".mprun"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(state)]
    if os.geteuid() != 0 or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        name = record(tmp_path, WHOLE)
        subprocess.run(["mount", "-o", "remount,ro", str(state)], check=True)
        for words in READERS:
            done = read(tmp_path, *[name if word == "RUN" else word for word in words if word])
            assert (done.code, done.stderr) == (0, ""), words
        write(tmp_path, job="tasks: [{name: hear, command: [echo, heard]}]\n")
        (tmp_path / "tmp").mkdir()
        run = read(
            tmp_path,
            "job.yaml",
        )
        assert (run.code, run.stdout) == (0, "hear | heard\n")
        assert run.stderr.startswith("warning: the state directory .mprun cannot be written: Read-only")
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)
