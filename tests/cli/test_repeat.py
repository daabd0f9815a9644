"""Repeated tasks: flaky ones and races are named, sound ones are not, and what failed can be repeated."""

import json
import re
import shlex
import time
from pathlib import Path

import pytest
from support import schemas
from support.records import read
from support.runs import complete_lines, eventually, mprun, newest_run, read_events, start, write

WORK = """
    import os
    import time
    from pathlib import Path

    COPY = int(os.environ.get("MPRUN_COPY", "0"))

    def rare():
        if os.environ["MPRUN_COPY"] == "11":
            raise ValueError("unlucky")

    def racy():
        # It fails only while another copy of it runs.
        mine = Path("racy") / str(os.getpid())
        mine.parent.mkdir(exist_ok=True)
        mine.touch()
        try:
            until = time.monotonic() + 1
            while time.monotonic() < until and not Path("alone").exists():
                if len(os.listdir(mine.parent)) > 1:
                    # The other one sees this one, too.
                    time.sleep(0.05)
                    raise RuntimeError("not alone")
                time.sleep(0.005)
        finally:
            mine.unlink()

    def sound():
        pass

    def fixture():
        return int(os.environ["MPRUN_COPY"])

    def use(found, all_of_it):
        assert found == int(os.environ["MPRUN_COPY"])
        assert all_of_it == [10 + found, 20 + found], all_of_it

    def add(n, found):
        return n + found

    def items(found):
        return [found, found + 1]

    def one(item, found):
        assert item in (found, found + 1)

    def serve():
        Path("up").touch()
        time.sleep(60)
    """
JOB = """
    tasks:
      - {name: rare, target: work:rare}
      - {name: racy, target: work:racy}
      - {name: sound, target: work:sound}
    """


