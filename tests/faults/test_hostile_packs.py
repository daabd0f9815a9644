"""A packed run may come from anyone: it is refused, or shown in part, in little time and memory."""

from __future__ import annotations

import os
import stat
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packs import entry, measured, names_below, repack
from support.records import FINISHED, STARTED, ended, exited, record, started
from support.runs import mprun
from support.timing import assert_quick

from mprun.errors import MprunError, UsageError
from mprun.record import packed_run
from mprun.record.reader import read_state

RUN = "20260101-120000.000-abcd"
LOGS = f"runs/{RUN}/logs"
# CPU time, because the machine has other things to do.
MAX_SECONDS = 0.5
MAX_MEMORY = 128 << 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A packed run of three tasks, of which one was killed."""
    place = tmp_path_factory.mktemp("sound")
    lines = [{**STARTED, "tasks": 2}, started("a"), exited("a"), FINISHED, started("b", pid=200), ended()]
    record(place, lines, name=RUN)
    logs = place / ".mprun" / "runs" / RUN / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "a.1.log").write_text("heard\n" * 100)
    assert mprun("pack", "-o", "sound.zip", cwd=place).code == 0
    return place / "sound.zip"


@pytest.fixture
def place(tmp_path):
    """A directory beside others that nothing may change."""
    here = tmp_path / "a" / "b" / "here"
    here.mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "a" / "kept").write_text("kept")
    return here


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A directory in which this process may read packed runs."""
    place = tmp_path_factory.mktemp("bench")
    (place / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_run.tempfile, "tempdir", str(place / "tmp"))
        yield place


def show(place, *arguments):
    """Measure `mprun show` of the file, in bounded time and memory, and that nothing is left of it."""
    top = place.parents[2]
    before = names_below(top)
    done = measured(*(arguments or ("show", "x.zip")), cwd=place, TMPDIR=str(top / "tmp"))
    assert names_below(top) == before
    assert (top / "a" / "kept").read_text() == "kept"
    assert_quick(done.seconds, MAX_SECONDS)
    assert done.memory < MAX_MEMORY
    return done


def refused(place, message, *arguments):
    done = show(place, *arguments)
    assert done.code == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: `x.zip` is not used as a packed run: ")
    # What is wrong, and what to do.
    assert message in line
    assert "; " in line


