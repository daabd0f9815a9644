"""Finds the files in packages that a run has read, wherever these packages are installed by now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.packages import PackageFileError, PackageFiles, names_package

if TYPE_CHECKING:
    from mprun.record.events import RunStarted


def with_packages_here(started: RunStarted) -> RunStarted:
    """The start of a run with the present paths of its files in packages; all others stay.

    Only a file that was found has a `package` then: a record may name any file, and any package.
    """
    # Another program may have written the record.
    files: Any = started.files
    if not any(isinstance(one, dict) and "package" in one for one in files):
        return started
    finder = PackageFiles()
    found = [_file_here(one, finder) for one in files]
    paths = [one.get("path") if isinstance(one, dict) else None for one in files]
    present = [one.get("path") if isinstance(one, dict) else None for one in found]
    moved = dict(zip(paths, present, strict=True))
    return started.replace(file=moved.get(started.file, started.file), files=tuple(found))


def _file_here(file: Any, finder: PackageFiles) -> Any:
    if not isinstance(file, dict) or "package" not in file:
        return file
    name = file["package"]
    if isinstance(name, str) and names_package(name):
        try:
            return {**file, "path": finder.path(name, ())}
        except PackageFileError:
            pass
    return {key: value for key, value in file.items() if key != "package"}
