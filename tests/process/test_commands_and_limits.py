"""Commands and the limits of a task's process, as an executor runs them."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
from support.attempts import Attempts, error_file
from support.runs import START_METHODS, alive, eventually, write, written

from mprun.engine.attempt_result import attempt_result, limit_reached
from mprun.executors.base import Exited
from mprun.jobfile.model import Limits
from mprun.record.results import Failure, read_failure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and descriptors as Linux has them")
every_start_method = pytest.mark.parametrize("method", START_METHODS)

MIB = 1024 * 1024
SH = "/bin/sh"

WORK = """\
    import errno, json, mmap, os, resource, signal, sys, time

    def small_objects():
        held = []
        while True:
            held.append(object())

    def one_large_object():
        bytearray(1 << 40)

    def a_map():
        mmap.mmap(-1, 1 << 40)

    def a_result_in_little_memory(leave):
        # Just below the limit, so that writing the result needs more than is left.
        result = "x" * leave
        held = []
        size = 1 << 20
        while size >= 1 << 12:
            try:
                held.append(mmap.mmap(-1, size))
            except OSError:
                size //= 2
        sys.held = held
        return result

    def open_files():
        held = []
        while True:
            held.append(open("/dev/null"))

    def a_result_without_files():
        try:
            held = []
            sys.held = held
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as error:
            return errno.errorcode[error.errno]

    def burn():
        while True:
            pass

    def burn_on():
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        burn()

    def show():
        named = {"memory": resource.RLIMIT_AS, "files": resource.RLIMIT_NOFILE, "cpu": resource.RLIMIT_CPU}
        shown = {name: resource.getrlimit(which) for name, which in named.items()}
        return {**shown, "nice": os.getpriority(os.PRIO_PROCESS, 0), "cpus": sorted(os.sched_getaffinity(0))}

    def touch(path):
        open(path, "w").close()

    def odd():
        raise OSError(object(), "no number")

    def descriptors():
        held = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                held[name] = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                pass
        return held

    def wait_for(path):
        os.read(os.open(path, os.O_RDONLY), 1)
