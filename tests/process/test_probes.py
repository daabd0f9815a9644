"""Whether tasks are ready: real sockets on loopback, real files, and every wait bounded."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from mprun.engine import network_probes, readiness
from mprun.engine.readiness import Prober
from mprun.jobfile.model import Ready
from mprun.linux import port_owner

KEY = (3, 1)
# Whatever is waited for comes at once; only a defect takes this long.
PATIENCE = 10
# Asked often, so that what comes in between is soon seen.
SOON = 0.01


@pytest.fixture
def prober():
    prober = Prober()
    yield prober
    prober.close()
    for thread in threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("probe ")]


def is_readable(prober, seconds):
    return bool(select.select([prober], [], [], seconds)[0])


def becomes_ready(prober):
    return is_readable(prober, PATIENCE) and prober.take() == [KEY]


def until(fact):
    end = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < end, "it does not come"
        select.select([], [], [], 0.002)


def says(prober, words, key=KEY):
    """Wait until the last answer is a no of these words, and nothing is told."""
    until(lambda: words in prober.why(key))
    assert not is_readable(prober, 0)
    return True


def watch(prober, kind, what, key=KEY, interval=SOON, log="", cwd=None, pid=None):
    prober.watch(key, Ready(kind=kind, what=str(what), interval=interval), log, cwd, pid)


def listener(family=socket.AF_INET, port=0):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
    server.listen(16)
    server.settimeout(PATIENCE)
    return closing(server)


def port_of(server):
    return server.getsockname()[1]


@pytest.fixture
def free_port():
    # Held by a socket that does not listen, so that nobody else gets it.
    with closing(socket.socket()) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield port_of(holder)


@contextmanager
def serving(*answers, context=None):
    """A server that gives each asker the next answer, the last one to all that follow; its port and requests.

    An answer is the bytes to send, or a function of the connection.
    """
    requests = []
    left = list(answers)

    def serve(server):
        while True:
            try:
                connection = server.accept()[0]
            except OSError:
                return
            with closing(connection):
                connection.settimeout(PATIENCE)
                answer = left.pop(0) if len(left) > 1 else left[0]
                try:
                    if context:
                        connection = context.wrap_socket(connection, server_side=True)
                    requests.append(connection.recv(65536))
                    if callable(answer):
                        answer(connection)
                    else:
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(1)
                except OSError:
                    pass
                finally:
                    connection.close()

    with listener() as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield port_of(server), requests
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            assert not thread.is_alive()


def answer(status, more=b""):
    return b"HTTP/1.1 %d Because\r\nContent-Length: 0\r\n%b\r\n" % (status, more)


# -- tcp


@pytest.mark.parametrize("what", ["{}", "localhost:{}", "127.0.0.1:{}"])
def test_a_port_that_accepts_is_ready_at_once(prober, what):
    with listener() as server:
        watch(prober, "tcp", what.format(port_of(server)), interval=1000)
        assert becomes_ready(prober)


@pytest.mark.parametrize("what", ["{}", "localhost:{}", "[::1]:{}"])
def test_a_port_of_ipv6_alone_is_ready_too(prober, what):
    try:
        held = listener(socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with held as server:
        watch(prober, "tcp", what.format(port_of(server)))
        assert becomes_ready(prober)


def test_a_port_is_ready_once_somebody_listens(prober, free_port):
    watch(prober, "tcp", free_port)
    assert says(prober, "refused")
    with listener(port=free_port):
        assert becomes_ready(prober)


def test_a_port_where_nobody_can_connect_in_time_is_asked_again(prober):
    with listener() as server:
        server.listen(0)
        with closing(socket.create_connection(server.getsockname())), closing(socket.socket()) as second:
            # Linux takes one more than it was told, and lets the next ones wait.
            second.setblocking(False)
            second.connect_ex(server.getsockname())
            watch(prober, "tcp", f"127.0.0.1:{port_of(server)}")
            assert says(prober, "timed out")
            server.accept()[0].close()
            server.accept()[0].close()
            assert becomes_ready(prober)


@pytest.mark.parametrize("what", ["no-such-host.invalid:80", "localhost:99999", "localhost:0"])
def test_what_cannot_be_asked_is_not_ready(prober, what):
    watch(prober, "tcp", what)
    until(lambda: prober.why(KEY))
    assert not is_readable(prober, 0)


def test_a_connection_to_itself_is_none(prober, free_port, monkeypatch):
    made = []

    class Unlucky(socket.socket):
        """One to which the kernel gives the very port that it is to connect to."""

        def connect(self, address):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(address)
            super().connect(address)
            made.append(self.getsockname() == self.getpeername())

    monkeypatch.setattr("mprun.engine.network_probes.socket.socket", Unlucky)
    watch(prober, "tcp", f"127.0.0.1:{free_port}")
    until(lambda: len(made) > 3)
    assert all(made)
    assert says(prober, "refused")
    monkeypatch.undo()
    prober.forget(KEY)
    # Nor does it keep the port from the server that it waits for, which need not reuse addresses.
    with open("/proc/net/tcp") as table:
        lines = [line for line in table if f":{free_port:04X} 0100007F:{free_port:04X}" in line]
    assert not any(line.split()[3] == "06" for line in lines)  # TIME_WAIT


# -- http


@pytest.mark.parametrize("status", [200, 204, 301, 302, 399])
def test_an_answer_below_400_is_ready_and_no_redirect_is_followed(prober, status, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(answer(status, b"Location: http://127.0.0.1:1/\r\n")) as (port, requests):
        watch(prober, "http", f"http://127.0.0.1:{port}/health?a=b c")
        assert becomes_ready(prober)
        request = f"GET /health?a=b%20c HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
        assert requests[0].startswith(request)
        assert requests[0].endswith(b"\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_an_answer_from_400_on_is_not_ready(prober, status):
    with serving(answer(status), answer(status), answer(200)) as (port, requests):
        watch(prober, "http", f"http://localhost:{port}")
        assert becomes_ready(prober)
        assert len(requests) == 3
        assert requests[0].startswith(b"GET / HTTP/1.1\r\n")


def test_what_was_seen_last_stays_when_it_is_given_up(prober, tmp_path):
    ready = Ready(kind="file", what=str(tmp_path / "up"), timeout=30, interval=SOON)
    prober.watch(KEY, ready, "", None)
    until(lambda: prober.why(KEY))
    prober.give_up(KEY)
    (tmp_path / "up").touch()
    assert not is_readable(prober, 0.1)
    assert prober.reason(KEY) == f"there is no file `{tmp_path / 'up'}`"
    prober.forget(KEY)
    assert prober.reason(KEY) == ""


def test_why_an_address_is_not_ready_is_kept(prober):
    with serving(answer(503)) as (port, _):
        watch(prober, "http", f"http://127.0.0.1:{port}/")
        assert says(prober, "the answer was status 503")
        prober.forget(KEY)
        assert prober.why(KEY) == ""


def test_an_interim_answer_is_not_the_answer(prober):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with serving(early + answer(500), early + early + answer(200)) as (port, requests):
        watch(prober, "http", f"http://127.0.0.1:{port}/")
        assert becomes_ready(prober)
        assert len(requests) == 2


@pytest.mark.parametrize(
    "garbage", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 OK\r\n", b"\0" * 200_000, b"HTTP/1.1 20"]
)
def test_what_is_no_answer_is_not_ready(prober, garbage):
    with serving(garbage, answer(200)) as (port, requests):
        watch(prober, "http", f"http://127.0.0.1:{port}/")
        assert becomes_ready(prober)
        assert len(requests) == 2


def drip(connection):
    """Send a byte now and then, each long before the asker's patience with one ends."""
    connection.setblocking(False)
    while True:
        connection.send(b"H")
        if select.select([connection], [], [], 0.05)[0]:
            return


