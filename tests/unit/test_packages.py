"""Files in packages: which names mean one, where they are found, and what is refused."""

import os
import sys
import textwrap
import zipfile
from importlib.machinery import ModuleSpec

import pytest
from support.desk import Desk

from mprun.jobfile import packages
from mprun.jobfile.packages import MAX_FILES, PackageFileError, PackageFiles, names_package
from mprun.jobfile.recipe_packages import recipe_packages

EXITS = "import sys\nsys.exit('imported')\n"


@pytest.mark.parametrize("name", ["acme:etl.yaml", "acme.jobs:sub/etl.yaml", "größe:a", "acme:../a", "acme:"])
def test_a_package_and_a_colon_name_a_file_of_it(name):
    assert names_package(name)


@pytest.mark.parametrize(
    "name",
    ["./acme:etl.yaml", "etl.yaml", "a/b:c.yaml", "/a:b", "2024:etl.yaml", ":etl.yaml", "a b:c", "a..b:c"],
)
def test_other_names_are_paths(name):
    assert not names_package(name)


@pytest.fixture
def lib(tmp_path, monkeypatch):
    """An empty directory on the import path, and another one as the working directory."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    return tmp_path / "lib"


def put(folder, *files, text=""):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(EXITS if path.name == "__init__.py" else text)


def find(name, *folders, allowed=None):
    return PackageFiles().path(name, [str(folder) for folder in folders], allowed)


def refusal(name, *folders):
    with pytest.raises(PackageFileError) as caught:
        find(name, *folders)
    return caught.value.message, caught.value.help


def test_a_package_is_found_without_being_imported(lib):
    put(lib, "acme/__init__.py", "acme/etl.yaml", "acme/jobs/__init__.py", "acme/jobs/sub/etl.yaml")
    assert find("acme:etl.yaml") == f"{lib}/acme/etl.yaml"
    assert find("acme:./jobs//sub/etl.yaml") == f"{lib}/acme/jobs/sub/etl.yaml"
    assert find("acme.jobs:sub/etl.yaml") == f"{lib}/acme/jobs/sub/etl.yaml"
    assert "acme" not in sys.modules


def test_a_namespace_package_has_several_directories(lib, tmp_path, monkeypatch):
    put(lib, "acme/one/a.yaml", "acme/one/same.yaml")
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    put(tmp_path / "more", "acme/one/same.yaml", "acme/two/__init__.py", "acme/two/b.yaml")
    assert find("acme.one:a.yaml") == f"{lib}/acme/one/a.yaml"
    assert find("acme.one:same.yaml") == f"{tmp_path}/more/acme/one/same.yaml"
    assert find("acme.two:b.yaml") == f"{tmp_path}/more/acme/two/b.yaml"
    assert find("acme:two/b.yaml") == f"{tmp_path}/more/acme/two/b.yaml"


def test_a_package_goes_before_a_directory_of_its_name(lib):
    put(lib.parent / "here", "acme/other.txt")
    put(lib, "acme/__init__.py", "acme/etl.yaml")
    assert find("acme:etl.yaml") == f"{lib}/acme/etl.yaml"


def test_packages_are_found_where_targets_are_imported_from(lib, tmp_path):
    for folder in ("lib", "here", "job"):
        put(tmp_path / folder, "acme/__init__.py", "acme/etl.yaml")
    assert find("acme:etl.yaml", tmp_path / "job") == f"{tmp_path}/job/acme/etl.yaml"
    assert find("acme:etl.yaml") == f"{tmp_path}/here/acme/etl.yaml"


def test_a_package_of_an_editable_install_is_found(lib, tmp_path, monkeypatch):
    put(tmp_path / "src", "acme/__init__.py", "acme/etl.yaml", "acme/jobs/__init__.py", "acme/jobs/etl.yaml")

    class Finder:
        """As those of setuptools and others: it knows the packages by name."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name != "acme":
                raise KeyError(name)
            spec = ModuleSpec(name, object(), is_package=True)
            spec.submodule_search_locations = [str(tmp_path / "src" / "acme")]
            return spec

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    assert find("acme:etl.yaml") == f"{tmp_path}/src/acme/etl.yaml"
    assert find("acme.jobs:etl.yaml") == f"{tmp_path}/src/acme/jobs/etl.yaml"


@pytest.mark.parametrize(
    "file", ["../acme2/etl.yaml", "sub/../../acme2/etl.yaml", "/etc/passwd", "", "..", "a\0b"]
)
def test_a_file_must_be_below_its_package(file, lib):
    put(lib, "acme/__init__.py", "acme/sub/x", "acme2/etl.yaml")
    message, help = refusal(f"acme:{file}")
    assert "must have a path below the package after the colon" in message
    assert help.startswith("write `./acme:")


def test_a_link_out_of_the_package_is_refused(lib):
    put(lib, "acme/__init__.py", "acme/in.yaml", "acme2/out.yaml")
    (lib / "acme" / "inner.yaml").symlink_to("in.yaml")
    (lib / "acme" / "out.yaml").symlink_to("../acme2/out.yaml")
    (lib / "acme" / "folder").symlink_to("../acme2")
    assert find("acme:inner.yaml") == f"{lib}/acme/inner.yaml"
    for file in ("out.yaml", "folder/out.yaml"):
        message, _ = refusal(f"acme:{file}")
        assert message == f"`acme:{file}` is a link out of its package, to `{lib}/acme2/out.yaml`"


