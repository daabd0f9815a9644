"""Probes a server by TCP or HTTP; each try has a deadline, and must reach the task's own server.

A server that accepts a connection and does not answer in time is not ready, and a server that
listened on the port before the task started is not the task's.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from typing import Any

from mprun.linux.port_owner import PortOwner

# An answer whose head is longer than this is not HTTP.
_MAX_HEAD_BYTES = 64 * 1024


class ServerProbe:
    """Whether a server listens on a port; the base of both probes."""

    has_more = False

    def __init__(self, host: str, port: int, pid: int | None) -> None:
        self._host = host
        self._port = port
        self._owner = None if pid is None else PortOwner(pid, port)

    def check(self, deadline: float) -> str:
        """Why the server is not ready, empty if it is. Raises OSError if there is no connection.

        `deadline` is a reading of time.monotonic. The look-up of a host's name may exceed it.
        """
        with _connect(self._host, self._port, deadline) as connection:
            # A connection inside this machine has the same address at both ends.
            is_here = connection.getsockname()[0] == connection.getpeername()[0]
            reason = self._try_request(connection, deadline)
        # At the end, because the kernel's table of connections may be long.
        pid = self._owner.foreign_pid() if self._owner and is_here and not reason else None
        if pid is None:
            return reason
        return f"port {self._port} belongs to another process, pid {pid}, which started before the task"

    def _try_request(self, connection: socket.socket, deadline: float) -> str:
        return ""


class TcpProbe(ServerProbe):
    """Whether a port, or `host:port`, accepts a connection."""

    def __init__(self, what: str, pid: int | None) -> None:
        host, _, port = what.rpartition(":")
        super().__init__(host.strip("[]"), int(port), pid)


class HttpProbe(ServerProbe):
    """Whether an address answers with a status below 400; redirects and proxies are ignored.

    `http.client` is not used because its timeout is for each read: a server that sends one byte
    at a time would never exceed it.
    """

    def __init__(self, address: str, pid: int | None) -> None:
        # 3 ms.
        from urllib.parse import quote, urlsplit

        parts = urlsplit(address)
        host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        super().__init__(host, parts.port or (443 if self._is_tls else 80), pid)
        self._path = path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]")
        query = f"?{quote(parts.query, safe='/%:=&?~+!$,;@()*[]')}" if parts.query else ""
        to = parts.netloc.rpartition("@")[2].encode("ascii" if host.isascii() else "idna").decode()
        self._request = (
            f"GET {path}{query} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: mprun\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        ).encode()

    def _try_request(self, connection: socket.socket, deadline: float) -> str:
        if self._is_tls:
            _set_timeout(connection, deadline)
            with self._encrypted(connection) as encrypted:
                return self._request_status(encrypted, deadline)
        return self._request_status(connection, deadline)

    def _request_status(self, connection: socket.socket, deadline: float) -> str:
        _set_timeout(connection, deadline)
        connection.sendall(self._request)
        status = _read_status(connection, deadline)
        return f"GET {self._path} answered {status}" if status >= 400 else ""

    def _encrypted(self, connection: socket.socket) -> socket.socket:
        # 15 ms.
        import ssl

        # The probe sends no secret and uses no content; a server under test signs its own certificate.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(connection, server_hostname=self._host)


def _read_status(connection: socket.socket, deadline: float) -> int:
    """The status of an answer; interim ones (RFC 9110, section 15.2) are skipped."""
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
        if len(head) > _MAX_HEAD_BYTES:
            raise ValueError("the answer is not HTTP")
        _set_timeout(connection, deadline)
        received = connection.recv(4096)
        if not received:
            raise ConnectionError("the connection was closed without an answer")
        head += received


def _set_timeout(connection: socket.socket, deadline: float) -> None:
    """Limit the next call to the time that is left. Raises TimeoutError if none is left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address of the host that accepts. Raises the OSError of its first address."""
    first_error: OSError | None = None
    addresses = _addresses(host, port)
    for number, (family, address) in enumerate(addresses):
        # Each address gets its share of the time, in case the first does not answer at all.
        share = (deadline - time.monotonic()) / (len(addresses) - number)
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                _set_timeout(connection, time.monotonic() + share)
                connection.connect(address)
                _reject_self_connection(connection)
                return connection
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            first_error = first_error or error
    raise first_error or OSError(f"host `{host}` has no address")


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    if host in ("", "localhost"):
        # Both, whatever /etc/hosts contains: a server may listen on either.
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port))]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _reject_self_connection(connection: socket.socket) -> None:
    """Raise ConnectionRefusedError if the connection leads to itself.

    If no server listens on the port, the kernel may give this very port to the client's end, and TCP
    lets the two ends open at once (RFC 9293, section 3.5). With a port of
    /proc/sys/net/ipv4/ip_local_port_range it happens in one of some 28,000 tries.
    """
    if connection.getsockname() == connection.getpeername():
        # Close by a reset, or the port stays in use for a minute and the task's server cannot bind it.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionRefusedError("Connection refused")
