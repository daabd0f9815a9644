"""`mprun result`: what a task returned, as JSON (C35)."""

import json

import pytest
from support.runs import mprun, write

WORK = """
    import datetime

    def give(value):
        return value

    def large():
        return ["x" * 1000] * 100

    def date():
        return datetime.date(2020, 1, 1)

    def key():
        return {(1, 2): 3}

    def fail():
        raise ValueError("no")
    """
JOB = """
    tasks:
      - {name: small, target: 'work:give', args: [{"a": [1, null, "ü"]}]}
      - {name: none, target: 'work:give', args: [null]}
      - {name: large, target: 'work:large'}
      - {name: list, target: 'work:give', args: [[3, 1, 2]]}
      - {name: each, target: 'work:give', args: ['${item}'], foreach: '${tasks.list.result}'}
      - {name: fit, target: 'work:give', args: ['${matrix.n}'], matrix: {n: [b, a]}}
      - {name: date, target: 'work:date'}
      - {name: key, target: 'work:key'}
      - {name: bad, target: 'work:fail'}
      - {name: after, target: 'work:give', args: [1], depends_on: bad}
    """


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    path = tmp_path_factory.mktemp("desk")
    write(path, work=WORK, job=JOB)
    assert mprun("-q", "job.yaml", cwd=path).code == 1
    return path


@pytest.mark.parametrize(
    ("task", "value"),
    [
        ("small", {"a": [1, None, "ü"]}),
        ("none", None),
        ("large", ["x" * 1000] * 100),
        ("each", [3, 1, 2]),
        ("each[1]", 1),
        ("fit", ["b", "a"]),
    ],
)
def test_result_is_printed_whole(task, value, desk):
    shown = mprun("result", task, cwd=desk)
    assert (shown.code, shown.stderr) == (0, "")
    assert json.loads(shown.stdout) == value


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            "date",
            "task `date` returned a date, which is not JSON; "
            "only `datetime.date(2020, 1, 1)` was kept; return its `isoformat()` instead",
        ),
        ("key", "task `key` returned a dict with the key (1, 2), a tuple, which is not JSON; only "),
        ("bad", "task `bad` has no result: failed: exit 1 (ValueError: no)"),
        ("after", "task `after` has no result: skipped: `bad` did not succeed"),
        ("smal", "has no task `smal`; did you mean `small`?"),
    ],
)
def test_task_without_a_result_is_an_error(task, message, desk):
    shown = mprun("result", task, cwd=desk)
    assert (shown.code, shown.stdout) == (2, "")
    assert message in shown.stderr


def test_the_result_of_a_recipe_is_what_a_reference_to_it_gives(tmp_path):
    names = ["r", "r/inner", "r/inner/each", "m", "m[0]", "m[1]/inner", "empty", "x[n=1]", "r/*"]
    write(
        tmp_path,
        work=WORK,
        job="tasks:"
        "\n  - {name: r, uses: outer.yaml}"
        "\n  - {name: m, uses: outer.yaml, foreach: [a, b]}"
        "\n  - {name: x, uses: inner.yaml, matrix: {n: [1, 2]}}"
        "\n  - {name: empty, target: 'work:give', args: [1], foreach: '${tasks.r/none.result}'}"
        + "".join(
            f"\n  - {{name: see{n}, target: 'work:give', args: ['${{tasks.{name}.result}}']}}"
            for n, name in enumerate(names)
        ),
    )
    recipes = {
        "outer": "[{name: inner, uses: inner.yaml}, {name: none, target: 'work:give', args: [[]]}]",
        "inner": "[{name: list, target: 'work:give', args: [[3, 1]]}, {name: each, target: 'work:give',"
        " args: ['${item}'], foreach: '${tasks.list.result}'},"
        " {name: bad, target: 'work:fail', allow_failure: true}]",
    }
    for recipe, tasks in recipes.items():
        (tmp_path / f"{recipe}.yaml").write_text(f"tasks: {tasks}")
    assert mprun("-q", "job.yaml", cwd=tmp_path).code == 0
    for n, name in enumerate(names):
        shown = mprun("result", name, cwd=tmp_path)
        assert (shown.code, shown.stderr) == (0, ""), name
        assert shown.stdout == mprun("result", f"see{n}", cwd=tmp_path).stdout, name
    wrong = mprun("result", "r/inne", cwd=tmp_path)
    assert (wrong.code, wrong.stdout) == (2, "")
    assert "has no task `r/inne`; did you mean `r/inner`?" in wrong.stderr


def test_show_says_how_to_see_a_result_that_it_cuts(desk):
    shown = mprun("show", cwd=desk).stdout
    assert "(cut; `mprun result TASK` prints all of one)" not in shown
    write(desk, long="tasks: [{name: long, target: 'work:give', args: ['" + "y" * 100 + "']}]")
    (desk / "long.py").rename(desk / "long.yaml")
    assert mprun("-q", "long.yaml", "--state-dir", "other", cwd=desk).code == 0
    shown = mprun("show", "--state-dir", "other", cwd=desk).stdout
    assert "…\n  (cut; `mprun result TASK` prints all of one)\n" in shown
