"""Messages over a socket pair arrive whole and in order, and never block the engine."""

import ast
import inspect
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.executors.base import StartRequest
from mprun.launcher import channel, worker
from mprun.launcher.channel import EngineChannel, FrameDecoder, LauncherChannel, attempt_succeeded


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        yield EngineChannel(ours), LauncherChannel(theirs), ours, theirs


def framed(data):
    return len(data).to_bytes(4, "big") + data


@given(st.lists(st.binary(max_size=50), max_size=10), st.lists(st.integers(1, 20), min_size=1, max_size=50))
def test_a_stream_in_pieces_of_any_size_is_cut_into_its_frames(messages, sizes):
    stream = b"".join(map(framed, messages))
    frames, found = FrameDecoder(), []
    turn = 0
    while stream:
        size = sizes[turn % len(sizes)]
        found += frames.feed(stream[:size])
        stream = stream[size:]
        turn += 1
    assert found == messages


def test_messages_keep_the_types_of_yaml(ends):
    engine, launcher, *_ = ends
    message = ("start", (0, 1), {1: "a", None: [1.5, True], "ü\ud800": b"\0"})
    engine.send(*message)
    assert engine.flush()
    assert launcher.receive() == [message]
    launcher.send(("exited", (0, 1), None))
    launcher.send(("exited", (1, 1), -9))
    launcher.flush()
    assert engine.receive() == [("exited", (0, 1), None), ("exited", (1, 1), -9)]


def test_nothing_is_sent_before_it_is_flushed(ends):
    engine, launcher, *_ = ends
    launcher.send(("early",))
    assert engine.receive() == []
    launcher.flush()
    launcher.flush()
    assert engine.receive() == [("early",)]


def test_an_engine_does_not_block_if_its_launcher_does_not_read(ends):
    engine, launcher, *_ = ends
    message = ("start", "x" * 100_000)
    for _ in range(50):
        engine.send(*message)
    assert engine.flush() is False
    received = []
    while len(received) < 50:
        received += launcher.receive()
        engine.flush()
    assert received == [message] * 50
    assert engine.flush()


def test_a_message_larger_than_any_buffer_arrives_whole(ends):
    engine, launcher, *_ = ends
    engine.send("x" * 5_000_000)
    received = []
    while not received:
        engine.flush()
        received = launcher.receive()
    assert received == [("x" * 5_000_000,)]


def test_the_end_of_either_side_is_seen(ends):
    engine, launcher, ours, theirs = ends
    engine.send("last")
    engine.flush()
    ours.close()
    assert launcher.receive() == [("last",)]
    assert launcher.receive() is None
    launcher.send(("unread",))
    with pytest.raises(OSError, match="Broken pipe"):
        launcher.flush()
    del theirs


def test_an_engine_sees_that_its_launcher_is_gone(ends):
    engine, _, _, theirs = ends
    theirs.close()
    assert engine.receive() is None
    engine.send("never read")
    with pytest.raises(OSError, match="Broken pipe"):
        engine.flush()


def test_a_launcher_that_died_with_unread_requests_is_seen_to_be_gone(ends):
    """The kernel reports ECONNRESET instead of end-of-file."""
    engine, _, _, theirs = ends
    engine.send("unread")
    engine.flush()
    theirs.close()
    assert engine.receive() is None


# ---- the rule that both ends share


@pytest.mark.parametrize(
    ("exit_code", "more", "succeeded"),
    [
        (0, {}, True),
        (1, {}, False),
        (-9, {}, False),
        (None, {}, False),
        (0, {"asked": True}, False),
        (0, {"seconds": 4.9, "timeout": 5.0}, True),
        (0, {"seconds": 5.0, "timeout": 5.0}, False),
        (0, {"seconds": 5.0}, True),
        (1, {"seconds": 4.9, "timeout": 5.0}, False),
    ],
)
def test_an_exit_proves_success_with_code_0_in_time_and_unasked(exit_code, more, succeeded):
    assert attempt_succeeded(exit_code, **more) is succeeded


# What only an executor on other hosts reads, before a launcher gets the request.
BEFORE_THE_LAUNCHER = {"artifacts", "host"}


def start_request(**fields):
    """A request with a different value in each field that a launcher gets."""
    given = {name: name for name in StartRequest._fields if name not in BEFORE_THE_LAUNCHER}
    given |= {"key": (3, 2), "position": 4, "daemon": True, "after": (((1, 1), 2.5), ((2, 1), None))}
    given |= {"command": ("ls", "-l"), "limits": {"cpus": (0, 1)}, "args": (1, None), "kwargs": {"a": [True]}}
    return StartRequest(**given | {"env": {"ü": "\udcff"}} | fields)


def test_a_start_request_survives_packing_sending_and_unpacking(ends):
    engine, launcher, *_ = ends
    request = start_request()
    engine.send("start", channel.pack_start_request(request))
    engine.flush()
    ((kind, packed),) = launcher.receive()
    assert kind == "start"
    assert StartRequest(**dict(zip(channel.START_REQUEST, packed, strict=True))) == request


def test_each_field_of_a_start_request_is_packed_at_the_position_of_its_name():
    assert sorted(channel.START_REQUEST) == sorted(set(StartRequest._fields) - BEFORE_THE_LAUNCHER)
    packed = channel.pack_start_request(start_request())
    for name in channel.START_REQUEST:
        assert packed[getattr(channel, name.upper())] == getattr(start_request(), name)


def test_the_worker_unpacks_a_request_in_the_order_in_which_it_is_packed():
    """It does not use the names of positions: see the comment in `mprun.launcher.channel`."""
    found = [
        [target.id for target in node.targets[0].elts]
        for node in ast.walk(ast.parse(inspect.getsource(worker)))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
        if len(node.targets[0].elts) > 5
    ]
    assert len(found) == 2
    assert (worker.COMMAND, worker.RESULT) == (channel.COMMAND, channel.RESULT)
    for names in found:
        assert len(names) == len(channel.PROCESS_REQUEST)
        for name, field in zip(names, channel.PROCESS_REQUEST, strict=True):
            assert name in ("_", field)
