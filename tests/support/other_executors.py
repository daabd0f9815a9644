"""Executors as someone else would write them, for `--executor support.other_executors:NAME`."""

from mprun.errors import UsageError
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
