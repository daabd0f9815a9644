"""What the files of a control group say of memory (C73)."""

from __future__ import annotations

import pytest

from mprun.linux import cgroup, procfs
from mprun.linux.cgroup import OutOfMemoryKills

MIB = 1 << 20


class Group:
    """Files as the kernel shows them, in a directory of the test."""

    def __init__(self, directory, version, path="/a/b", shown="/a/b", root="/"):
        self.own = directory / "own"
        self.own.write_text({1: f"9:cpu:/\n4:memory:{path}\n0::/\n", 2: f"0::{path}\n"}[version])
        self.top = directory / "cgroups are here"
        escaped = str(self.top).replace(" ", "\\040")
        kind = {1: "cgroup cgroup rw,memory", 2: "cgroup2 cgroup2 rw,nsdelegate"}[version]
        self.mounts = directory / "mounts"
        self.mounts.write_text(
            f"30 23 0:27 / {directory}/cpu rw - cgroup cgroup rw,cpu\n"
            f"31 23 0:28 {root} {escaped} rw,relatime shared:9 - {kind}\n"
        )
        self.directory = self.top / shown.strip("/")
        self.directory.mkdir(parents=True)
        self.events, self.limit = {
            1: ("memory.oom_control", "memory.limit_in_bytes"),
            2: ("memory.events", "memory.max"),
        }[version]
        self.count(0)

    def count(self, number):
        (self.directory / self.events).write_text(f"low 0\noom 7\noom_kill {number}\noom_group_kill 0\n")

    def set_limit(self, text, directory=None):
        ((directory or self.directory) / self.limit).write_text(f"{text}\n")

    def kills(self):
        return OutOfMemoryKills(str(self.own), str(self.mounts))


@pytest.fixture(params=[1, 2])
def version(request):
    return request.param


def test_each_kill_explains_one_end(tmp_path, version):
    group = Group(tmp_path, version)
    group.count(3)
    group.set_limit(512 * MIB)
    kills = group.kills()
    assert kills.take_one() is None
    group.count(5)
    assert [kills.take_one() for _ in range(3)] == [str(512 * MIB)] * 2 + [None]
    kills.close()


def test_the_lowest_limit_counts(tmp_path, version):
    group = Group(tmp_path, version)
    group.set_limit("max" if version == 2 else 9223372036854771712)
    group.set_limit(64 * MIB, group.directory.parent)
    kills = group.kills()
    group.count(1)
    assert kills.take_one() == str(64 * MIB)
    kills.close()


def test_without_a_limit_the_machine_ran_out_of_memory(tmp_path, version):
    group = Group(tmp_path, version)
    kills = group.kills()
    group.count(1)
    assert kills.take_one() == ""
    kills.close()


def test_the_own_group_of_a_container_may_be_at_the_top(tmp_path, version):
    group = Group(tmp_path, version, path="/docker/0123", shown="/", root="/docker/0123")
    group.set_limit(MIB)
    kills = group.kills()
    group.count(1)
    assert kills.take_one() == str(MIB)
    kills.close()


def test_an_old_kill_explains_nothing(tmp_path, version, monkeypatch):
    now = 100.0
    monkeypatch.setattr(cgroup, "monotonic", lambda: now)
    group = Group(tmp_path, version)
    kills = group.kills()
    group.count(2)
    kills.look()
    now += 60
    assert kills.take_one() is None
    group.count(3)
    assert [kills.take_one(), kills.take_one()] == ["", None]
    kills.close()


def test_without_cgroups_nothing_is_known(tmp_path):
    kills = OutOfMemoryKills(str(tmp_path / "no"), str(tmp_path / "none"))
    assert kills.take_one() is None
    kills.close()


def test_a_group_above_counts_for_one_that_does_not(tmp_path, version):
    group = Group(tmp_path, version, shown="/a")
    (group.directory / "b").mkdir()
    group.set_limit(MIB)
    kills = group.kills()
    group.count(1)
    assert kills.take_one() == str(MIB)
    kills.close()


@pytest.mark.parametrize(
    ("root", "path"),
    [("/other", "/a/b"), ("/a/bc", "/a/b"), ("/", "/../a")],
    ids=["another part is mounted", "a longer name", "outside of the namespace"],
)
def test_a_group_that_is_not_mounted_is_not_looked_for(tmp_path, version, root, path):
    group = Group(tmp_path, version, path=path, root=root)
    assert procfs.own_cgroup("memory" if version == 1 else "", group.own, group.mounts) == ("", "")
