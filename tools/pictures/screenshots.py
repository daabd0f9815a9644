"""A screenshot of the report, by the browser of the tests."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What is seen at the top of the page, in pixels.
WIDTH, HEIGHT = 1000, 900


def screenshot(page: Path, scheme: str, mark: str) -> bytes:
    """The top of a page as PNG, `light` or `dark`, with a mark in it."""
    from support.browser import Browser

    browser = Browser()
    try:
        browser.open(page, width=WIDTH, height=HEIGHT, prefers_color_scheme=scheme)
        if problems := browser.errors():
            raise SystemExit(f"the page says: {problems}")
        data = browser.command("Page.captureScreenshot", format="png")["data"]
    finally:
        browser.close()
    return smaller(base64.b64decode(data), mark)


def smaller(png: bytes, mark: str) -> bytes:
    """The same picture, compressed as well as zlib can, with a text."""
    parts, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind = png[at + 4 : at + 8]
        parts[kind] = parts.get(kind, b"") + png[at + 8 : at + 8 + length]
        at += 12 + length
    body = zlib.compress(zlib.decompress(parts[b"IDAT"]), 9)
    chunks = (
        (b"IHDR", parts[b"IHDR"]),
        (b"tEXt", b"Comment\0" + mark.encode()),
        (b"IDAT", body),
        (b"IEND", b""),
    )
    return png[:8] + b"".join(
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
        for kind, text in chunks
    )
