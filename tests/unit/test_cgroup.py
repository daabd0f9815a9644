"""What the files of a control group say of memory (C73)."""

from __future__ import annotations

import pytest

from mprun.linux import cgroup
from mprun.linux.cgroup import OutOfMemoryKills

MIB = 1 << 20


class Group:
    """Files as the kernel shows them, in a directory of the test."""

    def __init__(self, directory, version, path="/a/b", shown="/a/b"):
        self.root = directory / "cgroup"
        self.own = directory / "own"
        self.own.write_text({1: f"9:cpu:/\n4:memory:{path}\n0::/\n", 2: f"0::{path}\n"}[version])
        self.top = self.root / "memory" if version == 1 else self.root
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
        return OutOfMemoryKills(str(self.root), str(self.own))


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
    group = Group(tmp_path, version, path="/docker/0123", shown="/")
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
    kills = OutOfMemoryKills(str(tmp_path), str(tmp_path / "no"))
    assert kills.take_one() is None
    kills.close()
