"""The words that the project's texts do without: each has a plainer one that a reader expects.

Searched in code with its comments and docstrings, in tests and their names, in documentation,
examples and schemas.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

# Each word, as a regular expression in which `~` is a gap, and what to write instead.
WORDS = {
    r"(?<!there\s)\bis~no\b(?!~(?:longer|more)|~\w+er~than)": "`is not a`, `has no`, or `invalid`",
    r"(?<!there\s)\bare~no\b(?!~(?:longer|more)|~\w+er~than)": "`are not`, or `have no`",
    r"\bgoes~on\b": "`is running`, or `continues`",
    r"\bstands\b": "`is`, `means`, `is written`",
    r"\bnobody\b": "`no one` for people, `nothing` or `no process` for the rest",
    r"\bsomebody\b": "`someone`",
    r"\bfor~ever\b": "`forever`",
    r"\btells\b": "`says`, `shows`, `reports`",
    r"\bwhoever\b": "the noun: `the reader that`",
    r"\bin~a~circle\b": "`dependency cycle`",
    r"\blet~be\b": "`left running`, or `left alone`",
    r"\bof~it~were\b": "`as if`",
}
PATTERN = re.compile("|".join(WORDS).replace("~", r"\s+(?:#\s+)?"), re.IGNORECASE)

TEXTS = {".py", ".md", ".json", ".yaml", ".yml", ".toml", ".txt", ".cfg", ""}
FOLDERS = ("mprun", "benchmarks", "docs", "schemas", "examples", "jobs", "tools", ".github", "tests")
# The corpus of job files has what users write, and this file has the words themselves.
SKIPPED = (ROOT / "tests" / "jobs", Path(__file__))
FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "pyproject.toml",
    ".pre-commit-config.yaml",
)

# Where such a word is right: the file, a piece of the line, and the reason.
EXCEPTIONS: tuple[tuple[str, str, str], ...] = ()


class Hit(NamedTuple):
    """A word at its place, and the line that has it."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text.strip()[:120]}"


def files() -> Iterator[Path]:
    for name in FILES:
        if (ROOT / name).is_file():
            yield ROOT / name
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            skipped = any(path.is_relative_to(other) for other in SKIPPED) or "__pycache__" in path.parts
            if path.is_file() and path.suffix in TEXTS and not skipped:
                yield path


def hits_in(text: str, name: str) -> Iterator[Hit]:
    lines = text.splitlines()
    for found in PATTERN.finditer(text):
        number = text.count("\n", 0, found.start())
        if not any(file == name and piece in lines[number] for file, piece, _ in EXCEPTIONS):
            yield Hit(name, number + 1, lines[number])


def hits() -> Iterator[Hit]:
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        yield from hits_in(text, path.relative_to(ROOT).as_posix())
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        names = re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        for name in (path.stem, *names):
            for _ in PATTERN.finditer(name.replace("_", " ") + " "):
                yield Hit(path.relative_to(ROOT).as_posix(), 0, name)


def test_texts_do_without_the_words_that_read_translated():
    found = [str(hit) for hit in hits()]
    assert not found, "\n".join(["", *found, "", *(f"{word}: {better}" for word, better in WORDS.items())])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("task `b` is no daemon", 1),
        ("there is no daemon; it is no longer running, and is no deeper than that", 0),
        ("# what it is\n    # no daemon of", 1),
        ("the run goes\n    on", 1),
        ("Nobody knows, and somebody waits for ever", 3),
        ("understands, category, foretells", 0),
    ],
)
def test_words_are_found_across_lines_and_as_whole_words(text, count):
    assert len(list(hits_in(text, "x.py"))) == count
