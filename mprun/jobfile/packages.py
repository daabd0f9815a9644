"""Finds a file inside a package, such as `acme_jobs:etl.yaml`, without importing the package."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import did_you_mean, quote, suggest
from mprun.errors import UsageError
from mprun.frozen import Frozen
from mprun.jobfile.recipe_packages import is_package_name, recipe_packages
from mprun.jobfile.task_builder import absolute, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec

    from mprun.jobfile.syntax.document import Document

# Different files of packages that one job may use: to look for a package reads several directories.
MAX_FILES = 500
# Job files of a package that are listed, and all files and directories that are looked at for them.
_MAX_LISTED = 1000
_MAX_VISITED = 10_000
# Packages with recipes that a help text lists.
_MAX_SHOWN = 5

# How the names of job files end.
ENDINGS = (".yaml", ".yml")


class PackageFileError(UsageError):
    """A file of a package cannot be found or used; `help` is the remedy."""

    def __init__(self, message: str, help: str = "") -> None:
        self.message = message
        self.help = help
        super().__init__(f"{message}; {help}" if help else message)


class Package(Frozen):
    """Where the files of a package are.

    A namespace package (PEP 420) has several directories, and no `__init__.py`: it is not regular.
    """

    name: str
    directories: tuple[str, ...]
    is_regular: bool


def folders_of(users: Sequence[Document]) -> list[str]:
    """The directories where files that use one another look for packages before all others.

    These are every `pythonpath`, then the directories of the files, in their order.
    """
    folders = [os.path.dirname(os.path.abspath(user.source.path)) for user in users]
    entries: list[str] = []
    for folder, user in zip(folders, users, strict=True):
        root: Any = user.root
        entries += (absolute(folder, entry) for entry in listed(root.get("pythonpath")))
    return list(dict.fromkeys((*entries, *folders)))


def names_package(name: str) -> bool:
    """Whether a name is that of a file in a package, `package:file`, and not a path.

    A path with a colon can be written with `./` in front.
    """
    package, colon, _ = name.partition(":")
    return bool(colon) and is_package_name(package)


class PackageFiles:
    """Finds the files of packages for one job, each once."""

    def __init__(self) -> None:
        # By the name, and the directories that were searched before the others.
        self._found: dict[tuple[str, tuple[str, ...]], str | PackageFileError] = {}
        # The job files of packages that lack one.
        self._listed: dict[Package, list[str]] = {}
        # The directories of the packages of what was found, with the names of the packages.
        self._directories: dict[str, str] = {}

    def path(self, name: str, folders: Sequence[str], allowed: list[str] | None = None) -> str:
        """The absolute path of `package:file`.

        The package is looked for where the launcher would import it from: in `folders`, in the working
        directory, then where Python finds packages. `allowed` are the directories that the files of a
        job must be below, None for any; the directory of an installed package is added to them.
        Raises PackageFileError.
        """
        key = (name, tuple(folders))
        if key not in self._found:
            if len(self._found) >= MAX_FILES:
                message = f"too many different files of packages (limit: {MAX_FILES})"
                raise PackageFileError(message, "split the job")
            try:
                directory, self._found[key] = self._look(name, folders, allowed)
                self._directories.setdefault(directory, name.partition(":")[0])
            except PackageFileError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, PackageFileError):
            raise found
        return found

    def names(self, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Of absolute paths, those in the packages that were found, each with its `package:file`."""
        for path in paths:
            for directory, package in self._directories.items():
                if path.startswith(f"{directory}/"):
                    yield path, f"{package}:{path[len(directory) + 1 :]}"
                    break

    def _look(self, name: str, folders: Sequence[str], allowed: list[str] | None) -> tuple[str, str]:
        """The directory of the package, and the path of the file. Raises PackageFileError."""
        package_name, _, file = name.partition(":")
        if file.startswith("/") or not file or ".." in file.split("/") or "\0" in file:
            message = f"{quote(name)} must have a path below the package after the colon, not {quote(file)}"
            raise PackageFileError(message, f"write {quote(f'./{name}')} if it is not a package")
        try:
            package = find_package(package_name, [*folders, *_working_directory(), *sys.path], allowed)
        except PackageFileError as error:
            if not any(os.path.lexists(os.path.join(folder, name)) for folder in ("", *folders)):
                raise
            help = f"write {quote(f'./{name}')} for the file of this name"
            raise PackageFileError(error.message, help) from None
        for directory in package.directories:
            path = os.path.join(directory, os.path.normpath(file))
            if os.path.lexists(path):
                _refuse_link_out(name, path, directory)
                if allowed is not None and package.is_regular and _is_installed(package, directory):
                    allowed.append(directory)
                return directory, path
        message = f"package {quote(package.name)} has no file {quote(file)}"
        raise PackageFileError(message, self._similar(package, file, allowed))

    def _similar(self, package: Package, file: str, allowed: list[str] | None) -> str:
        """The remedy if a package lacks a file; it says nothing about directories that are not allowed."""
        if not _listable(package.directories, allowed):
            return ""
        if package not in self._listed:
            self._listed[package] = list(job_files(package))
        where = f"its files are in {quote(package.directories[0])}"
        return suggest(file, self._listed[package], "files") or where


