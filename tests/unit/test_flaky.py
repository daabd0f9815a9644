"""Which tasks are flaky, by how they ended in many runs."""

import json
import os

import pytest
from support.records import FINISHED, STARTED, record
from support.timing import quick

from mprun.errors import UnreadableRecord
from mprun.record.flaky import RunEnds, TaskEnd, flaky_tasks, read_ends
from mprun.record.retried import is_flaky
from mprun.record.run_list import list_runs


def ends(run, inputs="same", file="/job.yaml", **tasks):
    made = {"ok": {"failed": False}, "failed": {"failed": True}, "retried": {"failed": False, "flaky": True}}
    return RunEnds(
        run=run,
        job="job",
        file=file,
        inputs=inputs,
        ends=tuple(TaskEnd(task=name, **made[how]) for name, how in tasks.items()),
    )


def found(*runs):
    return {one.task: (one.runs, one.failures, one.flaky) for one in flaky_tasks(runs)}


def test_a_task_is_flaky_if_it_ended_in_different_ways_or_was_retried():
    runs = [
        ends("3", both="ok", retry="ok", good="ok", bad="failed"),
        ends("2", both="failed", retry="retried", good="ok", bad="failed"),
        ends("1", both="ok", retry="ok", good="ok", bad="failed"),
    ]
    assert found(*runs) == {"both": (3, 1, 0), "retry": (3, 0, 1)}
    first = flaky_tasks(runs)[0]
    assert (first.failed_runs or first.flaky_runs) == ("2",)


def test_other_files_or_params_explain_another_end():
    assert found(ends("2", a="ok"), ends("1", inputs="others", a="failed")) == {}
    assert found(ends("2", a="ok"), ends("1", file="/other.yaml", a="failed")) == {}
    # Only the runs with the inputs with which it is flaky count.
    runs = [ends("4", a="ok"), ends("3", a="failed"), ends("2", "others", a="failed"), ends("1", "x", a="ok")]
    assert found(*runs) == {"a": (2, 1, 0)}


def test_those_that_are_flaky_most_often_come_first():
    runs = [
        ends(str(run), a="ok", b="failed" if run % 2 else "ok", c="failed" if run == 1 else "ok")
        for run in range(9)
    ]
    assert [one.task for one in flaky_tasks(reversed(runs))] == ["b", "c"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"outcome": "succeeded", "attempts": 1}, False),
        ({"outcome": "succeeded", "attempts": 2}, True),
        ({"outcome": "succeeded", "attempts": 2, "flaky": False}, False),
        ({"outcome": "succeeded", "attempts": 1, "flaky": True}, True),
        ({"outcome": "failed", "attempts": 2}, False),
        ({"outcome": "succeeded", "attempts": "2"}, False),
        ({}, False),
    ],
)
def test_what_flaky_means_for_one_run(facts, expected):
    assert is_flaky(facts) is expected


def read_record(tmp_path, *events, first=STARTED):
    record(tmp_path, [first, *events])
    (directory,) = list_runs(str(tmp_path / ".mprun"))
    return read_ends(directory)


def test_ends_are_read_from_a_record(tmp_path):
    read = read_record(
        tmp_path,
        {**FINISHED, "task": 'a"\n€', "outcome": "succeeded"},
        {**FINISHED, "task": "b", "outcome": "timed-out", "reason": "timeout"},
        {**FINISHED, "task": "c", "attempts": 3},
        {**FINISHED, "task": "d", "reused": True},
        {**FINISHED, "task": "e", "outcome": "skipped"},
        {**FINISHED, "task": "f", "outcome": "unknown"},
        {**FINISHED, "task": ["g"]},
        {"event": "task_started", "task": '"task_finished"'},
        json.dumps({**FINISHED, "task": "h@3"}, separators=(",", ":")),
        '{"event":"task_finished","task":"torn"',
    )
    assert [(end.task, end.failed, end.flaky) for end in read.ends] == [
        ('a"\n€', False, False),
        ("b", True, False),
        ("c", False, True),
        ("h@3", False, False),
    ]


@pytest.mark.parametrize(
    "line",
    [
        '{"event":"task_found","time":"","run":"","task":"a","outcome":"succeeded","attempts":1,"reason":"",'
        '"more":["task_finished"]}\n',
        '{"event":"task_finished","time":"","run":"","task":"a","outcome":"succeeded","attempts":1,"reason":"",',
        '{"event":"task_finished","time":"","run":"","task":"a","outcome":"succeeded","attempts":1,"reason":"",x\n',
    ],
)
def test_a_line_that_only_looks_like_an_end_is_none(tmp_path, line):
    record(tmp_path, [STARTED])
    (directory,) = list_runs(str(tmp_path / ".mprun"))
    with open(directory.events, "a") as file:
        file.write(line)
    assert read_ends(directory).ends == ()


def test_copies_of_a_repeated_task_count_for_the_task(tmp_path):
    first = {**STARTED, "options": {"seed": 1, "repeat": 3}}
    read = read_record(tmp_path, {**FINISHED, "task": "h@3"}, {**FINISHED, "task": "h@1"}, first=first)
    assert [end.task for end in read.ends] == ["h", "h"]


def test_inputs_are_files_and_params(tmp_path):
    inputs = set()
    for number, more in enumerate(
        ({}, {"pid": 5}, {"params": {"a": 1}}, {"files": [{"path": "x", "sha256": "1"}]})
    ):
        place = tmp_path / str(number)
        place.mkdir()
        inputs.add(read_record(place, FINISHED, first={**STARTED, **more}).inputs)
    assert len(inputs) == 3


def test_a_record_without_its_beginning_or_of_a_newer_mprun_is_not_read(tmp_path):
    for name in ("torn", "newer"):
        (tmp_path / name).mkdir()
    other = tmp_path / "newer"
    assert read_record(tmp_path / "torn", first=FINISHED) is None
    with pytest.raises(UnreadableRecord, match="newer mprun"):
        read_record(other, first={**STARTED, "format": 99})


def test_2000_records_are_read_in_time(tmp_path):
    lines = [{**FINISHED, "task": f"task{n}", "result": list(range(20))} for n in range(20)]
    lines[3] |= {"outcome": "failed", "reason": "exit 1"}
    text = "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in (STARTED, *lines))
    runs = tmp_path / ".mprun" / "runs"
    for number in range(2000):
        place = runs / f"20260101-{number:06}.000-abcd"
        place.mkdir(parents=True)
        (place / "events.jsonl").write_text(text)
    for place in (runs.parent, runs):
        os.chmod(place, 0o700)
    # 0.5 s on an idle machine.
    with quick(3):
        read = [read_ends(directory) for directory in list_runs(str(tmp_path / ".mprun"))]
        assert flaky_tasks(read) == []
    assert len(read) == 2000
