"""What happens in the first milliseconds: signals, modules of the working directory, a bare system."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import START_METHODS, environment, finish, mprun, side_by_side, start, write

JOB = """
    tasks:
      - target: work:call
    """
WORK = """
    def call():
        return 1
    """
# Sends a signal to mprun at the nth thing that it does after its first line, and to no other process.
HOOK = """
    import os
    import sys

    count, mprun = -1, os.getpid()

    def note(event, arguments):
        global count
        if event == "exec" and getattr(arguments[0], "co_filename", "").endswith("mprun/__main__.py"):
            count = 0
        elif count >= 0 and os.getpid() == mprun:
            count += 1
            if count == int(os.environ["SIGNAL_AT"]):
                os.kill(mprun, int(os.environ["SIGNAL"]))

    sys.addaudithook(note)
    """
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SAID = {f"interrupted ({number.name}): nothing was started" for number in SIGNALS}
COMMANDS = {
    "run": ["job.yaml", "-q"],
    "dry run": ["job.yaml", "--dry-run"],
    "validate": ["validate", "job.yaml"],
    "plan": ["plan", "job.yaml"],
    "show": ["show", "--state-dir", "before"],
}


@pytest.fixture
def desk(tmp_path):
    """A job that has run once, with its record in `before`."""
    write(tmp_path, job=JOB, work=WORK)
    assert mprun("job.yaml", "--state-dir", "before", cwd=tmp_path).code == 0
    write(tmp_path, sitecustomize=HOOK)
    return tmp_path


def interrupted(desk, command, number, at):
    """How a command ends that gets a signal at this moment, and whether the moment came."""
    env = {"PYTHONPATH": str(desk), "SIGNAL": str(int(number)), "SIGNAL_AT": str(at)}
    state = desk / f"state-{int(number)}-{at}"
    process = start(*COMMANDS[command], cwd=desk, env={**env, "MPRUN_STATE_DIR": str(state)})
    stdout, stderr = (text.decode() for text in process.communicate(timeout=50))
    return process.returncode, stdout, stderr, state


def assert_ended_in_order(command, number, found):
    code, stdout, stderr, state = found
    assert code in (SIGNALS[number], 0), (code, stderr)
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    begun = list((state / "runs").glob("*")) if state.exists() else []
    # Each has a record.
    assert all((run / "events.jsonl").stat().st_size for run in begun)
    if code and not begun:
        assert {*stderr.splitlines()} <= SAID
        assert command in ("run", "show") or not stdout


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_at_any_of_the_first_moments_ends_mprun_without_a_word(command, number, desk):
    """C68, at each import and each file that is opened, in steps that are not the same for all."""
    step = {"run": 17, "dry run": 41, "validate": 29, "plan": 31, "show": 37}[command]
    moments = range(1 + int(number), 600, step * 3)
    results = side_by_side(lambda at: interrupted(desk, command, number, at), moments)
    for found in results:
        assert_ended_in_order(command, number, found)
    assert results[0][0] == SIGNALS[number]


def test_a_signal_that_was_ignored_stays_ignored(desk):
    process = start(
        *COMMANDS["validate"],
        cwd=desk,
        env={"PYTHONPATH": str(desk), "SIGNAL": str(int(signal.SIGHUP)), "SIGNAL_AT": "5"},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    process.communicate(timeout=50)
    assert process.returncode == 0


def test_tasks_have_the_default_of_each_signal(tmp_path):
    write(
        tmp_path,
        job="tasks: [{target: 'work:handlers'}, {command: grep SigCgt /proc/self/status, capture: text}]",
        work="""
        import signal

        def handlers():
            return [int(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGHUP)]
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.result("Process-1") == [0, 0]


# Sends SIGINT to the script `mprun` at the nth step that Python code takes from the look at the script, which
# may be an archive, to our first line. SIGNAL_IN can be the callback that forgets the lock of a module that
# was imported: a weak reference's, so each exception in it is lost. What it does once it has forgotten the
# lock takes some hundred nanoseconds, leaves no trace, and is left out.
EARLIER_HOOK = """
    import os
    import signal
    import sys
    from _frozen_importlib import _module_locks

    left, has_looked = int(os.environ["SIGNAL_AT"]), False
    only_in = os.environ.get("SIGNAL_IN")

    def has_forgotten(frame):
        return frame.f_code.co_name == "cb" and frame.f_locals["name"] not in _module_locks

    def note(frame, event, argument):
        global left, has_looked
        name = frame.f_code.co_name
        has_looked = has_looked or "zipimport" in frame.f_code.co_filename
        if name == "end_at_signals":
            sys.settrace(None)
        elif has_looked and only_in in (None, name) and not has_forgotten(frame):
            left -= 1
            if left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return note

    sys.settrace(note)
    """


