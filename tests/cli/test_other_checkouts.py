"""Records that came with another checkout of the project, as from a cache or an artifact of CI, are used."""

import json
import re
import shutil

import pytest
from support.records import read
from support.runs import mprun, newest_run, read_events

# What the tasks print has the path of the checkout in it.
JOB = """\
tasks:
  - {name: t, command: "pwd; sleep ${matrix.s}; test ! -e fail", matrix: {s: [0, 0.1, 0.2, 0.3]}}
"""


@pytest.fixture
def agents(tmp_path):
    """Two checkouts, of which the second has a copy of the record of the first, of all tasks."""
    places = [tmp_path / "agent-1" / "shop", tmp_path / "agent-22" / "work" / "shop"]
    for place in places:
        (place / "jobs").mkdir(parents=True)
        (place / "jobs" / "job.yaml").write_text(JOB)
    run(places[0])
    copy(*places)
    return places


def run(place, *arguments, code=0, **more):
    done = mprun("jobs/job.yaml", *arguments, cwd=place, **more)
    assert done.code == code, done.stderr
    return done


def copy(one, other):
    shutil.copytree(one / ".mprun" / "runs", other / ".mprun" / "runs", dirs_exist_ok=True)
    (other / ".mprun").chmod(0o700)


def started(place):
    events = read_events(newest_run(place / ".mprun").events)
    return {event["task"] for event in events if event["event"] == "task_started"}


@pytest.mark.parametrize("state_dir", [".mprun", "build/state"])
def test_shards_by_time_are_divided_alike(agents, state_dir):
    first, second = agents
    if state_dir != ".mprun":
        shutil.rmtree(second / ".mprun")
        run(first, state_dir=first / state_dir)
        (second / "build").mkdir()
        shutil.copytree(first / state_dir, second / state_dir)
    found = []
    for place in agents:
        done = mprun(
            "plan", "jobs/job.yaml", "--partition", "time:1/2", "--json", "--state-dir", state_dir, cwd=place
        )
        assert (done.code, done.stderr) == (0, "")
        found.append(json.loads(done.stdout)["partition"])
    assert found[0] == found[1]
    assert found[0]["shards"][0]["seconds"] >= 0.3
    # The first checkout need not be there.
    shutil.rmtree(first)
    run(second, "--partition", "time:2/2", state_dir=second / state_dir)


def test_a_run_is_compared_with_that_of_the_other_checkout(agents):
    _, second = agents
    run(second)
    done = read(second, "compare")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == ["no difference"]
    for _ in range(2):
        run(second)
    (second / "jobs" / "job.yaml").write_text(JOB.replace("sleep", "sleep 1; sleep"))
    run(second)
    done = read(second, "compare")
    assert "earlier runs)" in done.stdout
    assert "fewer than 3" not in done.stdout


def test_a_task_that_ended_differently_in_another_checkout_is_flaky(agents):
    _, second = agents
    (second / "fail").touch()
    run(second, code=1)
    found = json.loads(read(second, "flaky", "--json").stdout)["tasks"]
    assert {(one["task"], one["runs"], one["failures"]) for one in found} == {
        (f"t[s={seconds}]", 2, 1) for seconds in ("0", "0.1", "0.2", "0.3")
    }
    assert {one["file"] for one in found} == {str(second / "jobs" / "job.yaml")}
    (second / "jobs" / "job.yaml").write_text(f"{JOB}# changed\n")
    (second / "fail").unlink()
    run(second)
    assert json.loads(read(second, "flaky", "--json").stdout)["tasks"] == found


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_run_of_another_checkout_is_resumed_in_this_one(agents, is_gone):
    first, second = agents
    (first / "fail").touch()
    run(first, code=1)
    copy(first, second)
    if is_gone:
        shutil.rmtree(first)
    before = sorted(path.name for path in first.glob(".mprun/runs/*"))
    done = mprun("resume", cwd=second)
    assert done.code == 0, done.stderr
    assert done.one("run_started")["cwd"] == str(second)
    assert done.log("t[s=0]") == f"{second}\n".encode()
    assert sorted(path.name for path in first.glob(".mprun/runs/*")) == before


