"""The site: these pages as Sphinx shows them, with reference pages that the program writes (`make docs`)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))

from docs_site.reference import write_reference  # noqa: E402
from docs_site.search_words import with_search_words  # noqa: E402

import mprun  # noqa: E402

project = "mprun"
copyright = "the mprun authors"
version = release = mprun.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["pictures"]
# Links to headings, as GitHub has them.
myst_heading_anchors = 4
# In docstrings, single backticks mark code.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "mprun"
html_extra_path = ["llms.txt"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(HERE / "_static" / "search_scorer.js")
html_show_sphinx = False
html_copy_source = False

# The file that a page has for its links on GitHub is elsewhere on the site.
MOVED = {"../CHANGELOG.md": "generated/changelog.md", "../CONTRIBUTING.md": "generated/contributing.md"}
REFERENCE = ["job-file-keys", "command-line", "events", "python-interface"]


def write_pages(app: object) -> None:
    """Write the pages that are not in git."""
    generated = HERE / "generated"
    write_reference(generated)
    for name in ("CHANGELOG", "CONTRIBUTING"):
        text = (HERE.parent / f"{name}.md").read_text("utf-8")
        (generated / f"{name.lower()}.md").write_text(re.sub(r"\]\(docs/", "](../", text), "utf-8")


def as_images(picture: re.Match[str]) -> str:
    """A picture for light and dark pages as two images, of which the theme shows one; Sphinx copies both."""
    (dark,), (light,) = (re.findall(rf'{key}="([^"]+)"', picture[0]) for key in ("srcset", "src"))
    (alt,) = re.findall(r'alt="([^"]*)"', picture[0])
    images = {"only-light": light, "only-dark": dark}
    return "\n\n".join(
        f'```{{image}} {file}\n:class: {name}\n:alt: "{alt}"\n```' for name, file in images.items()
    )


def read_source(app: object, name: str, source: list[str]) -> None:
    """Lead links to pages of the site, add what the search finds, and give the index its trees of pages."""
    source[0] = re.sub(r"<picture>.*?</picture>", as_images, source[0], flags=re.DOTALL)
    source[0] = with_search_words(name, source[0])
    for path, page in MOVED.items():
        source[0] = source[0].replace(f"]({path}", f"]({page}")
    if name == "index":
        trees = []
        for section in source[0].split("\n## ")[1:]:
            title, _, text = section.partition("\n")
            pages = re.findall(r"^- \[.+?\]\((\S+)\.md\)", text, re.MULTILINE)
            trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```"]))
        # These are only on the site.
        pages = [f"generated/{page}" for page in REFERENCE]
        listed = "\n".join(["```{toctree}", ":caption: Written by mprun itself", "", *pages, "```"])
        more = ["```{toctree}", ":hidden:", "", "generated/changelog", "generated/contributing", "```"]
        source[0] += "\n\n" + "\n\n".join([*trees, listed, "\n".join(more)])


def setup(app: object) -> None:
    """Connect both."""
    app.connect("builder-inited", write_pages)  # type: ignore[attr-defined]
    app.connect("source-read", read_source)  # type: ignore[attr-defined]
