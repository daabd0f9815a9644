"""Readiness probes: with sockets on loopback and files; every wait is bounded."""

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
from support.ports import held_ports
from support.records import state_file

from mprun.engine import readiness
from mprun.engine.readiness import Prober
from mprun.jobfile.model import Ready
from mprun.linux import network_probes, port_owner, probes

KEY = (3, 1)
# Everything that a test waits for happens at once; only a defect takes this long.
TIMEOUT = 10
# The interval of most probes, in seconds.
INTERVAL = 0.01


@pytest.fixture
def prober():
    prober = Prober()
    yield prober
    prober.close()
    for thread in threads():
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("probe ")]


def is_readable(prober, seconds):
    return bool(select.select([prober], [], [], seconds)[0])


def becomes_ready(prober):
    return is_readable(prober, TIMEOUT) and prober.take_ready() == [KEY]


def wait_until(fact):
    end = time.monotonic() + TIMEOUT
    while not fact():
        assert time.monotonic() < end, "it did not happen"
        select.select([], [], [], 0.002)


def fails(prober, reason, key=KEY):
    """Wait until a try fails for a reason with these words; no attempt is ready."""
    wait_until(lambda: reason in prober.last_reason(key))
    assert not is_readable(prober, 0)
    return True


def start_probe(prober, kind, what, key=KEY, interval=INTERVAL, log="", cwd=None, pid=None, **times):
    prober.start(key, Ready(kind=kind, what=str(what), interval=interval, **times), log, cwd, pid)


def listener(family=socket.AF_INET, port=0):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
    server.listen(16)
    server.settimeout(TIMEOUT)
    return closing(server)


def port_of(server):
    return server.getsockname()[1]


@pytest.fixture
def free_port():
    with held_ports() as (port,):
        yield port