def _listable(directories: Sequence[str], allowed: list[str] | None) -> list[str]:
    """The directories whose files may be named: those allowed, if not all are, and of Python itself."""
    if allowed is None:
        return list(directories)
    roots = [os.path.join(os.path.realpath(one), "") for one in (*allowed, *sys.path) if one]
    return [one for one in directories if os.path.join(os.path.realpath(one), "").startswith(tuple(roots))]


def _working_directory() -> list[str]:
    try:
        return [os.getcwd()]
    except OSError:
        # It was removed: no package is in it.
        return []


def _is_installed(package: Package, directory: str) -> bool:
    """Whether Python itself finds a package in this directory, wherever the job looks for its own."""
    try:
        return directory in find_package(package.name, sys.path).directories
    except PackageFileError:
        return False


def _refuse_link_out(name: str, path: str, directory: str) -> None:
    real = os.path.realpath(path)
    if not real.startswith(os.path.join(os.path.realpath(directory), "")):
        message = f"{quote(name)} is a link out of its package, to {quote(real)}"
        raise PackageFileError(message, "copy the file into the package, or use its path")


def job_files(package: Package) -> Iterator[str]:
    """The paths in a package of what may be job files, by their names, sorted within each directory."""
    found = (file for directory in package.directories for file in _files_below(directory))
    yield from islice((file for file in found if file.endswith(ENDINGS)), _MAX_LISTED)


def _files_below(directory: str) -> Iterator[str]:
    """The paths below a directory of the files in it, of a bounded number; no link is followed."""
    left, pending = _MAX_VISITED, [""]
    while pending and left > 0:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(directory, folder)) as entries:
                # The others of a directory are not even read.
                some = sorted(islice(entries, left), key=lambda entry: entry.name)
        except OSError:
            continue
        left -= len(some)
        is_folder = [entry.is_dir(follow_symlinks=False) for entry in some]
        paths = [os.path.join(folder, entry.name) for entry in some]
        yield from (path for path, is_one in zip(paths, is_folder, strict=True) if not is_one)
        inner = (path for path, is_one in zip(paths, is_folder, strict=True) if is_one)
        pending += sorted((path for path in inner if not path.endswith("__pycache__")), reverse=True)


def with_package(error: UsageError, name: str) -> UsageError:
    """The error about a file that cannot be read, with a remedy if one of a package may be meant."""
    help = "" if os.path.lexists(name) else meant_file(name, [os.curdir, *sys.path])
    return UsageError(f"{error}; {help}") if help else error


