"""Hostile names, messages, records and source lines, through every command, to each reader (C57, C70)."""

import json
import re
import shutil

import pytest
from support import schemas
from support.records import STAMP
from support.runs import all_runs, mprun, side_by_side, start, write
from support.terminal import on_terminal

# What a terminal obeys, what no one sees, a line of its own, and commands to GitHub's runner.
UNSEEN = "\u061c\u200b\u200e\u202e\u2066\u2028\u2029\u2062\xad\ufeff\u3164\U000e0041\U000e0100"
CONTROLS = "\x1b]0;title\x07\x1b[8m\x1b[2J\x9b31m\x7f\x08"
COMMANDS = "\n::error::FORGED\r\n##[error]FORGED\r::set-output name=a::FORGED\n##[group]\n"
HOSTILE = f"{CONTROLS}{UNSEEN}{COMMANDS}"
# What the name of a task or a job may contain.
IN_A_NAME = f"::error::a##(error){UNSEEN}"

WORK = f"""
    import sys

    class {"Ärger"}(Exception):
        pass

    def fail(*args, **kwargs):
        raise type({HOSTILE!r}, (Exception,), {{}})({HOSTILE!r})

    def give(*args):
        return [{HOSTILE!r}, {{{HOSTILE!r}: 1}}]

    def say(*args):
        print({HOSTILE!r}, file=sys.stderr)
        print({HOSTILE!r})
    """
KEYS = [{HOSTILE: HOSTILE}, HOSTILE]
JOB = {
    "name": IN_A_NAME,
    "description": HOSTILE,
    "params": {"p": HOSTILE},
    "resources": {"r": 1},
    "tasks": [
        {"name": IN_A_NAME, "target": "work:fail", "args": KEYS, "retry": 1, "description": HOSTILE},
        {"name": "command", "command": [HOSTILE, HOSTILE]},
        {"name": "shell", "command": f"exit 3 # {HOSTILE}"},
        {"name": "give", "target": "work:give", "kwargs": {}, "tags": ["a"]},
        {"name": "each", "target": "work:fail", "foreach": "${tasks.give.result}", "args": ["${item}"]},
        {"name": "matrix", "target": "work:fail", "args": ["${matrix.m}"], "matrix": {"m": ["::error::", 1]}},
        {"name": "expect", "target": "work:give", "expect": {"result": HOSTILE}},
        {"name": "cwd", "target": "work:give", "cwd": "${tasks.give.result}"},
        {"name": "skipped", "target": "work:give", "depends_on": [IN_A_NAME]},
        {"name": "served", "command": f"sleep 60 # {HOSTILE}", "daemon": True},
    ],
}
BROKEN = {
    "name": HOSTILE,
    HOSTILE: 1,
    "params": {HOSTILE: 1},
    "env": {HOSTILE: HOSTILE},
    "tasks": [
        {"name": HOSTILE, "target": HOSTILE},
        {"name": "a", HOSTILE: 1, "target": "work:give"},
        {"name": "b", "target": "work:give", "depends_on": [HOSTILE], "timeout": HOSTILE, "daemon": HOSTILE},
        {"name": "c", "command": f"${{params.{HOSTILE}}} ${{{HOSTILE}}}", "when": "${env." + HOSTILE + "}"},
    ],
}
# Errors of later stages, which are only found in files without earlier ones.
LATER = [
    {"tasks": [{"name": "a", "target": "work:give", "depends_on": [HOSTILE]}]},
    {"tasks": [{"name": "a", "command": f"${{params.{HOSTILE}}}"}]},
    {
        "tasks": [{"name": "a", "target": "work:give", "args": ["${params.x}"]}],
        "params": {"x": {"enum": [HOSTILE], "default": 1}},
    },
    {"tasks": [{"name": "a", "uses": HOSTILE.replace("\n", "")}]},
    {"tasks": [{"name": "a", "target": "work:give"}], "env_file": HOSTILE},
    {"tasks": [{"name": "a", "target": f"work:{HOSTILE}"}]},
    {"tasks": [{"name": IN_A_NAME, "target": "work:nothing"}], "pythonpath": HOSTILE, "preload": [HOSTILE]},
    {"tasks": [{"name": IN_A_NAME, "target": "work:give", "kwargs": {"x": HOSTILE}}]},
    {"tasks": [{"name": IN_A_NAME, "target": "work:give", "cwd": HOSTILE}]},
]
# Source lines that have these characters themselves, some of which YAML accepts.
ACCEPTED = UNSEEN.replace("\ufeff", "")
SOURCE = f"tasks:\n  - {{name: '{ACCEPTED}', retires: '{ACCEPTED}##[error]'}}\n::error::FORGED: ##[group]\n"
MISTAKES = [
    *(SOURCE, f"tasks:\n  - {HOSTILE}\n", f"tasks:\n  - {UNSEEN}\n"),
    *(f"tasks: &a [*{ACCEPTED}b]\n", f"a: b: {ACCEPTED}##[error]\n", f"::error::{ACCEPTED}: ##[error]\n"),
]