def test_links_above_the_package_may_lead_anywhere(lib, tmp_path):
    put(tmp_path / "store", "acme/__init__.py", "acme/etl.yaml")
    (lib / "acme").symlink_to(tmp_path / "store" / "acme")
    assert find("acme:etl.yaml") == f"{lib}/acme/etl.yaml"


def test_a_package_in_an_archive_is_refused(lib, monkeypatch):
    archive = lib / "acme.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("acme/__init__.py", "")
        file.writestr("acme/etl.yaml", "")
    monkeypatch.syspath_prepend(str(archive))
    message, help = refusal("acme:etl.yaml")
    assert message == f"package `acme` is in an archive, `{archive}`, which mprun does not read"
    assert help == "install it as files"


def test_a_module_has_no_files(lib):
    put(lib, "acme.py")
    assert refusal("acme:etl.yaml")[0] == "`acme` is a module, not a package, so it has no files"


def test_what_is_not_there_is_named_with_what_is_similar(lib):
    put(
        lib, "acme_jobs/__init__.py", "acme_jobs/etl.yaml", "acme_jobs/sub/__init__.py", "acme_jobs/sub/a.yml"
    )
    assert refusal("acme_job:etl.yaml") == ("package `acme_job` not found", "did you mean `acme_jobs`?")
    assert refusal("acme_jobs.subs:a.yml") == (
        "package `acme_jobs` has no package `subs`",
        "did you mean `sub`?",
    )
    assert refusal("acme_jobs:elt.yaml") == (
        "package `acme_jobs` has no file `elt.yaml`",
        "did you mean `etl.yaml`?",
    )
    assert refusal("acme_jobs:nothing") == (
        "package `acme_jobs` has no file `nothing`",
        "known files: `etl.yaml`, `sub/a.yml`",
    )
    assert sys.prefix in refusal("zzqqxx:etl.yaml")[1]


def test_a_local_file_of_the_same_name_is_offered(lib):
    put(lib.parent / "here", "acme:etl.yaml")
    assert refusal("acme:etl.yaml") == (
        "package `acme` not found",
        "write `./acme:etl.yaml` for the file of this name",
    )


def test_a_job_may_use_so_many_files(lib):
    files = PackageFiles()
    put(lib, "acme/__init__.py", "acme/etl.yaml")
    for number in range(MAX_FILES - 1):
        with pytest.raises(PackageFileError, match="has no file"):
            files.path(f"acme:{number}", ())
    for _ in range(2):
        assert files.path("acme:etl.yaml", ())
    with pytest.raises(PackageFileError, match="too many different files"):
        files.path("acme:other", ())


def test_only_what_python_itself_finds_is_allowed_outside(lib, tmp_path):
    put(lib, "acme/__init__.py", "acme/etl.yaml", "space/etl.yaml")
    put(tmp_path / "job", "own/__init__.py", "own/etl.yaml")
    allowed = [str(tmp_path / "job")]
    assert find("acme:etl.yaml", allowed=allowed)
    assert allowed == [str(tmp_path / "job"), f"{lib}/acme"]
    # Any directory is a namespace package, and a job file names its own import path.
    find("space:etl.yaml", allowed=allowed)
    find("own:etl.yaml", tmp_path / "job", allowed=allowed)
    assert len(allowed) == 2


def test_a_working_directory_that_is_gone_holds_no_package(lib, tmp_path):
    put(lib, "acme/__init__.py", "acme/etl.yaml")
    os.rmdir(tmp_path / "here")
    assert find("acme:etl.yaml") == f"{lib}/acme/etl.yaml"


def test_what_one_directory_lacks_another_may_have(lib, tmp_path):
    put(tmp_path, "one/acme/__init__.py", "one/acme/a.yaml", "two/acme/__init__.py", "two/acme/a.yaml")
    files = PackageFiles()
    with pytest.raises(PackageFileError, match="not found"):
        files.path("acme:a.yaml", [])
    for folder in ("one", "two"):
        assert files.path("acme:a.yaml", [f"{tmp_path}/{folder}"]) == f"{tmp_path}/{folder}/acme/a.yaml"


NESTED = """
    pythonpath: vend
    outputs: {t: "${tasks.i.outputs.t}"}
    tasks: [{name: i, uses: "acme:etl.yaml"}]
    """
VENDORED = 'outputs: {t: "${tasks.vendored.result}"}\ntasks: [{name: vendored, command: x, capture: text}]\n'
INSTALLED = VENDORED.replace("vendored", "installed")


