"""Result files: the reader reads back what the task's process has written."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.records import FINISHED, files_at, state_file

from mprun.launcher import result_files
from mprun.record import error_details, reader, results
from mprun.record.event_reader import from_record
from mprun.record.line_format import encode
from mprun.record.run_state import RunState


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.1")


@pytest.mark.parametrize(
    ("value", "read", "kind", "suffix"),
    [({"x": [1, None]}, {"x": [1, None]}, "json", results.JSON), (1j, None, "repr", results.REPR)],
)
def test_a_result_is_read_as_it_was_written(path, value, read, kind, suffix):
    assert results.read_result(state_file(path)) == (None, "none")
    result_files.write_result(files_at(path), value)
    written = {f"a.1{suffix}"} | ({f"a.1{results.PROBLEM}"} if kind == "repr" else set())
    assert set(os.listdir(os.path.dirname(path))) == written
    assert results.read_result(state_file(path)) == (read, kind)
    assert results.read_value(state_file(path)) == (read, kind)
    assert results.read_repr(state_file(path), 100) == ("1j" if kind == "repr" else None)


def test_an_exception_is_read_as_it_was_written(path, capsys):
    assert results.read_failure(state_file(path)) is None
    raised = FileNotFoundError(2, "no such file")
    result_files.write_error(files_at(path), raised, *result_files.print_error(files_at(path), raised, None))
    assert os.listdir(os.path.dirname(path)) == [f"a.1{results.ERROR}"]
    failure = results.read_failure(state_file(path))
    assert (failure.type, failure.errno) == ("FileNotFoundError", 2)
    assert {"FileNotFoundError", "OSError", "builtins.OSError"} <= {*failure.names}
    assert results.read_error(state_file(path)) == {"type": failure.type, "message": failure.message}


def test_the_usage_of_a_process_is_read_as_it_was_written(path):
    assert results.read_usage(state_file(path)) == {}
    result_files.write_usage(files_at(path), 3)
    assert os.listdir(os.path.dirname(path)) == [f"a.1{results.USAGE}"]
    assert results.read_usage(state_file(path)).keys() == {"threads", "cpu", "max_rss"}
    assert results.read_usage(state_file(path))["threads"] == 3


def test_the_modules_of_a_process_are_written_with_their_files(path):
    result_files.write_modules(files_at(path))
    found = json.loads(state_file(path).with_suffix(results.MODULES).read(1 << 20))
    assert found["modules"]["pytest"] == os.path.abspath(pytest.__file__)
    known = os.stat(pytest.__file__)
    assert found["files"]["pytest"] == [known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns]
    assert "os" not in found["modules"]


def test_a_result_that_is_large_or_deep_stays_in_its_file(path):
    result_files.write_result(files_at(path), "x" * results.RESULT_LIMIT)
    assert results.read_result(state_file(path)) == (None, "file")
    deep = []
    for _ in range(results.DEPTH_LIMIT + 1):
        deep = [deep]
    result_files.write_result(files_at(path), deep)
    assert results.read_result(state_file(path)) == (None, "file")
    assert results.read_value(state_file(path)) == (deep, "json")


# What `json` reads back as it was written.
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def in_record(value):
    """A task's result as a reader of the record has it."""
    end = {**FINISHED, "result": value, "result_kind": "json"}
    state, damage = RunState(), []
    reader.apply_line(state, reader.parse_line(encode([from_record(end)])), damage)
    assert damage == []
    return state.tasks["a"].finished.result


@given(JSON_VALUES)
@example(2**63)
@example(-(2**63) - 1)
@example(1e20)
@example(5e-324)
@example(10**400)
@example([{"x": [2**64, {"y": -(10**400)}]}])
def test_every_value_that_json_reads_back_is_kept(tmp_path_factory, value):
    """C01: a result's numbers have no range, at any depth."""
    path = str(tmp_path_factory.getbasetemp() / "kept.1")
    result_files.write_result(files_at(path), value)
    assert results.read_result(state_file(path)) == results.read_value(state_file(path)) == (value, "json")
    assert in_record(value) == value
    assert math.copysign(1, in_record(-0.0)) == -1


@pytest.mark.parametrize(
    "text",
    ["NaN", "-Infinity", "1e999", '[1, {"a": -1E+400}]', "1" * 641, f"[-{'7' * 4000}]", "9" * 400 + ".0"],
)
def test_a_number_that_some_readers_of_json_do_not_accept_stays_in_its_file(path, text):
    """C01: the record stays JSON that every reader accepts, and the value can be passed on."""
    Path(path + results.JSON).write_text(text)
    assert results.read_result(state_file(path)) == (None, "file")
    value, kind = results.read_value(state_file(path))
    assert (kind, repr(value)) == ("json", repr(json.loads(text)))


@pytest.mark.parametrize(
    "text", ['"NaN"', '"1e999"', '"' + "1" * 700 + '"', "1e100", "-1E-400", "0." + "1" * 700, "8" * 640]
)
def test_what_only_looks_like_such_a_number_is_kept_in_the_record(path, text):
    Path(path + results.JSON).write_text(text)
    assert results.read_result(state_file(path)) == (json.loads(text), "json")


def raised_with(message):
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "message", ["x" * (10 << 20), '\x01"' * (5 << 20), "é" * (10 << 20)], ids=["x", "escaped", "é"]
)
def test_a_long_error_is_written_cut_so_that_one_turn_reads_it(path, message, capsys):
    error = raised_with(message)
    result_files.write_error(
        files_at(path), error, *result_files.print_error(files_at(path), error, error.__traceback__)
    )
    assert os.path.getsize(path + results.ERROR) < 1 << 20
    assert results.read_failure(state_file(path)).message.startswith(message[:1000])
    details = error_details.read_details(state_file(path))
    assert (details.type, details.file) == ("ValueError", __file__)
    assert "more characters in the log)" in details.traceback
    assert details.traceback.startswith("Traceback")


def test_a_long_traceback_is_cut_at_its_beginning(path):
    result_files.write_error(files_at(path), ValueError("no"), "no", "x" * (10 << 20) + "\nValueError: no\n")
    details = error_details.read_details(state_file(path))
    assert details.traceback.endswith("xxx\nValueError: no\n")
    assert os.path.getsize(path + results.ERROR) < 1 << 20


def test_a_longer_error_of_another_program_is_not_read_and_fails_all_the_same(path):
    Path(path + results.ERROR).write_text(json.dumps({"type": "E", "message": "x" * (2 << 20)}))
    assert (
        results.read_failure(state_file(path)).message == "an error with more than 1 MiB, which is not read"
    )
    assert error_details.read_details(state_file(path)).message.startswith("an error with more than 1 MiB")