def flood(connection):
    while True:
        connection.sendall(b"\0" * 65536)


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b"", "closed without an answer"), (flood, "the answer is not HTTP"), (drip, "timed out")],
    ids=["nothing", "flood", "drip"],
)
def test_a_bad_answer_is_told_for_what_it_is(prober, monkeypatch, answer, why):
    monkeypatch.setattr(readiness, "SHORTEST_ASK", PATIENCE if answer is flood else 0.2)
    with serving(answer) as (port, _):
        watch(prober, "http", f"http://127.0.0.1:{port}/")
        assert says(prober, why)


@pytest.mark.parametrize("delay", [lambda connection: connection.recv(1), drip], ids=["silent", "dripping"])
def test_a_server_that_does_not_come_to_the_point_is_asked_again(prober, delay, monkeypatch):
    monkeypatch.setattr(readiness, "SHORTEST_ASK", 0.2)
    with serving(delay, answer(200)) as (port, requests):
        begun = time.monotonic()
        watch(prober, "http", f"http://127.0.0.1:{port}/")
        assert becomes_ready(prober)
        assert len(requests) == 2
        assert time.monotonic() - begun > 0.2


def test_what_begins_too_late_does_not_begin():
    with socket.socket() as connection, pytest.raises(TimeoutError):
        network_probes._bound(connection, time.monotonic())


