"""`mprun report --open`: with a browser, and where there is none."""

import socket

import pytest
from support.records import STARTED, ended, read, record

# None of those of the terminal that runs the tests.
NOTHING = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": "", "SSH_CONNECTION": "", "WSL_DISTRO_NAME": ""}


@pytest.fixture
def opened(tmp_path):
    """Opens the report of a run and returns what is said on standard error; `tmp_path` has fake browsers."""
    record(tmp_path, [STARTED, ended()])
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in (
        ("works", 'echo "$1" >opened'),
        ("fails", "exit 3"),
        ("w3m", "echo >started"),
        ("xdg-open", 'echo "$1" >opened'),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    def open_it(**env):
        env = {**NOTHING, "PATH": f"{folder}:/usr/bin:/bin", **env}
        code, output, stderr = read(tmp_path, "report", "-o", "page.html", "--open", env=env)
        # The page is written all the same, and named.
        assert (code, output) == (0, "page.html\n")
        assert not (tmp_path / "started").exists()
        return stderr

    return open_it


def test_it_opens_in_the_browser_that_the_user_has_named(opened, tmp_path):
    assert opened(BROWSER=f"{tmp_path}/bin/works %s") == ""
    assert (tmp_path / "opened").read_text() == (tmp_path / "page.html").as_uri() + "\n"


@pytest.mark.parametrize("browser", ["{}/fails", "{}/none", "fails %s", "'"])
def test_a_browser_that_fails_is_said(opened, tmp_path, browser):
    stderr = opened(BROWSER=browser.format(tmp_path / "bin"), PATH=f"{tmp_path}/bin")
    assert stderr == (
        "warning: `page.html` is not opened: the browser that BROWSER names failed, or does not exist\n"
    )


def test_over_ssh_it_says_how_to_copy_the_page_and_starts_no_browser_for_text(opened, tmp_path):
    stderr = opened(SSH_CONNECTION="192.0.2.1 50000 192.0.2.2 22")
    assert f"`scp {socket.gethostname()}:{tmp_path}/page.html .`" in stderr
    # A browser of the user's own machine, as some editors offer it.
    assert opened(SSH_CONNECTION="192.0.2.1 50000 192.0.2.2 22", BROWSER="works %s") == ""
    assert (tmp_path / "opened").exists()


def test_in_wsl_it_says_where_windows_has_the_page(opened, tmp_path):
    stderr = opened(WSL_DISTRO_NAME="Debian")
    assert "wslview" in stderr
    assert "\\\\wsl.localhost\\Debian\\" + str(tmp_path)[1:].replace("/", "\\") + "\\page.html" in stderr


def test_without_a_display_it_says_so(opened):
    assert "page.html` is not opened: there is no display; set BROWSER " in opened()
