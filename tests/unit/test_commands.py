"""The commands and paths that messages suggest."""

import pytest

from mprun.record.commands import command, short_path
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