"""
SHOW = "import json, work; print(json.dumps(work.show()))"


@pytest.fixture
def directory(tmp_path):
    write(tmp_path, work=WORK)
    return tmp_path


@pytest.fixture
def attempts(directory):
    """A launcher that is prepared without targets: commands need none."""
    with Attempts(directory) as held:
        yield held


def script(path, text, mode=0o755):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


# ---- commands: their environment


def test_a_command_runs_without_a_shell_and_its_output_is_in_the_log(attempts):
    ended = attempts.run(command=("printf", "%s|", "a b", "$HOME", "*", "é"))
    assert (ended.code, ended.error, ended.result) == (0, None, None)
    assert ended.log == "a b|$HOME|*|é|"


def test_stdout_and_stderr_of_a_command_are_its_log_and_stdin_is_empty(attempts):
    ended = attempts.run(command=(SH, "-c", "cat; echo out; echo err >&2; exit 7"))
    assert (ended.code, ended.log) == (7, "out\nerr\n")


def test_the_exit_code_of_a_command_is_the_kernels(attempts):
    ended = attempts.run(command=(SH, "-c", "kill -KILL $$"))
    assert (ended.code, ended.error) == (-signal.SIGKILL, None)
    assert ended.exited.cpu is not None
    assert ended.exited.max_rss > 100_000


def test_a_command_has_a_session_of_its_own_and_the_launcher_as_its_parent(attempts):
    ended = attempts.run(command=(SH, "-c", "cat /proc/$$/stat"))
    pid, _, _, parent, group, session, *_ = ended.log.split()
    assert int(pid) == int(group) == int(session) == ended.started.pid == ended.exited.pid
    assert int(parent) == attempts.executor.pid == ended.started.ppid


@every_start_method
def test_a_command_is_a_child_of_the_launcher_under_every_start_method(directory, method):
    with Attempts(directory, method=method) as attempts:
        ended = attempts.run(command=(SH, "-c", "echo $PPID"))
        assert (ended.code, int(ended.log)) == (0, attempts.executor.pid)


def test_a_command_finds_its_environment_and_directory(attempts, tmp_path):
    script = "echo $MPRUN_RUN_ID $MPRUN_TASK $MPRUN_ATTEMPT $OWN; pwd -P"
    ended = attempts.run(command=(SH, "-c", script), env={"OWN": "é"}, cwd=tmp_path, name="a-command")
    assert ended.log.splitlines() == ["a-run a-command 1 é", str(tmp_path.resolve())]


def test_the_environment_of_an_attempt_does_not_leak_into_the_next(attempts):
    assert attempts.run(command=(SH, "-c", "echo $OWN"), env={"OWN": "x"}).log == "x\n"
    assert attempts.run(command=(SH, "-c", "echo $OWN")).log == "\n"


def test_a_command_is_looked_up_in_path_of_the_tasks_environment(attempts, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    # Neither a directory nor a file that is not executable hides a later program.
    (tmp_path / "first" / "tool").mkdir()
    script(tmp_path / "first" / "other", "#!/bin/sh\n", 0o644)
    script(tmp_path / "second" / "tool", "#!/bin/sh\necho tool $1\n")
    script(tmp_path / "second" / "other", "#!/bin/sh\necho other $1\n")
    path = {"PATH": f"{tmp_path}/first:{tmp_path}/second:{tmp_path}/none"}
    assert attempts.run(command=("tool", "1"), env=path).log == "tool 1\n"
    assert attempts.run(command=("other", "2"), env=path).log == "other 2\n"
    ended = attempts.run(command=("true",), env=path)
    assert (ended.code, ended.error["type"]) == (127, "FileNotFoundError")


def test_relative_and_empty_entries_of_path_refer_to_the_tasks_directory(attempts, tmp_path):
    (tmp_path / "in").mkdir()
    script(tmp_path / "in" / "tool", "#!/bin/sh\necho found\n")
    assert attempts.run(command=("./tool",), cwd=tmp_path / "in").log == "found\n"
    assert attempts.run(command=("tool",), cwd=tmp_path / "in", env={"PATH": ":/none"}).log == "found\n"
    assert attempts.run(command=("./tool",), cwd=tmp_path).code == 127


def test_a_script_without_an_interpreter_line_is_run_by_the_shell(attempts, tmp_path):
    script(tmp_path / "plain", 'echo "$0 $1"\n')
    script(tmp_path / "empty", "")
    ended = attempts.run(command=(f"{tmp_path}/plain", "a b"))
    assert (ended.code, ended.log) == (0, f"{tmp_path}/plain a b\n")
    assert attempts.run(command=(f"{tmp_path}/empty",)).code == 0


REFUSED = [
    (
        ("no-such-command",),
        127,
        "FileNotFoundError",
        "no-such-command: command not found",
    ),
    (
        ("echo hi",),
        127,
        "FileNotFoundError",
        "echo hi: command not found (the first item of a list is the program alone)",
    ),
    (("./none",), 127, "FileNotFoundError", "./none: No such file or directory"),
    (
        ("~/none",),
        127,
        "FileNotFoundError",
        "~/none: No such file or directory (`~` is not expanded)",
    ),
    (("plain/none",), 127, "NotADirectoryError", "plain/none: Not a directory"),
    (("./orphan",), 127, "FileNotFoundError", "./orphan: its interpreter does not exist"),
    (("./link",), 127, "OSError", "./link: Too many levels of symbolic links"),
    (("./turns",), 126, "OSError", "./turns: Too many levels of symbolic links"),
    (("",), 127, "FileNotFoundError", "'': command not found"),
    (("./plain",), 126, "PermissionError", "./plain: Permission denied"),
    (("./folder",), 126, "IsADirectoryError", "./folder: Is a directory"),
    (("./binary",), 126, "OSError", "./binary: Exec format error"),
    (("./long", "x" * 140_000), 126, "OSError", "./long: Argument list too long"),
    (("./long", "a\0b"), 126, "ValueError", "'./long': embedded null byte"),
]


@pytest.mark.parametrize(("words", "code", "kind", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_a_command_that_cannot_be_executed_is_reported_as_by_a_shell(
    attempts, tmp_path, words, code, kind, message
):
    (tmp_path / "folder").mkdir()
    script(tmp_path / "plain", "echo", 0o644)
    script(tmp_path / "orphan", "#!/no/such/interpreter\n")
    script(tmp_path / "turns", "#!./other\n")
    script(tmp_path / "other", "#!./turns\n")
    (tmp_path / "link").symlink_to("link")
    script(tmp_path / "binary", b"\x7fNOT\0 a program")
    script(tmp_path / "long", "#!/bin/sh\n")
    ended = attempts.run(command=words, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert (ended.code, ended.log) == (code, f"mprun: {message}\n")
    assert ended.error == {"type": kind, "message": message}
    assert "OSError" in error_file(ended)["bases"] or kind == "ValueError"


def test_a_missing_directory_is_not_reported_as_a_missing_command(attempts, tmp_path):
    ended = attempts.run(command=("true",), cwd=tmp_path / "none")
    message = f"cd: {tmp_path}/none: No such file or directory"
    assert (ended.code, ended.log) == (1, f"mprun: {message}\n")
    assert ended.error == {"type": "FileNotFoundError", "message": message}


# ---- commands: what they must not inherit


@pytest.mark.parametrize("close_range", ["worker._close_range", "None"])
def test_a_command_has_only_the_standard_descriptors_open(directory, close_range):
    """Also where the kernel or the C library does not have close_range(2)."""
    module = f"""\
        import os
        from mprun.launcher import worker
        os.set_inheritable(os.open("/dev/zero", os.O_RDONLY), True)
        os.set_inheritable(0, False)
        worker._close_range = {close_range}
    """
    write(directory, leaks=module)
    with Attempts(directory, methods=START_METHODS, preload=["leaks"]) as attempts:
        # The launcher has pidfds and pipes of the tasks that run at the same time.
        for method in START_METHODS:
            attempts.begun(attempts.start(command=("sleep", "1000"), method=method))
        ended = attempts.run(command=("ls", "-1", "/proc/self/fd"))
        # 3 is the descriptor with which ls lists them.
        assert ended.log.split() == ["0", "1", "2", "3"]


def test_no_signal_is_ignored_or_blocked_in_a_command(directory):
    module = """\
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    """
    write(directory, ignorant=module)
    with Attempts(directory, preload=["ignorant"]) as attempts:
        ended = attempts.run(command=("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"))
        # 32 and 33 belong to the C library (nptl(7)): their inherited state cannot be changed.
        own = 1 << 31 | 1 << 32
        assert {int(line.split()[1], 16) & ~own for line in ended.log.splitlines()} == {0}


def test_output_that_a_module_left_in_a_buffer_is_not_in_the_log_of_a_command(directory):
    module = "import ctypes\nprint('python', end='')\nctypes.CDLL(None).printf(b'c')\n"
    write(directory, talks=module)
    with Attempts(directory, preload=["talks"]) as attempts:
        assert attempts.run(command=("echo", "own")).log == "own\n"
        refused = attempts.run(command=("no-such-command",), env={"PATH": "/bin"})
        assert refused.log == "mprun: no-such-command: command not found\n"
        assert sorted(attempts.main_log.read_text()) == sorted("pythonc")


def test_a_target_can_run_beside_commands(directory):
    with Attempts(directory, targets=[("work:show", ())]) as attempts:
        assert attempts.run(command=("true",)).code == 0
        assert attempts.run(target="work:show").result["nice"] == os.getpriority(os.PRIO_PROCESS, 0)


# ---- commands: how they are stopped, and their orphans


def started_by(path):
    """The pid that a process writes, once it has written it."""
    return int(written(path))


def test_orphans_of_a_command_are_killed_at_its_end_and_reported(attempts, tmp_path):
    left = "setsid sh -c 'echo $$ > left; exec sleep 1000' & while ! [ -s left ]; do :; done"
    ended = attempts.run(command=(SH, "-c", left), cwd=tmp_path)
    pid = int((tmp_path / "left").read_text())
    assert (ended.code, list(ended.exited.orphans)) == (0, [pid])
    assert not alive(pid)


def test_orphans_of_a_command_do_not_become_its_children(attempts, tmp_path):
    orphan = "(sleep 1000 & echo $! > left); cat /proc/$(cat left)/stat"
    ended = attempts.run(command=(SH, "-c", orphan), cwd=tmp_path)
    assert int(ended.log.split()[3]) == ended.started.ppid


def test_a_command_dies_with_the_launcher(attempts, tmp_path):
    key = attempts.start(command=(SH, "-c", "echo $$ > here; exec sleep 1000"), cwd=tmp_path)
    pid = started_by(tmp_path / "here")
    assert pid == attempts.begun(key).pid
    os.kill(attempts.executor.pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))


def test_a_command_gets_the_stop_signal_and_is_not_asked_for_stacks(attempts, tmp_path):
    # It uses the signal with which Python dumps its stacks for itself.
    traps = "trap 'echo asked' USR2; trap 'echo stopped; exit 5' TERM"
    waits = f"{traps}; echo $$ > here; while :; do :; done"
    key = attempts.start(command=(SH, "-c", waits), cwd=tmp_path)
    started_by(tmp_path / "here")
    attempts.signal(key, "SIGTERM", title="asked")
    ended = attempts.end(key)
    assert (ended.code, ended.log) == (5, "stopped\n")


# ---- limits: they are set


SET = Limits(memory=900 * MIB, cpu_time=100.5, open_files=64, nice=7, cpus=1, log=1)


@every_start_method
def test_limits_are_set_before_the_target_runs(directory, method):
    with Attempts(directory, method=method, targets=[("work:show", ())]) as attempts:
        shown = attempts.run(target="work:show", limits=SET).result
    # The hard limits leave the worker enough to write an error.
    assert shown.pop("memory") == [900 * MIB, 932 * MIB]
    assert shown.pop("files") == [64, 80]
    assert len(shown.pop("cpus")) == 1
    assert shown == {"cpu": [101, 102], "nice": 7}


def test_limits_of_a_command_survive_exec_and_are_hard_limits(attempts, directory):
    env = {"PYTHONPATH": str(directory)}
    ended = attempts.run(command=(sys.executable, "-c", SHOW), limits=SET, env=env)
    shown = json.loads(ended.log)
    assert (shown["memory"], shown["files"]) == ([900 * MIB] * 2, [64] * 2)
    assert (shown["cpu"], shown["nice"], len(shown["cpus"])) == ([101, 102], 7, 1)


def test_a_command_may_have_less_memory_than_python_uses(attempts):
    ended = attempts.run(command=(SH, "-c", "ulimit -v"), limits=Limits(memory=10 * MIB))
    assert (ended.code, ended.log) == (0, "10240\n")


def test_tasks_without_limits_have_the_limits_of_the_launcher(directory):
    with Attempts(directory, targets=[("work:show", ())]) as attempts:
        attempts.run(target="work:show", limits=SET)
        shown = attempts.run(target="work:show").result
        only_log = attempts.run(target="work:show", limits=Limits(log=5)).result
    own = sorted(os.sched_getaffinity(0))
    assert (shown["cpus"], shown["nice"]) == (own, os.getpriority(os.PRIO_PROCESS, 0))
    assert only_log == shown


def test_cores_are_chosen_by_number_or_by_count_up_to_what_is_available(directory):
    usable = sorted(os.sched_getaffinity(0))
    with Attempts(directory, targets=[("work:show", ())]) as attempts:

        def cores(cpus, position):
            return attempts.run(target="work:show", limits=Limits(cpus=cpus), position=position).result[
                "cpus"
            ]

        assert cores((usable[-1],), 1) == [usable[-1]]
        assert cores(tuple(usable), 1) == usable
        assert cores(10**12, 1) == usable
        # Tasks that run together do not all get the first core.
        assert {cores(1, position)[0] for position in range(1, len(usable) + 1)} == set(usable)


# ---- limits: they are reached


class OneTask:
    """The parts of a task and of a run's directory that the tested function uses."""

    daemon = False
    capture = None
    expect = None

    class retry:
        exceptions = ()

    def __init__(self, ended, limits):
        self.limits = limits
        self._files = ended.files

    def result_files(self, name, attempt):
        assert (name, attempt) == ("an instance", 1)
        return self._files


