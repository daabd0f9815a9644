"""The artifacts of attempts on hosts: what is sent, and how it comes into the record."""

import os

import pytest

from mprun.executors.dask import artifacts
from mprun.executors.dask.pieces import PIECE_BYTES
from mprun.executors.dask.run_files import RunFiles

KEY = (3, 1)


@pytest.fixture
def run(tmp_path):
    """A directory of a run, and its files."""
    folders = []
    for name in ("logs", "results"):
        (tmp_path / name).mkdir()
        found = (tmp_path / name).stat()
        folders.append((str(tmp_path / name), found.st_dev, found.st_ino))
    (tmp_path / "artifacts" / "draw").mkdir(parents=True)
    files = RunFiles(tuple(folders))
    yield tmp_path / "artifacts", files
    files.close()


def tree(top):
    return {
        str(path.relative_to(top)): path.read_bytes() if path.is_file() else None for path in top.rglob("*")
    }


def make(top, **files):
    for name, data in files.items():
        path = top / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def send(files, source, key=KEY, task="draw"):
    for piece in artifacts.pieces(str(source)):
        files.add_artifact(key, *piece)
    return files.end_artifacts(key, task, "")


def test_files_and_directories_arrive_as_they_are(run, tmp_path):
    kept, files = run
    source = tmp_path / "source"
    large = os.urandom(3 * PIECE_BYTES + 1)
    make(source, a_svg=b"<svg/>", empty=b"", below__deeper__b=large)
    (source / "nothing").mkdir()
    (source / "odd\udcff").write_bytes(b"x")
    assert send(files, source) == ""
    assert tree(kept / "draw") == tree(source)
    assert [path.name for path in kept.iterdir()] == ["draw"]


def test_permissions_and_times_arrive_but_not_the_rights_of_an_owner(run, tmp_path):
    kept, files = run
    source = tmp_path / "source"
    make(source, tool=b"#!/bin/sh\n", below__data=b"x")
    for path, mode in (("tool", 0o4755), ("below/data", 0o440), ("below", 0o550)):
        (source / path).chmod(mode)
        os.utime(source / path, ns=(1, 1_000_000_000_000_000_007))
    assert send(files, source) == ""
    found = {path: (kept / "draw" / path).stat() for path in ("tool", "below/data", "below")}
    assert [oct(each.st_mode & 0o7777) for each in found.values()] == ["0o755", "0o440", "0o750"]
    assert {each.st_mtime_ns for each in found.values()} == {1_000_000_000_000_000_007}
    # A later attempt can still replace them.
    (source / "below").chmod(0o700)
    (source / "below" / "data").unlink()
    (source / "below" / "data").write_bytes(b"new")
    assert send(files, source, (3, 2)) == ""
    assert tree(kept / "draw") == tree(source)


def test_a_hole_of_a_terabyte_arrives_as_a_hole(run, tmp_path):
    kept, files = run
    make(tmp_path / "source", a=b"begin")
    path = tmp_path / "source" / "a"
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    pieces = [piece for _, piece in artifacts.pieces(str(path.parent))]
    assert len(pieces) < 5
    assert send(files, path.parent) == ""
    found = kept / "draw" / "a"
    assert (found.stat().st_size, found.stat().st_blocks) == (1 << 40, path.stat().st_blocks)
    with found.open("rb") as file:
        assert file.read(10) == b"begin\0\0\0\0\0"


def test_links_and_the_like_stay_on_the_host(run, tmp_path):
    kept, files = run
    source = tmp_path / "source"
    make(source, a=b"a")
    (source / "link").symlink_to("/etc/passwd")
    (source / "up").symlink_to(tmp_path)
    os.mkfifo(source / "fifo")
    assert send(files, source) == ""
    assert tree(kept / "draw") == {"a": b"a"}


def test_nothing_is_seen_before_all_has_arrived(run, tmp_path):
    kept, files = run
    files.add_artifact(KEY, ("a",), b"one")
    assert tree(kept / "draw") == {}
    files.drop_artifacts(KEY)
    assert tree(kept) == {"draw": None}


def test_a_later_attempt_adds_to_what_an_earlier_one_has_left(run, tmp_path):
    kept, files = run
    first, second = tmp_path / "first", tmp_path / "second"
    make(first, a=b"1", below__b=b"1", below__c=b"1", d__e=b"1", f=b"1")
    make(second, a=b"2", below__b=b"2", d=b"2", f__g=b"2")
    assert send(files, first) == ""
    assert send(files, second, key=(3, 2)) == ""
    assert tree(kept / "draw") == {
        **{"a": b"2", "below": None, "below/b": b"2", "below/c": b"1", "d": b"2", "f": None, "f/g": b"2"}
    }


def test_no_link_in_the_record_is_followed(run, tmp_path):
    kept, files = run
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    make(source, below__a=b"a")
    elsewhere.mkdir()
    (kept / "draw" / "below").symlink_to(elsewhere)
    assert send(files, source) == ""
    assert list(elsewhere.iterdir()) == []
    assert tree(kept / "draw") == tree(source)


def test_what_cannot_be_written_is_the_reason(run, tmp_path):
    kept, files = run
    (kept / "draw").rmdir()
    kept.rmdir()
    kept.symlink_to(tmp_path / "logs")
    make(tmp_path / "source", a=b"a")
    assert send(files, tmp_path / "source") == "Not a directory"
    assert list((tmp_path / "logs").iterdir()) == []


def test_a_task_that_has_removed_its_directory_leaves_nothing(run, tmp_path):
    kept, files = run
    assert send(files, tmp_path / "gone") == ""
    assert tree(kept / "draw") == {}
    with pytest.raises(FileNotFoundError):
        list(artifacts.pieces(str(tmp_path / "no artifacts" / "gone")))


def test_what_cannot_be_read_on_the_host_is_the_reason(run):
    kept, files = run
    files.add_artifact(KEY, ("a",), b"a")
    assert files.end_artifacts(KEY, "draw", "Input/output error") == "Input/output error"
    assert tree(kept / "draw") == {"a": b"a"}