def test_one_ask_takes_the_interval_or_a_second():
    assert readiness.SHORTEST_ASK == 1


@pytest.mark.skipif(not shutil.which("openssl"), reason="a certificate is made by openssl")
def test_https_is_asked_without_asking_who_signed(prober, tmp_path):
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -subj /CN=x"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    with serving(answer(500), answer(200), context=context) as (port, requests):
        watch(prober, "http", f"https://localhost:{port}/")
        assert becomes_ready(prober)
        assert len(requests) == 2


def test_a_server_that_says_nothing_of_tls_is_asked_again(prober, monkeypatch):
    monkeypatch.setattr(readiness, "SHORTEST_ASK", 0.2)
    with serving(lambda connection: connection.recv(1)) as (port, requests):
        watch(prober, "http", f"https://127.0.0.1:{port}/")
        until(lambda: len(requests) > 1)
        assert says(prober, "timed out")


# -- log


@pytest.fixture
def log(tmp_path):
    return tmp_path / "task.1.log"


def printed(log, data):
    with open(log, "ab") as file:
        file.write(data)


@pytest.mark.parametrize(
    ("pattern", "data"),
    [
        ("listening on .*", b"a\nb: listening on 80\nc\n"),
        ("^ready$", b"not ready\nready\n"),
        ("^ready$", b"ready\r\n"),
        ("^> ", b"welcome\n> "),
        ("^$", b"a\n\nb\n"),
        ("ä€", "ä€\n".encode()),
        (r"\\xff!", b"\xff!\n"),
        ("end$", b"x" * 100_000 + b"\nend"),
        ("end", b"x" * 3_000_000 + b"end"),
    ],
    ids=str,
)
def test_a_line_that_matches_is_ready(prober, log, pattern, data):
    printed(log, data)
    watch(prober, "log", pattern, log=str(log))
    assert becomes_ready(prober)


def test_a_log_may_come_later_and_grow(prober, log):
    watch(prober, "log", "^ready$", log=str(log))
    assert says(prober, "No such file")
    printed(log, b"wait\n")
    assert says(prober, "no line matches `^ready$`")
    printed(log, b"ready\n")
    assert becomes_ready(prober)


def test_a_line_is_one_however_it_comes(log):
    question = readiness._Log("^(ready|ä€)$", str(log))
    for data in (b"is it ", b"ready", b"\n\nrea", b"d", b"\n", b"\xc3", b"\xa4\xe2\x82"):
        printed(log, data)
        assert question.ask(0) == "no line matches `^(ready|ä€)$`"
    printed(log, b"\xac")
    assert question.ask(0) == ""


def test_a_log_that_was_emptied_is_read_from_its_beginning(log):
    question = readiness._Log("^ready$", str(log))
    printed(log, b"not yet, not yet")
    assert question.ask(0)
    log.write_bytes(b"ready")
    assert question.ask(0) == ""


