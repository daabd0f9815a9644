"""What the YAML parser says about broken syntax -> a problem that says how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import Diagnostic, Span, quote

if TYPE_CHECKING:
    from mprun.diagnostics import SourceText


def explain(
    source: SourceText, context: str, problem: str, context_at: Span | None, problem_at: Span | None
) -> Diagnostic:
    """The problem in our words; what is not known here is passed on as it is.

    `context` and `problem` are libyaml's (scanner.c, parser.c), with their places.
    """
    at = problem_at or context_at or Span(line=1, column=1)
    opened = context_at or at
    text = source.lines[at.line - 1]
    char = text[at.column - 1 : at.column]
    if "quoted scalar" in context and ("end of stream" in problem or "document indicator" in problem):
        return _diagnostic(source, opened, "this quote is never closed", "close it, or take it out")
    if "cannot start any token" in problem:
        return _bad_start(source, at, char)
    if "mapping values are not allowed" in problem and _continues(source, at):
        message, help = "a `:` that YAML does not expect here", "does the line above lack its `: `?"
        return _diagnostic(source, at, message, help)
    if "flow" in context and "did not find expected ','" in problem:
        return _in_brackets(source, opened, at, context, text)
    for words, message, help in _KNOWN:
        if words in problem or words in context:
            if words == "tab":
                return _diagnostic(source, at, message, help)
            # An alias and an anchor begin where their context does, and not behind their sign.
            span = opened if words in ("alias", "anchor") else at
            return _diagnostic(source, span, message, _special_help(text, char) or help)
    return _diagnostic(source, at, f"not YAML: {problem or context}", _special_help(text, char))


_KNOWN = (
    ("mapping values are not allowed", "a `:` that YAML does not expect here",
     "check the indentation, or quote the value that contains `: `"),
    ("did not find expected key", "neither a key of this mapping nor its end", "check the indentation"),
    ("could not find expected ':'", "a key without a `:`", "write `key: value`, and check the indentation"),
    ("did not find expected '-'", "neither an item of this list nor its end", "indent it, or add the `- `"),
    ("block sequence entries are not allowed", "a list cannot begin here", "put it on a line of its own"),
    ("block mapping entries are not allowed", "a mapping cannot begin here", "put it on a line of its own"),
    ("alias", "an alias (`*`) needs a name", 'quote the value: `"*"`'),
    ("anchor", "an anchor (`&`) needs a name", 'quote the value: `"&"`'),
    ("tag", "tags (`!`) are not supported", "quote the value if it begins with `!`"),
    ("unknown escape", "an escape (`\\`) that YAML does not know", "use single quotes, or write `\\\\`"),
    ("hexdecimal", "an escape (`\\`) without its digits", "use single quotes, or write `\\\\`"),
    ("Unicode character", "an escape that is no Unicode character", "use single quotes, or write `\\\\`"),
    ("directive", "a line that begins with `%` is a directive", "quote the value that begins with `%`"),
    ("document start", "text after the end of the document", "check the indentation"),
    ("tab", "a tab cannot indent YAML", "use spaces"),
    ("block scalar", "the header of a text block must be `|` or `>` alone", "put the text on the next line"),
)  # fmt: skip


def _continues(source: SourceText, at: Span) -> bool:
    """Whether a key stands before this colon, and above it a line without any."""
    key = source.lines[at.line - 1][: at.column - 1]
    above = source.lines[at.line - 2].partition(" #")[0] if at.line > 1 else ":"
    return ": " not in key and bool(above.strip()) and ": " not in f"{above} "


def _diagnostic(source: SourceText, at: Span, message: str, help: str) -> Diagnostic:
    return Diagnostic(message=message, source=source, span=at, help=help)


def _bad_start(source: SourceText, at: Span, char: str) -> Diagnostic:
    if char == "\t":
        return _diagnostic(source, at, "a tab cannot indent YAML", "use spaces")
    shown = "a backtick" if char == "`" else quote(char)
    return _diagnostic(source, at, f"a value cannot begin with {shown}", 'quote the value: `"…"`')


def _in_brackets(source: SourceText, opened: Span, at: Span, context: str, text: str) -> Diagnostic:
    """A `[` or `{` whose end, or whose next comma, was not found."""
    bracket, closing = ("{", "}") if "mapping" in context else ("[", "]")
    if at.line != opened.line:
        return _diagnostic(source, opened, f"this `{bracket}` is never closed", f"add the `{closing}`")
    message = f"neither a `,` nor the end of this `{bracket}`"
    return _diagnostic(source, at, message, _special_help(text, "") or "add the `,`, or quote the value")


def _special_help(text: str, char: str) -> str:
    if "${" in text and any(bracket in text.replace("${", "") for bracket in "[{"):
        return 'inside `[ ]` and `{ }`, quote references: `"${…}"`'
    if char == "\t" or "\t" in text[: len(text) - len(text.lstrip())]:
        return "a tab cannot indent YAML: use spaces"
    return ""
