"""`host` with `--executor dask`: tasks that need something of their worker, here of one of two."""

import sys

import pytest
from support.cluster import Cluster
from support.runs import eventually, finish, mprun, start, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
]

MODULE = """
    import os, time
    from multiprocessing import current_process

    def hold(folder):
        # How many do so at once: each has a file in the folder while it runs.
        os.makedirs(folder, exist_ok=True)
        name = os.path.join(folder, current_process().name)
        open(name, "w").close()
        time.sleep(0.1)
        many = len(os.listdir(folder))
        time.sleep(0.1)
        os.unlink(name)
        return {"many": many, "worker": os.environ["WORKER"]}

    def wait_for(path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return os.environ["WORKER"]

    def hang():
        print("hanging", flush=True)
        time.sleep(600)
"""


def begin(folder, first, second):
    cluster = Cluster(folder)
    for name, resources in (("first", first), ("second", second)):
        cluster.add_worker(name, 3, resources=resources, env={"WORKER": name})
    cluster.wait_for_workers()
    return cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    found = begin(tmp_path_factory.mktemp("cluster"), {"gpu": 2, "disk": 0.5}, {"ram": 1})
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def place(tmp_path):
    write(tmp_path, work=MODULE)
    return tmp_path


def on(cluster):
    return ("--executor", "dask", "--scheduler", cluster.address)


def texts(place, names):
    return "".join(path.read_text() for path in place.glob(f".mprun/runs/*/{names}"))


def results(run):
    return {event["task"]: run.result(event["task"]) for event in run.of("task_finished")}


def test_tasks_run_where_there_is_what_they_need_and_no_more_of_them_than_that(place, cluster):
    write(
        place,
        job="""
            defaults: {target: "work:hold"}
            tasks:
              - {name: gpu, args: [gpu], host: {gpu: 1}, matrix: {n: [1, 2, 3, 4, 5, 6]}}
              - {name: ram, args: [ram], host: {ram: 1}, matrix: {n: [1, 2, 3]}}
              - {name: both, args: [gpu], host: {gpu: "${matrix.n}", disk: 0.5}, matrix: {n: [1, 2]}}
              - {name: any, args: [any], matrix: {n: [1, 2, 3, 4]}}
              - {name: after, args: [ram], host: {ram: 1}, depends_on: gpu}
              - {name: names, command: "echo '[1, 2]'", capture: json}
              - {name: late, args: [gpu], foreach: "${tasks.names.result}", host: {gpu: "${item}"}}
        """,
    )
    run = mprun("job.yaml", *on(cluster), cwd=place)
    assert run.code == 0, run.stdout + run.stderr
    found = results(run)
    found.pop("names"), found.pop("late", None)
    assert len(found) == 18
    for task, result in found.items():
        kind = task.partition("[")[0]
        if kind != "any":
            assert result["worker"] == ("second" if kind in ("ram", "after") else "first"), task
            assert result["many"] <= (1 if kind in ("ram", "after") else 2), task
    assert found["both[n=2]"]["many"] == found["late[1]"]["many"] == 1


def test_many_that_wait_for_one_worker_leave_the_other_to_the_rest(place, cluster):
    # More than the engine sends beyond the slots; the last task ends the wait of the first.
    numbers = list(range(30))
    write(
        place,
        job=f"""
            tasks:
              - {{name: first, target: "work:wait_for", args: [go], host: {{ram: 1}}, timeout: 60s}}
              - {{name: next, command: "true", host: {{ram: 1}}, matrix: {{n: {numbers}}}}}
              - {{name: last, command: "touch go"}}
        """,
    )
    run = mprun("job.yaml", *on(cluster), cwd=place)
    assert run.code == 0, run.stdout + run.stderr
    assert results(run)["first"] == "second"


def test_what_only_a_worker_without_a_share_of_the_slots_has_is_used(place, cluster):
    write(
        place,
        job="""
            tasks:
              - {name: ram, target: "work:hold", args: [all], host: {ram: 1}}
              - {name: gpu, target: "work:hold", args: [all], host: {gpu: 1}}
              - {name: any, target: "work:hold", args: [all]}
        """,
    )
    run = mprun("job.yaml", *on(cluster), "-j", "1", cwd=place)
    assert run.code == 0, run.stdout + run.stderr
    assert {name: result["many"] for name, result in results(run).items()} == {"ram": 1, "gpu": 1, "any": 1}