@pytest.fixture
def place(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    return tmp_path


def test_what_fails_alone_or_beside_itself_is_named_and_can_be_repeated(place):
    run = mprun("job.yaml", "--repeat", 16, "-j", 4, "--seed", 3, "--output", "none", cwd=place)
    assert run.code == 1
    assert "copies are started in the order of --seed 3" in run.stderr
    rows = {row.split()[0]: row.split() for row in run.stderr.splitlines() if re.match(r"r?\w+ +16 ", row)}
    assert rows["rare"][1:3] == ["16", "1"]
    assert rows["sound"][1:3] == ["16", "0"]
    assert int(rows["racy"][2]) >= 2
    assert "rare" in rows["rare"][0]
    assert rows["sound"][3:] == ["0", "%", "0", "%", "to", "19.4", "%"]
    # The same is in the record.
    _, shown, _ = read(place, "show")
    assert "\n".join(line for line in run.stderr.splitlines() if re.match("TASK|racy +16", line)) in shown
    code, printed, _ = read(place, "show", "--json")
    assert code == 0
    value = json.loads(printed)
    assert schemas.refusals("show", value) == []
    assert {task["task"]: task["failures"] for task in value["repeat"]["tasks"]}["sound"] == 0
    assert value["run"]["options"]["seed"] == 3
    assert read(place, "logs", "rare@11", "--tail", "1")[1] == "ValueError: unlucky\n"
    assert "rare@11" in read(place, "logs", "rare")[1]
    # The command that is shown repeats the failure.
    (line,) = (line for line in run.stderr.splitlines() if line.startswith("first failure: "))
    words = shlex.split(line.partition("to repeat it: mprun ")[2])
    assert words[-1] == "--until-failure"
    again = mprun(*words, cwd=place)
    assert again.code == 1
    assert again.one("run_finished")["reason"] == "fail_fast"
    assert again.one("run_started")["options"]["seed"] == 3
    # The copies that failed run again.
    (place / "alone").touch()
    resumed = mprun("resume", again.one("run_started")["run"], "-q", cwd=place)
    assert resumed.code == int(any(event["task"] == "rare@11" for event in resumed.of("task_finished")))
    reused = {event["task"] for event in resumed.of("task_finished") if event["reused"]}
    assert reused == {e["task"] for e in again.of("task_finished") if e["outcome"] == "succeeded"}


def test_a_copy_has_its_own_dependencies_and_all_share_a_service(place):
    write(
        place,
        job="""
        tasks:
          - {name: db, target: work:serve, daemon: true, ready: {file: up}}
          - {name: fixture, target: work:fixture, depends_on: db}
          - name: add
            target: work:add
            matrix: {n: [10, 20]}
            args: ["${matrix.n}", "${tasks.fixture.result}"]
          - {name: use, target: work:use, args: ["${tasks.fixture.result}", "${tasks.add.result}"]}
          - {name: items, target: work:items, args: ["${tasks.fixture.result}"]}
          - name: one
            target: work:one
            foreach: ${tasks.items.result}
            args: ["${item}", "${tasks.fixture.result}"]
          - {name: last, command: "true", depends_on: [one, "add*"]}
        """,
    )
    planned = read(place, "plan", "job.yaml", "--repeat", "3")[1]
    assert re.search(r" fixture@2 .*\[after db\]$", planned, re.MULTILINE), planned
    assert re.search(r"last@2 .*\[after one@2, add\*\]$", planned, re.MULTILINE), planned
    run = mprun("job.yaml", "--repeat", 3, cwd=place)
    assert run.code == 0, run.stderr
    started = [event["task"] for event in run.of("task_started")]
    assert started[0] == "db"
    each = ("fixture", "add[n=10]", "add[n=20]", "use", "items", "one[0]", "one[1]", "last")
    assert sorted(started[1:]) == sorted(f"{name}@{copy}" for name in each for copy in (1, 2, 3))
    for copy in (1, 2, 3):
        assert run.place("task_finished", f"one[1]@{copy}") < run.place("task_started", f"last@{copy}")
    # Also if copies are added during the run.
    run = mprun("job.yaml", "--repeat-for", "0.3", "-j", 8, "--output", "none", cwd=place)
    assert run.code == 0, run.stderr
    counts = [sum(e["task"].startswith(f"{name}@") for e in run.of("task_finished")) for name in each]
    assert counts[0] >= 2
    assert len(set(counts)) == 1
    assert [event["task"] for event in run.of("task_started")].count("db") == 1


def test_added_copies_wait_for_each_instance_of_a_service(place):
    write(
        place,
        job="""
        tasks:
          - {name: ports, command: "echo '[1, 2]'", capture: json}
          - {name: db, command: "exec sleep 60", daemon: true, foreach: "${tasks.ports.result}"}
          - {name: ask, command: "true", depends_on: {db: started}}
        """,
    )
    run = mprun("job.yaml", "--repeat-for", "1.5s", "-j", 2, "--output", "none", cwd=place)
    assert run.code == 0, run.stderr
    done = [event for event in run.of("task_finished") if event["task"].startswith("ask@")]
    assert len(done) > 4
    assert {event["outcome"] for event in done} == {"succeeded"}
    begun = [event["task"] for event in run.of("task_started") if event["task"] != "ports"]
    assert {*begun[:2]} == {"db[0]", "db[1]"}


@pytest.mark.parametrize("until", [("--repeat-for", "30s"), ("--until-failure",)])
@pytest.mark.parametrize(
    "tasks",
    [
        "[{name: a, command: 'true', when: '${params.go}'}]",
        "[{name: a, command: 'true', depends_on: {db: ready}}, {name: db, command: 'exit 3', daemon: true, "
        "ready: {file: never}}]",
    ],
)
def test_no_copies_are_added_of_what_cannot_start(place, tasks, until):
    write(place, job="params: {go: {type: boolean, default: false}}\ntasks: " + tasks)
    begun = time.monotonic()
    run = mprun("job.yaml", *until, "-j", 2, "--output", "none", cwd=place)
    assert time.monotonic() - begun < 20
    done = [event["outcome"] for event in run.of("task_finished") if event["task"] != "db"]
    # With `--until-failure`, the failure of the service may come before more copies are added.
    least = 2 if "db" in tasks and until == ("--until-failure",) else 3
    assert least <= len(done) <= 12
    assert {*done} <= {"skipped", "cancelled"}


def test_copies_are_added_until_the_time_is_over(place):
    run = mprun("job.yaml", "sound", "--repeat-for", "1500ms", "-j", 2, "--output", "none", cwd=place)
    assert run.code == 0
    done = [event["task"] for event in run.of("task_finished")]
    assert len(done) > 4
    numbers = [int(name.removeprefix("sound@")) for name in done]
    assert len(set(numbers)) == len(numbers)
    # Of the last four, the second pair may come first.
    assert max(numbers) - len(numbers) in (0, 2)
    planned = [name for event in run.of("tasks_planned") for name in event["tasks"]]
    assert sorted(planned) == sorted(done)
    assert run.one("run_started")["options"]["repeat_for"] == 1.5
    assert run.one("run_finished")["duration"] >= 1.5


def started(place):
    """The names of the copies that have started, in order."""
    directory = newest_run(place / ".mprun")
    events = complete_lines(Path(directory.events)) if directory else []
    return [event["task"] for event in events if event["event"] == "task_started"]


def outcomes(place, outcome):
    """The names of the copies that have ended in this way."""
    events = complete_lines(Path(newest_run(place / ".mprun").events))
    return {e["task"] for e in events if e["event"] == "task_finished" and e["outcome"] == outcome}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["first", "fir*", "first@*"])
