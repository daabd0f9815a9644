"""Values of a job file reach the task unchanged; names and file modes are safe on disk and on terminals."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest
from support.runs import START_METHODS, TIMEOUT, mprun, read_events, start, survivors, write
from support.terminal import on_terminal

ECHO = """\
    def echo(*args, **kwargs):
        print("echo")
        return [args, kwargs]
"""

# ---- values: as in YAML 1.2, from the file to the task


@pytest.mark.parametrize("method", START_METHODS)
def test_values_reach_the_task_as_yaml_1_2_means_them(tmp_path, method):
    write(
        tmp_path,
        work=ECHO,
        job="""\
            tasks:
            - name: NO
              target: work:echo
              args: [no, NO, on, Yes, off, y, 010, 0o10, 0x1F, 12:30:45, 1:30, 3.10, 1e3, .5, 1_000, 2026-1-1]
              kwargs: {on: ~, yes: True, n: "010", text: "12:30:45", version: "3.10"}
        """,
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    args = ["no", "NO", "on", "Yes", "off", "y", 10, 8, 31, "12:30:45", "1:30", 3.1, 1000.0, 0.5]
    kwargs = {"on": None, "yes": True, "n": "010", "text": "12:30:45", "version": "3.10"}
    assert run.result("NO") == [[*args, "1_000", "2026-1-1"], kwargs]
    kinds = [type(value) for value in run.result("NO")[0]]
    assert kinds[6:12] == [int, int, int, str, str, float]


def test_a_filled_in_value_that_looks_like_a_reference_is_literal(tmp_path):
    write(
        tmp_path,
        work=ECHO,
        job="""\
            params: {text: {type: string}}
            tasks:
            - name: m
              target: work:echo
              matrix: {v: ["$${params.x}", "${params.text}"]}
              tags: ["${matrix.v}"]
              args: ["${matrix.v}", "$${item}", "a $${b"]
        """,
    )
    run = mprun("job.yaml", "-p", "text=${tasks.y.result}", cwd=tmp_path)
    assert run.code == 0, run.stderr
    found = [event["result"][0] for event in sorted(run.of("task_finished"), key=lambda e: e["task"])]
    assert found == [["${params.x}", "${item}", "a ${b"], ["${tasks.y.result}", "${item}", "a ${b"]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("name: 3.10", 'quote it: `"3.10"`'),
        ("name: 010", 'quote it: `"010"`'),
        ("name: true", 'quote it: `"true"`'),
        ("tags: [1.0]", 'quote it: `"1.0"`'),
        ("daemon: yes", "`yes`"),
        ("daemon: 'true'", "daemon"),
        ("timeout: 12:30:45", "`12:30:45`"),
        ("name: a, name: a", "duplicate key `name`"),
        ("kwargs: {1: a}", "must be a string"),
    ],
)
def test_ambiguous_yaml_is_refused_with_its_position(tmp_path, keys, message):
    runs = "" if keys.startswith("command") else "target: work:echo, "
    write(tmp_path, work=ECHO, job=f"tasks:\n  - {{{runs}{keys}}}\n")
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.directory) == (2, None)
    assert "--> job.yaml:2:" in run.stderr
    assert message in run.stderr
    assert "^" in run.stderr


@pytest.mark.parametrize("text", ["3.10", "0777", "010", "1e3", "12:30:45", "NO", "true"])
def test_a_plain_value_of_a_command_or_a_variable_is_the_text_that_is_written(tmp_path, text):
    job = f"tasks:\n- {{command: [sh, -c, 'echo $V $0', {text}], env: {{V: {text}}}}}\n"
    write(tmp_path, job=job)
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.log("Process-1")) == (0, f"{text} {text}\n".encode())


# ---- names: safe on disk, in the terminal, and in every format

NAMES = [
    "..",
    ".",
    "-rf",
    "~",
    "a",
    "A",
    "Process-7",
    "process-7",
    "con",
    "a b",
    "a.1",
    "<script>alert(1)<script>",
    "'; DROP TABLE runs; --",
    "(touch owned)",
    "`touch owned`",
    "%s%n",
    "..\\..\\evil",
    "x" * 100,
    "é" * 100,
    "\U0001d54f" * 100,
    "\u202ereversed",
    "e\u0301",
    "\u00e9",
    "main",
]
VALUES = [
    "../../../etc/passwd",
    "\x00",
    "\x1b[31m",
    "<b>",
    "a",
    "A",
    "x" * 300,
    "\u202e",
    "[",
    "$${params.x}",
]


def named(directory, method="fork"):
    tasks = [{"name": name, "target": "work:echo"} for name in NAMES]
    tasks.append({"name": "m", "target": "work:echo", "matrix": {"v": VALUES}})
    write(directory, work=ECHO)
    # JSON is YAML.
    Path(directory, "job.yaml").write_text(json.dumps({"tasks": tasks}, ensure_ascii=False))
    return mprun("job.yaml", "--start-method", method, cwd=directory)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("names")
    (path / "inside").mkdir()
    return path / "inside", named(path / "inside")


def test_every_name_has_files_of_its_own_and_all_are_in_the_runs_directory(made):
    path, run = made
    assert run.code == 0, run.stderr
    names = [event["task"] for event in run.of("task_finished")]
    assert len(names) == len(set(names)) == len(NAMES) + len(VALUES)
    directory = Path(run.directory.path)
    logs = [file.name for file in (directory / "logs").iterdir()]
    results = [file.name for file in (directory / "results").iterdir()]
    assert len(logs) == len(names) + 1  # main.log
    assert len(results) == len(names)
    for files in (logs, results):
        # Also on a file system that does not distinguish case, or the two encodings of é.
        assert len({file.casefold() for file in files}) == len(files)
        for file in files:
            assert re.fullmatch(r"[A-Za-z0-9_.=,\[\]~-]+", file), file
            assert len(file) <= 120
            assert not file.startswith((".", "-"))
    for name in names:
        assert run.log(name) == b"echo\n"
    # No other file exists, and no name was executed.
    above = {file.name for file in path.parent.iterdir()}
    assert above == {"inside"}
    assert {file.name for file in path.iterdir()} <= {".mprun", "job.yaml", "work.py", "__pycache__"}


def test_no_name_acts_on_a_terminal_or_in_a_report(made):
    path, run = made
    for shown in (run.stdout, run.stderr):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    for command in (["show"], ["tree"], ["show", "-v"], ["logs"], ["plan", "job.yaml"]):
        code, shown = on_terminal(*command, cwd=path, NO_COLOR="1")
        assert code == 0
        # The table's own bold head; the names have [31m.
        shown = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown), command
    plan = mprun("plan", "job.yaml", "--format", "mermaid", cwd=path)
    assert (plan.code, "<script>" in plan.stdout) == (0, False)


def test_each_name_is_found_by_itself(made):
    path, run = made
    for name in ("..", "-rf", "a", "A", "<script>alert(1)<script>", "\u202ereversed"):
        process = start("logs", "--", name, cwd=path)
        assert process.communicate(timeout=TIMEOUT)[0] == b"echo\n", name
    assert run.code == 0


@pytest.mark.parametrize("name", ["../x", "a/b", "a\0b", "a\x1b[31m", "a\nb", "x" * 101, "", "a[b]", "*"])
def test_a_name_that_is_unsafe_in_a_file_or_terminal_is_refused(tmp_path, name):
    write(tmp_path, work=ECHO)
    (tmp_path / "job.yaml").write_text(json.dumps({"tasks": [{"name": name, "target": "work:echo"}]}))
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.directory) == (2, None)
    assert "--> job.yaml:1:" in run.stderr
    assert "\x1b" not in run.stderr


# ---- modes: private, whatever the umask is

EVERYTHING = """\
    tasks:
    - {name: value, target: 'work:echo', args: [1]}
    - {name: text, target: 'work:text'}
    - {name: fail, target: 'work:fail', retry: 1}
    - {name: threads, target: 'work:threads'}
    - {name: command, command: 'echo heard'}
    - {name: stay, target: 'work:stay', daemon: true}
    - {name: limited, target: 'work:echo', limits: {open_files: 100}}
    - {name: each, foreach: [1, 2], target: 'work:echo'}
