"""How the benchmarks compute and show their figures, and that they run without some peers."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks import __main__ as program
from benchmarks import (
    comparison,
    measuring,
    output_rows,
    peers,
    picture,
    results_file,
    table,
    task_rows,
    watching,
)
from benchmarks import place as measuring_place
from benchmarks.figures import Goal, figure, judge, ratio
from benchmarks.measuring import interleave
from benchmarks.place import ROOT, Failed, Place
from benchmarks.row import QUICK, Row, measure
from benchmarks.rows import ROWS

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("place"))


def sides(**values):
    """Sides with these values, one for each round."""
    left = {name: iter(of) for name, of in values.items()}
    return {name: (lambda name=name: {name: next(left[name])}) for name in values}


def results(**values):
    """The results of two rows, in the form that the picture and the table read."""
    fast = Goal(text="twice as fast", ours="mprun", against=("loop",), least=2)
    row = {"title": "no-op <tasks>", "unit": "ms", "bases": ("mprun",), "goals": (fast,)}
    measured = [
        measure(Row(name=name, sides=sides(**values), warm_up=False, **row), 2)
        for name in ("start-up", "tasks")
    ]
    return {
        "machine": {"processor": 'A "fast" <one>'},
        "load": 3.25,
        "rounds": 2,
        "peers": [],
        "rows": measured,
    }


def test_ratio_is_the_median_of_the_rounds_and_not_that_of_the_medians():
    # The second round was ten times as slow, for both.
    assert ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0
    assert ratio([], []) is None


def test_figure_has_median_spread_and_a_ratio_for_each_base_that_is_there():
    measured = {"mprun": [2.0, 4.0, 3.0], "loop": [1.0, 2.0, 2.0]}
    line = figure("mprun", "ms", "", ("loop", "missing"), measured)
    assert (line["median"], line["low"], line["high"], line["ratios"]) == (3.0, 2.0, 4.0, {"loop": 2.0})


@pytest.mark.parametrize(
    ("bounds", "reached", "met"),
    [
        ({"most": 4}, 4.0, True),
        ({"most": 3.9}, 4.0, False),
        ({"most": 1.0, "against": ("slow", "fast")}, 2.0, False),
        ({"least": 0.5, "against": ("slow", "fast")}, 0.5, True),
        ({"least": 1, "against": ("slow", "fast")}, 0.5, False),
        ({"least": 1, "against": ("slow", "missing")}, 2.0, True),
        ({"least": 1, "against": ("missing",)}, None, None),
        ({"most": 1, "ours": "missing"}, None, None),
    ],
)
def test_the_verdict_is_that_of_the_closest_peer_that_was_measured(bounds, reached, met):
    measured = {"mprun": [4.0], "slow": [8.0], "fast": [2.0]}
    verdict = judge(Goal(text="…", **bounds), measured)
    assert (verdict["figure"], verdict["met"]) == (reached, met)


def test_rounds_are_interleaved_each_in_its_own_order_and_the_first_warms_up():
    order = []

    def side(name):
        return lambda: order.append(name) or {name: float(len(order))}

    measured, gaps = interleave({name: side(name) for name in "abcd"}, rounds=3, warm_up=True)
    rounds = ["".join(order[place : place + 4]) for place in range(0, 16, 4)]
    assert len(order) == 16
    assert ["".join(sorted(names)) for names in rounds] == ["abcd"] * 4
    assert (rounds[1], rounds[3]) == (rounds[0][::-1], rounds[2][::-1])
    assert rounds[2] not in rounds[:2]
    assert measured["a"] == [4.0 * place + rounds[place].index("a") + 1 for place in (1, 2, 3)]
    assert (list(measured), gaps) == (list("abcd"), {})


def test_a_side_that_fails_is_a_gap_and_the_others_continue():
    tried = []

    def fail():
        tried.append(1)
        if len(tried) == 2:
            raise Failed("exit code 3: it burns")
        return {"b": 1.0}

    measured, gaps = interleave({"b": fail, **sides(a=[1.0, 2.0, 3.0])}, rounds=3, warm_up=False)
    assert (measured, gaps) == ({"a": [1.0, 2.0, 3.0]}, {"b": "exit code 3: it burns"})
    assert len(tried) == 2


@pytest.mark.parametrize(("count", "asked"), [(1_000, [1_000]), (11, [11, 1])])
def test_the_cost_of_a_slow_peer_is_extrapolated_to_all_tasks(monkeypatch, count, asked):
    counts = []

    def seconds(command, place):
        counts.append(command)
        return 0.5 + 0.002 * command

    monkeypatch.setattr(task_rows, "seconds", seconds)
    peer = peers.Peer(name="p", kind=peers.Kind.TOOL, commands={peers.Work.MANY: lambda place, count: count})
    assert task_rows.cost(peer, peers.Work.MANY, None, 1_000, count)() == {"p": pytest.approx(2.5)}
    assert counts == asked


def test_a_command_that_fails_is_reported_with_its_exit(place):
    with pytest.raises(Failed, match="exit code 3: twice"):
        measuring.seconds(
            [sys.executable, "-c", "import sys; print('twice', file=sys.stderr); sys.exit(3)"], place
        )
    with pytest.raises(Failed, match="No such file"):
        measuring.seconds(["/nowhere/at-all"], place)


def test_the_end_of_a_command_is_waited_for_without_polling(place, monkeypatch):
    timeouts = []
    wait = subprocess.Popen.wait
    monkeypatch.setattr(
        subprocess.Popen, "wait", lambda self, timeout=None: timeouts.append(timeout) or wait(self, timeout)
    )
    assert measuring.seconds([sys.executable, "-c", "pass"], place) > 0
    assert timeouts == [None]


def test_command_that_hangs_is_killed(place, monkeypatch):
    monkeypatch.setattr(measuring, "TIMEOUT", 0.1)
    with pytest.raises(Failed, match="exit code -9"):
        measuring.seconds([sys.executable, "-c", "import time; time.sleep(50)"], place)


def test_the_launcher_may_end_before_the_run_that_is_watched():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert watching.cpu(process.pid) == 0
    assert watching.cpu(os.getpid()) > 0


def test_the_directory_is_cleaned_after_a_run(place):
    place.write("kept.yaml", "tasks: []\n")
    (place.path / "left").mkdir()
    (place.path / "left" / "file").write_text("")
    place.tidy()
    assert (place.path / "kept.yaml").exists()
    assert (place.path / "noop.py").exists()
    assert list((place.path / "__pycache__").glob("noop.*.pyc"))
    assert not (place.path / "left").exists()


def test_every_side_has_the_same_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MPRUN_STATE_DIR", "elsewhere")
    found = Place(tmp_path).environment
    assert not {"PYTHONDONTWRITEBYTECODE", "MPRUN_STATE_DIR"} & set(found)
    assert found.get("PYTHONPATH") in (None, str(ROOT))


@pytest.mark.parametrize("name", ROWS)
def test_each_row_has_sides_to_compare(name, place):
    row = ROWS[name](place, QUICK)
    assert row.name == name
    assert row.goals
    own = {figure for goal in row.goals for figure in (goal.ours, *goal.against)} - set(row.units)
    if name not in ("memory", "long", "foreach"):
        assert own - {"time"} <= set(row.sides)


def test_a_missing_peer_has_no_version(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    peers.version_of_program.cache_clear()
    assert peers.version_of_program("make") is None
    assert peers.version_of_package("no-such-distribution") is None
    peers.version_of_program.cache_clear()


def test_only_existing_rows_can_be_selected():
    assert program.names("plan,start-up") == ["start-up", "plan"]
    with pytest.raises(argparse.ArgumentTypeError, match="no row 'startup'"):
        program.names("startup")


def test_the_table_names_unmet_goals_and_missing_peers():
    found = results(mprun=[1.0, 2.0], loop=[1.5, 3.0])
    found["rows"][1]["gaps"] = [{"name": "make", "why": "not here"}]
    text = "\n".join(table.lines(found))
    assert re.search(r"^  mprun +1\.50 ms +1\.00   1\.00 to 2\.00$", text, re.MULTILINE)
    assert re.search(r"^  make +– not here$", text, re.MULTILINE)
    assert "NOT MET:      twice as fast: 1.50 (beside loop)" in text
    assert "0 of 2 goals met" in text
    assert "warning: load 3.2: the machine has other work to do" in text
    assert "warning" not in "\n".join(table.head({}, load=0.3))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123, "0.12"), (9.876, "9.88"), (12.34, "12.3"), (1234.5, "1,234"), (-20.1, "-20.1")],
)
def test_number_has_the_digits_that_count(value, text):
    assert table.number(value) == text


def test_picture_is_well_formed_and_longer_bars_are_of_larger_figures():
    root = ElementTree.fromstring(picture.draw(results(mprun=[1.0, 1.0], loop=[1.5, 3.0], slow=[40.0, 70.0])))
    assert root.tag == f"{SVG}svg"
    bars = [bar for bar in root.iter(f"{SVG}rect") if "bar" in bar.get("class", "")][:-1]
    widths = [float(bar.get("width")) for bar in bars]
    assert len(widths) == 6
    assert widths[:3] == sorted(widths[:3])
    assert widths[3:] == sorted(widths[3:])
    assert [bar.get("class") for bar in bars].count("ours bar") == 2
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert 'A "fast" <one>' in words[-1]
    edges = [float(text.get("x")) for text in root.iter(f"{SVG}text")]
    assert min(edges) > 0
    assert max(edges) < picture.WIDTH


@pytest.mark.parametrize("values", [{}, {"loop": [1.0, 2.0]}, {"mprun": [1.0, 1.0]}])
def test_a_picture_is_drawn_of_incomplete_results(values):
    ElementTree.fromstring(picture.draw(results(**values)))


def test_long_names_have_room_in_the_picture():
    longest = max(len(picture.plain(peer.name)) for peer in peers.PEERS)
    # The font is 13 pixels high; DejaVu is the widest of those in the list.
    assert longest * 7.4 < picture.LEFT - 10


def test_the_flood_of_commands_is_beside_pipes_into_cat_net_of_the_start(monkeypatch, place):
    flood = {("mprun", "yes"): 2.0, ("cat", "yes"): 1.0, ("mprun", "head"): 1.0, ("cat", "head"): 1.0}

    def command(program, write):
        return lambda size: [program, write.split()[0], size]

    def seconds(command, place):
        program, write, size = command
        return {"mprun": 5.0, "cat": 0.5}[program] + (size > 1) * flood[program, write]

    monkeypatch.setattr(output_rows, "commands_of", lambda place, write: command("mprun", write))
    monkeypatch.setattr(output_rows, "into_cat", lambda write: command("cat", write))
    monkeypatch.setattr(output_rows, "seconds", seconds)
    verdicts = measure(ROWS["command-flood"](place, QUICK), 2)["goals"]
    assert [(one["against"], one["figure"], one["met"]) for one in verdicts] == [
        ("`cat`, text", 0.5, False),
        ("`cat`, zeros", 1.0, True),
    ]


def quick(tmp_path, only, *options, **variables):
    """The results of these rows with few tasks, and what was printed."""
    found = tmp_path / "found.json"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", only, "--json", found, *options],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    return json.loads(found.read_text("utf-8")), run.stdout


@pytest.mark.timeout(240)
# Their verdicts are not looked at: net of the start, a small run may take less than nothing.
@pytest.mark.parametrize("name", ["foreach", "long", "commands", "command-flood", "pythons", "shapes"])
def test_the_programs_of_a_row_run(name, tmp_path):
    found, _ = quick(tmp_path, name)
    (row,) = found["rows"]
    assert row["figures"]
    assert {gap["why"] for gap in row["gaps"]} <= {"not here"}
    assert row["taken"] > 0


@pytest.mark.timeout(240)
@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs distributed")
def test_the_programs_of_the_rows_over_hosts_run(tmp_path):
    found, _ = quick(tmp_path, "hosts,hosts-memory")
    assert [(bool(row["figures"]), row["gaps"]) for row in found["rows"]] == [(True, [])] * 2


def test_each_python_with_an_environment_is_measured_beside_the_script_on_it(tmp_path, monkeypatch):
    """`tools/bench-env` makes the environments."""
    python = tmp_path / ".venv-bench-3.9" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setattr(measuring_place, "ROOT", tmp_path)
    here = Place(tmp_path)
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert here.pythons() == {"3.9": str(python), own: sys.executable}
    row = ROWS["pythons"](here, QUICK)
    assert list(row.sides) == [
        f"{side}, {version}" for version in ("3.9", own) for side in (peers.OURS, peers.SCRIPT)
    ]
    assert [(goal.ours, goal.against) for goal in row.goals] == [
        (f"{peers.OURS}, {version}", (f"{peers.SCRIPT}, {version}",)) for version in ("3.9", own)
    ]


@pytest.mark.timeout(240)
def test_quick_benchmark_runs_without_any_tool(tmp_path):
    """One row of every kind: commands, a plan, a flood, memory, tasks that sleep, a terminal, and readers."""
    kinds = "start-up,chain,plan,readers,live-view,flood,idle,memory"
    found, _ = quick(tmp_path, kinds, "--svg", tmp_path / "found.svg", PATH="/nowhere")
    assert [row["name"] for row in found["rows"]] == kinds.split(",")
    assert all(row["figures"] for row in found["rows"])
    start = found["rows"][0]
    gaps = {gap["name"] for gap in start["gaps"] if gap["why"] == "not here"}
    assert {"make -j2, starts Python", "GNU parallel, starts Python"} <= gaps
    assert start["figures"][0]["name"] == "mprun"
    assert start["figures"][0]["ratios"].keys() == {peers.SCRIPT, peers.NOTHING}
    assert all(verdict["met"] is not None for row in found["rows"][1:] for verdict in row["goals"])
    ElementTree.parse(tmp_path / "found.svg")
    assert not list(tmp_path.glob("**/.mprun"))


def compared(before, after):
    """The lines of a comparison, without repeated spaces."""
    return [" ".join(line.split()) for line in comparison.lines(before, after)]


def test_a_figure_has_moved_if_its_rounds_have_nothing_in_common_with_the_earlier_ones():
    before = results(mprun=[1.0, 1.0], loop=[2.0, 2.2])
    assert compared(before, results(mprun=[3.0, 3.0], loop=[6.6, 6.0]))[-1] == (
        "0 of 2 figures have moved beyond the spread of their rounds"
    )
    slower = compared(before, results(mprun=[1.0, 1.0], loop=[2.3, 2.5]))
    assert "start-up loop × mprun 2.10 (2.00 to 2.20) 2.40 (2.30 to 2.50) 1.14 ×" in slower
    assert "tasks loop × mprun 2.10 (2.00 to 2.20) 2.40 (2.30 to 2.50) 1.14 ×" in slower
    faster = compared(before, results(mprun=[1.0, 1.0], loop=[1.5, 1.7]))
    assert "tasks loop × mprun 2.10 (2.00 to 2.20) 1.60 (1.50 to 1.70) 0.76 ×" in faster
    assert "NO LONGER MET: tasks: twice as fast" in faster
    assert "now met: tasks: twice as fast" in compared(results(mprun=[1.0, 1.0], loop=[1.5, 1.7]), before)


def test_the_spread_of_many_rounds_leaves_out_a_tenth_at_each_end():
    values = [2.0, 9.0, *(1.0 + number / 100 for number in range(10)), 0.1]
    assert comparison.spread(values[1:]) == comparison.Spread(1.045, 1.0, 1.09, 12)
    assert comparison.spread([1.0, 9.0]).high == 9.0


def test_what_cannot_be_compared_is_said():
    before = results(mprun=[1.0, 1.0], loop=[2.0, 2.0])
    after = results(mprun=[1.0, 1.0], loop=[9.0, 9.0], make=[1.0, 1.0])
    for row in before["rows"]:
        for line in row["figures"]:
            del line["values"][1]
    after["machine"] = {"processor": "slow"}
    after["load"] = 0.1
    del after["rows"][0]
    text = compared(before, after)
    assert 'warning: another processor: A "fast" <one> earlier, slow now' in text
    assert "warning: the machine had other work to do earlier: load 3.2" in text
    assert "not judged, because one round has no spread: 1" in text
    assert "measured only earlier: 1 figures of start-up" in text
    assert "measured only now: 1 figures of tasks" in text


def test_results_are_compared_with_those_of_an_earlier_version():
    """The file in the repository may be older than the code: nothing has moved beside itself."""
    found = results_file.read(ROOT / "benchmarks" / "results.json")
    assert comparison.spreads(found)
    assert not [
        line for line in comparison.lines(found, found) if "have moved" in line and " 0 of" not in line
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot read {}: No such file or directory"),
        ("tasks: []", "{} is not JSON"),
        ("[]", "{} has no results of these benchmarks: list in place of an object"),
        ('{"load": 1, "machine": {}}', "{} has no results of these benchmarks: no `peers`"),
        (
            '{"load": 1, "machine": {}, "peers": [], "rounds": 1, "rows": {}}',
            "{} has no results of these benchmarks: no list of `rows`",
        ),
        (
            '{"load": 1, "machine": {}, "peers": [], "rounds": 1, "rows": [{}]}',
            "{} has no results of these benchmarks: no `bases`",
        ),
    ],
)
@pytest.mark.parametrize("option", ["--compare", "--read"])
def test_a_file_without_results_is_refused_before_anything_is_measured(
    option, text, why, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(sys, "argv", ["benchmarks", option, str(path)])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith(f"argument {option}: {why.format(path)}; {results_file.REMEDY}")
