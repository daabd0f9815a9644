"""What holds for every test."""

import os

from hypothesis import settings

# A busy machine is no defect; pytest-timeout bounds the whole test.
settings.register_profile("mprun", deadline=None)
settings.load_profile("mprun")

# A test means the same at a desk, in CI, and in a terminal with wishes of its own.
SAID_BY_SURROUNDINGS = {"CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR"}


def pytest_configure():
    for name in list(os.environ):
        if name in SAID_BY_SURROUNDINGS or name.startswith("MPRUN_"):
            del os.environ[name]