@contextmanager
def serving(*answers, context=None):
    """A server that gives each client the next answer, and the last one to all others; its port and requests.

    An answer is the bytes to send, or a function that gets the connection.
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
                connection.settimeout(TIMEOUT)
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
            thread.join(TIMEOUT)
            assert not thread.is_alive()


def answer(status, more=b""):
    return b"HTTP/1.1 %d Because\r\nContent-Length: 0\r\n%b\r\n" % (status, more)


# -- tcp


@pytest.mark.parametrize("what", ["{}", "localhost:{}", "127.0.0.1:{}"])
def test_port_that_accepts_is_ready_at_once(prober, what):
    with listener() as server:
        start_probe(prober, "tcp", what.format(port_of(server)), interval=1000)
        assert becomes_ready(prober)


@pytest.mark.parametrize("what", ["{}", "localhost:{}", "[::1]:{}"])
def test_port_on_ipv6_only_is_ready(prober, what):
    try:
        held = listener(socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with held as server:
        start_probe(prober, "tcp", what.format(port_of(server)))
        assert becomes_ready(prober)


def test_port_is_ready_once_a_server_listens(prober, free_port):
    start_probe(prober, "tcp", free_port)
    assert fails(prober, "refused")
    with listener(port=free_port):
        assert becomes_ready(prober)


def test_connection_that_times_out_is_tried_again(prober):
    with listener() as server:
        server.listen(0)
        with closing(socket.create_connection(server.getsockname())), closing(socket.socket()) as second:
            # Linux accepts one more connection than the backlog, and the next ones wait.
            second.setblocking(False)
            second.connect_ex(server.getsockname())
            start_probe(prober, "tcp", f"127.0.0.1:{port_of(server)}", try_timeout=0.5)
            assert fails(prober, "no answer within 500ms")
            server.accept()[0].close()
            server.accept()[0].close()
            assert becomes_ready(prober)


@pytest.mark.parametrize("what", ["no-such-host.invalid:80", "localhost:99999", "localhost:0"])
def test_address_that_cannot_be_reached_is_not_ready(prober, what):
    start_probe(prober, "tcp", what)
    wait_until(lambda: prober.last_reason(KEY))
    assert not is_readable(prober, 0)


def test_connection_to_itself_is_not_ready(prober, free_port, monkeypatch):
    made = []

    class SelfConnecting(socket.socket):
        """A socket to which the kernel gives the port that it connects to."""

        def connect(self, address):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(address)
            super().connect(address)
            made.append(self.getsockname() == self.getpeername())

    monkeypatch.setattr("mprun.linux.network_probes.socket.socket", SelfConnecting)
    start_probe(prober, "tcp", f"127.0.0.1:{free_port}")
    wait_until(lambda: len(made) > 3)
    assert all(made)
    assert fails(prober, "refused")
    monkeypatch.undo()
    prober.forget(KEY)
    # Nor is the port left in use: the task's server may not set SO_REUSEADDR.
    with open("/proc/net/tcp") as table:
        lines = [line for line in table if f":{free_port:04X} 0100007F:{free_port:04X}" in line]
    assert not any(line.split()[3] == "06" for line in lines)  # TIME_WAIT


# -- http


@pytest.mark.parametrize("status", [200, 204, 301, 302, 399])
def test_status_below_400_is_ready_and_no_redirect_is_followed(prober, status, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(answer(status, b"Location: http://127.0.0.1:1/\r\n")) as (port, requests):
        start_probe(prober, "http", f"http://127.0.0.1:{port}/health?a=b c")
        assert becomes_ready(prober)
        request = f"GET /health?a=b%20c HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
        assert requests[0].startswith(request)
        assert requests[0].endswith(b"\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_status_of_400_or_more_is_not_ready(prober, status):
    with serving(answer(status), answer(status), answer(200)) as (port, requests):
        start_probe(prober, "http", f"http://localhost:{port}")
        assert becomes_ready(prober)
        assert len(requests) == 3
        assert requests[0].startswith(b"GET / HTTP/1.1\r\n")


def test_last_reason_stays_after_stop(prober, tmp_path):
    ready = Ready(kind="file", what=str(tmp_path / "up"), timeout=30, interval=INTERVAL)
    prober.start(KEY, ready, "", None)
    wait_until(lambda: prober.last_reason(KEY))
    prober.stop(KEY)
    (tmp_path / "up").touch()
    assert not is_readable(prober, 0.1)
    assert prober.reason(KEY) == f"there is no file `{tmp_path / 'up'}`"
    prober.forget(KEY)
    assert prober.reason(KEY) == ""


def test_reason_is_kept_until_the_attempt_is_forgotten(prober):
    with serving(answer(503)) as (port, _):
        start_probe(prober, "http", f"http://127.0.0.1:{port}/")
        assert fails(prober, "GET / answered 503")
        prober.forget(KEY)
        assert prober.last_reason(KEY) == ""


def test_interim_answers_are_skipped(prober):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with serving(early + answer(500), early + early + answer(200)) as (port, requests):
        start_probe(prober, "http", f"http://127.0.0.1:{port}/")
        assert becomes_ready(prober)
        assert len(requests) == 2


@pytest.mark.parametrize(
    "garbage", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 OK\r\n", b"\0" * 200_000, b"HTTP/1.1 20"]
)
def test_invalid_answer_is_not_ready(prober, garbage):
    with serving(garbage, answer(200)) as (port, requests):
        start_probe(prober, "http", f"http://127.0.0.1:{port}/")
        assert becomes_ready(prober)
        assert len(requests) == 2


def drip(connection):
    """Send a byte now and then, each long before a read would time out."""
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
    [(b"", "closed without an answer"), (flood, "the answer is not HTTP"), (drip, "no answer within")],
    ids=["nothing", "flood", "drip"],
)
def test_the_reason_names_the_error_in_an_answer(prober, answer, why):
    with serving(answer) as (port, _):
        seconds = TIMEOUT if answer is flood else 0.2
        start_probe(prober, "http", f"http://127.0.0.1:{port}/", try_timeout=seconds)
        assert fails(prober, why)


@pytest.mark.parametrize("delay", [lambda connection: connection.recv(1), drip], ids=["silent", "dripping"])
def test_slow_answer_fails_the_try_and_is_tried_again(prober, delay):
    with serving(delay, answer(200)) as (port, requests):
        begun = time.monotonic()
        start_probe(prober, "http", f"http://127.0.0.1:{port}/", try_timeout=0.2)
        assert becomes_ready(prober)
        # On a busy machine, an answer at once may be too late for its try as well.
        assert len(requests) >= 2
        assert time.monotonic() - begun > 0.2


def test_timeout_that_has_passed_raises():
    with socket.socket() as connection, pytest.raises(TimeoutError):
        network_probes._set_timeout(connection, time.monotonic())


@pytest.mark.parametrize(
    ("times", "longest"),
    [
        ({}, 5),
        ({"try_timeout": 9}, 9),
        ({"try_timeout": 0.5}, 0.5),
        ({"timeout": 2}, 2),
        ({"interval": 20}, 5),
    ],
    ids=str,
)
def test_c28_one_try_may_take_five_seconds_or_try_timeout_within_the_whole(
    prober, monkeypatch, times, longest
):
    asked = []
    monkeypatch.setattr(
        probes.FileProbe,
        "check",
        lambda self, deadline: asked.append(deadline - time.monotonic()) or "no",
    )
    prober.start(KEY, Ready(kind="file", what="/nowhere", **times), "", None)
    assert fails(prober, "no")
    assert longest - TIMEOUT < asked[0] <= longest


def test_c28_health_endpoint_that_answers_in_more_than_a_second_is_ready(prober):
    def slow(connection):
        # More than a try could take before, and less than one may take now.
        threading.Event().wait(1.2)
        connection.sendall(answer(200))

    with serving(slow) as (port, requests):
        start_probe(prober, "http", f"http://127.0.0.1:{port}/health")
        assert becomes_ready(prober)
        assert len(requests) == 1


@pytest.mark.parametrize("before", [(), (answer(503),)], ids=["first try", "later try"])
def test_c28_try_without_an_answer_is_the_reason_if_it_is_stopped(prober, before, monkeypatch):
    monkeypatch.setattr(readiness, "LONG_TRY_SECONDS", 0.0)
    asked = threading.Event()

    def silent(connection):
        asked.set()
        connection.recv(1)

    with serving(*before, silent) as (port, _):
        start_probe(prober, "http", f"http://me:secret@127.0.0.1:{port}/health?a", try_timeout=0.7)
        assert asked.wait(TIMEOUT)
        prober.stop(KEY)
        assert prober.reason(KEY).startswith(f"http 127.0.0.1:{port}: no answer within ")


def test_c28_short_try_does_not_hide_the_answer_of_the_one_before(prober, monkeypatch):
    monkeypatch.setattr(readiness, "LONG_TRY_SECONDS", 1000.0)
    asked = threading.Event()

    def silent(connection):
        asked.set()
        connection.recv(1)

    with serving(answer(503), silent) as (port, _):
        start_probe(prober, "http", f"http://127.0.0.1:{port}/health?a", try_timeout=0.7)
        assert asked.wait(TIMEOUT)
        prober.stop(KEY)
        assert prober.reason(KEY) == f"http 127.0.0.1:{port}: GET /health answered 503"


@pytest.mark.skipif(not shutil.which("openssl"), reason="a certificate is made by openssl")
def test_https_accepts_any_certificate(prober, tmp_path):
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -subj /CN=x"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=TIMEOUT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    with serving(answer(500), answer(200), context=context) as (port, requests):
        start_probe(prober, "http", f"https://localhost:{port}/")
        assert becomes_ready(prober)
        assert len(requests) == 2


def test_server_without_tls_handshake_gives_no_answer(prober):
    with serving(lambda connection: connection.recv(1)) as (port, requests):
        start_probe(prober, "http", f"https://127.0.0.1:{port}/", try_timeout=0.2)
        wait_until(lambda: len(requests) > 1)
        assert fails(prober, "no answer within 200ms")


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
def test_matching_line_is_ready(prober, log, pattern, data):
    printed(log, data)
    start_probe(prober, "log", pattern, log=state_file(log))
    assert becomes_ready(prober)


def test_log_may_appear_later_and_grow(prober, log):
    start_probe(prober, "log", "^ready$", log=state_file(log))
    # A command that has printed nothing has none.
    assert fails(prober, "no line matches `^ready$`")
    printed(log, b"wait\n")
    assert fails(prober, "no line matches `^ready$`")
    printed(log, b"ready\n")
    assert becomes_ready(prober)


def test_line_may_arrive_in_parts(log):
    probe = readiness._LogProbe("^(ready|ä€)$", state_file(log))
    for data in (b"is it ", b"ready", b"\n\nrea", b"d", b"\n", b"\xc3", b"\xa4\xe2\x82"):
        printed(log, data)
        assert probe.check(0) == "no line matches `^(ready|ä€)$`"
    printed(log, b"\xac")
    assert probe.check(0) == ""


def test_truncated_log_is_read_from_its_beginning(log):
    probe = readiness._LogProbe("^ready$", state_file(log))
    printed(log, b"not yet, not yet")
    assert probe.check(0)
    log.write_bytes(b"ready")
    assert probe.check(0) == ""


@pytest.mark.parametrize("line", [b"x" * 99 + b"\n", b"x" * 10_000_000])
def test_large_log_is_read_in_parts_and_not_kept(log, line):
    printed(log, (line * (3_000_000 // len(line) + 1))[:3_000_000])
    probe = readiness._LogProbe("ready", state_file(log))
    read = []
    while not read or probe.has_more:
        assert probe.check(0)
        assert len(probe._unfinished_line) < 8192
        read.append(probe._position)
    assert read == [1024 * 1024, 2 * 1024 * 1024, 3_000_000]
    assert probe.check(0)
    assert not probe.has_more


def test_large_log_is_read_to_its_end_without_waiting_for_the_interval(prober, log):
    printed(log, b"a longer line\n" * 100_000 + b"ready")
    start_probe(prober, "log", "ready", log=state_file(log), interval=1000)
    assert becomes_ready(prober)


def test_pattern_is_searched_in_one_piece_at_a_time():
    # `.*y` takes time by the square of the length: 30 ms for a piece, half an hour for one try.
    pieces = list(readiness._pieces("ä".encode() * 10_000))
    assert max(map(len, pieces)) <= 8192
    assert b"".join(pieces).decode() == "ä" * 10_000


def test_invalid_pattern_is_never_ready(prober, log):
    printed(log, b"(")
    start_probe(prober, "log", "(", log=state_file(log))
    assert fails(prober, "unterminated subpattern")


# -- file


def test_file_is_relative_to_the_working_directory(prober, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    start_probe(prober, "file", "here/done", cwd=str(tmp_path))
    assert fails(prober, f"there is no file `{tmp_path}/here/done`")
    (tmp_path / "here" / "done").touch()
    assert becomes_ready(prober)
    monkeypatch.chdir(tmp_path)
    start_probe(prober, "file", "here/done")
    assert becomes_ready(prober)
    start_probe(prober, "file", tmp_path / "here", cwd="/nowhere")
    assert becomes_ready(prober)


# -- trying and reporting


def test_each_ready_attempt_is_returned_once(prober, tmp_path):
    for number in range(20):
        start_probe(prober, "file", tmp_path / "done", key=(number, 1))
    start_probe(prober, "file", tmp_path / "never", key=(99, 1))
    assert fails(prober, "there is no file", key=(19, 1))
    (tmp_path / "done").touch()
    ready = []
    while len(ready) < 20:
        assert is_readable(prober, TIMEOUT)
        ready += prober.take_ready()
    assert sorted(ready) == [(number, 1) for number in range(20)]
    assert not is_readable(prober, 0)
    assert prober.take_ready() == []
    assert list(prober._attempts) == [(99, 1)]


def test_forgotten_attempt_is_not_returned(prober, tmp_path):
    start_probe(prober, "file", tmp_path)
    assert is_readable(prober, TIMEOUT)
    prober.forget(KEY)
    prober.forget((1, 1))
    assert prober.take_ready() == []
    assert not is_readable(prober, 0)


def test_answer_after_forget_is_dropped(prober):
    asked, go = threading.Event(), threading.Event()

    def slow(connection):
        asked.set()
        go.wait(TIMEOUT)
        connection.sendall(answer(200))

    with serving(slow) as (port, _):
        start_probe(prober, "http", f"http://127.0.0.1:{port}/", interval=TIMEOUT)
        assert asked.wait(TIMEOUT)
        (thread,) = threads()
        prober.forget(KEY)
        # Probed anew under the same key: the answer to the old probe must not count.
        start_probe(prober, "file", "/nowhere")
        (other,) = set(threads()) - {thread}
        start_probe(prober, "file", "/nowhere/else")
        other.join(TIMEOUT)
        assert not other.is_alive()
        go.set()
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        assert not is_readable(prober, 0)
        assert prober.take_ready() == []


@pytest.mark.parametrize("end", [lambda prober: prober.forget(KEY), Prober.close])
def test_waiting_thread_ends_when_its_attempt_is_forgotten(prober, end):
    start_probe(prober, "file", "/nowhere", interval=1000)
    assert fails(prober, "there is no file")
    (thread,) = threads()
    assert thread.daemon
    end(prober)
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_prober_can_be_closed_twice(tmp_path):
    before = len(os.listdir("/dev/fd"))
    prober = Prober()
    start_probe(prober, "file", tmp_path)
    assert is_readable(prober, TIMEOUT)
    prober.close()
    prober.close()
    assert prober.fileno() == -1
    assert prober.take_ready() == []
    assert len(os.listdir("/dev/fd")) == before


def test_descriptor_is_not_inherited_and_does_not_block(prober):
    assert not os.get_inheritable(prober.fileno())
    assert not os.get_blocking(prober.fileno())
    assert prober.take_ready() == []


def test_interval_of_zero_does_not_spin(prober, monkeypatch):
    asked = []
    monkeypatch.setattr(
        probes.FileProbe, "check", lambda self, deadline: asked.append(time.monotonic()) or "no"
    )
    start_probe(prober, "file", "/nowhere", interval=0)
    wait_until(lambda: len(asked) > 5)
    assert asked[5] - asked[0] >= 5 * readiness.MIN_PAUSE_SECONDS * 0.9


def test_signals_are_left_to_the_main_thread(prober, monkeypatch):
    masks = []

    def ask(self, deadline):
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return ""

    monkeypatch.setattr(probes.FileProbe, "check", ask)
    start_probe(prober, "file", "/")
    assert becomes_ready(prober)
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD} <= masks[0]


def test_attempt_without_a_thread_is_not_ready(prober, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    start_probe(prober, "file", "/")
    assert prober.last_reason(KEY) == "can't start new thread"
    prober.forget(KEY)


# -- foreign servers

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc has the owners of sockets")

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
    """A process and a function that makes it listen, which returns once it does."""
    command = [sys.executable, "-c", TASK, str(port), how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:

        def listen():
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], TIMEOUT)[0]
            assert process.stdout.readline() == b"listens\n"

        try:
            yield process.pid, listen
        finally:
            process.stdin.close()
            process.wait(TIMEOUT)


@linux
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_foreign_server_on_the_port_is_not_the_task(prober, free_port, kind):
    with serving(answer(200)) as (port, _), task(port) as (pid, _):
        what = port if kind == "tcp" else f"http://localhost:{port}/"
        start_probe(prober, kind, what, pid=pid)
        assert fails(prober, f"port {port} belongs to another process, pid {os.getpid()}")
        # Without a pid, any server counts.
        start_probe(prober, kind, what, key=(4, 1))
        assert is_readable(prober, TIMEOUT)
        assert prober.take_ready() == [(4, 1)]


@linux
def test_port_that_a_foreign_server_left_is_the_tasks(prober):
    with listener() as foreign:
        port = port_of(foreign)
        with task(port) as (pid, listen):
            start_probe(prober, "tcp", port, pid=pid)
            assert fails(prober, "belongs to another process")
            foreign.close()
            assert fails(prober, "refused")
            listen()
            assert becomes_ready(prober)


@linux
def test_server_after_the_foreign_one_is_accepted(prober):
    with listener() as foreign:
        port = port_of(foreign)
        with task(port) as (pid, _):
            start_probe(prober, "tcp", port, pid=pid)
            assert fails(prober, "belongs to another process")
            foreign.close()
            with listener(port=port):
                assert becomes_ready(prober)


@linux
def test_foreign_server_is_searched_for_once(prober, monkeypatch):
    looked, asked = [], []
    processes, sockets = port_owner.procfs.processes, port_owner.listening_sockets
    monkeypatch.setattr(port_owner.procfs, "processes", lambda: looked.append(1) or processes())
    monkeypatch.setattr(port_owner, "listening_sockets", lambda port: asked.append(1) or sockets(port))
    with listener() as foreign, task(port_of(foreign)) as (pid, _):
        start_probe(prober, "tcp", port_of(foreign), pid=pid)
        wait_until(lambda: len(asked) > 4)
        assert fails(prober, "belongs to another process")
        assert len(looked) == 1


@linux
def test_server_that_cannot_be_identified_is_accepted(prober, monkeypatch):
    monkeypatch.setattr(port_owner, "_sockets_of", lambda pid, wanted: set())
    with listener() as foreign, task(port_of(foreign)) as (pid, _):
        start_probe(prober, "tcp", port_of(foreign), pid=pid)
        assert becomes_ready(prober)


@linux
@pytest.mark.parametrize("how", ["itself", "daemon"])
@pytest.mark.parametrize("first", ["listens", "asked"])
def test_own_server_is_ready_in_any_session(prober, free_port, how, first):
    with task(free_port, how) as (pid, listen):
        if first == "listens":
            listen()
        start_probe(prober, "tcp", free_port, pid=pid)
        if first == "asked":
            assert fails(prober, "refused")
            listen()
        assert becomes_ready(prober)


@linux
def test_server_that_listens_later_than_the_task_started_is_accepted(prober, free_port):
    # An older process may listen on behalf of the task, as systemd does.
    with task(free_port) as (pid, _):
        start_probe(prober, "tcp", free_port, pid=pid)
        assert fails(prober, "refused")
        with listener(port=free_port):
            assert becomes_ready(prober)


@linux
def test_inherited_socket_is_the_tasks_own(prober):
    with listener() as server:
        os.set_inheritable(server.fileno(), True)
        command = [sys.executable, "-c", "input()"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[server.fileno()], start_new_session=True
        ) as process:
            start_probe(prober, "tcp", port_of(server), pid=process.pid)
            try:
                assert becomes_ready(prober)
            finally:
                process.communicate(b"\n", TIMEOUT)


@linux
def test_without_a_process_no_server_is_foreign(prober):
    with subprocess.Popen(["true"]) as process:
        process.wait(TIMEOUT)
    with listener() as server:
        start_probe(prober, "tcp", port_of(server), pid=process.pid)
        assert becomes_ready(prober)
