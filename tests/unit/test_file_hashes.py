"""Which files patterns match, and what says that one is the same."""

import os

import pytest

from mprun.record.file_hashes import digests, hash_matches


@pytest.fixture
def folder(tmp_path):
    for name in ("a.csv", "d/b.csv", "d/e/c.csv", "d/.hidden", "d/.h/x.csv", "d/__pycache__/y.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.csv", ["a.csv"]),
        ("./a.csv", ["a.csv"]),
        ("*.csv", ["a.csv"]),
        ("d/[ab].csv", ["d/b.csv"]),
        ("d/**", ["d/b.csv", "d/e/c.csv"]),
        ("**/*.csv", ["a.csv", "d/b.csv", "d/e/c.csv"]),
        ("**/**/c.csv", ["d/e/c.csv"]),
        ("d/.h*", ["d/.hidden"]),
        ("d/*/x.csv", None),
        ("d/.h/*", ["d/.h/x.csv"]),
    ],
)
def test_patterns(folder, pattern, expected):
    if expected is None:
        with pytest.raises(Exception, match="matches no file"):
            hash_matches([pattern], str(folder), "inputs")
    else:
        assert [*hash_matches([pattern], str(folder), "inputs")] == expected
        absolute = hash_matches([str(folder / pattern)], "/", "inputs")
        assert [os.path.relpath(path, folder) for path in absolute] == expected


def test_links_to_directories_are_not_followed_at_any_depth(folder):
    (folder / "d/e/up").symlink_to("..")
    (folder / "d/e/again").symlink_to("..")
    (folder / "d/link.csv").symlink_to("b.csv")
    assert [*hash_matches(["d/**"], str(folder), "inputs")] == ["d/b.csv", "d/e/c.csv", "d/link.csv"]
    assert [*hash_matches(["d/e/up/*.csv"], str(folder), "inputs")] == ["d/e/up/b.csv", "d/e/up/link.csv"]


def test_a_path_through_a_link_is_the_one_that_the_system_finds(folder):
    (folder / "link").symlink_to("d/e")
    found = hash_matches(["link/../b.csv"], str(folder), "inputs")
    assert digests(found).popitem()[1] == hash_matches(["d/b.csv"], str(folder), "inputs")["d/b.csv"].digest


def test_a_file_that_was_changed_and_put_back_is_not_the_same(folder):
    before = hash_matches(["a.csv"], str(folder), "inputs")
    status = (folder / "a.csv").stat()
    (folder / "a.csv").write_text("other")
    (folder / "a.csv").write_text("a.csv")
    os.utime(folder / "a.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    after = hash_matches(["a.csv"], str(folder), "inputs")
    assert digests(after) == digests(before)
    assert after != before
