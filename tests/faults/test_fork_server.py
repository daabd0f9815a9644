"""A fork server that is stopped or stuck does not block the launcher."""

from __future__ import annotations

import os
import signal

from support.attempts import Attempts
from support.runs import alive, eventually, write

from mprun.executors.base import NotStarted

# The launcher imports it, and waits for less time from then on: still many times what a fork server takes
# to answer on a busy machine.
WORK = """\
    import os, signal
    from mprun.launcher import spawn, task_trees
    spawn.FORK_SERVER_TIMEOUT = 3
    if os.path.exists("ignores_sigterm"):
        # A stopped fork server is not resumed: it does not answer.
        task_trees.wake = lambda child: False

    def stay():
        signal.pause()

    def end():
        return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
"""


def start_error(attempts, key):
    """Why an attempt could not be started."""
    report = attempts._until(lambda: attempts.ended.get(key))
    assert isinstance(report, NotStarted), report
    return report.message


def test_a_fork_server_that_does_not_answer_is_killed_with_its_tasks(tmp_path, monkeypatch):
    write(tmp_path, work=WORK)
    (tmp_path / "ignores_sigterm").touch()
    monkeypatch.chdir(tmp_path)
    targets = [("work:stay", ()), ("work:end", ())]
    with Attempts(tmp_path, method="forkserver", methods=("fork",), targets=targets) as attempts:
        running = attempts.start(target="work:stay")
        begun = attempts.begun(running)
        server = begun.ppid
        os.kill(server, signal.SIGSTOP)
        late = attempts.start(target="work:end")
        assert start_error(attempts, late) == "the fork server does not answer"
        assert attempts.end(running).code is None
        assert start_error(attempts, attempts.start(target="work:end")) == "the fork server is gone"
        eventually(lambda: not alive(server) and not alive(begun.pid))
        # Other tasks do not need it, and may use the timer again.
        ended = attempts.run(target="work:end", method="fork")
        assert (ended.code, ended.result) == (0, True)
        assert not os.path.exists(tmp_path / f"attempt{late[0]}.json")


def test_a_stopped_fork_server_is_resumed_and_starts_the_task(tmp_path):
    write(tmp_path, work=WORK)
    with Attempts(tmp_path, method="forkserver", targets=[("work:end", ()), ("work:stay", ())]) as attempts:
        running = attempts.begun(attempts.start(target="work:stay"))
        os.kill(running.ppid, signal.SIGSTOP)
        assert attempts.run(target="work:end").code == 0
        assert alive(running.pid)
