"""Ports on loopback for the servers of tests, which no other process gets before them."""

from __future__ import annotations

import contextlib
import socket


@contextlib.contextmanager
def held_ports(count=1):
    """Ports on which nothing listens, one after another in a tuple.

    A port that was bound and closed may be that of another process, such as of a test beside this one, by
    the time at which its server binds it. So each stays bound by a socket that does not listen: the kernel
    gives it to no other process, and a server that sets SO_REUSEADDR, as Python's do, can listen on it.
    """
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
        yield tuple(holder.getsockname()[1] for holder in holders)