def reason(ended, limits):
    """The reason that the outcome of an attempt has."""
    task = OneTask(ended, limits)
    code = ended.code
    words = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
    return attempt_result(task, "an instance", ended.exited, words, task).reason


REACHED = [
    (
        "small_objects",
        Limits(memory=128 * MIB),
        "MemoryError",
        "exit 1: limits.memory of 128 MiB was reached",
    ),
    ("one_large_object", Limits(memory=10**9), "MemoryError", "exit 1: limits.memory of 1 GB was reached"),
    ("a_map", Limits(memory=900 * MIB), "OSError", "exit 1: limits.memory of 900 MiB was reached"),
    ("open_files", Limits(open_files=16), "OSError", "exit 1: limits.open_files of 16 was reached"),
]


@every_start_method
@pytest.mark.parametrize(("name", "limits", "kind", "message"), REACHED, ids=[row[0] for row in REACHED])
def test_an_error_at_a_limit_is_reported(directory, method, name, limits, kind, message):
    with Attempts(directory, method=method, targets=[(f"work:{name}", ())]) as attempts:
        ended = attempts.run(target=f"work:{name}", limits=limits)
        plain = attempts.run(command=("true",), limits=None)
    assert (ended.code, plain.code) == (1, 0)
    # CPython 3.12 may have no memory left for the MemoryError, which depends on where its objects are.
    lost = ended.error == {"type": "SystemError", "message": "error return without exception set"}
    if not lost or kind != "MemoryError":
        assert ended.error["type"] == kind
        assert f", in {name}\n" in ended.log
    assert reason(ended, limits) == message
    # Without the limit the reason does not mention it.
    assert reason(ended, None) == "exit 1"
    assert reason(ended, Limits(nice=1)) == "exit 1"


