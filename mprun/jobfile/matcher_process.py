"""The program of the process that matches regular expressions; it runs alone, without the rest of mprun.

A request on descriptor 0 is how to match, the pattern, and the text in any number of parts, each
behind its length, and ends with a length of 0. The answer is one byte.
"""

import contextlib
import os

# How to match: all of the text, anywhere in it with `^` and `$` at each line, or in any line by itself.
FULL, SEARCH, LINES = "full", "search", "lines"
YES, NO, OUT_OF_MEMORY = b"1", b"0", b"m"
# A pattern with alternatives may need a hundred bytes for each character of a log.
MEMORY_LIMIT_BYTES = 512 * 1024**2


def serve(limit_seconds: float, shares_limit: bool) -> None:
    """Answer requests until there are no more; the limit is of CPU time."""
    import fcntl
    import resource
    import signal

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = MEMORY_LIMIT_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT_BYTES, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    # The kernel sends SIGIO, which ends this process, when the other end of the socket is closed.
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    if shares_limit:
        signal.setitimer(signal.ITIMER_PROF, limit_seconds)
    while parts := _request():
        fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC)
        if not shares_limit:
            signal.setitimer(signal.ITIMER_PROF, limit_seconds)
        try:
            answer = YES if _matches(*parts) else NO
        except MemoryError:
            answer = OUT_OF_MEMORY
        if not shares_limit:
            signal.setitimer(signal.ITIMER_PROF, 0)
        fcntl.fcntl(0, fcntl.F_SETFL, flags)
        os.write(0, answer)


def _request() -> tuple[str, str, bytes] | None:
    """How to match, the pattern and the text; None if there is no request any more."""
    parts = []
    while size := int.from_bytes(_read(4), "big"):
        parts.append(_read(size))
    if len(parts) < 2:
        return None
    return parts[0].decode(), parts[1].decode("utf-8", "surrogatepass"), b"".join(parts[2:])


def _read(size: int) -> bytes:
    """So many bytes; ends this process if the other one is gone."""
    data = bytearray()
    while len(data) < size:
        chunk = os.read(0, size - len(data))
        if not chunk:
            os._exit(0)
        data += chunk
    return bytes(data)


def _matches(how: str, pattern: str, data: bytes) -> bool:
    import re

    if how == FULL:
        return re.fullmatch(pattern, data.decode("utf-8", "surrogatepass")) is not None
    if how == SEARCH:
        return re.search(pattern, data.decode("utf-8", "backslashreplace"), re.MULTILINE) is not None
    search = re.compile(pattern).search
    return any(search(line.decode("utf-8", "backslashreplace")) for line in data.split(b"\n"))


if __name__ == "__main__":
    import sys

    # What a program that uses mprun has left open for its children.
    os.closerange(3, 65536)
    serve(float(sys.argv[1]), sys.argv[2] == "shared")
