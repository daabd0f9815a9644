"""Reads a report as a browser does, as far as it matters: its elements, their attributes and its data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements of a page in order, as (name, attributes); `texts` by the id of their element."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.text = ""
        self.blocks = []
        self._block = None
        self.feed(text)
        self.close()
        assert self.rawdata == "", "the page ends inside an element"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._block = tag if tag in ("script", "style") else None
        if self._block:
            self.blocks.append("")

    def handle_endtag(self, tag):
        self._block = None

    def handle_data(self, data):
        if self._block:
            self.blocks[-1] += data
        else:
            self.text += data

    def of(self, name):
        """The attributes of each element with this name."""
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def data(self):
        """What the script gets."""
        return json.loads(self.blocks[1])

    @property
    def policy(self):
        (meta,) = [one for one in self.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
        return dict(part.strip().split(" ", 1) for part in meta["content"].split(";"))


def hash_of(text):
    """A text as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def assert_safe(text):
    """Nothing in the page is run, loaded or sent but the page's own style and script."""
    page = Page(text)
    style, _, script = page.blocks
    assert page.of("style") == [{}]
    assert page.of("script") == [{"type": "application/json", "id": "data"}, {}]
    policy = page.policy
    assert policy.pop("default-src") == policy.pop("base-uri") == policy.pop("form-action") == "'none'"
    assert policy == {"style-src": hash_of(style), "script-src": hash_of(script)}
    known = {"a", "body", "br", "button", "canvas", "code", "dd", "details", "div", "dl", "dt", "fieldset"}
    known |= {"form", "h1", "h2", "h3", "head", "header", "html", "input", "label", "legend", "li", "main"}
    known |= {"meta", "nav", "noscript", "p", "pre", "rect", "script", "section", "span", "style", "summary"}
    known |= {"g", "path", "text"}
    known |= {"svg", "table", "tbody", "td", "th", "thead", "title", "tr", "ul"}
    assert {tag for tag, _ in page.elements} <= known
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {
        name for name in names if name.startswith("on") or name in ("style", "src", "srcset", "action")
    }
    assert all(re.fullmatch("#[a-z]+", link["href"]) for link in page.of("a"))
    return page
