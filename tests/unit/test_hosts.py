"""What a run on several hosts compares, sends and keeps, without a cluster."""

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.runs import alive, eventually

from mprun.errors import LauncherError
from mprun.executors import base
from mprun.executors.dask import agent, host_directory, membership, relay, remains, reports
from mprun.executors.dask.agent import Agent
from mprun.executors.dask.bridge import Bridge
from mprun.executors.dask.bridge_process import BridgeProcess
from mprun.executors.dask.code_check import MAX_DIFFERENCES, differences
from mprun.executors.dask.executor import DaskExecutor
from mprun.executors.dask.host_directory import make_directory, remove_abandoned
from mprun.executors.dask.membership import Membership
from mprun.executors.dask.outbox import LogTail
from mprun.executors.dask.pieces import PIECE_BYTES
from mprun.executors.dask.placement import Placement
from mprun.executors.dask.run_files import RunFiles
from mprun.launcher.channel import EngineChannel, FrameDecoder, frame, messages_of
from mprun.linux import procfs, run_tags

HERE = ".".join(map(str, sys.version_info[:3]))


class Host(SimpleNamespace):
    def __str__(self):
        return self.name


def host(name, modules):
    return Host(name=name, modules=modules, facts={"python": HERE})


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_hosts_with_the_files_of_this_machine_do_not_differ(tmp_path):
    path = tmp_path / "work.py"
    path.write_bytes(b"one")
    modules = {str(path): sha256(b"one"), "/only/there.py": sha256(b"two")}
    assert differences([host("a", modules), host("b", modules)]) == ()


def test_a_difference_names_the_host_the_file_and_both_hashes(tmp_path):
    path = tmp_path / "work.py"
    path.write_bytes(b"one")
    one, two = sha256(b"one"), sha256(b"two")
    found = differences([host("a", {str(path): one}), host("b", {str(path): two})])
    assert found == (f"{path}: sha256 {two} on b, and {one} on this machine",)
    found = differences([host("a", {"/gone.py": one}), host("b", {"/gone.py": two}), host("c", {})])
    assert found == (
        f"/gone.py: sha256 {two} on b, and {one} on a",
        "/gone.py: imported on a, and not on c",
    )


def test_few_differences_are_told():
    modules = {f"/gone/{number}.py": sha256(b"") for number in range(99)}
    assert len(differences([host("a", modules), host("b", {})])) == MAX_DIFFERENCES


REPORTS = [
    base.Importing(number=-1),
    base.PrepareReply(
        pid=1,
        name="MainProcess",
        errors=(base.BindError(number=0, message="m", where=("args", 0), word="w", candidates=("a",)),),
        threads=("t",),
        hosts=({"host": "h"},),
    ),
    base.Started(key=(0, 1), clock=1.5, pid=2, ppid=1, start_ticks=None, host="h"),
    base.NotStarted(key=(0, 1), clock=1.5, message="no"),
    base.StartCancelled(key=(0, 1), clock=1.5),
    base.Suspended(),
    base.NotStarted(key=(0, 1), clock=1.5, message="lost", unseen=True),
    base.ExecutorLost(how="exit 1"),
    base.ExecutorLost(how="exit 1", unseen=True, left=(5, 6)),
]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: type(report).__name__)
def test_a_report_arrives_as_it_was_sent(report):
    ((kind, *packed),) = messages_of(FrameDecoder(), frame([reports.pack(report)]))
    assert kind == "report"
    assert reports.unpack(*packed) == report


@pytest.fixture
def folders(tmp_path):
    found = []
    for name in ("logs", "results"):
        (tmp_path / name).mkdir()
        status = os.stat(tmp_path / name)
        found.append((str(tmp_path / name), status.st_dev, status.st_ino))
    return tuple(found)


