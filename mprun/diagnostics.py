"""An error in a file of the user: what is wrong, where, and how to fix it."""

from __future__ import annotations

from _thread import _local
from typing import TYPE_CHECKING

from mprun.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# An error quotes at most this many characters of a file, so that it stays readable.
QUOTE_LIMIT = 200

# Names that a help text lists if none is similar to the one that was written.
_MAX_CHOICES = 5
# A name is similar from this ratio of `difflib` on.
_CUTOFF = 0.6
# Pairs of letters that may be compared to find names similar to all unknown ones of a job, which takes a
# tenth of a second, and to one of them: 15,000 names of ten letters.
_MAX_COMPARED = 2_000_000
_MAX_COMPARED_WITH_ONE = 1_500_000
# What a name costs that is only looked at, and each of its letters if it is compared by them.
_NAME = 10
_LETTER = 8

# In place of what was left out.
ELLIPSIS = "…"

# Characters of several lines that act on a terminal (C0 and C1 controls, DEL), change the direction of text
# (bidi), end a line for some readers, or are not seen: Unicode's Default_Ignorable_Code_Point, but for the
# joiners and the variation selectors of emoji.
_CONTROLS = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
# Those of them that are printable to Python, without those of the last plane that it assigns.
_HIDDEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
_LAST_PLANES = "\U000e0000"
# Not printable to Python, but part of how words and emoji are written.
_JOINERS = "\u200c\u200d"


class Span(Frozen):
    """A stretch of one line: `line` and `column` from 1, `width` in characters."""

    line: int
    column: int
    width: int = 1


