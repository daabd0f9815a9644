"""Events to lines and back; what is damaged is named and left out."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.errors import RecordError
from mprun.record import events, recorder
from mprun.record.recorder import Damage, Recorder, encode, line, read_lines, read_state
from mprun.record.state_dir import RunDirectory

STAMP = {"time": "2026-01-01T12:00:00Z", "run": "r"}
FINISHED = events.TaskFinished(
    **STAMP, task="a", outcome="succeeded", attempts=1, reason="", result={"x": [1]}
)
JOINED = events.TaskJoined(**STAMP, task="a", position=1, of=1)


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(str(tmp_path))


def write(directory, data):
    with open(directory.events, "wb") as file:
        file.write(data)


def test_an_event_is_one_line_with_its_kind_first():
    assert line(JOINED) == (
        '{"event":"task_joined","time":"2026-01-01T12:00:00Z","run":"r","task":"a","position":1,"of":1}\n'
    )


def test_what_is_appended_is_read_back(directory):
    recorder = Recorder(directory)
    recorder.append([JOINED])
    recorder.append([FINISHED, JOINED])
    recorder.close()
    assert [events.from_record(value) for value in read_lines(directory.events)] == [JOINED, FINISHED, JOINED]
    state, damage = read_state(directory)
    assert (damage, state.tasks["a"].finished) == ([], FINISHED)


# ---- what of a large run a sweep must know


def started(task, attempt=1, pid=100):
    facts = {"pid": pid, "ppid": 2, "start_ticks": 1, "host": "h", "daemon": False, "target": "m:f"}
    return events.TaskStarted(**STAMP, task=task, attempt=attempt, **facts)


def exited(task, attempt=1):
    facts = {"pid": 100, "exit_code": 0, "signal": None, "duration": 1.0, "cpu": 0.1, "max_rss": 1}
    return events.TaskExited(**STAMP, task=task, attempt=attempt, **facts, threads=1, error=None, orphans=())


def done(task, outcome="succeeded"):
    return FINISHED.replace(task=task, outcome=outcome)


NAMES = ["a", 'with "quotes"', "back\\slash", "ünï,code", "\ud800", 'x","outcome":"y']


def lines_of_a_killed_run():
    """Tasks that ended, tasks that run, a task of which the end was not seen, and lines that are none."""
    batch = [event for name in NAMES for event in (started(name), exited(name), done(name))]
    batch += [started("runs"), exited("runs"), started("runs", 2), started("lost"), done("lost", "unknown")]
    foreign = json.dumps({**done("foreign").to_record(), "event": "task_finished"}, indent=None)
    torn = line(done("torn"))[:-20]
    last = line(done("last").replace(time="2026-01-01T12:00:09Z"))
    return encode([*batch, started("torn"), started("foreign")]) + f"{torn}\n\n[]\n{foreign}\n{last}".encode()


def test_of_what_has_its_outcome_only_that_is_read_and_the_rest_whole(directory):
    write(directory, lines_of_a_killed_run())
    whole, _ = read_state(directory)
    seen = recorder.read_open(directory)
    assert seen.tasks.keys() == whole.tasks.keys()
    assert (seen.counts(), seen.time) == (whole.counts(), whole.time)
    for name, task in whole.tasks.items():
        assert seen.tasks[name].finished == task.finished
        attempts = [(found.started, found.exited) for found in seen.tasks[name].attempts]
        over = task.finished is not None and task.finished.outcome != "unknown" and name != "foreign"
        assert attempts == ([] if over else [(one.started, one.exited) for one in task.attempts])
    assert seen.tasks["torn"].finished is None
    assert len(seen.tasks["runs"].attempts) == 2


def test_most_lines_of_a_large_run_are_not_parsed(directory, monkeypatch):
    tasks = [f"t[{number}]" for number in range(100)]
    write(directory, encode([event for name in tasks for event in (started(name), exited(name), done(name))]))
    parsed = []
    parse = recorder._parse
    monkeypatch.setattr(recorder, "_parse", lambda data, *more: parsed.append(data) or parse(data, *more))
    assert recorder.read_open(directory).counts() == {"succeeded": 100}
    assert len(parsed) == 100


def test_a_batch_is_one_write(directory, monkeypatch):
    written = []
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda file, data: written.append(bytes(data)) or write_all(file, data))
    recorder = Recorder(directory)
    recorder.append([FINISHED, JOINED])
    recorder.close()
    assert written == [encode([FINISHED, JOINED])]


def test_a_short_write_is_continued_and_a_full_disk_is_an_error(directory, monkeypatch):
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write_all(file, data[:7]))
    recorder = Recorder(directory)
    recorder.append([JOINED])
    assert list(read_lines(directory.events)) == [JOINED.to_record()]

    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RecordError, match="the record cannot be written: No space left on device"):
        recorder.append([JOINED])
    recorder.close()


def test_what_could_not_be_written_goes_before_what_comes_next(directory, monkeypatch):
    write_all, room = os.write, [100]

    def write_some(file, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write_all(file, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_some)
    recorder = Recorder(directory)
    for _ in range(3):
        with pytest.raises(RecordError):
            recorder.append([FINISHED])
    room[0] = 10_000
    recorder.append([JOINED])
    recorder.append([JOINED])
    recorder.close()
    expected = [*[FINISHED.to_record()] * 3, *[JOINED.to_record()] * 2]
    assert [json.loads(json.dumps(one)) for one in read_lines(directory.events)] == json.loads(
        json.dumps(expected)
    )


@given(st.text(st.characters()))
def test_any_text_makes_one_line_that_is_read_back(text):
    data = encode([JOINED.replace(task=text)])
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert json.loads(data)["task"] == text


def test_a_torn_line_ends_the_reading(directory):
    write(directory, line(JOINED).encode() + b'{"event":"task_fin')
    first, second = read_lines(directory.events)
    assert first == JOINED.to_record()
    assert (type(second), str(second)) == (Damage, "line 2 is torn")


@pytest.mark.parametrize(
    "data", [b"x\n", b"\n", b"[]\n", b"null\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"\0\n"]
)
def test_a_line_that_is_no_object_is_named_and_the_next_one_read(data, directory):
    write(directory, data + line(FINISHED).encode())
    state, damage = read_state(directory)
    assert damage == ["line 1 is not a JSON object"]
    assert state.tasks["a"].finished == FINISHED


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcome": None}, "`outcome` is not str"),
        ({"task": ["a"]}, "`task` is not str"),
        ({"attempts": 1.5}, "`attempts` is not int"),
        ({"attempts": 2**64}, "`attempts` is not int"),
        ({"reused": 1}, "`reused` is not bool"),
        ({"time": 0}, "`time` is not str"),
    ],
)
def test_a_field_that_holds_what_it_cannot_hold_is_damage(change, said, directory):
    write(directory, json.dumps({**FINISHED.to_record(), **change}).encode() + b"\n")
    state, damage = read_state(directory)
    assert damage == [f"a task_finished event is not whole: {said}"]
    assert state.tasks == {}


def test_a_field_that_is_missing_is_damage():
    broken = FINISHED.to_record()
    del broken["outcome"]
    with pytest.raises(TypeError, match="TaskFinished needs the field `outcome`"):
        events.from_record(broken)


def test_newer_kinds_and_keys_are_passed_over():
    assert events.from_record({"event": "of_the_future", "anything": 1}) is None
    assert events.from_record({**JOINED.to_record(), "new": 1}) == JOINED


@pytest.mark.parametrize("value", [None, 5, ["task_joined"], {}])
def test_an_event_without_a_kind_is_damage(value):
    with pytest.raises(TypeError, match="`event` is not str"):
        events.from_record({"event": value})


@given(
    st.fixed_dictionaries(
        {"event": st.sampled_from(sorted(events.KINDS))},
        optional={
            name: st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                lambda inner: (
                    st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
                ),
                max_leaves=4,
            )
            for kind in events.KINDS.values()
            for name in kind._fields
        },
    )
)
def test_no_object_ends_the_reading_in_a_traceback(value):
    state, damage = recorder.RunState(), []
    recorder.apply(state, {"format": 2, **value, **({"format": 2} if "format" in value else {})}, damage)
    assert len(damage) <= 1
    json.dumps([task.to_json() for task in state.tasks.values()])


def test_a_newer_format_is_refused_by_name(directory):
    write(directory, b'{"event":"run_started","format":3}\n')
    with pytest.raises(RecordError, match="has the format 3, and this mprun reads up to 2: upgrade mprun"):
        read_state(directory)


def test_a_record_that_is_not_there_is_told(directory):
    with pytest.raises(RecordError, match=r"events\.jsonl cannot be read: No such file"):
        read_state(directory)


# ---- who writes it


def python(script, *arguments):
    """Start a Python of its own that says `ready`, and goes on until its input ends."""
    code = textwrap.dedent(script) + "\nprint('ready', flush=True)\nsys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


WRITER = """
    import sys
    from mprun.record.recorder import Recorder
    from mprun.record.state_dir import RunDirectory
    recorder = Recorder(RunDirectory(sys.argv[1]))
