"""Every command and job file in the documentation works, and every link leads to a file."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from support.ports import held_ports
from support.runs import ROOT, environment, finish, mprun, newest_run, start, write
from support.wheels import install, wheel

from mprun.jobfile.syntax.document import parse, plain

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# Commands that a test cannot run: they would run this test, or install from a registry.
NOT_HERE = re.compile(r"make |pipx |uvx |pip |pre-commit |\.venv/|jq |eval ")


def commands():
    """Every command in the documentation, with its page: in blocks, and in backticks in the text."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            for line in block.splitlines() if language in ("", "sh", "console") else ():
                command = re.sub(r"\s+#.*", "", line.removeprefix("$ ")).strip()
                if re.match(r"(mprun|make|pipx|uvx|pip) ", command):
                    found.setdefault(command, page.name)
        for command in re.findall(r"`(mprun (?:[a-z-]+/|[a-z]+\b)[^`]*)`", text):
            found.setdefault(command, page.name)
    return {command: page for command, page in found.items() if not NOT_HERE.match(command)}


COMMANDS = [
    command
    for command, page in commands().items()
    if "JOB" not in command and "NAME" not in command
    # They name tasks of the jobs on that page: tests/cli/test_coming_from.py plans them.
    if not (page == "coming-from.md" and command.startswith("mprun job.yaml "))
]

# A block of YAML is a complete job file, or its first line names the part of a job that it shows.
# Beside a task there is another one, because it may be a daemon, for which the job would not wait.
PARTS = {
    "# task keys": "tasks:\n  - target: m:g\n  - target: m:f\n{}",
    "# job keys": "{}\ntasks:\n  - target: m:f\n",
}


