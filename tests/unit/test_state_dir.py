"""The state directory: safe file names, private directories, and how a run is found."""

import errno
import fcntl
import hashlib
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.errors import RecordError, UsageError
from mprun.record.run_list import find_run, list_runs
from mprun.record.state_dir import (
    RunDirectory,
    create_run,
    create_run_or_temporary,
    file_name,
)

NOON = 1767268800.25  # 2026-01-01 12:00:00.250 UTC


@pytest.mark.parametrize(
    "name", ["a", "crunch-2", "train[model=a,n=1]", "Process-1", "Process-10000", "a.b_c"]
)
def test_an_ordinary_name_stays_as_it_is(name):
    assert file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "/abs",
        "..",
        ".",
        ".hidden",
        "-rf",
        "A",
        "process-1",
        "PROCESS-1",
        "a\0b",
        "x" * 300,
        "跳舞",
        "<b>",
        "",
        " ",
        "a\n",
        "Process-1\n",
        "~",
        "a~0123456789ab",
        "\ud800",
        "Process-1234567890",
    ],
)
def test_another_name_is_made_safe(name):
    safe = file_name(name)
    assert re.fullmatch(r"[A-Za-z0-9._=-]{0,40}~[0-9a-f]{12}", safe)
    assert not safe.startswith((".", "-")) or safe.startswith("-rf")


