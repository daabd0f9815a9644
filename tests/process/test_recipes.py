"""The tutorial's scenarios S1 to S14: each recipe as a user runs it, and what is then observed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from support.ports import held_ports
from support.runs import (
    ROOT,
    START_METHODS,
    eventually,
    finish,
    mprun,
    recorded_starts,
    start,
    survivors,
    write,
)

every_start_method = pytest.mark.parametrize("method", START_METHODS)
CORES = len(os.sched_getaffinity(0))
# A locale without UTF-8, and no variable that makes Python use UTF-8 in spite of it.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


def begin(name, method, state_dir, *more, **options):
    where = ("--state-dir", state_dir, "--start-method", method, *more)
    return start(f"jobs/{name}.yaml", "-v", *where, cwd=ROOT, **options)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Runs a recipe under every start method at once, and returns the run of one of them."""
    kept = {}

    def run(name, method, *more):
        if name not in kept:
            places = {known: tmp_path_factory.mktemp(f"{name}-{known}") for known in START_METHODS}
            started = {known: begin(name, known, place, *more) for known, place in places.items()}
            kept[name] = {known: finish(started[known], places[known]) for known in START_METHODS}
        return kept[name][method]

    return run


def lineage(run):
    """The lines of the lineage, without the time in front, by which they are ordered (C06)."""
    stamp = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d ")
    lines = [line for line in run.stderr.splitlines() if stamp.match(line)]
    times = [line[:12] for line in lines]
    # The run may go on over midnight.
    assert times == sorted(times) or times[-1] < times[0], lines
    return [line[13:] for line in lines]


@pytest.mark.parametrize("name", ["conditions", "foreach", "globals", "matrix", "service", "uses", "when"])
def test_lineage_is_ordered_and_output_comes_before_the_end_of_its_task(name, tmp_path):
    """C06: both streams go to one pipe."""
    with held_ports() as (port,):
        more = ("-p", f"port={port}") if name == "service" else ()
        run = finish(begin(name, "fork", tmp_path, *more, stderr=subprocess.STDOUT), tmp_path)
    run.stderr = run.stdout
    assert lineage(run)
    ended = set()
    for line in run.stdout.splitlines():
        if found := re.match(r"[0-9:.]{12} (start|exit ) *(.+?)  pid=", line):
            ended = ended | {found[2]} if found[1] == "exit " else ended - {found[2]}
        assert line.partition(" |")[0].rstrip() not in ended, run.stdout


def assert_succeeded(run):
    assert (run.code, run.one("run_finished")["outcome"]) == (0, "succeeded"), run.stderr
    assert survivors(run.events) == []


# ---- S1


def assert_mode(run, tasks, at_once, cores):
    mode = "sequential" if at_once == 1 else "parallel" if at_once <= cores else "concurrent"
    event = run.one("run_started")
    seen = {key: event[key] for key in ("mode", "tasks", "at_once", "cpus")}
    assert seen == {"mode": mode, "tasks": tasks, "at_once": at_once, "cpus": cores}
    unit = "core" if cores == 1 else "cores"
    header = f"{tasks} tasks, {mode} (at most {at_once} at once on {cores} {unit})"
    assert header in run.stderr.splitlines()[0]


def assert_they_overlapped(run):
    """Every task had begun before the first had ended: they shared a core, or had one each."""
    order = [event["event"] for event in run.events]
    last_start = len(order) - order[::-1].index("task_started")
    assert last_start <= order.index("task_exited")


# How tasks share cores is up to the kernel, not to Python.
@pytest.mark.once
@every_start_method
def test_s1_no_more_tasks_than_cores_are_parallel(recipe, method):
    run = recipe("parallel", method)
    assert_succeeded(run)
    assert_mode(run, tasks=2, at_once=2, cores=CORES)
    assert_they_overlapped(run)


@pytest.mark.once
@every_start_method
def test_s1_more_tasks_than_cores_are_concurrent(recipe, method):
    # The eight of the file would use more than two seconds of CPU time for each start method.
    count = min(8, 2 * CORES)
    run = recipe("concurrent", method, "-p", f"workers={[*range(count)]}")
    assert_succeeded(run)
    assert_mode(run, tasks=count, at_once=count, cores=CORES)
    assert_they_overlapped(run)


