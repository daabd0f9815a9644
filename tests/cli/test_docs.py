"""What the documents say, done: every command in them, every key, every file they point to."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.runs import ROOT, mprun, write

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# What cannot be done inside a test: it would run this test, or install from a registry.
NOT_HERE = re.compile(r"make |pipx |uvx |pip |pre-commit |\.venv/|jq |eval ")


def commands():
    """Every command of the documents, with its page: in blocks, and in backticks in the text."""
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


COMMANDS = [command for command in commands() if "JOB" not in command and "NAME" not in command]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A clone's jobs and examples, and what `mprun init` writes, with a run of it."""
    directory = tmp_path_factory.mktemp("docs")
    for name in ("jobs", "examples"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert mprun("init", cwd=directory).code == 0
    assert mprun("job.yaml", cwd=directory).code == 0
    return directory


def test_documents_have_commands():
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_documents_does_what_it_says(command, place):
    arguments = command.split()[1:]
    if arguments[:1] == ["init"]:
        run = mprun(*arguments, cwd=place)
        assert run.code == 2
        assert "nothing is overwritten" in run.stderr
        return
    if arguments[:1] == ["logs"]:
        assert mprun("job.yaml", cwd=place).code == 0
    run = mprun(*arguments, cwd=place)
    assert run.code == int(any(name in command for name in ("killed.yaml", "fail_fast.yaml"))), run.stderr


def test_job_file_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (job,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(job.splitlines()) == 12
    (tmp_path / "job.yaml").write_text(job, encoding="utf-8")
    write(
        tmp_path,
        work="""
        import time
        def fetch(day):
            return day
        def crunch(rows):
            return rows
        def watch():
            time.sleep(60)
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert (run.result("fetch"), run.result("crunch")) == ("2026-01-01", 1000)
    assert run.outcome("Process-3") == "stopped"


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
    job, task = text.split("## Of a task")
    for keys, part in ((schema["properties"], job), (schema["definitions"]["task"]["properties"], task)):
        for key in keys:
            assert key == "$schema" or f"`{key}`" in part, key


def test_every_recipe_is_documented():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for recipe in (ROOT / "jobs").glob("*.yaml"):
        assert f"mprun jobs/{recipe.name}" in text, recipe.name