def as_yaml(job):
    """JSON in which a character beyond 16 bits has YAML's escape."""
    text = json.dumps(job)
    for char in (char for char in UNSEEN if ord(char) > 0xFFFF):
        text = text.replace(json.dumps(char)[1:-1], f"\\U{ord(char):08x}")
    return text


def job_files(folder):
    """The names of the job files in a folder, the valid one first."""
    write(folder, work=WORK)
    texts = [as_yaml(job) for job in (JOB, BROKEN, *LATER)] + MISTAKES
    for number, text in enumerate(texts):
        (folder / f"{number}.yaml").write_text(text, encoding="utf-8")
    (folder / f"6{IN_A_NAME}.yaml".replace("/", "")).write_text(as_yaml(LATER[0]))
    return sorted(path.name for path in folder.glob("*.yaml"))


VIEWS = [
    *(
        ["show"],
        ["show", "-v"],
        ["show", "--json"],
        ["tree"],
        ["tree", "--json"],
        ["runs"],
        ["runs", "--json"],
    ),
    *(["logs", "--json"], ["result", "give"], ["result", HOSTILE, "--json"], ["stop", "--json", HOSTILE]),
    *(
        ["show", HOSTILE, "--json"],
        ["show", f"--{HOSTILE}", "--json"],
        ["runs", "--prune", "0s", "--dry-run", "--json"],
    ),
    *(["result", HOSTILE], ["logs", HOSTILE], ["show", HOSTILE]),
    *(
        ["stop", "--run", HOSTILE],
        ["stop", HOSTILE],
        ["runs", "--prune", HOSTILE],
        ["runs", "--prune", "0s", "--dry-run"],
    ),
    *(["resume", HOSTILE], ["resume", "--rerun", HOSTILE], ["resume", "-p", HOSTILE], ["help", HOSTILE]),
    *(
        [HOSTILE.replace("/", "")],
        ["0.yaml", HOSTILE],
        ["run", f"--{HOSTILE}"],
        ["run", "-j", HOSTILE, "0.yaml"],
    ),
    *(["0.yaml", "-p", f"{HOSTILE}=1"], ["0.yaml", "-k", HOSTILE], ["plan", "0.yaml", "-p", f"p={HOSTILE}"]),
    *(
        ["0.yaml", "--output", HOSTILE],
        ["0.yaml", "--events", f"/none/{HOSTILE}"],
        ["init", f"/proc/{HOSTILE}"],
    ),
    *(["show", "--state-dir", HOSTILE], ["stop", "--state-dir", HOSTILE], ["runs", "--state-dir", HOSTILE]),
    *(["schema", HOSTILE], ["validate", HOSTILE], [f"{HOSTILE}.yaml"], ["logs", "--tail", HOSTILE]),
]
# What has the logs of tasks, whose lines may be any, as a page or file that no runner of a CI service reads.
PAGES = [["export", "--junit=-"], ["report", "-o-"]]
# What is made of the records of runs.
WRITTEN = [
    *PAGES,
    *(["export", "--trace=-"], ["export", "--otlp=-"], ["compare"], ["compare", "--json"]),
    *(["flaky"], ["flaky", "--json"]),
]
VIEWS += [
    *WRITTEN,
    *(["export", HOSTILE, "--otlp=-"], ["compare", HOSTILE, HOSTILE], ["report", HOSTILE]),
    *([command, "--state-dir", HOSTILE] for command in ("flaky", "compare", "report")),
    *([command, f"--junit=/none/{HOSTILE}"] for command in ("export", "0.yaml")),
    *(["0.yaml", f"--{name}", f"/none/{HOSTILE}"] for name in ("report", "trace", "otlp", "ci")),
    *(["0.yaml", "--trace", HOSTILE.replace("/", ""), "--otlp", HOSTILE.replace("/", "")],),
]
PLANS = [["plan", "0.yaml", "--format", form] for form in ("text", "json", "dot", "mermaid")]
PLANS += [["plan", "--json", "0.yaml"], ["plan", "--json", "1.yaml"], ["plan", "--json", "2.yaml"]]
# What tasks print is theirs: a pipe gets it as it is.
RUNS = [
    ["-v", "0.yaml", "--output", "none"],
    ["0.yaml", "--events", "-"],
    ["resume", "-v", "--output", "none"],
    ["resume", "--json"],
    ["run", "--json", "0.yaml"],
]


# What mprun itself says to GitHub: no text of others can end its data or its properties.
OWN_COMMANDS = re.compile(
    r"^::(?:group::.*|endgroup::|error (?:file=[^:,\n]*,line=[0-9]+,)?title=[^:,\n]*::.*)$", re.MULTILINE
)


def check(command, text, *, on_github=False, is_terminal=False):
    """Look for what must not be in what a command printed."""
    if is_terminal:
        # Those of our own colours; not `8`, which hides.
        text = re.sub(r"\x1b\[(?:[0123]|[39][0-7]|1;3[0-7]|)m", "", text)
    found = {char for char in text if char != "\n" and (not char.isprintable() or char in UNSEEN)}
    assert not found, (
        command,
        found,
        [text[max(i - 30, 0) : i + 30] for i, c in enumerate(text) if c in found],
    )
    assert command in PAGES or not re.search(r"(?m)^\W*(::error::)?FORGED", text), (command, text)
    if on_github:
        text = OWN_COMMANDS.sub("", text)
        assert not re.search(r"(?m)^[^!-~]*::|##\[", text), (command, text)


