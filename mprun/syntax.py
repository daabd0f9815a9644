"""What the YAML parser says about broken syntax -> a problem that says how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.problems import Place, Problem, quote

if TYPE_CHECKING:
    from mprun.problems import Source

    Position = tuple[int, int] | None


def explain(
    source: Source, context: str, problem: str, context_at: Position, problem_at: Position
) -> Problem:
    """The problem in our words; positions are line and column from 0.

    `context` and `problem` are libyaml's (scanner.c, parser.c); what is not known here is
    passed on as it is.
    """
    line, column = problem_at or context_at or (0, 0)
    text = source.lines[line] if line < len(source.lines) else ""
    char = text[column : column + 1]
    if "quoted scalar" in context and ("end of stream" in problem or "document indicator" in problem):
        return _at(source, context_at, "this quote is never closed", "close it, or take it out")
    if "cannot start any token" in problem:
        return _bad_start(source, (line, column), char)
    if "flow" in context and "did not find expected ','" in problem:
        return _in_brackets(source, context_at, (line, column), context, text)
    for words, message, hint in _KNOWN:
        if words in problem or words in context:
            return _at(source, (line, column), message, _special_hint(text, char) or hint)
    return _at(source, (line, column), f"not YAML: {problem or context}", _special_hint(text, char))


_KNOWN = (
    ("mapping values are not allowed", "a `:` that YAML does not expect here",
     "check the indentation, or quote the value that contains `: `"),
    ("did not find expected key", "neither a key of this mapping nor its end", "check the indentation"),
    ("could not find expected ':'", "a key without a `:`", "write `key: value`, and check the indentation"),
    ("did not find expected '-'", "neither an item of this list nor its end", "begin it with `- `, aligned"),
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


def _at(source: Source, at: Position, message: str, hint: str) -> Problem:
    line, column = at or (0, 0)
    return Problem(message=message, source=source, place=Place(line=line + 1, column=column + 1), hint=hint)


def _bad_start(source: Source, at: tuple[int, int], char: str) -> Problem:
    if char == "\t":
        return _at(source, at, "a tab cannot indent YAML", "use spaces")
    hint = "quote the value: `\"…\"`"
    return _at(source, at, f"a value cannot begin with {quote(char) if char != '`' else 'a backtick'}", hint)


def _in_brackets(
    source: Source, opened: Position, at: tuple[int, int], context: str, text: str
) -> Problem:
    """A `[` or `{` whose end, or whose next comma, was not found."""
    bracket = "{" if "mapping" in context else "["
    if opened and at[0] != opened[0]:
        closing = "}" if bracket == "{" else "]"
        return _at(source, opened, f"this `{bracket}` is never closed", f"add the `{closing}`")
    message = f"neither a `,` nor the end of this `{bracket}`"
    return _at(source, at, message, _special_hint(text, "") or "add the `,`, or quote the value")


def _special_hint(text: str, char: str) -> str:
    if "${" in text and any(bracket in text.replace("${", "") for bracket in "[{"):
        return 'inside `[ ]` and `{ }`, quote references: `"${…}"`'
    if char == "\t" or text[: len(text) - len(text.lstrip())].count("\t"):
        return "a tab cannot indent YAML: use spaces"
    return ""
