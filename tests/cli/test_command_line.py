"""The command line as a user types it: commands, options, environment, help, completion."""

import json
import os
import re
import shlex
import subprocess
import sys

import click
import jsonschema
import pytest
from support.runs import ROOT, environment, mprun, write

from mprun import __main__ as door
from mprun.cli import commands
from mprun.jobfile.schema.job_schema import schema_text
from mprun.reporters.console import OUTPUTS

WORK = """
    import os

    def hi(name="x"):
        print("hi", name)

    def environment():
        return dict(os.environ)
    """
JOB = """
    tasks:
      - {name: a, target: work:hi, args: [bob]}
      - {name: b, target: work:hi, depends_on: a}
    """


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    return tmp_path


@pytest.fixture(scope="module")
def empty_desk(tmp_path_factory):
    """A directory for commands that write nothing."""
    path = tmp_path_factory.mktemp("desk")
    write(path, work=WORK, job=JOB)
    return path


def error_of(run):
    """The one line that a command with a usage error prints."""
    assert (run.code, run.stdout) == (2, "")
    assert "Traceback" not in run.stderr
    return run.stderr.strip()


# -- which command


@pytest.mark.parametrize(
    "arguments",
    [
        ["job.yaml"],
        ["run", "job.yaml"],
        ["-j", "1", "job.yaml"],
        ["job.yaml", "-j", "1"],
        ["run", "-j1", "job.yaml", "--output", "none"],
        ["--output=none", "job.yaml", "-q"],
        ["./job.yaml"],
    ],
    ids=" ".join,
)
def test_options_may_come_before_and_after_the_job(arguments, desk):
    run = mprun(*arguments, cwd=desk)
    assert run.code == 0
    assert (run.outcome("a"), run.outcome("b")) == ("succeeded", "succeeded")
    assert run.one("run_started")["max_parallel"] == (1 if "-j" in " ".join(arguments) else 32)
    assert ("hi bob" in run.stdout) == ("none" not in " ".join(arguments))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *[("vaildate", "validate"), ("log", "logs"), ("shwo", "show"), ("Plan", "plan")],
        # What other tools call them.
        *[("status", "show"), ("ps", "tree"), ("ls", "list"), ("kill", "stop"), ("up", "run")],
    ],
)
def test_typo_of_a_command_is_reported_with_the_command(typed, meant, empty_desk):
    run = mprun(typed, "job.yaml", cwd=empty_desk)
    assert (
        error_of(run)
        == f"error: `{typed}` is neither a command nor a job file; did you mean `mprun {meant}`?"
    )
    assert not (empty_desk / ".mprun").exists()