def test_a_stopped_task_is_not_repeated_any_more_nor_what_depends_on_it(name, place):
    write(
        place,
        job="""
        tasks:
          - {name: first, target: work:fixture}
          - {name: second, target: work:fixture, depends_on: first}
          - {name: sound, target: work:sound}
        """,
    )
    process = start("job.yaml", "--repeat-for", "300s", "-j", 2, "--output", "none", cwd=place)
    eventually(lambda: "second@9" in started(place), 20)
    stopped = mprun("stop", name, cwd=place)
    assert stopped.code == 0, stopped.stderr
    # The many that have finished are not named.
    assert len(stopped.stderr.splitlines()) < 40, stopped.stderr
    before = len(started(place))
    eventually(lambda: len(started(place)) > before + 30, 20)
    after = {name for name in started(place)[before:] if not name.startswith("sound@")}
    # A copy of `first` may have succeeded before it could be stopped; then the one that depends on it runs.
    assert all(name.startswith("second@") for name in after)
    assert {name.replace("second", "first") for name in after} <= outcomes(place, "succeeded")
    eventually(lambda: len(started(place)) > before + 90, 20)
    assert {name.partition("@")[0] for name in started(place)[before + 60 :]} == {"sound"}
    # The last ones: the run ends without a word, long before its time.
    assert mprun("stop", "sound", cwd=place).code == 0
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"no more copies" not in stderr


def test_a_stopped_copy_is_one_copy(place):
    write(place, job="tasks: [{name: slow, command: '[ $MPRUN_COPY = 4 ] && exec sleep 60; sleep 0.1'}]")
    process = start("job.yaml", "--repeat-for", "4s", "-j", 2, "--output", "none", cwd=place)
    eventually(lambda: "slow@4" in started(place))
    assert mprun("stop", "slow@4", cwd=place).code == 0
    process.communicate(timeout=20)
    assert len(started(place)) > 8
    ends = [e for e in read_events(newest_run(place / ".mprun").events) if e["event"] == "task_finished"]
    assert {event["task"] for event in ends if event["outcome"] == "stopped"} == {"slow@4"}


def test_until_failure_ends_at_the_first_one(place):
    run = mprun("job.yaml", "rare", "--until-failure", "-j", 1, "--seed", 1, "--output", "none", cwd=place)
    assert run.code == 1
    assert run.outcome("rare@11") == "failed"
    assert run.one("run_finished")["reason"] == "fail_fast"
    assert "first failure: rare@11; to repeat it: mprun job.yaml -k rare --repeat " in run.stderr
    resumed = mprun("resume", "-q", cwd=place)
    assert resumed.code == 1
    assert {event["task"] for event in resumed.of("task_started")} >= {"rare@11"}


def test_the_shown_command_leaves_out_dependencies_if_the_run_did_and_quiet_shows_it_too(place):
    write(
        place,
        job="""
        tasks:
          - {name: built, target: work:sound}
          - {name: racy, target: work:racy, depends_on: built}
        """,
    )
    run = mprun("job.yaml", "racy", "--no-deps", "--repeat", 4, "-j", 4, "--output", "none", "-q", cwd=place)
    assert run.code == 1
    # What `--repeat` is asked for, how often it fails, is an answer even with -q.
    assert re.search(r"^racy +4 ", run.stderr, re.MULTILINE), run.stderr
    assert "to repeat it: mprun job.yaml -k racy --no-deps --repeat " in run.stderr
    words = shlex.split(re.search("to repeat it: mprun (.*)", run.stderr)[1])
    again = mprun(*words, cwd=place)
    assert again.code == 1
    assert {event["task"].partition("@")[0] for event in again.of("task_finished")} == {"racy"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--seed", "1"), "`--seed` needs `--repeat`, `--repeat-for` or `--until-failure`"),
        (
            ("--repeat", "2", "--repeat-for", "1s"),
            "`--repeat` and `--repeat-for` both say how long to repeat",
        ),
        (("--repeat", "100000"), "too many tasks: 300,000 (limit: 250,000)"),
        (("--repeat", "0"), "--repeat"),
    ],
)
def test_options_that_do_not_go_together(place, options, error):
    code, _, stderr = read(place, "job.yaml", *options)
    assert code == 2
    assert error in stderr
    assert not (place / ".mprun").exists()


def test_the_seed_decides_about_the_order_also_if_earlier_runs_know_the_durations(place):
    write(place, job='tasks: [{name: a, command: "true"}, {name: b, command: sleep 0.05}]')
    for _ in range(2):
        run = mprun("job.yaml", "--repeat", 8, "-j", 2, "--seed", 2, "-q", cwd=place)
        assert run.code == 0
        (planned,) = run.of("tasks_planned")
        assert [event["task"] for event in run.of("task_started")] == planned["tasks"]