def test_a_run_of_another_checkout_is_not_resumed_if_its_job_file_differs(agents):
    first, second = agents
    (first / "fail").touch()
    run(first, code=1)
    copy(first, second)
    (second / "jobs" / "job.yaml").write_text(f"{JOB}# changed\n")
    done = mprun("resume", cwd=second)
    assert done.code == 2
    assert f"`{second}/jobs/job.yaml` is not the same as in run" in done.stderr
    (second / "jobs" / "job.yaml").unlink()
    shutil.rmtree(first)
    done = mprun("resume", cwd=second)
    assert "is not in this directory: `jobs/job.yaml`; change to the directory that has it" in done.stderr


def test_a_success_in_another_checkout_leaves_nothing_to_resume(agents):
    first, second = agents
    (second / "fail").touch()
    run(second, code=1)
    run(first)
    copy(first, second)
    assert "succeeded; there is nothing to resume" in mprun("resume", cwd=second).stderr


def test_a_run_whose_record_alone_was_moved_is_resumed_where_it_ran(agents, tmp_path):
    first, _ = agents
    (first / "fail").touch()
    run(first, code=1)
    (first / "fail").unlink()
    archive = tmp_path / "archive"
    shutil.move(first / ".mprun", archive)
    done = mprun("resume", cwd=tmp_path, state_dir=archive)
    assert done.code == 0, done.stderr
    assert f"is resumed where it ran: {first}\n" in done.stderr


def test_junit_has_the_lines_of_this_checkout(agents):
    first, second = agents
    shutil.rmtree(first)
    written = read(second, "export", "--junit", "-").stdout
    assert re.findall(r'file="(.*?)" line="(.*?)"', written) == [("jobs/job.yaml", "2")] * 4


def test_two_projects_with_one_state_directory_are_two(agents, tmp_path):
    """Only a record that was written in another state directory is taken for one of this checkout."""
    first, second = agents
    shutil.rmtree(second / ".mprun")
    run(first, state_dir=tmp_path / "shared")
    done = mprun(*("jobs/job.yaml", "--partition", "time:1/2"), cwd=second, state_dir=tmp_path / "shared")
    assert "no earlier run in" in done.stderr


def test_a_state_directory_has_two_names(agents, tmp_path):
    first, _ = agents
    (tmp_path / "link").symlink_to(first)
    done = mprun(
        *("plan", "jobs/job.yaml", "--partition", "time:1/2", "--state-dir", tmp_path / "link" / ".mprun"),
        cwd=first,
    )
    assert (done.code, done.stderr) == (0, "")


@pytest.mark.parametrize("state_dir", ["/x\0y", "/\ud800", "", "elsewhere", 7, ["/a"], "/no/such"])
def test_a_record_may_name_any_state_directory(agents, state_dir):
    place = agents[0]
    record = newest_run(place / ".mprun").events
    first, *others = read_events(record)
    lines = [{**first, "state_dir": state_dir}, *others]
    with open(record, "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    for command in (
        ["plan", "jobs/job.yaml", "--partition", "time:1/2"],
        ["flaky"],
        ["report", "-o", "report.html"],
        ["show"],
        ["jobs/job.yaml"],
    ):
        done = mprun(*command, cwd=place)
        assert (done.code, "internal error" in done.stderr) == (0, False), done.stderr
    assert mprun("resume", cwd=place).code in (0, 2)


def test_a_copied_project_is_not_resumed_in_the_other_one(agents):
    first, second = agents
    (first / "fail").touch()
    run(first, code=1)
    copy(first, second)
    (second / "jobs" / "deep").mkdir()
    done = mprun("resume", "--state-dir", "../../.mprun", cwd=second / "jobs" / "deep")
    assert done.code == 2, done.stderr
    assert str(first) not in done.stderr.replace(str(first) + "`", "")
    assert len(list((first / ".mprun" / "runs").glob("2*"))) == 2


def test_merged_shards_of_other_depths_are_runs_of_the_job_file(agents):
    place = agents[0]
    for number in (1, 2):
        run(place, "--partition", f"slice:{number}/2", state_dir=place / "shards" / str(number))
    merged = mprun("merge", "shards/1", "shards/2", cwd=place)
    assert merged.code == 0, merged.stderr
    compared = mprun("compare", cwd=place)
    assert "of the same job file" not in compared.stderr
    assert compared.code == 0, compared.stdout