def test_a_memory_error_that_python_has_lost_is_the_limit_of_memory():
    lost = Failure(type="SystemError", message="error return without exception set")
    assert limit_reached(Limits(memory=128 * MIB), None, lost) == "limits.memory of 128 MiB was reached"
    other = Failure(type="SystemError", message="unknown opcode")
    assert limit_reached(Limits(memory=128 * MIB), None, other) == ""


@every_start_method
def test_a_result_is_written_even_if_all_files_and_memory_are_used(directory, method):
    files, memory = ("work:a_result_without_files", ()), ("work:a_result_in_little_memory", (10**6,))
    with Attempts(directory, method=method, targets=[files, memory]) as attempts:
        ended = attempts.run(target=files[0], limits=Limits(open_files=16))
        assert (ended.code, ended.result, ended.error) == (0, "EMFILE", None)
        ended = attempts.run(target=memory[0], args=(10_000,), limits=Limits(memory=200 * MIB))
        assert (ended.code, ended.error, ended.result) == (0, None, "x" * 10_000), ended.log


# That limits are set is tested on every Python. The rest is up to the kernel, which counts in whole seconds.
@pytest.mark.once
@pytest.mark.parametrize(
    ("method", "order", "code", "message"),
    [
        ("fork", {"target": "work:burn"}, -signal.SIGXCPU, "killed by SIGXCPU"),
        ("forkserver", {"target": "work:burn"}, -signal.SIGXCPU, "killed by SIGXCPU"),
        ("spawn", {"target": "work:burn"}, -signal.SIGXCPU, "killed by SIGXCPU"),
        ("fork", {"target": "work:burn_on"}, -signal.SIGKILL, "killed by SIGKILL"),
        ("fork", {"command": (SH, "-c", "while :; do :; done")}, -signal.SIGXCPU, "killed by SIGXCPU"),
        ("fork", {"command": (SH, "-c", f"{SH} -c 'while :; do :; done'; exit $?")}, 152, "exit 152"),
    ],
)
def test_a_task_without_cpu_time_left_is_killed_with_this_reason(directory, method, order, code, message):
    targets = [(order["target"], ())] if "target" in order else []
    limits = Limits(cpu_time=0.5)
    with Attempts(directory, method=method, targets=targets) as attempts:
        ended = attempts.run(**order, limits=limits)
    assert (ended.code, ended.error) == (code, None)
    assert reason(ended, limits) == f"{message}: limits.cpu_time of 0.5s was reached"
    assert reason(ended, Limits(memory=MIB)) == message