def test_existing_file_is_run_even_if_it_looks_like_a_typo(desk):
    (desk / "job.yaml").rename(desk / "shwo")
    assert mprun("shwo", cwd=desk).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jbo.yaml"], "error: job file `jbo.yaml` not found; did you mean `job.yaml`?"),
        (["nowhere/job.yaml"], "error: job file `nowhere/job.yaml` not found"),
        (["plan", "job.yml"], "error: job file `job.yml` not found; did you mean `job.yaml`?"),
        (["validate", "\x1b[31mx"], "error: job file `\\x1b[31mx` not found"),
        ([""], "error: the name of the job file is empty; name one, as in `mprun job.yaml`"),
        (["."], "error: `.` is a directory; name a job file in it"),
        (
            [__file__],
            f"error: `{__file__}` is a Python module, not a job file; "
            "write a first job file with `mprun init`",
        ),
        (["logs.yaml"], "error: job file `logs.yaml` not found"),
        (["show"], "error: no runs in .mprun yet; start one with `mprun JOB`, or use `--state-dir`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_missing_file_or_run_is_reported_by_name(arguments, message, empty_desk):
    assert error_of(mprun(*arguments, cwd=empty_desk)) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["job.yaml", "--oputput", "none"], "--output"),
        (["job.yaml", "--output", "all"], "`prefix`, `group`, `failed`, `none`"),
        (["job.yaml", "-j", "0"], "must be an integer of at least 1"),
        (["run"], "missing argument `JOB`"),
        (["validate"], "missing argument `JOBS`"),
        (["-v"], "missing argument `JOB`"),
        (["--start-method", "thread", "job.yaml"], "`fork`, `forkserver`, `spawn`"),
        (["--events", "nowhere/events", "job.yaml"], "cannot write --events nowhere/events: No such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_exits_with_2_and_names_what_is_expected(arguments, message, empty_desk):
    assert message in error_of(mprun(*arguments, cwd=empty_desk))


def test_bad_usage_leaves_no_launcher_and_no_run(desk):
    run = mprun("job.yaml", "--nonsense", cwd=desk)
    assert run.code == 2
    assert not (desk / ".mprun").exists()


# -- help


def test_help_has_the_examples_and_exit_codes_in_80_columns(empty_desk):
    run = mprun("--help", cwd=empty_desk)
    assert (run.code, run.stderr) == (0, "")
    assert run.stdout == mprun("-h", cwd=empty_desk).stdout
    for words in ("target: work:fetch", "Exit codes:", "mprun JOB", *commands.group.commands):
        assert words in run.stdout
    assert re.findall(r"^ +(\d+)  ", run.stdout, re.MULTILINE) == ["0", "1", "2", "3", "4", "129"]
    assert {"130", "143"} <= set(re.findall(r"\d+", run.stdout))
    assert "..." not in run.stdout.replace("[ARGS]...", "")
    assert max(map(len, run.stdout.splitlines())) <= 80


def test_without_arguments_it_shows_the_help(empty_desk):
    run = mprun(cwd=empty_desk)
    assert run.code == 2
    assert "Exit codes:" in run.stderr


def test_version_is_that_of_the_package(empty_desk):
    run = mprun("--version", cwd=empty_desk)
    assert (run.code, run.stderr) == (0, "")
    assert re.fullmatch(r"mprun \d+\.\d+\.\d+\S*\n", run.stdout)


@pytest.mark.parametrize("name", sorted(commands.group.commands))
def test_each_command_has_help_in_80_columns(name):
    command = commands.group.commands[name]
    context = click.Context(command, info_name=f"mprun {name}", terminal_width=80)
    text = command.get_help(context)
    assert max(map(len, text.splitlines())) <= 80
    assert command.help
    assert all(
        option.help for option in command.params if isinstance(option, click.Option) and option.name != "form"
    )


def test_help_option_of_run_works_in_any_position(empty_desk):
    for arguments in (["run", "-h"], ["run", "job.yaml", "--help"], ["-v", "--help"]):
        run = mprun(*arguments, cwd=empty_desk)
        assert run.code == 0
        assert run.stdout.startswith("Usage: mprun run [OPTIONS] JOB")


def test_commands_without_a_job_are_known_to_the_entry_point():
    assert set(commands.group.commands) - {"run", "resume"} == door.WITHOUT_JOB


# -- environment


def test_each_option_has_an_environment_variable(desk):
    variables = {
        "MPRUN_OUTPUT": "none",
        "MPRUN_MAX_PARALLEL": "3",
        "MPRUN_START_METHOD": "spawn",
        "MPRUN_VERBOSE": "1",
        "MPRUN_EVENTS": "copy.jsonl",
        "MPRUN_STATE_DIR": "state",
        "MPRUN_IMPORT_TIMEOUT": "30",
    }
    run = mprun("job.yaml", cwd=desk, env=variables, state_dir=None)
    assert (run.code, run.stdout) == (0, "")
    assert " join   a  1 of 2" in run.stderr
    copy = (desk / "copy.jsonl").read_text()
    (record,) = (desk / "state" / "runs").glob("*/events.jsonl")
    assert copy == record.read_text()
    started = json.loads(copy.splitlines()[0])
    assert (started["max_parallel"], started["start_method"]) == (3, "spawn")
    # An option on the command line overrides the variable.
    assert "hi bob" in mprun("job.yaml", "--output", "prefix", cwd=desk, env=variables).stdout


def test_a_wrong_value_in_the_environment_is_refused(empty_desk):
    assert "MPRUN_OUTPUT" in error_of(mprun("job.yaml", cwd=empty_desk, env={"MPRUN_OUTPUT": "some"}))


def test_quiet_run_that_succeeds_writes_nothing_to_stderr(desk):
    run = mprun("-q", "job.yaml", cwd=desk)
    assert (run.code, run.stderr) == (0, "")
    assert run.stdout.splitlines() == ["a    | hi bob", "b    | hi x"]


def test_a_task_finds_its_name_and_run(tmp_path):
    write(tmp_path, work=WORK, job="tasks:\n  - {name: e, target: work:environment, env: {OWN: yes}}")
    run = mprun("job.yaml", cwd=tmp_path)
    found = run.result("e")
    assert (found["MPRUN_TASK"], found["MPRUN_ATTEMPT"], found["OWN"]) == ("e", "1", "yes")
    assert found["MPRUN_RUN_ID"] == run.one("run_started")["run"]


def test_any_locale_works(tmp_path):
    write(tmp_path, work=WORK, job="tasks:\n  - {name: Wörter, target: work:hi, args: [跳舞], env: {Ü: ü}}")
    surroundings = {
        "LC_ALL": "POSIX",
        "PYTHONIOENCODING": "ascii",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
    }
    run = mprun("job.yaml", "-v", cwd=tmp_path, env=surroundings)
    assert run.code == 0
    assert run.stdout == "Wörter | hi 跳舞\n"
    assert mprun("plan", "job.yaml", cwd=tmp_path, env=surroundings).code == 0
    events = mprun("job.yaml", "--events", "-", cwd=tmp_path, env=surroundings)
    started = [json.loads(line) for line in events.stdout.splitlines() if '"task_started"' in line]
    assert [event["task"] for event in started] == ["Wörter"]


@pytest.mark.parametrize("command", [[], ["plan"], ["validate"]])
def test_job_file_without_permission_is_refused_in_the_words_of_mprun(command, desk):
    (desk / "job.yaml").chmod(0)
    if os.access(desk / "job.yaml", os.R_OK):
        pytest.skip("root reads every file")
    assert error_of(mprun(*command, "job.yaml", cwd=desk)) == "error: permission denied: `job.yaml`"


def test_every_task_with_the_same_bind_error_is_named(desk):
    wrong = "  - target: work:nothing\n"
    (desk / "job.yaml").write_text("tasks:\n" + wrong + "  - target: os:getpid\n" + wrong)
    message = error_of(mprun("job.yaml", "--dry-run", cwd=desk))
    assert message.count("module `work` has no attribute `nothing`") == 2
    assert "job.yaml:2:18" in message
    assert "job.yaml:4:18" in message


def test_dry_run_checks_every_target_and_starts_nothing(desk):
    run = mprun("job.yaml", "--dry-run", cwd=desk)
    assert (run.code, run.stdout) == (0, "")
    assert run.stderr == "job.yaml: every target can be called; nothing was started\n"
    (desk / "commands.yaml").write_text("tasks: [{command: [echo]}]")
    commands = mprun("commands.yaml", "--dry-run", cwd=desk)
    assert commands.stderr == "commands.yaml: no target to import; nothing was started\n"
    assert os.listdir(desk / ".mprun" / "runs") == []
    write(desk, job="tasks:\n  - target: work:nothing")
    assert "module `work` has no attribute `nothing`" in error_of(mprun("job.yaml", "--dry-run", cwd=desk))


# -- the other commands


def test_validate_reports_each_of_several_files(desk):
    write(desk, job2="tasks: []", job3="tasks:\n  - target: m:f")
    run = mprun("validate", "job.yaml", "job2.yaml", "nothing.yaml", "job3.yaml", cwd=desk)
    assert run.code == 2
    assert run.stdout == "job.yaml: ok, 2 tasks\njob3.yaml: ok, 1 task\n"
    assert "job2.yaml:1:8" in run.stderr
    assert "job file `nothing.yaml` not found" in run.stderr
    assert mprun("validate", "job.yaml", cwd=desk).code == 0


def test_plan_shows_order_arguments_and_joins(tmp_path):
    write(
        tmp_path,
        job="""
        max_parallel: 1
        tasks:
          - {name: last, target: 'm:f', depends_on: [first, beat]}
          - {name: first, target: 'm:f', args: [1, two], kwargs: {three: [4]}, start_method: spawn}
          - {name: beat, target: 'm:g', daemon: true}
        join: [{task: first, timeout: 1m30s}, last]
        """,
    )
    run = mprun("plan", "job.yaml", cwd=tmp_path)
    assert (run.code, run.stderr) == (0, "")
    head, *lines = run.stdout.splitlines()
    assert re.fullmatch(r"job: 3 tasks, \w+ \(at most 2 at once on \d+ cores?\), fork", head)
    assert lines == [
        "   1. first  m:f(1, 'two', three=[4])  [spawn]",
        "   2. beat  m:g()  [daemon]",
        "   3. last  m:f()  [after first, beat]",
        "join: first (1m30s at most), last",
        "stopped at the end: beat",
    ]
    plan = json.loads(mprun("plan", "job.yaml", "--format", "json", cwd=tmp_path).stdout)
    assert plan["order"] == ["first", "beat", "last"]
    assert plan["join"] == [{"task": "first", "timeout": 90.0}, {"task": "last", "timeout": None}]
    assert plan["tasks"][1]["kwargs"] == {"three": [4]}


def test_a_task_that_waits_for_a_daemon_to_end_is_warned_of_C19(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: db, target: 'm:f', daemon: true, ready: {tcp: 5432}}
          - {name: short, target: 'm:f', daemon: true, timeout: 1m}
          - {name: log, target: 'm:g', daemon: true, depends_on: {db: finished}}
          - {name: mail, target: 'm:g', depends_on: {short: failed, db: CONDITION}}
        """.replace("CONDITION", "failed"),
    )
    warning = (
        "warning: `mail` waits for the daemon `db` to end, which may not happen before the job does; "
        "if `mail` is a daemon too, the job does not wait for it\n"
    )
    for command in ("plan", "validate"):
        assert mprun(command, "job.yaml", cwd=tmp_path).stderr == warning


def test_a_job_of_daemons_alone_is_warned_of_unless_it_joins_one_C21(tmp_path):
    daemon = "{name: NAME, command: 'sleep 600', daemon: true, ready: {file: nowhere}}"
    tasks = "tasks: [" + ", ".join(daemon.replace("NAME", name) for name in ("db", "web")) + "]\n"
    warning = "warning: the job ends at once, because every task is a daemon; `join: [web]` waits for `web`\n"
    write(tmp_path, job=tasks, job_joined=tasks + "join: [db]\n", job_none=tasks + "join: []\n")
    for command in ("plan", "validate"):
        assert mprun(command, "job.yaml", cwd=tmp_path).stderr == warning
        assert mprun(command, "job_none.yaml", cwd=tmp_path).stderr == warning
        assert mprun(command, "job_joined.yaml", cwd=tmp_path).stderr == ""
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert run.stderr.startswith(warning)
    assert run.stderr.count("warning") == 1


def test_a_selection_of_daemons_alone_is_warned_of_C21(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: web, command: 'sleep 600', daemon: true, matrix: {port: [1, 2]}}
          - {name: ask, command: 'true', depends_on: web}
        """,
    )
    assert mprun("plan", "job.yaml", cwd=tmp_path).stderr == ""
    run = mprun("job.yaml", "-k", "web*", cwd=tmp_path)
    assert "warning: the job ends at once, because every task is a daemon; `join: [web]` waits" in run.stderr


