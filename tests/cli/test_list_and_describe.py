"""`mprun list` and `mprun describe`."""

import json
import shlex
import subprocess
import sys

import pytest
from support import schemas
from support.runs import environment, mprun, write
from support.terminal import on_terminal
from support.wheels import ACME, install, wheel

JOB = r"""
    name: demo
    description: |
      Does things.
      In two lines.
    requires: mprun >= 0.1
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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A directory with an installed package that declares recipes, and a distribution that is damaged."""
    folder = tmp_path_factory.mktemp("site")
    install(wheel(folder, ACME), folder / "lib")
    broken = folder / "lib" / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_bytes(b"[mprun.recipes]\n\xff = \xfe\n")
    return folder / "lib"


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, job=JOB)
    for name, text in {"other": "a: 1", "bad": "tasks: [{nme: x}]", "torn": "tasks: ["}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "inner.yml").write_text('description: "\\e[31mred"\ntasks: [{command: ls}]\n')
    return tmp_path


@pytest.fixture
def run(site, desk):
    def command(*arguments, **variables):
        return mprun(*arguments, cwd=desk, env={"PYTHONPATH": str(site), "PORT": "80", **variables})

    return command


def test_job_files_and_recipes_of_packages_are_listed_with_their_params(run):
    done = run("list")
    assert done.code == 0
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "job.yaml demo Does things. day, token, hosts, n, size=small, fast=false, port=${env.PORT}",
        r"jobs/inner.yml inner \x1b[31mred",
        "acme_jobs:etl.yaml etl Loads the rows of one day. day, size=small",
        "acme_jobs:parts/load.yaml load rows",
    ]
    assert done.stderr.splitlines() == [
        "bad.yaml: line 1: unknown key `nme` in task `Process-1`",
        "torn.yaml: line 1: invalid YAML: did not find expected node content",
    ]
    assert "imported" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("jobs", ["jobs/inner.yml"]),
        ("acme_jobs", ["acme_jobs:etl.yaml", "acme_jobs:parts/load.yaml"]),
        ("acme_jobs.parts", ["acme_jobs.parts:load.yaml"]),
    ],
)
def test_a_directory_or_a_package_is_listed(where, names, run):
    lines = [json.loads(line) for line in run("list", where, "--json").stdout.splitlines()]
    assert [line["job"] for line in lines] == names
    assert [schemas.refusals("list", line) for line in lines] == [[]] * len(lines)


def test_a_directory_without_job_files_is_named(run, desk):
    (desk / "empty").mkdir()
    assert run("list", "empty").stderr == "no job files in `empty`\n"


def test_hidden_files_and_files_without_tasks_are_not_named(run, desk):
    (desk / ".pre-commit-config.yaml").write_text("repos: []\n")
    (desk / ".hidden.yaml").write_text("tasks: [{command: ls}]\n")
    named = run("list", ".")
    assert "other.yaml: not a job file" in named.stderr.splitlines()
    for done in (run("list"), named):
        assert ".pre-commit-config" not in done.stderr
        assert ".hidden" not in done.stdout
    assert "other.yaml" not in run("list", "--json").stdout


def test_files_that_are_not_listed_are_objects_too(run):
    lines = [json.loads(line) for line in run("list", ".", "--json").stdout.splitlines()]
    assert [schemas.refusals("list", line) for line in lines] == [[]] * len(lines)
    errors = {line["job"]: line["error"] for line in lines if line["error"]}
    assert errors.keys() == {"bad.yaml", "other.yaml", "torn.yaml"}
    assert errors["other.yaml"] == "not a job file"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "acme_job",
            "`acme_job` is neither a directory nor a package; package `acme_job` not found;"
            " did you mean `acme_jobs`?",
        ),
        ("no/such", "`no/such` is neither a directory nor a package"),
    ],
)
def test_what_is_not_there_is_an_error(where, message, run):
    done = run("list", where)
    assert (done.code, done.stderr) == (2, f"error: {message}\n")


DESCRIBED = r"""
demo: Does things.
In two lines.

file: job.yaml
requires: mprun >= 0.1
params:
  day    string, required, pattern \d{4}-\d\d-\d\d   the day
  size   string, default small, one of small, large
  token  string, required, secret
  hosts  list, required, items of a, b
  n      integer, required
  fast   boolean, default false
  port   integer, default 80
tasks:
  say   echo ${params.day} ${params.n} [quick]  says it
  many  echo '${matrix.x}' (3 tasks)
tags: quick
example: mprun job.yaml -p day=2026-01-31 -p token=@FILE -p hosts=a -p n=1
options of a run: mprun run --help
"""


@pytest.mark.parametrize(
    "command",
    [
        ("describe", "job.yaml"),
        ("job.yaml", "--help"),
        ("job.yaml", "-h"),
        ("-q", "job.yaml", "--help"),
        ("-j", "2", "job.yaml", "say", "-h"),
    ],
)
def test_a_job_is_described(command, run):
    done = run(*command, MPRUN_PARAM_SIZE="large")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.strip() == DESCRIBED.strip()