def test_logs_and_result_files_are_written_as_they_arrive(folders, tmp_path):
    files = RunFiles(folders)
    files.append("a.1.log", b"one\n")
    files.append("a.1.log", b"two\n")
    assert (tmp_path / "logs" / "a.1.log").read_bytes() == b"one\ntwo\n"
    assert files.end("a.1.log") == ""
    assert files.end("empty.1.log") == ""
    assert (tmp_path / "logs" / "empty.1.log").read_bytes() == b""
    # Several at a time, of one host and of others.
    files.write_result(0, "a.1.json", b"[1,", is_last=False)
    files.write_result(0, "c.1.json", b"3", is_last=True)
    files.write_result(1, "b.1.json", b"2", is_last=True)
    assert not (tmp_path / "results" / "a.1.json").exists()
    files.write_result(0, "a.1.json", b"2]", is_last=True)
    assert (tmp_path / "results" / "a.1.json").read_bytes() == b"[1,2]"
    assert (tmp_path / "results" / "b.1.json").read_bytes() == b"2"
    assert (tmp_path / "results" / "c.1.json").read_bytes() == b"3"


def test_what_is_open_of_a_lost_host_is_closed(folders, tmp_path):
    files = RunFiles(folders)
    open_before = len(os.listdir("/proc/self/fd"))
    for log, host in (("a.1.log", 0), ("a.1.probe.log", 0), ("b.1.probe.log", 1), ("main.log", 0)):
        files.append(log, b"one\n", host)
    files.drop(0, {(0, 1): "a.1.log"})
    assert len(os.listdir("/proc/self/fd")) == open_before + 1
    files.append("main.log", b"two\n", 1)
    assert (tmp_path / "logs" / "main.log").read_bytes() == b"one\ntwo\n"


def test_of_a_result_file_that_will_not_arrive_as_a_whole_nothing_is_left(folders, tmp_path):
    files = RunFiles(folders)
    for host in (0, 1):
        files.write_result(host, f"{host}.1.json", b"[", is_last=False)
    files.drop_results(0)
    files.write_result(1, "1.1.json", b"]", is_last=True)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["1.1.json"]


def test_a_log_that_cannot_be_written_is_told_at_its_end(folders, tmp_path):
    files = RunFiles(folders)
    (tmp_path / "logs" / "a.1.log").symlink_to(tmp_path / "elsewhere")
    files.append("a.1.log", b"one\n")
    assert "symbolic links" in files.end("a.1.log")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_result_file_that_lacks_a_part_never_appears(fails, folders, tmp_path, monkeypatch):
    files = RunFiles(folders)
    write = os.write
    calls = []

    def full_once(*given):
        calls.append(given)
        if len(calls) == fails:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*given)

    monkeypatch.setattr(os, "write", full_once)
    for data in (b"1", b"2"):
        files.write_result(0, "a.1.json", data, is_last=False)
    files.write_result(0, "a.1.json", b"3", is_last=True)
    assert list((tmp_path / "results").iterdir()) == []
    # The next one of the same host is whole.
    files.write_result(0, "b.1.json", b"4", is_last=True)
    assert (tmp_path / "results" / "b.1.json").read_bytes() == b"4"


def test_a_directory_that_was_replaced_is_refused(folders, tmp_path):
    (tmp_path / "logs").rename(tmp_path / "other")
    (tmp_path / "logs").mkdir()
    with pytest.raises(OSError, match="replaced"):
        RunFiles(folders)


