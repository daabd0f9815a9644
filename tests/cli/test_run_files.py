"""The files about a run that its options ask for: on standard output, and where they cannot be written."""

import json
import os
import resource
import signal
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.runs import complete_lines, eventually, mprun, newest_run, start, write
from support.traces import ChromeTrace, read_otlp, spans_of, values_of

WORK = """
    def say():
        print("x")

    def fail(lines=1):
        print(("x" * 99 + "\\n") * lines)
        raise ValueError("bad" * lines)
    """
JOB = """
    tasks:
      - {name: good, target: "work:say"}
      - {name: bad, target: "work:fail"}
    """
FORMATS = ("report", "junit", "trace", "otlp")


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_dash_is_standard_output_and_nothing_else_is_written_there(command, tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    if command == "resume":
        assert mprun("job.yaml", cwd=tmp_path).code == 1
    arguments = ["run", "job.yaml"] if command == "run" else ["resume"]
    for name in FORMATS:
        run = mprun(*arguments, f"--{name}", "-", cwd=tmp_path)
        assert run.code == 1, run.stderr
        assert "bad" in run.stderr
        if name != "report":
            later = mprun("export", f"--{name}", "-", cwd=tmp_path)
            assert (later.code, later.stdout) == (0, run.stdout)
        else:
            assert run.stdout.startswith("<!doctype html>")
            assert run.stdout.endswith("</html>")
    assert not (tmp_path / "-").exists()


def test_only_one_can_be_on_standard_output(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    for arguments, names in (
        (["--otlp", "-", "--trace", "-"], "`--trace -` and `--otlp -`"),
        (["--events", "-", "--junit", "-"], "`--events -` and `--junit -`"),
        (["--json", "--report", "-"], "`--json` and `--report -`"),
    ):
        done = mprun("run", "job.yaml", *arguments, cwd=tmp_path)
        assert done.code == 2
        assert f"{names} both write to stdout; use one of them" in done.stderr
        assert done.stdout == ""
    assert not (tmp_path / ".mprun").exists()


def test_two_cannot_be_one_file(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    (tmp_path / "link").symlink_to("spans.json")
    for first, second in (("spans.json", "./spans.json"), ("link", "spans.json")):
        done = mprun("job.yaml", "--trace", first, "--otlp", second, cwd=tmp_path)
        assert (done.code, done.stdout) == (2, "")
        assert "`--trace` and `--otlp` name the same file" in done.stderr
    done = mprun("job.yaml", "--events", "spans.json", "--otlp", "spans.json", cwd=tmp_path)
    assert (done.code, "`--events` and `--otlp` name the same file" in done.stderr) == (2, True)
    assert not (tmp_path / ".mprun").exists()
    assert mprun("job.yaml", cwd=tmp_path).code == 1
    done = mprun("export", "--trace", "spans.json", "--otlp", "spans.json", cwd=tmp_path)
    assert (done.code, "name the same file" in done.stderr) == (2, True)


def test_all_of_it_is_written_however_late_it_is_read(tmp_path):
    for arguments, count in ((["--junit", "-"], 25), (["--json"], 200)):
        task = f"{{name: bad, target: 'work:fail', args: [600], matrix: {{n: {[*range(count)]}}}}}"
        write(tmp_path, work=WORK, job=f"tasks: [{task}]")
        process = start("run", "job.yaml", *arguments, "-q", cwd=tmp_path)
        first = os.read(process.stdout.fileno(), 1)
        # Others have written all into a buffer of 1 MiB by now, and dropped the rest.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        stdout, stderr = process.communicate(timeout=50)
        assert process.returncode == 1
        assert b"not shown" not in stderr
        if arguments == ["--json"]:
            assert len(json.loads(first + stdout)["tasks"]) == count
        else:
            assert len(list(ET.fromstring(first + stdout).iter("testcase"))) == count


def test_a_reader_that_is_gone_or_never_reads_changes_no_exit_code_and_a_signal_ends_the_wait(tmp_path):
    write(
        tmp_path, work=WORK, job=f"tasks: [{{name: a, target: 'work:say', matrix: {{n: {[*range(300)]}}}}}]"
    )
    process = start("job.yaml", "--trace", "-", "-q", cwd=tmp_path)
    os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=50)
    assert process.returncode == 0
    assert b"Traceback" not in stderr
    process = start("job.yaml", "--trace", "-", "-q", cwd=tmp_path)
    process.stdout.close()
    process.wait(50)
    stderr = process.stderr.read().decode()
    process.stderr.close()
    assert process.returncode == 0
    assert stderr == "warning: cannot write the trace to standard output: Broken pipe\n"


# ---- a full disk


def limited(directory, limit, *arguments):
    """Run mprun, which can write no file of more bytes: it gets EFBIG, where a full disk gives ENOSPC."""
    return mprun(
        *arguments,
        cwd=directory,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def test_a_disk_that_is_full_leaves_no_half_file_and_changes_no_exit_code(tmp_path):
    write(tmp_path, work=WORK, job=JOB + '  - {name: long, target: "work:fail", kwargs: {lines: 600}}\n')
    paths = {name: tmp_path / f"old.{name}" for name in FORMATS}
    options = [word for name in FORMATS for word in (f"--{name}", str(paths[name]))]
    assert mprun("job.yaml", *options, cwd=tmp_path).code == 1
    before = {name: path.read_bytes() for name, path in paths.items()}
    files = sorted(path.name for path in tmp_path.iterdir())
    # Of these two, each has more bytes than the record and all logs.
    large = ["--report", str(paths["report"]), "--junit", str(paths["junit"])]
    done = limited(tmp_path, 32_000, "job.yaml", *large)
    assert done.code == 1
    assert done.one("run_finished")["exit_code"] == 1
    for kind, name in (("report", "report"), ("JUnit file", "junit")):
        assert f"warning: cannot write the {kind} `{paths[name]}`: File too large" in done.stderr
    for name, path in paths.items():
        command = ["report", "-o", path] if name == "report" else ["export", f"--{name}", path]
        done = limited(tmp_path, 1000, *command)
        assert (done.code, "File too large" in done.stderr) == (3, True), done.stderr
    assert {name: path.read_bytes() for name, path in paths.items()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == files


# ---- runs that do not begin or do not end as others do


def test_a_resumed_run_has_the_tasks_of_which_an_earlier_run_has_the_results(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    first = mprun("job.yaml", "--otlp", "first.json", cwd=tmp_path)
    options = [word for name in FORMATS for word in (f"--{name}", f"again.{name}")]
    run = mprun("resume", *options, cwd=tmp_path)
    assert (first.code, run.code) == (1, 1)
    earlier = spans_of(read_otlp((tmp_path / "first.json").read_text()))
    root, *spans = spans_of(read_otlp((tmp_path / "again.otlp").read_text()))
    assert values_of(root)["mprun.resumed_from"] == first.directory.run_id
    named = {span.name: values_of(span) for span in spans}
    assert named.keys() == {"good", "bad"}
    assert named["good"]["mprun.reused"] is True
    assert named["good"]["cicd.pipeline.task.run.result"] == "success"
    assert "process.pid" not in named["good"]
    assert named["bad"]["process.pid"] == run.one("task_started", "bad")["pid"]
    assert not {span.span_id for span in earlier} & {span.span_id for span in (root, *spans)}
    assert root.trace_id != earlier[0].trace_id
    trace = ChromeTrace((tmp_path / "again.trace").read_text())
    assert [one["name"] for one in trace.slices if one["cat"] == "task"] == ["bad"]
    cases = {case.get("name"): case for case in ET.parse(tmp_path / "again.junit").iter("testcase")}
    found = {one.get("name"): one.get("value") for one in cases["good"].iter("property")}
    assert found["reused"] == first.directory.run_id
    assert cases["good"].find("failure") is None
    assert cases["bad"].find("failure").get("type") == "ValueError"


def test_a_run_whose_mprun_was_killed_or_still_runs(tmp_path):
    write(
        tmp_path,
        job="""
            tasks:
              - {name: done, command: "true"}
              - {name: stuck, command: [sleep, "60"], depends_on: done}
              - {name: never, command: "true", depends_on: stuck}
            """,
    )
    process = start("job.yaml", cwd=tmp_path)
    eventually(lambda: newest_run(tmp_path / ".mprun") and len(started(tmp_path)) == 2)

    def written():
        texts = {}
        for name in ("junit", "trace", "otlp"):
            done = mprun("export", f"--{name}", "-", cwd=tmp_path)
            assert (done.code, done.stderr) == (0, "")
            texts[name] = done.stdout
        cases = {case.get("name"): case for case in ET.fromstring(texts["junit"]).iter("testcase")}
        ends = {
            name: [(one.tag, one.get("type")) for one in case if one.get("type")]
            for name, case in cases.items()
        }
        root, *spans = spans_of(read_otlp(texts["otlp"]))
        result = "cicd.pipeline.task.run.result"
        states = {span.name: (span.status.code, values_of(span).get(result)) for span in spans}
        trace = ChromeTrace(texts["trace"])
        slices = {one["name"]: one for one in trace.slices if one["cat"] == "task"}
        assert slices.keys() == {"done", "stuck"}
        return ends, states, (root.status.code, values_of(root).get("cicd.pipeline.result"))

    try:
        ends, states, state = written()
        assert ends == {"done": [], "stuck": [("skipped", "running")], "never": [("skipped", "waiting")]}
        # A task that still runs has not failed.
        assert (states["done"], states["stuck"], state) == ((0, "success"), (0, None), (0, None))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ends, states, state = written()
    assert ends == {"done": [], "stuck": [("error", "unknown")], "never": [("skipped", "not started")]}
    assert (states["done"], states["stuck"], state) == ((0, "success"), (2, "error"), (2, "error"))


def started(directory):
    return [
        event
        for event in complete_lines(Path(newest_run(directory / ".mprun").events))
        if event["event"] == "task_started"
    ]


# ---- which files can be written


def test_what_could_not_be_written_at_the_end_is_refused_at_the_start(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    (tmp_path / "dangling").symlink_to("missing/x.json")
    done = mprun("job.yaml", "--trace", "dangling", cwd=tmp_path)
    assert (done.code, "its directory does not exist" in done.stderr) == (2, True)
    if os.geteuid() != 0:
        # Root may write anywhere.
        (tmp_path / "closed").mkdir()
        (tmp_path / "closed" / "x.json").touch()
        (tmp_path / "closed").chmod(0o500)
        done = mprun("job.yaml", "--trace", "closed/x.json", cwd=tmp_path)
        assert (done.code, "its directory cannot be written" in done.stderr) == (2, True)
    assert not (tmp_path / ".mprun").exists()


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    name = "ä" * 127
    write(tmp_path, job="tasks: [{name: a, command: 'true'}]")
    run = mprun("job.yaml", "--trace", name, cwd=tmp_path)
    assert (run.code, "warning" in run.stderr) == (0, False)
    assert ChromeTrace((tmp_path / name).read_text()).of("a")
