"""Makes mprun take the Python, click or PyYAML that it finds for another one: not tried, or without calls."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path

# Python runs it at its start. Only modules of mprun find a newer version, and only where they compare the
# first two numbers; other libraries would use what this Python does not have.
NEWER_PYTHON = """\
    import sys

    class Version(tuple):
        major, minor, micro, releaselevel, serial = (property(lambda self, n=n: self[n]) for n in range(5))

        def __getitem__(self, key):
            package = str(sys._getframe(1).f_globals.get("__package__"))
            if isinstance(key, slice) and package.partition(".")[0] == "mprun":
                return (3, 99)
            return tuple.__getitem__(self, key)

    sys.version_info = Version(sys.version_info)
"""


def with_newer_python(directory: Path) -> dict[str, str]:
    """Variables with which mprun and what it starts find themselves on Python 3.99."""
    (directory / "sitecustomize.py").write_text(textwrap.dedent(NEWER_PYTHON))
    return {"PYTHONPATH": str(directory)}


def with_newer(package: str, distribution: str, directory: Path) -> dict[str, str]:
    """Variables with which mprun finds version 99 of a distribution: the installed one, with that name."""
    found = importlib.util.find_spec(package).submodule_search_locations[0]
    (directory / package).symlink_to(found)
    (directory / f"{distribution}-99.0.dist-info").mkdir()
    return {"PYTHONPATH": str(directory)}


def without_calls(directory: Path, *names: str) -> dict[str, str]:
    """Variables with which Python lacks functions of `os` and `signal`, as if built for an older system."""
    lines = [f"import {name.partition('.')[0]}; del {name}\n" for name in names]
    (directory / "sitecustomize.py").write_text("".join(lines))
    return {"PYTHONPATH": str(directory)}
