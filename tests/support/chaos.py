"""Random jobs for runs that are killed, and the checks that every run must pass."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from mprun.linux import procfs
from support.crash_targets import wait_for_ends
from support.kills import BOUND, MAX_SECONDS
from support.runs import TIMEOUT, complete_lines, newest_run, start, write

WORK = """\
    import os, signal, subprocess, time

    def note(name):
        file = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{name}\\n".encode())
        os.close(file)

    def call(value=1, nap=0, *before):
        time.sleep(nap)
        print("called")
        note("end " + os.environ["MPRUN_TASK"])
        return value

    def items(number, nap, *before):
        call(None, nap)
        return list(range(number))

    def flaky(value, nap, *before):
        if os.environ["MPRUN_ATTEMPT"] == "1":
            time.sleep(nap)
            raise ValueError("once")
        return call(value, nap)

    def daemonize(value, nap, *before):
        # Like daemon(3): it keeps running, ignores signals and has a session of its own.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.closerange(0, 100)
                time.sleep(600)
            os._exit(0)
        os.wait()
        return call(value, nap)

    def spread(value, nap, *before):
        subprocess.Popen(["sh", "-c", "sleep 600 & setsid sleep 600 & sleep 600"], start_new_session=True)
        return call(value, nap)

    def ignores_sigterm(value, nap, *before):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return call(value, nap)

    def serve():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()

    def total(values):
        note("end " + os.environ["MPRUN_TASK"])
        return sum(sum(value) if isinstance(value, list) else value for value in values)
