"""`mprun pack`, and every command that reads a run, or resumes one, in such a file on another machine."""

import errno
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import mock

import jsonschema
import pytest
from junitparser import xunit2
from support import schemas
from support.packs import names_below, repack
from support.records import read
from support.runs import ROOT, environment, eventually, mprun, newest_run, read_events, start, write

from mprun.errors import RecordError
from mprun.record.moved_run import adopt
from mprun.record.packed_run import packed_runs, remove_unpacked
from mprun.record.state_dir import create_state
from mprun.record.state_files import Folder

WORK = """
    import os
    from pathlib import Path

    def good():
        Path(os.environ["MPRUN_TASK_DIR"], "kept.txt").write_text("kept")
        print("good was here")
        return {"rows": [1, 2]}

    def bad(given):
        print("bad was given", given)
        assert Path("ok").exists(), "no ok"
        return 5

    def large():
        return "x" * 100_000
    """
JOB = """
    name: smoke
    tasks:
      - {name: good, target: "work:good", artifacts: true}
      - {name: bad, target: "work:bad", args: ["${tasks.good.result}"]}
      - {name: large, target: "work:large"}
      - {name: after, command: echo after, depends_on: bad}
    """


class Machines:
    """A checkout `ci`, in which the job has failed and was packed, and another one, `laptop`."""

    def __init__(self, place):
        self.ci, self.laptop, self.tmp = place / "ci" / "checkout", place / "laptop", place / "tmp"
        for checkout in (self.ci, self.laptop):
            (checkout / "jobs").mkdir(parents=True)
            write(checkout / "jobs", job=JOB, work=WORK)
        self.tmp.mkdir()
        assert mprun("jobs/job.yaml", cwd=self.ci).code == 1
        self.run = newest_run(self.ci / ".mprun").run_id
        self.pack()

    def pack(self, *arguments, **options):
        done = mprun("pack", "-o", self.laptop / "ci.zip", *arguments, cwd=self.ci, **options)
        assert done.code == 0, done.stderr
        return done

    def lose_ci(self):
        """As if this was another machine."""
        shutil.rmtree(self.ci.parent)

    def mprun(self, *arguments, code=0, **options):
        options.setdefault("cwd", self.laptop)
        done = mprun(*arguments, env={"TMPDIR": str(self.tmp)}, **options)
        assert done.code == code, done.stderr
        assert os.listdir(self.tmp) == []
        return done

    def started(self, state_dir=None):
        events = read_events(newest_run(state_dir or self.laptop / ".mprun").events)
        return {event["task"] for event in events if event["event"] == "task_started"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Machines for tests that only read."""
    machines = Machines(tmp_path_factory.mktemp("packed"))
    machines.lose_ci()
    return machines


@pytest.fixture
def machines(tmp_path):
    return Machines(tmp_path)


# ---- the file


def test_a_packed_run_has_the_files_of_its_directory_and_no_others(machines):
    with zipfile.ZipFile(machines.laptop / "ci.zip") as archive:
        infos = archive.infolist()
        contents = {info.filename: archive.read(info) for info in infos}
    run = f"runs/{machines.run}"
    directory = machines.ci / ".mprun" / run
    expected = [f"{run}/{name}" for name in names_below(directory) if (directory / name).is_file()]
    assert sorted(contents) == expected
    assert f"{run}/artifacts/good/kept.txt" in contents
    assert f"{run}/results/bad.1.error.json" in contents
    assert all((machines.ci / ".mprun" / name).read_bytes() == data for name, data in contents.items())
    assert infos[0].filename == f"{run}/events.jsonl"
    assert {stat.S_IMODE(info.external_attr >> 16) for info in infos} == {0o600}
    assert stat.S_IMODE(os.stat(machines.laptop / "ci.zip").st_mode) == 0o600


def test_the_same_run_is_always_packed_to_the_same_bytes(machines):
    first = (machines.laptop / "ci.zip").read_bytes()
    for path in (machines.ci / ".mprun" / "runs" / machines.run).rglob("*"):
        os.utime(path, (0, 0))
    machines.pack()
    assert (machines.laptop / "ci.zip").read_bytes() == first
    machines.mprun("pack", "ci.zip", "-o", "copy.zip")
    assert (machines.laptop / "copy.zip").read_bytes() == first


def test_without_a_name_it_has_that_of_the_run(machines):
    done = mprun("pack", cwd=machines.ci)
    assert (done.code, done.stdout, done.stderr) == (0, f"run-{machines.run}.zip\n", "")
    assert (machines.ci / f"run-{machines.run}.zip").exists()


def test_json_says_what_was_packed(machines):
    found = json.loads(machines.pack("--json").stdout)
    jsonschema.validate(found, schemas.read("pack"))
    assert schemas.refusals("pack", found) == []
    path = machines.laptop / "ci.zip"
    assert (found["run"], found["runs"]) == (machines.run, [machines.run])
    assert (found["file"], found["bytes"], found["left_out"]) == (str(path), path.stat().st_size, [])
    with zipfile.ZipFile(path) as archive:
        sizes = [info.file_size for info in archive.infolist()]
    assert (found["files"], found["unpacked_bytes"]) == (len(sizes), sum(sizes))


def test_unpacked_by_hand_it_is_a_state_directory(packed):
    with zipfile.ZipFile(packed.laptop / "ci.zip") as archive:
        archive.extractall(packed.laptop / "by-hand")
    shown = packed.mprun("show", "--state-dir", "by-hand").stdout
    assert shown.replace("by-hand", "ci.zip") == packed.mprun("show", "ci.zip").stdout


def test_links_and_names_that_are_not_valid_everywhere_are_left_out_and_named(machines):
    kept = machines.ci / ".mprun" / "runs" / machines.run / "artifacts" / "good"
    (kept / "link").symlink_to("/etc/passwd")
    (kept / "back\\slash").write_text("x")
    Path(os.fsdecode(os.fsencode(kept) + b"/\xff")).write_text("x")
    os.mkfifo(kept / "pipe")
    (kept / "deep").mkdir()
    (kept / "deep" / "line\nfeed").write_text("x")
    done = machines.pack("--json")
    found = json.loads(done.stdout)
    assert [name.rpartition("/")[2] for name in found["left_out"]] == [
        "back\\slash",
        "link",
        "pipe",
        "\udcff",
    ]
    assert "not packed" in done.stderr
    with zipfile.ZipFile(machines.laptop / "ci.zip") as archive:
        artifacts = [name for name in archive.namelist() if "/artifacts/" in name]
    assert [name.partition("/artifacts/")[2] for name in artifacts] == [
        "good/deep/line\nfeed",
        "good/kept.txt",
    ]
    machines.mprun("show", "ci.zip")


def test_a_run_with_logs_that_compress_too_well_can_be_read(machines):
    logs = machines.ci / ".mprun" / "runs" / machines.run / "logs"
    (logs / "bad.1.log").write_bytes(b"y\n" * (20 << 20))
    machines.pack()
    assert (machines.laptop / "ci.zip").stat().st_size > 40 << 20
    assert machines.mprun("logs", "ci.zip", "bad", "--tail", 2).stdout == "y\ny\n"


def test_a_run_that_is_too_large_is_not_packed(machines):
    log = machines.ci / ".mprun" / "runs" / machines.run / "logs" / "bad.1.log"
    os.truncate(log, 3 << 30)
    done = mprun("pack", "-o", "large.zip", cwd=machines.ci)
    assert done.code == 2
    assert "is too large to be packed" in done.stderr
    assert "use `tar`" in done.stderr
    assert not [name for name in os.listdir(machines.ci) if "large" in name or name.startswith(".mprun-")]


def test_an_active_run_is_not_packed(tmp_path):
    write(tmp_path, job="tasks: [{name: wait, command: sleep 60}]")
    process = start("job.yaml", cwd=tmp_path)
    try:
        eventually(lambda: newest_run(tmp_path / ".mprun"))
        done = mprun("pack", "-o", "x.zip", cwd=tmp_path)
        assert done.code == 2
        assert "is still running; pack it when it has ended" in done.stderr
        assert not (tmp_path / "x.zip").exists()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=50)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ci.tar", "does not end with `.zip`"),
        ("other.zip", "is not a packed run of mprun"),
        ("directory.zip", "not a regular file"),
        ("nowhere/ci.zip", "its directory does not exist"),
    ],
)
def test_nothing_is_overwritten_but_a_packed_run(machines, name, message):
    with zipfile.ZipFile(machines.ci / "other.zip", "w") as archive:
        archive.writestr("precious", "x")
    (machines.ci / "directory.zip").mkdir()
    before = (machines.ci / "other.zip").read_bytes()
    done = mprun("pack", "-o", name, cwd=machines.ci)
    assert done.code == 2
    assert message in done.stderr
    assert (machines.ci / "other.zip").read_bytes() == before


# ---- readers


def test_show_and_its_paths_and_hints_name_the_file(packed):
    shown = packed.mprun("show", "ci.zip")
    assert f"good  ci.zip/runs/{packed.run}/artifacts/good\n" in shown.stdout
    assert re.search(r"^bad +failed: exit 1 \(AssertionError", shown.stdout, re.MULTILINE)
    assert f"ci.zip/runs/{packed.run}/results/large.1.json" in shown.stdout
    assert shown.stderr == ""
    # Wherever the file is.
    elsewhere = packed.mprun("show", packed.laptop / "ci.zip", cwd=packed.laptop.parent)
    assert elsewhere.stdout.replace("laptop/ci.zip", "ci.zip") == shown.stdout


def test_show_json_is_that_of_the_run_but_for_paths(machines):
    found = json.loads(machines.mprun("show", "ci.zip", "--json").stdout)
    jsonschema.validate(found, schemas.read("show"))
    text = json.dumps(found).replace(f"{machines.laptop}/ci.zip/", f"{machines.ci}/.mprun/")
    assert json.loads(text) == json.loads(mprun("show", "--json", cwd=machines.ci).stdout)


def test_tree_logs_and_result(packed):
    assert "└─ good" in packed.mprun("tree", "ci.zip").stdout.replace("├─ good", "└─ good")
    assert packed.mprun("logs", "ci.zip", "good").stdout == "good was here\n"
    assert packed.mprun("logs", "good", "--run", "ci.zip").stdout == "good was here\n"
    every = packed.mprun("logs", "ci.zip").stdout
    assert "good  | good was here\n" in every
    assert "AssertionError: no ok" in every
    assert "AssertionError: no ok" in packed.mprun("logs", "ci.zip", "--failed").stdout
    assert json.loads(packed.mprun("result", "good", "--run", "ci.zip").stdout) == {"rows": [1, 2]}
    assert json.loads(packed.mprun("result", "large", "--run", "ci.zip").stdout) == "x" * 100_000


def test_a_task_may_be_called_like_a_packed_run(tmp_path):
    write(tmp_path, job="tasks: [{name: a.zip, command: echo task}]")
    assert mprun("job.yaml", cwd=tmp_path).code == 0
    assert read(tmp_path, "logs", "a.zip")[1] == "task\n"
    assert mprun("pack", "-o", "a.zip", cwd=tmp_path).code == 0
    run = newest_run(tmp_path / ".mprun").run_id
    assert read(tmp_path, "logs", "a.zip", "--run", run)[1] == "task\n"
    assert read(tmp_path, "logs", "a.zip", "a.zip", "--state-dir", "none")[1] == "task\n"


def test_report_and_export(packed):
    packed.mprun("report", "ci.zip", "-o", "report.html")
    page = (packed.laptop / "report.html").read_text()
    assert "no ok" in page
    assert "mprun resume ci.zip" in page
    packed.mprun("export", "ci.zip", "--junit", "junit.xml", "--trace", "trace.json", "--otlp", "otlp.json")
    (suite,) = xunit2.JUnitXml.fromfile(str(packed.laptop / "junit.xml"))
    assert [case.name for case in suite if not case.is_passed] == ["bad", "after"]
    assert json.loads((packed.laptop / "trace.json").read_text())["traceEvents"]
    assert json.loads((packed.laptop / "otlp.json").read_text())["resourceSpans"]


def test_a_packed_run_is_a_state_directory_for_readers(packed):
    assert packed.run in packed.mprun("runs", "--state-dir", "ci.zip").stdout
    assert packed.mprun("logs", "good", "--state-dir", "ci.zip").stdout == "good was here\n"
    for command in (["stop", "--run", "ci.zip"], ["runs", "--prune", "0s", "--state-dir", "ci.zip"]):
        assert "the packed run `ci.zip` is only read" in packed.mprun(*command, code=2).stderr


def test_compare_with_a_run_of_this_machine(machines):
    machines.lose_ci()
    (machines.laptop / "ok").touch()
    machines.mprun("jobs/job.yaml")
    done = machines.mprun("compare", "ci.zip")
    assert "bad" in done.stdout
    worse = machines.mprun("compare", newest_run(machines.laptop / ".mprun").run_id, "ci.zip", code=1)
    assert "AssertionError" in worse.stdout
    assert "no difference" in machines.mprun("compare", "ci.zip", "ci.zip").stdout


def test_shards_that_were_packed_are_merged_and_resumed(tmp_path):
    ci, laptop = tmp_path / "ci", tmp_path / "laptop"
    ci.mkdir()
    laptop.mkdir()
    job = "tasks: [{name: a, command: echo a}, {name: b, command: test -e ok}, {name: c, command: echo c}]"
    for place in (ci, laptop):
        write(place, job=job)
    for number in (1, 2, 3):
        arguments = ("--partition", f"slice:{number}/3", "--state-dir", f"state-{number}")
        assert mprun("job.yaml", *arguments, cwd=ci).code == int(number == 2)
        (laptop / "shards" / f"shard-{number}").mkdir(parents=True)
        target = laptop / "shards" / f"shard-{number}" / "run.zip"
        assert mprun("pack", "-o", target, "--state-dir", f"state-{number}", cwd=ci).code == 0
    shutil.rmtree(ci)
    # Other zip files are none of its business.
    with zipfile.ZipFile(laptop / "shards" / "wheel.zip", "w") as archive:
        archive.writestr("a", "x")
    done = mprun("merge", "shards", cwd=laptop)
    assert done.code == 1, done.stderr
    assert done.stderr == ""
    shown = json.loads(read(laptop, "show", "--json")[1])
    assert {task["task"]: task["outcome"] for task in shown["tasks"]} == {
        "a": "succeeded",
        "b": "failed",
        "c": "succeeded",
    }
    assert read(laptop, "logs", "c")[1] == "c\n"
    files = [f"shards/shard-{number}/run.zip" for number in (1, 2, 3)]
    assert mprun("merge", *files, "-o", "whole", cwd=laptop).code == 1
    (laptop / "ok").touch()
    resumed = mprun("resume", cwd=laptop)
    assert resumed.code == 0, resumed.stderr
    started = [
        e["task"] for e in read_events(newest_run(laptop / ".mprun").events) if e["event"] == "task_started"
    ]
    assert started == ["b"]


# ---- resume


def test_resume_runs_what_failed_with_the_results_of_what_succeeded(machines):
    machines.lose_ci()
    (machines.laptop / "ok").touch()
    done = machines.mprun("resume", "ci.zip")
    assert f"resuming run {machines.run} of smoke (jobs/job.yaml), packed in ci.zip\n" in done.stderr
    assert "bad was given {'rows': [1, 2]}" in done.stdout.replace('"', "'")
    assert machines.started() == {"bad", "after"}
    # The run that it was made of is there, so that all of it can be looked at when the file is gone.
    (machines.laptop / "ci.zip").unlink()
    state = machines.laptop / ".mprun"
    assert sorted(os.listdir(state / "runs")) == [machines.run, newest_run(state).run_id]
    assert sorted(os.listdir(state)) == [".gitignore", "open", "runs"]
    assert "good was here\n" in machines.mprun("logs", "good").stdout
    assert stat.S_IMODE(os.stat(state / "runs" / machines.run).st_mode) == 0o700
    again = machines.mprun("resume", newest_run(state).run_id)
    assert "there is nothing to resume" in again.stderr


def test_it_is_resumed_again_by_its_id_or_its_file(machines):
    machines.lose_ci()
    machines.mprun("resume", "ci.zip", code=1)
    machines.mprun("resume", "ci.zip", code=1)
    assert len(os.listdir(machines.laptop / ".mprun" / "runs")) == 3
    # It has not become a run of the directory in which it ran.
    machines.mprun("resume", machines.run, code=1)
    (machines.laptop / "ok").touch()
    machines.mprun("resume")
    assert machines.started() == {"bad", "after"}


def test_a_run_that_was_resumed_is_packed_with_what_it_resumed(machines):
    ci = machines.ci
    assert mprun("resume", cwd=ci).code == 1
    newest = newest_run(ci / ".mprun").run_id
    found = json.loads(machines.pack("--json").stdout)
    assert found["runs"] == [newest, machines.run]
    machines.lose_ci()
    assert machines.mprun("logs", "ci.zip", "good").stdout == "good was here\n"
    listed = machines.mprun("runs", "--state-dir", "ci.zip", "--json").stdout
    assert [json.loads(line)["run"] for line in listed.splitlines()] == [newest, machines.run]
    (machines.laptop / "ok").touch()
    machines.mprun("resume", "ci.zip")
    assert machines.started() == {"bad", "after"}
    assert set(os.listdir(machines.laptop / ".mprun" / "runs")) > {newest, machines.run}


def test_a_run_that_succeeded_has_nothing_to_resume(machines):
    (machines.ci / "ok").touch()
    assert mprun("jobs/job.yaml", cwd=machines.ci).code == 0
    machines.pack()
    machines.lose_ci()
    assert "there is nothing to resume" in machines.mprun("resume", "ci.zip").stderr
    assert not (machines.laptop / ".mprun").exists()


def test_files_that_differ_or_are_not_there_are_named_with_a_way_on(machines):
    machines.lose_ci()
    job = machines.laptop / "jobs" / "job.yaml"
    text = job.read_text()
    job.write_text(text + "# changed\n")
    done = machines.mprun("resume", "ci.zip", code=2)
    assert f"job.yaml` is not the same as in run {machines.run}" in done.stderr
    assert "use `--allow-changed`" in done.stderr
    # Nothing was unpacked for nothing.
    assert not (machines.laptop / ".mprun").exists()
    done = machines.mprun("resume", "../ci.zip", cwd=machines.laptop / "jobs", code=2)
    assert f"the job file of run {machines.run} is not in this directory: `jobs/job.yaml`" in done.stderr
    assert "change to the directory that has it" in done.stderr
    machines.mprun("resume", "ci.zip", "--allow-changed", code=1)
    assert machines.started() == {"bad"}


def test_a_job_file_beside_the_directory_is_found_in_the_same_work_tree(tmp_path):
    for name in ("ci", "laptop"):
        for part in ("service", "jobs"):
            (tmp_path / name / part).mkdir(parents=True)
        write(tmp_path / name / "jobs", job="tasks: [{name: a, command: test -e ok}]")
    ci, laptop = tmp_path / "ci" / "service", tmp_path / "laptop" / "service"
    assert mprun("../jobs/job.yaml", cwd=ci).code == 1
    assert mprun("pack", "-o", tmp_path / "ci.zip", cwd=ci).code == 0
    shutil.rmtree(tmp_path / "ci")
    done = mprun("resume", "../../ci.zip", cwd=laptop)
    assert done.code == 2
    assert f"is outside of the directory in which it is looked for, `{laptop}`" in done.stderr
    assert f"from here it is `{tmp_path / 'laptop' / 'jobs' / 'job.yaml'}`" in done.stderr
    assert f"change to the directory that corresponds to `{ci}`" in done.stderr
    (tmp_path / "laptop" / ".git").mkdir()
    (laptop / "ok").touch()
    done = mprun("resume", "../../ci.zip", cwd=laptop)
    assert done.code == 0, done.stderr


def test_what_a_killed_resume_has_unpacked_is_removed_by_the_next(machines):
    left = machines.laptop / ".mprun" / "unpacking-0123abcd" / "runs"
    left.mkdir(parents=True)
    os.chmod(machines.laptop / ".mprun", 0o700)
    (left / "events.jsonl").touch()
    machines.lose_ci()
    machines.mprun("resume", "ci.zip", code=1)
    assert [path.name for path in (machines.laptop / ".mprun").iterdir() if "unpack" in path.name] == []


def test_no_other_resume_removes_what_is_being_unpacked(machines):
    state = machines.laptop / ".mprun"
    (state / "unpacking-0123abcd").mkdir(parents=True)
    os.chmod(state, 0o700)
    machines.lose_ci()
    descriptor = os.open(state, os.O_RDONLY)
    try:
        # As a command that unpacks.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with subprocess.Popen(
            [sys.executable, "-m", "mprun", "resume", "ci.zip"], cwd=machines.laptop, env=environment()
        ) as other:
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(1)
            assert (state / "unpacking-0123abcd").exists()
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            assert other.wait(50) == 1
    finally:
        os.close(descriptor)


def test_an_empty_name_of_the_file_is_refused(machines):
    done = mprun("pack", "-o", "", cwd=machines.ci)
    assert done.code == 2
    assert "does not end with `.zip`" in done.stderr


def test_a_record_names_no_job_file_outside_the_directory(machines, tmp_path):
    """A packed run may come from anyone: that it is resumed here must not run what lies elsewhere."""
    machines.lose_ci()
    write(tmp_path, job="tasks: [{name: evil, command: touch evil}]")

    evil, here = str(tmp_path / "job.yaml").encode(), str(machines.laptop).encode()
    there = f"{machines.ci}/jobs/job.yaml".encode()
    for path in (evil, b"/../../../../../../../../../../.." + evil, b"../job.yaml"):
        for directory in (str(machines.ci).encode(), here):
            repack(
                machines.laptop / "ci.zip",
                machines.laptop / "evil.zip",
                change=lambda _, data, path=path, directory=directory: data.replace(there, path).replace(
                    b'"cwd":"' + str(machines.ci).encode() + b'"', b'"cwd":"' + directory + b'"'
                ),
            )
            done = machines.mprun("resume", "evil.zip", "--allow-changed", code=2)
            assert "is outside of the directory in which it is looked for" in done.stderr
    assert not (machines.laptop / "evil").exists()


def test_a_job_of_standard_input_cannot_be_resumed(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "mprun", "-"],
        cwd=tmp_path,
        input=b"tasks: [{name: a, command: exit 3}]",
        env=environment(),
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 1
    assert mprun("pack", "-o", "ci.zip", cwd=tmp_path).code == 0
    shutil.rmtree(tmp_path / ".mprun")
    done = mprun("resume", "ci.zip", cwd=tmp_path)
    assert done.code == 2
    assert "read its job from standard input" in done.stderr


def test_another_run_of_the_same_id_is_not_overwritten(machines):
    machines.lose_ci()
    machines.mprun("resume", "ci.zip", code=1)
    record = machines.laptop / ".mprun" / "runs" / machines.run / "events.jsonl"
    lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(lines[:-1]))
    done = machines.mprun("resume", "ci.zip", code=2)
    assert f".mprun has another record of run {machines.run} than `ci.zip`" in done.stderr
    assert record.read_bytes() == b"".join(lines[:-1])


def test_two_resumes_of_a_packed_run_at_once(machines):
    machines.lose_ci()
    go = machines.laptop / "go"
    there = f"os.path.exists({str(go)!r})"
    wait = f"import os, time; any(time.sleep(0.01) for _ in iter(lambda: {there}, True)); "
    write(machines.laptop / "jobs", work=WORK.replace('print("bad', wait + 'print("bad'))
    arguments = ("resume", "ci.zip", "--allow-changed")
    processes = [start(*arguments, cwd=machines.laptop) for _ in range(3)]
    eventually(lambda: sum(process.poll() is not None for process in processes) >= 2, 40)
    go.touch()
    codes = []
    for process in processes:
        _, stderr = process.communicate(timeout=50)
        codes.append(process.returncode)
        assert process.returncode == 1 or b"being resumed" in stderr or b"is starting" in stderr, stderr
    assert sorted(codes) == [1, 2, 2]
    names = os.listdir(machines.laptop / ".mprun")
    assert not [name for name in names if name.startswith("unpacking")]


def test_a_state_directory_that_cannot_be_written_is_said(machines):
    machines.lose_ci()
    (machines.laptop / "file").touch()
    done = machines.mprun("resume", "ci.zip", "--state-dir", "file/state", code=2)
    assert "file/state" in done.stderr
    assert "Traceback" not in done.stderr


# ---- the end of a reader


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_unpacked(machines, number):
    """The reader waits for the other end of a pipe."""
    log = machines.ci / ".mprun" / "runs" / machines.run / "logs" / "bad.1.log"
    log.write_text("".join(f"{n}\n" for n in range(200_000)))
    machines.pack()
    read_end, write_end = os.pipe()
    process = start(
        "logs",
        "ci.zip",
        "bad",
        cwd=machines.laptop,
        stdout=write_end,
        env={"TMPDIR": str(machines.tmp)},
    )
    os.close(write_end)
    try:
        eventually(lambda: list(machines.tmp.glob("mprun-packed-*/runs/*/logs/bad.1.log")))
        process.send_signal(number)
        assert process.wait(50) == 128 + number
        assert os.listdir(machines.tmp) == []
    finally:
        os.close(read_end)
        process.kill()
        process.communicate()


def test_a_temporary_directory_that_cannot_be_written_is_said(packed):
    done = mprun("show", "ci.zip", cwd=packed.laptop, env={"TMPDIR": str(packed.laptop / "nowhere")})
    assert done.code in (0, 3)
    if done.code:
        assert "cannot be unpacked" in done.stderr
        assert "set `TMPDIR`" in done.stderr


@pytest.mark.parametrize("command", ["logs", "resume"])
def test_a_file_of_which_only_the_beginning_can_be_written_is_not_read(machines, command):
    """As on a full disk: the system writes what still fits, and says how much that was."""
    log = machines.ci / ".mprun" / "runs" / machines.run / "logs" / "bad.1.log"
    log.write_text("".join(f"{n}\n" for n in range(30_000)))
    machines.pack()
    limit = log.stat().st_size // 2
    done = machines.mprun(
        command,
        "ci.zip",
        code=3,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
    )
    assert "`ci.zip` cannot be unpacked: File too large; set `TMPDIR`" in done.stderr
    assert done.stdout == ""


def test_a_state_directory_without_space_is_said_as_that(machines, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.chdir(machines.laptop)
    create_state(Folder(os.path.abspath("state")))
    packed = packed_runs("ci.zip")[0]
    monkeypatch.setattr(Folder, "open", mock.Mock(side_effect=full))
    try:
        with pytest.raises(RecordError, match=r"unpacked into state: No space left .*use `--state-dir`"):
            adopt(packed, "state")
    finally:
        monkeypatch.undo()
        remove_unpacked()


def test_the_commands_in_the_help_of_pack_are_those_that_read(packed):
    text = mprun("pack", "--help", cwd=ROOT).stdout
    for command in ("show", "logs", "resume"):
        assert f"mprun {command} FILE.zip" in " ".join(text.split())