def meant_file(name: str, path: Sequence[str]) -> str:
    """A remedy if a name may mean a file of a package, else none; `path` is the import path."""
    folders, _, last = name.rpartition("/")
    packages = [(folders.replace("/", "."), last)]
    for ending in ENDINGS:
        if name.endswith(ending):
            package, _, stem = name.removesuffix(ending).rpartition(".")
            packages.append((package, stem + ending))
    packages.append((name, ""))
    for package, file in packages:
        if not is_package_name(package):
            continue
        try:
            found = find_package(package, path, remedies=False)
        except PackageFileError:
            continue
        if not file:
            file = next(job_files(found), "")
            return f"for a file of the package write {quote(f'{package}:{file}')}" if file else ""
        if any(os.path.isfile(os.path.join(directory, file)) for directory in found.directories):
            return f"did you mean {quote(f'{package}:{file}')}?"
    return ""


# ---- packages


def find_package(
    name: str, path: Sequence[str], allowed: list[str] | None = None, *, remedies: bool = True
) -> Package:
    """A package by its name, whose parts have dots between them; `path` is the import path.

    If not all directories are `allowed`, remedies name no package in another one, unless Python finds it.
    To find `remedies` takes longer than to find the package.
    No package is imported, also not those that contain it. Raises PackageFileError.
    """
    entries, is_regular, known = list(path), False, ""
    for part in name.split("."):
        full = f"{known}.{part}" if known else part
        spec = _find_spec(full, entries, is_top=not known)
        if spec is None:
            places = _listable(entries, allowed) if remedies else []
            raise PackageFileError(*_not_found(full, known, part, places))
        if spec.submodule_search_locations is None:
            raise PackageFileError(f"{quote(full)} is a module, not a package, so it has no files")
        entries, is_regular, known = list(spec.submodule_search_locations), spec.loader is not None, full
    directories = tuple(entry for entry in entries if os.path.isdir(entry))
    if not directories:
        where = f" {quote(os.path.dirname(entries[0]))}," if entries else ""
        message = f"package {quote(name)} is in an archive,{where} which mprun does not read"
        raise PackageFileError(message, "install it as files")
    return Package(name=name, directories=directories, is_regular=is_regular)


def _find_spec(name: str, entries: list[str], *, is_top: bool) -> ModuleSpec | None:
    """The spec of a package or module; of a namespace package, one without a loader.

    `importlib.util.find_spec` would import the packages that contain it.
    """
    from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

    for finder in sys.meta_path:
        spec: ModuleSpec | None = None
        if finder is PathFinder:
            spec = _find_in(name, entries)
        elif finder not in (BuiltinImporter, FrozenImporter):
            # Such as those of editable installs.
            # It belongs to others, and may expect the packages that contain this one to be imported.
            with suppress(Exception):
                spec = finder.find_spec(name, None if is_top else entries)
        if spec is not None:
            return spec
    return None


def _find_in(name: str, entries: Sequence[str]) -> ModuleSpec | None:
    """The spec of a name in directories, as PathFinder finds it.

    PathFinder itself wants the package imported that contains a namespace package.
    """
    from importlib.machinery import ModuleSpec
    from pkgutil import get_importer

    portions: list[str] = []
    for entry in entries:
        finder = get_importer(entry)
        spec = None if finder is None else finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:
            portions += spec.submodule_search_locations or ()
    if not portions:
        return None
    namespace = ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


# A job may name hundreds of packages that are not there.
@lru_cache(maxsize=4)
def _packages_in(entries: tuple[str, ...]) -> list[str]:
    """The names of the packages in directories of the import path."""
    from pkgutil import iter_modules

    return [found.name for found in iter_modules(entries) if found.ispkg]


def _not_found(full: str, parent: str, part: str, entries: Sequence[str]) -> tuple[str, str]:
    """The message about a package that is not there, and its remedy."""
    known = _packages_in(tuple(entries))
    if parent:
        return f"package {quote(parent)} has no package {quote(part)}", suggest(part, known, "packages")
    message = f"package {quote(full)} not found"
    if similar := did_you_mean(part, known):
        return message, similar
    others = (one for one in recipe_packages() if one != full)
    some = ", ".join(quote(one) for one in islice(others, _MAX_SHOWN))
    listed = f"; installed packages with recipes: {some}" if some else ""
    return message, f"install it in the environment of mprun, {quote(sys.prefix)}{listed}"