@pytest.mark.parametrize("is_installed", [False, True])
def test_a_nested_recipe_looks_for_packages_where_it_says_however_it_is_used(lib, tmp_path, is_installed):
    if is_installed:
        put(lib, "acme/__init__.py", "acme/etl.yaml", text=INSTALLED)
    put(tmp_path, "sub/vend/acme/__init__.py", "sub/vend/acme/etl.yaml", text=VENDORED)
    put(tmp_path, "sub/r.yaml", text=textwrap.dedent(NESTED))
    desk = Desk(tmp_path)
    use = '{name: y, command: [echo, "${tasks.r.outputs.t}"]}'
    for tasks, name in (
        ("{name: r, uses: sub/r.yaml}", "r/i/vendored"),
        (f"{use}, {{name: r, uses: sub/r.yaml}}", "r/i/vendored"),
        ("{name: r, uses: sub/r.yaml}, {name: s, uses: sub/r.yaml}", "s/i/vendored"),
    ):
        assert name in desk.needs(job=f"tasks: [{tasks}]")


def test_where_a_recipe_looks_for_packages_may_be_known_only_with_its_params(lib, tmp_path):
    put(tmp_path, "sub/vend/acme/__init__.py", "sub/vend/acme/etl.yaml", text=VENDORED)
    by_param = 'params: {where: {type: string}}\n    pythonpath: "${params.where}"'
    nested = NESTED.replace("pythonpath: vend", by_param)
    put(tmp_path, "sub/r.yaml", text=textwrap.dedent(nested))
    use = "{name: r, uses: sub/r.yaml, with: {where: vend}}"
    desk = Desk(tmp_path)
    assert "r/i/vendored" in desk.needs(job=f"tasks: [{use}]")
    (found,) = desk.diagnostics(job=f'tasks: [{use}, {{command: "x ${{tasks.r.outputs.t}}"}}]')
    assert "leads to the recipe `acme:etl.yaml`, which is not known here" in found


def test_remedies_name_no_file_outside_of_what_is_allowed(lib, tmp_path):
    put(tmp_path, "outside/secret/__init__.py", "outside/secret/hidden_plan.yaml")
    put(lib, "acme/__init__.py", "acme/hidden_plan.yaml")
    for name, message in (
        ("secret:hidden_plans.yaml", "package `secret` has no file `hidden_plans.yaml`"),
        ("secre:x.yaml", "package `secre` not found"),
        ("secret.inne:x.yaml", "package `secret` has no package `inne`"),
    ):
        with pytest.raises(PackageFileError) as caught:
            find(name, tmp_path / "outside", allowed=[str(tmp_path / "here")])
        assert caught.value.message == message
        assert "hidden" not in caught.value.help
        assert "`secret`" not in caught.value.help
        assert str(tmp_path / "outside") not in caught.value.help
    with pytest.raises(PackageFileError) as caught:
        find("acme:hidden_plans.yaml", allowed=[str(tmp_path / "here")])
    assert "did you mean `hidden_plan.yaml`" in caught.value.help


def test_a_large_package_is_searched_for_similar_names_once_and_up_to_a_limit(lib, monkeypatch):
    monkeypatch.setattr(packages, "_MAX_VISITED", 50)
    put(lib, "acme/__init__.py", *(f"acme/{n:03}/x.txt" for n in range(100)), "acme/zz/etl.yaml")
    looked = []
    scandir = os.scandir
    monkeypatch.setattr(packages.os, "scandir", lambda path: looked.append(path) or scandir(path))
    files = PackageFiles()
    for number in range(3):
        with pytest.raises(PackageFileError):
            files.path(f"acme:etl{number}.yaml", [])
    assert 1 <= len([path for path in looked if "acme" in str(path)]) <= 50


def test_metadata_that_is_damaged_takes_nothing_from_the_others(lib, tmp_path):
    text = "[mprun.recipes]\nx = acme\nno sign\n= \nlong = " + "a" * 300 + "\n[other]\ny = others\n"
    put(lib, "acme-1.dist-info/entry_points.txt", text=text)
    put(lib, "b-1.dist-info/METADATA", "c-1.dist-info/METADATA", "d-1.dist-info/entry_points.txt/x")
    os.mkfifo(lib / "b-1.dist-info" / "entry_points.txt")
    with open(lib / "c-1.dist-info" / "entry_points.txt", "w") as file:
        file.write("[mprun.recipes]\nx = huge\n")
        file.truncate(2**30)
    put(lib, "e-1.egg-info/entry_points.txt", text="[ mprun.recipes ]\n; x = no\nx=good.jobs\n")
    assert {"acme", "good.jobs"} <= set(recipe_packages())
    assert not {"huge", "others", "no"} & set(recipe_packages())
    assert refusal("good:x.yaml")[1].endswith("installed packages with recipes: `acme`, `good.jobs`")
    assert refusal("acme:x.yaml")[1].endswith("installed packages with recipes: `good.jobs`")


def test_metadata_is_read_once_for_many_packages_that_are_not_there(lib, monkeypatch):
    put(lib, "acme-1.dist-info/entry_points.txt", text="[mprun.recipes]\nx = acme\n")
    opened = []
    open_file = os.open
    monkeypatch.setattr(os, "open", lambda path, *given: opened.append(path) or open_file(path, *given))
    for number in range(5):
        assert "`acme`" in refusal(f"nope{number}:x.yaml")[1]
    assert opened.count(f"{lib}/acme-1.dist-info/entry_points.txt") == 1
