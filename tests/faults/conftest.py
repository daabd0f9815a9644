"""Fixtures of these tests."""

import pytest
from support.crash_targets import CrashTarget
from support.resuming import WORK
from support.runs import write


@pytest.fixture
def run_to_kill(tmp_path):
    made = []

    def make(job, *arguments):
        write(tmp_path, work=WORK, job=job)
        made.append(CrashTarget(tmp_path, "job.yaml", *arguments))
        return made[-1]

    yield make
    for one in made:
        one.clean()
