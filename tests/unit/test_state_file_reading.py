"""How a file below a state directory is read: its first bytes, at the cost of what is there."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from mprun.record.state_files import _CHUNK_BYTES, _LARGE_CHUNK_BYTES, Folder

SIZES = [0, 1, *(size + more for size in (_CHUNK_BYTES, _LARGE_CHUNK_BYTES) for more in (-1, 0, 1)), 3 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_the_first_bytes_of_a_file_are_read(tmp_path, size):
    content = bytes(number % 251 for number in range(size))
    (tmp_path / "file").write_bytes(content)
    file = Folder(str(tmp_path)).file("file")
    for limit in {1, _CHUNK_BYTES, max(1, size - 1), max(1, size), size + 1, 4 << 20}:
        assert file.read(limit) == content[:limit]


def test_a_file_is_read_to_its_end_if_a_read_gives_less_than_is_asked_for(tmp_path, monkeypatch):
    """A file system in user space may do that."""
    content = bytes(range(100))
    (tmp_path / "file").write_bytes(content)
    read = os.read
    monkeypatch.setattr(os, "read", lambda file, size: read(file, min(size, 7)))
    file = Folder(str(tmp_path)).file("file")
    for limit in (1, 7, 8, 99, 100, 101, 1 << 20):
        assert file.read(limit) == content[:limit]


def test_a_high_limit_does_not_cost_memory(tmp_path):
    (tmp_path / "file").write_text("1")
    file = Folder(str(tmp_path)).file("file")
    tracemalloc.start()
    try:
        assert file.read(1 << 28) == b"1"
        assert tracemalloc.get_traced_memory()[1] < 2 * _CHUNK_BYTES
    finally:
        tracemalloc.stop()
