"""Whether a server answers: on a port, or at an address, each within a time of its own.

A server that accepts and says nothing, or says it drop by drop, is not ready when the
time is over; one that was there before the task is not the task's.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from typing import Any

from mprun.linux.port_owner import PortOwner

# Where a server's first lines are longer than this, they are no answer.
_HEAD = 64 * 1024


class Server:
    """Whether something listens on a port; the base of what is asked of servers."""

    hurry = False

    def __init__(self, host: str, port: int, pid: int | None) -> None:
        self._host = host
        self._port = port
        self._owner = None if pid is None else PortOwner(pid, port)

    def ask(self, deadline: float) -> str:
        """The empty text where it answers as it should, else why not; raises OSError where nothing does.

        `deadline` is by time.monotonic; only the look-up of a host's name does not keep it.
        """
        with _connected(self._host, self._port, deadline) as connection:
            # An address of this machine stands at both ends.
            is_here = connection.getsockname()[0] == connection.getpeername()[0]
            why = self._answer(connection, deadline)
        # Last, since the table of all connections may be long.
        pid = self._owner.foreign_pid() if self._owner and is_here and not why else None
        if pid is None:
            return why
        return f"port {self._port} belongs to another process, pid {pid}, which was there before the task"

    def _answer(self, connection: socket.socket, deadline: float) -> str:
        return ""


class Tcp(Server):
    """Whether a port, or `host:port`, accepts connections."""

    def __init__(self, what: str, pid: int | None) -> None:
        host, _, port = what.rpartition(":")
        super().__init__(host.strip("[]"), int(port), pid)


class Http(Server):
    """Whether an address answers with a status below 400.

    Written out, since http.client knows no deadline of a whole answer: each byte may take
    its timeout anew. Nothing but the status is read, so neither redirects nor proxies come in.
    """

    def __init__(self, address: str, pid: int | None) -> None:
        # 3 ms, for those who ask by HTTP.
        from urllib.parse import quote, urlsplit

        parts = urlsplit(address)
        host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        super().__init__(host, parts.port or (443 if self._is_tls else 80), pid)
        path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]")
        query = f"?{quote(parts.query, safe='/%:=&?~+!$,;@()*[]')}" if parts.query else ""
        to = parts.netloc.rpartition("@")[2].encode("ascii" if host.isascii() else "idna").decode()
        self._request = (
            f"GET {path}{query} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: mprun\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        ).encode()

    def _answer(self, connection: socket.socket, deadline: float) -> str:
        if self._is_tls:
            _bound(connection, deadline)
            with self._encrypted(connection) as encrypted:
                return self._judged(encrypted, deadline)
        return self._judged(connection, deadline)

    def _judged(self, connection: socket.socket, deadline: float) -> str:
        _bound(connection, deadline)
        connection.sendall(self._request)
        status = _status(connection, deadline)
        return f"the answer was status {status}" if status >= 400 else ""

    def _encrypted(self, connection: socket.socket) -> socket.socket:
        # 15 ms, for those who ask by HTTPS.
        import ssl

        # Nothing is told and nothing believed; a server under test signs for itself.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection, server_hostname=self._host)


def _status(connection: socket.socket, deadline: float) -> int:
    """The status of an answer; interim ones (RFC 9110, 15.2) are passed over."""
    head = b""
    while True:
        line, newline, _ = head.partition(b"\n")
        if newline:
            match = re.match(rb"HTTP/[0-9]\.[0-9] ([0-9]{3})\b", line)
            if match is None:
                raise ValueError("the answer is not HTTP")
            status = int(match[1])
            if status >= 200 or status == 101:
                return status
            _, end, after = head.partition(b"\r\n\r\n")
            if end:
                head = after
                continue
        if len(head) > _HEAD:
            raise ValueError("the answer is not HTTP")
        _bound(connection, deadline)
        received = connection.recv(4096)
        if not received:
            raise ConnectionError("the connection was closed without an answer")
        head += received


def _bound(connection: socket.socket, deadline: float) -> None:
    """Let what comes next take no longer than is left. Raises TimeoutError where nothing is."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)


def _connected(host: str, port: int, deadline: float) -> socket.socket:
    """A connection to the first address that accepts one. Raises OSError, of the first that does not."""
    first: OSError | None = None
    addresses = _addresses(host, port)
    for number, (family, address) in enumerate(addresses):
        # Each has its share of the time: one that swallows everything leaves some to the next.
        share = (deadline - time.monotonic()) / (len(addresses) - number)
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                _bound(connection, time.monotonic() + share)
                connection.connect(address)
                _refuse_itself(connection)
                return connection
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            first = first or error
    raise first or OSError(f"there is no address of `{host}`")


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    if host in ("", "localhost"):
        # Whatever /etc/hosts says, or forgets: a server may listen on either.
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _refuse_itself(connection: socket.socket) -> None:
    """Raise for a connection to itself: a port nobody listens on may be given to the asking end.

    Among the ports of /proc/sys/net/ipv4/ip_local_port_range that happens once in some
    28,000 asks, as TCP lets two ends open at once (RFC 9293, 3.5).
    """
    if connection.getsockname() == connection.getpeername():
        # Reset, or the port would be taken for a minute, and the task's server could not have it.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionRefusedError("Connection refused")
