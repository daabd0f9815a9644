"""The commands and paths that messages suggest."""

import os
import shutil
import subprocess

import pytest

from mprun.diagnostics import visible
from mprun.record.commands import command, logs_command, shell_word, short_path
from mprun.record.state_dir import RunDirectory


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (".mprun/runs/a", ".mprun/runs/a"),
        ("{cwd}/.mprun/runs/a", ".mprun/runs/a"),
        ("{cwd}/../a", "../a"),
        ("/a/b", "/a/b"),
    ],
)
def test_path_is_as_short_as_it_can_be(path, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short_path(path.format(cwd=tmp_path)) == shown


def test_command_has_a_state_directory_as_short_as_it_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = [command(RunDirectory(f"{state}/runs/a"), "show") for state in (".mprun", "state", "/state")]
    assert shown == ["mprun show", "mprun show --state-dir state", "mprun show --state-dir /state"]


def test_the_log_of_a_task_can_be_asked_for_by_a_name_that_looks_like_an_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    default, other = RunDirectory(".mprun/runs/a"), RunDirectory("state/runs/a")
    assert logs_command(default, "x y") == "mprun logs 'x y' --run a"
    assert logs_command(default, "--help") == "mprun logs --run a -- --help"
    assert logs_command(other, "x") == "mprun logs x --run a --state-dir state"
    assert logs_command(other, "-") == "mprun logs --run a --state-dir state -- -"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a b",
        "it's",
        "\\u202e",
        "\u202eevil\u202c",
        "a\xadb",
        "\u200b'\\",
        "\U000e0001é\u200b",
        "%s$HOME",
    ],
)
def test_a_word_is_read_by_the_shell_as_what_it_is_and_can_be_seen(text):
    word = shell_word(text)
    assert visible(word) == word
    done = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.decode() == text