"""
TARGETS = ("call", "call", "flaky", "daemonize", "spread", "ignores_sigterm")


def random_job(random, most):
    """A job of 3 to `most` tasks and up to two more that all end, as data; the result of its last task."""
    tasks = []
    values = []
    for number in range(random.randint(3, most)):
        before = random.sample(range(number), min(number, random.choice([0, 0, 1, 1, 2])))
        references = [f"${{tasks.t{one}.result}}" for one in before]
        nap = random.choice([0, 0, 0.01, 0.03])
        kind = random.choice([*TARGETS, "items", "foreach"])
        name = f"t{number}"
        lists = [one for one in before if isinstance(values[one], list)]
        if kind == "foreach" and lists:
            source = lists[0]
            tasks.append(
                {
                    "name": name,
                    "foreach": f"${{tasks.t{source}.result}}",
                    "target": f"work:{random.choice(TARGETS[:2])}",
                    "args": ["${item}", nap],
                }
            )
            values.append(values[source])
            continue
        if kind in ("items", "foreach"):
            count = random.randrange(4)
            tasks.append({"name": name, "target": "work:items", "args": [count, nap, *references]})
            values.append(list(range(count)))
            continue
        task = {"name": name, "target": f"work:{kind}", "args": [number, nap, *references]}
        if kind == "flaky":
            task["retry"] = {"retries": 1, "delay": 0.01}
        task["stop"] = {"grace": 0.1}
        tasks.append(task)
        values.append(number)
    if random.random() < 0.5:
        tasks.insert(0, {"name": "server", "target": "work:serve", "daemon": True, "stop": {"grace": 0.05}})
    every = [f"${{tasks.t{number}.result}}" for number in range(len(values))]
    tasks.append({"name": "sum", "target": "work:total", "args": [every]})
    return {"tasks": tasks}, sum(sum(value) if isinstance(value, list) else value for value in values)


class Round:
    """One run in a directory of its own, and the checks of it."""

    def __init__(self, directory, random, *, failpoints="", method="fork"):
        # A spawned task is a whole Python: with fewer of them there is time for more rounds.
        job, self.expected = random_job(random, most=4 if method == "spawn" else 7)
        self.tasks = len(job["tasks"])
        # Whether a run of another job cleans up after this run, or its own resume.
        self._other_job_first = random.random() < 1 / 3
        self._shown_by = random.choice(["runs", "show"])
        self.directory = directory
        write(directory, work=WORK)
        Path(directory, "job.yaml").write_text(json.dumps(job))
        failing = {"MPRUN_FAILPOINTS": failpoints} if failpoints else {}
        stderr = open(Path(directory, "stderr"), "wb")  # noqa: SIM115  closed below
        self.engine = start(
            "job.yaml",
            "--start-method",
            method,
            "--events",
            "copy",
            cwd=directory,
            env=failing,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        stderr.close()

    def wait(self):
        """Wait until the engine has ended; its exit code."""
        return self.engine.wait(TIMEOUT)

    def run_ids(self):
        runs = Path(self.directory, ".mprun", "runs")
        return sorted(os.listdir(runs)) if runs.exists() else []

    def record(self):
        """The directory of the first run; None if none has a record."""
        runs = Path(self.directory, ".mprun", "runs")
        found = [run_id for run_id in self.run_ids() if (runs / run_id / "events.jsonl").exists()]
        return runs / found[0] if found else None

    def events(self):
        """The readable events of the first run."""
        return complete_lines(self.record() / "events.jsonl") if self.record() else []

    def members(self):
        """The processes that have a run's id in their environment, or are in a session of a recorded task."""
        marks = {f"MPRUN_RUN_ID={run_id}".encode() for run_id in self.run_ids()}
        sessions = {event["pid"] for event in self.events() if event["event"] == "task_started"}
        return [
            pid
            for pid, stat in procfs.processes().items()
            if stat.is_alive
            and pid != self.engine.pid
            and (stat.session in sessions or not marks.isdisjoint(procfs.environment(pid)))
        ]

    def left_after(self, timeout):
        """Its processes after so many seconds; sooner, if there are none."""
        end = time.monotonic() + timeout
        while (members := self.members()) and time.monotonic() < end:
            wait_for_ends(members, 0.02)
        return members

    def ends(self):
        """How often each task has ended, in all runs."""
        path = Path(self.directory, "ran")
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(line.removeprefix("end ") for line in lines)

    def command(self, *arguments):
        """Run `mprun ARGUMENTS` in the directory; its exit code and its output."""
        done = start(*arguments, cwd=self.directory)
        output, stderr = done.communicate(timeout=TIMEOUT)
        return done.returncode, output.decode() + stderr.decode()

    def clean(self):
        for pid in self.members():
            # It may have ended by now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.engine.poll() is None:
            self.engine.kill()
        self.engine.wait()

    # ---- the checks

    def examine(self, *, both=False):
        """For how many seconds processes outlived the engine, and the defects of the run.

        Each defect is a kind and its details. `both` is whether the launcher was killed with the
        engine: then detached processes are alive until the next start.
        """
        begun = time.monotonic()
        found = [("survivor", self.describe())] if not both and self.left_after(MAX_SECONDS) else []
        seconds = time.monotonic() - begun
        found += [("late", f"{seconds:.3f} s")] if seconds > BOUND else []
        return seconds, found + list(self._defects())

    def _defects(self):
        events = self.events()
        succeeded = {
            e["task"]
            for e in events
            if e["event"] == "task_finished" and e["outcome"] == "succeeded" and e["attempts"]
        }
        before = self.ends()
        lost = [e for e in complete_lines(Path(self.directory, "copy")) if e not in events]
        if lost:
            yield "lost event", lost
        yield from self._false_success(self.engine.returncode, succeeded, before)
        has_begun = any(e["event"] == "run_started" for e in events)
        if self._other_job_first or not has_begun:
            yield from self._not_recovered()
        if self.record() is None:
            return
        run_id = self.record().name
        shown, stderr = self.command("runs") if self._shown_by == "runs" else self.command("show", run_id)
        if shown != 0 or "Traceback" in stderr:
            yield "does not open", stderr
        if has_begun:
            yield from self._not_resumed(run_id, events, succeeded, before)
        elif before:
            yield "run without a record", before
        forgotten = [e for e in events if e not in self.events()]
        if forgotten:
            yield "forgotten event", forgotten

    def _not_recovered(self):
        write(self.directory, job_next="tasks: [{target: 'os:getpid'}]\n")
        code, stderr = self.command("-q", "job_next.yaml")
        if code != 0 or self.left_after(0.2):
            yield "not recovered", (code, stderr, self.describe())
        yield from self._unclosed()

    def _unclosed(self):
        if names := os.listdir(Path(self.directory, ".mprun", "open")):
            yield "not recovered", names

    def _false_success(self, code, succeeded, before):
        never = [name for name in succeeded if not before[name]]
        if never:
            yield "false success", never
        finished = [e for e in self.events() if e["event"] == "run_finished"]
        if code == 0 and (
            not finished or finished[0]["exit_code"] != 0 or self.result(self.events()) != self.expected
        ):
            yield "false success", finished
        if len(finished) > 1:
            yield "false success", finished

    def _not_resumed(self, run_id, events, succeeded, before):
        code, stderr = self.command("resume", run_id, "--rerun-unknown")
        if code != 0:
            yield "not resumed", (code, stderr)
            return
        newest = complete_lines(Path(newest_run(Path(self.directory, ".mprun")).events))
        if newest[0].get("resumed_from") != run_id:
            # All had succeeded: a resume that starts nothing does not count as a next start either.
            newest = events
            yield from self._not_recovered()
        if self.result(newest) != self.expected:
            yield "wrong result", (self.result(newest), self.expected)
        after = self.ends()
        again = [name for name in succeeded if after[name] != before[name]]
        if again:
            yield "run again", again
        # The command has returned: the processes that it had to kill are ending.
        if self.left_after(1.0):
            yield "survivor of the resumed run", self.describe()
        yield from self._unclosed()

    def describe(self):
        """The processes that are left, with their state and command line."""
        left = []
        for pid in self.members():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                left.append((Path(f"/proc/{pid}/stat").read_text(), words))
        return left

    def result(self, events):
        return next(
            (e["result"] for e in events if e["event"] == "task_finished" and e["task"] == "sum"), None
        )
