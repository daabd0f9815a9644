"""The process tree and the summary of a run: finished, active, or with a damaged record."""

import json
import os
import re
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from support.records import FINISHED, STAMP, STARTED, ended, exited, read, record, started
from support.runs import START_METHODS, alive, eventually, finish, mprun, start, write
from support.terminal import on_terminal

WORK = """
    import os
    import signal
    import subprocess
    import threading
    import time

    def hi():
        return {"answer": 42}

    def fail():
        raise ValueError("no\\nmusic")

    def once():
        open("once", "x").close()
        raise ValueError("not yet")

    def twice():
        if not os.path.exists("once"):
            once()

    def leave():
        ready, wrote = os.pipe()
        if os.fork() == 0:
            os.setsid()
            os.write(wrote, b"x")
            time.sleep(600)
        os.read(ready, 1)

    def threads():
        gate = threading.Event()
        for _ in range(4):
            threading.Thread(target=gate.wait).start()
        while open("/proc/self/stat").read().rsplit(")")[1].split()[17] != "5":
            pass
        time.sleep(1.2)
        gate.set()

    def parent():
        subprocess.run(["sleep", "600"])

    def stop():
        os.kill(os.getpid(), signal.SIGSTOP)

    def serve():
        open("serving", "w").close()
        time.sleep(600)
    """


def shown_json(directory, command="tree"):
    code, output, _ = read(directory, command, "--json")
    assert code == 0
    return json.loads(output)


def every(processes):
    """All processes of a tree, each with its parent."""
    waiting = [(process, None) for process in processes]
    while waiting:
        process, parent = waiting.pop(0)
        yield process, parent
        waiting += [(child, process) for child in process["children"]]


def named(tree, name, attempt=1):
    ((process, parent),) = [
        (process, parent)
        for process, parent in every(tree["processes"])
        if (process["name"], process["attempt"]) == (name, attempt)
    ]
    return process, parent


# -- the tree of a finished run


@pytest.fixture(scope="module", params=START_METHODS)
def made(request, tmp_path_factory):
    """A run with threads, an orphan and several attempts, by each start method.

    No other task ends together with the one that leaves the orphan, so that it is clear whose it was.
    """
    path = tmp_path_factory.mktemp("desk")
    job = f"""
        start_method: {request.param}
        tasks:
          - {{name: hi, target: work:hi}}
          - {{name: twice, target: work:twice, retry: 2}}
          - {{name: leave, target: work:leave, depends_on: [hi, twice]}}
          - {{name: threads, target: work:threads, depends_on: leave}}
          - {{name: serve, target: work:serve, daemon: true}}
          - {{name: never, target: work:hi, when: false}}
        """
    write(path, work=WORK, job=job)
    run = mprun("job.yaml", cwd=path)
    assert run.code == 0, run.stderr
    return path, run, request.param


def test_the_tree_is_that_of_the_record(made):
    path, run, method = made
    tree = shown_json(path)
    assert (tree["run"], tree["outcome"]) == (run.one("run_started")["run"], "succeeded")
    (engine,) = tree["processes"]
    (launcher,) = engine["children"]
    begun = run.one("run_started")
    assert (engine["role"], engine["pid"], engine["exit_code"]) == ("mprun", begun["pid"], 0)
    assert (launcher["role"], launcher["pid"]) == ("main", begun["main_pid"])
    assert launcher["ppid"] == begun["pid"]
    for process, key in (engine, "engine"), (launcher, "launcher"):
        used = run.one("run_finished")[key]
        assert {key: process[key] for key in used} == used
        assert (used["cpu"] > 0, used["max_rss"] > 5e6, used["threads"]) == (True, True, 1)
    for event in run.of("task_started"):
        process, parent = named(tree, event["task"], event["attempt"])
        assert (process["role"], process["pid"], process["ppid"]) == ("task", event["pid"], event["ppid"])
        assert parent["pid"] == event["ppid"]
        assert parent["role"] == ("fork server" if method == "forkserver" else "main")
        if method == "forkserver":
            assert parent["ppid"] == launcher["pid"]
        (end,) = [e for e in run.of("task_exited", event["task"]) if e["attempt"] == event["attempt"]]
        for key in ("cpu", "max_rss", "threads", "duration", "exit_code", "signal"):
            assert process[key] == end[key]
    assert not any(process["name"] == "never" for process, _ in every(tree["processes"]))


