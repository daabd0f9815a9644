"""The command: for a run it forks the launcher, then it reads the command line.

The launcher is forked first because a fork costs what the process holds, and because
launcher and engine then import what they need at the same time, each on its own core.
"""

import gc
import os
import sys

# The commands that run no job; a test holds it against the command line's own table.
WITHOUT_JOB = frozenset({"validate", "plan", "runs", "show", "tree", "logs", "stop", "init", "schema"})

# The newest Python on which a launcher was forked: it overwrites its environment in memory
# (`mprun.launcher.environment`). On a newer one the engine starts it as a new Python.
TRIED_PYTHON = (3, 15)

# What launcher and engine would each import: done once, it is 5 ms less of one core. What only one
# of them needs it imports itself, beside the other (tests/process/test_start.py has the whole list).
BOTH_NEED = (
    "_ctypes",
    "collections.abc",
    "contextlib",
    "errno",
    "select",
    "signal",
    "threading",
    "warnings",
    "weakref",
    "mprun.launcher.channel",
    "mprun.failpoints",
    "mprun.linux.procfs",
    "mprun.linux.prctl",
    "mprun.lazy_import",
)


def open_standard_descriptors() -> None:
    """Open to nowhere whichever of the descriptors 0 to 2 is closed (`mprun JOB >&-`).

    Else the next file or socket would get its number, and a task's output would go there.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def runs_a_job(arguments: list[str]) -> bool:
    """Whether a command line surely asks for a run, seen without reading its options."""
    if not arguments or arguments[0] in WITHOUT_JOB:
        return False
    return not {"--help", "-h", "--version"}.intersection(arguments)


def fork_launcher() -> tuple[int, int]:
    """Fork a launcher; its pid, and the descriptor of a socket to it."""
    # `socket` costs 2 ms to import and is not needed to make a pair; the executor,
    # which speaks through it, imports it while the launcher is already at work.
    import _socket

    # Until all is imported and read: none of it is garbage, and to look for some among it takes
    # a twentieth of a start.
    gc.disable()
    for module in BOTH_NEED:
        __import__(module)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    descriptor = theirs.detach()
    engine = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(ours.detach())
        from mprun.launcher.main import launch

        gc.freeze()
        gc.enable()
        launch(descriptor, engine)
    os.close(descriptor)
    return pid, ours.detach()


def main() -> None:
    """Run the command line; the exit code tells how it went (`mprun --help`)."""
    open_standard_descriptors()
    can_fork = sys.version_info[:2] <= TRIED_PYTHON
    launcher = fork_launcher() if can_fork and runs_a_job(sys.argv[1:]) else None
    from mprun.cli.lean_imports import import_click

    import_click()
    from mprun.cli.main import main as command

    code = command(launcher)
    # Everything is closed and flushed; taking the interpreter down piece by piece would
    # add a sixth to the time of a short run.
    os._exit(code)


if __name__ == "__main__":
    main()
