"""References such as `${params.day}`: parsed once, resolved when what they name is known; pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import did_you_mean
from mprun.frozen import Frozen
from mprun.jobfile.syntax import composer
from mprun.jobfile.syntax.scalars import type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mprun.diagnostics import SourceText

ROOTS = ("params", "env", "matrix", "item", "tasks")
_EXPECTED = "`params.`, `env.`, `matrix.`, `item` or `tasks.`"
# What a secret is shown as (DESIGN.md section 9).
HIDDEN = "***"

# Characters that an error marks of a reference that is not closed.
_MAX_UNCLOSED = 40

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")


class Reference(Frozen):
    """One `${…}`: its root, what is named there, and the way from there on.

    `text` is the text between the braces. `name` is that of a param, a variable, an axis
    or a task, empty under `item`; `path` leads into the value. `source` and `mark` are the
    file that contains it, and where (`composer.span_of_mark`); two references that differ
    only in them are equal.
    """

    text: str
    root: str
    name: str
    path: tuple[str, ...] = ()
    source: SourceText | None = None
    mark: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.text == other.text and self.name == other.name

    def __hash__(self) -> int:
        return hash((self.text, self.name))

    def __repr__(self) -> str:
        return f"Reference({self.text!r}, {self.name!r})"

    def __str__(self) -> str:
        return f"${{{self.text}}}"


class Template(Frozen):
    """A string with references in it: texts and references, in their order."""

    parts: tuple[str | Reference, ...]

    def __str__(self) -> str:
        return "".join(str(part) if isinstance(part, Reference) else escaped(part) for part in self.parts)


class ReferenceProblem(Exception):
    """A reference that cannot be read, or does not lead anywhere: what is wrong, and a remedy.

    `candidates` are what may have been meant by `word`, `kind` is what they are, in the plural;
    `source` and `mark` are those of the reference, if they are known.
    """

    def __init__(
        self,
        message: str,
        reference: Reference | None = None,
        *,
        help: str = "",
        kind: str = "names",
        word: str = "",
        candidates: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.source = None if reference is None else reference.source
        self.mark = 0 if reference is None else reference.mark
        self.help = help
        self.kind = kind
        self.word = word
        self.candidates = candidates


class Scope(Frozen):
    """What the references of one job file can name before the run.

    A param whose value is only known during the run is itself a reference, or contains some.
    `secrets` are the names of params that are never shown.
    """

    params: dict[str, Any]
    secrets: frozenset[str] = frozenset()
    env: Mapping[str, str]


EMPTY = Scope(params={}, env={})


class Closure(Frozen):
    """A node that another scope resolves: what a recipe was given, in the words of who gave it."""

    node: Any
    scope: Scope
    axes: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()


def parse(text: str, prefix: str = "", source: SourceText | None = None, mark: int = 0) -> Any:
    """The node of a string: itself, a Reference where it is a whole one, else a Template.

    `prefix` goes before the names of tasks: inside a recipe they are its own. `source` and
    `mark` are those of the string. Raises ReferenceProblem where a `${` is not what it
    should be.
    """
    if "${" not in text:
        return text
    parts: list[str | Reference] = []
    end = 0
    for token in _TOKEN.finditer(text):
        _add(parts, text[end : token.start()])
        end = token.end()
        if token[0] == "$${":
            _add(parts, "${")
            continue
        try:
            parts.append(_parse_token(token, prefix, source, mark))
        except ReferenceProblem as error:
            if source is not None:
                error.source, error.mark = source, _mark_in(source, mark, token, _marked_length(token))
            raise
    _add(parts, text[end:])
    if len(parts) == 1:
        return parts[0]
    return Template(parts=tuple(parts))


def _parse_token(token: re.Match[str], prefix: str, source: SourceText | None, mark: int) -> Reference:
    if token[1] is not None:
        found = 0 if source is None else _mark_in(source, mark, token, len(token[0]))
        return _reference(token[1], prefix, source, found)
    if token.string.startswith("${{", token.start()):
        inner = token.string[token.start() + 3 :].partition("}")[0].strip()
        message = "`${{` is not supported; references are written `${...}`"
        raise ReferenceProblem(message, help=f"write `${{{inner[:40]}}}`")
    help = "add the missing `}`, or write `$${` for a literal `${`"
    raise ReferenceProblem("unclosed `${`", help=help)


def _marked_length(token: re.Match[str]) -> int:
    """How many characters an error marks: the reference, or what is shown of one that is not closed."""
    if token[1] is not None:
        return len(token[0])
    return 3 if token.string.startswith("${{", token.start()) else _MAX_UNCLOSED


def _mark_in(source: SourceText, mark: int, token: re.Match[str], length: int) -> int:
    """The mark of a token in the string at `mark`; that of the string if it is written with escapes."""
    text, start, piece = (
        source.lines.text,
        mark >> composer.MARK_SHIFT,
        token.string[token.start() :][:length],
    )
    # Most strings are the file's own characters, from the first or behind a quote.
    for position in (start + token.start(), start + token.start() + 1):
        if text.startswith(piece, position):
            return composer.pack_mark(position, len(piece))
    # A folded text, or one with an anchor before it or escapes in it.
    same = sum(before[0] == token[0] for before in _TOKEN.finditer(token.string, 0, token.start()))
    end = start + composer.length_of_mark(mark)
    written = [found for found in _TOKEN.finditer(text, start, end) if found[0] == token[0]]
    return composer.pack_mark(written[same].start(), len(piece)) if same < len(written) else mark


def _add(parts: list[str | Reference], text: str) -> None:
    """Add a piece of text, to the one before it where there is one."""
    if parts and isinstance(parts[-1], str):
        parts[-1] += text
    elif text:
        parts.append(text)


def _reference(text: str, prefix: str, source: SourceText | None, mark: int) -> Reference:
    root, _, rest = text.partition(".")
    if root not in ROOTS:
        help = f"write `$${{{text[:60]}}}` for a literal one"
        if re.fullmatch("[A-Z_][A-Z0-9_]*", text):
            help = f"write `${{env.{text[:60]}}}`, or `$${{{text[:60]}}}` for a literal one"
        message = f"unknown reference `${{{text[:60]}}}`: expected {_EXPECTED}"
        raise ReferenceProblem(message, help=help)
    if root == "tasks":
        return _task_reference(text, rest, prefix, source, mark)
    steps = rest.split(".") if rest else []
    if "" in steps or (root != "item" and not steps) or text.endswith("."):
        example = "item" if root == "item" else f"{root}.NAME"
        message = f"invalid reference `${{{text[:60]}}}`; expected `${{{example}}}`"
        raise ReferenceProblem(message)
    if root == "item":
        return Reference(text=text, root=root, name="", path=tuple(steps), source=source, mark=mark)
    name, *path = steps
    return Reference(text=text, root=root, name=name, path=tuple(path), source=source, mark=mark)


def _task_reference(text: str, rest: str, prefix: str, source: SourceText | None, mark: int) -> Reference:
    # The name ends at the first `.result`, for it may have dots of its own.
    name, found, path = rest.partition(".result")
    if not found or not name or (path and not path.startswith(".")) or "" in path.split(".")[1:]:
        message = f"invalid reference `${{{text[:60]}}}`; expected `${{tasks.NAME.result}}`"
        raise ReferenceProblem(message)
    steps = tuple(path.split(".")[1:])
    return Reference(text=text, root="tasks", name=prefix + name, path=steps, source=source, mark=mark)


def escaped(text: str) -> str:
    """A text as a job file would have to write it, so that no reference is read in it."""
    return text.replace("${", "$${")


def compiled(node: Any, prefix: str = "", source: SourceText | None = None, mark: int = 0) -> Any:
    """A tree with its strings parsed; a plain copy of it where no string has a reference.

    Its references know their position if `source`, the file that the tree is of, is given;
    `mark` is that of the tree's root, which only a string needs.
    """
    if isinstance(node, str):
        return parse(node, prefix, source, mark)
    if isinstance(node, dict):
        marks = iter(node.marks if source is not None and isinstance(node, composer.Mapping) else ())
        copy = {}
        for key, value in node.items():
            key_mark, value_mark = next(marks, mark), next(marks, mark)
            name = parse(key, prefix, source, key_mark) if isinstance(key, str) and "${" in key else key
            copy[name] = compiled(value, prefix, source, value_mark)
        return copy
    if source is not None and isinstance(node, composer.Sequence):
        pairs = zip(node, node.marks, strict=True)
        return [compiled(item, prefix, source, item_mark) for item, item_mark in pairs]
    if isinstance(node, (list, tuple)):
        return [compiled(item, prefix, source, mark) for item in node]
    return node


def references(node: Any) -> Iterator[Reference]:
    """Every reference in a compiled tree."""
    if isinstance(node, Reference):
        yield node
    elif isinstance(node, Template):
        yield from (part for part in node.parts if isinstance(part, Reference))
    elif isinstance(node, Closure):
        yield from references(node.node)
    elif isinstance(node, dict):
        for key, value in node.items():
            if not isinstance(key, str):
                yield from references(key)
            yield from references(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from references(item)


def resolve(node: Any, resolver: Resolver) -> Any:
    """A compiled tree with every reference replaced by the value that `resolver` finds for it.

    A whole reference keeps the value's type; inside a string a value that is not a
    string is written as JSON. A reference that the resolver returns stays a reference.
    """
    if isinstance(node, Reference):
        return resolver(node)
    if isinstance(node, Template):
        return _filled(node, resolver)
    if isinstance(node, Closure):
        return resolve(node.node, resolver.in_scope(node))
    if isinstance(node, dict):
        return {
            key if isinstance(key, str) else _resolved_key(key, resolver): resolve(value, resolver)
            for key, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        return [resolve(item, resolver) for item in node]
    return node


def _resolved_key(key: Any, resolver: Resolver) -> Any:
    found = resolve(key, resolver)
    if isinstance(found, (dict, list)):
        raise ReferenceProblem(
            f"`{key}` is a {type_name(found)}, which cannot be used as a key", next(references(key))
        )
    return found


def _filled(template: Template, resolver: Resolver) -> Any:
    parts: list[str | Reference] = []
    for part in template.parts:
        value = resolver(part) if isinstance(part, Reference) else part
        if isinstance(value, Reference):
            parts.append(value)
        elif isinstance(value, Template):
            for piece in value.parts:
                if isinstance(piece, str):
                    _add(parts, piece)
                else:
                    parts.append(piece)
        else:
            _add(parts, as_text(value))
    if all(isinstance(part, str) for part in parts):
        return "".join(map(str, parts))
    return Template(parts=tuple(parts))


def as_text(value: Any) -> str:
    """A value as it is written inside a string: a string as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(_shown_inside(value), ensure_ascii=False)


