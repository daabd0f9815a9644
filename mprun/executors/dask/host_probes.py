"""Probes attempts on their host by `tcp`, `http` and `file`, as mprun does on its own machine."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from mprun.executors.base import Probed
from mprun.linux.probes import error_reason, make_probe

if TYPE_CHECKING:
    from mprun.executors.base import ProbeRequest
    from mprun.launcher.channel import AttemptKey
    from mprun.linux.probes import Probe

# The kinds of `ready` that are probed here.
KINDS = frozenset(("tcp", "http", "file"))


class HostProbes:
    """Makes each try in a thread; `fileno` becomes readable when one has ended."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._ended: deque[Probed] = deque()
        # Those of servers remember what they have found out of the process.
        self._probes: dict[AttemptKey, Probe] = {}
        # The tries that begin once the run is resumed; None while it is not suspended.
        self._held: list[ProbeRequest] | None = None

    def fileno(self) -> int:
        return self._reader

    def start(self, request: ProbeRequest) -> None:
        """Begin a try; `take` has its answer later."""
        if self._held is not None:
            self._held.append(request)
            return
        # It connects, and looks up names, so that others would wait.
        thread = threading.Thread(target=self._run, args=(request,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # The system has as many threads as it allows.
            self._end(request, 1, str(error))

    def suspend(self) -> None:
        self._held = self._held or []

    def resume(self) -> None:
        held, self._held = self._held, None
        for request in held or ():
            self.start(request)

    def take(self) -> list[Probed]:
        """The answers since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        # Threads add to it.
        return [self._ended.popleft() for _ in range(len(self._ended))]

    def forget(self, key: AttemptKey) -> None:
        """The attempt has ended."""
        self._probes.pop(key, None)

    def _run(self, request: ProbeRequest) -> None:
        try:
            reason = self._probe(request).check(time.monotonic() + request.seconds)
        except Exception as error:
            self._end(request, 1, error_reason(error))
        else:
            self._end(request, 1 if reason else 0, reason)

    def _probe(self, request: ProbeRequest) -> Probe:
        probe = self._probes.get(request.key)
        if probe is None:
            probe = make_probe(request.kind, request.what[0], request.cwd, request.pid)
            if request.kind != "file":
                self._probes[request.key] = probe
        return probe

    def _end(self, request: ProbeRequest, code: int, reason: str) -> None:
        self._ended.append(
            Probed(
                key=request.key,
                clock=time.monotonic(),
                number=request.number,
                exit_code=code,
                message=reason,
            )
        )
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"\0")
