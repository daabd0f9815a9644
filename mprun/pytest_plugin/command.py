"""The command `mprun`, as the plugin starts it: it ends in order if pytest is killed.

python -m mprun.pytest_plugin.command PID ARGUMENT...     PID is that of pytest
"""

import os
import signal
import sys


def main() -> None:
    """Run the command line, and exit with its exit code."""
    from mprun import __main__ as command

    command.end_at_signals()
    command.import_nothing_from_here()
    from mprun.linux.prctl import set_parent_death_signal

    pytest = int(sys.argv.pop(1))
    set_parent_death_signal(signal.SIGTERM)
    if os.getppid() == pytest:
        command.main()


if __name__ == "__main__":
    main()
