"""Shards of a job: a partition of its tasks, and one run of their records."""

import json
import re
import shutil

import jsonschema
import pytest
from junitparser import xunit2
from support import schemas
from support.records import read
from support.runs import mprun, newest_run, read_events, write

JOB = """
    tasks:
      - {name: build, command: "echo built"}
      - {name: unit, command: "sleep ${matrix.seconds}", depends_on: [build],
         matrix: {seconds: [0, 0.1, 0.2, 0.4]}}
    """


@pytest.fixture
def place(tmp_path):
    write(tmp_path, job=JOB)
    return tmp_path


def run(place, *arguments, code=0, **more):
    done = mprun("job.yaml", *arguments, cwd=place, **more)
    assert done.code == code, done.stderr
    return done


def started(place):
    events = read_events(newest_run(place / ".mprun").events)
    return {event["task"] for event in events if event["event"] == "task_started"}


def test_a_shard_runs_its_part_and_what_that_depends_on(place):
    done = run(place, "--partition", "slice:2/2")
    assert started(place) == {"build", "unit[seconds=0.1]", "unit[seconds=0.4]"}
    assert "shard 2 of 2 (by slice): 3 of 5 tasks" in done.stderr
    shown = json.loads(read(place, "show", "--json")[1])
    assert shown["outcome"] == "succeeded"


def test_an_empty_shard_says_so_and_succeeds(place):
    done = run(place, env={"MPRUN_PARTITION": "slice:7/9"})
    assert "shard 7 of 9 is empty: there is nothing to run" in done.stderr
    assert started(place) == set()
    assert run(place, "--repeat", 2, "--partition", "slice:7/9").code == 0


def test_by_time_uses_earlier_runs_but_no_shards(place):
    # So long that no other task is as long as it on a busy machine, nor all others.
    write(place, job=JOB.replace("0.4]", "1]"))
    done = run(place, "--partition", "time:1/2")
    assert "no earlier run in .mprun says how long" in done.stderr
    assert "so they are divided as by `slice:1/2`" in done.stderr
    # What has just run here must not change the division of the other shard.
    assert "no earlier run in .mprun" in run(place, "--partition", "time:2/2").stderr
    run(place)
    planned = mprun("plan", "job.yaml", "--partition", "time:1/2", cwd=place)
    assert "partition time:1/2: 2 of 5 tasks\n" in planned.stdout
    assert "in sequence): build, unit[seconds=1]\n" in planned.stdout
    found = json.loads(mprun("plan", "job.yaml", "--partition", "time:2/2", "--json", cwd=place).stdout)
    assert {key: found["partition"][key] for key in ("kind", "shard", "of")} == {
        "kind": "time",
        "shard": 2,
        "of": 2,
    }
    first, second = found["partition"]["shards"]
    assert first["tasks"] == ["build", "unit[seconds=1]"]
    assert 1 < first["seconds"] < 5
    assert len(second["tasks"]) == 4


def test_by_time_no_number_of_repeated_runs_takes_the_place_of_a_whole_one(place):
    run(place)
    planned = mprun("plan", "job.yaml", "--partition", "time:1/2", cwd=place).stdout
    for _ in range(3):
        run(place, "--repeat", 2)
    assert mprun("plan", "job.yaml", "--partition", "time:1/2", cwd=place).stdout == planned


def test_a_resumed_shard_has_the_same_tasks_whatever_was_recorded_since(place):
    write(place, job=JOB.replace("sleep ${matrix.seconds}", "test -e ok && sleep ${matrix.seconds}"))
    run(place, "--partition", "time:1/2", code=1)
    before = started(place)
    shard = newest_run(place / ".mprun").run_id
    (place / "ok").touch()
    run(place)
    done = mprun("resume", shard, cwd=place)
    assert done.code == 0, done.stderr
    assert started(place) == before - {"build"}
    events = read_events(newest_run(place / ".mprun").events)
    first = read_events(newest_run(place / ".mprun").beside(shard).events)[0]
    assert events[0]["options"]["partition"] == "time:1/2"
    assert events[0]["options"]["division"] == first["options"]["division"]


def test_a_wrong_partition_starts_nothing(place):
    done = run(place, "--partition", "slice:3/2", code=2)
    assert "`slice:3/2` is not a partition" in done.stderr
    assert not (place / ".mprun").exists()