def test_the_tree_has_threads_attempts_orphans_and_daemons(made):
    path, run, _ = made
    tree = shown_json(path)
    assert named(tree, "threads")[0]["threads"] == 5
    assert named(tree, "twice", 1)[0]["exit_code"] == 1
    assert named(tree, "twice", 2)[0]["exit_code"] == 0
    (orphan,) = named(tree, "leave")[0]["children"]
    assert (orphan["role"], [orphan["pid"]]) == ("orphan", run.one("task_exited", "leave")["orphans"])
    assert orphan["status"] == "killed at its task's end"
    # A fork of the task, which has the task's name.
    assert orphan["name"] == "mprun: leave"
    assert (named(tree, "serve")[0]["daemon"], named(tree, "serve")[0]["signal"]) == (True, "SIGTERM")


def test_the_tree_is_drawn(made):
    path, run, method = made
    code, shown, stderr = read(path, "tree", env={"LC_ALL": "C.UTF-8"})
    assert (code, stderr) == (0, "")
    head, engine, launcher, *_ = lines = shown.splitlines()
    assert head.split() == ["PROCESS", "PID", "MEMORY", "CPU", "THREADS", "DURATION", "STATUS"]
    pid = run.one("run_started")["pid"]
    assert re.fullmatch(rf"mprun +{pid} +\d+MB +\d+\.\d+s +1 +\d+\.\d+s  exit 0", engine)
    assert launcher.startswith("└─ main ")
    assert re.search(r"^ +(│  )?[├└]─ threads +\d+ +\S+ +\S+ +5 +\d+\.\d+s  exit 0$", shown, re.MULTILINE)
    assert "─ serve daemon " in shown
    assert "─ twice attempt=2 " in shown
    assert shown.count("─ fork server") == (method == "forkserver")
    # Each branch starts below a line or below the name of its parent.
    for above, line in pairwise(lines[2:]):
        place = re.search("[├└]", line).start()
        assert above[place] in "│├" or above[place - 3 : place] in ("├─ ", "└─ ")


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_tree_is_ascii_if_the_encoding_has_no_line_characters(env, made):
    path, *_ = made
    _, shown, _ = read(path, "tree", env=env)
    assert shown.isascii()
    assert "`- main" in shown
    assert "   |- hi" in shown or "   |  |- hi" in shown or "      |- hi" in shown


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_tree_can_be_read_in_a_narrow_terminal(columns, made):
    path, *_ = made
    code, shown = on_terminal("tree", cwd=path, columns=columns)
    assert code == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert max(map(len, plain)) <= columns
    assert ("THREADS" in plain[0]) == (columns >= 80)
    assert plain[0].split()[0] == "PROCESS"
    assert plain[0].split()[-1] == "STATUS"
    assert any(re.search(r"twice.* exit 1", line) for line in plain)
    assert "\x1b[31m" in shown
    assert "\x1b" not in on_terminal("tree", cwd=path, columns=columns, NO_COLOR="1")[1]


