"""Shards of a job: a partition of its tasks."""

import json

import pytest
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
    done = run(place, "--partition", "time:1/2")
    assert "no earlier run in .mprun says how long" in done.stderr
    assert "so they are divided as by `slice:1/2`" in done.stderr
    # What has just run here must not change the division of the other shard.
    assert "no earlier run in .mprun" in run(place, "--partition", "time:2/2").stderr
    run(place)
    planned = mprun("plan", "job.yaml", "--partition", "time:1/2", cwd=place)
    assert "partition time:1/2: 2 of 5 tasks\n" in planned.stdout
    assert "in sequence): build, unit[seconds=0.4]\n" in planned.stdout
    found = json.loads(mprun("plan", "job.yaml", "--partition", "time:2/2", "--json", cwd=place).stdout)
    assert {key: found["partition"][key] for key in ("kind", "shard", "of")} == {
        "kind": "time",
        "shard": 2,
        "of": 2,
    }
    first, second = found["partition"]["shards"]
    assert first["tasks"] == ["build", "unit[seconds=0.4]"]
    assert 0.4 < first["seconds"] < 5
    assert len(second["tasks"]) == 4


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