class SourceLines:
    """The lines of a text, split when the first one is needed, which a valid file never does."""

    __slots__ = ("_split", "_starts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._split: list[str] | None = None
        self._starts: list[int] | None = None

    def __len__(self) -> int:
        return len(self._lines())

    def __getitem__(self, number: int) -> str:
        return self._lines()[number]

    def starts(self) -> list[int]:
        """The index of the first character of each line, and the one after the end of the text."""
        if self._starts is None:
            # Only messages need it.
            from itertools import accumulate

            self._starts = list(accumulate(map((1).__add__, map(len, self._lines())), initial=0))
        return self._starts

    def _lines(self) -> list[str]:
        if self._split is None:
            self._split = self.text.split("\n")
        return self._split


class SourceText(Frozen):
    r"""A file as it was read: its path as the user gave it, and its lines, each of which ends with `\n`."""

    path: str
    lines: SourceLines

    def place(self, span: Span) -> str:
        """How messages call a position in it: `job.yaml:3:5`."""
        return f"{self.path}:{span.line}:{span.column}"


class Diagnostic(Frozen):
    """One error, with its position and a help text on how to fix it."""

    message: str
    source: SourceText
    span: Span
    help: str = ""

    def sort_key(self) -> tuple[str, int, int, str]:
        """Order by file, line, column, then message."""
        return (self.source.path, self.span.line, self.span.column, self.message)

    def __str__(self) -> str:
        return redact(f"{self.source.place(self.span) or 'the job'}: {self.message}")


def visible(text: str, *, multiline: bool = False) -> str:
    r"""The text with control and invisible characters written out: `\x1b`, `\t`, `\u202e`.

    It cannot act on a terminal, or look like another text. With `multiline`, line feeds, tabs, spaces
    of any width and characters that only some fonts have stay as they are.
    """
    if text.isprintable() and _has_none_hidden(text):
        return text
    if multiline:
        if text.replace("\n", "").isprintable() and _has_none_hidden(text):
            return text
        # It takes 7 ms to compile the pattern, and most output has nothing for it.
        import re

        return re.sub(_CONTROLS, lambda found: _escaped(found[0]), text)
    return "".join([char if is_visible(char) else _escaped(char) for char in text])


def _has_none_hidden(text: str) -> bool:
    """Whether all characters of a text that are printable to Python can be seen."""
    if text.isascii():
        return True
    if any(map(text.__contains__, _HIDDEN)):
        return False
    # Most texts have no character beyond the first plane, which takes more bytes.
    return len(text.encode("utf-16-le")) == 2 * len(text) or max(text) < _LAST_PLANES


def is_visible(char: str) -> bool:
    """Whether a character can be seen, or is part of how words and emoji are written."""
    if char in _HIDDEN or char >= _LAST_PLANES:
        return False
    return char.isprintable() or char in _JOINERS


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


# The values of secret params of this process, in each form in which a message may contain them.
_secrets: set[str] = set()
# Shorter ones are part of many words.
_MIN_INSIDE_WORDS = 4
REDACTED = "***"
# Of so many times the characters that are to be shown, secrets are looked for: what is redacted is shorter.
_WINDOW = 8


def remember_secret(value: object) -> None:
    """Have `redact` replace a value from now on, and everything inside it."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            remember_secret(item)
        return
    text = "" if value is None or isinstance(value, bool) else str(value)
    # Few jobs have a secret.
    from mprun.secret_forms import forms

    _secrets.update(forms(text, visible))


def secrets() -> list[str]:
    """What `redact` replaces, the longest first."""
    return sorted(_secrets, key=len, reverse=True)


def redact(text: str) -> str:
    """The text with `***` for each secret: what mprun prints and records of its own passes here."""
    if not _secrets:
        return text
    import re

    known: Collection[str] = _secrets
    if len(known) > len(text):
        from mprun.secret_forms import possible_in

        known = possible_in(text, known)
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= _MIN_INSIDE_WORDS:
            text = text.replace(secret, REDACTED)
        elif secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", REDACTED, text)
    return text


def redact_beginning(text: str, limit: int) -> str:
    """The first `limit` characters of the redacted text, or fewer; a longer text costs no more."""
    size = _WINDOW * limit
    if len(text) <= size or not _secrets:
        return redact(text[:size])[:limit]
    from mprun.secret_forms import end_before_unfinished

    end = end_before_unfinished(text[:size], _secrets)
    return (redact(text[:end]) + (REDACTED if end < size else ""))[:limit]


def quote(text: str) -> str:
    """The text in backticks: at most 200 characters of it, control characters made visible."""
    text = redact(text)
    if len(text) > QUOTE_LIMIT:
        text = text[: QUOTE_LIMIT - 1]
        return f"`{visible(text)}{ELLIPSIS}`"
    return f"`{visible(text)}`"


class Comparisons:
    """What all searches for similar names may still spend in a block, such as the load of a job.

    Outside of one, each search has its own limit. A job of 8 MiB may have thousands of unknown names.
    """

    __slots__ = ("_before", "left")

    def __init__(self, left: int = _MAX_COMPARED) -> None:
        self.left = left
        self._before: Comparisons | None = None

    def __enter__(self) -> Comparisons:
        """Let the searches of the block spend from these."""
        self._before, _limit.comparisons = _present_limit(), self
        return self

    def __exit__(self, *_: object) -> None:
        """Let them spend from those of before."""
        _limit.comparisons = self._before


# Of each thread that is in a block: a program may load a job in each.
_limit = _local()


def _present_limit() -> Comparisons | None:
    return getattr(_limit, "comparisons", None)


def closest(
    word: str, candidates: Collection[str], synonyms: Mapping[str, Collection[str]] | None = None
) -> str:
    """The candidate that a word was probably meant to be; empty if none is similar.

    It is also empty if the searches of a job have been too many (`Comparisons`).
    `synonyms` has, by candidate, other words for it.
    """
    budget = _present_limit() or Comparisons(_MAX_COMPARED_WITH_ONE)
    if budget.left <= 0:
        return ""
    known = sorted(set(candidates))
    budget.left -= sum(map(len, known)) + _NAME * len(known)
    plain = _folded(word)
    by_folded = {_folded(candidate): candidate for candidate in reversed(known)}
    stem = plain.rstrip("s")
    for folded in (plain, stem, f"{stem}s", f"{stem}ss"):
        if folded in by_folded:
            return by_folded[folded]
    for candidate in known if synonyms else ():
        if word.lower().replace("-", "_") in (synonyms or {}).get(candidate, ()):
            return candidate
    return _similar(plain, by_folded, budget)


def _similar(plain: str, by_folded: dict[str, str], budget: Comparisons) -> str:
    # difflib costs 3 ms to import, and is quadratic: a longer word is not a typo of a short one.
    if len(plain) > 100:
        return ""
    from difflib import SequenceMatcher

    # To difflib `agrs` is as near to `tags` as to `args`; swapped letters are more likely.
    letters = sorted(plain)
    for folded, candidate in by_folded.items():
        if len(folded) == len(plain) and sorted(folded) == letters:
            return candidate
    # As `difflib.get_close_matches` does, whose work nothing bounds.
    matcher = SequenceMatcher(b=plain)
    best, meant = _CUTOFF, ""
    least = budget.left - _MAX_COMPARED_WITH_ONE
    for folded in by_folded:
        # What `real_quick_ratio` returns, which takes three times as long.
        if 2 * min(len(folded), len(plain)) < best * (len(folded) + len(plain)):
            continue
        budget.left -= _LETTER * len(folded)
        matcher.set_seq1(folded)
        if matcher.quick_ratio() >= best:
            budget.left -= len(folded) * len(plain)
            score = matcher.ratio()
            if score > best or (score == best and folded > meant):
                best, meant = score, folded
        if budget.left < max(least, 0):
            break
    return by_folded[meant] if meant else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "").replace(" ", "")


def did_you_mean(
    word: str, candidates: Collection[str], synonyms: Mapping[str, Collection[str]] | None = None
) -> str:
    """The help text "did you mean `retry`?", or an empty text if nothing is similar."""
    found = closest(word, candidates, synonyms)
    return f"did you mean {quote(found)}?" if found else ""


def suggest(word: str, candidates: Collection[str], kind: str) -> str:
    """Like `did_you_mean`; if nothing is similar, some of the candidates: `kind` is their plural."""
    suggestion = did_you_mean(word, candidates)
    if suggestion or not candidates or ((limit := _present_limit()) and limit.left <= 0):
        return suggestion
    known = sorted(set(candidates))
    some = ", ".join(quote(candidate[:40]) for candidate in known[:_MAX_CHOICES])
    return f"known {kind}: {some}" + (", …" if len(known) > _MAX_CHOICES else "")