# `base` is a task of every shard, and fails in the second one only; `flake` is flaky, `bad` fails.
WORK = """
    import os
    from pathlib import Path

    def base():
        print("base of", os.environ["SHARD"])
        if os.environ["SHARD"] == os.environ.get("BROKEN"):
            raise RuntimeError("no base")
        return {"shard": os.environ["SHARD"]}

    def good(number):
        Path(os.environ["MPRUN_TASK_DIR"], "kept.txt").write_text(str(number))
        os.symlink("/etc/passwd", Path(os.environ["MPRUN_TASK_DIR"], "link"))
        return number

    def flake():
        if os.environ["MPRUN_ATTEMPT"] == "1":
            raise ValueError("first")

    def bad():
        assert Path("ok").exists()

    def some():
        return ["x", "y"]

    def each(item, base):
        print("item", item)
    """
ALL = """
    name: all
    tasks:
      - {name: base, target: "work:base"}
      - {name: good, target: "work:good", args: ["${matrix.number}"], artifacts: true,
         matrix: {number: [1, 2, 3]}}
      - {name: flake, target: "work:flake", retry: 1, depends_on: [base]}
      - {name: bad, target: "work:bad", depends_on: [base]}
      - {name: some, target: "work:some"}
      - {name: each, target: "work:each", foreach: "${tasks.some.result}",
         args: ["${item}", "${tasks.base.result}"]}
    """
ENDS = {
    "base": "succeeded",
    "good[number=1]": "succeeded",
    "good[number=2]": "succeeded",
    "good[number=3]": "succeeded",
    "flake": "succeeded",
    "bad": "failed",
    "some": "succeeded",
    "each[0]": "succeeded",
    "each[1]": "succeeded",
}


def run_shards(place, of=3, job=ALL, numbers=None, **variables):
    write(place, job=job, work=WORK)
    for number in numbers or range(1, of + 1):
        environment = {"SHARD": str(number), **variables}
        arguments = ("--partition", f"slice:{number}/{of}", "--state-dir", f"shards/{number}/.mprun")
        done = mprun("job.yaml", *arguments, cwd=place, env=environment)
        assert done.code in (0, 1), done.stderr


def merge(place, *arguments):
    done = mprun("merge", *arguments, cwd=place)
    assert "Traceback" not in done.stderr
    return done


def ends(place, state_dir=".mprun"):
    code, printed, _ = read(place, "show", "--json", "--state-dir", state_dir)
    assert code == 0
    shown = json.loads(printed)
    assert schemas.refusals("show", shown) == []
    validator = jsonschema.Draft7Validator(schemas.read("event"))
    for event in read_events(newest_run(place / state_dir).events):
        assert not [*validator.iter_errors(event)]
    return shown, {task["task"]: task["outcome"] for task in shown["tasks"]}


def test_merged_shards_are_one_run_in_which_each_task_counts_once(tmp_path):
    run_shards(tmp_path)
    done = merge(tmp_path, "shards/1", "shards/2", "shards/3")
    assert done.code == 1
    assert "shard 2/3: run " in done.stdout
    shown, found = ends(tmp_path)
    assert found == ENDS
    assert next(iter(found)) == "base"
    assert shown["outcome"] == "failed"
    assert shown["finished"]["counts"] == {"succeeded": 8, "failed": 1}
    assert shown["finished"]["flaky"] == 1
    assert [shard["shard"] for shard in shown["run"]["shards"]] == [1, 2, 3]
    assert shown["run"]["tasks"] == 8
    joins = [event for event in read_events(newest_run(tmp_path / ".mprun").events) if "position" in event]
    assert [event["position"] for event in joins] == list(range(1, len(joins) + 1))
    assert {event["of"] for event in joins} == {len(joins)}
    # What readers need of each task is there.
    assert "item y" in read(tmp_path, "logs", "each[1]")[1]
    assert read(tmp_path, "result", "good[number=3]")[1].strip() == "3"
    (kept,) = (path for path in (tmp_path / ".mprun").rglob("kept.txt") if "number=2" in str(path))
    assert kept.read_text() == "2"
    assert not any((tmp_path / ".mprun").rglob("link"))
    tree = json.loads(read(tmp_path, "tree", "--json")[1])
    assert [len(root["children"][0]["children"]) > 0 for root in tree["processes"]] == [True] * 3
    mains = {root["children"][0]["pid"] for root in tree["processes"]}
    assert {task["ppid"] for task in tree["processes"][1]["children"][0]["children"]} <= mains
    assert read(tmp_path, "export", "--junit", "junit.xml")[0] == 0
    (suite,) = xunit2.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert sorted(case.name for case in suite) == sorted(ENDS)
    assert read(tmp_path, "report", "-o", "report.html")[0] == 0
    planned = json.loads(mprun("plan", "job.yaml", "--partition", "time:1/3", "--json", cwd=tmp_path).stdout)
    assert planned["partition"]["shards"][0]["seconds"] is not None

    # What failed runs again, and no more.
    (tmp_path / "ok").touch()
    resumed = mprun("resume", cwd=tmp_path, env={"SHARD": "0"})
    assert resumed.code == 0, resumed.stderr
    assert started(tmp_path) == {"bad"}


