"""The time and the memory per task do not grow with the number of tasks; without processes."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import tracemalloc
from collections import deque
from io import StringIO
from itertools import count

import pytest
from support.plans import plan
from support.records import STAMP, STARTED, ended, exited, record, started
from support.runs import ROOT
from support.timing import cpu_seconds, growth

from mprun import api
from mprun.cli.views.run_json import show_json
from mprun.diagnostics import SourceLines
from mprun.engine.preflight import distinct_calls
from mprun.jobfile.syntax.document import span_of
from mprun.record import garbage_collector, reader, recorder
from mprun.record.state_dir import RunDirectory
from mprun.reporters import table
from mprun.scheduling.instructions import Start
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import Scheduler

SERIAL = count()
FEW, MANY = 300, 2400
# If a step looks at every task, a task costs a multiple with eight times as many tasks; a busy machine
# makes the cost half as much again.
GROWTH = 2.0


@pytest.fixture
def engine_cost(monkeypatch):
    """The benchmark, in memory, because the time of a disk varies; the tests run a small part of it."""
    if os.path.isdir("/dev/shm"):
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import engine_cost

    return engine_cost


def assert_flat(cost, least=FEW, most=MANY):
    """`cost(n)` is the seconds for n tasks; check that they are the same per task for few and for many."""
    with garbage_collector.paused():
        assert growth(lambda: cost(least), lambda: cost(most), rounds=2) < GROWTH * most / least


def test_a_task_costs_the_engine_the_same_with_few_and_many_tasks(engine_cost, capsys):
    # Not too few tasks, because the cost includes the fixed cost of a run.
    assert_flat(lambda n: engine_cost.run("matrix", n)["microseconds"] * n * 1e-6, 800, 6400)


def test_a_task_costs_the_engine_the_same_with_few_and_many_slots(engine_cost, capsys):
    def cost(slots):
        return engine_cost.run("file", 800, at_once=slots)["microseconds"]

    with garbage_collector.paused():
        assert growth(lambda: cost(2), lambda: cost(800), rounds=2) < GROWTH


# ---- the scheduler


def specs(count):
    """Graphs of this many tasks, named by their difficulty."""
    names = [f"t{number}" for number in range(count)]
    yield "independent", dict.fromkeys(names, ()), {}
    yield "chain", dict(zip(names, [(), *((name,) for name in names)], strict=False)), {}
    yield "one for all", {name: (names[0],) if number else () for number, name in enumerate(names)}, {}
    yield "joined backwards", dict.fromkeys(names, ()), {"join": [(name, None) for name in reversed(names)]}
    token = {name: {"resources": {"db": 1}} for name in names}
    yield "behind a token", dict.fromkeys(names, ()), {"resources": {"db": 1}, "keys": token}
    limited = {name: {"timeout": 60.0} for name in names}
    yield "each with a timeout", dict.fromkeys(names, ()), {"keys": limited}


def drive(the_plan):
    """Run a plan whose tasks end at once, in the order of their starts; the scheduler."""
    scheduler = Scheduler(the_plan)
    succeeded = AttemptResult(succeeded=True, reason="exit 0", exit_code=0)
    instructions = deque(scheduler.begin(0.0))
    while instructions or scheduler.has_more:
        if not instructions:
            instructions += scheduler.proceed(1.0)
            continue
        instruction = instructions.popleft()
        if isinstance(instruction, Start):
            instructions += scheduler.handle_started(instruction.task, 0.0)
            instructions += scheduler.handle_exited(instruction.task, succeeded, 1.0)
    assert scheduler.finished
    return scheduler


@pytest.mark.parametrize("which", range(6), ids=[name for name, _, _ in specs(2)])
def test_a_task_costs_the_scheduler_the_same_with_few_and_many_tasks(which):
    def cost(count):
        _, spec, more = list(specs(count))[which]
        the_plan = plan(spec, slots=2, **more)
        return cpu_seconds(lambda: drive(the_plan))

    assert_flat(cost)


# ---- memory


def kept(make):
    """What `make` returns, and how many bytes of memory that takes."""
    gc.collect()
    tracemalloc.start()
    try:
        found = make()
        if gc.isenabled():
            gc.collect()
        return found, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def lines(count):
    """The record of a run of this many tasks that succeeded."""
    yield STARTED | {"tasks": count}
    for number in range(count):
        name = f"task[n={number}]"
        yield started(name, pid=number + 100)
        yield exited(name, pid=number + 100, duration=1.0 + number / 7)
        finished = {
            "outcome": "succeeded",
            "attempts": 1,
            "reason": "",
            "result": None,
            "result_kind": "none",
        }
        yield {"event": "task_finished", **STAMP, "task": name, **finished}
        yield {"event": "task_joined", **STAMP, "task": name, "position": number + 1, "of": count}
    yield ended(counts={"succeeded": count})


@pytest.fixture
def many_tasks(tmp_path):
    run = record(tmp_path, lines(MANY))
    return RunDirectory(str(tmp_path / ".mprun" / "runs" / run))


def test_a_finished_task_takes_half_a_kilobyte_of_the_run_state(many_tasks):
    (state, damage), size = kept(lambda: reader.read_state(many_tasks))
    assert not damage
    assert len(state.tasks) == MANY
    assert size / MANY < 700
    row = next(iter(table.rows(state)))
    assert row[:3] == ("task[n=0]", "succeeded", "100")


def test_a_task_takes_half_a_kilobyte_of_the_scheduler():
    the_plan = plan(dict.fromkeys([f"t{number}" for number in range(MANY)], ()), slots=2)
    scheduler, size = kept(lambda: drive(the_plan))
    assert scheduler.finished
    assert size / MANY < 600


# ---- tasks that a file lists

CHAIN = "- {{name: t{0}, target: 'm:f', timeout: {0}, depends_on: t{1}}}\n".format
WRITTEN_OUT = {
    # Bytes per task: half as much again if the tree stays, by itself or in a cycle with its composer.
    "targets": ("- target: m:f\n" * MANY, 850),
    "chain": ("- {name: t0, target: 'm:f'}\n" + "".join(CHAIN(n, n - 1) for n in range(1, MANY)), 1400),
}


@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_a_plan_keeps_nothing_of_the_tree_of_its_file(kind, tmp_path, uncollected):
    text, most = WRITTEN_OUT[kind]
    path = tmp_path / "job.yaml"
    # Modules and compiled patterns are not part of the memory of the tasks.
    path.write_text("tasks:\n- {target: m:f, timeout: 1, depends_on: []}\n")
    api.plan_job(api.load_job(path))
    path.write_text("tasks:\n" + text)
    the_plan, size = kept(lambda: api.plan_job(api.load_job(path)))
    assert len(the_plan.tasks) == MANY
    assert size / MANY < most
    # The tree is parsed again when a diagnostic needs it.
    last = the_plan.tasks[-1].task
    assert span_of(last.document, (*last.origin.path, "target")).line == MANY + 1


def test_equal_calls_of_many_tasks_are_bound_once(tmp_path, uncollected):
    path = tmp_path / "job.yaml"
    other = "- {target: m:f, args: [1]}\n- {target: m:f, kwargs: {a: 1}}\n- {target: m:g}\n"
    path.write_text("tasks:\n" + "- target: m:f\n" * MANY + other)
    the_plan = api.plan_job(api.load_job(path))
    found, size = kept(lambda: distinct_calls(the_plan))
    assert size / MANY < 40
    assert [(call.target, call.args, call.kwargs, len(tasks)) for call, tasks in found] == [
        ("m:f", (), {}, MANY),
        ("m:f", (None,), {}, 1),
        ("m:f", (), {"a": None}, 1),
        ("m:g", (), {}, 1),
    ]


def test_a_valid_file_is_not_split_into_lines(tmp_path, monkeypatch):
    path = tmp_path / "job.yaml"
    path.write_text("tasks:\n- {target: m:f, args: ['${env.HOME}']}\n")
    monkeypatch.setattr(SourceLines, "_lines", None)
    assert len(api.plan_job(api.load_job(path)).tasks) == 1


@pytest.fixture
def uncollected():
    """Without garbage collection, as at the start of the command."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_reading_a_record_takes_the_same_time_per_task(tmp_path):
    def cost(count):
        name = record(tmp_path, lines(count), name=f"20260101-120000.000-{count:04x}-{next(SERIAL)}")
        directory = RunDirectory(str(tmp_path / ".mprun" / "runs" / name))
        return cpu_seconds(lambda: reader.read_state(directory))

    assert_flat(cost)