def exited(code, cpu):
    return Exited(
        key=(0, 1),
        clock=0.0,
        pid=1,
        exit_code=code,
        core_dumped=False,
        duration=9.0,
        cpu=cpu,
        max_rss=0,
        threads=1,
        orphans=(),
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGXCPU])
@pytest.mark.parametrize("base", [0, 128], ids=["killed", "reported by a shell"])
def test_a_kill_that_a_shell_reports_is_the_cpu_limit_once_the_time_is_used_up(number, base):
    """C80. A shell exits with 128 and the signal's number if the signal killed its last command."""
    code = base + number if base else -number
    limits = Limits(cpu_time=2)
    assert limit_reached(limits, exited(code, 2.0), None) == "limits.cpu_time of 2s was reached"
    if code != -signal.SIGXCPU:
        assert limit_reached(limits, exited(code, 1.9), None) == ""
        assert limit_reached(limits, exited(code, None), None) == ""


@pytest.mark.parametrize(
    ("limits", "code", "cpu", "failure"),
    [
        (Limits(cpu_time=2), -signal.SIGKILL, 1.9, None),
        # Unknown, because it was killed under forkserver.
        (Limits(cpu_time=2), -signal.SIGKILL, None, None),
        (Limits(cpu_time=2), -signal.SIGSEGV, 9.0, None),
        (Limits(cpu_time=2), 1, 9.0, Failure(type="ValueError", message="", names=("ValueError",))),
        (Limits(memory=MIB), -signal.SIGKILL, 0.1, None),
        (Limits(memory=MIB), -signal.SIGSEGV, 0.1, None),
        (Limits(memory=MIB), 1, 0.1, Failure(type="OSError", message="", names=("OSError",), errno=24)),
        (Limits(open_files=9), 1, 0.1, Failure(type="OSError", message="", names=("OSError",), errno=23)),
        (Limits(open_files=9), 1, 0.1, Failure(type="MemoryError", message="", names=("MemoryError",))),
        (None, 1, 0.1, Failure(type="MemoryError", message="", names=("MemoryError",))),
    ],
)
def test_no_limit_is_reported_as_reached_without_evidence(limits, code, cpu, failure):
    assert limit_reached(limits, exited(code, cpu), failure) == ""