def test_what_no_worker_has_is_refused_before_anything_starts(place, cluster):
    write(
        place,
        job="""
            tasks:
              - {name: fits, command: "touch started"}
              - {name: big, command: "true", host: {gpu: 3}}
              - {name: split, command: "true", host: {gpu: 1, ram: 1}}
        """,
    )
    run = mprun("job.yaml", *on(cluster), cwd=place)
    assert run.code == 2
    assert "task `big` needs a worker with `gpu: 3`, and there is none" in run.stderr
    assert "job.yaml:4:" in run.stderr
    assert "task `split` needs a worker with `gpu: 1, ram: 1`" in run.stderr
    assert "has `disk: 0.5, gpu: 2`" in run.stderr
    assert "has `ram: 1`" in run.stderr
    assert not (place / "started").exists()


def test_what_could_not_start_beside_daemons_is_refused_before_anything_starts(place, cluster):
    write(
        place,
        job="""
            tasks:
              - {name: server, command: sleep 600, daemon: true, host: {gpu: 1}, matrix: {n: [1, 2]}}
              - {name: fits, command: "touch started", host: {ram: 1}}
              - {name: never, command: "true", host: {gpu: 1}, depends_on: fits}
        """,
    )
    run = mprun("job.yaml", *on(cluster), cwd=place)
    assert run.code == 2, run.stderr
    assert "it could never start: the daemons hold `gpu: 2` until the job ends" in run.stderr
    assert "job.yaml:5:" in run.stderr
    assert run.stderr.count("job.yaml:") == 1
    assert not (place / "started").exists()


def test_a_run_of_hosts_is_resumed_on_one_machine_if_nothing_must_run_that_needs_a_host(place, cluster):
    write(
        place,
        job="""
            tasks:
              - {name: gpu, command: "true", host: {gpu: 1}}
              - {name: plain, command: "test -e fixed"}
              - {name: late, command: "test -e fixed", host: {ram: 1}}
        """,
    )
    assert mprun("job.yaml", *on(cluster), cwd=place).code == 1
    (place / "fixed").touch()
    refused = mprun("resume", cwd=place)
    assert refused.code == 2
    assert "`host` needs `--executor dask`" in refused.stderr
    assert "job.yaml:5:" in refused.stderr
    assert refused.stderr.count("job.yaml:") == 1
    resumed = mprun("resume", *on(cluster), cwd=place)
    assert resumed.code == 0, resumed.stderr
    assert "gpu" not in [event["task"] for event in resumed.of("task_started")]


def test_what_was_reused_needs_no_host(place, cluster):
    write(
        place,
        job="""
            tasks:
              - {name: gpu, command: "true", host: {gpu: 1}}
              - {name: plain, command: "test -e fixed"}
        """,
    )
    assert mprun("job.yaml", *on(cluster), cwd=place).code == 1
    (place / "fixed").touch()
    resumed = mprun("resume", cwd=place)
    assert resumed.code == 0, resumed.stderr
    assert [event["task"] for event in resumed.of("task_started")] == ["plain"]


def test_what_no_host_has_any_more_fails_after_the_timeout_and_the_rest_continues(place, tmp_path_factory):
    cluster = begin(tmp_path_factory.mktemp("lost"), {"gpu": 1}, {})
    try:
        write(
            place,
            job="""
                tasks:
                  - {name: lost, target: "work:hang", host: {gpu: 1}}
                  - {name: next, command: "true", host: {gpu: 1}}
                  - {name: other, target: "work:wait_for", args: [go], timeout: 60s}
            """,
        )
        process = start("job.yaml", *on(cluster), "--host-timeout", "2s", cwd=place)
        eventually(lambda: "hanging" in texts(place, "logs/*"), 60)
        cluster.workers["first"].kill()
        eventually(lambda: "no host has had" in texts(place, "events.jsonl"), 60)
        (place / "go").touch()
        run = finish(process, place / ".mprun")
    finally:
        cluster.close()
    found = {event["task"]: (event["outcome"], event["reason"]) for event in run.of("task_finished")}
    assert found["lost"][0] == "unknown"
    assert found["next"][0] == "failed"
    assert found["next"][1] == "could not be started: no host has had gpu: 1 for 2s"
    assert found["other"][0] == "succeeded"
