"""The list of runs, including corrupt ones, and the removal of old runs and of nothing else."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from support.records import FINISHED, STARTED, ended, read, record
from support.runs import TIMEOUT, eventually, finish, mprun, recorded_starts, start, write
from support.terminal import on_terminal
from support.timing import quick

WORK = """
    import os
    import time

    def hi():
        print("hi")

    def fail():
        raise ValueError("no")

    def wait():
        while not os.path.exists("go"):
            time.sleep(0.005)
    """
JOB = """
    tasks:
      - {name: a, target: work:hi}
      - {name: b, target: work:fail}
    """


def as_json(directory, *arguments):
    code, output, _ = read(directory, "runs", "--json", *arguments)
    assert code == 0
    return [json.loads(line) for line in output.splitlines()]


def ids(directory):
    return sorted(os.listdir(directory / ".mprun" / "runs"))


# -- the list


def test_runs_are_listed_newest_first(tmp_path):
    write(tmp_path, work=WORK, job=JOB, job_good="tasks: [{name: a, target: 'work:hi'}]")
    bad = mprun("job.yaml", cwd=tmp_path).one("run_started")
    good = mprun("job_good.yaml", cwd=tmp_path).one("run_started")
    code, shown, stderr = read(tmp_path, "runs")
    assert (code, stderr) == (0, "")
    head, first, second = shown.splitlines()
    assert head.split() == ["RUN", "JOB", "STARTED", "DURATION", "OUTCOME", "EXIT", "TASKS"]
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{good['run']}  job_good  {when} +\d+\.\d+s  succeeded +0  1 succeeded", first)
    assert re.fullmatch(
        rf"{bad['run']}  job +{when} +\d+\.\d+s  failed +1  1 succeeded, 1 failed", second.strip()
    )
    assert [run["run"] for run in as_json(tmp_path, "-n", "1")] == [good["run"]]
    assert [run["run"] for run in as_json(tmp_path, "--failed")] == [bad["run"]]
    (value,) = as_json(tmp_path, "--failed", "--limit", "1")
    assert (value["outcome"], value["exit_code"]) == ("failed", 1)
    assert value["counts"] == {"succeeded": 1, "failed": 1}
    assert (value["started"], value["tasks"], value["damage"]) == (bad["time"], 2, [])


def test_empty_state_directory_lists_no_runs(tmp_path):
    assert read(tmp_path, "runs") == (0, "", "no runs in .mprun\n")
    assert read(tmp_path, "runs", "--json") == (0, "", "")
    assert read(tmp_path, "runs", "--prune", "1d") == (0, "removed 0 runs, 0B\n", "")
    assert os.listdir(tmp_path) == []


def test_twenty_runs_are_listed_by_default(tmp_path):
    for number in range(30):
        record(tmp_path, [STARTED, ended()], name=f"20260101-120000.000-{number:04x}")
    assert len(as_json(tmp_path)) == 20
    assert len(as_json(tmp_path, "-n", "0")) == 30
    # C35: it says that there are more, and how to see them.
    assert read(tmp_path, "runs")[2] == "20 of 30 runs shown; `-n 0` lists all\n"
    assert read(tmp_path, "runs", "-n", "30")[2] == ""
    noted = read(tmp_path, "runs", "-n", "29", "--json")[2]
    assert json.loads(noted) == {"note": "29 of 30 runs shown; `-n 0` lists all"}
    assert read(tmp_path, "runs", "--failed")[2] == "no failed runs in .mprun\n"
    assert [run["run"][-2:] for run in as_json(tmp_path, "-n2")] == ["1d", "1c"]


def test_a_thousand_runs_are_listed_at_once(tmp_path):
    """With so many tasks that reading all of them would take a minute."""
    events = [STARTED, *([{**FINISHED, "result": "x" * 1000}] * 500), ended()]
    first = record(tmp_path, events, name="20260101-120000.000-0000")
    runs = tmp_path / ".mprun" / "runs"
    for number in range(1, 1000):
        (runs / f"20260101-120000.000-{number:04x}").mkdir()
        os.link(runs / first / "events.jsonl", runs / f"20260101-120000.000-{number:04x}" / "events.jsonl")
    with quick(5, time.monotonic):
        assert len(as_json(tmp_path, "-n", "0")) == 1000


def test_an_active_run_is_running_and_a_killed_one_is_interrupted(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: w, target: 'work:wait'}]")
    process = start("-q", "job.yaml", cwd=tmp_path)
    eventually(lambda: recorded_starts(tmp_path / ".mprun"))
    (value,) = as_json(tmp_path)
    assert (value["outcome"], value["exit_code"], value["counts"]) == ("running", None, {"running": 1})
    assert value["duration"] > 0
    assert re.search(r"  \d+\.\d+s  running +-  1 running$", read(tmp_path, "runs")[1], re.MULTILINE)
    assert as_json(tmp_path, "--failed") == []
    assert read(tmp_path, "runs", "--prune", "0s")[:2] == (0, "removed 0 runs, 0B\n")
    process.kill()
    finish(process, tmp_path / ".mprun")
    (value,) = as_json(tmp_path, "--failed")
    assert (value["outcome"], value["counts"]) == ("interrupted", {"unknown": 1})
    assert (value["exit_code"], value["ended"]) == (None, None)
    unseen = r" >\d+\.\d+s  interrupted: mprun itself was killed +\?  1 unknown$"
    assert re.search(unseen, read(tmp_path, "runs")[1], re.MULTILINE)
    assert read(tmp_path, "runs", "--prune", "0s")[1].startswith("removed 1 run, ")
    assert ids(tmp_path) == []


# -- damaged records


DAMAGED = {
    "nonsense": (["nonsense"], "line 1 is not a JSON object"),
    "newer": ([{**STARTED, "format": 9}, ended()], "this record has the format 9"),
    "no beginning": ([FINISHED, ended()], "its first event is missing"),
    "nothing": ([], "line 1 is not a JSON object"),
    "not whole": ([{**STARTED, "pid": "1"}, ended()], "a run_started event is not whole"),
    "escapes": ([{**STARTED, "format": "\x1b[31m"}], "\\x1b[31m"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_corrupt_run_is_one_line_and_does_not_affect_others(name, tmp_path):
    lines, message = DAMAGED[name]
    record(tmp_path, lines, name="20260101-120000.000-dddd")
    good = record(tmp_path, [STARTED, ended()])
    code, shown, warned = read(tmp_path, "runs")
    assert (code, warned) == (0, "")
    _, damaged, other = shown.splitlines()
    outcome = "newer" if name in ("newer", "escapes") else "corrupt"
    assert re.match(rf"20260101-120000.000-dddd  - +- +-  {outcome}: ", damaged)
    assert message in damaged
    assert other.split()[:2] == [good, "old"]
    first, second = as_json(tmp_path)
    assert (first["outcome"], first["job"], second["outcome"]) == (outcome, None, "succeeded")
    assert message.replace("\\x1b", "\x1b") in first["damage"][0]
    # It may still be running.
    code, shown, warned = read(tmp_path, "runs", "--prune", "1s")
    assert (code, shown.split()[:2]) == (0, ["removed", "1"])
    assert "kept 20260101-120000.000-dddd: its record cannot be read" in warned
    assert ids(tmp_path) == ["20260101-120000.000-dddd"]


def test_run_with_a_torn_record_is_listed_as_far_as_it_can_be_read(tmp_path):
    name = record(tmp_path, [STARTED, FINISHED, ended()])
    path = tmp_path / ".mprun" / "runs" / name / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    (value,) = as_json(tmp_path)
    assert (value["outcome"], value["counts"]) == ("interrupted", {"succeeded": 1})
    assert value["damage"] == ["line 3 is torn"]
    assert "interrupted: mprun itself was killed (line 3 is torn)" in read(tmp_path, "runs")[1]


def test_a_run_of_an_older_or_newer_version_of_the_same_format_is_listed(tmp_path):
    newer = {**ended(), "event": "run_celebrated"}
    record(tmp_path, [{**STARTED, "new": 1}, ended(), newer])
    older = {key: STARTED[key] for key in STARTED if key not in ("main_name", "resumed_from")}
    record(tmp_path, [older, ended()], name="20260101-110000.000-aaaa")
    assert [run["outcome"] for run in as_json(tmp_path)] == ["succeeded", "succeeded"]


def test_record_that_cannot_be_read_is_one_line(tmp_path):
    """C83. It has been looked at, so it is neither left out nor unknown."""
    name = record(tmp_path, [STARTED, ended()])
    path = tmp_path / ".mprun" / "runs" / name / "events.jsonl"
    path.unlink()
    path.mkdir()
    for options in ((), ("--failed",)):
        (line,) = read(tmp_path, "runs", *options)[1].splitlines()[1:]
        assert line.startswith(name)
        assert re.search("corrupt: .*is a directory", line)
    (listed,) = as_json(tmp_path)
    assert (listed["outcome"], listed["counts"], listed["ended"]) == ("corrupt", {}, None)
    assert "is a directory" in listed["damage"][0]


# -- removing old runs


def test_prune_removes_old_runs_and_keeps_young_ones(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    young = mprun("job.yaml", cwd=tmp_path).one("run_started")["run"]
    old = [record(tmp_path, [STARTED, ended()], name=f"20200101-120000.000-{n:04x}") for n in range(3)]
    logs = tmp_path / ".mprun" / "runs" / old[0] / "logs"
    (logs / "a.1.log").write_text("x" * 10_000)
    before = ids(tmp_path)
    code, shown, stderr = read(tmp_path, "runs", "--prune", "30d", "--dry-run")
    assert (code, stderr) == (0, "")
    *names, total = shown.splitlines()
    assert [name.split()[0] for name in names] == old[::-1]
    assert re.fullmatch(r"would remove 3 runs, \d+kB", total)
    assert ids(tmp_path) == before
    assert read(tmp_path, "runs", "--prune", "30d", "--keep", "3")[1].startswith("removed 1 run, ")
    assert ids(tmp_path) == [*old[1:], young]
    code, shown, _ = read(tmp_path, "runs", "--prune", "30d", "--json")
    assert [json.loads(line)["run"] for line in shown.splitlines()] == old[:0:-1]
    assert ids(tmp_path) == [young]
    assert mprun("show", cwd=tmp_path).code == 0


def test_prune_counts_from_the_end_of_a_run(tmp_path):
    name = record(tmp_path, [STARTED, {**ended(), "time": "2999-01-01T00:00:00Z"}])
    assert read(tmp_path, "runs", "--prune", "0s")[1].startswith("removed 0 runs")
    assert ids(tmp_path) == [name]


def test_unfinished_run_of_another_host_is_kept(tmp_path):
    name = record(tmp_path, [{**STARTED, "pid": 2**22 + 1}])
    code, shown, stderr = read(tmp_path, "runs", "--prune", "0s")
    assert (code, shown) == (0, "removed 0 runs, 0B\n")
    assert stderr == f"warning: kept {name}: it was started on `h` and may still be running there\n"


def test_prune_removes_nothing_outside_a_run(tmp_path):
    """Links in a run, a link as a run, foreign directories, and a link as the directory of all runs."""
    outside = tmp_path / "outside"
    real = Path(record(outside, [STARTED, ended()]))
    elsewhere = outside / ".mprun" / "runs" / real
    name = record(tmp_path, [STARTED, ended()], name="20200101-120000.000-0000")
    runs = tmp_path / ".mprun" / "runs"
    (runs / name / "link").symlink_to(outside)
    (runs / name / "results").mkdir()
    (runs / name / "results" / "link").symlink_to(elsewhere)
    (runs / "20200101-120000.000-1111").symlink_to(elsewhere)
    record(tmp_path, [STARTED, ended()], name="mine")
    record(tmp_path, [STARTED, ended()], name="20200101-120000.000-00000")
    code, shown, stderr = read(tmp_path, "runs", "--prune", "1d")
    assert (code, shown.split()[:3]) == (0, ["removed", "1", "run,"])
    assert stderr.count(": it is not a directory made by mprun") == 2
    assert "1111` is a symbolic link, not a directory" in stderr
    assert ids(tmp_path) == ["20200101-120000.000-00000", "20200101-120000.000-1111", "mine"]
    assert (elsewhere / "events.jsonl").exists()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "runs").symlink_to(outside / ".mprun" / "runs")
    code, shown, stderr = read(tmp_path, "runs", "--prune", "1d", "--state-dir", "linked")
    assert (code, shown) == (2, "")
    assert "`runs` is a symbolic link" in stderr
    assert (elsewhere / "events.jsonl").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may remove everything")
def test_run_that_cannot_be_removed_is_reported_and_others_are_removed(tmp_path):
    held = record(tmp_path, [STARTED, ended()], name="20200101-120000.000-0000")
    record(tmp_path, [STARTED, ended()], name="20200101-120000.000-1111")
    logs = tmp_path / ".mprun" / "runs" / held / "logs"
    (logs / "a.1.log").touch()
    logs.chmod(0o500)
    code, shown, stderr = read(tmp_path, "runs", "--prune", "1d")
    logs.chmod(0o700)
    assert (code, shown.split()[:2]) == (3, ["removed", "1"])
    assert stderr == f"warning: cannot remove {held}: Permission denied\n"
    # Its record is removed last, so that it is found again.
    assert [run["run"] for run in as_json(tmp_path)] == [held]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prune", "long ago"], "`long ago` is not a duration"),
        (["--keep", "3"], "`--keep` and `--dry-run` need `--prune`"),
        (["--dry-run"], "`--keep` and `--dry-run` need `--prune`"),
        (["--prune", "0s", "--failed"], "do not go with `--prune`"),
        (["--prune", "0s", "-n", "1"], "do not go with `--prune`"),
        (["-n", "-1"], "`--limit` must be an integer of at least 0, not `-1`"),
    ],
)
def test_bad_usage_is_refused(options, message, tmp_path):
    name = record(tmp_path, [STARTED, ended()])
    code, shown, warned = read(tmp_path, "runs", *options)
    assert (code, shown) == (2, "")
    assert message in warned
    assert ids(tmp_path) == [name]


# -- terminals and pipes


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_list_can_be_read_in_a_narrow_terminal(columns, tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    run = mprun("job.yaml", cwd=tmp_path).one("run_started")["run"]
    code, shown = on_terminal("runs", cwd=tmp_path, columns=columns)
    assert code == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert max(map(len, plain.splitlines())) <= columns
    assert re.search(rf"{run} .* ?failed", plain)
    assert ("EXIT" in plain) == (columns >= 60)
    assert ("TASKS" in plain) == (columns >= 80)
    assert ("STARTED" in plain) == (columns == 200)
    assert "\x1b[1;31mfailed" in shown


def test_reader_that_leaves_gets_what_it_reads(tmp_path):
    for number in range(100):
        record(tmp_path, [STARTED, ended()], name=f"20260101-120000.000-{number:04x}")
    reader, writer = os.pipe()
    process = start("runs", "-n0", "--json", cwd=tmp_path, stdout=writer)
    os.close(writer)
    with open(reader, "rb") as stream:
        assert json.loads(stream.readline())["run"].endswith("0063")
    _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode in (0, 141)
    assert stderr == b""
