"""C16: real tasks are asked to end after the tasks that depend on them have ended."""

from __future__ import annotations

import itertools
import os
import signal

import pytest
from support.runs import START_METHODS, eventually, mprun, write

every_start_method = pytest.mark.parametrize("method", START_METHODS)

# `serve` takes its time to end, and notes which other services had been asked by then.
WORK = """\
    import os, signal, time

    def serve(name, ignores=False):
        asked = []
        signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
        open(f"{name}.up", "w").close()
        while not asked or ignores:
            time.sleep(0.005)
        open(f"{name}.asked", "w").close()
        time.sleep(0.3)
        others = {other for other in os.listdir() if other.endswith(".asked")} - {f"{name}.asked"}
        print("had been asked:", *sorted(others))

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.005)

    def fail_after(name):
        wait_for(name)
        raise SystemExit(3)

    def items():
        return ["a", "b"]
"""
SERVE = "target: 'work:serve', stop: {grace: 600}"
SH = """trap 'echo > $0.asked; sleep 0.3; echo had been asked: *.asked; exit' TERM
      echo > $0.up; while :; do sleep 0.01; done"""


@pytest.fixture
def go(tmp_path, crash_target):
    def start_run(job, *arguments, up=(), more=None):
        write(tmp_path, work=WORK, job=job, **(more or {}))
        run = crash_target(tmp_path, "job.yaml", *arguments)
        for name in up:
            eventually((tmp_path / f"{name}.up").exists, 30)
        return run

    return start_run


def asked_order(run):
    """The tasks in the order in which they got their stop signals; each pair had an end in between."""
    stopping = [event["task"] for event in run.of("task_stopping")]
    for before, after in itertools.pairwise(stopping):
        assert run.place("task_exited", before) < run.place("task_stopping", after)
    return stopping


def had_been_asked(run, task):
    (line,) = [line for line in run.log(task).decode().splitlines() if line.startswith("had been asked:")]
    return line.split()[3:]


def assert_in_order(run, *names):
    """Each was asked when the one before it had ended."""
    assert asked_order(run) == list(names)
    for number, name in enumerate(names):
        assert had_been_asked(run, name) == sorted(f"{before}.asked" for before in names[:number])


# Three services, each of which needs the next one, in the wrong order in the file.
JOB = f"""\
    start_method: METHOD
    EXTRA
    tasks:
    - {{name: web, {SERVE}, args: [web], daemon: true, depends_on: {{db: started}}}}
    - {{name: db, {SERVE}, args: [db], daemon: true}}
    - {{name: proxy, {SERVE}, args: [proxy], daemon: true, depends_on: {{web: started}}}}
    - {{name: main, target: 'work:wait_for', args: [go on], stop: {{grace: 600}}}}
"""


def job(method="fork", extra="x-none: 1"):
    return JOB.replace("METHOD", method).replace("EXTRA", extra)


