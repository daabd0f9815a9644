"""The process of a task under every start method, and that no process outlives its run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile

import psutil
import pytest
from support.runs import (
    START_METHODS,
    TIMEOUT,
    alive,
    environment,
    events_so_far,
    eventually,
    finish,
    mprun,
    newest_run,
    read_events,
    recorded_starts,
    start,
    survivors,
    write,
    written,
)

from mprun.linux import procfs

every_start_method = pytest.mark.parametrize("method", START_METHODS)

# ---- what a task sees

CENSUS = """\
    import multiprocessing, os, pathlib, signal, sys, threading, time

    count = 0

    def descriptors():
        held = {int(name): os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")}
        links = {number: os.readlink(link) for number, link in held.items() if os.path.lexists(link)}
        # libffi keeps a file of its own open in each process that uses it.
        return {number: link for number, link in links.items() if "libffi" not in link}

    def status():
        lines = open("/proc/self/status").read().splitlines()
        return {line.split(":")[0]: line.split(":")[1].strip() for line in lines}

    def look():
        global count
        count += 1
        os.environ["LEFT_BY"] = os.environ["MPRUN_TASK"] + os.environ.get("LEFT_BY", "")
        process, parent, thread = (
            multiprocessing.current_process(), multiprocessing.parent_process(), threading.current_thread()
        )
        main = sys.modules["__main__"]
        return {
            "descriptors": descriptors(),
            "signals": {name: status()[name] for name in ("SigIgn", "SigBlk")},
            "pid": os.getpid(), "ppid": os.getppid(), "sid": os.getsid(0), "pgid": os.getpgid(0),
            "stdin": sys.stdin.read(), "descriptor 0": len(os.read(0, 1)),
            "class": type(process).__name__, "is a Process": isinstance(process, multiprocessing.Process),
            "name": process.name, "daemon": process.daemon, "parent": [parent.name, parent.pid],
            "parent lives": parent.is_alive(), "method": multiprocessing.get_start_method(),
            "environment": {name: value for name, value in os.environ.items() if name.startswith("MPRUN")},
            "mprun": sorted(name for name in sys.modules if name.partition(".")[0] == "mprun"),
            "main": sorted(name for name in vars(main) if not name.startswith("__")),
            "main file": getattr(main, "__file__", None),
            "count": count, "left by": os.environ["LEFT_BY"],
            "thread": [thread is threading.main_thread(), thread.name, threading.active_count()],
            "idents": [thread.ident == threading.get_ident(), thread.native_id == threading.get_native_id()],
            "children": [child.name for child in multiprocessing.active_children()],
            "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        }

    def look_and_tell():
        seen = look()
        pathlib.Path("seen").touch()
        return seen

    def wait_until_seen():
        while not os.path.exists("seen"):
            time.sleep(0.01)
"""
CENSUS_JOB = """\
    tasks:
    - {name: first, target: work:wait_until_seen}
    - {name: second, target: work:wait_until_seen}
    - {name: looker, target: work:look_and_tell}
    - {name: later, target: work:look, depends_on: [first, second, looker]}
    - {name: daemon, target: work:look, daemon: true, depends_on: later}
    join: [later, daemon]
"""


def ignore_and_block():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1])


@pytest.fixture(scope="module")
def census(tmp_path_factory):
    """A run of tasks that report on themselves, started by a process with ignored and blocked signals."""
    kept = {}

    def run(method):
        if method not in kept:
            directory = tmp_path_factory.mktemp(f"census-{method}")
            write(directory, work=CENSUS, job=CENSUS_JOB)
            arguments = ("job.yaml", "--start-method", method)
            kept[method] = mprun(*arguments, cwd=directory, preexec_fn=ignore_and_block)
            assert kept[method].code == 0, kept[method].stderr
        return kept[method]

    return run


@every_start_method
@pytest.mark.parametrize("task", ["looker", "later", "daemon"])
def test_a_task_leads_a_session_of_its_own(census, method, task):
    seen = census(method).result(task)
    assert seen["pid"] == seen["sid"] == seen["pgid"] == census(method).one("task_started", task)["pid"]


@every_start_method
@pytest.mark.parametrize("task", ["looker", "later", "daemon"])
def test_a_task_sees_itself_as_a_process_of_multiprocessing(census, method, task):
    run = census(method)
    seen = run.result(task)
    assert (seen["class"], seen["is a Process"], seen["name"]) == ("Process", True, task)
    assert seen["daemon"] == run.one("task_started", task)["daemon"] == (task == "daemon")
    assert seen["parent"] == ["MainProcess", run.one("run_started")["main_pid"]]
    assert (seen["parent lives"], seen["method"], seen["children"]) == (True, method, [])


@every_start_method
def test_the_parent_is_the_launcher_or_its_fork_server(census, method):
    run = census(method)
    parents = {run.result(task)["ppid"] for task in ("looker", "later", "daemon")}
    assert parents == {event["ppid"] for event in run.of("task_started")}
    (parent,) = parents
    assert (parent == run.one("run_started")["main_pid"]) == (method != "forkserver")


LATE = """
    import os, time
    from mprun.launcher import attempt, spawn
    from mprun.linux import procfs

    moments = iter(range(1000))
    read_stat = procfs.read_stat
    known = set()

    def look_late(pid):
        found = read_stat(pid)
        # When it ends a fork server, the launcher looks at all processes of the machine.
        if found is not None and found.ppid in (os.getpid(), spawn.fork_server_pid()) and pid not in known:
            known.add(pid)
            time.sleep(0.2)
        return read_stat(pid)

    # In this launcher no process begins within one tick, and it looks at each when others would have ended.
    attempt.boot_ticks = lambda: next(moments)
    procfs.read_stat = spawn.read_stat = look_late

    def end():
        return int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
"""


@every_start_method
def test_the_start_of_a_process_is_recorded_although_it_ends_before_the_launcher_looks(tmp_path, method):
    job = {"start_method": method, "tasks": [{"name": "end", "target": "late:end"}]}
    write(tmp_path, job=json.dumps(job), late=LATE)
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.one("task_started", "end")["start_ticks"] == run.result("end")


@every_start_method
def test_standard_input_is_empty(census, method):
    seen = census(method).result("looker")
    assert (seen["stdin"], seen["descriptor 0"], seen["descriptors"]["0"]) == ("", 0, "/dev/null")


@every_start_method
@pytest.mark.parametrize("task", ["looker", "later"])
def test_the_environment_names_the_run_its_record_the_task_and_the_attempt(census, method, task):
    run = census(method)
    assert run.result(task)["environment"] == {
        "MPRUN_RUN_ID": run.directory.run_id,
        "MPRUN_RUN_DIR": os.path.realpath(run.directory.path),
        "MPRUN_TASK": task,
        "MPRUN_ATTEMPT": "1",
    }


@every_start_method
def test_nothing_that_a_task_changes_is_seen_by_the_next(census, method):
    for task in ("looker", "later"):
        seen = census(method).result(task)
        assert (seen["count"], seen["left by"]) == (1, task)


@every_start_method
def test_main_is_an_empty_module(census, method):
    seen = census(method).result("looker")
    # What multiprocessing's command line leaves there in a new Python.
    left = {"fork": [], "forkserver": ["main"], "spawn": ["spawn_main"]}[method]
    # Since Python 3.14 the fork server's command line also imports `sys`.
    shown = [name for name in seen["main"] if (method, name) != ("forkserver", "sys")]
    assert (shown, seen["main file"]) == (left, None)


def test_a_spawned_child_imports_the_worker_and_nothing_else_of_mprun(census):
    assert census("spawn").result("looker")["mprun"] == ["mprun", "mprun.launcher", "mprun.launcher.worker"]
    assert census("forkserver").result("looker")["mprun"] == [
        "mprun",
        "mprun.launcher",
        "mprun.launcher.forkserver_preload",
        "mprun.launcher.worker",
        "mprun.linux",
        "mprun.linux.prctl",
    ]


# The file without a name that a task's stacks are written to once they are asked for.
STACKS = "/memfd:mprun-shared-stacks (deleted)"


def test_a_forked_task_has_no_descriptor_of_the_launcher_but_for_its_end_and_stacks(census):
    run = census("fork")
    for task in ("looker", "later", "daemon"):
        log = run.directory.log(task, 1)
        links = run.result(task)["descriptors"]
        assert [links.pop(number) for number in ("0", "1", "2")] == ["/dev/null", log, log]
        # The one that `parent_process().is_alive()` uses.
        assert sorted(links.values()) == [STACKS, "anon_inode:[pidfd]"]


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_task_in_a_new_python_has_only_its_stacks_and_the_pipes_of_multiprocessing_besides(census, method):
    run = census(method)
    links = run.result("looker")["descriptors"]
    log = run.directory.log("looker", 1)
    assert [links.pop(number) for number in ("0", "1", "2")] == ["/dev/null", log, log]
    others = [link for link in links.values() if link != "/dev/null" and not link.startswith("pipe:")]
    assert others == [STACKS]


@every_start_method
def test_no_signal_is_blocked_or_ignored_in_a_task_even_if_it_was_for_mprun(census, method):
    seen = census(method).result("looker")
    assert int(seen["signals"]["SigBlk"], 16) == 0
    mask = int(seen["signals"]["SigIgn"], 16)
    # Not 32 and 33, which belong to the C library and cannot be reset.
    ignored = {number for number in signal.valid_signals() if mask >> (number - 1) & 1}
    # Python itself ignores these two.
    assert ignored == {signal.SIGPIPE, signal.SIGXFSZ}
    assert seen["interrupt"]


@every_start_method
def test_the_main_thread_of_a_task_is_what_threading_takes_it_for(census, method):
    seen = census(method).result("looker")
    assert seen["thread"] == [True, "MainThread", 1]
    assert seen["idents"] == [True, True]


@every_start_method
def test_a_fork_from_a_thread_of_a_task_has_that_thread_as_its_main_thread(tmp_path, method):
    write(
        tmp_path,
        work="""\
            import os, threading
            def fork_and_look():
                pid = os.fork()
                if pid == 0:
                    alone = threading.active_count() == 1
                    os._exit(alone and threading.current_thread() is threading.main_thread())
                codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            codes = []
            def fork_in_a_thread():
                thread = threading.Thread(target=fork_and_look)
                thread.start()
                thread.join()
                return codes
        """,
        job="tasks: [{name: task, target: 'work:fork_in_a_thread'}]\n",
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert run.result("task") == [1], run.stderr


# ---- keys for environment, directory and start method

KEYS = """\
    import multiprocessing, os, sys

    def show():
        return {
            "environment": {name: os.environ.get(name) for name in ("A", "B", "C")},
            "cwd": os.getcwd(),
            "method": multiprocessing.get_start_method(),
            "is a copy": "mprun.launcher.launcher" in sys.modules,
            "preloaded": "helper" in sys.modules,
        }
"""
KEYS_JOB = """\
    env: {A: of the job, B: of the job, C: of the job}
    cwd: below
    pythonpath: library
    preload: [helper]
    start_method: spawn
    defaults:
      env: {B: a default, C: a default}
      tags: [quick]
      start_method: forkserver
    tasks:
    - {name: plain, target: work:show, tags: [slow]}
    - {name: own, target: work:show, env: {C: its own}, cwd: beside, start_method: fork}
    - {name: new, target: work:show, start_method: spawn}
"""


@pytest.fixture
def keys(tmp_path):
    for name in ("library", "below", "beside", "elsewhere"):
        (tmp_path / name).mkdir()
    write(tmp_path, job=KEYS_JOB)
    write(tmp_path / "library", work=KEYS, helper="print('helper imported')")
    return tmp_path


def test_keys_for_environment_and_directory_apply_to_job_defaults_and_task(keys):
    # Paths are relative to the job file, not to the directory in which mprun starts.
    run = mprun(keys / "job.yaml", cwd=keys / "elsewhere")
    assert run.code == 0, run.stderr
    plain, own, new = (run.result(task) for task in ("plain", "own", "new"))
    assert plain["environment"] == {"A": "of the job", "B": "a default", "C": "a default"}
    assert own["environment"] == {"A": "of the job", "B": "a default", "C": "its own"}
    assert (plain["cwd"], own["cwd"]) == (str(keys / "below"), str(keys / "beside"))
    assert [seen["method"] for seen in (plain, own, new)] == ["forkserver", "fork", "spawn"]
    assert [seen["is a copy"] for seen in (plain, own, new)] == [False, True, False]
    assert [seen["preloaded"] for seen in (plain, own, new)] == [True, True, False]
    # The launcher imports it, and so does the fork server.
    assert run.printed("main") == ["helper imported"] * 2
    assert run.one("run_started")["start_method"] == "spawn"


@every_start_method
def test_the_option_for_the_start_method_overrides_the_file(keys, method):
    run = mprun(keys / "job.yaml", "--start-method", method, cwd=keys)
    assert [run.result(task)["method"] for task in ("plain", "own", "new")] == [method] * 3


# ---- no process outlives its run

LONG = """\
    import os, pathlib, signal, subprocess, sys, time

    def be_there(*pids):
        name = os.environ["MPRUN_TASK"]
        pathlib.Path(name + ".part").write_text(" ".join(map(str, [os.getpid(), *pids])))
        os.rename(name + ".part", name + ".pids")
        while True:
            signal.pause()

    def stay():
        be_there()

    def ignore_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        be_there()

    def stay_with_a_child():
        be_there(subprocess.Popen(["sleep", "60"]).pid)

    def stay_with_a_hidden_child():
        be_there(subprocess.Popen(["sleep", "60"], start_new_session=True).pid)
"""
LONG_TASKS = ("stay", "ignore_sigterm", "stay_with_a_child", "stay_with_a_hidden_child")


class Running:
    """A run that has started all its tasks, and runs until it is stopped."""

    def __init__(self, directory, method, tasks, *more):
        # Longer than any test waits: what ignores its stop signal ends by a second one.
        lines = [f"- {{name: {task}, target: work:{task}, stop: {{grace: 600}}}}\n" for task in tasks]
        lines.append(f"- {{name: never, target: work:stay, depends_on: {tasks[0]}}}\n")
        write(directory, work=LONG, job="tasks:\n" + "".join(lines))
        self.directory = directory
        self.engine = start("job.yaml", "--start-method", method, *more, cwd=directory)
        self.pids = {}
        for task in tasks:
            path = directory / f"{task}.pids"
            eventually(path.exists)
            self.pids[task] = [int(word) for word in path.read_text().split()]
        eventually(lambda: len([e for e in self.events() if e["event"] == "task_started"]) == len(tasks))
        self.launcher = self.events()[0]["main_pid"]
        self.helpers = [child.pid for child in psutil.Process(self.launcher).children()]
        self._processes = [psutil.Process(pid) for pid in self.everyone()]

    def events(self):
        return events_so_far(self.directory / ".mprun")

    def everyone(self):
        return {self.launcher, *self.helpers, *(pid for pids in self.pids.values() for pid in pids)}

    def assert_gone(self):
        """Tasks and the launcher are gone now, and multiprocessing's helpers are soon."""
        assert not [pid for pid in self.everyone() - {*self.helpers} if alive(pid)]
        eventually(lambda: not any(map(alive, self.helpers)), seconds=2)

    def finish(self):
        return finish(self.engine, self.directory / ".mprun")

    def clean(self):
        for process in self._processes:
            # It may have ended, and another process have its pid: psutil looks when it began.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.engine.poll() is None:
            self.engine.kill()
            self.engine.communicate()


@pytest.fixture
def running(tmp_path):
    made = []

    def run(method, tasks=LONG_TASKS, *more):
        made.append(Running(tmp_path, method, tasks, *more))
        return made[-1]

    yield run
    for one in made:
        one.clean()


@every_start_method
def test_no_process_outlives_an_engine_that_was_killed(running, method):
    run = running(method)
    run.engine.kill()
    run.engine.communicate()
    eventually(lambda: not any(map(alive, run.everyone())), seconds=2)


@every_start_method
def test_a_killed_launcher_fails_the_run_at_once_and_leaves_no_task(running, method):
    run = running(method)
    os.kill(run.launcher, signal.SIGKILL)
    ended = run.finish()
    assert ended.code == 3
    finished = ended.one("run_finished")
    assert (finished["exit_code"], finished["outcome"]) == (3, "failed")
    assert finished["reason"] == "the main process was lost: killed by SIGKILL"
    assert {ended.outcome(task) for task in LONG_TASKS} == {"unknown"}
    assert ended.outcome("never") == "cancelled"
    assert "Traceback" not in ended.stderr
    assert "\nerror: the main process was lost: killed by SIGKILL" in ended.stderr
    tasks = [pids[0] for pids in run.pids.values()]
    eventually(lambda: not any(map(alive, [*tasks, *run.helpers])), seconds=2)


@every_start_method
@pytest.mark.parametrize("task", ["stay_with_a_child", "stay_with_a_hidden_child"])
def test_a_killed_launcher_leaves_no_children_of_tasks(running, method, task):
    run = running(method, (task,))
    os.kill(run.launcher, signal.SIGKILL)
    run.finish()
    assert not any(map(alive, run.everyone()))


def test_a_task_that_kills_the_launcher_fails_the_run_and_is_unknown(tmp_path):
    write(
        tmp_path,
        work=LONG
        + "\n    def kill_parent():\n        os.kill(os.getppid(), signal.SIGKILL)\n        be_there()\n",
        job="tasks: [{name: killer, target: 'work:kill_parent'}, {name: other, target: 'work:stay'}]\n",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 3
    assert run.outcome("killer") == "unknown"
    # Tasks that had not begun by then never do.
    began = any(event["task"] == "other" for event in run.of("task_started"))
    began |= os.path.exists(newest_run(tmp_path / ".mprun").log("other", 1))
    assert run.outcome("other") == ("unknown" if began else "cancelled")
    eventually(lambda: not survivors(run.events), seconds=2)
    assert "the main process was lost: killed by SIGKILL" in run.stderr
    assert run.one("run_finished")["launcher"] is None


def test_what_a_lost_launcher_left_and_could_not_be_killed_is_named(tmp_path):
    """C82. Such as processes of another user; here the search reports two that are none of the run's, and one
    that has ended since.
    """
    write(
        tmp_path,
        job="tasks: [{target: 'work:kill_parent'}]",
        work="""
            import os
            def kill_parent():
                os.kill(os.getppid(), 9)
        """,
        script="""
            import os
            import subprocess
            import mprun
            from mprun.executors import orphan_kills

            ended = subprocess.Popen(["true"])
            ended.wait()
            others = sorted([os.getpid(), os.getppid()])
            kill = orphan_kills.kill_orphans
            orphan_kills.kill_orphans = lambda of, attempts: [*kill(of, attempts), *others, ended.pid]
            result = mprun.run_job(mprun.load_job("job.yaml"))
            print(result.exit_code, result.directory, *others)
        """,
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    code, directory, *others = done.stdout.split()
    finished = read_events(f"{directory}/events.jsonl")[-1]
    assert (code, finished["reason"].partition(": ")[2]) == (
        "3",
        f"killed by SIGKILL; could not be killed: {', '.join(others)}",
    )


@every_start_method
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_to_the_engine_stops_every_task_and_completes_the_record(running, method, number, code):
    tasks = ("stay", "stay_with_a_child", "stay_with_a_hidden_child")
    run = running(method, tasks)
    run.engine.send_signal(getattr(signal, number))
    ended = run.finish()
    assert ended.code == code
    finished = ended.events[-1]
    assert (finished["event"], finished["exit_code"]) == ("run_finished", code)
    assert (finished["outcome"], finished["reason"]) == ("interrupted", number)
    for task in tasks:
        assert ended.one("task_stopping", task)["signal"] == "SIGTERM"
        assert ended.one("task_exited", task)["signal"] == "SIGTERM"
        assert (ended.outcome(task), ended.one("task_finished", task)["reason"]) == ("stopped", "user")
    assert ended.outcome("never") == "cancelled"
    orphans = [pid for event in ended.of("task_exited") for pid in event["orphans"]]
    assert run.pids["stay_with_a_hidden_child"][1] in orphans
    assert "Traceback" not in ended.stderr
    run.assert_gone()


@every_start_method
def test_a_second_ctrl_c_kills_tasks_that_ignore_the_first(running, method):
    run = running(method, ("ignore_sigterm",))
    run.engine.send_signal(signal.SIGINT)
    eventually(lambda: any(event["event"] == "task_stopping" for event in run.events()))
    assert alive(run.pids["ignore_sigterm"][0])
    run.engine.send_signal(signal.SIGINT)
    ended = run.finish()
    assert [event["signal"] for event in ended.of("task_stopping")] == ["SIGTERM", "SIGKILL"]
    assert ended.one("task_exited", "ignore_sigterm")["signal"] == "SIGKILL"
    assert (ended.code, ended.outcome("ignore_sigterm")) == (130, "stopped")
    assert "Traceback" not in ended.stderr
    run.assert_gone()


def test_the_terminals_signals_reach_the_engine_alone(running):
    run = running("fork", ("stay",))
    groups = {os.getpgid(run.engine.pid), os.getpgid(run.launcher), os.getpgid(run.pids["stay"][0])}
    assert len(groups) == 3
    run.engine.send_signal(signal.SIGINT)
    assert run.finish().code == 130


def test_a_killed_fork_server_fails_its_tasks_and_kills_them(running):
    run = running("forkserver", ("stay",))
    (server,) = {event["ppid"] for event in run.events() if event["event"] == "task_started"}
    os.kill(server, signal.SIGKILL)
    ended = run.finish()
    assert (ended.code, ended.outcome("stay")) == (1, "unknown")
    assert ended.one("task_finished", "stay")["reason"] == "exit status unknown"
    assert ended.outcome("never") == "skipped"
    run.assert_gone()


def test_tasks_after_the_fork_server_was_killed_are_not_started_and_say_why(tmp_path):
    write(
        tmp_path,
        work="""\
            import os, signal
            def kill_parent():
                os.kill(os.getppid(), signal.SIGKILL)
                signal.pause()
        """,
        job="""\
            max_parallel: 1
            tasks: [{name: killer, target: 'work:kill_parent'}, {name: second, target: 'os:getppid'}]
        """,
    )
    run = mprun("job.yaml", "--start-method", "forkserver", cwd=tmp_path)
    assert (run.code, run.outcome("killer"), run.outcome("second")) == (1, "unknown", "failed")
    assert run.one("task_exited", "killer")["orphans"] == []
    assert run.one("task_finished", "second")["reason"] == "could not be started: the fork server is gone"


@every_start_method
def test_a_process_that_a_module_started_at_import_ends_with_the_job(tmp_path, method):
    write(
        tmp_path,
        server="""\
            import os, subprocess
            if not os.path.exists("pid"):
                with open("pid", "w") as file:
                    file.write(str(subprocess.Popen(["sleep", "60"], start_new_session=True).pid))
            def is_served():
                os.kill(int(open("pid").read()), 0)
        """,
        job="""\
            max_parallel: 1
            tasks: [{target: 'server:is_served'}, {target: 'server:is_served'}]
        """,
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert not alive(int((tmp_path / "pid").read_text()))


def test_nohup_is_respected(tmp_path):
    write(tmp_path, work=LONG, job="tasks: [{name: stay, target: 'work:stay'}]\n")
    engine = start("job.yaml", cwd=tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    eventually((tmp_path / "stay.pids").exists)
    engine.send_signal(signal.SIGHUP)
    engine.send_signal(signal.SIGTERM)
    assert finish(engine, tmp_path / ".mprun").code == 143


@every_start_method
def test_the_end_of_one_task_kills_no_descendant_of_another(tmp_path, method):
    write(
        tmp_path,
        work="""\
            import os, pathlib, signal, time
            def wait_for(name):
                while not os.path.exists(name):
                    time.sleep(0.005)
            def have_a_hidden_child():
                reader, writer = os.pipe()
                if (parent := os.fork()) == 0:
                    os.setsid()
                    if os.fork() == 0:
                        os.write(writer, str(os.getpid()).encode())
                        signal.pause()
                    os._exit(0)
                os.waitpid(parent, 0)
                child = int(os.read(reader, 20))
                pathlib.Path("it is hidden").touch()
                wait_for("another has ended")
                return [child, pathlib.Path(f"/proc/{child}/stat").read_text().split(") ")[1][0]]
        """,
        job="""\
            max_parallel: 2
            tasks:
            - {name: parent, target: 'work:have_a_hidden_child'}
            - {name: one, target: 'work:wait_for', args: [it is hidden]}
            - {name: another, target: 'os:mkdir', args: [another has ended], depends_on: one}
        """,
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert run.code == 0, run.stderr
    child, state = run.result("parent")
    assert state == "S"
    assert run.one("task_exited", "one")["orphans"] == []
    assert [pid for event in run.of("task_exited") for pid in event["orphans"]] == [child]


def test_an_orphan_is_named_with_the_task_that_left_it_though_another_ends_with_it(tmp_path):
    write(
        tmp_path,
        work="""\
            import os, subprocess, time
            def wait_for(name):
                while not os.path.exists(name):
                    time.sleep(0.005)
            def leave_one(name):
                wait_for(name)
                return subprocess.Popen(["sleep", "60"], start_new_session=True).pid
        """,
        job="""\
            tasks:
            - {name: first, target: 'work:wait_for', args: [end first]}
            - {name: second, target: 'work:leave_one', args: [end second]}
        """,
    )
    engine = start("job.yaml", cwd=tmp_path)
    state_dir = tmp_path / ".mprun"

    def pids():
        return {event["task"]: event["pid"] for event in recorded_starts(state_dir)}

    eventually(lambda: len(pids()) == 2)
    launcher = psutil.Process(pids()["first"]).ppid()
    os.kill(launcher, signal.SIGSTOP)
    for task, pid in pids().items():
        (tmp_path / f"end {task}").touch()
        eventually(lambda pid=pid: not alive(pid))
    os.kill(launcher, signal.SIGCONT)
    run = finish(engine, state_dir)
    assert run.one("task_exited", "first")["orphans"] == []
    assert run.one("task_exited", "second")["orphans"] == [run.result("second")]


def test_the_directory_of_the_fork_server_is_removed(tmp_path):
    write(tmp_path, job="tasks: [{target: 'os:getpid'}]\n")
    # Not below a directory with a long path: that of the server's socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        run = mprun("job.yaml", "--start-method", "forkserver", cwd=tmp_path, env={"TMPDIR": temporary})
        assert run.code == 0, run.stderr
        assert os.listdir(temporary) == []


# ---- failed imports

IMPORTS = {
    "abort": ("import os; os.abort()", "importing `bad` terminated the main process (killed by SIGABRT)"),
    "leave": ("import os; os._exit(0)", "importing `bad` terminated the main process (exit 0)"),
    "exit": ("import sys; sys.exit('so it goes')", "called sys.exit('so it goes')"),
    "raise": ("1 / 0", "failed: ZeroDivisionError: division by zero"),
    "no syntax": ("def", "failed: "),
    "interrupt": ("raise KeyboardInterrupt", "failed: KeyboardInterrupt"),
    "hang": ("import signal; signal.pause()", "importing `bad` takes longer than 3s (`--import-timeout`)"),
}


@every_start_method
@pytest.mark.parametrize("case", IMPORTS)
def test_a_failed_import_is_reported_and_nothing_is_started(tmp_path, method, case):
    code, message = IMPORTS[case]
    write(
        tmp_path,
        bad=code,
        job="tasks:\n  - target: os:mkdir\n    args: [was-started]\n  - target: bad:run\n",
    )
    arguments = ("job.yaml", "--start-method", method, "--import-timeout", "3" if case == "hang" else "20")
    run = mprun(*arguments, cwd=tmp_path)
    assert (run.code, run.directory) == (2, None)
    # The traceback of an exception, from the module on, is what the module has printed.
    printed = run.printed("main")
    assert [line for line in printed if line.startswith("  File ")] == [
        f'  File "{tmp_path}/bad.py", line 1{"" if case == "no syntax" else ", in <module>"}'
        for shown in [case]
        if shown in ("raise", "no syntax", "interrupt")
    ]
    assert len(printed) == len(run.stdout.splitlines())
    assert message in run.stderr
    assert "--> job.yaml:4:13" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "was-started").exists()
    assert list((tmp_path / ".mprun" / "runs").iterdir()) == []


def test_ctrl_c_during_an_import_starts_nothing(tmp_path):
    write(
        tmp_path,
        slow="import os, signal, pathlib; pathlib.Path('pid').write_text(str(os.getpid())); signal.pause()",
        job="tasks: [{target: 'slow:run'}]\n",
    )
    engine = start("job.yaml", cwd=tmp_path)
    launcher = written(tmp_path / "pid")
    engine.send_signal(signal.SIGINT)
    run = finish(engine, tmp_path / ".mprun")
    assert (run.code, run.directory) == (130, None)
    assert "Traceback" not in run.stderr
    assert not alive(int(launcher))


def test_a_module_that_crashes_in_the_fork_server_alone_fails_its_tasks(tmp_path):
    write(
        tmp_path,
        moody="""\
            import os, pathlib
            if pathlib.Path("imported").exists():
                os._exit(5)
            pathlib.Path("imported").touch()
            def run():
                pass
        """,
        job="tasks: [{name: a, target: 'moody:run'}, {name: b, target: 'moody:run'}]\n",
    )
    run = mprun("job.yaml", "--start-method", "forkserver", cwd=tmp_path)
    assert run.code == 1, run.stderr
    assert {event["outcome"] for event in run.of("task_finished")} == {"failed"}
    assert "Traceback" not in run.stderr


def test_a_thread_that_an_import_starts_is_named_in_a_warning(tmp_path):
    write(
        tmp_path,
        threaded="""\
            import threading, time
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            def run():
                return threading.active_count()
        """,
        job="tasks: [{name: task, target: 'threaded:run'}]\n",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert "warning: importing `threaded` started a thread" in run.stderr
    # As after any fork, the child does not have the thread.
    assert (run.code, run.result("task")) == (0, 1)


# ---- from Python

SCRIPT = """\
    import json, mprun, signal, subprocess, sys, threading

    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]

    before = handlers()
    child = subprocess.Popen(["sleep", "60"])
    stop = threading.Event()
    others = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in others:
        thread.start()

    def run():
        plan = mprun.plan_job(mprun.load_job("job.yaml"), start_method=sys.argv[1])
        return mprun.run_job(plan, state_dir="records")

    results = [run()]
    in_a_thread = threading.Thread(target=lambda: results.append(run()))
    in_a_thread.start()
    in_a_thread.join()
    assert handlers() == before
    assert child.poll() is None and all(thread.is_alive() for thread in others)
    child.kill()
    stop.set()
    for result in results:
        tasks = sorted((task.name, task.outcome, task.result) for task in result.tasks)
        print(json.dumps([result.outcome, result.exit_code, tasks]))
"""


@every_start_method
def test_a_job_run_by_a_script_leaves_the_threads_and_children_of_the_script_alone(tmp_path, method):
    write(
        tmp_path,
        script=SCRIPT,
        work="""\
            import threading
            def count():
                print("never seen")
                return threading.active_count()
        """,
        job="""\
            tasks:
            - {name: counter, target: 'work:count'}
            - {name: bad, target: 'os:rmdir', args: [nowhere]}
        """,
    )
    command = [sys.executable, "script.py", method]
    process = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT
    )
    assert (process.returncode, process.stderr) == (0, "")
    tasks = [["bad", "failed", None], ["counter", "succeeded", 1]]
    assert [json.loads(line) for line in process.stdout.splitlines()] == [["failed", 1, tasks]] * 2
    assert len(list((tmp_path / "records" / "runs").iterdir())) == 2


def test_modules_for_results_are_imported_once_for_all_forks(tmp_path):
    write(
        tmp_path,
        work="import sys\n\ndef has_it():\n    return 'mprun.launcher.result_files' in sys.modules\n",
        job="tasks: [{name: first, target: 'work:has_it'}, {name: next, target: 'work:has_it'}]\n",
    )
    run = mprun("job.yaml", "-j", "1", cwd=tmp_path)
    # A single task does not wait for an import that it may not need.
    assert (run.code, run.result("first"), run.result("next")) == (0, False, True)


@every_start_method
def test_a_failed_import_shows_its_traceback_from_the_users_module_on(tmp_path, method):
    """C23"""
    write(
        tmp_path,
        settings="""\
            import os

            def read(name):
                return os.environ[name]

            URL = read("NO_SUCH_VARIABLE")
        """,
        work="""\
            import settings

            def one(): pass
            def two(): pass
        """,
        job="""\
            preload: [work]
            tasks:
              - target: work:one
              - target: work:two
        """,
    )
    run = mprun("--start-method", method, "job.yaml", cwd=tmp_path)
    assert run.code == 2
    lines = [line for line in run.printed("main") if not set(line) <= set(" ^~")]
    frozen = lines.pop(-2)
    # Once, though a preloaded module and two targets need it.
    assert lines == [
        "Traceback (most recent call last):",
        f'  File "{tmp_path}/work.py", line 1, in <module>',
        "    import settings",
        f'  File "{tmp_path}/settings.py", line 6, in <module>',
        '    URL = read("NO_SUCH_VARIABLE")',
        f'  File "{tmp_path}/settings.py", line 4, in read',
        "    return os.environ[name]",
        "KeyError: 'NO_SUCH_VARIABLE'",
    ]
    assert "os" in frozen
    what = f"importing `work` failed: KeyError: 'NO_SUCH_VARIABLE' ({tmp_path}/settings.py:4)"
    # For the preloaded module, and for both targets together.
    assert run.stderr.count(what) == 2
    assert run.stderr.count("; also task `Process-2`") == 1


SLOW = "import pathlib, time\nwhile not pathlib.Path('enough').exists(): time.sleep(0.01)\ndef run(): pass\n"


@pytest.mark.parametrize(
    "job", ["tasks: [{target: 'app.slow:run'}]", "preload: [app.slow]\ntasks: [{target: 'os:getpid'}]"]
)
@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_module_that_takes_long_to_import_is_named_once(tmp_path, job, quiet):
    """C22"""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "slow.py").write_text(SLOW)
    (tmp_path / "job.yaml").write_text(job)
    # It is said on standard error, which has no other line before the imports are done.
    with open(tmp_path / "said", "wb") as file:
        engine = start("job.yaml", "--dry-run", *quiet, cwd=tmp_path, stderr=file)
        if not quiet:
            eventually((tmp_path / "said").read_bytes, 30)
        (tmp_path / "enough").touch()
        engine.communicate(timeout=TIMEOUT)
    said = (tmp_path / "said").read_text().splitlines()
    assert said == [
        *(() if quiet else ["importing app.slow ..."]),
        "job.yaml: every target can be called; nothing was started",
    ]
    assert engine.returncode == 0


def test_a_preloaded_module_that_ends_the_launcher_is_named(tmp_path):
    """C22"""
    write(
        tmp_path, bad="import os\nos._exit(3)\n", job="preload: [os, bad]\ntasks: [{target: 'os:getpid'}]\n"
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 2
    assert "importing `bad` terminated the main process (exit 3)" in run.stderr
    assert "--> job.yaml:1:15" in run.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="/proc as Linux has it")
def test_a_process_whose_files_are_closed_is_seen_to_end_even_if_it_still_is_the_parent():
    """So the launcher knows that the engine is gone as soon as their socket is closed."""
    for _ in range(100):
        reader, writer = os.pipe()
        child = subprocess.Popen(["sleep", "1000"], pass_fds=(writer,))
        os.close(writer)
        try:
            assert not procfs.is_ending(child.pid)
            child.kill()
            os.read(reader, 1)
            assert procfs.is_ending(child.pid)
        finally:
            child.kill()
            child.wait()
            os.close(reader)
    assert procfs.is_ending(child.pid)