def test_the_directory_of_an_agent_that_was_killed_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = """
import os, sys, tempfile
from mprun.executors.dask.host_directory import make_directory
tempfile.tempdir = sys.argv[1]
path, _ = make_directory("run")
open(path + "/a.log", "w").close()
print(path, flush=True)
input()
"""
    command = [sys.executable, "-c", program, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agent:
        path = Path(agent.stdout.readline().strip())
        (tmp_path / "mprun-host-link").symlink_to(path)
        (tmp_path / "another").mkdir()
        remove_abandoned()
        assert (path / "a.log").exists()
        agent.kill()
    mine, lock = make_directory("other")
    assert not path.exists()
    assert {entry.name for entry in tmp_path.iterdir()} == {Path(mine).name, "another", "mprun-host-link"}
    os.close(lock)


@pytest.mark.parametrize("before", ["open", "flock"])
def test_an_agent_whose_new_directory_another_one_removes_makes_one_again(tmp_path, monkeypatch, before):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    where = fcntl if before == "flock" else os
    own = getattr(where, before)

    def first_the_other(*arguments):
        # Two workers of one host start their agents at the same time.
        monkeypatch.setattr(where, before, own)
        remove_abandoned()
        return own(*arguments)

    # Nothing is abandoned when it looks first.
    monkeypatch.setattr(host_directory, "remove_abandoned", lambda: None)
    monkeypatch.setattr(where, before, first_the_other)
    path, lock = make_directory("run")
    assert [entry.name for entry in tmp_path.iterdir()] == [Path(path).name]
    remove_abandoned()
    assert Path(path).is_dir()
    os.close(lock)


def test_an_agent_that_has_ended_is_forgotten_though_no_one_takes_what_it_has_sent(monkeypatch):
    program = """
import socket
agent = socket.socket(fileno={})
agent.settimeout(0.2)
try:
    while True:
        agent.sendall(bytes(1 << 20))
except TimeoutError:
    pass
"""
    monkeypatch.setattr(relay, "_PROGRAM", program)

    async def play():
        await relay._handle("open", "key", keep=0.1)
        process = relay._relays["key"]._process
        async with asyncio.timeout(20):
            while "key" in relay._relays:
                await asyncio.sleep(0.05)
        assert process.returncode == 0

    asyncio.run(play())


def test_what_an_agent_has_sent_before_its_end_is_there_for_a_bridge_that_comes_late(monkeypatch):
    """Its end, and a connection that is made again, must not cost the last lines of a log."""
    program = """
import socket
socket.socket(fileno={}).sendall(bytes(3 << 20))
"""
    monkeypatch.setattr(relay, "_PROGRAM", program)

    async def play():
        await relay._handle("open", "key", keep=1.0)
        process = relay._relays["key"]._process
        # A call whose answer was lost.
        await relay._handle("open", "key", keep=1.0)
        assert relay._relays["key"]._process is process
        offset, is_end = 0, False
        async with asyncio.timeout(20):
            while not is_end:
                data, is_end = await relay._handle("receive", "key", offset=offset, wait=1.0)
                offset += len(data)
                # It ends once the relay has taken the rest, and the bridge is slow.
                if process.poll() is not None:
                    await asyncio.sleep(0.3)
            assert offset == 3 << 20
            while "key" in relay._relays:
                await asyncio.sleep(0.05)

    asyncio.run(play())


def test_a_call_of_a_connection_that_was_given_up_costs_no_byte(monkeypatch):
    """It may arrive after the call that was made in its place, and what follows, have been answered."""
    program = """
import socket
agent = socket.socket(fileno={})
agent.sendall(bytes(range(100)))
while data := agent.recv(100):
    agent.sendall(data)
"""
    monkeypatch.setattr(relay, "_PROGRAM", program)

    async def receive(offset, most=1000):
        data, _ = await relay._handle("receive", "key", offset=offset, wait=5.0, most=most)
        return data

    async def play():
        async with asyncio.timeout(20):
            await relay._handle("open", "key", keep=0.1)
            assert await receive(0, 40) == bytes(range(40))
            assert await receive(40, 10) == bytes(range(40, 50))
            assert await receive(50) == bytes(range(50, 100))
            # Two that are late, before and after what they ask for has been acknowledged.
            assert await receive(0) == b""
            assert await receive(50) == bytes(range(50, 100))
            assert await relay._handle("send", "key", offset=0, data=b"abc") == 3
            assert await relay._handle("send", "key", offset=0, data=b"abcd") == 4
            assert await relay._handle("send", "key", offset=0, data=b"ab") == 2
            got = b""
            while len(got) < 4:
                got += await receive(100 + len(got))
            assert got == b"abcd"
            relay._relays["key"]._process.kill()
            while "key" in relay._relays:
                await asyncio.sleep(0.05)

    asyncio.run(play())


def test_an_agent_that_never_hears_of_its_bridge_ends():
    """A cut may come between its start and the first message."""

    async def play():
        await relay._handle("open", "key", keep=0.5)
        process = relay._relays["key"]._process
        async with asyncio.timeout(30):
            while process.poll() is None:
                await asyncio.sleep(0.05)
        assert process.returncode == 0
        while "key" in relay._relays:
            await asyncio.sleep(0.05)

    asyncio.run(play())


def prepare_request(folders):
    return base.PrepareRequest(
        run_id="run",
        import_path=(),
        log="main.log",
        folders=folders,
        start_method="fork",
        methods=("fork",),
        preload=(),
        max_parallel=1,
        env={},
        calls=(),
    )


def unpacked(messages):
    """Of messages to the engine: the reports, and the changes of hosts and slots."""
    reported = [reports.unpack(*packed) for kind, *packed in messages if kind == "report"]
    return reported, [(kind, *details[1:3]) for kind, *details in messages if kind in ("host", "slots")]


@pytest.mark.parametrize("before", ["the request", "its reply", "the reply of another"])
def test_a_host_that_is_lost_before_the_first_start_is_left_out(folders, before):
    async def play():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            bridge = Bridge(ours)
            members = bridge._members
            hosts = [Worker(0), Worker(1)]
            members.hosts = {"0": hosts[0], "1": hosts[1]}
            members._told_slots = 4
            bridge._placement.resources = {"0": {}, "1": {}}
            if before == "the request":
                members.lose(hosts[1], "its worker has ended")
            bridge._handle_prepare(prepare_request(folders).to_tuple())
            if before == "its reply":
                members.lose(hosts[1], "its worker has ended")
            if before == "the reply of another":
                members.handle_prepared(hosts[1], PREPARED)
                members.lose(hosts[1], "its worker has ended")
            assert unpacked(bridge._unsent) == ([], [("host", "lost", "host-1")])
            members.handle_prepared(hosts[0], PREPARED)
            for task in bridge._tasks:
                task.cancel()
            return bridge, unpacked(bridge._unsent)

    bridge, ((reply,), changes) = asyncio.run(play())
    assert [host["host"] for host in reply.hosts] == ["host-0"]
    # The engine has counted on those of both.
    assert changes == [("host", "lost", "host-1"), ("slots", -2, "")]
    assert list(bridge._members.hosts) == list(bridge._placement.resources) == ["0"]


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_run_ends_if_its_last_host_is_lost_before_the_first_start(folders, is_asked):
    async def play():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            bridge = Bridge(ours)
            members = bridge._members
            members.hosts = {"0": Worker(0), "1": Worker(1)}
            prepare = bridge._handle_prepare
            if is_asked:
                prepare(prepare_request(folders).to_tuple())
            for host in list(members.hosts.values()):
                members.lose(host, "its worker has ended")
            if not is_asked:
                prepare(prepare_request(folders).to_tuple())
            return unpacked(bridge._unsent)

    reported, changes = asyncio.run(play())
    assert reported == [base.ExecutorLost(how="on host-1: its worker has ended")]
    assert changes == [("host", "lost", "host-0"), ("host", "lost", "host-1")]


def test_a_log_is_read_in_pieces_from_where_the_last_one_ended(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    tail = LogTail(folder, "a.log")
    assert tail.read() == b""
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * PIECE_BYTES + b"rest")
    assert tail.read() == b"x" * PIECE_BYTES
    assert tail.read() == b"rest"
    assert tail.read() == b""
    log.write_bytes(b"again")
    assert tail.read() == b"again"
    tail.remove()
    assert not log.exists()
    os.close(folder)


TERABYTE = 1 << 40


def test_a_hole_of_a_terabyte_is_sent_as_a_number_and_is_a_hole_again(folders, tmp_path):
    (folder, *_), _ = folders
    source = tmp_path / "logs" / "a.log"
    with source.open("wb") as file:
        file.write(b"begin")
        file.seek(TERABYTE)
        file.write(b"middle" * PIECE_BYTES)
        file.truncate(2 * TERABYTE)
    descriptor = os.open(folder, os.O_RDONLY)
    tail = LogTail(descriptor, "a.log")
    sent = list(tail.rest())
    os.close(descriptor)
    assert len(sent) < 20
    assert sum(len(piece) for piece in sent if isinstance(piece, bytes)) < 7 * PIECE_BYTES
    files = RunFiles(folders)
    for piece in sent:
        files.append("b.log", piece)
        files.write_result(0, "b.1.json", piece, is_last=piece is sent[-1])
    assert files.end("b.log") == ""
    for copy in (tmp_path / "logs" / "b.log", tmp_path / "results" / "b.1.json"):
        assert copy.stat().st_size == source.stat().st_size
        assert copy.stat().st_blocks <= source.stat().st_blocks + 8
        with copy.open("rb") as file:
            assert file.read(5) == b"begin"
            file.seek(TERABYTE)
            assert file.read(6 * PIECE_BYTES) == b"middle" * PIECE_BYTES
            assert file.read(9) == bytes(9)


@pytest.mark.parametrize("length", [1 << 62, 1 << 63, 1 << 80, -1])
def test_a_hole_that_no_file_can_have_is_the_reason_that_a_log_is_not_complete(folders, length):
    files = RunFiles(folders)
    files.append("a.1.log", b"one\n")
    files.append("a.1.log", length)
    assert files.end("a.1.log") == "File too large"


def test_what_is_sent_of_a_log_at_its_end_is_bounded_though_something_still_writes(tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * PIECE_BYTES)
    size = 0
    for piece in LogTail(folder, "a.log").rest():
        size += len(piece)
        with log.open("ab") as file:
            file.write(b"y" * PIECE_BYTES)
        assert size < 9 * PIECE_BYTES
    os.close(folder)


def test_a_message_that_was_long_under_way_lets_no_agent_continue(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(agent, "time", clock)
    ours, theirs = socket.socketpair()
    with ours:
        serving = Agent(theirs, 0.2)
        old = clock.now
        # It continues by readings of its clock that have just been taken,
        while clock.now < old + 0.5:
            clock.now += 0.01
            ours.sendall(frame([("beat", clock.now)]))
            assert serving._turn()
        # and ends although the bridge is heard of; what comes then is not carried out.
        last = clock.now
        while serving._turn():
            clock.now += 0.01
            ours.sendall(frame([("beat", old)]))
        assert 0.2 < clock.now - last < 0.3
        theirs.close()


TAGGED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_RTTIME, (int(sys.argv[1]),) * 2)
# It leaves the session, the environment and its parent.
if not os.fork():
    os.setsid()
    if pid := os.fork():
        os.write(1, b"%d\\n" % pid)
        os._exit(0)
    os.execvpe("sleep", ["sleep", "600"], {})
os.wait()
"""


def look(key, identity="", sessions=(), *, kill=False):
    return remains.look(key, identity, sessions, kill=kill)


def test_processes_of_an_agent_are_seen_until_the_last_one_has_ended():
    key = os.urandom(8).hex()
    env = {**os.environ, remains.KEY_VARIABLE: key}
    # In one piece each: with PYTHONUNBUFFERED, print() writes the end of a line by itself.
    program = "import os, time; os.write(1, b'%d\\n' % os.fork()); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True) as one:
        pids = {int(one.stdout.readline()), int(one.stdout.readline()) or one.pid} - {0}
        assert {pid for pid, _ in look(key)} == pids | {one.pid}
        one.kill()
        one.wait()
        (left,) = pids - {one.pid}
        assert look(key) == [(left, 0)]
        os.kill(left, 9)
    eventually(lambda: look(key) == [])


def test_what_has_left_session_environment_and_parent_is_seen_and_killed_by_its_tag():
    identity = f"run {os.urandom(8).hex()}"
    tag = run_tags.tag_of(identity) | 4711
    command = [sys.executable, "-c", TAGGED, str(tag)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as one:
        left = int(one.stdout.readline())
    try:
        # It may be on its way to another program.
        eventually(lambda: look("no key", identity) == [(left, 4711)])
        assert look("no key", "another run") == []
        assert look("no key", identity, kill=True) == [(left, 4711)]
        eventually(lambda: not alive(left))
        assert look("no key", identity) == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, 9)


def test_what_is_in_a_session_of_the_agent_is_seen_and_not_killed():
    program = "import os, time; os.write(1, b'%d\\n' % os.fork()); time.sleep(600)"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as one:
        pids = {int(one.stdout.readline()), int(one.stdout.readline()) or one.pid} - {0}
        begun = procfs.start_ticks(one.pid)
        # A later process has the pid.
        assert look("no key", sessions=[(one.pid, begun + 1)]) == []
        one.kill()
        one.wait()
        (left,) = pids - {one.pid}
        assert look("no key", sessions=[(one.pid, begun)], kill=True) == [(left, 0)]
        assert alive(left)
        os.kill(left, 9)


@pytest.mark.parametrize(
    ("options", "hides"),
    [
        ("rw,relatime - proc proc rw", False),
        ("rw,relatime - proc proc rw,hidepid=invisible", True),
        ("rw,relatime,hidepid=2 - proc proc rw", True),
        ("rw,relatime - proc proc rw,hidepid=off", False),
    ],
)
def test_a_worker_that_does_not_see_all_processes_does_not_know_what_is_left(tmp_path, options, hides):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:21 / /sys rw - sysfs sysfs rw\n23 1 0:22 / /proc {options}\n")
    assert remains._hides_processes(str(mounts)) is hides


@pytest.mark.parametrize("name", ["../victim", "/victim", "..", ".", "", "a/../../victim", "a\0b"])
def test_what_a_host_names_stays_below_the_directories_of_the_run(folders, tmp_path, name):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "artifacts").mkdir()
    files = RunFiles(folders)
    files.begin(name)
    files.append(name, b"theirs")
    assert files.end(name)
    files.write_result(0, name, b"theirs", is_last=True)
    files.write_result(0, "a.1.json", b"1", is_last=True)
    assert (tmp_path / "results" / "a.1.json").read_bytes() == b"1"
    files.add_artifact((0, 1), (name,), b"theirs")
    files.add_artifact((0, 1), ("..", "..", "victim"), b"theirs")
    assert files.end_artifacts((0, 1), "task", "")
    files.add_artifact((0, 2), ("fine",), b"theirs")
    assert files.end_artifacts((0, 2), name, "")
    assert (tmp_path / "victim").read_text() == "mine"
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"victim", "results/a.1.json"} | {one for one in found if "/.part-" in one}


class Owner:
    """In place of the bridge: what it is told."""

    def __init__(self):
        self.told, self.slots, self.spawned = [], [], []

    def tell(self, change, host, **_):
        self.told.append(change)

    def tell_slots(self, more, reason=""):
        self.slots.append(more)

    def spawn(self, work):
        work.close()
        self.spawned.append(work)

    def place(self):
        pass

    def receive(self, host, messages):
        pass


class Worker(SimpleNamespace):
    """In place of a host, with two slots."""

    def __str__(self):
        return self.name

    def __init__(self, number):
        super().__init__(number=number, name=f"host-{number}", address=f"tcp://{number}", slots=2)
        self.facts, self.modules, self.resources = {"python": HERE, "boot_id": None}, {}, {}
        self.is_over = self.is_given_up = self.is_worker_gone = False
        self.sent = []

    def send(self, *message):
        self.sent.append(message)

    async def run(self, *_):
        pass


@pytest.fixture
def members():
    found = Membership(None, Placement(), Owner())
    found._request, found._reference = object(), Worker(0)
    for number in (0, 1):
        found.hosts[str(number)] = Worker(number)
    found._members = {"0": True}
    found._told_slots = found.slots
    return found


PREPARED = base.PrepareReply(pid=7, name="MainProcess", errors=(), threads=())
REPLY = SimpleNamespace(pid=7, errors=(), differences=())


class NoScheduler:
    """In place of a cluster whose scheduler does not answer."""

    async def workers(self):
        raise OSError


async def lose_last(is_gone, **host):
    """The messages to the engine when the last host is lost, which has three attempts."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        bridge = Bridge(ours)
        members, last = bridge._members, Worker(0)
        last.__dict__.update(host, slots=3)
        members._cluster, members._request = NoScheduler(), object()
        members.hosts, members._members = {"0": last}, {"0": True}
        members._share()
        for number in range(3):
            bridge._requests[number, 1], bridge._logs[number, 1] = (), f"{number}.log"
            bridge._placement.submit((number, 1), (), daemon=False, now=0.0)
        assert len(list(bridge._placement.take(0.0))) == 3
        bridge._placement.handle_started((0, 1))
        members.lose(last, "it is gone", is_gone=is_gone)
        async with asyncio.timeout(20):
            while bridge._tasks:
                await asyncio.sleep(0.01)
        assert not members.hosts
        return bridge._unsent


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        (None, [["lost", [0, 1, 2]]]),
        ({(1, 1)}, [["lost", [0, 1]], "StartCancelled"]),
    ],
)
def test_what_may_have_begun_on_the_last_host_is_lost_before_the_run_ends(begun, expected):
    messages = asyncio.run(lose_last(is_gone=True, begun=begun))
    kinds = [
        details[0] if kind == "report" else [kind, [number for (number, _), _ in details[1]]]
        for kind, *details in messages[1:]
    ]
    assert messages[0][0] == "host"
    assert kinds == [*expected, "ExecutorLost"]