def test_attempts_and_siblings_are_told_apart_in_a_narrow_terminal(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: flaky-connection, command: exit 1, retry: 2}
          - {name: fetch-all-the-pages, command: "true", matrix: {page: [1, 2]}}
        """,
    )
    assert mprun("job.yaml", cwd=tmp_path).code == 1
    shown = on_terminal("tree", cwd=tmp_path, columns=40, NO_COLOR="1", LC_ALL="C.UTF-8")[1]
    names = [line[:20].strip() for line in shown.splitlines()]
    assert len(set(names)) == len(names) == 8
    assert [name[-2:] for name in names if "fla" in name] == ["on", "=2", "=3"]
    assert [name[-2:] for name in names if "fet" in name] == ["1]", "2]"]


@pytest.mark.parametrize("columns", [24, 40, 70])
def test_a_narrow_terminal_shortens_names_and_keeps_pids(columns, tmp_path):
    names = [f"{letter}-name-that-is-longer-than-a-narrow-terminal-is-wide" for letter in "abc"]
    events = [started(name, pid=4_000_000 + number) for number, name in enumerate(names)]
    record(tmp_path, [STARTED, *events, ended()])
    shown = on_terminal("tree", cwd=tmp_path, columns=columns, NO_COLOR="1", LC_ALL="C.UTF-8")[1]
    head, *lines = shown.splitlines()
    assert head.split()[:2] == ["PROCESS", "PID"]
    for number, letter in enumerate("abc"):
        (line,) = [line for line in lines if f"─ {letter}-" in line]
        assert re.search(rf"…\S*  {4_000_000 + number}  ", line)
    assert max(map(len, [head, *lines])) <= columns
    assert ("MEMORY" in head) == (columns == 70)


# -- an active run


@pytest.fixture
def going(tmp_path):
    """A run with a task that has suspended itself, a task with a child, and a daemon."""
    job = """
        tasks:
          - {name: hi, target: work:hi}
          - {name: stop, target: work:stop, stop: {grace: 0s}}
          - {name: parent, target: work:parent}
          - {name: serve, target: work:serve, daemon: true}
        """
    write(tmp_path, work=WORK, job=job)
    process = start("job.yaml", cwd=tmp_path)
    try:
        eventually(lambda: (tmp_path / "serving").exists())
        yield tmp_path, process
    finally:
        process.send_signal(signal.SIGINT)
        run = finish(process, tmp_path / ".mprun")
    assert run.code == 130
    assert {event["pid"] for event in run.of("task_started") if alive(event["pid"])} == set()


def test_an_active_run_is_shown_with_its_running_processes(going):
    path, process = going
    eventually(lambda: _is_up(shown_json(path)), seconds=30)
    tree = shown_json(path)
    assert tree["outcome"] == "running"
    (engine,) = tree["processes"]
    assert (engine["pid"], engine["running"], engine["status"]) == (process.pid, True, "running")
    assert engine["max_rss"] > 1e6
    (launcher,) = engine["children"]
    assert (launcher["running"], launcher["threads"]) == (True, 1)
    stopped, _ = named(tree, "stop")
    assert (stopped["running"], stopped["suspended"]) == (True, True)
    assert stopped["status"] == "running, suspended (SIGSTOP)"
    parent, _ = named(tree, "parent")
    (child,) = parent["children"]
    assert (child["role"], child["name"], child["ppid"]) == ("descendant", "sleep", parent["pid"])
    assert named(tree, "hi")[0]["running"] is False
    _, shown, _ = read(path, "tree", env={"LC_ALL": "C.UTF-8"})
    assert re.search(r"─ stop .* running, suspended \(SIGSTOP\)$", shown, re.MULTILINE)
    assert re.search(r"─ \(sleep\) +\d+ .* running$", shown, re.MULTILINE)

    _, shown, stderr = read(path, "show")
    assert stderr == ""
    assert re.search(r"^stop +running, suspended \(SIGSTOP\) +\d+ +\d+ +\d+\.\d+s ", shown, re.MULTILINE)
    assert re.search(r"^serve +running +\d+ +\d+ +\d+\.\d+s +\d+\.\d+s +\d+MB +1$", shown, re.MULTILINE)
    assert set(shown.splitlines()[-1].removeprefix("running: ").split(", ")) == {"stop", "parent", "serve"}
    value = shown_json(path, "show")
    assert value["outcome"] == "running"
    now = {task["task"]: task["now"] for task in value["tasks"]}
    assert now["hi"] is None
    assert (now["stop"]["suspended"], now["serve"]["suspended"]) == (True, False)
    assert "suspended" in read(path, "show", "-v")[1]


def _is_up(tree):
    found = {process["name"]: process for process, _ in every(tree["processes"])}
    return "sleep" in found and found["stop"]["suspended"] and "serve" in found


def test_foreign_process_with_a_recorded_pid_is_not_the_task(tmp_path):
    """The record names the test's own process as the engine and, with another start time, as the task."""
    engine = {**STARTED, "pid": os.getpid(), "time": "2999-01-01T00:00:00Z", "main_pid": 1}
    record(tmp_path, [engine, started("a", pid=os.getpid(), ppid=1)])
    process, _ = named(shown_json(tmp_path), "a")
    assert (process["running"], process["status"]) == (False, "exit status unknown")
    assert shown_json(tmp_path, "show")["tasks"][0]["now"] is None