def test_the_example_of_a_description_works_when_it_is_pasted(run, desk):
    example = json.loads(run("describe", "job.yaml", "--json").stdout)["example"]
    (desk / "FILE").write_text("a secret\n")
    command = example.replace("mprun ", f"{shlex.quote(sys.executable)} -m mprun ", 1)
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=desk,
        env=environment(PORT="80"),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert "2026-01-31 1" in done.stdout


def test_a_command_is_shown_as_it_runs_and_a_job_without_words_has_no_empty_line(run, desk):
    write(desk, job_short="tasks: [{command: 'echo \"$${#TOKEN} characters\"', name: say}]")
    lines = run("describe", "job_short.yaml").stdout.splitlines()
    assert lines[:2] == ["job_short: 1 task", "file: job_short.yaml"]
    assert '  say  echo "${#TOKEN} characters"' in lines


def test_a_description_as_json_has_its_schema(run):
    for job in ("job.yaml", "acme_jobs:etl.yaml"):
        value = json.loads(run("describe", job, "--json").stdout)
        assert schemas.refusals("describe", value) == []
    assert value["tasks"][1] == {
        **{"name": "load", "kind": "uses", "runs": "parts/load.yaml", "description": "", "tags": []},
        "tasks": 1,
    }


def test_help_about_a_job_is_an_object_if_that_is_asked_for(run):
    expected = json.loads(run("describe", "job.yaml", "--json").stdout)
    for words in (("job.yaml", "--json", "--help"), ("job.yaml", "-h", "--json")):
        assert json.loads(run(*words).stdout) == expected
    done = run("-q", "--help")
    assert done.stdout.startswith("Usage: mprun run ")


def test_a_description_has_the_outputs(run, desk):
    write(
        desk, job_etl='outputs: {rows: "${tasks.a.result}"}\ntasks: [{name: a, command: ls, capture: text}]'
    )
    value = json.loads(run("describe", "job_etl.yaml", "--json").stdout)
    assert schemas.refusals("describe", value) == []
    assert value["outputs"] == [{"name": "rows", "reference": "${tasks.a.result}"}]
    assert "\noutputs:\n  rows  ${tasks.a.result}\n" in run("describe", "job_etl.yaml").stdout


def test_declared_packages_that_are_not_there_are_named_up_to_a_limit(run, tmp_path):
    info = tmp_path / "lib" / "stale-1.dist-info"
    info.mkdir(parents=True)
    names = "".join(f"x{n} = stale{n:05}\n" for n in range(20_000))
    (info / "entry_points.txt").write_text(f"[mprun.recipes]\ndamaged\n{names}long = {'a' * 200_000}\n")
    done = run("list", PYTHONPATH=str(tmp_path / "lib"))
    assert done.code == 0
    assert len(done.stderr) < 3000
    missing = "an installed package declares recipes of `stale00000`: package `stale00000` not found"
    assert missing in done.stderr.splitlines()
    assert "and of 990 other packages that cannot be used" in done.stderr
    assert "only the first 1,000 of 20,000 packages are looked at" in done.stderr


def test_a_file_that_is_too_large_is_not_read(run, desk):
    (desk / "large.yaml").write_text("tasks: [{command: ls}]\n" + "# large\n" * 80_000)
    done = run("list")
    assert "large.yaml` has more than 524,288 bytes" in done.stderr


def test_an_invalid_job_is_explained_and_not_described(run):
    done = run("bad.yaml", "--help")
    assert (done.code, done.stdout) == (2, "")
    assert "unknown key `nme`" in done.stderr


def test_a_narrow_list_has_the_params_below_the_names(desk, site):
    _, shown = on_terminal("list", cwd=desk, columns=40, PYTHONPATH=str(site), PORT="80", CI="")
    lines = shown.splitlines()
    row = lines.index("job.yaml                   demo")
    assert lines[row + 1 : row + 3] == ["      Does things.", "      day, token, hosts, n, size=small,…"]
    assert "      day, size=small" in lines
    assert max(map(len, lines[: row + 8])) <= 40


def test_lines_are_no_wider_than_the_terminal(desk, site):
    given = {"cwd": desk, "columns": 60, "PYTHONPATH": str(site), "PORT": "80", "CI": ""}
    code, shown = on_terminal("list", **given)
    listed, _, _ = shown.partition("bad.yaml: ")
    assert code == 0
    assert max(map(len, listed.splitlines())) == 60
    code, shown = on_terminal("describe", "job.yaml", **{**given, "columns": 55})
    lines = shown.splitlines()
    row = lines.index(r"  day    string, required, pattern \d{4}-\d\d-\d\d")
    assert lines[row + 1 : row + 3] == [
        "      the day",
        "  size   string, default small, one of small, large",
    ]
    assert lines[lines.index("tasks:") + 1] == "  say   echo ${params.day} ${params.n} [quick]  says it"