def test_init_writes_a_job_that_runs_and_overwrites_nothing(tmp_path):
    first = mprun("init", cwd=tmp_path)
    assert (first.code, first.stderr) == (0, "")
    assert first.stdout == "wrote job.yaml\nwrote tasks.py\nrun it with: mprun job.yaml\n"
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert run.stdout.count("| hello") == 4
    again = error_of(mprun("init", "other.yaml", cwd=tmp_path))
    assert again == "error: `tasks.py` already exists; name another directory: `mprun init DIRECTORY`"
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not (tmp_path / "other.yaml").exists()


def test_schemas_are_printed_as_they_are_and_valid():
    for arguments, name in (([], "job"), (["job"], "job"), (["event"], "event")):
        run = mprun("schema", *arguments, cwd=ROOT)
        assert (run.code, run.stderr, run.stdout) == (0, "", schema_text(name))
        schema = json.loads(run.stdout)
        assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
        jsonschema.Draft7Validator.check_schema(schema)


# -- completion


def complete(desk, *words):
    answer = subprocess.run(
        [sys.executable, "-c", FORKLESS],
        cwd=desk,
        env=environment(
            _MPRUN_COMPLETE="bash_complete",
            COMP_WORDS=shlex.join(["mprun", *words]),
            COMP_CWORD=str(len(words)),
        ),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.split()


# Starts like the installed command, but any fork is an error.
FORKLESS = """
import sys
def refuse(event, arguments):
    assert event not in ("os.fork", "subprocess.Popen", "os.posix_spawn"), event
sys.addaudithook(refuse)
sys.argv = ["mprun"]
from mprun.__main__ import main
main()
"""


def test_runs_and_tasks_are_completed(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: 'a', target: 'work:hi', matrix: {n: [1]}}]")
    ids = [mprun("-q", "job.yaml", cwd=tmp_path).one("run_started")["run"] for _ in range(2)]
    newest_first = [f"plain,{name}" for name in reversed(ids)]
    for command in ("show", "tree"):
        assert complete(tmp_path, command, "") == newest_first
    assert complete(tmp_path, "logs", "--run", ids[1][:-1]) == newest_first[:1]
    # Quoted for the shell, in which brackets are a pattern.
    assert complete(tmp_path, "logs", "") == ["plain,a", "plain,a\\[n=1\\]"]
    assert complete(tmp_path, "logs", "a[") == ["plain,a\\[n=1\\]"]
    assert complete(tmp_path, "logs", "--run", ids[0], "a[") == ["plain,a\\[n=1\\]"]
    assert complete(tmp_path, "show", "--state-dir", "nowhere", "") == []
    assert complete(tmp_path, "logs", "--run", "nonsense", "") == []
    # A packed run, and its tasks.
    assert mprun("pack", ids[0], "-o", "ci.zip", cwd=tmp_path).code == 0
    assert complete(tmp_path, "show", "ci") == ["file,ci"]
    elsewhere = ("--state-dir", "nowhere")
    assert complete(tmp_path, "logs", *elsewhere, "--run", "ci.zip", "a[") == ["plain,a\\[n=1\\]"]
    assert complete(tmp_path, "logs", *elsewhere, "ci.zip", "a[") == ["plain,a\\[n=1\\]"]


def test_completion_works_and_forks_no_launcher(empty_desk):
    assert complete(empty_desk, "va") == ["file,va", "plain,validate"]
    assert complete(empty_desk, "run", "jo") == ["file,jo"]
    assert complete(empty_desk, "jo") == ["file,jo"]
    assert complete(empty_desk, "job.yaml", "--outp") == ["plain,--output"]
    assert complete(empty_desk, "job.yaml", "--output", "") == [f"plain,{word}" for word in OUTPUTS]
    assert not (empty_desk / ".mprun").exists()