@pytest.mark.once
def test_s1_one_at_a_time_is_sequential_C07(tmp_path):
    run = finish(begin("concurrent", "fork", tmp_path, "-j", "1", "-p", "workers=[1,2]"), tmp_path)
    assert_succeeded(run)
    assert_mode(run, tasks=2, at_once=1, cores=CORES)


@pytest.mark.once
@every_start_method
def test_s1_two_tasks_on_one_core_are_concurrent_and_take_turns(tmp_path, method):
    core = min(os.sched_getaffinity(0))
    process = begin("parallel", method, tmp_path, preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    run = finish(process, tmp_path)
    assert_succeeded(run)
    assert_mode(run, tasks=2, at_once=2, cores=1)
    assert_they_overlapped(run)
    # One core gives at most one second of CPU time per second.
    used = sum(event["result"]["cpu"] for event in run.of("task_finished"))
    assert used >= 0.6
    assert run.one("run_finished")["duration"] >= 0.99 * used


# ---- S2


@every_start_method
def test_s2_each_process_has_threads_memory_and_cpu_time_of_its_own(recipe, method):
    run = recipe("resources", method)
    assert_succeeded(run)
    threads, memory, cpu = (run.one("task_exited", task) for task in ("threads", "memory", "cpu"))
    assert threads["threads"] == run.result("threads")["threads"] == 5
    assert memory["threads"] == cpu["threads"] == 1
    assert memory["max_rss"] >= run.result("memory")["max_rss"] >= run.result("memory")["bytes"]
    assert cpu["max_rss"] < run.result("memory")["bytes"]
    # The times of getrusage may differ by a tick of the kernel, which is 10 ms.
    assert cpu["cpu"] >= run.result("cpu")["cpu"] - 0.02
    assert run.result("cpu")["cpu"] >= 0.3
    # Their starts cost alike, so that all of the difference is what one of them has computed.
    assert threads["cpu"] < cpu["cpu"] - run.result("cpu")["cpu"] / 2


# ---- S3


@every_start_method
def test_s3_every_argument_of_process_is_a_key_of_a_task(recipe, method):
    run = recipe("process_arguments", method)
    assert_succeeded(run)
    assert run.result("myprocess1") == {
        "name": "myprocess1",
        "args": [1, "two"],
        "kwargs": {"three": 3.0},
        "daemon": False,
    }
    assert run.printed("myprocess1") == ["name=myprocess1 args=(1, 'two') kwargs={'three': 3.0} daemon=False"]


def test_s3_a_group_other_than_null_is_an_error_with_its_reason(tmp_path):
    write(tmp_path, job="tasks:\n  - target: os:getpid\n    group: workers\n")
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.directory) == (2, None)
    assert "must be null: multiprocessing reserves it" in run.stderr
    assert "job.yaml:3:12" in run.stderr


# ---- S4


@every_start_method
def test_s4_names_are_those_that_multiprocessing_would_give(recipe, method):
    run = recipe("names", method)
    assert_succeeded(run)
    script = "from multiprocessing import Process as P; print(P().name, P(name='myprocess1').name, P().name)"
    command = [sys.executable, "-c", script]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert names == ["Process-1", "myprocess1", "Process-3"]
    assert [event["task"] for event in run.of("task_started")] == names
    assert [run.result(name) for name in names] == names
    assert [run.printed(name) for name in names] == [[f"my name is {name}"] for name in names]


# ---- S5


@every_start_method
def test_s5_starts_joins_and_the_end_of_a_daemon_come_in_the_declared_order(recipe, method):
    run = recipe("start_join_terminate", method)
    assert_succeeded(run)
    lines = [line.split()[:2] for line in lineage(run)]
    assert [task for verb, task in lines if verb == "start"] == ["dance", "sing", "beat"]
    assert [task for verb, task in lines if verb == "join"] == ["sing", "dance"]
    verbs = [verb for verb, _ in lines]
    assert verbs[0] == "main"
    assert verbs[-3:] == ["end", "stop", "exit"]
    assert [(e["task"], e["position"]) for e in run.of("task_joined")] == [("sing", 1), ("dance", 2)]