def test_ctrl_c_is_not_lost_before_the_first_line_of_ours(tmp_path):
    """Python prints an interrupt that comes while it looks whether a script is an archive, and runs it."""
    write(tmp_path, job="tasks: [{command: touch begun}]", sitecustomize=EARLIER_HOOK)

    def interrupted_at(where, step):
        state = tmp_path / f"state-{step}"
        done = subprocess.run(
            [Path(sys.executable).with_name("mprun"), "job.yaml", "--state-dir", state],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(tmp_path), SIGNAL_AT=str(step), **where),
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stderr.decode()

    steps = [({}, step) for step in [*range(1, 40, 3), *range(40, 2600, 160)]]
    steps += [({"SIGNAL_IN": "cb"}, step) for step in range(1, 8)]
    results = side_by_side(lambda step: interrupted_at(*step), steps)
    assert [found for found in results if found[0] not in (130, -signal.SIGINT)] == []
    # Some came where each exception is lost.
    assert any("Exception ignored " in stderr for _, stderr in results)
    assert not (tmp_path / "begun").exists()
    # It did come while Python looked.
    assert any("argv[0]" in stderr for _, stderr in results)


@pytest.mark.parametrize(
    "change",
    ["del importlib._module_locks", "importlib._module_locks = {'a': 1}", "del _thread._count"],
)
def test_nothing_counts_as_an_interrupt_where_python_keeps_its_locks_otherwise(change):
    program = (
        "import _frozen_importlib as importlib, _thread\n"
        "from mprun.__main__ import end_at_signals\n"
        f"{change}\nend_at_signals()\nimport os; os.write(1, b'on')\nos._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"on"), done.stderr


# -- modules in the working directory

# All of Python's, and what mprun uses of others.
SHADOWS = sys.stdlib_module_names | {
    "yaml",
    "_yaml",
    "click",
    "rich",
    "psutil",
    "jsonschema",
    "fastjsonschema",
}
MARKER = "open('imported-' + __name__, 'w').close()\n"


@pytest.fixture
def shadowed(tmp_path):
    """A working directory with modules that are named like Python's and others'."""
    write(tmp_path, job=JOB, work=WORK)
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(MARKER)
    return tmp_path


def imported_by_python_itself():
    """What `python -m` imports before it knows which module it runs; `-P` keeps it out of here, too."""
    code = "import runpy, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {*done.stdout.split()}


@pytest.mark.parametrize(
    "arguments",
    [
        *(["validate", "job.yaml"], ["plan", "job.yaml"], ["runs"], ["--help"], ["schema"], ["bad.yaml"]),
        *(
            ["plan", "slow.yaml"],
            ["plan", "--format", "json", "job.yaml"],
            ["show", "-v", "--state-dir", "none"],
        ),
    ],
)
@pytest.mark.parametrize("way", ["module", "script"])
def test_nothing_is_imported_from_the_working_directory(arguments, way, shadowed):
    """C74."""
    (shadowed / "bad.yaml").write_text("tasks: [{target: nonsense, retires: 2}]\n")
    # Its pattern is matched by a process of its own.
    param = "{type: string, pattern: '(a|b)+$', default: ab}"
    (shadowed / "slow.yaml").write_text(f"params: {{p: {param}}}\ntasks: [{{target: 'work:call'}}]\n")
    if way == "module":
        for name in {name.partition(".")[0] for name in imported_by_python_itself()} & SHADOWS:
            (shadowed / f"{name}.py").unlink()
    script = Path(sys.executable).with_name("mprun")
    command = [script] if way == "script" else [sys.executable, "-m", "mprun"]
    done = subprocess.run(
        [*command, *arguments], cwd=shadowed, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == (2 if {"bad.yaml", "none"}.intersection(arguments) else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert list(shadowed.glob("imported-*")) == []


@pytest.mark.parametrize("method", START_METHODS)
def test_targets_are_still_imported_from_the_working_directory(method, tmp_path):
    (tmp_path / "jobs").mkdir()
    write(tmp_path / "jobs", job=JOB + f"\n    start_method: {method}")
    write(tmp_path, work=WORK)
    run = mprun("jobs/job.yaml", cwd=tmp_path)
    assert (run.code, run.result("Process-1")) == (0, 1)


def test_a_program_keeps_its_import_path_and_its_launcher_imports_python_s_own_modules(tmp_path):
    write(
        tmp_path,
        job=JOB,
        work=WORK,
        program="""
        import sys
        import mprun
        before = list(sys.path)
        assert mprun.run_job(mprun.load_job("job.yaml")).exit_code == 0
        assert sys.path == before
        """,
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "program.py").rename(tmp_path / "sub" / "program.py")
    for name in ("signal", "contextlib", "subprocess"):
        (tmp_path / f"{name}.py").write_text(MARKER)
    done = subprocess.run(
        [sys.executable, "sub/program.py"], cwd=tmp_path, env=environment(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(tmp_path.glob("imported-*")) == []


# -- the environment and the system


@pytest.mark.parametrize("method", START_METHODS)
def test_pythoninspect_changes_nothing(method, tmp_path):
    """C75: an interactive session after a script would end with exit code 0, whatever the script did."""
    write(
        tmp_path,
        work=WORK,
        job=f"""
        start_method: {method}
        tasks:
          - {{name: target, target: 'work:call'}}
          - {{name: fails, command: [{sys.executable}, -c, 'raise SystemExit(3)'], expect: {{exit_code: 3}}}}
          - {{name: raises, command: [{sys.executable}, -c, 'raise ValueError'], expect: {{exit_code: 1}}}}
          - name: own
            command: [{sys.executable}, -c, 'import os; print(os.environ["PYTHONINSPECT"])']
            env: {{PYTHONINSPECT: ''}}
        """,
    )
    env = {"PYTHONINSPECT": "1", "PYTHONSTARTUP": str(tmp_path / "work.py"), "PYTHONDEVMODE": "1"}
    run = mprun("job.yaml", cwd=tmp_path, env=env)
    assert run.code == 0, run.stderr
    assert run.result("target") == 1


WITHOUT_NULL = """
    import os
    os.devnull = "/no/such/null"
    """


@pytest.mark.parametrize("closed", [True, False])
def test_a_system_without_dev_null_is_an_error(closed, tmp_path):
    write(tmp_path, job=JOB, work=WORK, sitecustomize=WITHOUT_NULL)
    process = subprocess.Popen(
        [sys.executable, "-m", "mprun", "job.yaml"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(tmp_path)),
        stderr=subprocess.PIPE,
        preexec_fn=(lambda: os.close(0)) if closed else None,
    )
    _, stderr = process.communicate(timeout=50)
    assert process.returncode == 3
    assert b"error: cannot open /no/such/null: No such file or directory\n" in stderr
    assert b"Traceback" not in stderr


def test_every_file_is_for_its_owner_only_under_umask_0(tmp_path):
    write(
        tmp_path,
        work=WORK,
        job="""
        tasks:
          - {target: 'work:call'}
          - {command: 'echo a; echo b >&2', capture: text}
          - {name: fails, target: 'work:nothing', allow_failure: true}
          - {name: serves, command: sleep 60, daemon: true, ready: {command: echo ready}}
        """,
    )
    with open(tmp_path / "work.py", "a") as file:
        file.write("def nothing(): raise ValueError\n")
    run = mprun(
        *("job.yaml", "--events", "events", "--state-dir", "a/b"),
        cwd=tmp_path,
        preexec_fn=lambda: os.umask(0),
    )
    assert run.code == 0, run.stderr
    files = [tmp_path / "events", *(tmp_path / "a").rglob("*"), tmp_path / "a"]
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in files}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o022} == {}
    open_to_others = {path: oct(mode) for path, mode in modes.items() if mode & 0o077}
    assert open_to_others.keys() <= {tmp_path / "a"}


EVERY_KIND = """
    start_method: %s
    tasks:
      - {name: returns, target: 'work:ret'}
      - {name: odd, target: 'work:odd'}
      - {name: raises, target: 'work:fail', allow_failure: true, retry: 1}
      - {name: exits, target: 'sys:exit', args: [why], allow_failure: true}
      - {name: hangs, target: 'time:sleep', args: [60], timeout: 2s, allow_failure: true}
      - {name: limits, target: 'os:getpid', limits: {memory: 2GB, open_files: 100}}
      - {name: command, command: 'echo a; sleep 100 & exit 0', limits: {nice: 19}}
      - {name: captured, command: 'echo 1', capture: json}
      - {name: nothing, command: [/no/such], allow_failure: true}
      - {name: serves, command: [sleep, '60'], daemon: true, ready: {command: ['true'], timeout: 20s}}
      - {name: client, command: 'true', depends_on: {serves: ready}}
      - {name: generates, target: 'work:gen', allow_failure: true}
      - {name: takes, target: 'work:take', args: ['${tasks.returns.result}']}
"""
PLAIN_WORK = """
    def ret(): return {"a": [1]}
    def odd(): return {1: 2, "1": object()}
    def fail(): raise ValueError("no")
    def gen(): return (x for x in [1])
    def take(x): print(x)
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_what_is_named_like_pythons_own_modules_breaks_nothing(method, tmp_path):
    """Beside the job file, as `re.py` or `random.py`: mprun imports some late, in each of its processes."""
    write(tmp_path, job=EVERY_KIND % method, work=PLAIN_WORK)
    for name in sys.stdlib_module_names:
        (tmp_path / f"{name}.py").write_text(MARKER)
    run = finish(
        subprocess.Popen(
            [Path(sys.executable).with_name("mprun"), "job.yaml"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ),
        tmp_path / ".mprun",
    )
    assert run.code == 0, run.stderr
    assert list(tmp_path.glob("imported-*")) == []
    assert run.one("task_finished", "hangs")["outcome"] == "timed_out"
    assert run.stdout.count("ValueError: no") == 2


@pytest.mark.parametrize("method", START_METHODS)
def test_a_job_still_imports_its_own_modules_of_such_names(method, tmp_path):
    """As under plain Python, where the directory of the script comes first."""
    write(
        tmp_path,
        job=f"start_method: {method}\ntasks: [{{name: t, target: 'work:call'}}]",
        work="import queue\ndef call(): return queue.mine()",
        queue="def mine(): return 'own'",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.result("t") == "own"
