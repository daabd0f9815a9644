"""What it costs to probe 100 tasks every 100 ms: CPU time in % of one core.

`PYTHONPATH=. python benchmarks/probe_cost.py` probes tasks that are never ready, five seconds per kind.
"""

import os
import socket
import tempfile
import threading
import time

from mprun.engine.readiness import Prober
from mprun.jobfile.model import Ready
from mprun.record.state_files import Folder

COUNT = 100
SECONDS = 5


def answer(server: socket.socket, status: bytes) -> None:
    """Serve one status until killed."""
    while True:
        connection = server.accept()[0]
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 " + status + b" x\r\nContent-Length: 0\r\n\r\n")
        connection.close()


def share(ready: Ready, log: str = "") -> float:
    """The share of one core that probing takes, in %."""
    prober = Prober()
    file = Folder(os.path.dirname(log) or ".").file(os.path.basename(log))
    for number in range(COUNT):
        prober.start((number, 1), ready, file, None, os.getpid())
    time.sleep(1)
    begun, cpu = time.monotonic(), time.process_time()
    time.sleep(SECONDS)
    used = (time.process_time() - cpu) / (time.monotonic() - begun)
    assert not prober.take_ready()
    prober.close()
    return used * 100


def main() -> None:
    """Print a line for each kind."""
    with socket.socket() as free, tempfile.NamedTemporaryFile() as log:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        log.write(b"not yet\n" * 1000)
        log.flush()
        print(f"file  {share(Ready(kind='file', what='/nowhere')):5.1f} %")
        print(f"log   {share(Ready(kind='log', what='^ready'), log.name):5.1f} %")
        print(f"tcp   {share(Ready(kind='tcp', what=str(port))):5.1f} %  refused, at both addresses")
        print(f"http  {share(Ready(kind='http', what=f'http://127.0.0.1:{port}/')):5.1f} %  refused")
    # Another process serves it, and its time does not count.
    server = socket.create_server(("127.0.0.1", 0), backlog=200)
    child = os.fork()
    if child == 0:
        for _ in range(8):
            threading.Thread(target=answer, args=(server, b"503")).start()
        threading.Event().wait(60)
        os._exit(0)
    address = f"http://127.0.0.1:{server.getsockname()[1]}/"
    try:
        print(f"http  {share(Ready(kind='http', what=address)):5.1f} %  503")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
