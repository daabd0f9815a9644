"""The site that `make docs` builds: all pages, no warning, nothing from elsewhere, a search offline."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from urllib.parse import unquote

import pytest
from support.browser import CHROMIUM, DRIVER, Browser
from support.runs import ROOT, eventually

import mprun
from mprun.cli.command_line import MODULES
from mprun.record.events import KINDS

pytestmark = pytest.mark.timeout(300)
LOADED = r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"([^\"]*)\""
RESULTS = "document.querySelector('#search-results').innerText"
LINKS = "[...document.querySelectorAll('#search-results li > a')].map(link => link.getAttribute('href'))"
WIDE_TABLES = """[...document.querySelectorAll('article table:not(:has(th:nth-child(5)))')]
    .filter(({parentElement: box}) => box.scrollWidth > box.clientWidth).length"""
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs chromium and chromium-driver"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for name in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(name)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", folder / "doctrees", "docs", folder / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "site"


def text_of(site, page):
    """The text of a page, without markup."""
    html = (site / f"{page}.html").read_text("utf-8")
    article = html.partition("<article")[2].partition("</article>")[0]
    return re.sub(r"<[^>]+>", "", article).replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">")


def test_every_page_is_on_the_site_and_in_its_menu(site):
    menu = (site / "index.html").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").is_file()
        if page.stem != "index":
            assert f'class="reference internal" href="{page.stem}.html"' in menu
    assert (site / "llms.txt").read_text("utf-8") == (ROOT / "docs" / "llms.txt").read_text("utf-8")


def test_a_page_loads_nothing_from_elsewhere(site):
    pages = [*site.glob("*.html"), *site.glob("generated/*.html")]
    assert len(pages) > 25
    for page in pages:
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"([^\"]*)\"", page.read_text("utf-8")
        )
        assert loaded
        assert not [address for address in loaded if re.match(r"(?:\w+:)?//", address)], page
    for style in site.glob("_static/**/*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", style.read_text("utf-8")), style


def addresses(page):
    """The addresses in a page, those of pictures, too."""
    for tag in re.findall(r"<[a-z][^>]*>", page.read_text("utf-8")):
        for name, value in re.findall(r'\b(src|href|srcset)="([^"]*)"', tag):
            for address in value.split(",") if name == "srcset" else [value]:
                yield html.unescape(address.split()[0] if name == "srcset" else address)


def test_all_that_a_page_shows_or_leads_to_on_the_site_is_there(site):
    pages = [*site.glob("*.html"), *site.glob("generated/*.html")]
    ids = {page.resolve(): set(re.findall(r'\bid="([^"]+)"', page.read_text("utf-8"))) for page in pages}
    missing = []
    for page in pages:
        for address in set(addresses(page)):
            if re.match(r"[a-z]+:|//", address):
                continue
            path, _, anchor = address.partition("#")
            target = (page.parent / unquote(path.partition("?")[0])).resolve() if path else page.resolve()
            is_anchored = not anchor or target not in ids or unquote(anchor) in ids[target]
            if not (target.exists() and is_anchored):
                missing.append((page.name, address))
    assert missing == []


def test_a_picture_for_each_theme_is_shown_by_the_theme(site):
    shown = re.findall(r'<img[^>]*class="only-(\w+)"[^>]*src="([^"]+)"', (site / "report.html").read_text())
    assert sorted((theme, address.rpartition("-")[2]) for theme, address in shown) == [
        ("dark", "dark.png"),
        ("light", "light.png"),
    ]


def test_the_reference_has_all_that_there_is(site):
    schema = json.loads((ROOT / "schemas" / "job.schema.json").read_text("utf-8"))
    keys = text_of(site, "generated/job-file-keys")
    for name in [*schema["properties"], *schema["definitions"]["task"]["properties"]]:
        assert re.search(rf"^{re.escape(name)}\b", keys, re.MULTILINE), name
    commands = text_of(site, "generated/command-line")
    for name in MODULES:
        assert f"mprun {name} [OPTIONS]" in commands
    assert "--max-parallel N" in commands
    events = text_of(site, "generated/events")
    for name, kind in KINDS.items():
        assert name in events
        for field in kind._fields:
            assert re.search(rf"^{field}\b", events, re.MULTILINE), field
    interface = text_of(site, "generated/python-interface")
    for name in mprun.__all__:
        assert f"mprun.{name}" in interface


def test_no_row_of_the_reference_is_without_a_value_or_a_meaning(site):
    for page in ("job-file-keys", "events"):
        html = (site / "generated" / f"{page}.html").read_text("utf-8")
        assert html.count("<td>") > 100
        assert not re.findall(r"<td><p></p></td>|<td></td>", html)


def test_the_index_and_the_list_for_language_models_name_the_same_pages():
    def listed(path):
        return re.findall(r"^(?:- \[|## ).*", (ROOT / "docs" / path).read_text("utf-8"), re.MULTILINE)

    assert listed("index.md") == listed("llms.txt")


@needs_browser
@pytest.mark.parametrize("width", [420, 1300])
def test_the_search_finds_a_page_without_a_server(site, width):
    pytest.importorskip("selenium", reason="needs selenium")
    browser = Browser()
    try:
        browser.open(site / "tutorial.html", width=width)
        wide, shown = browser.run(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= shown
        assert browser.errors() == []
        # A table of words is never wider than its page: a reader would see a part of its first column.
        for page in ("recipes", "install", "generated/job-file-keys"):
            browser.open(site / f"{page}.html", width=width)
            assert browser.run(WIDE_TABLES) == 0, page
        browser.driver.get(f"{(site / 'search.html').as_uri()}?q=forkserver")
        eventually(lambda: "Processes, step by step" in browser.run(RESULTS))
    finally:
        browser.close()


# A word that people look for, and the page that explains it.
GUIDES = {
    "retry": "job-file",
    "daemon": "services",
    "port": "services",
    "skip": "unchanged",
    "cache": "unchanged",
    "flaky": "repeat-and-compare",
    "dask": "cluster",
    "junit": "ci",
    "timeout": "stopping-and-resuming",
    "resume": "stopping-and-resuming",
    "matrix": "many-from-one",
    "secret": "data",
    "param": "data",
    "install": "install",
    "completion": "install",
    "zsh": "install",
    "cron": "install",
}


@needs_browser
def test_the_search_leads_to_the_guides_first_and_to_python_objects_last(site):
    pytest.importorskip("selenium", reason="needs selenium")
    browser = Browser()
    try:
        found = {}
        for word in GUIDES:
            browser.driver.get(f"{(site / 'search.html').as_uri()}?q={word}")
            eventually(
                lambda: "found" in browser.run("document.querySelector('#search-results p').innerText")
            )
            found[word] = browser.run(LINKS)
    finally:
        browser.close()
    first = {word: [link.partition(".html")[0] for link in links[:3]] for word, links in found.items()}
    assert {word: pages for word, pages in first.items() if GUIDES[word] not in pages} == {}
    for word, links in found.items():
        # Once the pages that are written by programs begin, nothing else follows.
        written = [link.startswith("generated/") for link in links]
        assert written == sorted(written), (word, links)
