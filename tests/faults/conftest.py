"""Fixtures of these tests."""

import pytest
from support.resuming import WORK
from support.runs import write


@pytest.fixture
def run_to_kill(tmp_path, crash_target):
    def make(job, *arguments):
        write(tmp_path, work=WORK, job=job)
        return crash_target(tmp_path, "job.yaml", *arguments)

    return make
