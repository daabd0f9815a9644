"""The options of the plugin for pytest, which every pytest of an environment with mprun loads.

So it imports nothing: whatever runs jobs is imported if someone asks for it with `--mprun`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options to pytest's own."""
    group = parser.getgroup("mprun", "job files")
    group.addoption(
        "--mprun",
        action="store_true",
        help="Run the job files of mprun in the given paths as tests.",
    )
    group.addoption(
        "--mprun-state-dir",
        metavar="DIR",
        help="Where the records of these runs are kept. Default: in pytest's temporary directory.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect job files, if someone asks for it."""
    if config.getoption("mprun"):
        from mprun.pytest_plugin.job_files import JobFiles

        config.addinivalue_line("markers", "mprun: a job file of mprun (added to each)")
        config.pluginmanager.register(JobFiles(config), "mprun-job-files")
