"""Commands that are started without a fork of the launcher: the second one of each program."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.attempts import Attempts
from support.runs import TIMEOUT, alive, eventually, mprun, write, written

from mprun.executors.base import NotStarted
from mprun.linux import prctl, procfs, run_tags

if sys.platform == "linux":
    from mprun.launcher.command_starts import StartedCommand

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="posix_spawn(3) and /proc as Linux has them")

SH = "/bin/sh"
# The launcher notes its forks; the first of them is the keeper.
COUNTS = """\
    import os
    def note():
        with open({path!r}, "a") as file:
            file.write(".")
    os.register_at_fork(after_in_parent=note)
"""
# Closes its output, so that the keeper has no pipe by which to find it.
SILENT = "echo $$ > {0}.new && mv {0}.new {0} && exec sleep 1000 > /dev/null 2>&1"


class Started(Attempts):
    """Attempts in a launcher that has executed SH before, and the number of its forks."""

    def __init__(self, directory, module="", **options):
        self._forks = directory / "forks"
        write(directory, counts=COUNTS.format(path=str(self._forks)), extra=module)
        super().__init__(directory, preload=["counts", "extra"], **options)

    def __enter__(self):
        super().__enter__()
        assert self.run(command=(SH, "-c", ":")).code == 0
        return self

    def forks(self):
        return len(self._forks.read_text())

    def run_without_fork(self, **request):
        before = self.forks()
        ended = self.run(**request)
        assert self.forks() == before
        return ended

    def run_with_fork(self, **request):
        before = self.forks()
        ended = self.run(**request)
        assert self.forks() == before + 1
        return ended


@pytest.fixture
def attempts(tmp_path):
    with Started(tmp_path) as held:
        yield held


def pid_in(path):
    """The pid that a process has written to a file, once it has."""
    return int(written(path))


# ---- what a command finds


def test_a_command_has_its_output_environment_session_and_parent(attempts):
    script = "cat; echo $MPRUN_RUN_ID $MPRUN_TASK $MPRUN_ATTEMPT $OWN >&2; cat /proc/$$/stat; exit 7"
    more = {"OWN": "é", "MPRUN_TASK": "forged"}
    ended = attempts.run_without_fork(command=(SH, "-c", script), env=more, name="a task")
    first, second = ended.log.splitlines()
    assert (ended.code, first) == (7, "a-run a task 1 é")
    pid, _, _, parent, group, session, *_ = second.split()
    assert int(pid) == int(group) == int(session) == ended.started.pid == ended.exited.pid
    assert int(parent) == attempts.executor.pid == ended.started.ppid
    assert ended.exited.cpu is not None
    assert attempts.run_without_fork(command=(SH, "-c", "echo $OWN$MPRUN_TASK")).log == "task2\n"


def test_a_command_has_only_the_standard_descriptors_and_no_ignored_or_blocked_signals(tmp_path):
    module = """\
        import os, signal
        os.set_inheritable(os.open("/dev/zero", os.O_RDONLY), True)
        os.set_inheritable(0, False)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    """
    with Started(tmp_path, module) as attempts:
        attempts.begun(attempts.start(command=(SH, "-c", "sleep 1000")))
        script = "ls -1 /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status"
        ended = attempts.run_without_fork(command=(SH, "-c", script))
        *descriptors, blocked, ignored = ended.log.splitlines()
        assert descriptors == ["0", "1", "2", "3"]
        # 32 and 33 belong to the C library (nptl(7)).
        own = 1 << 31 | 1 << 32
        assert [int(line.split()[1], 16) & ~own for line in (blocked, ignored)] == [0, 0]


def test_a_command_has_what_a_module_has_set_in_the_environment_of_c(tmp_path):
    module = "import ctypes\nctypes.CDLL(None).setenv(b'FROM_C', b'here', 1)\n"
    with Started(tmp_path, module) as attempts:
        assert attempts.run_without_fork(command=(SH, "-c", "echo $FROM_C")).log == "here\n"


def test_what_is_printed_is_captured(tmp_path):
    write(
        tmp_path,
        job="""\
            tasks:
            - {name: a, command: "echo 1; echo 2 >&2", capture: text}
            - {name: b, command: "echo 3; echo 4 >&2", capture: text, depends_on: a}
            - {name: c, target: "builtins:print", args: ["${tasks.a.result}${tasks.b.result}"]}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert sorted(run.stdout.splitlines()) == ["a    | 1", "a    | 2", "b    | 3", "b    | 4", "c    | 13"]


