"""The command `mprun`: forks the launcher if there is a job to run, then reads the command line."""

# The launcher is forked first, because a fork costs time for each page that the process has, and
# because launcher and engine then import their modules at the same time, each on a core.

import os
import sys

# The launcher that was forked, a pid, 0 while there is none, -1 while it is forked; and the signal that has
# come in that time.
_launcher = 0
_deferred = 0


def end_at_signals() -> None:
    """Have a signal that ends a run end this process at once and without a word, until there is a run."""
    # An exception could be raised in any import, and be lost there or become a traceback.
    # Not `signal`, which takes a millisecond to import: this comes first.
    import _signal  # type: ignore[import-not-found]
    import _thread

    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        # nohup(1) ignores SIGHUP on purpose.
        if _signal.getsignal(number) in (_signal.SIG_DFL, _signal.default_int_handler):
            _signal.signal(number, _end)
    # Before it runs a script, Python looks whether that is an archive. It prints an interrupt that comes
    # meanwhile like any other exception, and then runs the script.
    # So it does with one that came at the end of an import, in the callback that forgets the lock of the
    # module: then the lock is still there. Another thread may be about to forget one.
    lost = getattr(sys, "last_type", None) is KeyboardInterrupt
    try:
        for lock in [*sys.modules["_frozen_importlib"]._module_locks.values()]:
            lost |= not lock() and not _thread._count()
    except Exception:  # noqa: S110  another Python may keep them otherwise
        pass
    if lost:
        _end(_signal.SIGINT, None)


def _end(number: int, _frame: object) -> None:
    global _deferred
    if _launcher < 0:
        _deferred = number
        return
    try:
        if _launcher:
            from mprun.launcher.main import kill_unused

            kill_unused(_launcher)
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    # As early as can be: what comes before is Python's own, which ends with a traceback.
    end_at_signals()

# The commands that run no job; a test compares it with the command line's own table.
WITHOUT_JOB = frozenset(
    {"compare", "flaky", "help", "validate", "plan", "runs", "show", "tree", "logs", "report", "export"}
    | {"result", "stop", "init", "schema", "merge", "pack", "why", "list"}
    | {"describe"}
)

# The newest Python on which a launcher was forked: it overwrites its environment in memory
# (`mprun.launcher.environment`). On a newer one the engine starts it as a new Python.
TRIED_PYTHON = (3, 15)

# Both launcher and engine need these modules; to import them once, before the fork, saves 5 ms of one
# core. Each imports the others itself, while the other does the same (tests/process/test_start.py).
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


def import_nothing_from_here() -> None:
    """Take the working directory off the import path, which `python -m` puts at its head."""
    # Modules of the job are imported by the launcher, which adds the directory again. If PYTHONPATH has it,
    # it stays: that is the user's own choice.
    try:
        here = os.getcwd()
    except OSError:
        here = ""
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", here):
        del sys.path[0]


def open_standard_descriptors() -> None:
    """Open each of the descriptors 0 to 2 that is closed (`mprun JOB >&-`) on /dev/null. Raises OSError."""
    # Else the next file or socket would get its number, and a task would write its output there.
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def runs_a_job(arguments: list[str]) -> bool:
    """Whether a command line surely runs a job."""
    if not arguments or arguments[0] in WITHOUT_JOB:
        return False
    return not {"--help", "-h", "--version"}.intersection(arguments)


def fork_launcher() -> tuple[int, int]:
    """Fork a launcher; its pid, and the descriptor of a socket to it."""
    # Not `socket`, which takes 2 ms to import: the executor imports it while the launcher works.
    import _socket
    import gc

    # Until everything is imported and the job is read: nothing of it is garbage, and the collector
    # would take a twentieth of the time of a start.
    gc.disable()
    for module in BOTH_NEED:
        __import__(module)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    descriptor = theirs.detach()
    engine = os.getpid()
    global _launcher
    # A signal that comes before the pid is known would leave what the launcher has made.
    _launcher = -1
    pid = os.fork()
    if pid == 0:
        _launcher = 0
        os.close(ours.detach())
        from mprun.launcher.main import launch

        gc.freeze()
        gc.enable()
        launch(descriptor, engine)
    _launcher = pid
    if _deferred:
        _end(_deferred, None)
    os.close(descriptor)
    return pid, ours.detach()


def main() -> None:
    """Run the command line, and exit with its exit code."""
    end_at_signals()
    import_nothing_from_here()
    try:
        open_standard_descriptors()
    except OSError as error:
        if sys.stderr is not None:
            print(f"error: cannot open {os.devnull}: {error.strerror}", file=sys.stderr)  # noqa: T201
        os._exit(3)
    from mprun.module_finder import install_module_finder

    install_module_finder()
    can_fork = sys.version_info[:2] <= TRIED_PYTHON
    launcher = fork_launcher() if can_fork and runs_a_job(sys.argv[1:]) else None
    from mprun.cli.lean_imports import import_click, make_lazy

    make_lazy()
    from mprun.cli.main import main as command

    code = command(launcher, import_click=import_click)
    # Everything is closed and flushed by now, and to finalize the interpreter would
    # add a sixth to the time of a short run.
    os._exit(code)


if __name__ == "__main__":
    main()