@pytest.mark.parametrize("answers_late", [False, True])
def test_what_could_not_be_killed_is_told_with_the_attempts_that_are_lost(monkeypatch, answers_late):
    monkeypatch.setattr(membership, "KILL_SECONDS", 0.5)
    asked = []

    async def remains_of(host, *, kill):
        asked.append(kill)
        return None if kill and answers_late else [(5, 4)]

    host = {"begun": None, "ends_at": time.monotonic() + 0.5, "remains_of": remains_of}
    messages = asyncio.run(lose_last(is_gone=False, **host))
    ((keys, left),) = [message[2:] for message in messages if message[0] == "lost"]
    assert (len(keys), left) == (3, [(5, 4)])
    # It was not killed before its time.
    assert asked == sorted(asked)
    assert set(asked) == {False, True}


def test_a_main_process_that_left_something_is_not_taken_for_gone():
    async def play(left):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            bridge, host = Bridge(ours), Worker(0)
            lost = []
            bridge._members.lose = lambda host, why, *, is_gone: lost.append((why, is_gone))
            report = base.ExecutorLost(how="exit 1; could not be killed: 5" if left else "exit 1", left=left)
            bridge.receive(host, [reports.pack(report)])
            assert host.sent == [("close",)]
            return lost

    assert asyncio.run(play(())) == [("its main process was lost: exit 1", True)]
    assert asyncio.run(play((5,))) == [("its main process was lost: exit 1; could not be killed: 5", False)]