"""
WORK = """\
    import signal, threading
    def echo(*args):
        return args
    def text():
        return {1}
    def fail():
        raise ValueError
    def threads():
        # Until the target has returned, and its threads were counted.
        threading.Thread(target=threading.main_thread().join, args=(5,)).start()
    def stay():
        signal.pause()
"""


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_the_owner_can_read_the_files_whatever_the_umask(tmp_path, umask, method):
    write(tmp_path, work=WORK, job=EVERYTHING)
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path, preexec_fn=lambda: os.umask(umask))
    assert run.code == 1
    assert {event["outcome"] for event in run.of("task_finished")} == {"succeeded", "failed", "stopped"}
    state_dir = tmp_path / ".mprun"
    for path in (state_dir, *state_dir.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            assert oct(stat.S_IMODE(mode)) == oct(0o700 if path.is_dir() else 0o600), path
    suffixes = {"".join(path.suffixes[1:]) for path in state_dir.rglob("results/*")}
    assert suffixes >= {".json", ".repr", ".error.json", ".usage.json"}


def test_files_written_by_a_task_have_the_mode_of_the_users_umask(tmp_path):
    """A task has the user's umask; mprun does not change it, and its own files do not depend on it."""
    write(
        tmp_path,
        work="def make():\n    open('made', 'w').close()\n",
        job="tasks: [{target: 'work:make'}]\n",
    )
    assert mprun("job.yaml", cwd=tmp_path, preexec_fn=lambda: os.umask(0o027)).code == 0
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o640