def test_the_json_of_a_run_is_written_task_by_task(many_tasks):
    state, _ = reader.read_state(many_tasks)
    written = StringIO()
    show_json(many_tasks, state, written)
    value = json.loads(written.getvalue())
    assert len(value["tasks"]) == MANY
    assert written.getvalue() == json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    _, size = kept(lambda: show_json(many_tasks, state, NoStream()))
    assert size < 100_000


class NoStream:
    """Discards what is written to it."""

    def write(self, text):
        pass


def test_exits_of_one_turn_are_answered_by_one_message_before_they_are_recorded(engine_cost, monkeypatch):
    done = []

    class Bursts(engine_cost.Paper):
        """Four tasks end at once."""

        def recv(self, size):
            done.append("heard ")
            return b"".join([super(Bursts, self).recv(size) for _ in range(4)])

        def send(self, data):
            done.append("sent ")
            return super().send(data)

    def append(self, batch):
        done.append("written ")
        write(self, batch)

    write = recorder.Recorder.append
    monkeypatch.setattr(engine_cost, "Paper", Bursts)
    monkeypatch.setattr(recorder.Recorder, "append", append)
    engine_cost.run("file", 100, at_once=4)
    # The start of the run is written first, because no task starts before it.
    beginning, _, rest = "".join(done).partition("written sent ")
    assert beginning == "sent heard "
    assert rest.count("sent ") >= 10
    assert "sent sent " not in rest
    assert "written sent " not in rest
