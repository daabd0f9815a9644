"""The agent of a host, without a cluster: what it answers to the bridge."""

import shutil
import socket

from mprun.executors import base
from mprun.executors.dask.agent import Agent
from mprun.launcher.channel import FrameDecoder, messages_of

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
