"""Shell completion of what a job file declares: params, their choices, and tasks."""

import os
import shlex
import subprocess
import sys

import pytest
from support.runs import environment, write

JOB = r"""
    name: demo
    description: |
      Does things.
      In two lines.
    params:
      day: {type: string, required: true, description: the day, pattern: '\d{4}-\d\d-\d\d'}
      size: {enum: [small, large], default: small}
      token: {secret: true, required: true}
      hosts: {type: list, required: true, enum: [a, b]}
      n: {type: integer, required: true}
      fast: false
      port: {type: integer, default: "${env.PORT}"}
    tasks:
      - {name: say, command: 'echo ${params.day} ${params.n}', tags: [quick], description: says it}
      - {name: many, command: [echo, '${matrix.x}'], matrix: {x: [1, 2, 3]}}
    """


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, job=JOB)
    return tmp_path


def complete(desk, *words):
    """The words that zsh offers; the last of `words` is being typed."""
    variables = {"COMP_WORDS": shlex.join(["mprun", *words]), "COMP_CWORD": str(len(words))}
    answer = subprocess.run(
        [sys.executable, "-m", "mprun"],
        cwd=desk,
        env=environment(_MPRUN_COMPLETE="zsh_complete", PORT="80", **variables),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.splitlines()[1::3]


def test_params_choices_and_tasks_are_completed(desk):
    for command in ((), ("run",), ("plan",)):
        assert complete(desk, *command, "job.yaml", "") == [
            "say",
            "many",
            "many[x=1]",
            "many[x=2]",
            "many[x=3]",
        ]
    assert complete(desk, "job.yaml", "sa") == ["say"]
    assert complete(desk, "job.yaml", "-p", "s") == ["size="]
    assert complete(desk, "job.yaml", "-p", "size=") == ["size=small", "size=large"]
    assert complete(desk, "job.yaml", "-p", "size=l") == ["size=large"]
    assert complete(desk, "job.yaml", "--param", "fast=") == ["fast=true", "fast=false"]
    assert complete(desk, "job.yaml", "-p", "n=") == []
    assert complete(desk, "job.yaml", "-p", "size=small", "s") == ["say"]


def in_bash(desk, line, current, breaks=" \t\n\"'><=;|&(:"):
    """What bash offers in place of the part of the line that it takes for a word, `current`."""
    answer = subprocess.run(
        [sys.executable, "-m", "mprun"],
        cwd=desk,
        env=environment(
            **{"_MPRUN_COMPLETE": "bash_complete", "PORT": "80", "COMP_LINE": line},
            **{"COMP_CURRENT": current, "COMP_WORDBREAKS": breaks},
        ),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    return [line.partition(",")[2] for line in answer.stdout.splitlines()]


def test_bash_gets_what_follows_the_place_where_it_divides_a_word(desk):
    assert in_bash(desk, "mprun job.yaml -p size=", "=") == ["small", "large"]
    assert in_bash(desk, "mprun job.yaml -p n=1 -p size=l", "l") == ["large"]
    assert in_bash(desk, "mprun job.yaml --param=size=l", "l") == ["large"]
    assert in_bash(desk, "mprun job.yaml -p size=l", "size=l", breaks=" ") == ["size=large"]
    assert in_bash(desk, "mprun job.yaml -p 'size=l", "'size=l") == ["size=large"]
    assert in_bash(desk, "mprun job.yaml sa", "sa") == ["say"]
    assert len(in_bash(desk, "mprun job.yaml ", "")) == 5


def test_an_option_stays_before_its_value(desk):
    assert complete(desk, "job.yaml", "--param=size=l") == ["--param=size=large"]
    assert complete(desk, "job.yaml", "--param=s") == ["--param=size="]


@pytest.mark.parametrize(
    "text",
    [
        "tasks: [",
        "a: 1",
        "tasks: [{name: a, command: ls, depends_on: b}]",
        "params: {p: {enum: [1], default: 2}}\ntasks: [{command: ls}]",
        "params: {'a\\x1b': 1}\ntasks: [{name: 'a', uses: a.yaml}]",
        f"x-a: {'[' * 5000}",
        f"tasks: [{{command: ls, matrix: {{a: [{', '.join(map(str, range(600)))}], b: [1, 2, 3]}}}}]\n" * 2,
        f"# {'x' * 600_000}\ntasks: [{{name: a, command: ls}}]",
    ],
    ids=["torn", "other", "unknown need", "wrong default", "names", "deep", "twice", "large"],
)
@pytest.mark.parametrize("words", [("",), ("-p", "")])
def test_an_invalid_or_large_job_file_completes_nothing(text, words, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    assert complete(tmp_path, "a.yaml", *words) in ([], ["p="])


def test_what_is_not_a_file_completes_nothing(tmp_path):
    os.mkfifo(tmp_path / "fifo.yaml")
    for job in ("fifo.yaml", "none.yaml", "-", "no_package:a.yaml", "/dev/zero"):
        assert complete(tmp_path, "run", job, "") == []


# Writes what is started.
SPY = """
    import sys

    def note(event, arguments):
        if event == "subprocess.Popen":
            with open("started", "a") as file:
                print(arguments[1], file=file)

    sys.addaudithook(note)
"""


def test_no_connection_to_a_cluster_begins(desk, monkeypatch):
    write(desk, distributed="", sitecustomize=SPY)
    monkeypatch.setenv("PYTHONPATH", str(desk))
    assert complete(desk, "job.yaml", "--executor", "dask", "")[0] == "say"
    assert not (desk / "started").exists()