def blocks():
    """Every block of YAML as a complete job file, with its page and line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            block, line = found[1], text.count("\n", 0, found.start()) + 1
            first = block.partition("\n")[0]
            indent = "    " if first == "# task keys" else ""
            whole = PARTS.get(first, "{}").format(re.sub("^", indent, block, flags=re.MULTILINE))
            yield pytest.param(whole, first in PARTS, id=f"{page.name}:{line}")


BLOCKS = list(blocks())
# Jobs that need a param, or the app of the README, are not run here, nor those that need other programs:
# tests/cli/test_coming_from.py runs them, and the snippets of docs/python.md the job beside them.
NEEDS = re.compile("required: true|target: app:")
ELSEWHERE = ("coming-from.md", "python.md")
RUN = [
    block
    for block in BLOCKS
    if not (
        block.values[1]
        or NEEDS.search(block.values[0])
        or block.id.startswith(("coming-from.md", "python.md"))
    )
]


def write_package(directory):
    """Write the files of the package in docs/recipes.md; the text of its pyproject.toml."""
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"^```(?:yaml|python|toml)\n# (\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    pyproject = files.pop("pyproject.toml")
    for name, part in {**files, "acme_jobs/__init__.py": ""}.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(part, encoding="utf-8")
    return pyproject


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with jobs and examples, the files that `mprun init` writes, and a packed run of them.

    The runs in its folder `kept` are of these files alone; in `.mprun`, others leave some that failed.
    """
    directory = tmp_path_factory.mktemp("docs")
    write_package(directory)
    for name in ("jobs", "examples"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert mprun("init", cwd=directory).code == 0
    for state_dir in (".mprun", "kept"):
        assert mprun("job.yaml", "--state-dir", state_dir, cwd=directory).code == 0
    for name in ("run.zip", "FILE.zip"):
        assert mprun("pack", "-o", name, cwd=directory).code == 0
    return directory


def test_documents_have_commands():
    assert len(COMMANDS) > 20


@pytest.fixture
def apart(tmp_path):
    """Variables for the params of a recipe: a port and a file that nothing else has, which runs beside it."""
    with held_ports() as (port,):
        yield {"MPRUN_PARAM_PORT": str(port), "MPRUN_PARAM_FLAG": str(tmp_path / "up")}


def run_until_ctrl_c(*arguments, directory, env):
    """Interrupt a stack once its worker works: the worker ends before the service that it needs."""
    process = start(*arguments, cwd=directory, env=env)
    for line in process.stdout:
        if line.startswith(b"worker"):
            break
    process.send_signal(signal.SIGINT)
    run = finish(process, directory / ".mprun")
    assert run.code == 130, run.stderr
    happened = [(event["event"], event.get("task")) for event in run.events]
    assert happened.index(("task_exited", "worker")) < happened.index(("task_stopping", "web"))


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_documents_does_what_it_says(command, place, apart):
    arguments = shlex.split(command)[1:]
    if "dask" in arguments:
        pytest.importorskip("distributed")
    if arguments == ["init"]:
        run = mprun(*arguments, cwd=place)
        assert run.code == 2
        assert "already exists" in run.stderr
        return
    if arguments[:1] == ["stop"]:
        run = mprun(*arguments, cwd=place)
        assert (run.code, "no active run in .mprun" in run.stderr) == (2, True)
        return
    if "jobs/stack.yaml" in arguments:
        run_until_ctrl_c(*arguments, directory=place, env=apart)
        return
    if "||" in arguments:
        arguments = arguments[: arguments.index("||")]
    if arguments[:1] == ["compare"]:
        arguments[1:] = [Path(newest_run(place / "kept").events).parent.name] * 2
    if arguments[:1] in (["compare"], ["logs"], ["resume"], ["why"]):
        arguments += ["--state-dir", "kept"]
    if arguments[:1] == ["merge"]:
        shard = ("--partition", "slice:1/1", "--state-dir", "shard")
        assert mprun("job.yaml", *shard, cwd=place).code == 0
        arguments[1:] = ["shard"]
    run = mprun(*arguments, cwd=place, env=apart)
    assert run.code == int(
        any(name in command for name in ("killed.yaml", "fail_fast.yaml", "smoke.yaml"))
    ), run.stderr


def test_job_files_of_the_documents_are_valid(place):
    """Each is named if there is an error in it."""
    names = [f"{block.id.replace(':', '-')}.yaml" for block in BLOCKS]
    for name, block in zip(names, BLOCKS, strict=True):
        (place / name).write_text(block.values[0], encoding="utf-8")
    run = mprun("validate", *names, cwd=place)
    assert (run.code, run.stderr) == (0, "")
    assert [name for name in names if name not in run.stdout] == []


@pytest.mark.parametrize(("text", "part"), RUN)
def test_job_file_of_the_documents_runs(text, part, place, request, apart):
    path = place / f"{request.node.callspec.id.replace(':', '-')}.yaml"
    path.write_text(text, encoding="utf-8")
    run = mprun(path.name, cwd=place, env=apart)
    assert run.code == 0, run.stderr


def test_documents_have_job_files_that_run():
    assert len(RUN) >= 10
    assert len([block for block in BLOCKS if block.values[1]]) >= 1


def test_package_of_the_documents_can_be_installed_and_used(tmp_path):
    project = tomllib.loads(write_package(tmp_path))["project"]
    files = {f"acme_jobs/{path.name}": path.read_text() for path in (tmp_path / "acme_jobs").iterdir()}
    packages = tuple(project["entry-points"]["mprun.recipes"].values())
    install(wheel(tmp_path, files, packages=packages), tmp_path / "lib")
    shutil.rmtree(tmp_path / "acme_jobs")
    run = mprun(
        "acme_jobs:etl.yaml", "-p", "day=today", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "lib")}
    )
    assert (run.code, run.result("load")) == (0, 2), run.stderr