def test_a_librarys_subclass_of_memory_error_counts():
    names = ("_ArrayMemoryError", "numpy._ArrayMemoryError", "MemoryError", "builtins.MemoryError")
    failure = Failure(type="_ArrayMemoryError", message="", names=names)
    message = limit_reached(Limits(memory=1536), exited(1, 0.1), failure)
    assert message == "limits.memory of 1536 B was reached"


# ---- limits: they cannot be set

# Also if root runs the tests: from here on the launcher may raise neither a limit nor a priority.
UNPRIVILEGED = """\
    import ctypes, resource

    class Header(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]

    libc = ctypes.CDLL(None, use_errno=True)
    # prctl(2), PR_CAPBSET_DROP: a new Python of root does not get CAP_SYS_NICE back either.
    libc.prctl(24, 23, 0, 0, 0)
    # capset(2), without CAP_SYS_NICE and CAP_SYS_RESOURCE, as for users other than root.
    header, sets = Header(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(ctypes.byref(header), sets) == 0
    for place in range(3):
        sets[place] &= ~(1 << 23 | 1 << 24)
    assert libc.capset(ctypes.byref(header), sets) == 0
    for which, most in (("NOFILE", 100), ("AS", 1 << 40), ("CPU", 1000), ("NICE", 0)):
        resource.setrlimit(getattr(resource, "RLIMIT_" + which), (most, most))
"""
UNSET = [
    (Limits(nice=-5), "limits.nice of -5 cannot be set: Permission denied"),
    (Limits(open_files=101), "limits.open_files of 101 cannot be set: the hard limit is 100"),
    (Limits(memory=2 << 40), f"limits.memory of {2 << 40} bytes cannot be set: the hard limit is {1 << 40}"),
    (Limits(memory=1 << 80), f"limits.memory of {1 << 80} bytes cannot be set: the hard limit is {1 << 40}"),
    (Limits(cpu_time=1000.5), "limits.cpu_time of 1000.5s cannot be set: the hard limit is 1000"),
    (
        Limits(cpus=(100_000,)),
        "limits.cpus of [100000] cannot be set: core 100000 is not available (available: ",
    ),
    (
        Limits(cpus=(10**30,)),
        f"limits.cpus of [{10**30}] cannot be set: core {10**30} is not available (available: ",
    ),
]


