"""Imports click and PyYAML without the modules that they import and a run never uses.

Those modules would be a third of a start: `inspect` takes 7 ms, `typing` with what it makes of click's
classes 6, `re` 3, `uuid` with `platform` 2, `datetime` 1, `gettext` with `locale` 1, and the parts of PyYAML
that are written in Python and do what libyaml does 10 (`python -X importtime -c 'import click, yaml'`). Only
the command does this, because its process has one thread and runs nothing else; a library must not change
what its host imports.

This relies on what click and PyYAML use while they are imported. With a version that no one has tried,
they are imported in the ordinary way.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from mprun.lazy_import import LazyModule, find_spec, install_lazy

# Not from `typing`, which is lazy.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    T = TypeVar("T")

# The newest versions that were tried.
TRIED_PYTHON = (3, 15)
TRIED_CLICK = (8, 5)
TRIED_PYYAML = (6, 0, 4)


def make_lazy() -> None:
    """Make those modules lazy that mprun itself imports, and most runs do not use."""
    if sys.version_info[:2] <= TRIED_PYTHON:
        install_lazy("re")
        install_lazy("typing", TYPE_CHECKING=False, lent=_TYPING, borrowers=("mprun",))


def import_click() -> None:
    """Import click, with lazy modules for long texts, translations, dates and UUIDs."""
    if not _is_tried("click", "click", TRIED_CLICK):
        return
    from _datetime import datetime  # type: ignore[import-not-found]  # where `datetime` gets it from

    # click cleans the help text of each option.
    install_lazy("inspect", cleandoc=_clean)
    # `click.types` names these two as types of parameters.
    install_lazy("datetime", datetime=datetime)
    uuid = install_lazy("uuid", UUID=object)
    # mprun's texts are English, so there is no need to look for a locale and translations.
    gettext = install_lazy("gettext", gettext=_untranslated, ngettext=_singular_or_plural)
    # click looks for similar long options at each short one, and shows them to no one.
    install_lazy("difflib", get_close_matches=_close_matches)
    # click compiles one that it needs for a terminal.
    install_lazy("re", lent={"compile": _LazyPattern}, borrowers=("click",))
    install_lazy("typing", TYPE_CHECKING=False, lent=_TYPING, borrowers=("click", "mprun"))
    import click  # noqa: F401

    # click holds these now; anyone else gets the real ones.
    for module, names in ((uuid, ("UUID",)), (gettext, ("gettext", "ngettext"))):
        for name in names if isinstance(module, LazyModule) else ():
            delattr(module, name)


class _LazyPattern:
    """A regular expression that is compiled when it is first used."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __getattr__(self, name: str) -> Any:
        import re

        return getattr(re.compile(*self._arguments), name)


class _Type:
    """In place of whatever a class is derived from, or an alias made of, for type checkers alone."""

    def __class_getitem__(cls, _: object) -> Any:
        return cls


class _TypedDict(dict[str, "Any"]):
    def __init_subclass__(cls, *, total: bool = True) -> None:
        pass


def _same(value: T) -> T:
    return value


# What click and mprun use of `typing` while they run: their annotations are texts, which nothing reads.
_TYPING: dict[str, Any] = {
    "cast": lambda _, value: value,
    "dataclass_transform": lambda **_: _same,
    "overload": _same,
    "TypedDict": _TypedDict,
    "TypeVar": lambda *_, **__: _Type,
}
_TYPING |= dict.fromkeys((
    "Any", "AnyStr", "BinaryIO", "Callable", "ClassVar", "Final", "Generic", "IO", "Literal", "NoReturn",
    "Protocol", "SupportsFloat", "SupportsIndex", "SupportsInt", "TextIO", "TypeAlias",
), _Type)  # fmt: skip


def _untranslated(text: str) -> str:
    return text


def _singular_or_plural(singular: str, plural: str, number: int) -> str:
    return singular if number == 1 else plural