"""


def test_the_writer_of_a_record_is_known_as_long_as_it_lives(directory):
    assert recorder.writer(directory.events) is None
    process = python(WRITER, directory.path)
    # An open for reading is enough.
    os.chmod(directory.events, 0o400)
    assert recorder.writer(directory.events) == process.pid
    assert recorder.writer(directory.events) == process.pid
    process.kill()
    process.communicate()
    assert recorder.writer(directory.events) is None


def test_a_record_that_is_closed_has_no_writer(directory):
    writing = Recorder(directory)
    assert recorder.writer(directory.events) == os.getpid()
    writing.close()
    assert recorder.writer(directory.events) is None


def test_a_second_writer_is_refused(directory):
    process = python(WRITER, directory.path)
    with pytest.raises(RecordError, match="is being written by another process"):
        Recorder(directory)
    process.communicate()


def test_who_reads_a_record_that_is_its_own_goes_on_holding_it(directory):
    process = python(
        WRITER
        + """
    from mprun.record.recorder import read_state, writer
    import os
    assert writer(recorder_path := sys.argv[1] + "/events.jsonl") == os.getpid()
    read_state(RunDirectory(sys.argv[1]))
    """,
        directory.path,
    )
    assert recorder.writer(directory.events) == process.pid
    process.communicate()


def test_a_line_that_was_torn_is_ended_before_others_follow(directory):
    write(directory, encode([JOINED]) + encode([FINISHED])[:20])
    recorder = Recorder(directory)
    recorder.close_last_line()
    recorder.append([FINISHED])
    recorder.close_last_line()
    recorder.close()
    state, damage = read_state(directory)
    assert damage == ["line 2 is not a JSON object"]
    assert state.tasks["a"].finished == FINISHED


@pytest.mark.parametrize(
    "value", [None, True, 7, 10**20, 0.1, 1e300, 'ä"\n\x00', [1, {"a": None}], {"1": ()}]
)
def test_a_line_is_the_compact_json_of_its_event(value):
    event = FINISHED.replace(task="a%s", result=value)
    whole = json.dumps(event.to_record(), ensure_ascii=False, separators=(",", ":"))
    assert line(event) == whole + "\n"
