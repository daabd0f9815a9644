"""Zip files are read as zipfile reads them, if they have the form of a packed run; all others are refused."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zipfile
import zlib
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.record.zip_reader import (
    BLOCK_SIZE,
    CORRUPT,
    DEFLATED,
    MAX_LIST_BYTES,
    STORED,
    ListTooLarge,
    NotZip,
    ZipReader,
)

UTF_8 = 1 << 11


def read(data, names=None):
    """The contents of the files in a zip file, or of those of some names, by their names."""
    archive = ZipReader(io.BytesIO(data))
    chosen = [entry for entry in archive.entries if names is None or entry.name in names]
    return {entry.name: b"".join(blocks) for entry, blocks in archive.read(chosen)}


class Unseekable(io.RawIOBase):
    """A pipe: what is known of a file only at its end is written behind it."""

    def __init__(self):
        self.written = b""

    def writable(self):
        return True

    def write(self, data):
        self.written += data
        return len(data)


FILE = st.fixed_dictionaries(
    {
        "data": st.one_of(st.binary(max_size=100), st.binary(max_size=50).map(lambda data: data * 10_000)),
        "method": st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
        "extra": st.sampled_from([b"", b"UT\5\0\1\0\0\0\0"]),
        "comment": st.sampled_from([b"", b"PK\1\2"]),
    }
)


@given(
    files=st.dictionaries(st.text("ab/é\U0001f600\n", min_size=1, max_size=9), FILE, max_size=5),
    is_pipe=st.booleans(),
)
def test_what_zipfile_writes_is_read(files, is_pipe):
    target = Unseekable() if is_pipe else io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, file in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type, info.extra, info.comment = file["method"], file["extra"], file["comment"]
            archive.writestr(info, file["data"])
    data = target.written if is_pipe else target.getvalue()
    assert read(data) == {name.encode(): file["data"] for name, file in files.items()}
    assert [entry.name.decode() for entry in ZipReader(io.BytesIO(data)).entries] == list(files)


class File(NamedTuple):
    """A file in a zip file, and what is there of it, and its header and the list say, which may be wrong."""

    name: bytes = b"a"
    content: bytes = b"content"
    there: bytes | None = None
    method: int = STORED
    flags: int = 0
    packed: int | None = None
    size: int | None = None
    checksum: int | None = None
    place: int | None = None
    header: bytes = b"PK\3\4"
    header_name: bytes | None = None
    header_method: int | None = None


def deflated(content):
    return zlib.compress(content, wbits=-15)


def zip_of(*files, before=b"", list_extra=0, **end):
    """A zip file of files, with these numbers at its end in place of the right ones."""
    data, listed = before, b""
    for file in files:
        there = file.there
        if there is None:
            there = deflated(file.content) if file.method == DEFLATED else file.content
        packed = len(there) if file.packed is None else file.packed
        size = len(file.content) if file.size is None else file.size
        checksum = zlib.crc32(file.content) if file.checksum is None else file.checksum
        place = len(data) if file.place is None else file.place
        name = file.name if file.header_name is None else file.header_name
        method = file.method if file.header_method is None else file.header_method
        data += struct.pack("<4s5H3L2H", file.header, 20, file.flags, method, 0, 0, 0, 0, 0, len(name), 0)
        data += name + there
        listed += struct.pack(
            "<4s6H3L", b"PK\1\2", 20, 20, file.flags, file.method, 0, 0, checksum, packed, size
        )
        listed += struct.pack("<5H2L", len(file.name), 0, list_extra, 0, 0, 0, place) + file.name
    numbers = {
        "disk": 0,
        "list_disk": 0,
        "count_here": len(files),
        "count": len(files),
        "list_bytes": len(listed),
        "place": len(data),
        **end,
    }
    return data + listed + struct.pack("<4s4H2LH", b"PK\5\6", *numbers.values(), 0)


def test_a_name_is_in_utf_8_or_in_the_code_page_of_the_first_computers():
    assert read(zip_of(File("é".encode(), flags=UTF_8))) == {"é".encode(): b"content"}
    assert read(zip_of(File(b"\x82"))) == {"é".encode(): b"content"}
    with pytest.raises(UnicodeDecodeError):
        read(zip_of(File(b"\x82", flags=UTF_8)))


def test_files_are_read_wherever_they_are():
    data = zip_of(File(b"a", b"A" * 1000, method=DEFLATED), File(b"b", b"B"))
    at = data.index(b"PK\1\2")
    entries, end = data[at:-22], data[-22:]
    middle = len(entries) // 2
    swapped = data[:at] + entries[middle:] + entries[:middle] + end
    assert [entry.name for entry in ZipReader(io.BytesIO(swapped)).entries] == [b"b", b"a"]
    assert read(swapped) == {b"a": b"A" * 1000, b"b": b"B"}
    assert read(swapped, [b"b"]) == {b"b": b"B"}


def test_an_empty_file_may_be_deflated_to_nothing():
    assert read(zip_of(File(content=b"", method=DEFLATED, there=b""))) == {b"a": b""}
    assert read(zip_of(File(content=b"", method=DEFLATED))) == {b"a": b""}


INNER = zip_of(File(b"b", b"inner"))[: 30 + 1 + 5]
DAMAGED = {
    "something in front": zip_of(File(), before=b"#!/bin/sh\n", place=41),
    "a list that begins later": zip_of(File(), place=39),
    "another disk": zip_of(File(), disk=1),
    "a list on another disk": zip_of(File(), list_disk=1),
    "another number of files here": zip_of(File(), count_here=2),
    "another number of files": zip_of(File(), count=2, count_here=2),
    "a list that is shorter": zip_of(File(), list_bytes=46, place=39),
    "an entry that is longer than the list": zip_of(File(), list_extra=1),
    "another signature of an entry": zip_of(File()).replace(b"PK\1\2", b"PK\1\1"),
    "another signature of a header": zip_of(File(header=b"PK\3\3")),
    "another name": zip_of(File(header_name=b"b")),
    "a longer name": zip_of(File(header_name=b"aa")),
    "another method": zip_of(File(header_method=DEFLATED)),
    "a place behind the end": zip_of(File(place=1 << 20)),
    "a place near the end": zip_of(File(place=100)),
    "another checksum": zip_of(File(checksum=1)),
    "another checksum of nothing": zip_of(File(content=b"", checksum=1)),
    "a larger size": zip_of(File(size=8)),
    "a smaller size": zip_of(File(size=6)),
    "a smaller size, and the checksum of that": zip_of(File(size=6, checksum=zlib.crc32(b"conten"))),
    "a smaller size, deflated": zip_of(File(size=6, checksum=zlib.crc32(b"conten"), method=DEFLATED)),
    "not deflated": zip_of(File(method=DEFLATED, there=b"content")),
    "less than it was deflated to": zip_of(File(method=DEFLATED, there=deflated(b"content")[:-1])),
    "more than it was deflated to": zip_of(File(method=DEFLATED, there=deflated(b"content") + b"!")),
    "a content that does not fit in": zip_of(File(packed=1 << 20)),
    "a file in another one": zip_of(File(content=INNER), File(b"b", b"inner", place=31)),
    "one file twice": zip_of(File(), File(place=0)),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_parts_that_do_not_fit_together_are_refused(case):
    with pytest.raises(CORRUPT):
        read(DAMAGED[case])


def test_a_zip_file_that_is_cut_off_while_it_is_read_is_refused():
    file = io.BytesIO(zip_of(File()))
    archive = ZipReader(file)
    file.truncate(35)
    with pytest.raises(CORRUPT):
        b"".join(*(blocks for _, blocks in archive.read(archive.entries)))


def test_a_file_is_unpacked_in_blocks():
    size = 50 << 20
    data = zip_of(File(content=bytes(size), method=DEFLATED))
    archive = ZipReader(io.BytesIO(data))
    tracemalloc.start()
    try:
        ((_, blocks),) = archive.read(archive.entries)
        sizes = [len(block) for block in blocks]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) == size
    assert max(sizes) <= BLOCK_SIZE
    assert peak < 8 * BLOCK_SIZE


def test_no_more_is_unpacked_than_the_list_says():
    data = zip_of(File(content=bytes(50 << 20), method=DEFLATED, size=1_000_000))
    archive = ZipReader(io.BytesIO(data))
    ((_, blocks),) = archive.read(archive.entries)
    sizes = []
    with pytest.raises(CORRUPT):
        sizes.extend(len(block) for block in blocks)
    assert 0 < sum(sizes) <= 1_000_000


def test_what_is_left_when_all_input_is_consumed_is_unpacked_too():
    for size in range(BLOCK_SIZE, BLOCK_SIZE + 300):
        content = bytes(size)
        assert read(zip_of(File(content=content, method=DEFLATED))) == {b"a": content}


def test_a_list_is_read_only_if_it_is_not_too_large():
    for data in (zip_of(File(), list_bytes=MAX_LIST_BYTES + 1), zip_of(File(), list_bytes=1 << 31)):
        with pytest.raises(ListTooLarge):
            read(data)
    with pytest.raises(CORRUPT):
        read(zip_of(File(), list_bytes=MAX_LIST_BYTES))


def test_what_does_not_end_as_a_zip_file_is_told_apart():
    data = zip_of(File())
    comments = (data[:-2] + b"\1\0", data[:-2] + b"\1\0!")
    for other in (b"", b"PK\5\6", data[:-1], data + b"!", *comments, b"no zip file" * 10):
        with pytest.raises(NotZip):
            read(other)


def test_what_follows_the_end_of_a_deflated_file_is_not_collected():
    rest = random.Random(0).randbytes(20 << 20)
    data = zip_of(File(method=DEFLATED, there=deflated(b"content") + rest))
    archive = ZipReader(io.BytesIO(data))
    ((_, blocks),) = archive.read(archive.entries)
    tracemalloc.start()
    try:
        with pytest.raises(CORRUPT):
            list(blocks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * BLOCK_SIZE