NAMES = {
    "up": ("../evil", "leads out of it (`..`)"),
    "up-from-below": (f"{LOGS}/../../../../evil", "leads out of it (`..`)"),
    "absolute": ("/tmp/evil", "is an absolute path"),
    "backslash": (f"{LOGS}\\..\\..\\evil", "has a backslash or a NUL"),
    "nul": (f"{LOGS}/a.1.log\0.txt", "has a backslash or a NUL"),
    "drive": ("C:/evil", "is not a file below runs/RUN-ID/"),
    "state": ("open/1", "is not a file below runs/RUN-ID/"),
    "run": ("runs/evil/events.jsonl", "is not a file below runs/RUN-ID/"),
    "run-itself": (f"runs/{RUN}", "is not a file below runs/RUN-ID/"),
    "dot": (f"{LOGS}/./x", "is not the path of a file"),
    "empty": (f"{LOGS}//x", "is not the path of a file"),
    "deep": (f"runs/{RUN}/artifacts/{'d/' * 100}x", "is not the path of a file"),
    "long": (f"{LOGS}/{'x' * 300}", "has too long a name"),
    "zip": ("ci.zip", "unpack it, and use `ci.zip`"),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_is_not_of_a_run_is_refused(sound, place, case):
    name, message = NAMES[case]
    repack(sound, place / "x.zip", (entry(name), b"evil"))
    refused(place, message)


MODES = {"link": stat.S_IFLNK, "fifo": stat.S_IFIFO, "device": stat.S_IFCHR, "disk": stat.S_IFBLK}


@pytest.mark.parametrize("kind", [*MODES, "socket", "directory"])
def test_what_is_not_a_regular_file_is_refused(sound, place, kind):
    mode = {**MODES, "socket": stat.S_IFSOCK, "directory": stat.S_IFDIR}[kind]
    repack(sound, place / "x.zip", (entry(f"{LOGS}/b.1.log", mode | 0o777), b"/etc/passwd"))
    refused(place, "is a link, a device or the like")


def test_a_link_that_a_later_name_goes_through_is_refused(sound, place):
    link = entry(f"runs/{RUN}/artifacts", stat.S_IFLNK | 0o777)
    repack(sound, place / "x.zip", (link, b"../../../a"), (entry(f"runs/{RUN}/artifacts/kept"), b"evil"))
    refused(place, "is a link, a device or the like")


def test_what_is_there_twice_is_refused(sound, place):
    repack(sound, place / "x.zip", (entry(f"runs/{RUN}/events.jsonl"), b""))
    refused(place, "twice")
    for name in (LOGS, f"{LOGS}/a.1.log/x"):
        repack(sound, place / "x.zip", (entry(name), b""))
        refused(place, "is there twice")


def test_directories_as_other_programs_write_them_change_nothing(sound, place):
    directories = [(entry(f"{name}/", stat.S_IFDIR | 0o755), b"") for name in ("runs", f"runs/{RUN}", LOGS)]
    repack(sound, place / "x.zip", *directories)
    done = show(place)
    assert (done.code, done.stderr) == (0, "")


def test_names_up_to_the_limits_are_accepted(sound, place):
    names = [f"{LOGS}/{'x' * 255}", f"{LOGS}/{'é' * 127}", f"runs/{RUN}/artifacts/{'d/' * 51}x"]
    names += [f"{LOGS}/{name}" for name in ("...", "..x", ".x", "x.", "line\nfeed", " ")]
    repack(sound, place / "x.zip", *((entry(name), b"fine") for name in names))
    done = show(place)
    assert (done.code, done.stderr) == (0, "")


PARTS = ["runs", RUN, "logs", "news", "events.jsonl", "x", "é", "..x", "x" * 255, "é" * 128]
FLAWED = ["", ".", "..", "x\\y", "x\0", "x" * 256, "é" * 129]


@given(
    begin=st.sampled_from(["runs", f"runs/{RUN}", LOGS, f"runs/{RUN}/artifacts/{'d/' * 49}d"]),
    parts=st.lists(st.one_of(st.sampled_from(PARTS), st.sampled_from(PARTS + FLAWED)), max_size=4),
    end=st.sampled_from(["", "", "/"]),
)
def test_a_name_is_accepted_if_all_its_parts_are(bench, begin, parts, end):
    name = "/".join([begin, *parts]) + end
    parts = name.removesuffix("/").split("/")
    of_run = parts[1:2] in ([], [RUN]) and (len(parts) > 2 or name.endswith("/"))
    flaws = [part for part in parts if part in FLAWED or len(part.encode()) > 255]
    (bench / "x.zip").write_bytes(list_of([name.encode()], flags=1 << 11))
    with pytest.raises(UsageError) as refusal:
        packed_run.packed_runs(str(bench / "x.zip"))
    packed_run.remove_unpacked()
    assert (" in it " not in str(refusal.value)) == (of_run and not flaws and len(parts) <= 55)


def test_what_another_version_may_pack_is_left_out(sound, place):
    repack(sound, place / "x.zip", (entry(f"runs/{RUN}/news.txt"), b"news"))
    assert show(place).code == 0


# ---- sizes


def test_a_bomb_is_refused(sound, place):
    repack(sound, place / "x.zip", (entry(f"{LOGS}/b.1.log"), bytes(200 << 20)))
    refused(place, "times its size (limit: 100)")


def test_a_bomb_of_many_files_is_refused(sound, place):
    files = [(entry(f"{LOGS}/b.{number}.log"), bytes(10 << 20)) for number in range(10)]
    repack(sound, place / "x.zip", *files)
    refused(place, "times its size (limit: 100)")


@pytest.mark.parametrize("places", ["list", "both"])
def test_a_bomb_that_lies_about_its_size_is_refused(sound, place, places):
    size = 200 << 20
    repack(sound, place / "x.zip", (entry(f"{LOGS}/b.1.log"), bytes(size)))
    data = (place / "x.zip").read_bytes()
    said, lie = struct.pack("<L", size), struct.pack("<L", 100)
    assert data.count(said) == 2
    at = data.rfind(said)
    data = data.replace(said, lie) if places == "both" else data[:at] + lie + data[at + 4 :]
    (place / "x.zip").write_bytes(data)
    refused(place, "it is damaged")


def test_a_file_that_says_to_be_larger_than_it_is_is_refused(sound, place):
    repack(sound, place / "x.zip", (entry(f"{LOGS}/b.1.log"), b"x" * 12345))
    data = (place / "x.zip").read_bytes()
    (place / "x.zip").write_bytes(data.replace(struct.pack("<L", 12345), struct.pack("<L", 23456)))
    refused(place, "it is damaged")


def test_terabytes_in_a_list_are_refused(sound, place):
    repack(sound, place / "x.zip", *((entry(f"{LOGS}/b.{n}.log"), b"x" * 12345) for n in range(1000)))
    data = (place / "x.zip").read_bytes()
    (place / "x.zip").write_bytes(data.replace(struct.pack("<L", 12345), struct.pack("<L", 0xFFFFFFF0)))
    refused(place, "bytes (limit: 2,147,483,648)")


def list_of(names, count=None, flags=0):
    """A zip file that has only a list of files, all at its beginning, and says that they are `count`."""
    count = len(names) if count is None else count
    head = b"PK\1\2" + bytes([20, 3, 20, 0]) + struct.pack("<H", flags) + bytes(18)
    listed = b"".join(head + struct.pack("<5H2L", len(name), 0, 0, 0, 0, 0, 0) + name for name in names)
    return listed + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listed), 0, 0)


