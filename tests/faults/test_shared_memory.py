"""C18: what a task leaves in shared memory is removed, by multiprocessing's own resource tracker.

The tracker outlives its task for a moment, and must not be killed as an orphan.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.runs import START_METHODS, mprun, side_by_side, survivors, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /dev/shm")
every_start_method = pytest.mark.parametrize("method", START_METHODS)

WORK = """\
    import multiprocessing, os, signal, subprocess, sys, time
    from multiprocessing.managers import SharedMemoryManager
    from multiprocessing.shared_memory import SharedMemory
    from pathlib import Path

    def note(*names):
        # Absolute: a task may have another working directory.
        with open("names", "a") as file:
            file.writelines(f"{name.lstrip('/')}\\n" for name in names)

    def make():
        made = SharedMemory(create=True, size=4096)
        note(made.name)
        return made

    def returns():
        make()

    def raises():
        made = make()
        raise ValueError(made.name)

    def exits():
        make()
        sys.exit(3)

    def leaves():
        make()
        os._exit(4)

    def is_killed():
        make()
        os.kill(os.getpid(), signal.SIGKILL)

    def kills_its_group():
        make()
        os.kill(0, signal.SIGTERM)
        time.sleep(60)

    def times_out():
        make()
        time.sleep(60)

    def ignores_the_stop_signal():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        make()
        time.sleep(60)

    def has_a_hidden_child():
        made = make()
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)

    def child_of(method):
        context = multiprocessing.get_context(method)
        lock = context.Lock()
        note(f"sem.{lock._semlock.name.lstrip('/')}")
        child = context.Process(target=use_and_die, args=(lock,))
        child.start()
        child.join()

    def use_and_die(lock):
        with lock:
            make()
            os.kill(os.getpid(), signal.SIGKILL)

    def has_a_spawned_child():
        child_of("spawn")

    def has_a_pool():
        context = multiprocessing.get_context("spawn")
        pool = context.Pool(1)
        pool.apply(make_and_keep)
        os.kill(os.getpid(), signal.SIGKILL)

    kept = []

    def make_and_keep():
        kept.append(make())

    def has_a_manager():
        manager = SharedMemoryManager()
        manager.start()
        note(manager.SharedMemory(4096).name)
        os.kill(os.getpid(), signal.SIGKILL)

    def has_a_program():
        code = "from work import make; import time; made = make(); print(flush=True); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        child.stdout.readline()

    def see_gone():
        names = Path("names").read_text().split()
        end = time.monotonic() + 20
        while any(Path("/dev/shm", name).exists() for name in names):
            assert time.monotonic() < end, names
            time.sleep(0.01)
        return len(names)
"""
# A new Python may take its time to come to the target.
SHORT = {
    method: f"timeout: {timeout}, stop: {{grace: 300ms}}"
    for method, timeout in {"fork": "1500ms", "forkserver": "3s", "spawn": "5s"}.items()
}
# By task: more keys, whether it leaves orphans (None: they may end before they are found), and how many
# names it notes.
WAYS = {
    "returns": ({}, False, 1),
    "raises": ({}, False, 1),
    "exits": ({}, False, 1),
    "leaves": ({}, False, 1),
    "is_killed": ({}, False, 1),
    "kills_its_group": ({}, False, 1),
    "times_out": (SHORT, False, 1),
    "ignores_the_stop_signal": (SHORT, False, 1),
    "has_a_hidden_child": ({}, True, 1),
    "has_a_spawned_child": ({}, False, 2),
    "has_a_pool": ({}, None, 1),
    "has_a_manager": ({}, None, 1),
    "has_a_program": ({}, True, 1),
}


def left(directory):
    """The names that tasks noted and that are still in shared memory, and how many they noted."""
    names = (directory / "names").read_text().split()
    return [name for name in names if Path("/dev/shm", name).exists()], len(names)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_task_leaves_in_shared_memory_is_removed(tmp_path, way):
    """The start methods run side by side, because some ways wait for a timeout."""
    keys, has_orphans, count = WAYS[way]

    def go(method):
        directory = tmp_path / method
        directory.mkdir()
        write(directory, work=WORK)
        job = f"tasks: [{{name: it, target: 'work:{way}', {keys.get(method, '')}}}]\n"
        (directory / "job.yaml").write_text(job)
        run = mprun("--start-method", method, "job.yaml", cwd=directory)
        assert (method, left(directory)) == (method, ([], count))
        orphans = run.one("task_exited", "it")["orphans"]
        assert has_orphans is None or (method, bool(orphans)) == (method, has_orphans)
        assert not survivors(run.events)

    side_by_side(go, START_METHODS)


@pytest.mark.parametrize(
    "way", ["returns", "is_killed", "ignores_the_stop_signal", "has_a_pool", "has_a_program"]
)
def test_a_fork_has_a_tracker_of_its_own_which_ends_with_the_task(tmp_path, way):
    write(tmp_path, work=WORK)
    keys, _, count = WAYS[way]
    (tmp_path / "job.yaml").write_text(
        f"tasks:\n  - {{name: it, target: 'work:{way}', allow_failure: true, {keys.get('fork', '')}}}\n"
        "  - {name: later, target: 'work:see_gone', depends_on: {it: finished}}\n"
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.result("later") == count


def test_two_tasks_that_end_together_each_leave_their_tracker_alone(tmp_path):
    write(tmp_path, work=WORK)
    tasks = "".join(f"  - {{name: t{n}, target: 'work:is_killed'}}\n" for n in range(12))
    (tmp_path / "job.yaml").write_text(f"tasks:\n{tasks}")
    run = mprun("-j", 12, "job.yaml", cwd=tmp_path)
    assert left(tmp_path) == ([], 12)
    assert not any(event["orphans"] for event in run.of("task_exited"))


@every_start_method
def test_shared_memory_of_a_module_is_shared_by_the_tasks_and_removed_with_the_job(tmp_path, method):
    write(
        tmp_path,
        work="""\
            import multiprocessing
            from multiprocessing.shared_memory import SharedMemory

            if multiprocessing.parent_process() is None:
                board = SharedMemory(create=True, size=16)
                with open("names", "a") as file:
                    file.write(f"{board.name}\\n")

            def count(name):
                board = SharedMemory(name)
                board.buf[0] += 1
                return board.buf[0]

            def name():
                with open("names") as file:
                    return file.readline().strip()
        """,
        job="""\
            tasks:
              - {name: name, target: 'work:name'}
              - {name: one, target: 'work:count', args: ['${tasks.name.result}']}
              - {name: two, target: 'work:count', args: ['${tasks.name.result}'], depends_on: one}
        """,
    )
    run = mprun("--start-method", method, "job.yaml", cwd=tmp_path)
    assert (run.code, run.result("one"), run.result("two")) == (0, 1, 2), run.stderr
    assert left(tmp_path)[0] == []
    assert not any(event["orphans"] for event in run.of("task_exited"))


def test_what_only_looks_like_a_tracker_does_not_outlive_the_run(tmp_path):
    write(
        tmp_path,
        work="""\
            import subprocess, sys

            def leave():
                code = "import time; time.sleep(60)  # from multiprocessing.resource_tracker import main"
                return subprocess.Popen([sys.executable, "-c", code]).pid
        """,
        job="tasks: [{name: it, target: 'work:leave'}]\n",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert not Path(f"/proc/{run.result('it')}").exists()
    assert not survivors(run.events)
