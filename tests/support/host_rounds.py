"""Rounds of a run over two hosts in network namespaces, each with a fault at a random moment."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from support.cluster import Cluster
from support.network import Network
from support.runs import Run, all_runs, environment, finish, write

# In seconds; what heals does so in the first half of it.
HOST_TIMEOUT = 3.0
# By then nothing is left on any host, if the machine is not too busy.
LATE = HOST_TIMEOUT + 8.0
# A round that takes longer has hung.
HUNG = 90.0
MARK = "MPRUN_ROUND"
KILLS = ("engine", "bridge", "worker", "agent", "launcher", "scheduler")
# Cables that are out for a while, and for good; packets that are lost one way; little bandwidth.
HEALED = ("short cut of a host", "short cut of mprun", "slow host", "slow mprun")
CUTS = (
    "cut of a host",
    "cut of mprun",
    "no way to a host",
    "no way from a host",
    "cut of mprun, which is killed",
    "cut of a host, and a stop",
)
FAULTS = ("the same as here", *KILLS, *HEALED, *CUTS, "stop")

WORK = """
    import fcntl, os, sys, time

    def _hold(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _note(where, word):
        task, attempt = os.environ["MPRUN_TASK"], os.environ["MPRUN_ATTEMPT"]
        file = os.open(os.path.join(where, "effects"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{word} {task} {attempt} {os.getpid()}\\n".encode())
        os.close(file)

    def work(where, seconds, value, lines=10, token=False, fail=0):
        # As long as its process lives, another attempt of the task cannot have the lock.
        if not _hold(os.path.join(where, f"lock-{os.environ['MPRUN_TASK']}")):
            _note(where, "at-once")
        if token and not _hold(os.path.join(where, "lock-of-the-token")):
            _note(where, "token")
        _note(where, "did")
        for number in range(lines):
            print(number, value, "x" * 90)
        sys.stdout.flush()
        time.sleep(seconds)
        if int(os.environ["MPRUN_ATTEMPT"]) <= fail:
            sys.exit(1)
        return {"value": value, "pad": "y" * 1000}

    def numbers(where, count):
        _note(where, "did")
        return list(range(count))
"""


def job(where, random, count, on_host_lost):
    """A job of about so many tasks, and what each prints and returns, by name."""
    tasks = []
    expected = {}

    def add(name, seconds, value, lines=10, **more):
        kwargs = more.pop("kwargs", {})
        args = [str(where), seconds, value]
        tasks.append(
            {"name": name, "target": "work:work", "args": args, "kwargs": {"lines": lines, **kwargs}, **more}
        )
        log = "".join(f"{number} {value} {'x' * 90}\n" for number in range(lines))
        expected[name] = (log.encode(), {"value": value, "pad": "y" * 1000})

    for number in range(count):
        kind = number % 10
        seconds = round(random.uniform(0, 0.3), 3)
        name = f"task-{number}"
        if kind == 0:
            add(name, seconds, number, retry={"retries": 2, "delay": "50ms"}, kwargs={"fail": 1})
        elif kind in (1, 2):
            add(name, seconds, number, kwargs={"token": True}, resources={"token": 1})
        elif kind == 3:
            add(name, seconds, number, lines=random.randrange(1000, 3000))
        elif kind in (4, 5):
            add(name, seconds, number, depends_on=f"task-{number - 1}")
        else:
            add(name, seconds, number)
    tasks.append({"name": "numbers", "target": "work:numbers", "args": [str(where), 5]})
    tasks.append(
        {
            "name": "each",
            "target": "work:work",
            "args": [str(where), 0.1, "${item}"],
            "foreach": "${tasks.numbers.result}",
        }
    )
    hang = {"command": "exec sleep 600", "timeout": "500ms", "allow_failure": True}
    tasks.append({"name": "slow", **hang})
    tasks.append(
        {"name": "service", "command": "echo up; exec sleep 600", "daemon": True, "ready": {"log": "up"}}
    )
    tasks.append({"name": "user", "command": "echo used", "depends_on": {"service": "ready"}})
    # JSON is YAML.
    text = json.dumps({"resources": {"token": 1}, "on_host_lost": on_host_lost, "tasks": tasks})
    return text, expected


class Round:
    """What one round has shown."""

    def __init__(self):
        self.hit = self.reruns = False
        self.is_cut = False
        self.gone_after = 0.0
        self.defects = []

    def add(self, kind, details):
        self.defects.append((kind, details))


class Hosts:
    """A scheduler and two workers, each on a host of its own, as is mprun."""

    def __init__(self, directory):
        self._directory = directory
        self._mark = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._env = {MARK: self._mark, "TMPDIR": str(directory)}
        self.network = Network(("mprun", "a", "b"))
        self.cluster = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.cluster is not None:
            self.cluster.close()
        for pid in self._marked():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.network.close()

    def _repair(self):
        """Have a scheduler and both workers."""
        workers = {} if self.cluster is None else self.cluster.workers
        if self.cluster is None or self.cluster.scheduler.poll() is not None:
            if self.cluster is not None:
                self.cluster.close()
            there = self._directory / f"cluster-{os.urandom(4).hex()}"
            there.mkdir()
            host, within = self.network.address["bridge"], self.network.within("bridge")
            self.cluster = Cluster(there, self._env, host=host, within=within)
            workers = {}
        for name in "ab":
            if name not in workers or workers[name].poll() is not None:
                host, within = self.network.address[name], self.network.within(name)
                self.cluster.add_worker(name, 2, host=host, within=within)
        # Nothing of mprun takes part in it.
        self.cluster.wait_for_workers(HUNG)

    def _marked(self):
        """The processes of this cluster, and of its runs."""
        wanted = f"{MARK}={self._mark}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if (
                    wanted in path.read_bytes().split(b"\0")
                    and "\nState:\tZ" not in path.with_name("status").read_text()
                ):
                    yield int(path.parent.name)

    def _left(self):
        """The processes that are neither the scheduler's nor a worker's, by pid, with their commands."""
        kept = {process.pid for process in (self.cluster.scheduler, *self.cluster.workers.values())}
        found = {}
        for pid in set(self._marked()) - kept:
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def _start(self, place, *options):
        command = [*self.network.within("mprun"), sys.executable, "-m", "mprun", "job.yaml"]
        command += ["--host-timeout", f"{HOST_TIMEOUT:g}s", *options]
        command += ["--executor", "dask", "--scheduler-file", self.cluster.file]
        # Not a pipe, which a survivor would hold.
        with (place / "stdout").open("wb") as stdout, (place / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                command,
                cwd=place,
                env=environment(**self._env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    def play(self, number, fault, random):
        """One round."""
        self._repair()
        one = Round()
        place = self._directory / f"round-{number}"
        place.mkdir()
        write(place, work=WORK)
        one.reruns = random.random() < 0.7
        count = 200 if fault == FAULTS[0] else random.randrange(20, 40)
        text, expected = job(place, random, count, "rerun" if one.reruns else "fail")
        (place / "job.yaml").write_text(text)
        process = self._start(place)
        ended = self._harm(one, fault, process, random)
        code = process.wait()
        self._wait_until_gone(one, fault, ended)
        self.network.heal()
        stderr = (place / "stderr").read_text("utf-8", "backslashreplace")
        if "Traceback" in stderr:
            one.add("traceback", stderr)
        self._check_run(one, fault, place, code, stderr, expected)
        if one.is_cut:
            # Dask itself ends a worker that was cut off, which may be later.
            self.cluster.close()
        if fault == FAULTS[0]:
            self._compare(one, place, text)
        return one

    # ---- the fault

    def _harm(self, one, fault, process, random):
        """Do it at a random moment, and wait for the end of mprun; when its end was sure."""
        name = random.choice("ab")
        moment = random.uniform(0, 5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            if fault == FAULTS[0]:
                moment = HUNG
            process.wait(moment)
        if process.poll() is not None:
            return time.monotonic()
        if fault in KILLS:
            one.hit = self._kill(fault, process, random)
        elif fault == "stop":
            one.hit = True
            process.send_signal(random.choice([signal.SIGINT, signal.SIGTERM]))
        elif fault != FAULTS[0]:
            one.hit = True
            one.is_cut = fault in CUTS
            self._harm_network(fault, name, process, random)
        try:
            process.wait(HUNG)
        except subprocess.TimeoutExpired:
            one.add("hung", f"mprun is still running after {HUNG:g} s")
            process.kill()
        return time.monotonic()

    def _kill(self, who, process, random):
        pids = []
        if who == "engine":
            pids = [process.pid]
        elif who == "scheduler":
            pids = [self.cluster.scheduler.pid]
        elif who == "worker":
            pids = [random.choice(list(self.cluster.workers.values())).pid]
        else:
            left = self._left()
            agents = [pid for pid, command in left.items() if "executors.dask.agent" in command]
            if who == "bridge":
                pids = [pid for pid, command in left.items() if "executors.dask.bridge" in command]
            elif who == "agent":
                pids = agents
            else:
                pids = [pid for pid in left if _parent(pid) in agents]
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(random.choice(pids), signal.SIGKILL)
        return True

    def _harm_network(self, fault, name, process, random):
        network = self.network
        cut = "mprun" if "of mprun" in fault else name
        if fault.startswith("slow"):
            network.slow("mprun" if fault == "slow mprun" else name, random.choice(["2mbit", "8mbit"]))
            return
        if fault.startswith("no way"):
            ends = (
                [("bridge", name), ("mprun", name)]
                if fault == "no way to a host"
                else [
                    (name, "bridge"),
                    (name, "mprun"),
                ]
            )
            for both in ends:
                network.lose(*both)
            return
        network.cut(cut)
        if fault in HEALED:
            time.sleep(random.uniform(0.05, 0.5) * HOST_TIMEOUT)
            network.heal()
        elif fault == "cut of mprun, which is killed":
            time.sleep(random.uniform(0, 0.2))
            process.kill()
        elif fault == "cut of a host, and a stop":
            time.sleep(random.uniform(0, 0.2))
            process.send_signal(signal.SIGTERM)

    # ---- what is left

    def _wait_until_gone(self, one, fault, ended):
        while left := self._left():
            if time.monotonic() - ended > LATE:
                one.add("survivor", f"{LATE:g} s after the end: {left}")
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.05)
        one.gone_after = time.monotonic() - ended

    def _check_run(self, one, fault, place, code, stderr, expected):
        done = self._check_effects(one, place)
        if not all_runs(place / ".mprun"):
            # It has not come to that; a stop may even have come before there was a handler for it.
            stopped = (130, 143, -signal.SIGINT, -signal.SIGTERM) if "stop" in fault else ()
            # Of two hosts one is left.
            goes_on = fault in ("agent", "launcher")
            if code == 0 or goes_on or (fault not in ("engine", *CUTS) and code not in (2, 3, *stopped)):
                one.add("outcome", f"exit {code} without a run: {stderr}")
            if done or not one.hit:
                one.add("broken", f"no run: {stderr[:2000]}, {done}")
            return
        run = _run(place, code)
        self._check_shown(one, place)
        self._check_code(one, fault, code, run, stderr)
        for event in run.of("task_finished"):
            if event["outcome"] == "succeeded":
                self._check_success(one, run, event["task"], event["attempts"], done, expected)

    def _check_effects(self, one, place):
        """How often each attempt, by its task and number, did its work."""
        effects = [line.split() for line in _lines(place / "effects")]
        for word, task, attempt, _ in effects:
            if word != "did":
                one.add("token" if word == "token" else "at once", f"{task}, attempt {attempt}")
        done = Counter((task, int(attempt)) for word, task, attempt, _ in effects if word == "did")
        if twice := [key for key, count in done.items() if count > 1]:
            one.add("twice", twice)
        return done

    def _check_success(self, one, run, name, attempt, done, expected):
        if name not in expected:
            return
        if done[name, attempt] != 1:
            one.add("false success", f"{name} has not done its work: {done}")
        log, result = expected[name]
        if run.log(name, attempt) != log:
            one.add("differs", f"the log of {name} {attempt}")
        if run.result(name) != result:
            one.add("differs", f"the result of {name}")

    def _check_shown(self, one, place):
        shown = subprocess.run(
            [sys.executable, "-m", "mprun", "show", "--json"],
            cwd=place,
            env=environment(**self._env),
            capture_output=True,
            text=True,
            timeout=HUNG,
        )
        try:
            json.loads(shown.stdout)
        except ValueError:
            one.add("does not open", f"exit {shown.returncode}: {shown.stdout}{shown.stderr}")

    def _check_code(self, one, fault, code, run, stderr):
        outcomes = {event["task"]: event["outcome"] for event in run.of("task_finished")}
        bad = {name: each for name, each in outcomes.items() if name not in ("slow", "service", "each")}
        bad = {name: each for name, each in bad.items() if each != "succeeded"}
        told = {"code": code, "stderr": stderr, "outcomes": outcomes, "hit": one.hit}
        allowed = self._allowed_after_loss(one, run, outcomes)
        if not one.hit or fault in HEALED or fault == FAULTS[0]:
            allowed = {0}
        elif fault in ("engine", "cut of mprun, which is killed"):
            allowed = {-signal.SIGKILL, 0}
        elif fault in ("bridge", "scheduler", "cut of mprun"):
            # It may have been over when it was hit.
            allowed = {3, 0}
        elif "stop" in fault:
            allowed = {130, 143, 0, 3} if fault in CUTS else {130, 143, 0}
        if code not in allowed:
            one.add("outcome", f"exit {code}, not one of {allowed}: {told}")
        if code == 0 and bad:
            one.add("false success", told)
        finished = run.of("run_finished")
        if code >= 0 and (len(finished) != 1 or finished[0]["exit_code"] != code):
            one.add("outcome", f"the record has {finished}: {told}")

    def _allowed_after_loss(self, one, run, outcomes):
        """The exit codes of a run that has lost one host."""
        if len(run.one("run_started")["hosts"]) == 1:
            # It was left out before the first start, and has had no attempts.
            return {0}
        # No one has seen how a service ended that was being stopped.
        return {0} if one.reruns and outcomes.get("service") != "unknown" else {0, 1}

    def _compare(self, one, place, text):
        """The same job on this machine: the same outputs, results and outcomes, and each task's parent."""
        there = _run(place, 0)
        mains = {host["main_pid"] for host in there.one("run_started")["hosts"]}
        parents = {event["ppid"] for event in there.of("task_started")}
        if len(mains) != 2 or parents != mains:
            one.add("differs", f"the parents of the tasks are {parents}, not {mains}")
        local = place / "local"
        local.mkdir()
        write(local, work=WORK)
        (local / "job.yaml").write_text(text.replace(str(place), str(local)))
        process = subprocess.Popen(
            [sys.executable, "-m", "mprun", "job.yaml", "-j", "4"],
            cwd=local,
            env=environment(**self._env),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        here = finish(process, local / ".mprun", HUNG)
        if here.code:
            one.add("broken", here.stderr)
            return
        for what in (_outcomes, _files):
            if what(here) != what(there):
                one.add("differs", f"{what.__name__}: {what(here)} here, {what(there)} there"[:20000])


def _run(place, code):
    run = Run.__new__(Run)
    run.code = code
    directory = all_runs(place / ".mprun")[-1]
    run.directory = directory
    # A killed engine leaves a torn line.
    lines = Path(directory.events).read_bytes().splitlines(keepends=True)
    run.events = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return run


def _outcomes(run):
    return {
        event["task"]: (event["outcome"], event["attempts"], event["reason"])
        for event in run.of("task_finished")
    }


def _files(run):
    found = {}
    for folder in ("logs", "results"):
        for path in Path(run.directory.path, folder).iterdir():
            if "main" not in path.name:
                found[path.name] = path.read_bytes()
    return found


def _lines(path):
    return path.read_text().splitlines() if path.exists() else []


def _parent(pid):
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
