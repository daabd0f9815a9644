"""Executors as someone else would write them, for `--executor support.other_executors:NAME`."""

import os

from mprun.errors import UsageError
from mprun.executors.base import ExecutorLost, HostChange, PrepareReply, SlotsChange
from mprun.executors.local import LocalExecutor
from mprun.executors.new_launcher import start_launcher


class Two(LocalExecutor):
    """Runs two attempts at once, on this machine."""

    unsupported = frozenset({"ready.tcp", "artifacts", "host"})
    slots = None

    def __init__(self, options):
        self.__dict__.update(start_launcher().__dict__)
        assert options["host_timeout"] == 30.0

    def wait(self):
        self.slots = 2


class Any(Two):
    """Runs as many as the job says."""

    unsupported = frozenset()

    def wait(self):
        pass


class Hasty(Two):
    """Reports all of this in one batch, with its reply in the midst of it."""

    unsupported = frozenset()

    def wait(self):
        self.slots = 1

    def prepare(self, request):
        super().prepare(request.replace(max_parallel=2))

    def receive(self):
        found = super().receive()
        return [each for report in found for each in self._with_others(report)]

    def _with_others(self, report):
        if not isinstance(report, PrepareReply):
            return [report]
        lost, joined = (
            HostChange(clock=0.0, change=change, host=host, facts={"worker": "tcp://1", "reason": "cut off"})
            for change, host in (("lost", "one"), ("joined", "two"))
        )
        hosts = ({"host": "here", "main_pid": self.pid, "worker": "tcp://0", "slots": 1, "boot_id": None},)
        return [lost, report.replace(hosts=hosts), joined, SlotsChange(clock=0.0, more=1, reason="one more")]


class Short(Two):
    """Is lost as soon as it has replied; `UNSEEN` says whether an attempt may have begun all the same."""

    unsupported = frozenset()

    def receive(self):
        found = super().receive()
        if any(isinstance(report, PrepareReply) for report in found):
            found.append(ExecutorLost(how="it had no time", unseen=bool(os.environ["UNSEEN"])))
        return found


class Silent(Any):
    """Does not know what was imported."""

    def imports(self):
        return None


class Full(Two):
    """Has no room."""

    def __init__(self, options):
        raise UsageError("the farm is full; come back tomorrow")


class Broken(Two):
    """Fails in a way that no one has thought of."""

    def __init__(self, options):
        raise ZeroDivisionError("no hosts")


class NoExecutor:
    """Has one of the methods."""

    def start(self, request):
        pass


def function():
    """No class."""
