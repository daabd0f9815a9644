"""What a task's process does for its target, and what of it only the attempt's own process does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.runs import START_METHODS, mprun, write

every_start_method = pytest.mark.parametrize("method", START_METHODS)


def run_tasks(directory, method, tasks, *more):
    """Run these targets of `work.py`, one after the other; `tasks` are names, or mappings in YAML."""
    lines = [name if name.startswith("{") else f"{{name: {name}, target: 'work:{name}'}}" for name in tasks]
    (directory / "job.yaml").write_text("tasks:\n" + "".join(f"  - {line}\n" for line in lines))
    return mprun("--start-method", method, "-j", 1, "job.yaml", *more, cwd=directory)


# ---- C04: a call that only makes an object in which everything is still to be done

UNFINISHED = """\
    import asyncio, functools

    async def wait():
        print("ran")

    def generate():
        print("ran")
        yield

    async def generate_later():
        print("ran")
        yield

    def plain(function):
        @functools.wraps(function)
        def call(*args):
            return function(*args)
        return call

    class Caller:
        async def __call__(self):
            print("ran")

        def __await__(self):
            print("ran")
            yield

    decorated, generator, async_generator = plain(wait), plain(generate), plain(generate_later)
    part, called = functools.partial(wait), Caller()

    def future():
        return asyncio.new_event_loop().create_future()

    def other():
        return Caller()

    def mapped():
        return map(print, [1])

    def filtered():
        return filter(print, [1])

    def listed():
        return [wait(), wait()]

    def nested():
        inner = {"b": (print(n) for n in [1])}
        inner["itself"] = inner
        return {"a": [1, inner]}

    def in_a_tuple():
        return 1, {generate_later()}

    def mapped_inside():
        return [map(print, [1])]