@every_start_method
def test_nothing_runs_if_a_limit_cannot_be_set(directory, method):
    write(directory, unprivileged=UNPRIVILEGED)
    ran = directory / "ran"
    some = (min(os.sched_getaffinity(0)), 100_000)
    both = (
        Limits(cpus=some),
        f"limits.cpus of [{some[0]}, 100000] cannot be set: core 100000 is not available (",
    )
    target = ("work:touch", (str(ran),))
    with Attempts(directory, method=method, targets=[target], preload=["unprivileged"]) as attempts:
        for limits, message in [*UNSET, both]:
            for order in ({"target": target[0], "args": target[1]}, {"command": ("touch", str(ran))}):
                ended = attempts.run(**order, limits=limits)
                assert (ended.code, ended.error["type"]) == (1, "LimitError")
                assert ended.error["message"].startswith(message)
                assert ended.log == f"mprun: {ended.error['message']}\n"
                assert reason(ended, limits) == "exit 1"
        assert not ran.exists()
        assert attempts.run(target=target[0], args=target[1], limits=Limits(open_files=100)).code == 0


@every_start_method
def test_a_target_with_less_memory_than_python_uses_fails(directory, method):
    with Attempts(directory, method=method, targets=[("work:show", ())]) as attempts:
        ended = attempts.run(target="work:show", limits=Limits(memory=MIB))
    assert ended.code == 1
    assert (
        "limits.memory of 1048576 bytes cannot be set: Python and the imported modules"
        in ended.error["message"]
    )


def test_a_start_error_keeps_its_exit_code_despite_tight_limits(attempts, tmp_path):
    script(tmp_path / "orphan", "#!/no/such/interpreter\n")
    ended = attempts.run(command=("./orphan",), cwd=tmp_path, limits=Limits(open_files=3, memory=MIB))
    assert (ended.code, ended.log) == (127, "mprun: ./orphan: its interpreter does not exist\n")
    ended = attempts.run(command=("no-such-command",), limits=Limits(open_files=3, memory=MIB))
    assert (ended.code, ended.error["type"]) == (127, "FileNotFoundError")


def test_the_errno_of_an_error_is_kept(directory):
    with Attempts(directory, targets=[("work:touch", ("/no/such/place",)), ("work:odd", ())]) as attempts:
        failure = read_failure(attempts.run(target="work:touch", args=("/no/such/place",)).files)
        odd = read_failure(attempts.run(target="work:odd").files)
    assert (failure.type, failure.errno) == ("FileNotFoundError", 2)
    assert (odd.type, odd.errno) == ("OSError", None)
    assert {"OSError", "builtins.OSError"} <= set(failure.names)


# ---- beside other tasks


@every_start_method
def test_a_forked_task_has_no_descriptors_of_other_tasks(directory, method):
    gate = directory / "gate"
    os.mkfifo(gate)
    targets = [("work:wait_for", (str(gate),)), ("work:descriptors", ())]
    with Attempts(directory, methods=START_METHODS, targets=targets) as attempts:
        alone = attempts.run(target="work:descriptors").result
        keys = [attempts.start(target="work:wait_for", args=targets[0][1], method=method) for _ in range(2)]
        for key in keys:
            attempts.begun(key)
        beside = attempts.run(target="work:descriptors").result
        with open(gate, "wb") as opened:
            opened.write(b"xx")
            opened.flush()
            assert [attempts.end(key).code for key in keys] == [0, 0]
        after = attempts.run(target="work:descriptors").result
    assert len(alone) == len(beside) == len(after), (alone, beside, after)