@pytest.fixture
def executor():
    """The engine's end of a run on hosts, without a bridge."""
    found = DaskExecutor.__new__(DaskExecutor)
    found._started, found._unread, found._open_seconds = {}, [], 60.0
    return found


def test_an_attempt_is_told_what_of_it_may_be_left(executor):
    for number, pid in enumerate((4, 8)):
        executor._remember(base.Started(key=(number, 1), clock=0.0, pid=pid, ppid=1, start_ticks=None))
    left = [(5, 4), (6, 3), (7, 0), (9, 8)]
    # The start of the last one was not reported.
    reports = executor._unseen(1.0, [((number, 1), "lost") for number in range(3)], left)
    assert [report.left_running for report in reports] == [(5, 7), (7, 9), (6, 7)]
    assert not executor._started


def test_a_bridge_keeps_nothing_open_that_mprun_has_inherited():
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    bridge = BridgeProcess()
    try:
        os.close(theirs)
        # As of a pipe to another program, which waits for its end.
        assert select.select([ours], [], [], 60.0)[0]
        assert os.read(ours, 1) == b""
        assert alive(bridge._pid)
    finally:
        os.close(ours)
        bridge.close()
    assert bridge.how().startswith("exit ")
    assert not alive(bridge._pid)


def test_a_bridge_that_has_ended_before_it_is_asked_is_an_error_with_its_status():
    options = {"scheduler_file": None, "begun": BridgeProcess(), "host_timeout": 30.0, "say": print}
    os.kill(options["begun"]._pid, signal.SIGKILL)
    executor = DaskExecutor(options)
    with pytest.raises(LauncherError, match=r"has ended \(exit -9\)"):
        executor.wait()
    # During a run, hosts may have begun something: who resumes it at once would run that twice.
    (lost,) = executor.receive()
    assert (lost.unseen, "(exit -9); the hosts kill what they still run" in lost.how) == (True, True)
    assert lost.how.endswith(" for 30s")
    executor.close()