@given(st.text(st.characters(), min_size=81))
def test_the_name_of_a_file_is_what_it_was_in_earlier_records(name):
    readable = re.sub("[^A-Za-z0-9._=-]+", "_", name)[:40].strip("._-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    assert file_name(name) == f"{readable}~{digest}"


def test_the_files_of_a_matrix_do_not_need_openssl():
    program = (
        "import sys\n"
        "from mprun.jobfile.instance_names import suffix_of\n"
        "from mprun.record.state_dir import log_name\n"
        "print(log_name('Process-1' + suffix_of(['n=1']), 1), '_hashlib' in sys.modules)"
    )
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert said == "Process-1_n=1~d122cf59cfe6.1.log False\n"


@given(
    st.lists(
        st.text(st.characters(), max_size=120) | st.sampled_from(["a", "A", "a~", "Process-1"]), unique=True
    )
)
def test_different_names_have_different_files_on_any_file_system(names):
    files = [file_name(name).lower() for name in names]
    assert len(set(files)) == len(files)
    assert all("/" not in file and "\0" not in file and len(file.encode()) < 100 for file in files)


def test_two_tasks_have_different_files():
    run = RunDirectory("/runs/r")
    made = [
        make(name, attempt)
        for name in ("a", "a.1", "a.1.1", "main", "main.log", "A")
        for attempt in (1, 11)
        for make in (run.log, run.result)
    ]
    assert len({*made, run.main_log}) == len(made) + 1


def test_a_new_run_has_an_id_that_sorts_by_time_and_its_directories(tmp_path):
    state = tmp_path / "a" / "state"
    run = create_run(str(state), NOON)
    assert re.fullmatch(r"20260101-120000\.250-[0-9a-f]{4}", run.run_id)
    assert sorted(os.listdir(run.path)) == ["logs", "results"]
    for directory in (state, state / "runs", run.path, f"{run.path}/logs", f"{run.path}/results"):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert (state / ".gitignore").read_text() == "*\n"
    assert create_run(str(state), NOON + 0.01).run_id > run.run_id


GET, SET, APART = 0x80086601, 0x40086602, 0x20000  # of <linux/fs.h>


def attributes(directory, wanted=None):
    """The attributes of a directory, set to `wanted` before, or the error of a file system without them."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if wanted is not None:
            fcntl.ioctl(descriptor, SET, wanted.to_bytes(4, sys.byteorder))
        return int.from_bytes(fcntl.ioctl(descriptor, GET, bytes(4)), sys.byteorder)
    except OSError as error:
        return error.errno
    finally:
        os.close(descriptor)


def test_the_file_system_is_told_that_runs_have_nothing_to_do_with_each_other(tmp_path):
    runs, other = tmp_path / "state" / "runs", tmp_path / "other"
    other.mkdir()
    before = attributes(other)
    attributes(other, before | APART)
    create_run(str(runs.parent), NOON)
    assert attributes(runs) == attributes(other)
    # One that was made before mprun did this.
    attributes(runs, before)
    create_run(str(runs.parent), NOON)
    assert attributes(runs) == attributes(other)


def test_a_file_system_may_refuse_attributes(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert Path(create_run(str(tmp_path / "state"), NOON).path, "logs").is_dir()


def test_an_existing_directory_is_used_as_it_is(tmp_path):
    (tmp_path / ".gitignore").write_text("mine")
    create_run(str(tmp_path), NOON)
    assert (tmp_path / ".gitignore").read_text() == "mine"


def test_a_temporary_directory_is_used_if_the_state_directory_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(
        RecordError, match=r"the state directory .*file is not used: `file` is a file, not a directory"
    ):
        create_run(str(file), NOON)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run, warning = create_run_or_temporary(str(file), NOON)
    assert run.path.startswith(f"{tmp_path}/mprun-")
    assert warning.endswith(f"the record of this run is in {os.path.dirname(os.path.dirname(run.path))}")
    assert create_run_or_temporary(str(tmp_path / "good"), NOON)[1] == ""


def test_a_file_system_without_owners_is_not_used_and_nothing_is_left_on_it(tmp_path, monkeypatch):
    """C51: as a drive of Windows, whose directories all belong to one user and can be written by all."""
    real = os.fstat

    def fstat(file):
        found = list(real(file))
        found[0] |= 0o777
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", fstat)
    why = "would be on a file system without owners and permissions; use `--state-dir`"
    with pytest.raises(RecordError, match=why):
        create_run(str(tmp_path / "state"), 0.0)
    assert os.listdir(tmp_path) == []


def test_a_run_that_never_started_leaves_nothing(tmp_path):
    run = create_run(str(tmp_path), NOON)
    run.remove()
    with pytest.raises(FileNotFoundError):
        run.remove()
    assert os.listdir(tmp_path / "runs") == []


def make(state, *names):
    for name in names:
        (state / "runs" / name).mkdir(parents=True)
        (state / "runs" / name / "events.jsonl").touch()


def test_runs_are_listed_newest_first_and_only_those_with_a_record(tmp_path):
    assert list(list_runs(str(tmp_path))) == []
    make(tmp_path, "2-b", "1-a", "3-c")
    (tmp_path / "runs" / "9-empty").mkdir()
    (tmp_path / "runs" / "8-file").touch()
    assert [run.run_id for run in list_runs(str(tmp_path))] == ["3-c", "2-b", "1-a"]


def test_a_run_is_found_by_its_id_or_its_beginning_and_is_the_newest_by_default(tmp_path):
    state = str(tmp_path)
    with pytest.raises(UsageError, match=r"no runs in .* yet"):
        find_run(state, None)
    make(tmp_path, "1-a", "1-ab", "2-b")
    assert find_run(state, None).run_id == "2-b"
    assert find_run(state, "2").run_id == "2-b"
    assert find_run(state, "1-a").run_id == "1-a"  # a whole id, which another id begins with
    with pytest.raises(UsageError, match=r"2 runs in .* with an id that begins with `1`; .* is 2-b"):
        find_run(state, "1")
    for unknown in ("3", "../runs/1-a", "*", "x" * 10_000):
        with pytest.raises(UsageError, match=r"no run in .* with an id that begins with") as caught:
            find_run(state, unknown)
        assert len(str(caught.value)) < 500


def test_a_run_has_results_from_the_first_result_file_on(tmp_path):
    directory = create_run(str(tmp_path), 0.0)
    assert not directory.has_results()
    left = Path(directory.result("a", 1) + ".usage.json")
    left.touch()
    assert directory.has_results()
    assert RunDirectory(str(tmp_path / "elsewhere")).has_results()


def test_the_end_of_a_file_is_read_alone(tmp_path):
    from support.records import state_file

    (tmp_path / "log").write_bytes(b"the first line\nthe last line\n")
    assert state_file(tmp_path / "log").read_end(10) == b"last line\n"
    assert state_file(tmp_path / "log").read_end(1000) == b"the first line\nthe last line\n"
    assert state_file(tmp_path / "none").read_end(10) == b""
