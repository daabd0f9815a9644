"""The logs of attempts, as tests read them."""

import os

from mprun.begun_logs import begun_logs


def read_log(log):
    """The bytes of a log; none if it is that of a command that had a process and has printed nothing."""
    if not log.exists():
        folder = os.open(log.parent, os.O_RDONLY)
        begun = begun_logs(folder)
        os.close(folder)
        assert log.name in begun, log
        return b""
    return log.read_bytes()
