"""The agent of a host, without a cluster: what it answers to the bridge."""

import os
import shutil
import socket
import threading
import time
from types import SimpleNamespace

from support.runs import alive, eventually

from mprun.executors import base
from mprun.executors.dask import agent as agent_module
from mprun.executors.dask.agent import Agent
from mprun.launcher.channel import FrameDecoder, frame, messages_of

PREPARE = base.PrepareRequest(
    run_id="run",
    import_path=(),
    log="main.log",
    start_method="fork",
    methods=("fork",),
    preload=(),
    max_parallel=1,
    env={},
    calls=(),
)


def test_a_host_without_the_directory_of_the_run_is_a_difference(tmp_path):
    ours, theirs = socket.socketpair()
    agent = Agent(theirs, 30.0)
    agent._handle("prepare", PREPARE.replace(cwd=str(tmp_path / "away")).to_tuple())
    agent._send(0.0)
    with ours, theirs:
        messages = messages_of(FrameDecoder(), ours.recv(1 << 16))
    (reply,) = [fields for kind, *fields in messages if kind == "report"]
    assert reply[0] == "PrepareReply"
    differences = reply[1][base.PrepareReply._fields.index("differences")]
    assert differences == (f"there is no directory {tmp_path / 'away'}",)
    shutil.rmtree(agent._directory)


def test_no_agent_has_the_identity_of_another_one_whose_directory_had_the_same_inode(tmp_path, monkeypatch):
    found = []
    ours, theirs = socket.socketpair()
    launcher = SimpleNamespace(
        pid=os.getpid(), fileno=theirs.fileno, prepare=lambda request: found.append(request.identity)
    )
    monkeypatch.setattr(agent_module, "make_directory", lambda run_id: (str(tmp_path), -1))
    monkeypatch.setattr(agent_module, "start_launcher", lambda run_id: launcher)
    with ours, theirs:
        for _ in range(2):
            Agent(theirs, 30.0)._handle("prepare", PREPARE.to_tuple())
            for name in ("logs", "results"):
                (tmp_path / name).rmdir()
    assert len(set(found)) == 2


MANY_BYTES = 40 << 20
# The second one ends once the launcher has reaped the first one.
COMMANDS = {
    "much": f"echo $$ > pid.part; mv pid.part pid; head -c {MANY_BYTES} /dev/zero",
    "little": """
        until [ -e pid ]; do sleep 0.01; done
        while kill -0 $(cat pid); do sleep 0.01; done
        echo $$ > last
    """,
}


def start_of(number, name, path):
    return base.StartRequest(
        key=(number, 1),
        name=name,
        position=number,
        daemon=False,
        start_method="fork",
        target=None,
        args=(),
        kwargs={},
        log=f"{name}.log",
        result=f"{name}.1",
        env={},
        cwd=str(path),
        command=("sh", "-c", COMMANDS[name]),
    )


def test_a_log_that_takes_long_to_send_holds_up_the_end_of_no_other_task(tmp_path):
    ours, theirs = socket.socketpair()
    agent = threading.Thread(target=Agent(theirs, 30.0).serve)
    agent.start()
    requests = [("start", start_of(n, name, tmp_path).to_tuple()) for n, name in enumerate(COMMANDS)]
    last = tmp_path / "last"
    try:
        ours.sendall(frame([("prepare", PREPARE.replace(max_parallel=2, cwd=str(tmp_path)).to_tuple())]))
        ours.sendall(frame(requests))
        # Nothing is read until both have ended.
        eventually(lambda: last.exists() and last.read_text() and not alive(int(last.read_text())), 30)
        decoder, messages = FrameDecoder(), []
        while sum(message[:2] == ("report", "Exited") for message in messages) < 2:
            messages += messages_of(decoder, ours.recv(1 << 16))
    finally:
        ours.close()
        agent.join()
        theirs.close()
    ends = [message[2][0][0] for message in messages if message[:2] == ("report", "Exited")]
    assert ends == [1, 0]
    size = sum(len(message[2]) for message in messages if message[:2] == ("log", "much.log"))
    assert size == MANY_BYTES


def test_an_agent_that_fails_says_why(tmp_path, monkeypatch, caplog):
    def fail(run_id):
        raise OSError(28, "No space left on device", "/tmp")

    monkeypatch.setattr(agent_module, "make_directory", fail)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(frame([("beat", time.monotonic()), ("prepare", PREPARE.to_tuple())]))
        Agent(theirs, 30.0).serve()
        messages = messages_of(FrameDecoder(), ours.recv(1 << 16))
    assert messages[-1] == ("failed", "OSError: [Errno 28] No space left on device: '/tmp'")
    # The log of its worker has the traceback.
    assert "in fail" in caplog.text
