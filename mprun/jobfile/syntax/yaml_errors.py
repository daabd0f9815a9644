"""Explains syntax errors of the YAML parser, and says how to fix them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mprun.diagnostics import Diagnostic, Span, quote

if TYPE_CHECKING:
    from mprun.diagnostics import SourceText


def explain(
    source: SourceText, context: str, problem: str, context_at: Span | None, problem_at: Span | None
) -> Diagnostic:
    """The diagnostic of a syntax error; the parser's own words if the error is not known here.

    `context` and `problem` are libyaml's (scanner.c, parser.c), with their spans.
    """
    at = problem_at or context_at or Span(line=1, column=1)
    opened = context_at or at
    text = source.lines[at.line - 1]
    char = text[at.column - 1 : at.column]
    if "quoted scalar" in context and ("end of stream" in problem or "document indicator" in problem):
        return _diagnostic(source, opened, "unclosed quote", "close it, or remove it")
    if "cannot start any token" in problem:
        return _bad_start(source, at, char)
    if "mapping values are not allowed" in problem and _continues(source, at):
        above = _without_space(source, at.line - 1)
        if above is not None:
            return above
        message, help = "unexpected `:`", "check the line above for a missing `: `"
        return _diagnostic(source, at, message, help)
    if "could not find expected ':'" in problem and context_at:
        # The parser notices it at the next line.
        message, help = "key without a `:`", "write `key: value`, and check the indentation"
        return _without_space(source, opened.line) or _diagnostic(source, opened, message, help)
    if "flow" in context and "did not find expected ','" in problem:
        return _in_brackets(source, opened, at, context, text)
    for words, message, help in _KNOWN:
        if words in problem or words in context:
            if words == "tab":
                return _diagnostic(source, at, message, help)
            # An alias and an anchor begin where their context does, and not behind their sign.
            span = opened if words in ("alias", "anchor") else at
            return _diagnostic(source, span, message, _special_help(text, char) or help)
    return _diagnostic(source, at, f"invalid YAML: {problem or context}", _special_help(text, char))


_KNOWN = (
    ("mapping values are not allowed", "unexpected `:`",
     "check the indentation, or quote the value that contains `: `"),
    ("did not find expected key", "expected a key (`key: value`)", "check the indentation"),
    ("did not find expected '-'", "expected a list item (`- `)", "indent it, or add the `- `"),
    ("block sequence entries are not allowed", "a list cannot start here", "start it on a new line"),
    ("block mapping entries are not allowed", "a mapping cannot start here", "start it on a new line"),
    ("alias", "alias (`*`) without a name", 'quote the value: `"*"`'),
    ("anchor", "anchor (`&`) without a name", 'quote the value: `"&"`'),
    ("tag", "tags (`!`) are not supported", "quote the value if it starts with `!`"),
    ("unknown escape", "unknown escape sequence (`\\`)", "use single quotes, or write `\\\\`"),
    ("hexdecimal", "incomplete escape sequence (`\\`)", "use single quotes, or write `\\\\`"),
    ("Unicode character", "invalid Unicode escape sequence (`\\`)", "use single quotes, or write `\\\\`"),
    ("directive", "invalid directive: a line that starts with `%`", "quote the value that starts with `%`"),
    ("document start", "text after the end of the document", "check the indentation"),
    ("tab", "tabs are not allowed for indentation", "use spaces"),
    ("block scalar", "invalid block scalar: expected `|` or `>` alone", "put the text on the next line"),
)  # fmt: skip


def _without_space(source: SourceText, number: int) -> Diagnostic | None:
    """The diagnostic of a line such as `target:tasks:greet`; None if it has no such key."""
    found = re.match(r"(\s*(?:- +)*)([A-Za-z_]\w*):(?=[^\s:/])", source.lines[number - 1])
    if found is None:
        return None
    span = Span(line=number, column=len(found[1]) + 1, width=len(found[2]) + 1)
    return _diagnostic(source, span, "missing space after a `:`", f"add a space after `{found[2][:40]}:`")


def _continues(source: SourceText, at: Span) -> bool:
    """Whether there is a key before this colon, and above it a line without one."""
    key = source.lines[at.line - 1][: at.column - 1]
    above = source.lines[at.line - 2].partition(" #")[0] if at.line > 1 else ":"
    return ": " not in key and bool(above.strip()) and ": " not in f"{above} "


def _diagnostic(source: SourceText, at: Span, message: str, help: str) -> Diagnostic:
    return Diagnostic(message=message, source=source, span=at, help=help)


def _bad_start(source: SourceText, at: Span, char: str) -> Diagnostic:
    if char == "\t":
        return _diagnostic(source, at, "tabs are not allowed for indentation", "use spaces")
    shown = "a backtick" if char == "`" else quote(char)
    return _diagnostic(source, at, f"a value cannot start with {shown}", 'quote the value: `"…"`')


def _in_brackets(source: SourceText, opened: Span, at: Span, context: str, text: str) -> Diagnostic:
    """A `[` or `{` whose end, or whose next comma, was not found."""
    bracket, closing = ("{", "}") if "mapping" in context else ("[", "]")
    if at.line != opened.line:
        return _diagnostic(source, opened, f"unclosed `{bracket}`", f"add the missing `{closing}`")
    message = f"expected `,` or `{closing}`"
    return _diagnostic(source, at, message, _special_help(text, "") or "add the `,`, or quote the value")


def _special_help(text: str, char: str) -> str:
    if "${" in text and any(bracket in text.replace("${", "") for bracket in "[{"):
        return 'inside `[ ]` and `{ }`, quote references: `"${…}"`'
    if char == "\t" or "\t" in text[: len(text) - len(text.lstrip())]:
        return "use spaces: tabs are not allowed for indentation"
    return ""