def test_what_comes_together_with_the_answer_of_a_cluster_is_not_lost(executor):
    lost = base.ExecutorLost(how="ZeroDivisionError", unseen=True)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        executor._channel = EngineChannel(ours)
        silent = base.HostChange(clock=1.0, change="refused", host="tcp://1", facts={"reason": "silent"})
        told = ("host", *silent.to_tuple())
        theirs.sendall(frame([("waiting", "it"), told, ("opened", 2, []), reports.pack(lost)]))
        executor.wait()
        assert (executor.slots, executor.receive()) == (2, [silent, lost])


def test_a_host_that_was_lost_before_it_was_ready_does_not_join(members):
    late = members.hosts["1"]
    members.lose(late, "cut off")
    members.handle_prepared(late, REPLY)
    assert (members._owner.told, members.slots) == ([], 2)
    assert late.is_given_up


def test_a_host_that_joins_a_suspended_run_is_suspended_before_it_is_used(members):
    members.is_suspended = True
    members.handle_prepared(members.hosts["1"], REPLY)
    assert members._owner.told == ["joined"]
    assert members.hosts["1"].sent == [("suspend",)]


def test_what_a_lost_host_still_says_changes_nothing_until_it_is_given_up(members):
    members.handle_prepared(members.hosts["1"], REPLY)
    lost = members.hosts["1"]
    members.lose(lost, "its main process was lost")
    members.lose(lost, "its agent has ended")
    members.handle_closed(lost)
    members._tell_slots()
    assert (members.slots, lost.is_given_up, members.hosts["1"]) == (4, False, lost)