def test_pidfiles_and_control_requests_are_private_too(tmp_path):
    """During a run: its pidfile, and the request of `mprun stop` in another terminal."""
    write(
        tmp_path,
        work="import signal\ndef stay():\n    open('there', 'w').close()\n    signal.pause()\n",
        job="tasks: [{name: stay, target: 'work:stay'}, {name: too, target: 'work:stay'}]\n",
    )
    engine = start("job.yaml", cwd=tmp_path, preexec_fn=lambda: os.umask(0))
    while not (tmp_path / "there").exists():
        assert engine.poll() is None
    stop = start("stop", "stay", cwd=tmp_path, preexec_fn=lambda: os.umask(0))
    assert stop.communicate(timeout=TIMEOUT)[0] is not None
    for path in (tmp_path / ".mprun").rglob("*"):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            assert not mode & 0o077, path
    engine.terminate()
    engine.communicate(timeout=TIMEOUT)
    (directory,) = (tmp_path / ".mprun" / "runs").iterdir()
    assert survivors(read_events(directory / "events.jsonl")) == []


# ---- the environment: names in the record, and no values


def test_no_value_of_the_environment_is_kept(tmp_path):
    write(
        tmp_path,
        work="import os\ndef use():\n    assert os.environ['TOKEN'] == os.environ['OTHER'] == 'sesame-9f'\n",
        job="""\
            tasks:
            - {name: use, target: 'work:use', env: {OTHER: '${env.TOKEN}'}}
            - {name: fail, command: ['false'], env: {OTHER: '${env.TOKEN}'}}
        """,
    )
    run = mprun("-v", "job.yaml", cwd=tmp_path, env={"TOKEN": "sesame-9f"})
    assert (run.outcome("use"), run.outcome("fail")) == ("succeeded", "failed")
    shown = mprun("show", "--json", cwd=tmp_path, env={"TOKEN": "sesame-9f"})
    for text in (run.stdout, run.stderr, shown.stdout, shown.stderr):
        assert "sesame" not in text
    for path in (tmp_path / ".mprun").rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes(), path
