"""Opens a page in the user's browser, or says where the page is and how to get it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from mprun.diagnostics import quote, visible


def open_page(path: str) -> str:
    """Open a file in the browser; returns why it is not opened and what to do, or nothing.

    Whether a browser that was started shows the page is not known.
    """
    page = Path(path).absolute()
    if named := os.environ.get("BROWSER"):
        # `webbrowser.open` would try others after them, also browsers for text.
        if any(_open(page, name) for name in named.split(os.pathsep)):
            return ""
        problem = "the browser that BROWSER names failed, or does not exist"
    elif not _has_display():
        problem = _without_display(str(page))
    elif _open(page, None):
        return ""
    else:
        problem = "no browser was found; set BROWSER to a command that opens it"
    return f"{quote(path)} is not opened: {problem}"


def _open(page: Path, name: str | None) -> bool:
    import webbrowser

    # ValueError: the name cannot be split into words.
    try:
        return webbrowser.get(name).open(page.as_uri()) if name else webbrowser.open(page.as_uri())
    except (webbrowser.Error, ValueError, OSError):
        return False


def _has_display() -> bool:
    """Without a display, `webbrowser` would start a browser for text, which shows no timeline."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _without_display(path: str) -> str:
    distribution = os.environ.get("WSL_DISTRO_NAME")
    if distribution:
        # As Windows names the files of a distribution.
        windows = rf"\\wsl.localhost\{distribution}" + path.replace("/", "\\")
        return (
            f"there is no display; set BROWSER=wslview (package wslu), or open {visible(windows)} in Windows"
        )
    if os.environ.get("SSH_CONNECTION"):
        import socket

        copy = f"scp {shlex.quote(f'{socket.gethostname()}:{path}')} ."
        return f"this is an ssh session without a display; copy it with `{visible(copy)}`"
    return "there is no display; set BROWSER to a command that opens it"