def _shown_inside(node: Any) -> Any:
    """A tree in which what is still a reference is its text."""
    if isinstance(node, (Reference, Template)):
        return str(node)
    if isinstance(node, dict):
        # Other keys are left to JSON, in which `true` is not `True`.
        return {_shown_inside(key): _shown_inside(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_shown_inside(item) for item in node]
    return node


def shown(node: Any) -> Any:
    """A resolved tree for people: what is not known yet as the job file writes it."""
    return _shown_inside(node)


def contains_secret(closure: Closure) -> bool:
    """Whether a closure refers to a secret, also through a variable or a param that is a closure."""
    scope = closure.scope
    for reference in references(closure.node):
        if reference.root == "params" and reference.name in scope.secrets:
            return True
        value = {"params": scope.params, "env": scope.env}.get(reference.root, {}).get(reference.name)
        if isinstance(value, Closure) and contains_secret(value):
            return True
    return False


class Resolver:
    """Finds the value of a reference; with `reveal` that of a secret, too.

    `axes` and `values` are those of an instance; `item` is an axis of that name. Without
    `results`, which is given a reference to a task's result, such a reference stays what it
    is. What leads nowhere raises ReferenceProblem.
    """

    def __init__(
        self,
        scope: Scope,
        axes: Sequence[str] = (),
        values: Sequence[Any] = (),
        *,
        results: Callable[[Reference], Any] | None = None,
        reveal: bool = False,
    ) -> None:
        self._scope = scope
        # What is to be spread over a list that is not known yet has no values.
        self._of_axis = dict(zip(axes, values, strict=False))
        self._results = results
        self._reveal = reveal

    def in_scope(self, closure: Closure) -> Resolver:
        """The same in the scope of a bound node."""
        return Resolver(
            closure.scope, closure.axes, closure.values, results=self._results, reveal=self._reveal
        )

    def __call__(self, reference: Reference) -> Any:
        root, name = reference.root, reference.name
        if root == "tasks":
            return reference if self._results is None else _walk(self._results(reference), reference)
        if root == "params":
            return self._param(reference, name)
        if root == "env":
            if name not in self._scope.env:
                # Of all the others that there are only one that is like it is told.
                help = did_you_mean(name, self._scope.env)
                raise ReferenceProblem(f"environment variable `{name}` is not set", reference, help=help)
            return _walk(resolve(self._scope.env[name], self), reference)
        key = "item" if root == "item" else name
        if key not in self._of_axis:
            return reference
        return _walk(resolve(self._of_axis[key], self), reference)

    def _param(self, reference: Reference, name: str) -> Any:
        if name not in self._scope.params:
            known = tuple(self._scope.params)
            raise ReferenceProblem(
                f"unknown param `{name}`", reference, kind="params", word=name, candidates=known
            )
        value = self._scope.params[name]
        if name in self._scope.secrets and not self._reveal:
            return HIDDEN
        if isinstance(value, Reference) and value.root == "params":
            # Not given: `mprun validate` takes that.
            return reference
        return _walk(resolve(value, self), reference)


def _walk(value: Any, reference: Reference) -> Any:
    """Follow a reference's path into a value."""
    for depth, step in enumerate(reference.path):
        if isinstance(value, (Reference, Template)):
            # Known only during the run: a longer path into what it will be.
            return _deeper(value, reference, reference.path[depth:])
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, (list, tuple)) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise _no_step(value, step, reference)
    return value


def _deeper(value: Reference | Template, reference: Reference, rest: tuple[str, ...]) -> Reference:
    if isinstance(value, Template):
        raise ReferenceProblem(f"invalid reference `{reference}`: a string has no parts", reference)
    return value.replace(text=".".join((value.text, *rest)), path=(*value.path, *rest))


def _no_step(value: Any, step: str, reference: Reference) -> ReferenceProblem:
    if isinstance(value, dict):
        names = tuple(str(key) for key in value)
        return ReferenceProblem(
            f"invalid reference `{reference}`: unknown key `{step}`",
            reference,
            kind="keys",
            word=step,
            candidates=names,
        )
    if isinstance(value, (list, tuple)):
        what = f"a list of {len(value)} item{'s' if len(value) != 1 else ''}"
    else:
        what = "null" if value is None else f"a {type_name(value)}"
    return ReferenceProblem(f"invalid reference `{reference}`: no `{step}` in {what}", reference)


def is_true(value: Any) -> bool:
    """What `when` makes of a value: false, null, 0, nothing in it, and four strings, are false."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "no", "off", "0")
    return bool(value)
