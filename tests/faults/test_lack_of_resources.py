"""A start without free descriptors or processes is retried, and other tasks are not affected."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

import pytest
from support.attempts import Attempts
from support.runs import START_METHODS, alive, finish, recorded_starts, start, write

from mprun.executors.base import StartCancelled

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) is Linux's")

WORK = """\
    import os, time

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.005)
        return name
"""


class Watched(Attempts):
    """Attempts that also record which starts were cancelled."""

    cancelled = ()

    def _take(self, report):
        if isinstance(report, StartCancelled):
            self.cancelled = (*self.cancelled, report.key)
        else:
            super()._take(report)

    def cancel(self, key):
        self.executor.cancel(key)
        assert self.executor.flush()


@pytest.fixture
def launched(tmp_path):
    write(tmp_path, work=WORK)
    made = []

    def launch(method):
        go = str(tmp_path / "go")
        made.append(Watched(tmp_path, method=method, targets=[("work:wait_for", (go,))]))
        return made[-1], go

    yield launch
    for attempts in made:
        attempts.__exit__()


def is_held_back(attempts, go):
    """Whether a start waits to be retried, while another one is cancelled and a third ends well."""
    waiting = attempts.start(target="work:wait_for", args=(go,))
    other = attempts.start(target="work:wait_for", args=(go,))
    # The answer shows that the first start has been tried as well.
    attempts.cancel(other)
    attempts._until(lambda: other in attempts.cancelled)
    assert waiting not in attempts.started
    assert waiting not in attempts.ended
    return waiting


@pytest.mark.parametrize("method", START_METHODS)
def test_a_start_without_free_descriptors_is_retried_and_others_are_unaffected(launched, method, tmp_path):
    attempts, go = launched(method)
    running = attempts.start(target="work:wait_for", args=(go,))
    pid = attempts.begun(running).pid
    launcher = attempts.executor.pid
    limit = resource.prlimit(launcher, resource.RLIMIT_NOFILE)
    held = {int(name) for name in os.listdir(f"/proc/{launcher}/fd")}
    free = min(set(range(1000)) - held)
    resource.prlimit(launcher, resource.RLIMIT_NOFILE, (free, limit[1]))
    # A launcher that forks has a reserve of one.
    more = [attempts.start(target="work:wait_for", args=(go,))] if method == "fork" else []
    for key in more:
        attempts.begun(key)
    waiting = is_held_back(attempts, go)
    assert alive(pid)
    (tmp_path / "go").touch()
    # The first end frees a descriptor, so the one that waits may start, and end, before the others have.
    for key in [running, *more]:
        assert attempts.end(key).code == 0
    resource.prlimit(launcher, resource.RLIMIT_NOFILE, limit)
    assert attempts.end(waiting).result == go


# Each task leaves a child that ends a little later than it does.
PAIRS = """\
    import os, signal, time

    def pair():
        print("begun", flush=True)
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), os._exit(0)))
        time.sleep(100)
"""


@pytest.mark.once
@pytest.mark.parametrize("spare", range(4))
@pytest.mark.parametrize("signals", [("SIGTERM",), ("SIGTSTP", "SIGCONT", "SIGTERM")])
def test_a_run_that_has_used_up_its_descriptors_is_stopped_as_any_other(tmp_path, spare, signals):
    tasks = "".join(f"  - {{name: t{number}, target: 'work:pair'}}\n" for number in range(40))
    write(tmp_path, work=PAIRS, job=f"max_parallel: 40\ntasks:\n{tasks}")
    limit = 36 + spare
    process = start(
        "job.yaml",
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
    )
    # Those that have no descriptor wait.
    seen = -1
    while (count := len(recorded_starts(tmp_path / ".mprun"))) != seen or not count:
        seen = count
        time.sleep(0.5)
    for name in signals:
        process.send_signal(getattr(signal, name))
        time.sleep(0.5)
    run = finish(process, tmp_path / ".mprun")
    assert run.code == 143
    outcomes = [event["outcome"] for event in run.of("task_finished")]
    assert sorted(set(outcomes)) == ["cancelled", "stopped"]
    # On a busy machine, some may have begun since.
    begun = len(run.of("task_started"))
    assert 0 < begun < 40
    assert outcomes.count("stopped") == begun


@pytest.mark.skipif(os.geteuid() == 0, reason="the kernel does not limit root")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_start_without_free_processes_is_retried(launched, method, tmp_path):
    attempts, go = launched(method)
    attempts.__enter__()
    launcher = attempts.executor.pid
    limit = resource.prlimit(launcher, resource.RLIMIT_NPROC)
    resource.prlimit(launcher, resource.RLIMIT_NPROC, (1, limit[1]))
    waiting = is_held_back(attempts, go)
    (tmp_path / "go").touch()
    resource.prlimit(launcher, resource.RLIMIT_NPROC, limit)
    assert attempts.end(waiting).result == go


@pytest.mark.skipif(os.geteuid() == 0, reason="the kernel does not limit root")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_helpers_of_all_tasks_that_cannot_be_started_are_retried(launched, method, tmp_path):
    attempts, go = launched(method)
    launcher = attempts.executor.pid
    limit = resource.prlimit(launcher, resource.RLIMIT_NPROC)
    resource.prlimit(launcher, resource.RLIMIT_NPROC, (1, limit[1]))
    assert attempts.executor.flush()
    # Long enough for the first of many tries on most machines; a launcher that gave up would be lost.
    end = time.monotonic() + 0.5
    while attempts._poll.poll(max(0, end - time.monotonic()) * 1000):
        for report in attempts.executor.receive():
            attempts._take(report)
    assert attempts.prepared is None
    resource.prlimit(launcher, resource.RLIMIT_NPROC, limit)
    (tmp_path / "go").touch()
    with attempts:
        assert attempts.run(target="work:wait_for", args=(go,)).result == go
