"""A fork server that is stopped or stuck does not hold up the launcher for ever."""

from __future__ import annotations

import os
import signal

from support.attempts import Attempts
from support.runs import alive, eventually, write

from mprun.executors.base import NotStarted

# The launcher imports it, and has less patience from then on.
WORK = """\
    import signal
    from mprun import popen_exec
    popen_exec.PATIENCE = 0.3

    def stay():
        signal.pause()

    def end():
        return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
"""


def hindrance(attempts, key):
    """Why an attempt could not be started."""
    report = attempts._until(lambda: attempts.ended.get(key))
    assert isinstance(report, NotStarted), report
    return report.message


def test_a_fork_server_that_does_not_answer_is_ended_and_its_tasks_with_it(tmp_path):
    write(tmp_path, work=WORK)
    targets = [("work:stay", ()), ("work:end", ())]
    with Attempts(tmp_path, method="forkserver", methods=("fork",), targets=targets) as attempts:
        running = attempts.start(target="work:stay")
        begun = attempts.begun(running)
        server = begun.ppid
        os.kill(server, signal.SIGSTOP)
        late = attempts.start(target="work:end")
        assert hindrance(attempts, late) == "the fork server does not answer"
        assert attempts.end(running).code is None
        assert hindrance(attempts, attempts.start(target="work:end")) == "the fork server is gone"
        eventually(lambda: not alive(server) and not alive(begun.pid))
        # Other tasks need none, and the timer is theirs again.
        ended = attempts.run(target="work:end", method="fork")
        assert (ended.code, ended.result) == (0, True)
        assert not os.path.exists(tmp_path / f"attempt{late[0]}.json")
