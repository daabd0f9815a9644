"""Imports that libraries make for what a run never asks of them, put off until it is asked for.

A fifth of a start would be modules that click and PyYAML import for what the command does not use:
`inspect` takes 7 ms, `uuid` with `platform` 2, `datetime` and `gettext` with `locale` 1 each, and
what PyYAML has in Python beside libyaml 10, the half of that for one regular expression
(`python -X importtime -c 'import click, yaml'`). This is for the command alone, whose process has
one thread and no other tenant: a library must not do so to its host.
"""

from __future__ import annotations

import sys
import typing
from contextlib import suppress
from typing import Any

from mprun.lazy_import import LazyModule, find_spec, install_lazy


def import_click() -> None:
    """Import click, without what it needs for long texts, for translations, for dates and for UUIDs."""
    from _datetime import datetime  # type: ignore[import-not-found]  # what `datetime` has it from

    # Each option's help goes through this.
    install_lazy("inspect", cleandoc=_clean)
    # `click.types` names these two as parameters of types.
    install_lazy("datetime", datetime=datetime)
    uuid = install_lazy("uuid", UUID=object)
    # Our own words are English, too; nobody need look for the locale and for files of translations.
    gettext = install_lazy("gettext", gettext=_as_it_is, ngettext=_by_number)
    reference, typing.ForwardRef = typing.ForwardRef, Unread  # type: ignore[assignment,misc]
    try:
        import click  # noqa: F401
    finally:
        typing.ForwardRef = reference  # type: ignore[misc]
    # These were true for click alone.
    for module, names in ((uuid, ("UUID",)), (gettext, ("gettext", "ngettext"))):
        for name in names if isinstance(module, LazyModule) else ():
            delattr(module, name)


class Unread(str):
    """An annotation that stays a text, as which `typing.get_type_hints` takes it, too.

    `typing` would compile each of click's thirty, and make the 119 classes of `ast` for the first: 1.2 ms.
    """

    def __new__(cls, text: str, **_: Any) -> Unread:
        return super().__new__(cls, text)


def _as_it_is(text: str) -> str:
    return text


def _by_number(one: str, many: str, number: int) -> str:
    return one if number == 1 else many


def _clean(text: str) -> str:
    """As inspect.cleandoc, which is imported for more than one line."""
    if "\n" not in text:
        return text.expandtabs().lstrip(" ")
    import inspect

    if inspect.cleandoc is _clean:
        del inspect.cleandoc
    return inspect.cleandoc(text)


# The modules of PyYAML in Python that libyaml does the work of; in them the errors that its binding
# raises, and the bases of those in `yaml.error`.
_IN_PYTHON = {
    "reader": ("ReaderError", "YAMLError"),
    "scanner": ("ScannerError", "MarkedYAMLError"),
    "parser": ("ParserError", "MarkedYAMLError"),
    "composer": ("ComposerError", "MarkedYAMLError"),
    "constructor": ("ConstructorError", "MarkedYAMLError"),
    "emitter": ("EmitterError", "YAMLError"),
    "serializer": ("SerializerError", "YAMLError"),
    "representer": ("RepresenterError", "YAMLError"),
}


def import_yaml_parser() -> None:
    """Import PyYAML's binding to libyaml, without the rest of the package."""
    spec = find_spec("yaml")
    if spec is None or "yaml" in sys.modules:
        return
    package: Any = install_lazy("yaml", __path__=spec.submodule_search_locations)
    import yaml.error
    import yaml.events
    import yaml.nodes
    import yaml.tokens

    for name, (raised, base) in _IN_PYTHON.items():
        error = type(raised, (getattr(yaml.error, base),), {"__module__": f"yaml.{name}"})
        setattr(package, name, install_lazy(f"yaml.{name}", **{raised: error}))
    # Where PyYAML was built without libyaml, the loader asks for the rest of it.
    with suppress(ImportError):
        import yaml._yaml