def read(folder, commands, reader):
    """Run commands and check what they print, for one kind of reader."""
    if reader == "terminal":
        for command in commands:
            # So wide that no table folds a cell: a line of it would begin within a text, as it happens.
            check(command, on_terminal(*command, cwd=folder, columns=2000)[1], is_terminal=True)
        return
    env = {"GITHUB_ACTIONS": "true"} if reader == "GitHub" else {}
    printed = side_by_side(lambda command: start(*command, cwd=folder, env=env).communicate(), commands)
    for command, pair in zip(commands, printed, strict=True):
        stdout, stderr = (data.decode() for data in pair)
        for text in (stdout, stderr):
            check(command, text, on_github=bool(env))
        if {"--json", "json", "-"} & set(command) and stdout:
            whole = command[0] != "runs" and command[0] not in ("logs", "validate") and command[-1] != "-"
            for text in [stdout] if whole else stdout.strip().split("\n"):
                assert misfits(command, text) == [], (command, text)
        if "--json" in command:
            lines = [line for line in stderr.splitlines() if line.startswith("{")]
            assert whole_run(command) or lines == stderr.splitlines(), (command, stderr)
            for line in lines:
                assert schemas.refusals("error", json.loads(line)) == [], (command, line)


def whole_run(command):
    """Whether a command runs a job, of which it also writes to stderr."""
    return command[0] in ("run", "resume")


def misfits(command, text):
    """What is wrong with JSON that a command printed, by its schema; `result` may print any."""
    try:
        value = json.loads(text)
    except ValueError:
        return ["it is not JSON"]
    if command[0] == "result":
        return []
    name = "event" if command[-1] == "-" else "show" if whole_run(command) else command[0]
    if not {"--json", "json"} & set(command):
        return []
    # The keys inside the values of a forged event are forged, too.
    return schemas.refusals(name, value, undescribed=name in ("show", "runs"))


READERS = ("terminal", "pipe", "GitHub")


@pytest.mark.parametrize("reader", READERS)
def test_nothing_in_a_job_file_acts_on_who_reads_of_it(reader, tmp_path):
    files = job_files(tmp_path)
    read(
        tmp_path,
        [
            ["validate", *files],
            ["validate", "--json", *files],
            *(["--dry-run", file] for file in files),
            *PLANS,
        ],
        reader,
    )


@pytest.mark.parametrize("reader", READERS)
def test_nothing_of_a_run_acts_on_who_reads_of_it(reader, tmp_path):
    job_files(tmp_path)
    for command in RUNS:
        read(tmp_path, [command], reader)
    read(tmp_path, VIEWS, reader)


def forged(value, key="", *, all_of_it=False):
    """A value of a record with hostile texts in place of its own, or after them."""
    if key in ("event", "format"):
        return value
    if isinstance(value, dict):
        return {
            (name if key in ("", "error") else forged(name, all_of_it=all_of_it)): forged(
                one, name, all_of_it=all_of_it
            )
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [forged(one, key or "list", all_of_it=all_of_it) for one in value]
    if not isinstance(value, str):
        return value
    return f"{'' if all_of_it else value}{HOSTILE}"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with a run of every kind of event."""
    folder = tmp_path_factory.mktemp("recorded")
    job_files(folder)
    run = mprun("0.yaml", "-q", "--output", "none", cwd=folder)
    assert {event["event"] for event in run.events} >= {"task_retrying", "task_stopping", "tasks_planned"}
    return folder


@pytest.mark.parametrize("all_of_it", [False, True], ids=["at the end", "instead"])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_in_a_record_acts_on_who_reads_of_it(reader, all_of_it, recorded, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(recorded, folder)
    (directory,) = all_runs(folder / ".mprun")
    lines = [
        json.dumps(forged(json.loads(line), all_of_it=all_of_it))
        for line in (folder / directory.events).read_text().strip().split("\n")
    ]
    # And one that is corrupt, one of another kind, and a run without an end.
    lines[2:2] = [
        '{"event": "task_joined", "' + "\\u001b" + '": 1}',
        HOSTILE.replace("\n", ""),
        '{"event": 1}',
    ]
    (folder / directory.events).write_text("\n".join(lines) + "\n")
    unfinished = folder / ".mprun" / "runs" / STAMP["run"]
    unfinished.mkdir()
    (unfinished / "events.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    commands = [
        *VIEWS[:8],
        *WRITTEN,
        *([*view, "--run", STAMP["run"]] for view in (["logs"], ["result", "give"])),
    ]
    commands += [[view, STAMP["run"]] for view in ("show", "tree")] + [["resume"], ["logs"], ["logs", "-f"]]
    read(folder, commands, reader)