def test_job_file_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (job,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "job.yaml").write_text(job, encoding="utf-8")
    write(
        tmp_path,
        app="""
        import os
        import socket
        def serve(port):
            with socket.create_server(("127.0.0.1", port)) as server:
                while True:
                    connection, _ = server.accept()
                    connection.close()
        def fetch(port, day):
            socket.create_connection(("127.0.0.1", port)).close()
            return [day, 2, 3]
        def check(row):
            if row == 2 and os.environ["MPRUN_ATTEMPT"] == "1":
                raise ValueError("once")
            return row
        """,
    )
    with held_ports() as (port,):
        run = mprun("job.yaml", "-p", f"port={port}", "-p", "day=2026-02-01", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.outcome("server") == "stopped"
    assert [run.result(f"check[{n}]") for n in range(3)] == ["2026-02-01", 2, 3]
    assert run.one("task_finished", "check[1]")["attempts"] == 2
    assert run.place("task_ready", "server") < run.place("task_started", "fetch")
    assert run.printed("Process-4") == ['checked ["2026-02-01", 2, 3]']
    chosen = mprun("plan", "job.yaml", "-k", "check", cwd=tmp_path).stdout
    assert re.findall(r"^ +[0-9]+\. (\S+)", chosen, re.MULTILINE) == ["server", "fetch", "check"]


def snippets():
    """Every block of Python in the documentation, with its page and line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield pytest.param(found[1], id=f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}")


SNIPPETS = list(snippets())


def test_documents_have_snippets_of_python():
    assert len([one for one in SNIPPETS if one.id.startswith("python.md")]) >= 4


@pytest.mark.parametrize("text", SNIPPETS)
def test_python_of_the_documents_runs(text, tmp_path):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    (job,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "job.yaml").write_text(job, encoding="utf-8")
    write(
        tmp_path,
        snippet=text,
        work="""
        def fetch():
            return [3, 4]
        def crunch(item, times):
            return item + times
        def fail():
            raise ValueError("no")
        """,
    )
    done = subprocess.run(
        [sys.executable, "snippet.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_error_of_the_readme_is_what_mprun_says(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```\n(error: .*?)^```", text, re.MULTILINE | re.DOTALL)
    job = "tasks:\n" + "  # a line\n" * 6 + "  - name: crunch\n    target: work:crunch\n    retires: 2\n"
    Path(tmp_path, "jobs").mkdir()
    Path(tmp_path, "jobs", "demo.yaml").write_text(job)
    assert mprun("validate", "jobs/demo.yaml", cwd=tmp_path).stderr.strip() == shown.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_key_of_the_schema_is_documented():
    schema = json.loads((ROOT / "schemas" / "job.schema.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "job-file.md").read_text(encoding="utf-8")
    job, task = text.split("## Task keys")
    for keys, part in ((schema["properties"], job), (schema["definitions"]["task"]["properties"], task)):
        for key in keys:
            assert key == "$schema" or f"`{key}`" in part, key


def examples():
    """Every `Example: …` in the descriptions of the job schema, with the part of the schema."""
    schema = json.loads((ROOT / "schemas" / "job.schema.json").read_text(encoding="utf-8"))
    waiting = [("job", schema)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, dict):
            for text in re.findall(r"Example: `(.*?)`[. ]", str(node.get("description", ""))):
                yield pytest.param({**node, "definitions": schema["definitions"]}, text, id=name)
            waiting += [(key, below) for key, below in node.items() if key != "description"]
        elif isinstance(node, list):
            waiting += [(name, below) for below in node]


EXAMPLES = list(examples())


@pytest.mark.parametrize(("schema", "text"), EXAMPLES)
def test_example_of_the_schema_is_valid(schema, text):
    example = plain(parse(f"x: {text}\n" if not text.startswith("- ") else f"x:\n  {text}\n", "x").root)["x"]
    if text.startswith("\\"):
        example = text
    jsonschema.Draft7Validator(schema).validate(example)


def test_schema_has_examples():
    assert len(EXAMPLES) > 20


def test_every_recipe_is_documented():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for recipe in (ROOT / "jobs").glob("*.yaml"):
        assert f"mprun jobs/{recipe.name}" in text, recipe.name