@every_start_method
def test_services_end_in_order_at_the_end_of_the_run(go, tmp_path, method):
    run = go(job(method), up=["web", "db", "proxy"])
    (tmp_path / "go on").touch()
    ended = run.finish()
    assert_in_order(ended, "proxy", "web", "db")
    assert (ended.code, ended.outcome("db")) == (0, "stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_services_end_in_order_after_a_signal(go, number):
    run = go(
        job().replace(
            "'work:wait_for', args: [go on]", "'work:serve', args: [main], depends_on: {proxy: started}"
        ),
        up=["web", "db", "proxy", "main"],
    )
    run.engine.send_signal(number)
    ended = run.finish()
    assert_in_order(ended, "main", "proxy", "web", "db")
    assert ended.code == 128 + number


def test_services_end_in_order_after_mprun_stop(go, tmp_path):
    run = go(
        job().replace("name: main", "name: main, depends_on: {proxy: started}"), up=["web", "db", "proxy"]
    )
    run.until("task_started", "main")
    assert mprun("stop", cwd=tmp_path).code == 0
    ended = run.finish()
    assert asked_order(ended) == ["main", "proxy", "web", "db"]
    assert ended.code == 143


@pytest.mark.parametrize(
    ("extra", "reason"), [("timeout: 6s", "run_timeout"), ("fail_fast: true", "fail_fast")]
)
def test_services_end_in_order_after_a_timeout_or_failure(go, tmp_path, extra, reason):
    text = job(extra=extra)
    if reason == "fail_fast":
        text = text.replace("wait_for", "fail_after")
    run = go(text, up=["web", "db", "proxy"])
    (tmp_path / "go on").touch() if reason == "fail_fast" else None
    ended = run.finish()
    services = [event for event in ended.of("task_stopping") if event["task"] != "main"]
    assert [(event["task"], event["reason"]) for event in services] == [
        ("proxy", reason),
        ("web", reason),
        ("db", reason),
    ]
    assert had_been_asked(ended, "db") == ["proxy.asked", "web.asked"]
    assert had_been_asked(ended, "proxy") == []
    assert ended.code == 1


@pytest.mark.parametrize("names", [("db", "web", "proxy"), ("*b", "proxy"), ("proxy", "db")])
def test_tasks_that_are_stopped_together_end_in_order(go, tmp_path, names):
    run = go(job(), up=["web", "db", "proxy"])
    assert mprun("stop", *names, cwd=tmp_path).code == 0
    (tmp_path / "go on").touch()
    ended = run.finish()
    by_user = [event["task"] for event in ended.of("task_stopping") if event["reason"] == "user"]
    assert by_user == [
        name for name in ("proxy", "web", "db") if name in names or ("*b" in names and name != "proxy")
    ]
    assert "db.asked" not in had_been_asked(ended, "proxy")


def test_commands_end_in_order(go, tmp_path):
    run = go(
        f"""\
    tasks:
    - name: db
      command: [sh, -c, {SH!r}, db]
      daemon: true
      stop: {{grace: 600}}
    - name: web
      command: [sh, -c, {SH!r}, web]
      daemon: true
      depends_on: {{db: started}}
      stop: {{grace: 600}}
    - {{name: main, target: 'work:wait_for', args: [go on]}}
    """,
        up=["db", "web"],
    )
    (tmp_path / "go on").touch()
    ended = run.finish()
    assert asked_order(ended) == ["web", "db"]
    assert (had_been_asked(ended, "web"), had_been_asked(ended, "db")) == (
        ["web.asked"],
        ["db.asked", "web.asked"],
    )


RECIPE = f"""\
    tasks:
    - {{name: web, {SERVE}, args: [web], daemon: true, depends_on: {{db: started}}}}
    - {{name: db, {SERVE}, args: [db], daemon: true}}
"""


@every_start_method
def test_the_order_holds_through_recipes_lists_and_patterns(go, tmp_path, method):
    """A recipe's services, the instances of a list that a task returned, and a pattern for all of them."""
    run = go(
        f"""\
    start_method: {method}
    tasks:
    - {{name: stack, uses: job-stack.yaml}}
    - {{name: items, target: 'work:items'}}
    - name: each
      target: work:serve
      args: ["${{item}}"]
      foreach: ${{tasks.items.result}}
      daemon: true
      stop: {{grace: 600}}
      depends_on: {{stack: started}}
    - {{name: proxy, {SERVE}, args: [proxy], daemon: true, depends_on: {{"each*": started}}}}
    - {{name: main, target: 'work:wait_for', args: [go on]}}
    """,
        up=["db", "web", "a", "b", "proxy"],
        more={"job-stack": RECIPE},
    )
    (tmp_path / "go on").touch()
    ended = run.finish()
    stopping = [event["task"] for event in ended.of("task_stopping")]
    assert (stopping[0], {*stopping[1:3]}, stopping[3:]) == (
        "proxy",
        {"each[0]", "each[1]"},
        ["stack/web", "stack/db"],
    )
    assert had_been_asked(ended, "proxy") == []
    assert had_been_asked(ended, "stack/web") == ["a.asked", "b.asked", "proxy.asked"]
    assert had_been_asked(ended, "stack/db") == ["a.asked", "b.asked", "proxy.asked", "web.asked"]
    assert ended.code == 0


def test_a_task_that_ignores_its_signal_delays_others_by_its_grace(go, tmp_path):
    text = (
        job()
        .replace("args: [proxy]", "args: [proxy, true]")
        .replace(
            "name: proxy, target: 'work:serve', stop: {grace: 600}",
            "name: proxy, target: 'work:serve', stop: {grace: 0.5}",
        )
    )
    run = go(text, up=["web", "db", "proxy"])
    (tmp_path / "go on").touch()
    ended = run.finish()
    signals = [(event["task"], event["signal"]) for event in ended.of("task_stopping")]
    assert signals == [("proxy", "SIGTERM"), ("proxy", "SIGKILL"), ("web", "SIGTERM"), ("db", "SIGTERM")]
    assert ended.code == 0


@pytest.mark.parametrize("asked", ["proxy", "web", "db"])
def test_a_second_ctrl_c_cuts_through_at_any_point(go, tmp_path, asked):
    """Only this one of the services ignores its signal."""
    text = job().replace(f"args: [{asked}]", f"args: [{asked}, true]")
    run = go(text, up=["web", "db", "proxy"])
    run.engine.send_signal(signal.SIGINT)
    run.until("task_stopping", asked)
    run.engine.send_signal(signal.SIGINT)
    ended = run.finish()
    order = ["proxy", "web", "db"]
    killed = {event["task"] for event in ended.of("task_stopping") if event["signal"] == "SIGKILL"}
    assert killed >= set(order[order.index(asked) :])
    assert (ended.code, run.survivors()) == (130, [])


def test_a_killed_engine_leaves_no_task_that_waits_to_be_asked(go, tmp_path):
    run = go(job().replace("args: [proxy]", "args: [proxy, true]"), up=["web", "db", "proxy"])
    run.engine.send_signal(signal.SIGTERM)
    run.until("task_stopping", "proxy")
    os.kill(run.engine.pid, signal.SIGKILL)
    run.seconds_to_vanish()
