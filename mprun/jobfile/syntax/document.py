"""Reads a job file: its text, decoded and parsed to a tree with positions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, SourceLines, SourceText, Span, closest, quote, visible
from mprun.errors import JobFileError, UsageError
from mprun.frozen import Frozen
from mprun.jobfile.syntax.composer import MARK_SHIFT, Composer, Mapping, Sequence, Stop, span_of_mark
from mprun.jobfile.text_file import NotRegular, read_bytes

# hashlib loads OpenSSL, which takes as long as reading a small job; `random` in the
# standard library does the same.
try:
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]  # from Python 3.12
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from hashlib import sha256

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_BYTES",
    "STANDARD_INPUT",
    "Document",
    "Mapping",
    "Sequence",
    "load",
    "parse",
    "plain",
    "sha256",
    "span_below",
    "span_of",
    "span_of_mark",
]

MAX_BYTES = 8 * 1024 * 1024
# What messages call standard input, as compilers do.
STANDARD_INPUT = "<stdin>"

# The characters that YAML does not allow (YAML 1.2.2 section 5.1), and a BOM inside the text.
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"

# What libyaml says of nesting that is too deep for it.
_LIBYAML_TOO_DEEP = "exceeded maximum nesting depth"


class Tree:
    """The tree of a document; once forgotten, it is parsed again when it is needed.

    `root` consists of Mapping, Sequence and scalars, each of which has a position (`span_of`);
    `mark` is that of the root.
    """

    __slots__ = ("_held", "_source")

    def __init__(self, root: object, mark: int, source: SourceText | None = None) -> None:
        self._held: tuple[object, int] | None = (root, mark)
        # None if the tree was not parsed from the text.
        self._source = source

    def get(self) -> tuple[object, int]:
        """The root and its mark."""
        if self._held is None:
            # A tree without a source is never forgotten.
            composer = _composed(self._source, self._source.lines.text.encode())  # type: ignore[union-attr,arg-type]
            self._held = composer.root, composer.root_mark
        return self._held

    def forget(self) -> None:
        """Keep only the text: 45 to 80 MB less for 100,000 tasks (`benchmarks/engine_cost.py`)."""
        if self._source is not None:
            self._held = None


class Document(Frozen):
    """A job file as it was read: its source, the tree of its one document, the hash of its bytes.

    `has_lossy_numbers` is whether it has a plain number that loses characters, such as `3.10`.
    `late_matrices` are the paths of matrices that refer to the result of a task: nothing is replaced in them.
    """

    source: SourceText
    tree: Tree
    sha256: str
    has_lossy_numbers: bool = False
    late_matrices: frozenset[tuple[str | int, ...]] = frozenset()

    @property
    def root(self) -> object:
        """The root of its tree."""
        return self.tree.get()[0]

    @property
    def mark(self) -> int:
        """The mark of the root."""
        return self.tree.get()[1]

    def with_root(self, root: object) -> Document:
        """The same document with another root, which is not in the text."""
        return self.replace(tree=Tree(root, self.mark))


def load(path: str) -> Document:
    """Read and parse the job file at `path`.

    Raises UsageError if the file cannot be read or is not a job file, JobFileError if its text is invalid.
    """
    data = _read(path)
    try:
        return parse(data, path)
    except JobFileError as error:
        from mprun.jobfile.syntax.other_file import shown_error

        # Without NUL: UTF-16 is refused with its own remedy.
        text = data.replace(b"\0", b"").decode("utf-8", "replace")
        raise shown_error(path, text, error) from None


def parse(text: bytes | str, path: str, source: SourceText | None = None) -> Document:
    """Parse the text of a job file; `path` is what messages call it, or `source` what they have of it.

    Raises JobFileError with every error that one pass finds.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_BYTES:
        raise UsageError(f"{quote(path)} is too large for a job file (limit: 8 MiB)")
    source = source or _decoded(data, path)
    composer = _composed(source, source.lines.text.encode())
    return Document(
        source=source,
        tree=Tree(composer.root, composer.root_mark, source),
        sha256=sha256(data).hexdigest(),
        has_lossy_numbers=composer.has_lossy_numbers,
    )


def _composed(source: SourceText, data: bytes) -> Composer:
    """The composer of a text, which has its root. Raises JobFileError."""
    composer = Composer(source)
    error = _compose(composer, data)
    if error is not None and _LIBYAML_TOO_DEEP in (error.problem or ""):
        # libyaml reads ahead, so it may reach its own limit (1,000 from 0.2.6 on) before the composer has
        # seen the level that is beyond ours. In the text up to there the composer finds it.
        composer = Composer(source)
        error = _compose(composer, source.lines.text[: error.problem_mark.index].encode())
    if error is not None:
        _explain_syntax(composer, error)
    if composer.diagnostics:
        raise JobFileError(composer.diagnostics)
    return composer