@pytest.mark.parametrize(("number", "count"), [(100_000, 100_000 & 0xFFFF), (180_000, 8), (300_000, 65_535)])
def test_a_list_of_too_many_files_is_refused_unread(place, number, count):
    (place / "x.zip").write_bytes(list_of([b"x"] * number, count))
    refused(place, "it has more files than 65,535")


@pytest.mark.parametrize(
    "last", [b"../evil", f"{LOGS}/..".encode(), f"{LOGS}/x\\y".encode(), f"{LOGS}/1".encode()]
)
def test_of_as_many_files_as_there_may_be_the_last_is_checked_in_time(place, last):
    names = [f"{LOGS}/{number}".encode() for number in range(packed_run.MAX_FILES - 1)]
    (place / "x.zip").write_bytes(list_of([*names, last]))
    refused(place, "twice" if last in names else "in it leads out" if b".." in last else "has a backslash")


# How many names, and what they are.
LISTS = {
    "directories": (packed_run.MAX_FILES - 1, f"{LOGS}/{{}}/"),
    "each in a directory": (packed_run.MAX_FILES - 1, f"{LOGS}/{{}}/x"),
    "of another version": (packed_run.MAX_FILES - 1, f"runs/{RUN}/news/{{}}"),
    # A string with one such character takes four bytes for each of the others, too.
    "long": (28_000, f"{LOGS}/\U0001f600{'x' * 240}/{{:0240}}"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_other_lists_as_long_as_they_may_be_are_checked_in_time(place, kind):
    number, form = LISTS[kind]
    names = [form.format(one).encode() for one in range(number)]
    (place / "x.zip").write_bytes(list_of([*names, b"../evil"], flags=1 << 11))
    refused(place, "leads out of it")


def test_a_list_of_more_files_than_it_says_is_refused(place):
    (place / "x.zip").write_bytes(list_of([f"{LOGS}/{number}".encode() for number in range(1000)], 999))
    refused(place, "it is damaged")


def test_the_extensions_for_large_files_are_not_read(sound, place):
    data = sound.read_bytes()
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    (place / "x.zip").write_bytes(data[:-22] + locator + data[-22:])
    refused(place, "it has more files than 65,535")


def test_files_at_one_place_are_refused(sound, place):
    """Overlapping files: a few kilobytes that unpack to as much as one likes."""
    (place / "x.zip").write_bytes(list_of([f"{LOGS}/{number}".encode() for number in range(10_000)]))
    refused(place, "it is damaged")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(sound, place, method):
    info = entry(f"{LOGS}/b.1.log")
    info.compress_type = method
    repack(sound, place / "x.zip", (info, b"x"))
    refused(place, "is compressed as no file of mprun is")


def test_what_is_encrypted_is_refused(sound, place):
    data = bytearray(sound.read_bytes())
    at = data.rfind(b"PK\1\2")
    data[at + 8] |= 1
    (place / "x.zip").write_bytes(data)
    refused(place, "is encrypted")


# ---- what is torn


def test_a_torn_record_is_shown_in_part(sound, place):
    def tear(name, data):
        return data[: len(data) * 2 // 3] if name.endswith("events.jsonl") else data

    repack(sound, place / "x.zip", change=tear)
    done = show(place)
    assert done.code == 0
    assert f"warning: x.zip/runs/{RUN}/events.jsonl: line 4 is torn, left out\n" in done.stderr
    assert "interrupted: mprun itself was killed" in done.stdout
    assert show(place, "logs", "x.zip", "a").stdout == "heard\n" * 100


def test_a_record_without_its_logs_is_shown(sound, place):
    repack(sound, place / "x.zip", change=lambda name, data: data if name.endswith("events.jsonl") else None)
    assert show(place).code == 0
    assert show(place, "logs", "x.zip", "a").code in (0, 2)


def test_without_a_record_it_is_refused(sound, place):
    repack(sound, place / "x.zip", change=lambda name, data: None if name.endswith("events.jsonl") else data)
    refused(place, "it has no events.jsonl")


def test_a_part_of_a_file_is_refused(sound, place):
    data = sound.read_bytes()
    for part in (b"", data[:20], data[: len(data) // 2], data[:-1], data[100:], b"no zip file" * 10):
        (place / "x.zip").write_bytes(part)
        done = show(place)
        assert done.code == 2
        assert "; pack it, or download it, again" in done.stderr


def test_what_is_not_a_file_is_not_waited_for(place):
    os.mkfifo(place / "x.zip")
    done = show(place)
    assert done.code == 2
    assert "packed run `x.zip` is a FIFO" in done.stderr
    done = show(place, "show", "nothing.zip")
    assert done.code == 2
    assert "packed run `nothing.zip` not found; name a file of `mprun pack`" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["show", "tree", "logs", "report", "export", "compare", "merge", "resume", "pack", "result"],
)
def test_every_command_refuses_it(sound, place, command):
    repack(sound, place / "x.zip", (entry("../evil"), b"evil"))
    more = {
        "export": ("--junit", "-"),
        "result": ("a", "--run", "x.zip"),
        "compare": ("x.zip",),
        "report": ("-o", "-"),
        "pack": ("-o", "y.zip"),
    }.get(command, ())
    arguments = (command, *more) if command == "result" else (command, "x.zip", *more)
    refused(place, "leads out of it (`..`)", *arguments)


# ---- mutations


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_mutated_file_is_read_or_refused_and_leaves_nothing(sound, bench, data):
    original = sound.read_bytes()
    mutated = bytearray(original)
    start = original.find(b"PK\1\2")
    for _ in range(data.draw(st.integers(1, 4))):
        # Most bytes are compressed; those of the list say more.
        last = len(mutated) - 1
        at = data.draw(st.one_of(st.integers(0, last), st.integers(min(start, last), last)))
        how = data.draw(st.sampled_from(["replace", "insert", "remove", "repeat"]))
        new = data.draw(
            st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\xff\xff", b"../", b"\0"]))
        )
        if how == "replace":
            mutated[at : at + len(new)] = new
        elif how == "insert":
            mutated[at:at] = new
        elif how == "remove":
            del mutated[at : at + data.draw(st.integers(1, 100))]
        else:
            mutated[at:at] = mutated[at : at + data.draw(st.integers(1, 200))]
        if not mutated:
            break
    path = bench / "x.zip"
    path.write_bytes(mutated)
    problem = ""
    try:
        for directory in packed_run.packed_runs(str(path)):
            below = names_below(next((bench / "tmp").iterdir()))
            assert all(name == "runs" or name.startswith("runs/") for name in below)
            read_state(directory)
    except MprunError as error:
        problem = str(error)
    finally:
        packed_run.remove_unpacked()
    assert not problem or "x.zip" in problem
    assert names_below(bench) == ["tmp", "x.zip"]