# -- the view of a run


def test_show_lists_how_each_attempt_ended(tmp_path):
    write(
        tmp_path,
        work=WORK,
        job="""
        tasks:
          - {name: bad, target: work:fail, retry: {retries: 1, delay: 10ms}}
          - {name: hang, target: work:serve, timeout: 300ms}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    clock = r"\d\d:\d\d:\d\d\.\d{3}"
    pids = [event["pid"] for event in run.of("task_started", "bad")]
    for option in ("-v", "--attempts"):
        code, shown, stderr = read(tmp_path, "show", option)
        assert (code, stderr) == (0, "")
        lines = shown[shown.index("attempts:\n") :].splitlines()
        failed = r"exit 1 \(ValueError: no music\) after \d+\.\d+s"
        assert re.fullmatch(
            rf"  {clock} bad attempt=1 pid={pids[0]}: {failed}, retried after 0\.01s", lines[1]
        )
        assert re.fullmatch(rf"  {clock} bad attempt=2 pid={pids[1]}: {failed}", lines[2])
        assert re.fullmatch(
            rf"  {clock} hang attempt=1 pid=\d+: SIGTERM \(timeout\), killed by SIGTERM after \d+\.\d+s",
            lines[3],
        )
    assert "attempts:" not in read(tmp_path, "show")[1]
    value = shown_json(tmp_path, "show")
    bad = next(task for task in value["tasks"] if task["task"] == "bad")
    assert bad["attempts"][0]["retrying"]["reason"] == "retry"
    hang = next(task for task in value["tasks"] if task["task"] == "hang")
    assert hang["attempts"][0]["stopping"]["reason"] == "timeout"


def test_show_lists_params_results_readiness_and_the_resumed_run(tmp_path):
    name = record(
        tmp_path,
        [
            {**STARTED, "params": {"day": "2026-01-01", "n": 3, "key": "***"}, "resumed_from": "earlier"},
            started("a"),
            {"event": "task_ready", **{k: STARTED[k] for k in ("time", "run")}, "task": "a", "attempt": 1},
            exited("a"),
            {**FINISHED, "result": {"text": "x" * 100}, "result_kind": "json"},
            {**FINISHED, "task": "b", "result_kind": "file"},
            {**FINISHED, "task": "c", "result_kind": "repr"},
            {**FINISHED, "task": "d", "result": "\x1b[31m", "result_kind": "json"},
            {**FINISHED, "task": "e", "outcome": "cancelled", "reason": "fail_fast"},
            ended("failed", 1, reason="run_timeout"),
        ],
    )
    results = tmp_path / ".mprun" / "runs" / name / "results"
    results.mkdir()
    (results / "b.1.json").write_text("[" + "1," * 50_000 + "1]")
    (results / "c.1.repr").write_text("<object\nat 0x1>")
    _, shown, _ = read(tmp_path, "show", "-v", env={"TZ": "UTC"})
    assert 'params day="2026-01-01", n=3, key="***"\nresumed from earlier\n' in shown
    assert "started 2026-01-01 12:00:00.000\n" in shown
    assert ": ready at 12:00:00.000, exit 0 after 1.50s\n" in shown
    assert f'  a  {{"text": "{"x" * 49}…\n' in shown
    assert f"  b  100kB of JSON in .mprun/runs/{name}/results/b.1.json\n" in shown
    assert "  c  <object at 0x1>\n" in shown
    assert "  d  " in shown
    assert "\x1b" not in shown
    assert re.search(r"^e +cancelled: fail-fast: another task failed", shown, re.MULTILINE)
    assert shown.endswith("failed (timeout of the run): exit 1 after 2.00s, at 12:00:00.000\n")
    assert shown_json(tmp_path, "show")["finished"]["reason"] == "run_timeout"


# -- damaged, older and newer records


def test_tree_without_run_started_has_the_recorded_parents(tmp_path):
    record(tmp_path, ["nonsense", started("a", ppid=7), exited("a", orphans=[8]), ended()])
    code, _, stderr = read(tmp_path, "tree")
    assert code == 0
    assert "line 1 is not a JSON object, left out" in stderr
    (parent,) = shown_json(tmp_path)["processes"]
    assert (parent["role"], parent["pid"]) == ("parent", 7)
    assert [child["name"] for child in parent["children"]] == ["a"]


def test_a_run_whose_exit_status_is_unknown(tmp_path):
    record(
        tmp_path, [{**STARTED, "pid": 2**22 + 1}, started("a"), started("b", pid=101), exited("b", pid=101)]
    )
    tree = shown_json(tmp_path)
    assert tree["outcome"] == "interrupted"
    assert tree["processes"][0]["status"] == "mprun itself was killed"
    assert named(tree, "a")[0]["status"] == "exit status unknown"
    assert named(tree, "b")[0]["status"] == "exit 0"


def test_a_newer_format_is_refused_by_name(tmp_path):
    record(tmp_path, [{**STARTED, "format": 3}])
    code, shown, stderr = read(tmp_path, "tree")
    assert (code, shown) == (2, "")
    assert f"run {STAMP['run']}: this record has the format 3" in stderr


def test_names_cannot_draw_branches_of_their_own(tmp_path):
    record(tmp_path, [STARTED, started("a\n└─ b\x1b[31m"), ended()])
    _, shown, _ = read(tmp_path, "tree", env={"LC_ALL": "C.UTF-8"})
    assert len(shown.splitlines()) == 4
    assert "\x1b" not in shown


def test_read_only_state_directory_is_enough(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: a, target: 'work:hi'}]")
    mprun("job.yaml", cwd=tmp_path)
    state = tmp_path / ".mprun"
    before = {path: path.stat().st_mtime_ns for path in state.rglob("*")}
    for path in [*before, state]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        for command in ("runs", "show", "tree", "logs"):
            assert read(tmp_path, command)[0] == 0
    finally:
        for path in sorted([*before, state]):
            path.chmod(0o700 if path.is_dir() else 0o600)
    assert {path: path.stat().st_mtime_ns for path in Path(state).rglob("*")} == before


@pytest.mark.parametrize(
    "used", [{}, {"engine": None}, {"engine": {"cpu": "1", "max_rss": -1, "threads": None}}]
)
def test_usage_of_mprun_is_left_out_if_it_is_not_recorded(tmp_path, used):
    record(tmp_path, [STARTED, FINISHED, ended(**used)])
    (engine,) = shown_json(tmp_path)["processes"]
    assert (engine["cpu"], engine["max_rss"], engine["threads"]) == (None, None, None)
    shown = mprun("show", "-v", cwd=tmp_path)
    assert (shown.code, "mprun itself" in shown.stdout) == (0, False)


def test_an_attempt_that_no_other_one_followed_was_not_retried(tmp_path):
    write(
        tmp_path,
        job="""
        fail_fast: true
        tasks:
          - {name: a, command: exit 1, retry: {retries: 1, delay: 1m}}
          - {name: b, command: sleep 0.5; exit 1}
        """,
    )
    mprun("job.yaml", cwd=tmp_path)
    shown = read(tmp_path, "show", "-v")[1]
    assert re.search(r" a attempt=1 .*, not retried$", shown, re.MULTILINE)