def test_a_failure_in_any_shard_wins(tmp_path):
    run_shards(tmp_path, BROKEN="2")
    done = merge(tmp_path, "shards", "-o", "merged")
    assert done.code == 1
    shown, found = ends(tmp_path, "merged")
    assert found["base"] == "failed"
    assert "no base" in read(tmp_path, "logs", "--state-dir", "merged", "base")[1]
    assert sum(shown["finished"]["counts"].values()) == len(found)
    assert shown["outcome"] == "failed"


def test_a_shard_that_is_missing_or_of_another_job_is_named(tmp_path):
    (tmp_path / "ok").touch()
    run_shards(tmp_path)
    done = merge(tmp_path, "shards/1", "shards/3", "-o", "without")
    assert done.code == 1
    assert "warning: shard 2 of 3 is missing\n" in done.stderr
    shown, _ = ends(tmp_path, "without")
    assert (shown["outcome"], shown["finished"]["exit_code"]) == ("interrupted", 1)
    assert "interrupted (shard 2 of 3 is missing): exit 1" in done.stdout

    shutil.move(tmp_path / "shards" / "2", tmp_path / "old")
    run_shards(tmp_path, numbers=[2], job=ALL + "# changed\n")
    done = merge(tmp_path, "shards", "-o", "changed", "--json")
    assert done.code == 1
    assert json.loads(done.stdout)["outcome"] == "interrupted"
    assert "shard 2/3 (run " in done.stderr
    assert "ran another job file than shard 1/3" in done.stderr

    shutil.rmtree(tmp_path / "shards" / "2")
    run_shards(tmp_path, of=4, numbers=[2])
    done = merge(tmp_path, "shards", "old", "-o", "other")
    assert done.code == 1
    assert "shard 2/4 (run " in done.stderr
    assert "is not one of 3 shards" in done.stderr

    run_shards(tmp_path, numbers=[3])
    shutil.rmtree(tmp_path / "shards" / "2")
    done = merge(tmp_path, "shards", "old", "-o", "whole")
    assert done.code == 0, done.stderr
    assert "is left out: run " in done.stderr
    assert ends(tmp_path, "whole")[1] == {**ENDS, "bad": "succeeded"}


def test_a_shard_that_was_killed_has_no_end(tmp_path):
    (tmp_path / "ok").touch()
    run_shards(tmp_path, of=2)
    record = newest_run(tmp_path / "shards" / "2" / ".mprun").events
    with open(record, "rb") as stream:
        lines = stream.read().splitlines(keepends=True)
    # Killed while it wrote the outcome of a task.
    at = max(number for number, line in enumerate(lines) if b'"task_finished"' in line)
    with open(record, "wb") as stream:
        stream.write(b"".join(lines[:at]) + lines[at][:40])
    done = merge(tmp_path, "shards", "-o", "merged")
    assert done.code == 1
    assert "is torn, left out" in done.stderr
    assert "has no end: mprun itself was killed" in done.stderr
    shown, found = ends(tmp_path, "merged")
    assert shown["outcome"] == "interrupted"
    assert "unknown" in found.values()


def test_a_silent_command_of_a_shard_that_was_killed_may_have_started_again(tmp_path):
    """Its second start is not recorded, and it has no log."""
    run_shards(tmp_path, of=1, job="tasks: [{name: a, command: exit 3, retry: 1}]")
    directory = newest_run(tmp_path / "shards" / "1" / ".mprun")
    with open(directory.events, "rb") as stream:
        lines = stream.read().splitlines(keepends=True)
    at = max(number for number, line in enumerate(lines) if b'"task_started"' in line)
    with open(directory.events, "wb") as stream:
        stream.write(b"".join(lines[:at]))
    assert not directory.log_file("a", 2).exists()
    assert merge(tmp_path, "shards", "-o", "merged").code == 1
    assert ends(tmp_path, "merged")[1] == {"a": "unknown"}


