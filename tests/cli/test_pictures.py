"""The pictures in the documentation: their alternative texts, their size, and how they are made."""

import importlib
import re
import struct
import tempfile
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import pytest
from support.runs import ROOT, write

PICTURES = sorted(path for path in (ROOT / "docs" / "pictures").iterdir() if path.suffix in (".svg", ".png"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def tool(monkeypatch):
    """Imports a module of tools/pictures."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "pictures"))
    return importlib.import_module


def shown():
    """The alternative text and the file of each picture of a page."""
    for page in PAGES:
        text = page.read_text("utf-8")
        for alt, file in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", text):
            yield alt, page.parent / file
        for block in re.findall(r"<picture>.*?</picture>", text, re.DOTALL):
            (alt,) = re.findall(r'alt="([^"]*)"', block)
            for file in re.findall(r'(?:src|srcset)="([^"]+)"', block):
                yield alt, page.parent / file


def test_each_picture_is_there_and_is_described():
    found = list(shown())
    assert {file.resolve() for _, file in found} >= set(PICTURES)
    assert [file for _, file in found if not file.exists()] == []
    assert [file for alt, file in found if len(alt) < 40] == []


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small_says_what_it_is_made_from_and_asks_for_nothing(path):
    data = path.read_bytes()
    assert len(data) < (150_000 if path.suffix == ".png" else 100_000)
    assert re.search(rb"made from [0-9a-f]{16}", data)
    if path.suffix == ".svg":
        ElementTree.fromstring(data)
        assert re.findall(rb"https?://[^\"]*", data.replace(b"http://www.w3.org/", b"")) == []
        # Where it was made.
        assert b"/tmp/" not in data


@pytest.fixture
def short_path():
    """A directory whose path has room in a line of the terminal, beside the name of a task."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_a_run_on_a_terminal_becomes_frames(tool, short_path):
    write(
        short_path,
        job="""
        tasks:
          - {name: good, command: "echo '<b>'; sleep 0.6"}
          - {name: bad, command: "pwd; sleep 1; exit 3"}
        """,
    )
    picture = tool("animation").animation(short_path, "mprun job.yaml", "made from nothing", "/shop")
    frames = ElementTree.fromstring(picture).findall(f"{SVG}g")
    texts = [" ".join(text.text for text in frame.iter(f"{SVG}text")) for frame in frames]
    assert len(frames) >= 2
    assert "1/2" in texts[-2]
    assert re.search(r"bad +\d.\ds +pid", texts[-2])
    assert "good | <b>" in texts[-1]
    assert "bad  | /shop" in texts[-1]
    assert "failed in " in texts[-1]


def test_a_screenshot_is_compressed_and_has_a_mark(tool):
    def chunk(kind, text):
        return struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))

    pixels = b"".join(b"\0" + bytes([row]) * 30 for row in range(10))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0))
    body = zlib.compress(pixels, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", body[:99])
        + chunk(b"IDAT", body[99:])
        + chunk(b"IEND", b"")
    )
    small = tool("screenshots").smaller(png, "made from nothing")
    assert small.startswith(b"\x89PNG\r\n\x1a\n" + header + chunk(b"tEXt", b"Comment\0made from nothing"))
    (at,) = [found.start() for found in re.finditer(b"IDAT", small)]
    (length,) = struct.unpack(">I", small[at - 4 : at])
    assert zlib.decompress(small[at + 4 : at + 4 + length]) == pixels
    assert len(small) < len(png)