@every_start_method
def test_s5_an_unfinished_daemon_is_terminated_at_the_end(recipe, method):
    run = recipe("start_join_terminate", method)
    stopping, exited = run.one("task_stopping", "beat"), run.one("task_exited", "beat")
    assert (stopping["signal"], stopping["reason"]) == ("SIGTERM", "run_finished")
    assert (exited["exit_code"], exited["signal"]) == (-signal.SIGTERM, "SIGTERM")
    assert run.outcome("beat") == "stopped"
    assert run.printed("beat")[0] == "tick"
    assert [run.outcome(task) for task in ("dance", "sing")] == ["succeeded", "succeeded"]


# ---- S6


def introduced(line):
    """The role, pid, ppid and `current_process()` in a line of `examples.identity:introduce`."""
    return re.fullmatch(r"(.+): pid=(\d+) ppid=(\d+) (<.*>)", line).groups()


@every_start_method
def test_s6_what_tasks_print_of_themselves_equals_the_record(recipe, method):
    run = recipe("pids", method)
    assert_succeeded(run)
    main = run.one("run_started")["main_pid"]
    for task in ("myprocess1", "myprocess2"):
        started, result = run.one("task_started", task), run.result(task)
        lines = [line for line in run.printed(task) if line.startswith(("dance: ", "sing: "))]
        (_, pid, ppid, process) = introduced(*lines)
        assert int(pid) == result["pid"] == started["pid"] == run.one("task_exited", task)["pid"]
        assert int(ppid) == result["ppid"] == started["ppid"]
        # The process that made it is the main process, even if the fork server forked it.
        assert process == result["process"] == f"<Process name='{task}' parent={main} started>"
        assert any(f"start  {task}  pid={pid} ppid={ppid} " in line for line in lineage(run))


@every_start_method
def test_s6_the_main_process_shows_itself(recipe, method):
    run = recipe("pids", method)
    event = run.one("run_started")
    main, engine = event["main_pid"], event["pid"]
    printed = [introduced(line) for line in run.printed("main")]
    assert printed[0] == (
        "imported by",
        str(main),
        str(engine),
        "<_MainProcess name='MainProcess' parent=None started>",
    )
    assert lineage(run)[0] == f"main   main process pid={main} ppid={engine} (mprun)"
    # The fork server imports the module once, and every spawned task imports it again.
    servers = {event["ppid"] for event in run.of("task_started")} - {main}
    assert [int(pid) for _, pid, _, _ in printed[1:]] == sorted(servers)
    imports = [line for task in ("myprocess1", "myprocess2") for line in run.printed(task) if "imp" in line]
    pids = [introduced(line)[1] for line in imports]
    tasks = [str(event["pid"]) for event in run.of("task_started")]
    assert pids == (tasks if method == "spawn" else [])


@pytest.mark.parametrize("surroundings", [ASCII, {"PYTHONIOENCODING": "latin-1"}], ids=["C", "latin-1"])
def test_s6_dancing_keeps_its_dots_whatever_the_locale(tmp_path, surroundings):
    started = {}
    for method in START_METHODS:
        started[method] = begin("pids", method, tmp_path / method, env=surroundings)
    for method, process in started.items():
        run = finish(process, tmp_path / method)
        assert_succeeded(run)
        assert run.printed("myprocess1")[-3:] == ["Dancing···"] * 3
        assert run.printed("myprocess2")[-3:] == ["Singing···"] * 3
        assert run.log("myprocess1").endswith("Dancing···\n".encode() * 3)


# ---- S7


@every_start_method
def test_s7_the_parent_of_every_task_is_the_one_that_the_record_names(tmp_path, method):
    engine = begin("parents", method, tmp_path)
    seen = {}

    def both_tasks_seen():
        for process in psutil.Process(engine.pid).children(recursive=True):
            # One that is none of the tasks may have ended since.
            with contextlib.suppress(psutil.NoSuchProcess):
                seen.setdefault(process.pid, process.ppid())
        started = recorded_starts(tmp_path)
        return len(started) == 2 and all(event["pid"] in seen for event in started)

    eventually(both_tasks_seen)
    run = finish(engine, tmp_path)
    assert_succeeded(run)
    event = run.one("run_started")
    main = event["main_pid"]
    assert event["pid"] == engine.pid == seen[main]
    for started in run.of("task_started"):
        result = run.result(started["task"])
        assert seen[started["pid"]] == started["ppid"] == result["ppid"]
        assert (started["pid"], main) == (result["pid"], result["made_by"])
        if method == "forkserver":
            assert seen[started["ppid"]] == main
        else:
            assert started["ppid"] == main
    parent = "fork server" if method == "forkserver" else "main"
    assert sum(f"({parent})" in line for line in lineage(run) if line.startswith("start")) == 2