def test_what_has_not_been_a_shard_is_refused(place):
    run(place)
    for directory, message in ((".mprun", "no shard in `.mprun`"), ("job.yaml", "is not a directory")):
        done = mprun("merge", directory, "-o", "merged", cwd=place)
        assert done.code == 2
        assert message in done.stderr
    assert not (place / "merged").exists()


def test_of_forty_tasks_the_longest_shard_is_hardly_longer_than_it_must_be(tmp_path):
    seconds = [0.8 if number == 17 else 0.01 + number / 1e4 for number in range(40)]
    job = f"""
    tasks:
      - {{name: t, command: "sleep ${{matrix.s}}", matrix: {{s: {seconds}}}}}
    """
    write(tmp_path, job=job)
    run(tmp_path, "-j", 2)
    parts = []
    for number in (1, 2, 3):
        run(tmp_path, "--partition", f"time:{number}/3")
        parts.append(started(tmp_path))
    assert len(parts[0] | parts[1] | parts[2]) == 40 == sum(map(len, parts))
    assert len(next(part for part in parts if "t[s=0.8]" in part)) == 1
    done = merge(tmp_path, ".mprun")
    assert done.code == 0, done.stderr
    shown, _ = ends(tmp_path)
    assert shown["finished"]["counts"] == {"succeeded": 40}


def test_a_shard_of_one_task_has_its_place_in_the_plan(place):
    """The record of a single task has no plan, and its number must not be that of another task."""
    tasks = "[{name: a, command: 'true'}, {name: b, command: 'true'}"
    write(place, job=f"tasks: {tasks}, {{name: c, command: 'true', depends_on: b}}]")
    for number in (1, 2):
        run(place, "--partition", f"slice:{number}/2", "--state-dir", f"shard-{number}")
    assert mprun("merge", "shard-1", "shard-2", "-o", "whole", cwd=place).code == 0
    begun, planned, *_ = read_events(newest_run(place / "whole").events)
    assert (begun["tasks"], planned["tasks"], planned["needs"]) == (3, ["a", "b", "c"], [[], [], [1]])


def on_github(place, *arguments, **env):
    """Merge the shards as a step of GitHub Actions does; the command, its annotations, the step's summary."""
    summary = place / "summary.md"
    summary.unlink(missing_ok=True)
    env = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(place),
        "GITHUB_STEP_SUMMARY": str(summary),
    } | env
    done = mprun("merge", *arguments, cwd=place, env=env)
    errors = re.findall(r"^::error .*$", done.stderr, re.MULTILINE)
    return done, errors, summary.read_text() if summary.exists() else ""


def test_a_merged_run_is_shown_to_ci_as_a_run_is(tmp_path):
    run_shards(tmp_path, BROKEN="3")
    done, errors, summary = on_github(tmp_path, "shards", "--junit", "junit.xml", "--report", "report.html")
    assert done.code == 1, done.stderr
    assert errors == [
        "::error file=job.yaml,line=4,title=base::failed: exit 1 (RuntimeError: no base)",
        "::error file=job.yaml,line=8,title=bad::failed: exit 1 (AssertionError)",
    ]
    groups = re.findall(r"^::group::(.*)\n((?:.*\n)*?)::endgroup::$", done.stderr, re.MULTILINE)
    assert [title.partition(":")[0] for title, _ in groups] == ["base", "bad"]
    assert "base of 3\n" in groups[0][1]
    assert summary.startswith("### all\n\nfailed ")
    assert len(re.findall(r"^\| <code>", summary, re.MULTILINE)) == 8
    assert "RuntimeError: no base" in summary
    # The same as afterwards, and the table as ever.
    assert (tmp_path / "report.html").read_text().count("no base")
    assert read(tmp_path, "export", "--junit", "again.xml")[0] == 0
    assert (tmp_path / "again.xml").read_text() == (tmp_path / "junit.xml").read_text()
    assert 'file="job.yaml" line="8"' in (tmp_path / "junit.xml").read_text()
    assert re.search(r"^base +failed", done.stdout, re.MULTILINE)


