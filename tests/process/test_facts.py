"""Facts about CPython and the kernel on which mprun relies: if one changes, mprun breaks."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="facts about Linux")

HEAD = """\
import ctypes, os, select, signal, sys, threading, time

SUBREAPER, DEATH_SIGNAL = 36, 1
prctl = ctypes.CDLL(None).prctl

def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(pid) for pid in file.read().split()]

def fork(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    return pid

def until(fact):
    end = time.monotonic() + 10
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.002)

def is_zombie(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
"""


def python(script):
    """Run a script in a new Python; it must print `ok`."""
    code = HEAD + textwrap.dedent(script) + "\nprint('ok')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.stdout.endswith("ok\n"), done.stderr


def test_the_links_of_a_processs_task_directory_count_its_threads():
    python("""
        count = lambda: os.stat("/proc/self/task").st_nlink - 2
        assert count() == 1
        stop = threading.Event()
        threads = [threading.Thread(target=stop.wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert count() == 4
        stop.set()
        for thread in threads:
            thread.join()
        until(lambda: count() == 1)
    """)


def test_a_pidfd_is_readable_when_the_process_has_ended_and_is_not_reaped():
    python("""
        reader, writer = os.pipe()
        pid = fork(lambda: os.read(reader, 1))
        poll = select.poll()
        poll.register(os.pidfd_open(pid), select.POLLIN)
        assert not poll.poll(0)
        os.write(writer, b"x")
        assert poll.poll(10_000)
        assert is_zombie(pid) and os.waitpid(pid, 0) == (pid, 0)
    """)


def test_waitid_reports_a_stop_once_and_still_reports_the_end():
    python("""
        stopped = lambda: os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
        pid = fork(signal.pause)
        assert stopped() is None
        os.kill(pid, signal.SIGSTOP)
        until(stopped)
        assert stopped() is None
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)
        # A stopped process handles only SIGKILL and SIGCONT.
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        os.kill(pid, signal.SIGCONT)
        until(lambda: is_zombie(pid))
        try:
            stopped()
        except ChildProcessError:
            pass
        assert os.waitpid(pid, 0) == (pid, signal.SIGTERM)
    """)


def test_a_parent_waits_in_state_d_until_its_vfork_child_is_a_program_and_then_stops():
    python("""
        import tempfile

        def state(pid):
            return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]

        with tempfile.TemporaryDirectory() as directory:
            os.mkfifo(directory + "/gate")

            def start():
                # The child opens the FIFO before it executes the program, and waits there for a writer.
                wait = [(os.POSIX_SPAWN_OPEN, 0, directory + "/gate", os.O_RDONLY, 0)]
                os.waitpid(os.posix_spawn("/bin/true", ["true"], {}, file_actions=wait), 0)

            pid = fork(start)
            until(lambda: state(pid) == "D")
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.05)
            assert state(pid) == "D"
            with open(directory + "/gate", "w"):
                until(lambda: state(pid) == "T")
            os.kill(pid, signal.SIGCONT)
            assert os.waitpid(pid, 0) == (pid, 0)
    """)


def test_the_parent_death_signal_reaches_a_stopped_process():
    python("""
        reader, writer = os.pipe()

        def suspend_self():
            prctl(DEATH_SIGNAL, signal.SIGCONT, 0, 0, 0)
            os.setsid()
            os.kill(os.getpid(), signal.SIGSTOP)
            os.write(writer, b"went on")

        middle = fork(lambda: (fork(suspend_self), signal.pause()))
        until(lambda: (found := open(f"/proc/{middle}/task/{middle}/children").read().split())
              and open(f"/proc/{found[0]}/stat").read().rpartition(")")[2].split()[0] == "T")
        os.kill(middle, signal.SIGKILL)
        assert os.read(reader, 10) == b"went on"
    """)


def test_with_sigchld_ignored_a_child_leaves_no_exit_status():
    python("""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            os.waitpid(fork(lambda: os._exit(3)), 0)
        except ChildProcessError:
            pass
        else:
            raise AssertionError("it was reported")
    """)


def test_ignored_and_blocked_signals_are_inherited_by_a_new_program():
    python("""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        import subprocess
        script = (
            "import signal; assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN;"
            "assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR1}"
        )
        subprocess.run([sys.executable, "-c", script], check=True)
    """)


def test_an_orphan_is_a_child_of_the_subreaper_before_the_end_of_its_parent_is_seen():
    python("""
        prctl(SUBREAPER, 1, 0, 0, 0)
        for _ in range(20):
            reader, writer = os.pipe()

            def leave_an_orphan():
                os.write(writer, str(fork(signal.pause)).encode().ljust(10))

            pid = fork(leave_an_orphan)
            orphan = int(os.read(reader, 10))
            pidfd = os.pidfd_open(pid)
            select.select([pidfd], [], [])
            assert sorted(children()) == sorted([pid, orphan])
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)
            os.waitpid(pid, 0)
    """)


def test_being_a_subreaper_is_not_inherited():
    python("""
        prctl(SUBREAPER, 1, 0, 0, 0)
        reader, writer = os.pipe()

        def child():
            middle = fork(lambda: os.write(writer, str(fork(signal.pause)).encode().ljust(10)))
            os.waitpid(middle, 0)
            signal.pause()

        pid = fork(child)
        orphan = int(os.read(reader, 10))
        until(lambda: orphan in children())
        os.kill(orphan, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    """)


def test_the_parent_death_signal_comes_when_the_thread_that_forked_ends():
    python("""
        reader, writer = os.pipe()

        def fork_and_end():
            def child():
                prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
                os.write(writer, b"x")
                signal.pause()
            pids.append(fork(child))
            os.read(reader, 1)

        pids = []
        thread = threading.Thread(target=fork_and_end)
        thread.start()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == -signal.SIGKILL
    """)


def test_the_parent_death_signal_is_not_inherited():
    python("""
        prctl(SUBREAPER, 1, 0, 0, 0)
        reader, writer = os.pipe()

        def child():
            prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            os.write(writer, str(fork(signal.pause)).encode().ljust(10))
            signal.pause()

        pid = fork(lambda: (fork(child), signal.pause()))
        grandchild = int(os.read(reader, 10))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        until(lambda: grandchild in children())
        assert not is_zombie(grandchild)
        os.kill(grandchild, signal.SIGKILL)
    """)


def test_the_parent_death_signal_and_being_a_subreaper_survive_an_exec():
    python("""
        reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        script = (
            "import ctypes, os, signal, sys;"
            "prctl = ctypes.CDLL(None).prctl; found = ctypes.c_int();"
            "prctl(37, ctypes.byref(found)); subreaper = found.value;"
            "prctl(2, ctypes.byref(found));"
            f"os.write({writer}, b'%d %d' % (subreaper, found.value))"
        )

        def become():
            prctl(SUBREAPER, 1, 0, 0, 0)
            prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            os.execv(sys.executable, [sys.executable, "-c", script])

        pid = fork(become)
        assert os.waitpid(pid, 0) == (pid, 0)
        assert os.read(reader, 100) == b"1 9"
    """)


def test_appends_of_several_processes_to_one_file_are_kept_whole():
    python("""
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            path = directory + "/log"

            def append():
                file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                for _ in range(500):
                    os.write(file, b"x" * 99 + b"\\n")

            for pid in [fork(append) for _ in range(4)]:
                os.waitpid(pid, 0)
            lines = open(path, "rb").read().splitlines()
            assert len(lines) == 2000 and set(lines) == {b"x" * 99}, len(lines)
    """)


def test_multiprocessing_shows_an_exit_code_of_256_as_0():
    python("""
        import multiprocessing

        process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(256,))
        process.start()
        process.join()
        assert process.exitcode == 0
    """)


def test_a_daemon_of_multiprocessing_outlives_a_main_process_that_was_killed():
    python("""
        import multiprocessing

        prctl(SUBREAPER, 1, 0, 0, 0)
        reader, writer = os.pipe()

        def main():
            process = multiprocessing.get_context("fork").Process(target=signal.pause, daemon=True)
            process.start()
            os.write(writer, str(process.pid).encode().ljust(10))
            signal.pause()

        pid = fork(main)
        daemon = int(os.read(reader, 10))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert daemon in children() and not is_zombie(daemon)
        os.kill(daemon, signal.SIGKILL)
    """)


def test_a_process_begins_in_the_tick_that_the_clock_shows_around_its_fork():
    python("""
        from mprun.linux import procfs

        for _ in range(200):
            before = procfs.boot_ticks()
            pid = fork(lambda: None)
            after = procfs.boot_ticks()
            stat = procfs.read_stat(pid)
            os.waitpid(pid, 0)
            assert before <= stat.start_ticks <= after
        """)


def test_a_record_lock_is_released_when_any_descriptor_of_the_file_is_closed_and_is_not_inherited():
    python("""
        import fcntl, struct, tempfile

        def holder(path):
            with open(path, "rb") as file:
                kind = struct.pack("hhqqi0q", fcntl.F_WRLCK, 0, 0, 0, 0)
                answer = struct.unpack("hhqqi0q", fcntl.fcntl(file, fcntl.F_GETLK, kind))
            return None if answer[0] == fcntl.F_UNLCK else answer[4]

        def seen_by_a_child(path):
            reader, writer = os.pipe()
            os.waitpid(fork(lambda: os.write(writer, str(holder(path)).encode())), 0)
            return os.read(reader, 100).decode()

        with tempfile.NamedTemporaryFile() as locked:
            fcntl.lockf(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The child does not have the lock, and closing its descriptors does not release it.
            assert seen_by_a_child(locked.name) == str(os.getpid())
            assert seen_by_a_child(locked.name) == str(os.getpid())
            # A process does not see its own lock; asking opens and closes the file, which releases the lock.
            assert holder(locked.name) is None
            assert seen_by_a_child(locked.name) == "None"
    """)


def test_a_fork_shows_the_environment_of_the_program_that_it_copies():
    python("""
        os.environ["SET_LATER"] = "x"
        reader, writer = os.pipe()

        def look():
            # A child program with an environment, and a fork of it.
            found = b"SET_LATER=x" in open("/proc/self/environ", "rb").read()
            os.write(writer, b"1" if found else b"0")

        os.waitpid(fork(look), 0)
        assert os.read(reader, 1) == b"0"
        import subprocess
        script = (
            "import os, sys; os.fork() or os._exit("
            "b'SET_LATER=x' not in open('/proc/self/environ', 'rb').read());"
            "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))"
        )
        subprocess.run([sys.executable, "-c", script], check=True)
    """)


def test_a_new_subreaper_gets_the_orphans_of_existing_descendants():
    python("""
        reader, writer = os.pipe()

        def have(descendants):
            if descendants:
                pid = fork(lambda: have(descendants - 1))
                os.write(writer, f"{descendants} {pid}".encode().ljust(20))
            signal.pause()

        parent = fork(lambda: have(2))
        received = dict(os.read(reader, 20).split() for _ in range(2))
        child, grandchild = int(received[b"2"]), int(received[b"1"])
        prctl(SUBREAPER, 1, 0, 0, 0)
        for pid, orphan in ((parent, child), (child, grandchild)):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            assert children() == [orphan]
        os.kill(grandchild, signal.SIGKILL)
    """)


def test_unshare_of_a_thread_shows_whether_there_are_others():
    python("""
        CLONE_THREAD = 0x10000
        libc = ctypes.CDLL(None)
        if libc.unshare(CLONE_THREAD) == 0:
            stop = threading.Event()
            thread = threading.Thread(target=stop.wait)
            thread.start()
            assert libc.unshare(CLONE_THREAD) == -1
            stop.set()
            thread.join()
            until(lambda: os.stat("/proc/self/task").st_nlink - 2 == 1)
            assert libc.unshare(CLONE_THREAD) == 0
        # Else a sandbox forbids the call, and mprun looks at /proc.
    """)


def test_putenv_sets_the_environment_of_an_executed_program():
    python("""
        import _ctypes, subprocess
        putenv = _ctypes.dlsym(_ctypes.dlopen(None, 0), "putenv")
        kept = [b"A_NAME=first", b"A_NAME=" + b"second"]
        for entry in kept:
            assert _ctypes.call_function(putenv, (entry,)) == 0
        assert subprocess.run(["env"], capture_output=True).stdout.count(b"A_NAME=second") == 1
        os.putenv("A_NAME", "third")
        assert b"A_NAME=third" in subprocess.run(["env"], capture_output=True).stdout
        os.unsetenv("A_NAME")
        assert b"A_NAME" not in subprocess.run(["env"], capture_output=True).stdout
        assert kept == [b"A_NAME=first", b"A_NAME=second"]
    """)


def test_the_environment_that_proc_shows_is_memory_that_the_process_may_overwrite():
    python("""
        fields = open("/proc/self/stat", "rb").read().rpartition(b")")[2].split()
        start, end = int(fields[47]), int(fields[48])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            assert memory.read(end - start) == open("/proc/self/environ", "rb").read()
            memory.seek(start)
            memory.write(b"OVER=written\\0".ljust(end - start, b"\\0"))
        assert open("/proc/self/environ", "rb").read().startswith(b"OVER=written\\0")
        reader, writer = os.pipe()
        os.waitpid(fork(lambda: os.write(writer, open("/proc/self/environ", "rb").read(12))), 0)
        assert os.read(reader, 12) == b"OVER=written"
    """)


def test_putenv_gives_c_a_copy_and_leaves_the_memory_of_the_first_environment_alone():
    python("""
        import subprocess
        fields = open("/proc/self/stat", "rb").read().rpartition(b")")[2].split()
        start, end = int(fields[47]), int(fields[48])
        for name, value in os.environb.items():
            os.putenv(name, value)
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(bytes(end - start))
        shown = subprocess.run(["env"], capture_output=True, env=None).stdout
        assert all(name + b"=" + value in shown for name, value in os.environb.items())
    """)


def test_a_fork_hook_runs_the_code_that_it_has_at_the_time():
    python("""
        seen = []
        def hook(): seen.append("first")
        def other(): seen.append("other")
        os.register_at_fork(after_in_child=hook)
        hook.__code__ = other.__code__
        reader, writer = os.pipe()
        os.waitpid(fork(lambda: os.write(writer, seen[0].encode())), 0)
        assert os.read(reader, 10) == b"other"
    """)


def test_threading_is_correct_after_a_fork_of_one_thread_without_its_hook():
    python("""
        def nothing(): pass
        threading._after_fork.__code__ = nothing.__code__
        reader, writer = os.pipe()

        def look():
            main = threading.main_thread()
            assert threading.enumerate() == [main] and threading.current_thread() is main
            assert main.ident == threading.get_ident() and main.is_alive() and threading.active_count() == 1
            done = []
            thread = threading.Thread(target=lambda: done.append(threading.active_count()))
            thread.start()
            thread.join()
            assert done == [2] and threading.enumerate() == [main]
            os.write(writer, b"x")

        os.waitpid(fork(look), 0)
        os.set_blocking(reader, False)
        assert os.read(reader, 1) == b"x"
    """)


def test_atexit_counts_and_clears_its_handlers():
    python("""
        import atexit
        before = atexit._ncallbacks()
        atexit.register(print, "not printed")
        assert atexit._ncallbacks() == before + 1
        atexit._clear()
        assert atexit._ncallbacks() == 0
        atexit._run_exitfuncs()
    """)


def test_the_variables_of_os_environ_are_kept_in_one_dictionary_of_bytes():
    python("""
        os.environ["A_NAME"] = "text"
        assert os.environb._data is os.environ._data and os.environ._data[b"A_NAME"] == b"text"
        os.environb._data[b"ANOTHER"] = b"x"
        assert os.environ["ANOTHER"] == "x"
    """)


def test_the_kernel_kills_the_owner_of_a_pipes_end_when_the_other_end_is_closed_and_not_before():
    python("""
        import fcntl
        ours, theirs = os.pipe()
        child = fork(lambda: (os.close(ours), time.sleep(60)))
        fcntl.fcntl(theirs, fcntl.F_SETOWN, child)
        fcntl.fcntl(theirs, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(theirs, fcntl.F_SETFL, fcntl.fcntl(theirs, fcntl.F_GETFL) | os.O_ASYNC)
        # The setting belongs to the pipe's end, not to this descriptor.
        os.close(theirs)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        copy = os.dup(ours)
        os.close(ours)
        time.sleep(0.1)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        os.close(copy)
        assert os.waitpid(child, 0) == (child, signal.SIGKILL)
    """)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing_has_the_private_names_that_the_launcher_uses(method):
    python(f"""
        import multiprocessing
        from multiprocessing import forkserver, popen_forkserver, popen_spawn_posix, resource_tracker
        method = {method!r}
        sys.modules["__main__"] = type(sys)("__main__")
        popen = {{"spawn": popen_spawn_posix, "forkserver": popen_forkserver}}[method].Popen
        process = multiprocessing.get_context(method).Process(target=time.sleep, args=(10,))
        held = popen(process)
        assert callable(popen._launch) and held.finalizer.still_active()
        pipes = held.finalizer._args
        assert held.sentinel in pipes and len(pipes) == 2
        assert all(os.readlink(f"/proc/self/fd/{{pipe}}").startswith("pipe:") for pipe in pipes)
        helpers = {{resource_tracker._resource_tracker._pid}}
        if method == "forkserver":
            helpers.add(forkserver._forkserver._forkserver_pid)
            stat = open(f"/proc/{{held.pid}}/stat").read().rpartition(")")[2].split()
            assert int(stat[1]) == forkserver._forkserver._forkserver_pid
            assert os.path.isdir(multiprocessing.current_process()._config["tempdir"])
        assert helpers == set(children()) - {{held.pid}}
        os.kill(held.pid, signal.SIGKILL)
        select.select([held.sentinel], [], [], 10)
        assert held.wait() == -signal.SIGKILL
    """)


def test_a_fork_server_sends_the_pid_of_a_process_that_still_waits_for_its_data():
    python("""
        import io, multiprocessing
        from multiprocessing import context, forkserver, reduction
        from multiprocessing import spawn as spawning
        sys.modules["__main__"] = type(sys)("__main__")
        process = multiprocessing.get_context("forkserver").Process(target=os.getpid)
        data = io.BytesIO()
        context.set_spawning_popen(object())
        try:
            reduction.dump(spawning.get_preparation_data(process.name), data)
            reduction.dump(process, data)
        finally:
            context.set_spawning_popen(None)
        sentinel, writer = forkserver.connect_to_new_process([])
        pid = forkserver.read_signed(sentinel)
        assert not select.select([sentinel], [], [], 0.2)[0]
        stat = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        assert int(stat[1]) == forkserver._forkserver._forkserver_pid
        os.write(writer, data.getbuffer())
        os.close(writer)
        assert forkserver.read_signed(sentinel) == 0
    """)


def test_the_version_of_python_is_the_first_word_of_what_it_says_of_itself():
    """So `mprun.record.unchanged` does not import `platform`."""
    python("""
        import platform
        assert sys.version.partition(" ")[0] == platform.python_version()
    """)
