"""Reads the zip files that `mprun pack` writes, also if another program has packed what was in them again.

They may come from anyone, so only one plain form is read: one disk, no comment, no encryption, no ZIP64
(PKWARE's APPNOTE.TXT has the format). The list of the files, at the end, says where each one is, its sizes
and its checksum; extra fields, and descriptors behind files, are skipped. zipfile takes five times as long
for a list of 65,535 files, because each becomes an object of twenty attributes; and what it accepts depends
on the Python.
"""

from __future__ import annotations

import os
import struct
import zlib
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A zip file without the extensions of ZIP64 has no more.
MAX_FILES = 65_535
# The list of the files, in which each takes so much more than its name.
MAX_LIST_BYTES = 16 << 20
LIST_ENTRY_BYTES = 46
# How much of a file is read, or unpacked, at once, in bytes.
BLOCK_SIZE = 1 << 18

STORED, DEFLATED = 0, 8

# A file in the list: a signature, its flags, method of compression, checksum, size here and unpacked, the
# lengths of its name, extra fields and comment, its attributes, and where it is.
_LISTED = struct.Struct("<4s 4x 2H 4x 3L 3H 4x 2L")
# In front of a file: a signature, its flags and method again, and the lengths of its name and of the extra
# fields here.
_HEADER = struct.Struct("<4s 2x 2H 16x 2H")
# At the end: a signature, the numbers of this disk and of the one with the list, how many files are on this
# disk and on all, the size and the place of the list, and the length of the comment.
_END = struct.Struct("<4s 4H 2L H")
_LISTED_SIGNATURE, _HEADER_SIGNATURE, _END_SIGNATURE = b"PK\1\2", b"PK\3\4", b"PK\5\6"
# In front of the end, if there is ZIP64.
_LOCATOR_64_SIGNATURE, _LOCATOR_64_BYTES = b"PK\6\7", 20

# A flag.
_IS_UTF_8 = 1 << 11


class NotZip(Exception):
    """The file does not end as a zip file without a comment does: it is another one, or cut off."""


class ListTooLarge(Exception):
    """The list has more than MAX_FILES files or MAX_LIST_BYTES bytes, or may have, by ZIP64."""


class Damaged(Exception):
    """The parts of the zip file do not fit together."""


# What is raised for a damaged zip file.
CORRUPT = (Damaged, OSError, UnicodeError, struct.error, zlib.error)


class Entry(NamedTuple):
    """A file, or a directory, in the list of a zip file.

    Its name is in UTF-8 here, and ends with `/` if it is a directory. `packed` is its size in the zip file,
    in bytes, `size` that of its content, and `place` is where its header is.
    """

    name: bytes
    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    attributes: int
    place: int


class ZipReader:
    """A zip file, of which only the list is read at first: `entries`.

    Raises NotZip, ListTooLarge, and what is in CORRUPT.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LOCATOR_64_BYTES - _END.size))
        tail = file.read()
        locator, end = tail[: -_END.size], tail[-_END.size :]
        if len(end) < _END.size:
            raise NotZip
        start, disk, list_disk, count_here, count, list_bytes, list_place, comment = _END.unpack(end)
        if start != _END_SIGNATURE or comment:
            raise NotZip
        if locator.startswith(_LOCATOR_64_SIGNATURE) or list_bytes > MAX_LIST_BYTES:
            raise ListTooLarge
        file.seek(max(0, size - _END.size - list_bytes))
        listed = file.read(list_bytes)
        if listed.count(_LISTED_SIGNATURE) > MAX_FILES:
            raise ListTooLarge
        if disk or list_disk or count_here != count or list_place + list_bytes + _END.size != size:
            raise Damaged
        self.entries = _entries(listed)
        if len(self.entries) != count:
            raise Damaged

    def read(self, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Read some of the files, by their places: each is to be read, in blocks, before the next one.

        Raises what is in CORRUPT, also at the end of a file that has not the size or checksum of the list,
        and for one that begins before another one has ended.
        """
        end = 0
        for entry in sorted(entries, key=attrgetter("place")):
            if entry.place < end:
                raise Damaged
            begin = self._skip_header(entry)
            end = begin + entry.packed
            blocks = self._packed(begin, entry.packed)
            # An empty file may be deflated to nothing at all.
            if entry.method == DEFLATED and entry.packed:
                blocks = _inflated(blocks)
            yield entry, _checked(blocks, entry)

    def _skip_header(self, entry: Entry) -> int:
        """Where the content of a file begins, if its header agrees with the list."""
        self._file.seek(entry.place)
        header = self._file.read(_HEADER.size)
        signature, flags, method, name_bytes, extra_bytes = _HEADER.unpack(header)
        name = _utf_8(self._file.read(name_bytes), flags)
        if signature != _HEADER_SIGNATURE or name != entry.name or method != entry.method:
            raise Damaged
        return entry.place + _HEADER.size + int(name_bytes) + int(extra_bytes)

    def _packed(self, place: int, left: int) -> Iterator[bytes]:
        self._file.seek(place)
        while data := self._file.read(min(left, BLOCK_SIZE)):
            left -= len(data)
            yield data


def _entries(data: bytes) -> list[Entry]:
    found = []
    # `Entry(...)` takes half as long again.
    unpack, new, at = _LISTED.unpack_from, tuple.__new__, 0
    while at < len(data):
        start, flags, method, checksum, packed, size, named, extra, comment, kind, place = unpack(data, at)
        if start != _LISTED_SIGNATURE:
            raise Damaged
        at += LIST_ENTRY_BYTES
        name = data[at : at + named]
        if not name.isascii():
            name = _utf_8(name, flags)
        found.append(new(Entry, (name, flags, method, checksum, packed, size, kind, place)))
        at += named + extra + comment
    if at != len(data):
        raise Damaged
    return found


def _utf_8(name: bytes, flags: int) -> bytes:
    """A name in UTF-8: in a zip file it is that, or in the code page of the first PCs."""
    if name.isascii():
        return name
    if not flags & _IS_UTF_8:
        return name.decode("cp437").encode()
    name.decode()
    return name


def _inflated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for data in blocks:
        while data:
            yield inflater.decompress(data, BLOCK_SIZE)
            data = inflater.unconsumed_tail
        # It would collect all that follows.
        if inflater.unused_data:
            raise Damaged
    # A few kilobytes at most, because all input is consumed.
    yield inflater.flush()
    if not inflater.eof:
        raise Damaged


def _checked(blocks: Iterator[bytes], entry: Entry) -> Iterator[bytes]:
    left, checksum = entry.size, 0
    for data in blocks:
        left -= len(data)
        if left < 0:
            break
        checksum = zlib.crc32(data, checksum)
        yield data
    if left or checksum != entry.checksum:
        raise Damaged