# ---- S8


@every_start_method
def test_s8_a_task_that_kills_itself_fails_and_the_other_runs_to_its_end(recipe, method):
    run = recipe("killed", method)
    assert (run.code, survivors(run.events)) == (1, [])
    exited, finished = run.one("task_exited", "killed"), run.one("task_finished", "killed")
    assert (exited["exit_code"], exited["signal"]) == (-9, "SIGKILL")
    assert (finished["outcome"], finished["reason"]) == ("failed", "killed by SIGKILL")
    assert run.printed("killed") == ["first step"]
    assert run.outcome("sing") == "succeeded"
    assert run.printed("sing")[-3:] == ["Singing···"] * 3
    assert run.place("task_exited", "killed") < run.place("task_exited", "sing")
    assert "killed failed: killed by SIGKILL" in run.stderr.splitlines()


# ---- S9


@every_start_method
def test_s9_args_kwargs_and_both_together_make_the_same_call(recipe, method):
    run = recipe("arguments", method)
    assert_succeeded(run)
    for task in ("by_args", "by_kwargs", "by_both"):
        assert run.printed(task) == ["name: Li Si, age: 20"]
        assert run.result(task) == {"name": "Li Si", "age": 20}


@pytest.mark.parametrize(
    ("call", "place", "message"),
    [
        ("args: [Li Si]", "5:13", "missing a required argument: 'age'"),
        ("args: [Li Si, 20, 21]", "6:23", "too many positional arguments"),
        ("kwargs: {name: Li Si, agee: 20}", "6:27", "did you mean `age`?"),
        ("args: [Li Si, 20]\n    kwargs: {age: 20}", "7:14", "multiple values for argument 'age'"),
    ],
    ids=["too few", "too many", "unknown keyword", "given twice"],
)
def test_s9_a_call_that_cannot_be_made_is_refused_before_anything_starts(tmp_path, call, place, message):
    write(
        tmp_path,
        # The first task alone would be right, and would leave a file behind.
        job=f"""\
tasks:
  - target: os:mkdir
    args: [was-started]

  - target: examples.arguments:show_info
    {call}
pythonpath: {ROOT}
""",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.stdout, run.directory) == (2, "", None)
    assert f"--> job.yaml:{place}\n" in run.stderr
    assert "`show_info(name: 'str', age: 'int')" in run.stderr
    assert message in run.stderr
    assert not (tmp_path / "was-started").exists()


# ---- S10


@every_start_method
def test_s10_globals_are_not_shared_between_processes(recipe, method):
    run = recipe("globals", method)
    assert_succeeded(run)
    assert run.printed("writer") == ["add: 0", "add: 1", "add: 2", "Add complete [0, 1, 2]"]
    assert run.printed("reader") == ["read: []"]
    assert (run.result("writer"), run.result("reader")) == ([0, 1, 2], [])
    assert run.place("task_joined", "writer") < run.place("task_started", "reader")


# ---- S11


def tokens(run, task):
    """The tokens that a task, or `main`, printed as made and as found."""
    words = [line.split() for line in run.printed(task)]
    return ([line[1] for line in words if line[2] == how] for how in ("made", "found"))


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_s11_a_forked_child_is_a_copy_of_the_process_that_forked_it(recipe, method):
    run = recipe("copies", method)
    assert_succeeded(run)
    made, _ = tokens(run, "main")
    # The launcher makes one to resolve the targets; the fork server makes what its children find.
    assert len(made) == (2 if method == "forkserver" else 1)
    for task in ("Process-1", "Process-2"):
        assert list(tokens(run, task)) == [[], [made[-1]]]
        assert run.result(task) == made[-1]


def test_s11_a_spawned_child_is_not_a_copy(recipe):
    run = recipe("copies", "spawn")
    assert_succeeded(run)
    made = []
    for task in ("main", "Process-1", "Process-2"):
        (own,), found = tokens(run, task)
        assert found == ([] if task == "main" else [own])
        made.append(own)
    assert len(set(made)) == 3
    assert [run.result("Process-1"), run.result("Process-2")] == made[1:]