"""
NEVER_AWAITED = "`{0}` returned a coroutine, which was never awaited; wrap it: `asyncio.run({0}())`"
NEVER_ITERATED = "`{0}` returned {1}, which was never iterated over; wrap it: {2}"
SAID = {
    "decorated": NEVER_AWAITED.format("decorated"),
    "part": NEVER_AWAITED.format("part"),
    "called": NEVER_AWAITED.format("called"),
    "generator": NEVER_ITERATED.format("generator", "a generator", "`list(generator())`"),
    "async_generator": NEVER_ITERATED.format(
        "async_generator",
        "an async generator",
        "`async for item in async_generator()`, in a coroutine for `asyncio.run`",
    ),
    "future": "`future` returned a `Future`, which was never awaited; wrap it: `await` it in `asyncio.run`",
    "other": "`other` returned a `Caller`, which was never awaited; wrap it: `await` it in `asyncio.run`",
    "mapped": NEVER_ITERATED.format("mapped", "a `map`", "`list(mapped())`"),
    "filtered": NEVER_ITERATED.format("filtered", "a `filter`", "`list(filtered())`"),
    "listed": (
        "`listed` returned a list with a coroutine, which was never awaited; "
        "await it, or `asyncio.gather(...)` of all"
    ),
    "nested": (
        "`nested` returned a dict with a generator, which was never iterated over; return a `list` of it"
    ),
    "in_a_tuple": (
        "`in_a_tuple` returned a tuple with an async generator, which was never iterated over; "
        "return a list of its items"
    ),
    "mapped_inside": (
        "`mapped_inside` returned a list with a `map`, which was never iterated over; return a `list` of it"
    ),
}


@every_start_method
def test_a_target_that_returns_what_never_ran_fails_and_says_how_to_run_it(tmp_path, method):
    """C04"""
    write(tmp_path, work=UNFINISHED)
    run = run_tasks(tmp_path, method, SAID)
    assert run.code == 1
    errors = {name: run.one("task_exited", name)["error"] for name in SAID}
    assert errors == {name: {"type": "StartError", "message": text} for name, text in SAID.items()}
    assert {run.outcome(name) for name in SAID} == {"failed"}
    # Python's own warning, with a line of mprun, would say it again.
    assert [run.log(name).decode() for name in SAID] == [f"mprun: {text}\n" for text in SAID.values()]


@pytest.mark.parametrize("expected", ["result: null", "exit_code: 1", "raises: Exception", "output: mprun"])
def test_a_target_that_never_ran_meets_no_expectation(tmp_path, expected):
    """C04"""
    write(tmp_path, work=UNFINISHED)
    tasks = [
        f"{{name: {name}, target: 'work:{name}', expect: {{{expected}}}}}" for name in ("part", "future")
    ]
    run = run_tasks(tmp_path, "fork", tasks)
    assert (run.code, run.outcome("part"), run.outcome("future")) == (1, "failed", "failed")


# ---- C05: children that a task forks itself

FORKS = """\
    import atexit, multiprocessing, os, pty, sys, threading
    from pathlib import Path

    def wait_for(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def returns():
        atexit.register(print, "exit handler")
        print("half a line, ", end="")
        if not (pid := os.fork()):
            print("the child's half", end="")
            return "child"
        code = wait_for(pid)
        print(", the rest")
        return code

    def raises():
        atexit.register(print, "exit handler")
        if not (pid := os.fork()):
            raise ValueError("of the child")
        return wait_for(pid)

    def exits():
        if not (pid := os.fork()):
            sys.exit(7)
        return wait_for(pid)

    def exits_with_words():
        if not (pid := os.fork()):
            sys.exit("words of the child")
        return wait_for(pid)

    def has_a_terminal():
        pid, terminal = pty.fork()
        if not pid:
            print("on the terminal")
            return "child"
        with open(terminal, "rb", buffering=0) as file:
            return [file.read(100).decode(), wait_for(pid)]

    def has_threads():
        if not (pid := os.fork()):
            threading.Thread(target=Path("thread").write_text, args=("of the child",)).start()
            return "child"
        wait_for(pid)
        return Path("thread").read_text()

    def has_a_process():
        child = multiprocessing.get_context("fork").Process(target=fork_and_return)
        child.start()
        child.join()
        return child.exitcode

    def fork_and_return():
        if pid := os.fork():
            os._exit(wait_for(pid))

    def forks_in_a_thread():
        codes = []

        def fork():
            if pid := os.fork():
                codes.append(wait_for(pid))

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        return codes

    def forks_in_an_exit_handler():
        atexit.register(print, "exit handler")
        atexit.register(fork_at_exit)
        return "parent"

    def fork_at_exit():
        if pid := os.fork():
            print("code", wait_for(pid))
        else:
            print("child")

    def fails_beside_its_child():
        if os.fork():
            os.wait()
            raise ValueError("of the parent")
        return "child"

    def leaves_a_child_of_a_child():
        if not (pid := os.fork()):
            if not (pid := os.fork()):
                return "grandchild"
            sys.exit(wait_for(pid) + 3)
        return wait_for(pid)
"""
# By task, its result and the lines of its log.
FORKED = {
    "returns": (0, ["half a line, the child's half, the rest", "exit handler"]),
    "exits": (7, []),
    "exits_with_words": (1, ["words of the child"]),
    "has_a_terminal": (["on the terminal\r\n", 0], []),
    "has_threads": ("of the child", []),
    "has_a_process": (0, []),
    "forks_in_a_thread": ([0], []),
    "forks_in_an_exit_handler": ("parent", ["child", "code 0", "exit handler"]),
    "leaves_a_child_of_a_child": (3, []),
}


@every_start_method
def test_a_forked_child_that_comes_back_from_the_target_ends_with_its_own_code(tmp_path, method):
    """C05"""
    write(tmp_path, work=FORKS)
    run = run_tasks(tmp_path, method, [*FORKED, "raises", "fails_beside_its_child"])
    seen = {name: (run.result(name), run.log(name).decode().splitlines()) for name in FORKED}
    assert seen == FORKED
    assert run.result("raises") == 1
    assert run.log("raises").decode().splitlines()[-2:] == ["ValueError: of the child", "exit handler"]
    assert b"worker.py" not in run.log("raises")
    failed = run.one("task_exited", "fails_beside_its_child")
    assert failed["error"] == {"type": "ValueError", "message": "of the parent"}
    assert run.one("task_finished", "fails_beside_its_child")["result_kind"] == "none"
    assert run.log("fails_beside_its_child").count(b"Traceback") == 1
    used = [event for event in run.of("task_exited") if event["cpu"] is None or event["max_rss"] is None]
    assert not used


@every_start_method
def test_a_child_that_a_module_forks_at_import_and_lets_run_on_ends_there(tmp_path, method):
    """C05"""
    write(
        tmp_path,
        work="""\
            import os

            print("import in", "the child" if (child := not os.fork()) else "the main process")
            if not child:
                os.wait()

            def go():
                return "went"
        """,
    )
    run = run_tasks(tmp_path, method, ["go"])
    assert (run.code, run.result("go")) == (0, "went")
    assert b"Traceback" not in run.log("go") + Path(run.directory.main_log).read_bytes()


# ---- C25, C50: what a program that asks finds

SEEN = """\
    import argparse, os, sys
    from pathlib import Path

    AT_IMPORT = list(sys.argv)

    def look():
        options = argparse.ArgumentParser().parse_args()
        return [AT_IMPORT, sys.argv, vars(options), Path("/proc/self/comm").read_text()]

    class Shelf:
        @staticmethod
        def look():
            return look()
"""


@every_start_method
def test_a_task_finds_its_target_as_the_command_line_and_its_name_as_the_process(tmp_path, method):
    """C25, C50"""
    write(tmp_path, work=SEEN)
    tasks = [
        "look",
        "{name: 'häuser am see', target: 'work:Shelf.look', depends_on: look}",
        "{name: command, command: [cat, /proc/self/comm]}",
    ]
    run = run_tasks(tmp_path, method, tasks, "--timeout", "45s")
    # A spawned process imports the module itself.
    at_import = {"fork": [["mprun"]] * 2, "forkserver": [["mprun"]] * 2}
    at_import["spawn"] = [["work:look"], ["work:Shelf.look"]]
    first, second = at_import[method]
    assert run.result("look") == [first, ["work:look"], {}, "mprun: look\n"]
    assert run.result("häuser am see") == [second, ["work:Shelf.look"], {}, "mprun: häuser \n"]
    assert run.printed("command") == ["cat"]


# ---- C26: a task that has made it hard to say why it failed

ENDS = """\
    import builtins, os, resource, sys

    def fail():
        raise ValueError("the reason")

    def use_up_descriptors():
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        fail()

    def allow_no_descriptor():
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        fail()

    def forget_modules():
        sys.path.clear()
        sys.path_hooks.clear()
        sys.path_importer_cache.clear()
        sys.meta_path.clear()
        fail()

    def refuse_imports():
        builtins.__import__ = None
        fail()

    def refuse_to_open():
        builtins.open = None
        fail()

    def close_streams():
        sys.stdout = sys.stderr = None
        os.closerange(0, 100)
        fail()

    def become_someone_else():
        os.setgid(65534)
        os.setuid(65534)
        fail()

    def change_root():
        os.mkdir("root")
        os.chroot("root")
        fail()

    def result_of_someone_else():
        os.setuid(65534)
        return "a result"

    def nothing_of_someone_else():
        os.setuid(65534)

    def exit_as_someone_else():
        os.setuid(65534)
        sys.exit("words at the end")
"""
RECORDED = (
    "use_up_descriptors",
    "allow_no_descriptor",
    "forget_modules",
    "refuse_imports",
    "refuse_to_open",
    "close_streams",
)
LOGGED = ("become_someone_else", "change_root")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes the user and the root")


@every_start_method
@pytest.mark.parametrize("way", RECORDED)
def test_a_reason_is_recorded_without_descriptors_or_modules(tmp_path, method, way):
    """C26"""
    write(tmp_path, work=ENDS)
    run = run_tasks(tmp_path, method, [way])
    exited = run.one("task_exited", way)
    assert (exited["exit_code"], exited["error"]) == (1, {"type": "ValueError", "message": "the reason"})
    if way != "close_streams":
        log = run.log(way).decode()
        assert log.startswith("Traceback (most recent call last):\n")
        assert log.endswith("ValueError: the reason\n")
        assert (log.count("Traceback"), "worker.py" in log) == (1, False)


@needs_root
@every_start_method
@pytest.mark.parametrize("way", LOGGED)
def test_a_reason_that_cannot_be_recorded_is_in_the_log(tmp_path, method, way):
    """C26"""
    write(tmp_path, work=ENDS)
    run = run_tasks(tmp_path, method, [way])
    assert (run.code, run.outcome(way), run.one("task_exited", way)["exit_code"]) == (1, "failed", 1)
    log = run.log(way).decode()
    assert log.startswith("Traceback (most recent call last):\n")
    assert "ValueError: the reason\n" in log
    assert (log.count("Traceback"), "worker.py" in log) == (1, False)


@needs_root
@every_start_method
def test_a_result_that_cannot_be_recorded_fails_its_task_and_nothing_else_does(tmp_path, method):
    """C26"""
    write(tmp_path, work=ENDS)
    tasks = ["result_of_someone_else", "nothing_of_someone_else", "exit_as_someone_else"]
    run = run_tasks(tmp_path, method, tasks)
    assert [run.outcome(name) for name in tasks] == ["failed", "succeeded", "failed"]
    said = run.log("result_of_someone_else").decode()
    assert said.startswith("mprun: the result cannot be recorded: ")
    assert said.count("\n") == 1
    assert run.log("nothing_of_someone_else") == b""
    assert run.log("exit_as_someone_else") == b"words at the end\n"