@pytest.mark.parametrize("line", [b"x" * 99 + b"\n", b"x" * 10_000_000])
def test_a_flood_is_read_turn_by_turn_and_not_kept(log, line):
    printed(log, (line * (3_000_000 // len(line) + 1))[:3_000_000])
    question = readiness._Log("ready", str(log))
    read = []
    while not read or question.hurry:
        assert question.ask(0)
        assert len(question._rest) < 8192
        read.append(question._position)
    assert read == [1024 * 1024, 2 * 1024 * 1024, 3_000_000]
    assert question.ask(0)
    assert not question.hurry


def test_a_log_is_caught_up_with_without_waiting_for_the_interval(prober, log):
    printed(log, b"a longer line\n" * 100_000 + b"ready")
    watch(prober, "log", "ready", log=str(log), interval=1000)
    assert becomes_ready(prober)


def test_a_pattern_sees_no_more_than_a_piece_at_once():
    # `.*y` takes the square of what it sees: 30 ms for a piece, and half an hour for a turn.
    pieces = list(readiness._pieces("ä".encode() * 10_000))
    assert max(map(len, pieces)) <= 8192
    assert "".join(pieces) == "ä" * 10_000


def test_what_is_no_pattern_is_never_ready(prober, log):
    printed(log, b"(")
    watch(prober, "log", "(", log=str(log))
    assert says(prober, "unterminated subpattern")


# -- file


def test_a_file_is_relative_to_the_working_directory(prober, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    watch(prober, "file", "here/done", cwd=str(tmp_path))
    assert says(prober, f"there is no file `{tmp_path}/here/done`")
    (tmp_path / "here" / "done").touch()
    assert becomes_ready(prober)
    monkeypatch.chdir(tmp_path)
    watch(prober, "file", "here/done")
    assert becomes_ready(prober)
    watch(prober, "file", tmp_path / "here", cwd="/nowhere")
    assert becomes_ready(prober)


# -- asking and telling


def test_each_that_is_ready_is_told_once(prober, tmp_path):
    for number in range(20):
        watch(prober, "file", tmp_path / "done", key=(number, 1))
    watch(prober, "file", tmp_path / "never", key=(99, 1))
    assert says(prober, "there is no file", key=(19, 1))
    (tmp_path / "done").touch()
    told = []
    while len(told) < 20:
        assert is_readable(prober, PATIENCE)
        told += prober.take()
    assert sorted(told) == [(number, 1) for number in range(20)]
    assert not is_readable(prober, 0)
    assert prober.take() == []
    assert list(prober._probes) == [(99, 1)]


def test_what_was_forgotten_is_not_told(prober, tmp_path):
    watch(prober, "file", tmp_path)
    assert is_readable(prober, PATIENCE)
    prober.forget(KEY)
    prober.forget((1, 1))
    assert prober.take() == []
    assert not is_readable(prober, 0)


def test_an_answer_that_comes_after_forgetting_is_not_told(prober):
    asked, go = threading.Event(), threading.Event()

    def slow(connection):
        asked.set()
        go.wait(PATIENCE)
        connection.sendall(answer(200))

    with serving(slow) as (port, _):
        watch(prober, "http", f"http://127.0.0.1:{port}/", interval=PATIENCE)
        assert asked.wait(PATIENCE)
        (thread,) = threads()
        prober.forget(KEY)
        # Asked about anew under the same key, it is another's answer that counts.
        watch(prober, "file", "/nowhere")
        (other,) = set(threads()) - {thread}
        watch(prober, "file", "/nowhere/else")
        other.join(PATIENCE)
        assert not other.is_alive()
        go.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert not is_readable(prober, 0)
        assert prober.take() == []


@pytest.mark.parametrize("end", [lambda prober: prober.forget(KEY), Prober.close])
def test_a_thread_that_waits_ends_when_it_is_not_needed(prober, end):
    watch(prober, "file", "/nowhere", interval=1000)
    assert says(prober, "there is no file")
    (thread,) = threads()
    assert thread.daemon
    end(prober)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_prober_is_closed_once(tmp_path):
    before = len(os.listdir("/dev/fd"))
    prober = Prober()
    watch(prober, "file", tmp_path)
    assert is_readable(prober, PATIENCE)
    prober.close()
    prober.close()
    assert prober.fileno() == -1
    assert prober.take() == []
    assert len(os.listdir("/dev/fd")) == before


def test_the_descriptor_is_not_inherited_and_never_blocks(prober):
    assert not os.get_inheritable(prober.fileno())
    assert not os.get_blocking(prober.fileno())
    assert prober.take() == []


def test_an_interval_of_nothing_does_not_spin(prober, monkeypatch):
    asked = []
    monkeypatch.setattr(readiness._File, "ask", lambda self, deadline: asked.append(time.monotonic()) or "no")
    watch(prober, "file", "/nowhere", interval=0)
    until(lambda: len(asked) > 5)
    assert asked[5] - asked[0] >= 5 * readiness.SHORTEST_PAUSE * 0.9


def test_signals_are_left_to_the_main_thread(prober, monkeypatch):
    masks = []

    def ask(self, deadline):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return ""

    monkeypatch.setattr(readiness._File, "ask", ask)
    watch(prober, "file", "/")
    assert becomes_ready(prober)
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD} <= masks[0]


def test_what_cannot_get_a_thread_is_not_ready(prober, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    watch(prober, "file", "/")
    assert prober.why(KEY) == "can't start new thread"
    prober.forget(KEY)


# -- strangers

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who listens")

TASK = """\
import os, socket, sys
port, daemon = int(sys.argv[1]), sys.argv[2] == "daemon"
sys.stdin.readline()
if daemon and os.fork():
    sys.stdin.readline()
    os._exit(0)
if daemon:
    os.setsid()
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", port))
server.listen()
print("listens", flush=True)
sys.stdin.readline()
"""


@contextmanager
def task(port, how="itself"):
    """A task that listens when it is told to; what tells it, returning once it does."""
    command = [sys.executable, "-c", TASK, str(port), how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:

        def listen():
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], PATIENCE)[0]
            assert process.stdout.readline() == b"listens\n"

        try:
            yield process.pid, listen
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


@linux
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_stranger_on_the_port_is_not_the_task(prober, free_port, kind):
    with serving(answer(200)) as (port, _), task(port) as (pid, _):
        what = port if kind == "tcp" else f"http://localhost:{port}/"
        watch(prober, kind, what, pid=pid)
        assert says(prober, f"port {port} belongs to another process, pid {os.getpid()}")
        # Who does not say which process it is takes whatever answers.
        watch(prober, kind, what, key=(4, 1))
        assert is_readable(prober, PATIENCE)
        assert prober.take() == [(4, 1)]


@linux
def test_a_port_that_a_stranger_left_is_the_tasks(prober):
    with listener() as stranger:
        port = port_of(stranger)
        with task(port) as (pid, listen):
            watch(prober, "tcp", port, pid=pid)
            assert says(prober, "belongs to another process")
            stranger.close()
            assert says(prober, "refused")
            listen()
            assert becomes_ready(prober)


@linux
def test_whoever_comes_after_the_stranger_is_believed(prober):
    with listener() as stranger:
        port = port_of(stranger)
        with task(port) as (pid, _):
            watch(prober, "tcp", port, pid=pid)
            assert says(prober, "belongs to another process")
            stranger.close()
            with listener(port=port):
                assert becomes_ready(prober)


@linux
def test_a_stranger_is_looked_for_once(prober, monkeypatch):
    looked, asked = [], []
    processes, sockets = port_owner.procfs.processes, port_owner.listening_sockets
    monkeypatch.setattr(port_owner.procfs, "processes", lambda: looked.append(1) or processes())
    monkeypatch.setattr(port_owner, "listening_sockets", lambda port: asked.append(1) or sockets(port))
    with listener() as stranger, task(port_of(stranger)) as (pid, _):
        watch(prober, "tcp", port_of(stranger), pid=pid)
        until(lambda: len(asked) > 4)
        assert says(prober, "belongs to another process")
        assert len(looked) == 1


@linux
def test_a_listener_that_nobody_may_see_is_believed(prober, monkeypatch):
    monkeypatch.setattr(port_owner, "_sockets_of", lambda pid, wanted: set())
    with listener() as stranger, task(port_of(stranger)) as (pid, _):
        watch(prober, "tcp", port_of(stranger), pid=pid)
        assert becomes_ready(prober)


@linux
@pytest.mark.parametrize("how", ["itself", "daemon"])
@pytest.mark.parametrize("first", ["listens", "asked"])
def test_the_tasks_own_server_is_ready_in_whichever_session(prober, free_port, how, first):
    with task(free_port, how) as (pid, listen):
        if first == "listens":
            listen()
        watch(prober, "tcp", free_port, pid=pid)
        if first == "asked":
            assert says(prober, "refused")
            listen()
        assert becomes_ready(prober)


@linux
def test_whoever_comes_to_the_port_after_the_task_is_believed(prober, free_port):
    # An older process that listens for the task, as systemd does, cannot be told from a stranger.
    with task(free_port) as (pid, _):
        watch(prober, "tcp", free_port, pid=pid)
        assert says(prober, "refused")
        with listener(port=free_port):
            assert becomes_ready(prober)


@linux
def test_a_socket_that_the_task_inherited_is_its_own(prober):
    with listener() as server:
        os.set_inheritable(server.fileno(), True)
        command = [sys.executable, "-c", "input()"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[server.fileno()], start_new_session=True
        ) as process:
            watch(prober, "tcp", port_of(server), pid=process.pid)
            try:
                assert becomes_ready(prober)
            finally:
                process.communicate(b"\n", PATIENCE)


@linux
def test_without_a_task_to_compare_with_nobody_is_a_stranger(prober):
    with subprocess.Popen(["true"]) as process:
        process.wait(PATIENCE)
    with listener() as server:
        watch(prober, "tcp", port_of(server), pid=process.pid)
        assert becomes_ready(prober)