# ---- S12


@every_start_method
def test_s12_a_task_that_outlives_the_join_list_is_waited_for(recipe, method):
    run = recipe("implicit_join", method)
    assert_succeeded(run)
    assert run.place("task_joined", "quick") < run.place("task_exited", "slow")
    assert run.printed("slow")[-5:] == ["Singing···"] * 5
    assert [event["task"] for event in run.of("task_joined")] == ["quick", "slow"]
    assert run.events[-1]["event"] == "run_finished"
    assert lineage(run)[-2:] == ["join   slow  2 of 2", "end    main process ends"]
    assert run.one("run_finished")["duration"] >= run.one("task_exited", "slow")["duration"] >= 1


# ---- S13


@every_start_method
def test_s13_a_daemon_dies_with_the_main_process(tmp_path, method):
    text = (ROOT / "jobs" / "daemon.yaml").read_text()
    assert text.count("timeout: 500ms") == 1
    # On a busy machine, the start of a new Python may take longer than the main process lives.
    for milliseconds in (500, 750, 1000, 1250, 1500, 1750, 1900):
        write(tmp_path, job=text.replace("500ms", f"{milliseconds}ms") + f"pythonpath: {ROOT}\n")
        options = ("-v", "--start-method", method)
        before = time.monotonic()
        run = mprun("job.yaml", *options, cwd=tmp_path)
        assert time.monotonic() - before < 10
        assert_succeeded(run)
        if lines := run.printed("work"):
            break
    # One each 200 ms, and the start of the daemon may take some of the time until the main process ends.
    most = 1 + int(run.one("run_finished")["duration"] / 0.2)
    assert lines in [[f"work: {number}" for number in range(count)] for count in range(1, min(most, 10) + 1)]
    assert "end    main process ends; stopping daemons: work" in lineage(run)
    assert (run.outcome("work"), run.one("task_finished", "work")["reason"]) == ("stopped", "run_finished")
    assert run.one("task_exited", "work")["signal"] == "SIGTERM"
    assert not psutil.pid_exists(run.one("run_started")["main_pid"])


# ---- S14


@every_start_method
def test_s14_the_demo_has_names_arguments_a_daemon_and_a_join_order(recipe, method):
    run = recipe("demo", method)
    assert_succeeded(run)
    assert run.printed("dance")[1:] == ["Li Si dances", *["Dancing···"] * 5]
    assert run.printed("sing")[1:] == ["Wang Wu sings", *["Singing···"] * 6]
    assert run.printed("beat")[:2] == ["tick", "tock"]
    assert [run.outcome(task) for task in ("dance", "sing", "beat")] == ["succeeded", "succeeded", "stopped"]
    assert [run.result(task)["name"] for task in ("dance", "sing")] == ["dance", "sing"]
    assert run.place("task_exited", "dance") < run.place("task_exited", "sing")
    assert [event["task"] for event in run.of("task_joined")] == ["sing", "dance"]
    assert [line.split()[0] for line in lineage(run)][:4] == ["main", "start", "start", "start"]
    assert "end    main process ends; stopping daemons: beat" in lineage(run)
    assert 2.4 <= run.one("run_finished")["duration"] < 10


@every_start_method
def test_c44_the_job_continues_with_the_items_that_worked(recipe, method):
    run = recipe("partial", method)
    assert_succeeded(run)
    assert [run.outcome(f"check[{number}]") for number in range(4)] == [
        *("succeeded", "succeeded", "failed", "succeeded")
    ]
    assert run.result("total") == 7


def test_c47_a_pipeline_of_commands_passes_on_what_they_print(tmp_path):
    run = finish(begin("capture", "fork", tmp_path), tmp_path)
    assert_succeeded(run)
    assert run.result("commit") == "4f2a1c9"
    assert run.result("hosts") == [{"name": "a", "port": 8001}, {"name": "b", "port": 8002}]
    # Each stream has a pipe of its own, so their order in the log is open.
    assert "looking for hosts" in run.printed("hosts")
    assert run.result("deploy[1]") == ["4f2a1c9 on b:8002"]
