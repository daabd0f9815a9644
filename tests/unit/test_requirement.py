"""`requires` in a job file: which versions it allows, and what is said of another one."""

import re

import pytest
from support import schemas

from mprun.errors import JobFileError
from mprun.jobfile.requirement import is_satisfied, refuse_other_version
from mprun.jobfile.syntax.document import parse

PATTERN = re.compile(schemas.read("job")["properties"]["requires"]["pattern"])


@pytest.mark.parametrize(
    ("required", "version", "satisfied"),
    [
        ("mprun >= 0.3", "0.3", True),
        ("mprun >= 0.3", "0.3.0", True),
        ("mprun >= 0.3.0", "0.3", True),
        ("mprun >= 0.3", "0.10", True),
        ("mprun>=0.3", "0.2.9", False),
        ("mprun >= 0.3, < 2", "1.9", True),
        ("mprun >= 0.3,<2", "2.0", False),
        ("mprun > 1", "1.0", False),
        ("mprun <= 1", "1.0.1", False),
        ("mprun == 1.2", "1.2.0", True),
        ("mprun != 1.2", "1.2", False),
        # What is not released yet has the keys of what it will be.
        ("mprun >= 0.3", "0.3.dev1+g123", True),
        ("mprun >= 0.3", "0.3rc1", True),
    ],
)
def test_versions_are_compared_by_their_numbers(required, version, satisfied):
    assert PATTERN.search(required)
    assert is_satisfied(required, version) is satisfied


@pytest.mark.parametrize(
    "required",
    [
        *("0.3", ">= 0.3", "mprun", "mprun 0.3", "mprun >=", "mprun >= 0.3 < 2", "mprun ~= 1.0"),
        *("mprun >= 1.x", "mprun >= ${params.x}", "other >= 1", "mprun >= 1,", "mprun >= 1\n"),
        "mprun >= " + "1" * 10,
    ],
)
def test_another_form_is_refused_by_the_schema_alone(required):
    assert not PATTERN.search(required)
    assert is_satisfied(required, "0.1")


def test_a_file_for_a_newer_version_is_refused_before_its_other_keys_are_read():
    document = parse("requires: mprun >= 3\nnew_key: 1\ntasks: []\n", "job.yaml")
    with pytest.raises(JobFileError) as caught:
        refuse_other_version(document, "0.2")
    assert str(caught.value) == "job.yaml:1:11: this file requires `mprun >= 3`, but this is mprun 0.2"
    refuse_other_version(document, "3.0")
