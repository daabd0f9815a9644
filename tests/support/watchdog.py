"""Runs `mprun ARGUMENTS` and watches for how long each turn of the engine's loop sleeps.

A turn is what lies between two waits in poll(2). Of its time, its own computation does not count (the CPU
time of the thread), nor does the time for which it could run and other processes had the cores (the
second number of /proc/thread-self/schedstat). What is left, it slept. The file `turns` gets the longest of
these times and where it was, as JSON.

The name `slow.test` takes a second to look up.
"""

import json
import os
import socket
import sys
import time
import traceback

import mprun.__main__
from mprun.engine import poller, signals

LOOK_UP_SECONDS = 1.0


class Watchdog:
    """The polls of the engine, in the thread that makes it."""

    def __init__(self, poll):
        self._poll = poll
        self._turns = 0
        self._longest = 0.0
        self._schedstat = open("/proc/thread-self/schedstat", "rb", buffering=0)  # noqa: SIM115
        self.begin()

    def __getattr__(self, name):
        return getattr(self._poll, name)

    def poll(self, timeout):
        self._end()
        try:
            return self._poll.poll(timeout)
        finally:
            self.begin()

    def begin(self):
        """A turn begins, or continues after the process was suspended."""
        self._begun = self._times()

    def _times(self):
        """The time, and how much of it was not slept."""
        self._schedstat.seek(0)
        ran, waited, _ = map(int, self._schedstat.read().split())
        return time.monotonic_ns(), ran + waited

    def _end(self):
        wall, awake = (now - before for now, before in zip(self._times(), self._begun, strict=True))
        slept = (wall - awake) / 1e9
        self._turns += 1
        if slept > self._longest or self._turns == 1:
            self._longest = max(slept, 0.0)
            where = "".join(traceback.format_stack()[:-1])
        else:
            return
        with open("turns", "w", encoding="utf-8") as file:
            json.dump({"turns": self._turns, "longest": self._longest, "where": where}, file)


def watch(init):
    def watched(self, *arguments):
        init(self, *arguments)
        self._poll = watch.dog = Watchdog(self._poll)

    return watched


def suspended(suspend):
    def suspend_and_begin(self):
        suspend(self)
        watch.dog.begin()

    return suspend_and_begin


def slow(look_up):
    def look_up_slowly(host, *arguments, **options):
        if host == "slow.test":
            time.sleep(LOOK_UP_SECONDS)
            host = "127.0.0.1"
        return look_up(host, *arguments, **options)

    return look_up_slowly


if __name__ == "__main__":
    poller.Poller.__init__ = watch(poller.Poller.__init__)
    signals.SignalInbox.suspend_self = suspended(signals.SignalInbox.suspend_self)
    socket.getaddrinfo = slow(socket.getaddrinfo)
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    mprun.__main__.main()
