"""A server and its client, for smoke runs that start a server, test it, and stop it."""

from __future__ import annotations

import os
import signal
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

# Without proxies: the server is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with the pid of the server; crash on request."""
        if self.path == "/crash":
            os._exit(3)
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print requests to standard output, which is the task's log."""
        print(format % args, flush=True)


def serve(port: int) -> None:
    """Serve on this port of this machine until the end of the job."""
    server = HTTPServer(("127.0.0.1", port), _Handler)
    print(f"listening on port {port}")
    server.serve_forever()


def ask(url: str) -> int:
    """The pid of the server that answers; exit 1 without an answer."""
    try:
        with _OPENER.open(url, timeout=5) as answer:
            pid = int(answer.read())
    except OSError as error:
        sys.exit(f"no answer: {error}")
    print(f"process {pid} answers")
    return pid


def crash(url: str) -> None:
    """Make the server crash, so that it does not answer."""
    try:
        _OPENER.open(url + "crash", timeout=5)
    except OSError as error:
        print(f"it is gone: {type(error).__name__}")


def announce(path: str) -> None:
    """Create a file when ready, and remove it when stopped."""

    def end(*_: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write("up\n")
        signal.pause()
    finally:
        os.unlink(path)
