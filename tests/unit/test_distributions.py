"""What is installed on a path is read as `importlib.metadata` reads it, without its import."""

import os
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest

from mprun.record.distributions import InstalledOn


def expected(entry):
    """The version and the top-level modules of each distribution by its name."""
    found = {}
    for one in metadata.distributions(path=[entry]):
        if not any(one.read_text(name) for name in ("METADATA", "PKG-INFO", "")):
            continue
        modules = (one.read_text("top_level.txt") or "").split()
        parts = [] if modules else [file.parts for file in one.files or ()]
        modules += [p[0].partition(".")[0] for p in parts if len(p) > 1 or p[0].endswith((".py", ".so"))]
        name = one.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        found.setdefault(name, (one.version, set(map(os.path.basename, modules))))
    return found


def read(entry):
    found = InstalledOn().on([entry])
    versions = found.versions(expected(entry))
    assert found.of(()) == {}
    modules = {
        name: {module for module, names in found._by_module.items() if name in names} for name in versions
    }
    return {name: (token.split()[0], modules[name]) for name, token in versions.items()}


@pytest.mark.parametrize("entry", [path for path in sys.path if path.endswith("-packages")])
def test_all_that_is_installed_beside_the_tests_is_read_alike(entry):
    assert read(entry) == expected(entry)
    assert "pytest" in read(entry)


def egg(folder):
    folder.mkdir(parents=True)
    (folder / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: Old_One\nVersion: 0.1\n\nVersion: 7\n")
    return folder


FORMS = ["wheel", "names in quotes", "two blank lines", "egg-info", "sources", "one file", "egg", "archive"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_distribution_is_read_alike(tmp_path, form):
    entry = tmp_path / ("old_one-0.1-py3.egg" if form in ("egg", "archive") else "site-packages")
    if form in ("wheel", "names in quotes", "two blank lines"):
        info = entry / "new-1.dist-info"
        info.mkdir(parents=True)
        head = "Name: new" if form != "two blank lines" else "Summary: a\n  b: c\nNAME:  new"
        (info / "METADATA").write_text(f"{head}\nVersion: 1\nRequires-Dist: x\n\n\nName: b\nVersion: 2\n")
        paths = [
            "new/__init__.py",
            "single.py",
            "fast.cpython-311.so",
            "../../bin/new",
            "new.pth",
            "a/b/c.py",
        ]
        if form == "names in quotes":
            paths = ['"new/a,b.py"', '"one, two/c.py"', '"d,e.py"', "plain/x.py"]
        for path in paths:
            # Newer Pythons leave out what is not there.
            file = entry / path.strip('"')
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        (info / "RECORD").write_text("".join(f"{path},sha256=abc,12\n" for path in paths))
    elif form == "egg-info":
        (egg(entry / "Old_One.egg-info") / "top_level.txt").write_text("one\nns/two\n")
    elif form == "sources":
        (entry / "one").mkdir(parents=True)
        (entry / "one" / "__init__.py").touch()
        (egg(entry / "old_one-0.1.egg-info") / "SOURCES.txt").write_text("one/__init__.py\n")
    elif form == "one file":
        entry.mkdir()
        (entry / "old_one-0.1.egg-info").write_text("Name: old_one\nVersion: 0.1\n")
    elif form == "egg":
        (egg(entry / "EGG-INFO") / "top_level.txt").write_text("one\n")
    else:
        with zipfile.ZipFile(entry, "w") as archive:
            archive.writestr("EGG-INFO/PKG-INFO", "Name: old_one\nVersion: 0.1\n")
            archive.writestr("EGG-INFO/top_level.txt", "one\n")
    assert read(str(entry)) == expected(str(entry))
    assert len(read(str(entry))) == 1


def test_what_says_nothing_of_itself_and_what_cannot_be_read_are_left_out(tmp_path):
    (tmp_path / "empty-1.dist-info").mkdir()
    (tmp_path / "module.py").touch()
    for entry in (tmp_path, tmp_path / "missing", tmp_path / "module.py"):
        assert read(str(entry)) == {}


def test_names_and_modules_are_read_without_the_import_of_importlib_metadata(tmp_path):
    """That import takes as long as the names and modules of a hundred distributions."""
    site = tmp_path / "site-packages"
    (site / "new-1.dist-info").mkdir(parents=True)
    (site / "new-1.dist-info" / "METADATA").write_text("Name: new\nVersion: 1\n")
    (site / "new-1.dist-info" / "RECORD").write_text("new/__init__.py,,\n")
    code = (
        "import sys; from mprun.record.distributions import InstalledOn\n"
        f"found = InstalledOn().on([{str(site)!r}])\n"
        "assert found.has('new') and not found.of(['work'])\n"
        "assert 'importlib.metadata' not in sys.modules\n"
        "assert [*found.of(['new'])] == ['new']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