def _compose(composer: Composer, data: bytes) -> Any:
    """Feed the composer; the error that the parser ends with, if it has a position."""
    # Imported by its parts, because the command loads no others (`mprun.cli.lean_imports`).
    from yaml import events as kinds
    from yaml.error import MarkedYAMLError, YAMLError

    try:
        from yaml._yaml import CParser as Parser
    except ImportError:
        from yaml import SafeLoader as Parser  # type: ignore[assignment]

    handle = {getattr(kinds, name): handler for name, handler in composer.handlers().items()}
    events = Parser(data)
    try:
        _feed(handle, events.get_event)
    except Stop:
        pass
    except MarkedYAMLError as error:
        return error
    except (YAMLError, RecursionError) as error:
        composer.diagnostic(0, f"invalid YAML: {visible(str(error))[:100]}")
    finally:
        events.dispose()
    return None


def _feed(handle: dict[type, Callable[[Any], None]], get_event: Callable[[], Any]) -> None:
    while (event := get_event()) is not None:
        handle[type(event)](event)


def _explain_syntax(composer: Composer, error: Any) -> None:
    # Only an invalid file needs it.
    from mprun.jobfile.syntax.yaml_errors import explain

    marks = (error.context_mark, error.problem_mark)
    spans = [mark and span_of_mark(composer.source, mark.index << MARK_SHIFT) for mark in marks]
    composer.diagnostics.append(explain(composer.source, error.context or "", error.problem or "", *spans))


def _decoded(data: bytes, path: str) -> SourceText:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        source = _source(path, before + data[error.start :].decode("utf-8", "replace"))
        message = f"invalid UTF-8: byte 0x{data[error.start]:02x}"
        _refuse(source, before, message, "save the file as UTF-8")
    text = text.removeprefix("\ufeff")
    source = _source(path, text)
    # Compiling the pattern takes 6 ms; all that Python calls printable is allowed in YAML.
    found = None if text.replace("\n", "").isprintable() else re.search(_UNPRINTABLE, text)
    if found:
        message = f"character U+{ord(found[0]):04X} is not allowed in YAML"
        help = f'write it as `"\\u{ord(found[0]):04x}"` in double quotes, or remove it'
        _refuse(source, text[: found.start()], message, help)
    return source


def _source(path: str, text: str) -> SourceText:
    return SourceText(path=path, lines=SourceLines(_with_newlines(text)))


def _with_newlines(text: str) -> str:
    """The text with line feeds for line ends (YAML 1.2.2 section 5.4)."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _refuse(source: SourceText, before: str, message: str, help: str) -> None:
    lines = _with_newlines(before).split("\n")
    span = Span(line=len(lines), column=len(lines[-1]) + 1)
    raise JobFileError([Diagnostic(message=message, source=source, span=span, help=help)])


def span_of(document: Document, path: tuple[str | int, ...], key: bool = False) -> Span:
    """The span of the node at `path` from the root, or of its key in the mapping that contains it.

    If there is no such node, the span of the last one on the path that exists.
    """
    return span_below(document.source, document.root, document.mark, path, key)


def span_below(
    source: SourceText, node: Any, mark: int, path: tuple[str | int, ...], key: bool = False
) -> Span:
    """The same as `span_of` for a path from any node of `source`; `mark` is that of the node."""
    for depth, step in enumerate(path):
        if isinstance(node, Mapping) and step in node:
            key_mark, value_mark = node.marks_of(step)
            mark = key_mark if key and depth == len(path) - 1 else value_mark
            node = node[step]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.marks):
            node, mark = node[step], node.marks[step]
        else:
            break
    return span_of_mark(source, mark)


def plain(node: object, copies: dict[int, Any] | None = None) -> Any:
    """A deep copy of a tree in plain dicts and lists; the depth limit bounds the recursion.

    What is in many places of the tree is copied once; `copies` are those so far, by the ids of what was
    copied.
    """
    if not isinstance(node, (dict, list)):
        return node
    copies = {} if copies is None else copies
    if id(node) not in copies:
        copies[id(node)] = (
            {key: plain(value, copies) for key, value in node.items()}
            if isinstance(node, dict)
            else [plain(item, copies) for item in node]
        )
    return copies[id(node)]


def _read(path: str) -> bytes:
    if not path:
        raise UsageError("the name of the job file is empty; name one, as in `mprun job.yaml`")
    try:
        data = read_bytes(path, MAX_BYTES)
    except UsageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UsageError(f"job file {quote(path)} not found{_similar_file(path)}") from None
        if isinstance(error, NotRegular) and error.is_directory:
            raise UsageError(f"{error}; name a job file in it") from None
        raise
    if path.endswith(".py"):
        remedy = "write a first job file with `mprun init`"
        raise UsageError(f"{quote(path)} is a Python module, not a job file; {remedy}")
    return data


def _similar_file(path: str) -> str:
    import os

    folder, name = os.path.split(path)
    try:
        files = [file for file in os.listdir(folder or ".") if file.endswith((".yaml", ".yml"))]
    except (OSError, ValueError):
        return ""
    stems = {os.path.splitext(file)[0]: file for file in files}
    found = stems.get(closest(os.path.splitext(name)[0], stems), "")
    return f"; did you mean {quote(os.path.join(folder, found))}?" if found else ""
