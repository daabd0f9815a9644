"""Result files: the reader reads back what the task's process has written."""

from __future__ import annotations

import os

import pytest

from mprun.launcher import result_files
from mprun.record import results


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.1")


@pytest.mark.parametrize(
    ("value", "read", "kind", "suffix"),
    [({"x": [1, None]}, {"x": [1, None]}, "json", results.JSON), (1j, None, "repr", results.REPR)],
)
def test_a_result_is_read_as_it_was_written(path, value, read, kind, suffix):
    assert results.read_result(path) == (None, "none")
    result_files.write_result(path, value)
    assert os.listdir(os.path.dirname(path)) == [f"a.1{suffix}"]
    assert results.read_result(path) == (read, kind)
    assert results.read_value(path) == (read, kind)
    assert results.read_repr(path, 100) == ("1j" if kind == "repr" else None)


def test_an_exception_is_read_as_it_was_written(path, capsys):
    assert results.read_failure(path) is None
    result_files.write_error(path, FileNotFoundError(2, "no such file"))
    assert os.listdir(os.path.dirname(path)) == [f"a.1{results.ERROR}"]
    failure = results.read_failure(path)
    assert (failure.type, failure.errno) == ("FileNotFoundError", 2)
    assert {"FileNotFoundError", "OSError", "builtins.OSError"} <= {*failure.names}
    assert results.read_error(path) == {"type": failure.type, "message": failure.message}


def test_the_usage_of_a_process_is_read_as_it_was_written(path):
    assert results.read_usage(path) == {}
    result_files.write_usage(path, 3)
    assert os.listdir(os.path.dirname(path)) == [f"a.1{results.USAGE}"]
    assert results.read_usage(path).keys() == {"threads", "cpu", "max_rss"}
    assert results.read_usage(path)["threads"] == 3


def test_a_result_that_is_large_or_deep_stays_in_its_file(path):
    result_files.write_result(path, "x" * results.RESULT_LIMIT)
    assert results.read_result(path) == (None, "file")
    deep = []
    for _ in range(results.DEPTH_LIMIT + 1):
        deep = [deep]
    result_files.write_result(path, deep)
    assert results.read_result(path) == (None, "file")
    assert results.read_value(path) == (deep, "json")