def test_what_ci_is_shown_of_merged_shards_can_be_chosen(tmp_path):
    run_shards(tmp_path)
    done, errors, summary = on_github(tmp_path, "shards", "--ci", "none", MPRUN_JUNIT="junit.xml")
    assert (done.code, errors, summary) == (1, [], "")
    assert (tmp_path / "junit.xml").exists()
    done = mprun("merge", "shards", "--ci", "gitlab", "--junit", "-", cwd=tmp_path)
    assert "section_start:" in done.stderr
    assert xunit2.JUnitXml.fromstring(done.stdout.encode()).failures == 1
    done = mprun("merge", "shards", "--json", "--ci", "github", cwd=tmp_path)
    assert json.loads(done.stdout)["outcome"] == "failed"
    assert "\n::error file=job.yaml,line=8,title=bad::" in done.stderr


@pytest.mark.parametrize("content", ["same", "changed", "same on one machine"])
def test_shards_of_other_checkouts_have_the_places_of_this_one_if_it_is_the_same(tmp_path, content):
    job = "tasks:\n  - {name: a, command: test -e ok}\n  - {name: b, command: test -e ok}\n"
    for agent in ("agent-1", "agent-2", "here"):
        (tmp_path / agent / "jobs").mkdir(parents=True)
        (tmp_path / agent / "jobs" / "job.yaml").write_text(job)
    here = tmp_path / "here"
    for number in (1, 2):
        agent = tmp_path / f"agent-{number}"
        assert mprun("jobs/job.yaml", "--partition", f"slice:{number}/2", cwd=agent).code == 1
        shutil.move(agent / ".mprun" / "runs", here / "shards" / str(number))
        if content != "same on one machine":
            shutil.rmtree(agent)
    if content == "changed":
        (here / "jobs" / "job.yaml").write_text(job + "# changed\n")
    done, errors, _ = on_github(here, "shards")
    assert done.code == 1
    (here / "ok").touch()
    resumed = mprun("resume", cwd=here)
    if content == "changed":
        assert errors[0].startswith(f"::error file={tmp_path}/agent-1/jobs/job.yaml,title=a::")
        assert resumed.code == 2
    else:
        assert errors[1] == "::error file=jobs/job.yaml,line=3,title=b::failed: exit 1"
        assert resumed.code == 0, resumed.stderr
        assert started(here) == {"a", "b"}


@pytest.mark.parametrize("key", ["file", "path"])
def test_a_shard_whose_record_names_a_file_by_no_path_is_merged(tmp_path, key):
    run_shards(tmp_path, 2)
    for record in (tmp_path / "shards").rglob("events.jsonl"):
        first, rest = record.read_text().split("\n", 1)
        event = json.loads(first)
        # The directory of another machine.
        cwd = event["cwd"]
        event["cwd"] = "/elsewhere"
        for one in event["files"]:
            one["path"] = one["path"].replace(cwd, "/elsewhere")
        (event if key == "file" else event["files"][0])[key] = ""
        record.write_text(json.dumps(event) + "\n" + rest)
    done = mprun("merge", "shards", cwd=tmp_path)
    assert done.code != 3, done.stderr


def test_no_name_in_merged_shards_is_a_command_for_a_service_that_was_chosen(tmp_path):
    run_shards(tmp_path, of=1, job="tasks: [{name: '::error title=evil::x', command: exit 1}]")
    done = mprun("merge", "shards", "--ci", "github", cwd=tmp_path)
    assert "\n: :error title=evil::x  failed" in done.stdout
    assert re.findall("^::error", done.stdout + done.stderr, re.MULTILINE) == ["::error"]


def test_a_shard_that_is_missing_is_an_annotation_beside_those_of_the_tasks(tmp_path):
    tasks = "\n".join(f"      - {{name: t{number}, command: exit 1}}" for number in range(24))
    run_shards(tmp_path, of=2, numbers=[1], job=f"tasks:\n{tasks}")
    done, errors, summary = on_github(tmp_path, "shards")
    assert done.code == 1
    assert errors[0] == "::error title=job::interrupted: shard 2 of 2 is missing"
    assert (len(errors), errors[-1]) == (
        10,
        "::error title=job::4 more tasks failed; the log of this step names all",
    )
    assert "interrupted (shard 2 of 2 is missing)" in summary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--junit", "-", "--json"], "`--json` and `--junit -` both write to stdout"),
        (["--junit", "-", "--report", "-"], "`--report -` and `--junit -` both write to stdout"),
        (["--junit", "missing/junit.xml"], "cannot write `--junit missing/junit.xml`: its directory"),
        (["--junit", "job.yaml"], "would overwrite `job.yaml`"),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_the_shards_are_merged(tmp_path, options, message):
    run_shards(tmp_path)
    done = merge(tmp_path, "shards", *options)
    assert (done.code, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / ".mprun").exists()
