"""Checks that a schema cannot express: names, dependencies, join order, combinations of keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.timing import cpu_seconds, growth, quick

from mprun.jobfile.syntax.document import parse
from mprun.jobfile.task_checks import MAX_DIAGNOSTICS, check, task_name


def diagnostics(text):
    return check(parse(text, "f.yaml"))


def messages(text):
    return [diagnostic.message for diagnostic in diagnostics(text)]


def tasks(*lines):
    return "tasks:\n" + "".join(f"  - {{target: 'm:f', {line}}}\n" for line in lines)


def test_a_valid_file_has_no_diagnostic():
    assert (
        messages(tasks("name: a", "depends_on: [a]", "depends_on: {a: succeeded, Process-2: succeeded}"))
        == []
    )
    assert messages(tasks("name: a") + "join: [a]") == []


@pytest.mark.parametrize("text", ["[]", "text", "5", "tasks: 5", "tasks: {a: 1}", "tasks: [1, null, [2]]"])
def test_values_of_another_type_are_left_to_the_schema(text):
    assert messages(text) == []


def test_a_target_comes_from_the_task_or_the_defaults():
    needs = "task `Process-2` needs one of `target`, `command` or `uses`"
    assert messages("tasks: [{target: 'm:f'}, {name: Process-2}]") == [needs]
    assert messages("defaults: {target: 'm:f'}\ntasks: [{}, {command: x}]") == []
    # A key that may be a typo of `target` is left to the schema.
    assert messages("tasks: [{tagret: 'm:f'}]") == []


def test_a_recipe_takes_few_keys():
    assert messages("tasks: [{uses: a.yaml, cwd: d, x-own: 1}]") == [
        "`cwd` is not allowed on a task with `uses`"
    ]


def test_only_a_daemon_is_restarted():
    text = "`restart` is only valid for daemons (task `Process-1` would never finish)"
    assert messages(tasks("restart: always")) == [text]
    assert messages(tasks("restart: always, daemon: true") + "defaults: {restart: on-failure}") == []


def test_parts_of_another_type_are_left_to_the_schema():
    assert (
        messages(tasks("name: 5, depends_on: 7, kwargs: []", "depends_on: [5, {a: 1}]") + "join: {a: 1}")
        == []
    )
    assert messages(tasks("name: [a]") + "join: [5, {task: 5}, {}]\ndefaults: 5") == []


def test_the_default_name_counts_from_one():
    assert [task_name({}, 0), task_name({"name": "a"}, 1), task_name(None, 2)] == [
        "Process-1",
        "a",
        "Process-3",
    ]


def test_a_name_may_stand_for_one_task_only():
    (diagnostic,) = diagnostics(tasks("name: a", "name: b", "name: a"))
    assert diagnostic.message == "duplicate task name `a`: first used on line 2"
    assert (diagnostic.span.line, diagnostic.help) == (4, "choose another name")


@pytest.mark.parametrize("lines", [["name: Process-2", ""], ["", "name: Process-1"]])
def test_a_clash_with_a_default_name_is_marked_at_the_written_name(lines):
    (diagnostic,) = diagnostics(tasks(*lines))
    (line,) = (number for number, text in enumerate(lines, start=2) if text)
    assert diagnostic.span.line == line
    assert diagnostic.message.endswith(f"the default name of the task on line {5 - line}")


def test_names_that_differ_in_case_are_two():
    assert messages(tasks("name: a", "name: A")) == []


@pytest.mark.parametrize(
    ("value", "marked"),
    [("beta", "beta"), ("[a, beta]", "beta"), ("{a: succeeded, beta: succeeded}", "beta")],
)
def test_an_unknown_dependency_is_marked_at_its_name(value, marked):
    (diagnostic,) = diagnostics(tasks("name: a", f"name: betta, depends_on: {value}"))
    line = diagnostic.source.lines[diagnostic.span.line - 1]
    assert line[diagnostic.span.column - 1 :][: diagnostic.span.width] == marked
    assert (diagnostic.message, diagnostic.help) == ("unknown task `beta`", "did you mean `betta`?")


def test_known_names_are_listed_if_none_is_similar():
    (diagnostic,) = diagnostics(tasks("name: a", "name: b, depends_on: zzzzz"))
    assert diagnostic.help == "known tasks: `a`, `b`"
    (diagnostic,) = diagnostics(tasks(*[f"name: task{n}" for n in range(9)]) + "join: [zzzzz]")
    assert diagnostic.help == "known tasks: `task0`, `task1`, `task2`, `task3`, `task4`, …"


def test_a_task_cannot_depend_on_itself():
    assert messages(tasks("name: a, depends_on: a")) == ["task `a` depends on itself"]
    assert messages(tasks("depends_on: [Process-1]")) == ["task `Process-1` depends on itself"]


def test_a_cycle_is_shown_with_its_path():
    (diagnostic,) = diagnostics(
        tasks("name: a, depends_on: c", "name: b, depends_on: a", "name: c, depends_on: [b]")
    )
    assert diagnostic.message == "dependency cycle: `a` -> `c` -> `b` -> `a`"
    assert (diagnostic.span.line, diagnostic.help) == (2, "remove one of these dependencies")


def test_a_long_cycle_is_shortened():
    lines = [f"name: t{n}, depends_on: t{(n + 1) % 50}" for n in range(50)]
    (message,) = messages(tasks(*lines))
    assert message.endswith("cycle: `t0` -> `t1` -> `t2` -> `t3` -> … -> `t48` -> `t49` -> `t0`")


@given(
    count=st.integers(2, 8),
    edges=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20),
)
def test_a_cycle_is_found_if_and_only_if_there_is_one(count, edges):
    edges = {(a, b) for a, b in edges if a < count and b < count and a != b}
    lines = [
        f"name: t{n}, depends_on: [{', '.join(f't{b}' for a, b in sorted(edges) if a == n)}]"
        for n in range(count)
    ]
    reached = {(a, b) for a, b in edges}
    for middle in range(count):
        reached |= {
            (a, b) for a in range(count) for b in range(count) if {(a, middle), (middle, b)} <= reached
        }
    assert bool(messages(tasks(*lines))) == any((n, n) in reached for n in range(count))


def test_a_task_is_joined_once_and_exists():
    assert messages(tasks("name: a", "name: b") + "join: [a, {task: b}, c, {task: a, timeout: 1}]") == [
        "unknown task `c`",
        "duplicate task `a` in `join`",
    ]


def test_references_are_found_everywhere_except_in_free_text():
    text = tasks("args: ['${params.x}', [{deep: '${item}'}]], env: {A: '${matrix.z}'}")
    assert len(messages(text)) == 3
    assert (
        messages(
            tasks("description: 'how ${x} looks', x-own: '${y}'") + "x-more: ['${z}']\ndescription: ${a}"
        )
        == []
    )


def test_the_time_grows_with_the_number_of_tasks_and_not_its_square():
    def spent(count):
        lines = [f"name: t{n}, depends_on: t{max(n - 1, 0)}" for n in range(count)]
        document = parse(tasks(*lines), "f.yaml")
        return cpu_seconds(lambda: check(document))

    # With eight times as many tasks: 8 if the time is linear, 64 if it is quadratic.
    assert growth(lambda: spent(2_000), lambda: spent(16_000), rounds=5) < 24


def test_at_most_a_hundred_are_reported_quickly():
    with quick(5):
        found = diagnostics(tasks(*[f"depends_on: missing{n}" for n in range(5_000)]))
        assert len(found) == MAX_DIAGNOSTICS