def _close_matches(word: str, possibilities: Iterable[str], *more: Any, **options: Any) -> list[str]:
    """The same as difflib.get_close_matches, which is not imported for a short option."""
    is_short = word.startswith("-") and not word.startswith("--")
    if is_short and all(name.startswith("--") for name in possibilities):
        return []
    import difflib

    if difflib.get_close_matches is _close_matches:
        del difflib.get_close_matches
    return difflib.get_close_matches(word, possibilities, *more, **options)


def _clean(text: str) -> str:
    """The same as inspect.cleandoc, which is imported only for a text of several lines."""
    if "\n" not in text:
        return text.expandtabs().lstrip(" ")
    import inspect

    if inspect.cleandoc is _clean:
        del inspect.cleandoc
    return inspect.cleandoc(text)


# By the module of PyYAML that defines them, the errors and tokens that the binding to libyaml makes. It makes
# tokens only for who asks for them, in place of events.
_MADE_BY_LIBYAML = {
    "reader": "ReaderError",
    "scanner": "ScannerError",
    "parser": "ParserError",
    "composer": "ComposerError",
    "constructor": "ConstructorError",
    "emitter": "EmitterError",
    "serializer": "SerializerError",
    "representer": "RepresenterError",
    "tokens": "StreamStartToken StreamEndToken DirectiveToken DocumentStartToken DocumentEndToken "
    "BlockSequenceStartToken BlockMappingStartToken BlockEndToken FlowSequenceStartToken "
    "FlowMappingStartToken FlowSequenceEndToken FlowMappingEndToken KeyToken ValueToken BlockEntryToken "
    "FlowEntryToken AliasToken AnchorToken TagToken ScalarToken",
}


def import_yaml_parser() -> None:
    """Import PyYAML's binding to libyaml without the rest of the package, which is lazy."""
    if "yaml" in sys.modules or not _is_tried("yaml", "pyyaml", TRIED_PYYAML):
        return
    package: Any = install_lazy("yaml")
    import yaml.error
    import yaml.events
    import yaml.nodes

    given = [(f"yaml.{name}", made.split()) for name, made in _MADE_BY_LIBYAML.items()]
    for name, made in given:
        functions: dict[str, Any] = {one: _when_called(name, one) for one in made}
        setattr(package, name.rpartition(".")[2], install_lazy(name, **functions))
    # Missing if PyYAML was built without libyaml; then the loader uses the rest of the package.
    with suppress(ImportError):
        import yaml._yaml  # noqa: F401
    # The binding holds these now; anyone else gets the classes themselves.
    for name, made in given:
        for one in made if isinstance(sys.modules[name], LazyModule) else ():
            delattr(sys.modules[name], one)


def _when_called(module: str, name: str) -> Callable[..., Any]:
    """A function that makes an object of a class, whose module is loaded then."""
    return lambda *arguments: getattr(sys.modules[module], name)(*arguments)


def _is_tried(package: str, distribution: str, newest: tuple[int, ...]) -> bool:
    """Whether this Python and the installed version of a package are not newer than those tried."""
    if sys.version_info[:2] > TRIED_PYTHON:
        return False
    spec = find_spec(package)
    version = installed_version(distribution, (spec and spec.submodule_search_locations) or ())
    return () < version[: len(newest)] <= newest


def installed_version(distribution: str, locations: Iterable[str]) -> tuple[int, ...]:
    """The version of a distribution, from the metadata beside its package; empty if there is none.

    The name of the metadata directory contains it, and is found within 0.1 ms. Importing
    `importlib.metadata` takes 15 ms.
    """
    found: list[tuple[int, ...]] = [()]
    for location in locations:
        with suppress(OSError):
            for entry in os.listdir(os.path.dirname(location)):
                name, _, rest = entry.partition("-")
                if rest.endswith(".dist-info") and name.lower() == distribution:
                    numbers = rest.removesuffix(".dist-info").split(".")
                    found.append(tuple(int(number) for number in numbers if number.isdecimal()))
    return max(found)
