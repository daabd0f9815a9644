"""JUnit: what junitparser, xmllint and the schema of Jenkins' xunit plugin find in it."""

import io
import shutil
import subprocess
import tracemalloc
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from junitparser import Error, Failure, Skipped, xunit2
from support.ci_job import NAMES, write_job
from support.records import FINISHED, STAMP, STARTED, ended, exited, record, started
from support.report_records import large_run
from support.runs import mprun, write

from mprun.record import reader
from mprun.record.run_list import find_run
from mprun.reporters import junit as junit_module
from mprun.reporters.junit import pieces, suite_of
from mprun.reporters.task_places import TaskPlaces, checkout

SCHEMA = Path(__file__).parents[1] / "support" / "junit-10.xsd"


def xmllint(*arguments):
    """Run xmllint, where it is installed."""
    if shutil.which("xmllint") is None:
        pytest.skip("xmllint is not installed (Debian: libxml2-utils)")
    done = subprocess.run(["xmllint", "--noout", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def is_accepted(path):
    """Check a file with xmllint and by the schema, which knows no places and no properties of a test case."""
    xmllint(path)
    tree = ET.parse(path)
    for case in tree.iter("testcase"):
        case.attrib.pop("file", None)
        case.attrib.pop("line", None)
        for properties in case.findall("properties"):
            case.remove(properties)
    plain = path.with_suffix(".plain.xml")
    tree.write(plain, encoding="utf-8", xml_declaration=True)
    xmllint("--schema", SCHEMA, plain)


def of_record(tmp_path, lines):
    """The test cases, by name, and the suites of a handmade record."""
    record(tmp_path, lines)
    directory = find_run(str(tmp_path / ".mprun"), None)
    state, _ = reader.read_state(directory)
    path = tmp_path / "junit.xml"
    path.write_text("".join(pieces(directory, state, TaskPlaces(None, state, str(tmp_path)))))
    suites = list(xunit2.JUnitXml.fromfile(str(path)))
    return {case.name: case for suite in suites for case in suite}, suites, path


def properties(case):
    return {one.name: one.value for one in case.properties()}


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """The run of five tasks, and its JUnit file."""
    directory = tmp_path_factory.mktemp("five")
    write_job(directory)
    run = mprun("job.yaml", "--junit", "junit.xml", cwd=directory)
    assert run.code == 1
    return run, directory / "junit.xml"


def test_five_ends_are_what_junitparser_reads(five):
    run, path = five
    (suite,) = xunit2.JUnitXml.fromfile(str(path))
    cases = {case.name: case for case in suite}
    assert list(cases) == NAMES
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == ("five", 5, 2, 0, 1)
    assert suite.hostname == run.one("run_started")["host"]
    assert suite.timestamp == run.one("run_started")["time"][:19]
    assert {case.classname for case in cases.values()} == {"five"}
    good, raises, killed, flake, skipped = cases.values()
    assert good.is_passed
    assert good.system_out is None
    (failure,) = raises.result
    assert isinstance(failure, Failure)
    assert failure.type == "ValueError"
    assert "no <b>rows</b>" in failure.message
    assert 'work.py", line' in failure.text
    (failure,) = killed.result
    assert isinstance(failure, Failure)
    assert failure.type == "SIGKILL"
    assert failure.message == "failed: killed by SIGKILL"
    assert flake.is_passed
    assert flake.is_flaky
    assert not flake.is_rerun
    (attempt,) = flake.flaky_failures()
    assert (attempt.type, attempt.message) == (
        "ConnectionError",
        "attempt 1: exit 1 (ConnectionError: first attempt)",
    )
    assert "first attempt" in attempt.stack_trace
    assert "</system-out>" in attempt.system_out
    (skip,) = skipped.result
    assert isinstance(skip, Skipped)
    assert skip.message == "skipped: `killed` did not succeed"


def test_a_case_has_its_place_and_its_process(five):
    run, path = five
    (suite,) = xunit2.JUnitXml.fromfile(str(path))
    places = {case.name: (case._elem.get("file"), case._elem.get("line")) for case in suite}
    assert places == dict(zip(NAMES, [("job.yaml", str(line)) for line in range(4, 9)], strict=True))
    good, _, killed, flake, skipped = suite
    found, event = properties(good), run.one("task_exited", "good")
    assert (found["pid"], found["exit"], found["tags"]) == (str(event["pid"]), "exit 0", "smoke, db")
    assert found["ppid"] == str(run.one("task_started", "good")["ppid"])
    assert (found["rss"], found["cpu"]) == (str(event["max_rss"]), f"{event['cpu']:.3f}")
    assert properties(killed)["exit"] == "killed by SIGKILL"
    assert properties(flake)["attempts"] == "2"
    assert properties(skipped) == {"outcome": "skipped"}
    assert killed.time == pytest.approx(run.one("task_exited", "killed")["duration"], abs=0.001)


def test_export_writes_the_same_file_of_an_earlier_run(five):
    run, path = five
    directory = path.parent
    done = mprun("export", run.directory.run_id[:-1], "--junit", "again.xml", cwd=directory)
    assert (done.code, done.stdout, done.stderr) == (0, "again.xml\n", "")
    assert (directory / "again.xml").read_bytes() == path.read_bytes()
    assert mprun("export", "--junit", "-", cwd=directory).stdout.encode() == path.read_bytes()
    for arguments, why in (
        ([], "`mprun export` needs a format"),
        (["--junit", "work.py"], "is not a JUnit file of mprun"),
        (["--junit", "missing/x.xml"], "its directory does not exist"),
    ):
        done = mprun("export", *arguments, cwd=directory)
        assert (done.code, why in done.stderr) == (2, True)


def test_a_file_that_cannot_be_written_at_the_end_is_a_warning(tmp_path):
    write(tmp_path, job="tasks: [{name: a, command: rm -r out}]")
    (tmp_path / "out").mkdir()
    run = mprun("job.yaml", cwd=tmp_path, env={"MPRUN_JUNIT": "out/junit.xml"})
    assert run.code == 0
    assert "warning: cannot write the JUnit file `out/junit.xml`: No such file or directory" in run.stderr


def test_five_ends_are_accepted_by_xmllint_and_the_schema(five):
    _, path = five
    is_accepted(path)


def test_output_has_nothing_that_xml_forbids(five):
    _, path = five
    (suite,) = xunit2.JUnitXml.fromfile(str(path))
    output = next(case for case in suite if case.name == "killed").system_out
    assert "</system-out></testcase>]]><![CDATA[ &lt; <failure/>\n" in output
    assert r"\x00\x01\x08\x0b\x0cred\x1b]0;title\x07" in output
    assert r"\xff\xfe\xed\xa0\x80\uffff\ufffe" in output


def test_a_recipe_is_a_suite(tmp_path):
    write(
        tmp_path,
        work="def hi(): pass",
        job="""
            tasks:
              - {name: own, target: "work:hi"}
              - {name: part, uses: job-part.yaml, matrix: {p: [a/b, c]}}
            """,
    )
    (tmp_path / "job-part.yaml").write_text("tasks:\n  - {name: one, target: 'work:hi'}\n")
    assert mprun("job.yaml", "--junit", "junit.xml", cwd=tmp_path).code == 0
    suites = list(xunit2.JUnitXml.fromfile(str(tmp_path / "junit.xml")))
    assert [suite.name for suite in suites] == ["job", "job.part[p=a/b]", "job.part[p=c]"]
    (case,) = suites[1]
    assert (case.name, case.classname) == ("part[p=a/b]/one", "job.part[p=a/b]")
    assert (case._elem.get("file"), case._elem.get("line")) == ("job-part.yaml", "2")
    is_accepted(tmp_path / "junit.xml")


def test_the_suite_of_a_task_in_nested_recipes():
    assert suite_of("j", "a") == "j"
    assert suite_of("j", "a[x=/]/b/c[y=/]") == "j.a[x=/].b"
    assert suite_of("j", "a]/b") == "j.a]"


def finished(task, outcome="failed", **more):
    return {**FINISHED, "task": task, "outcome": outcome, **more}


def retrying(task, attempt, reason="retry"):
    return {
        "event": "task_retrying",
        **STAMP,
        "task": task,
        "attempt": attempt,
        "delay": 0.0,
        "reason": reason,
    }


def test_what_mprun_saw_is_an_error(tmp_path):
    stop = {"event": "task_stopping", **STAMP, "attempt": 1, "signal": "SIGTERM"}
    cases, suites, path = of_record(
        tmp_path,
        [
            {**STARTED, "tasks": 6},
            *(started("lost"), exited("lost", exit_code=None), finished("lost", "unknown", reason="lost")),
            *(started("web"), {**stop, "task": "web", "reason": "not_ready"}, exited("web", exit_code=-15)),
            finished("web", reason="not ready"),
            *(started("late"), {**stop, "task": "late", "reason": "timeout"}, exited("late", exit_code=-15)),
            finished("late", "timed_out", reason="timed out after 1s"),
            finished("unstartable", reason="cannot be started"),
            *(started("user"), exited("user"), finished("user", "stopped", reason="user")),
            *(
                started("beat", daemon=True),
                exited("beat"),
                finished("beat", "stopped", reason="run_finished"),
            ),
            ended("failed", 1),
        ],
    )
    kinds = {name: [(type(one), one.type) for one in case.result] for name, case in cases.items()}
    assert kinds == {
        "lost": [(Error, "unknown")],
        "web": [(Error, "not_ready")],
        "late": [(Failure, "timed_out")],
        "unstartable": [(Error, "not_started")],
        "user": [(Error, "stopped")],
        "beat": [],
    }
    assert (suites[0].errors, suites[0].failures) == (4, 1)
    is_accepted(path)


def test_attempts_before_a_failure_are_reruns_and_a_restart_is_not(tmp_path):
    cases, _, path = of_record(
        tmp_path,
        [
            {**STARTED, "tasks": 3},
            *(started("bad", 1), exited("bad", 1, exit_code=3), retrying("bad", 2)),
            *(started("bad", 2), exited("bad", 2, exit_code=4), finished("bad", reason="exit 4")),
            *(started("beat", 1, daemon=True), exited("beat", 1), retrying("beat", 2, "restart")),
            *(started("beat", 2, daemon=True), exited("beat", 2), finished("beat", "succeeded")),
            *(started("known"), exited("known"), finished("known", reason="exit 1", allowed=True)),
            ended("failed", 1),
        ],
    )
    (rerun,) = cases["bad"].rerun_failures()
    assert (rerun.type, rerun.message) == ("exit", "attempt 1: exit 3")
    assert not cases["bad"].is_flaky
    assert cases["beat"].is_passed
    assert not cases["beat"].interim_result
    (known,) = cases["known"].result
    assert isinstance(known, Skipped)
    assert known.message == "failed, allowed: exit 1"
    is_accepted(path)


def test_names_are_unique_although_they_look_equal(tmp_path):
    twins = ["a\u202eb", "a\\u202eb", "x" * 600, "x" * 601]
    lines = [event for name in twins for event in (started(name), exited(name), finished(name, "succeeded"))]
    cases, _, path = of_record(tmp_path, [STARTED, *lines, ended()])
    assert len(cases) == 4
    assert [*cases][:2] == ["a\\u202eb", "a\\u202eb (2)"]
    is_accepted(path)


def test_a_run_that_was_killed(tmp_path):
    planned = {"event": "tasks_planned", **STAMP, "group": "", "tasks": ["a", "b"], "items": {}}
    cases, suites, path = of_record(tmp_path, [STARTED, planned, started("a")])
    assert isinstance(cases["a"].result[0], Error)
    assert isinstance(cases["b"].result[0], Skipped)
    assert suites[0].tests == 2
    is_accepted(path)


def test_damaged_numbers_are_numbers(tmp_path):
    huge = {"duration": 9e18, "cpu": 1e17}
    lines = [{**STARTED, "time": "\x00" * 30, "host": "\ud800"}, started("a"), exited("a", **huge)]
    cases, _, path = of_record(tmp_path, [*lines, finished("a"), ended(duration=-1.0)])
    assert cases["a"].time == 1e9
    is_accepted(path)


def test_output_is_the_last_64_kib_and_less_of_each_if_many_fail(tmp_path, monkeypatch):
    names = ["a", "b", "c"]
    lines = [event for name in names for event in (started(name), exited(name), finished(name))]
    run = record(tmp_path, [STARTED, *lines, ended("failed", 1)])
    for name in names:
        log = tmp_path / ".mprun" / "runs" / run / "logs" / f"{name}.1.log"
        log.write_text("first\n" + "line of a log\n" * 10_000 + "last\n")
    monkeypatch.setattr(junit_module, "MAX_OUTPUT_OF_ALL", 100_000)
    shutil.move(tmp_path / ".mprun", tmp_path / "kept")
    directory = find_run(str(tmp_path / "kept"), None)
    state, _ = reader.read_state(directory)
    (suite,) = xunit2.JUnitXml.fromstring(
        "".join(pieces(directory, state, TaskPlaces(None, state, "/"))).encode()
    )
    a, b, c = (case.system_out for case in suite)
    assert 65_000 < len(a) <= 64 << 10
    assert a.startswith("line of a log\n")
    assert a.endswith("\nlast\n")
    assert b == a
    assert 900 < len(c) <= 1 << 10
    assert c.endswith("\nlast\n")


def test_ten_thousand_cases(tmp_path):
    large_run(tmp_path, 10_000)
    directory = find_run(str(tmp_path / ".mprun"), None)
    state, _ = reader.read_state(directory)
    path = tmp_path / "junit.xml"
    path.write_text("".join(pieces(directory, state, TaskPlaces(None, state, "/"))))
    (suite,) = xunit2.JUnitXml.fromfile(str(path))
    assert (suite.tests, suite.failures) == (10_000, 100)
    assert len({case.get("name") for case in ET.parse(path).iter("testcase")}) == 10_000
    assert path.stat().st_size < 8 << 20
    # The library comes to the same numbers and writes the same.
    document = xunit2.JUnitXml.fromfile(str(path))
    document.update_statistics()
    document.time = xunit2.JUnitXml.fromfile(str(path)).time
    copy = io.BytesIO()
    document.write(copy)
    assert copy.getvalue() + b"\n" == path.read_bytes()
    xmllint(path)


def test_junit_of_many_tasks_takes_little_memory(tmp_path):
    """Their elements alone would take 4 KB a task."""
    large_run(tmp_path, 4_000)
    directory = find_run(str(tmp_path / ".mprun"), None)
    state, _ = reader.read_state(directory)
    places = TaskPlaces(None, state, "/")
    list(pieces(directory, state, places))
    tracemalloc.start()
    try:
        size = sum(map(len, pieces(directory, state, places)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 4_000 * 400
    assert peak < 4_000 * 1_200


def test_a_run_without_tasks_has_a_suite(tmp_path):
    cases, (suite,), path = of_record(tmp_path, [STARTED | {"tasks": 0}])
    assert (cases, suite.tests, suite.time) == ({}, 0, 0)
    is_accepted(path)


def test_a_path_is_relative_to_the_checkout():
    assert checkout({"GITHUB_WORKSPACE": "/w/repo/"}, "/w/repo/sub") == "/w/repo"
    assert checkout({"GITHUB_WORKSPACE": "/w/repo"}, "/w/repository") == "/w/repository"
    assert checkout({"CI_PROJECT_DIR": "relative"}, "/w") == "/w"