def test_the_slots_of_a_lost_host_are_there_until_its_attempts_are_given_up(members):
    members.handle_prepared(members.hosts["1"], REPLY)
    assert (members._owner.slots, members.slots) == ([2], 4)
    members.lose(members.hosts["1"], "cut off")
    members._tell_slots()
    assert (members._owner.slots, members.slots) == ([2], 4)
    members._leaving.discard("1")
    members._tell_slots()
    assert (members._owner.slots, members.slots) == ([2, -2], 2)


def test_a_bridge_that_fails_says_why():
    async def play():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            bridge = Bridge(ours)
            theirs.sendall(frame([("start", ())]))
            await bridge.serve()
            return unpacked(messages_of(FrameDecoder(), theirs.recv(1 << 16)))

    (lost,), _ = asyncio.run(play())
    assert (lost.unseen, lost.how) == (True, "IndexError: tuple index out of range")


class Workers:
    """In place of a cluster: each worker that is asked becomes a host, if it answers."""

    def __init__(self):
        self.asked = 0
        self.answers = True

    async def install(self, address, found, timeout):
        self.asked += 1
        if not self.answers:
            raise TimeoutError
        host = Worker(self.asked)
        host.address = address
        return host


@pytest.fixture
def joins(members):
    """Asked how often the worker at an address is used in so many looks; its host is lost after each."""

    async def join(times, *, is_worker_gone=False, addresses=("tcp://other",)):
        before = members._cluster.asked
        for _ in range(times):
            await members._look({address: {"status": "running"} for address in ("tcp://0", *addresses)})
            while members._owner.running:
                await members._owner.running.pop(0)
            for name in members.hosts.keys() - {"0"}:
                members.hosts[name].is_worker_gone = is_worker_gone
                members.lose(members.hosts[name], "it is gone")
        return members._cluster.asked - before

    members._cluster = Workers()
    members._ask = lambda host, request: None
    members.hosts.pop("1")
    members._owner.running = []
    members._owner.spawn = members._owner.running.append
    return join


def test_a_worker_that_loses_its_agents_is_not_used_again_until_it_was_gone(joins):
    async def play():
        assert await joins(10) == membership.MAX_JOINS
        # It is away in one look.
        assert await joins(1, addresses=()) == 0
        assert await joins(10) == membership.MAX_JOINS

    asyncio.run(play())


def test_each_worker_that_comes_under_an_address_is_used(joins):
    assert asyncio.run(joins(10, is_worker_gone=True)) == 10


def test_a_worker_that_does_not_answer_is_asked_again(joins, members):
    members._cluster.answers = False

    async def play():
        assert await joins(3) == 3
        assert members._owner.told == []
        members._cluster.answers = True
        assert await joins(1) == 1

    asyncio.run(play())