# ---- what is left to a fork


@pytest.mark.parametrize("more", [{"cwd": "/"}, {"env": {"PATH": "/bin"}}], ids=["directory", "PATH"])
def test_what_few_commands_have_is_left_to_a_fork(attempts, more):
    assert attempts.run_with_fork(command=(SH, "-c", ":"), **more).code == 0


def test_a_launcher_with_threads_forks(tmp_path):
    module = (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    with Started(tmp_path, module) as attempts:
        assert attempts.run_with_fork(command=(SH, "-c", ":")).code == 0


def test_a_program_that_cannot_be_executed_any_more_is_reported_as_by_a_shell(attempts, tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho $1\n")
    tool.chmod(0o755)
    assert attempts.run_with_fork(command=(str(tool), "a")).log == "a\n"
    assert attempts.run_without_fork(command=(str(tool), "b")).log == "b\n"
    for words, message in (
        (("x" * 140_000,), f"mprun: {tool}: Argument list too long\n"),
        (("a\0b",), f"mprun: '{tool}': embedded null byte\n"),
    ):
        ended = attempts.run_with_fork(command=(str(tool), *words))
        assert (ended.code, ended.log) == (126, message)
    tool.write_text("echo plain $1\n")
    assert attempts.run_with_fork(command=(str(tool), "c")).log == "plain c\n"
    tool.unlink()
    ended = attempts.run_with_fork(command=(str(tool), "d"))
    assert (ended.code, ended.log) == (127, f"mprun: {tool}: No such file or directory\n")


def test_more_commands_than_there_are_guards_run_at_once(tmp_path):
    with Started(
        tmp_path, "from mprun.launcher import command_starts\ncommand_starts.MAX_GUARDS = 2\n"
    ) as attempts:
        before = attempts.forks()
        script = "until [ -e go ]; do sleep 0.01; done; echo $MPRUN_TASK"
        keys = [attempts.start(command=(SH, "-c", f"cd {tmp_path}; {script}")) for _ in range(4)]
        for key in keys:
            attempts.begun(key)
        assert attempts.forks() == before + 2
        (tmp_path / "go").touch()
        assert [attempts.end(key).log for key in keys] == [f"task{n}\n" for n in range(1, 5)]
        # They are used again.
        assert attempts.run_without_fork(command=(SH, "-c", ":")).code == 0


def with_fork(directory, module, **more):
    """A launcher in which this module has made something that only forks can have; the command's end."""
    with Started(directory, module) as attempts:
        return attempts.run_with_fork(**{"command": (SH, "-c", ":"), **more})


@pytest.mark.parametrize("error", ["NotImplementedError()", "RuntimeError()", "OSError(errno.EPERM, 'no')"])
def test_what_posix_spawn_cannot_do_is_left_to_a_fork(tmp_path, error):
    """Python may have been built for a C library that has no POSIX_SPAWN_SETSID."""
    module = f"""\
        import errno, os
        spawn = os.posix_spawn
        def posix_spawn(*args, setsid=False, **more):
            if setsid:
                raise {error}
            return spawn(*args, **more)
        os.posix_spawn = posix_spawn
    """
    assert with_fork(tmp_path, module).code == 0


def test_a_command_whose_start_raises_is_left_to_a_fork(tmp_path):
    module = """\
        import os
        spawn = os.posix_spawn
        def posix_spawn(path, *args, **more):
            if path:
                raise RuntimeError
            return spawn(path, *args, **more)
        os.posix_spawn = posix_spawn
    """
    assert with_fork(tmp_path, module).code == 0


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_launcher_without_a_standard_descriptor_forks(tmp_path, number):
    with Started(tmp_path, f"import os\nos.close({number})\n") as attempts:
        assert attempts.run_with_fork(command=(SH, "-c", "cat; exit 3")).code == 3
        # A keeper that had the launcher's end of their socket would not see the end of the launcher.
        launcher = attempts.executor.pid
        keepers = [pid for pid in procfs.children(launcher) if is_keeper(pid)]
        assert len(keepers) == 1
        assert not sockets(launcher) & sockets(keepers[0])


def is_keeper(pid):
    return Path(f"/proc/{pid}/comm").read_text() == f"{prctl.KEEPER_NAME}\n"


def sockets(pid):
    """The sockets that a process has open."""
    links = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return {link for link in links if link.startswith("socket:")}


def test_a_daemon_is_forked(attempts):
    """It would keep its guard for long."""
    assert attempts.run_with_fork(command=(SH, "-c", ":"), daemon=True).code == 0


# A directory is one that may wait for another machine (as NFS), if the launcher has this module.
REMOTE = """\
    from mprun.linux import file_systems
    parse = file_systems._parse
    file_systems._parse = lambda text: {{**parse(text), {!r}: False}}
"""


def test_a_program_on_a_file_system_of_another_machine_is_left_to_a_fork(tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    with Started(tmp_path, REMOTE.format(os.fsencode(tmp_path))) as attempts:
        for _ in range(2):
            assert attempts.run_with_fork(command=(str(tool),)).code == 0
        assert attempts.run_without_fork(command=(SH, "-c", ":")).code == 0


def test_a_program_below_a_directory_of_another_machine_is_left_to_a_fork(tmp_path, monkeypatch):
    """The directories in PATH before its own are looked at for each start."""
    remote = tmp_path / "remote"
    remote.mkdir()
    monkeypatch.setenv("PATH", f"{remote}:/usr/bin:/bin")
    with Started(tmp_path, REMOTE.format(os.fsencode(remote))) as attempts:
        for _ in range(2):
            assert attempts.run_with_fork(command=("true",)).code == 0
        assert attempts.run_without_fork(command=(SH, "-c", ":")).code == 0


def test_a_program_before_such_a_directory_is_found_without_a_look_at_it(tmp_path, monkeypatch):
    local, remote = tmp_path / "local", tmp_path / "remote"
    for directory in (local, remote):
        directory.mkdir()
        (directory / "tool").write_text(f"#!/bin/sh\necho {directory.name}\n")
        (directory / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{local}:{remote}:/usr/bin:/bin")
    with Started(tmp_path, REMOTE.format(os.fsencode(remote))) as attempts:
        assert attempts.run_with_fork(command=("tool",)).log == "local\n"
        assert attempts.run_without_fork(command=("tool",)).log == "local\n"
        (local / "tool").unlink()
        for _ in range(2):
            assert attempts.run_with_fork(command=("tool",)).log == "remote\n"


def test_a_program_is_found_in_the_path_that_a_signal_handler_has_set(tmp_path):
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name / "tool").chmod(0o755)
    module = f"""\
        import os, signal
        os.environ["PATH"] = "{tmp_path}/early:/usr/bin:/bin"
        def change(*_):
            os.environ["PATH"] = "{tmp_path}/late:/usr/bin:/bin"
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, change)
    """
    with Started(tmp_path, module) as attempts:
        assert attempts.run_with_fork(command=("tool",)).log == "early\n"
        assert attempts.run_without_fork(command=("tool",)).log == "early\n"
        os.kill(attempts.executor.pid, signal.SIGUSR1)
        eventually(lambda: _ignored(attempts.executor.pid) & 1)
        assert attempts.run_without_fork(command=("tool",)).log == "late\n"


def test_a_script_without_an_interpreter_line_is_tried_at_most_once(tmp_path):
    """It is not tried if it has none at first, and once if it loses that later."""
    module = f"""\
        import os
        spawn = os.posix_spawn
        def posix_spawn(path, *args, **more):
            with open({str(tmp_path / "spawned")!r}, "ab") as file:
                file.write(path + b"\\n" if path else b"")
            return spawn(path, *args, **more)
        os.posix_spawn = posix_spawn
    """
    plain, changed = tmp_path / "plain", tmp_path / "changed"
    plain.write_text("echo plain\n")
    changed.write_text("#!/bin/sh\n")
    for tool in (plain, changed):
        tool.chmod(0o755)
    with Started(tmp_path, module) as attempts:
        for _ in range(3):
            assert attempts.run_with_fork(command=(str(plain),)).log == "plain\n"
        assert attempts.run_with_fork(command=(str(changed),)).code == 0
        assert attempts.run_without_fork(command=(str(changed),)).code == 0
        changed.write_text("echo changed\n")
        for _ in range(3):
            assert attempts.run_with_fork(command=(str(changed),)).log == "changed\n"
    assert (tmp_path / "spawned").read_text().split() == [str(changed)] * 2


# ---- memory


def test_the_memory_of_a_command_is_not_what_the_launcher_has_had_before(tmp_path):
    size = 300_000_000
    with Started(tmp_path, f"data = bytearray(b'1') * {size}\ndel data\n") as attempts:
        assert attempts.run_without_fork(command=(SH, "-c", ":")).exited.max_rss < size / 2
        # That of the launcher is known nevertheless.
        assert attempts.executor.usage()["max_rss"] > size


def test_a_launcher_with_much_memory_of_files_forks(tmp_path):
    """A command that was not forked would have it in its peak."""
    size = 64 << 20
    module = f"""\
        import mmap
        with open({str(tmp_path / "data")!r}, "w+b") as file:
            file.truncate({size})
            data = mmap.mmap(file.fileno(), {size})
        assert sum(data[::4096]) == 0
    """
    ended = with_fork(tmp_path, module)
    assert ended.exited.max_rss < size


def test_if_the_kernel_does_not_forget_a_peak_commands_are_forked(tmp_path):
    module = """\
        import os
        really_open = os.open
        def refusing(path, *args, **more):
            if path == "/proc/self/clear_refs":
                raise PermissionError
            return really_open(path, *args, **more)
        os.open = refusing
    """
    assert with_fork(tmp_path, module).code == 0


# ---- errors, and few descriptors


def test_a_command_that_cannot_be_looked_after_does_not_run_twice(tmp_path):
    module = f"""\
        import os
        from mprun.linux import pipe_close
        ran = {str(tmp_path / "ran")!r}
        def aim(descriptor, pid):
            # The shell makes the file before it writes: what has a size was written by one `echo`.
            while not (os.path.exists(ran) and os.stat(ran).st_size):
                pass
            raise ProcessLookupError(3, "No such process")
        pipe_close.aim = aim
    """
    with Started(tmp_path, module) as attempts:
        script = f"echo $$ >> {tmp_path / 'ran'}; exec sleep 1000"
        key = attempts.start(command=(SH, "-c", script))
        assert isinstance(attempts.answer(key), NotStarted)
        (pid,) = (tmp_path / "ran").read_text().split()
        assert not alive(int(pid))


@pytest.mark.parametrize("refused", ["EINVAL", "EPERM"])
def test_guards_that_the_kernel_refuses_are_not_made_for_each_command(tmp_path, refused):
    module = f"""\
        import errno
        from mprun.linux import pipe_close
        def arm(descriptor):
            raise OSError(errno.{refused}, "refused")
        pipe_close.arm = arm
    """
    # The smallest of some counts: at first the launcher may still have the output of the command open.
    script = "for n in 1 2 3 4 5 6 7 8 9 10; do ls /proc/$PPID/fd | wc -l; done | sort -n | head -n 1"
    with Started(tmp_path, module) as attempts:
        first, second, third = (attempts.run_with_fork(command=(SH, "-c", script)).log for _ in range(3))
        assert first == second == third


def test_what_cannot_start_commands_is_not_made_for_each(tmp_path):
    module = f"""\
        import os
        listdir = os.listdir
        def refusing(path, *more):
            if path == "/proc/self/fd":
                with open({str(tmp_path / "tried")!r}, "a") as file:
                    file.write(".")
                raise PermissionError
            return listdir(path, *more)
        os.listdir = refusing
    """
    with Started(tmp_path, module) as attempts:
        for _ in range(3):
            assert attempts.run_with_fork(command=(SH, "-c", ":")).code == 0
    assert (tmp_path / "tried").read_text() == "."


@pytest.mark.parametrize(("state", "is_free"), [({}, 0), ({"returncode": 0}, 1), ({"exit_unknown": True}, 1)])
def test_the_guard_of_a_process_that_may_be_alive_is_not_used_again(state, is_free):
    guards = []
    command = StartedCommand(1, None, guards)
    for name, value in state.items():
        setattr(command, name, value)
    command.close()
    assert len(guards) == is_free


def test_guards_are_only_made_while_descriptors_are_plenty(tmp_path):
    module = """\
        import os, resource
        # Guards may have the lower half of all numbers. These are for some of twelve commands, whatever the
        # process that runs the tests has open: none of the lower ones is left.
        highest = max(60, *map(int, os.listdir("/proc/self/fd")))
        while os.open("/dev/null", os.O_RDONLY) < highest:
            pass
        limits = (2 * (highest + 15), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    """
    with Started(tmp_path, module) as attempts:
        before = attempts.forks()
        keys = [attempts.start(command=(SH, "-c", "exec sleep 1000")) for _ in range(12)]
        for key in keys:
            attempts.begun(key)
        assert 0 < attempts.forks() - before < 12


def test_spare_guards_are_closed_when_there_is_no_descriptor(tmp_path):
    module = """\
        import errno
        from mprun.launcher import output_pipes
        make = output_pipes.OutputPipes._make
        def make_or_fail(self):
            if self._starts is not None and self._starts._guards:
                raise OSError(errno.EMFILE, "no descriptor")
            return make(self)
        output_pipes.OutputPipes._make = make_or_fail
    """
    with Started(tmp_path, module) as attempts:
        assert attempts.run_without_fork(command=(SH, "-c", ":")).code == 0
        keys = [attempts.start(command=(SH, "-c", "exec sleep 1000")) for _ in range(3)]
        for key in keys:
            attempts.begun(key)


def test_what_an_orphan_needs_is_imported_before_descriptors_are_few(tmp_path):
    """A launcher that cannot import it would end."""
    names = ["mprun.launcher.orphan_owners", "mprun.launcher.process_identity"]
    module = f"import sys\ndef loaded():\n    return [name for name in {names} if name in sys.modules]\n"
    with Started(tmp_path, module, targets=[("extra:loaded", ())]) as attempts:
        assert attempts.run(target="extra:loaded").result == names


# ---- what a module changes later


def test_a_command_has_what_a_signal_handler_has_changed(tmp_path):
    module = """\
        import os, signal
        os.environ["EARLY"] = "1"
        def change(*_):
            os.environ["LATE"] = "2"
            del os.environ["EARLY"]
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, change)
    """
    with Started(tmp_path, module) as attempts:
        script = "echo $EARLY $LATE; grep ^SigIgn /proc/self/status"
        assert attempts.run_without_fork(command=(SH, "-c", script)).log.split()[0] == "1"
        os.kill(attempts.executor.pid, signal.SIGUSR1)
        eventually(lambda: _ignored(attempts.executor.pid) & 1)
        late, _, ignored = attempts.run_without_fork(command=(SH, "-c", script)).log.split()
        assert late == "2"
        assert not int(ignored, 16) & 1


def _ignored(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(file.read().partition("SigIgn:")[2].split()[0], 16)


# ---- whose a process is


def test_all_that_descends_from_a_command_has_the_pid_of_its_process_in_its_tag(attempts, tmp_path):
    key = attempts.start(command=(SH, "-c", SILENT.format(tmp_path / "pid")))
    pid = pid_in(tmp_path / "pid")
    assert attempts.begun(key).pid == pid
    assert run_tags.task_of(pid) == pid
    # That of the launcher is as before.
    assert run_tags.run_of(attempts.executor.pid) == run_tags.run_of(pid)
    assert run_tags.task_of(attempts.executor.pid) == 0


def test_what_a_command_starts_before_its_pid_is_known_lives_as_long_as_it(tmp_path):
    """It has neither the session nor the variables of its task."""
    module = """\
        from mprun.linux import starting_tags
        set_tag = starting_tags.set_tag
        starting_tags.set_tag = lambda pid, tag: not pid and set_tag(pid, tag)
    """
    with Started(tmp_path, module) as attempts:
        own, go = tmp_path / "pid", tmp_path / "go"
        script = f"(env -i setsid {SH} -c '{SILENT.format(own)}' &); until [ -e {go} ]; do sleep 0.01; done"
        key = attempts.start(command=(SH, "-c", script))
        pid = pid_in(own)
        # It is looked at when another command ends.
        assert attempts.run_without_fork(command=(SH, "-c", ":")).exited.orphans == ()
        assert alive(pid)
        other = attempts.start(command=(SH, "-c", "exec sleep 1000"))
        attempts.begun(other)
        go.touch()
        ended = attempts.end(key)
        assert (ended.code, list(ended.exited.orphans)) == (0, [pid])
        assert not alive(pid)
        assert alive(attempts.begun(other).pid)


# ---- a launcher that is killed


# Makes a guard for a process, of which a fork may have the last copies.
GUARDED = """if True:
    import os, signal
    from mprun.launcher import fork
    from mprun.launcher.command_guard import Guard
    guard = Guard(0)
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    guard.watch(pid)
    ends = guard._ends
    assert fork.private_descriptors == {*ends}
"""


@pytest.mark.parametrize("first", [0, 1], ids=["read end", "write end"])
@pytest.mark.parametrize("is_shared", [False, True], ids=["alone", "shared"])
def test_whichever_end_of_a_guard_is_closed_first_its_process_is_killed(first, is_shared):
    """Several processes may have them, and the kernel promises no order in which it closes those of one."""
    code = f"""{GUARDED}
    if {is_shared}:
        # Another one has both still, and has closed one of them already when this one closes that.
        go, gone = os.pipe(), os.pipe()
        if os.fork() == 0:
            os.close(ends[{first}])
            os.close(gone[1])
            # Until the first one ends.
            os.close(go[1])
            os.read(go[0], 1)
            os._exit(0)
        os.close(gone[1])
        os.read(gone[0], 1)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.close(ends[{first}])
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT)


def test_a_closed_guard_does_not_kill_its_process_even_if_a_fork_has_a_copy():
    code = f"""{GUARDED}
    go = os.pipe()
    if os.fork() == 0:
        os.close(go[1])
        os.read(go[0], 1)
        os._exit(0)
    guard.close()
    os.close(go[1])
    os.close(go[0])
    os.wait()
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.kill(pid, signal.SIGTERM)
    assert os.waitpid(pid, 0) == (pid, signal.SIGTERM)
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT)


def test_a_fork_that_closes_the_last_ends_of_a_guard_has_its_process_killed(tmp_path):
    """The launcher is killed before its fork has closed its copies."""
    code = f"""{GUARDED}
    launcher = os.getpid()
    def wait_for_its_end():
        while os.getppid() == launcher:
            pass
    os.register_at_fork(after_in_child=wait_for_its_end)
    fork.keep_descriptors_private()
    with open({str(tmp_path / "pid")!r}, "w") as file:
        file.write(str(pid))
    if os.fork() == 0:
        os._exit(0)
    os.kill(launcher, signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=TIMEOUT)
    assert ended.returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    try:
        eventually(lambda: not alive(pid))
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_a_process_that_cannot_be_killed_is_not_waited_for_and_its_guard_is_used_again(monkeypatch, error):
    """Such as a program with the rights of another user."""
    guards = []
    process = subprocess.Popen(["sleep", "1000"])
    command = StartedCommand(process.pid, None, guards)

    def refuse(group, number):
        raise error

    monkeypatch.setattr(os, "killpg", refuse)
    try:
        command.discard()
        assert process.poll() is None
        assert guards == [None]
    finally:
        process.kill()
        process.wait()


def keeper_of(launcher):
    (keeper,) = [pid for pid in procfs.children(launcher) if procfs.read_name(pid) == "mprun-output"]
    return keeper


def test_a_keeper_gets_the_pipes_for_which_its_socket_had_no_room(tmp_path):
    """Else what they hold is lost if the launcher is killed."""
    module = """\
        import _socket
        from mprun.launcher import output_keeper
        def socketpair(*kind):
            ends = _socket.socketpair(*kind)
            # The smallest buffer that there is.
            ends[0].setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 0)
            return ends
        output_keeper.socketpair = socketpair
    """
    count = 20
    with Started(tmp_path, module) as attempts:
        keeper = keeper_of(attempts.executor.pid)
        os.kill(keeper, signal.SIGSTOP)
        keys = [attempts.start(command=(SH, "-c", "exec sleep 1000")) for _ in range(count)]
        for key in keys:
            attempts.begun(key)
        os.kill(keeper, signal.SIGCONT)
        eventually(lambda: len(pipes_of(keeper)) == count)


def pipes_of(pid):
    """The pipes that a process has open."""
    directory = f"/proc/{pid}/fd"
    links = (os.readlink(os.path.join(directory, name)) for name in os.listdir(directory))
    return {link for link in links if link.startswith("pipe:")}


def test_commands_die_with_the_launcher_and_need_no_other_process_for_that(attempts, tmp_path):
    keys = [attempts.start(command=(SH, "-c", SILENT.format(tmp_path / f"pid{n}"))) for n in range(3)]
    pids = [pid_in(tmp_path / f"pid{n}") for n in range(3)]
    assert pids == [attempts.begun(key).pid for key in keys]
    # One that has had a guard before.
    assert attempts.run_without_fork(command=(SH, "-c", ":")).code == 0
    keys.append(attempts.start(command=(SH, "-c", SILENT.format(tmp_path / "again"))))
    pids.append(pid_in(tmp_path / "again"))
    assert attempts.begun(keys[-1]).pid == pids[-1]
    launcher = attempts.executor.pid
    keeper = keeper_of(launcher)
    os.kill(keeper, signal.SIGSTOP)
    try:
        os.kill(launcher, signal.SIGKILL)
        eventually(lambda: not any(map(alive, pids)))
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_a_command_dies_with_a_launcher_that_was_about_to_watch_it(tmp_path, monkeypatch):
    # The keeper and the first command are forks; only the second of these passes the failpoint.
    monkeypatch.setenv("MPRUN_FAILPOINTS", "launcher.forked=kill:2")
    with Started(tmp_path) as attempts:
        monkeypatch.delenv("MPRUN_FAILPOINTS")
        launcher = attempts.executor.pid
        attempts.start(command=(SH, "-c", SILENT.format(tmp_path / "pid")))
        eventually(lambda: not alive(launcher))
        eventually(lambda: not _runs(tmp_path / "pid"))


def test_the_output_is_drained_even_if_the_keeper_cannot_look_for_what_was_starting(tmp_path):
    module = """\
        from mprun.launcher import output_keeper
        def gone():
            raise ModuleNotFoundError("mprun.linux.starting_tags")
        output_keeper._kill_starting = gone
    """
    with Started(tmp_path, module) as attempts:
        key = attempts.start(command=(SH, "-c", "echo line; kill -9 $PPID; sleep 1000"))
        eventually(lambda: not alive(attempts.executor.pid))
        eventually(lambda: attempts.log(key).exists() and attempts.log(key).read_text() == "line\n")


def _runs(path):
    """Whether the process runs that writes its pid to this file, before it does or after that."""
    writes = any(str(path).encode() in _command_line(pid) for pid in procfs.processes())
    return writes or (path.exists() and alive(int(path.read_text())))


def _command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_commands_in_a_chain_run_one_after_the_other(tmp_path):
    tasks = [{"name": f"t{n}", "command": f"echo {n} >> ran"} for n in range(30)]
    for before, task in itertools.pairwise(tasks):
        task["depends_on"] = before["name"]
    (tmp_path / "job.json").write_text(json.dumps({"tasks": tasks}))
    assert mprun("job.json", cwd=tmp_path).code == 0
    assert (tmp_path / "ran").read_text().split() == [str(n) for n in range(30)]
