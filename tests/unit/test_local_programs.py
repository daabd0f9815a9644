"""Which programs the kernel executes without a wait for another machine."""

from __future__ import annotations

import os
import shutil
import sys
from types import SimpleNamespace

import pytest

if sys.platform != "linux":
    pytest.skip("mountinfo and ELF", allow_module_level=True)

from mprun.launcher import exec_command, local_programs
from mprun.linux import file_systems

# A line of mountinfo.
LINE = b"36 35 98:0 / %b rw,noatime master:1 - %b source rw\n"
TRUE = os.path.realpath(shutil.which("true") or "")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with an empty one, `far`, that may wait; each look at what is in that is an error."""
    far = tmp_path / "far"
    far.mkdir()
    mounts = {b"/": True, os.fsencode(far): False}
    monkeypatch.setattr(file_systems, "_parse", lambda text: mounts)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    really = {name: getattr(os, name) for name in ("lstat", "stat", "open", "access", "readlink")}

    def refusing(look):
        def refuse(path, *args, **more):
            assert not os.path.join(tmp_path, os.fsdecode(path)).startswith(str(far)), path
            return look(path, *args, **more)

        return refuse

    for name, look in really.items():
        monkeypatch.setattr(os, name, refusing(look))
    # It is looked up there by its identity.
    monkeypatch.setattr(os, "supports_effective_ids", {os.access})
    return tmp_path


def script(path, interpreter):
    path.write_bytes(b"#!" + interpreter + b"\n")
    path.chmod(0o755)


def is_local(name):
    return local_programs.search_path_for(os.fsencode(name)) is not None


def test_mounts_are_read_with_escaped_names_and_what_hides_others():
    text = LINE % (b"/a\\040b\\134040\r", b"nfs4") + LINE % (b"/", b"ext4") + LINE % (b"/auto", b"autofs")
    text += LINE % (b"/auto", b"ext4") + LINE % (b"/f", b"fuse.sshfs")
    assert file_systems._parse(text) == {b"/a b\\040\r": False, b"/": True, b"/auto": False, b"/f": False}


@pytest.mark.parametrize(("device", "is_a_disk"), [(os.makedev(254, 0), True), (os.makedev(0, 37), False)])
def test_a_root_that_is_not_a_mount_is_local_if_it_is_on_a_device(place, monkeypatch, device, is_a_disk):
    assert is_local(TRUE)
    monkeypatch.setattr(file_systems, "_parse", lambda text: {})
    really = os.stat

    def stat(path, *args, **more):
        return SimpleNamespace(st_dev=device) if path == "/" else really(path, *args, **more)

    monkeypatch.setattr(os, "stat", stat)
    assert is_local(TRUE) == is_a_disk


def test_file_systems_without_a_device_have_no_major_number():
    """Of what the kernel has mounted here: proc(5), in memory or by a program."""
    assert os.major(os.stat("/proc").st_dev) == 0


def test_nothing_is_known_without_proc(place, monkeypatch):
    def refuse(*_):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", refuse)
    assert not is_local(TRUE)


@pytest.mark.parametrize("target", ["far", "./far/.", "../{0}/far", "{1}/far", "other"])
def test_a_link_is_followed_up_to_what_may_wait(place, target):
    (place / "other").symlink_to("far")
    (place / "link").symlink_to(target.format(place.name, place))
    assert not is_local("link/tool")
    assert not is_local("far/tool")


def test_links_that_lead_to_programs_here_are_followed(place):
    (place / "bin").symlink_to(os.path.dirname(TRUE))
    (place / "tool").symlink_to("bin/../bin/./" + os.path.basename(TRUE))
    (place / "loop").symlink_to("loop")
    assert is_local("tool")
    assert is_local("./tool")
    assert not is_local("loop")
    assert not is_local("./loop")


def test_directories_of_path_after_that_of_the_program_are_left_out(place, monkeypatch):
    (place / "tool").symlink_to(TRUE)
    (place / "data").mkdir()
    (place / "data" / "tool").touch()
    monkeypatch.setenv("PATH", f"{place}/missing:{place}/data::{place}/far:/bin")
    found = local_programs.search_path_for(b"tool")
    assert found == os.fsencode(f"{place}/missing:{place}/data:")
    assert exec_command.find(b"tool", found) == b"./tool"
    assert local_programs.search_path_for(b"true") is None


@pytest.mark.parametrize("line", [b"far/it", b" \t./far/it -x", b"/usr/../{}/far/it\targument", b"script"])
def test_the_interpreters_of_scripts_are_followed(place, line):
    script(place / "script", b"far/it")
    script(place / "tool", line.replace(b"{}", os.fsencode(place)))
    assert not is_local("./tool")


def test_a_script_with_interpreters_here_is_local(place):
    for number in range(8):
        script(place / f"s{number}", f" ./s{number - 1}\0".encode() if number else os.fsencode(TRUE))
    # As many as the kernel accepts.
    assert [is_local(f"./s{number}") for number in range(8)] == [True] * 5 + [False] * 3


@pytest.mark.parametrize(
    "content", [b"", b"echo\n", b"#!\n", b"#!/missing\n", b"MZ", b"\x7fELF\1" + b"\0" * 99]
)
def test_what_the_kernel_may_hand_to_another_program_is_not_taken(place, content):
    (place / "tool").write_bytes(content)
    (place / "tool").chmod(0o755)
    assert not is_local("./tool")
    assert not is_local("tool")


def test_what_is_not_a_file_does_not_hold_up_anything(place):
    os.mkfifo(place / "tool", 0o755)
    assert not is_local("./tool")
    assert not is_local(".")
    assert not is_local("")


def test_the_loader_of_libraries_is_followed(place):
    """The file has its path, which is replaced by one of the same length."""
    with open(TRUE, "rb") as file:
        data = file.read()
    loader = local_programs._loader(data[:4096])
    assert loader.startswith(b"/lib")
    (place / "tool").write_bytes(data.replace(loader, b"far".ljust(len(loader), b"/")))
    (place / "tool").chmod(0o755)
    assert not is_local("./tool")
    (place / "tool").write_bytes(data[:40])
    assert not is_local("./tool")


def test_a_program_without_a_loader_is_local(place):
    with open(TRUE, "rb") as file:
        data = bytearray(file.read())
    # The number of its headers.
    data[56:58] = b"\0\0"
    (place / "tool").write_bytes(data)
    (place / "tool").chmod(0o755)
    assert is_local("./tool")
