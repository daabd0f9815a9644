"""The type of a reference is known only during the run (C54): then that task fails, with the reason."""

from support.runs import mprun

RESULTS = {
    "text": "'hello'",
    "list": "[1]",
    "none": "[]",
    "mapping": "{1: 2}",
    "number": "7",
    "nothing": "None",
    "nul": "'a' + chr(0)",
    "truth": "True",
}
KEYS = {
    "args": "target: 'made:take', args: '${tasks.NAME.result}'",
    "kwargs": "target: 'made:take', kwargs: '${tasks.NAME.result}'",
    "command": "command: '${tasks.NAME.result}'",
    "word": "command: [echo, '${tasks.NAME.result}']",
    "env": "target: 'made:take', env: {A: '${tasks.NAME.result}'}",
    "cwd": "target: 'made:take', cwd: '${tasks.NAME.result}'",
    "when": "target: 'made:take', when: '${tasks.NAME.result}'",
    "foreach": "target: 'made:take', args: '${item}', foreach: '${tasks.NAME.result}'",
    "matrix": "target: 'made:take', args: '${matrix.a}', matrix: '${tasks.NAME.result}'",
    "axis": "target: 'made:take', args: '${matrix.a}', matrix: {a: '${tasks.NAME.result}'}",
    "step": "target: 'made:take', args: '${tasks.NAME.result.a.0}'",
    "expect": "target: 'made:take', expect: {result: '${tasks.NAME.result}'}",
    "limits": "target: 'made:take', foreach: ['${tasks.NAME.result}'], cwd: '${item}'",
}
MADE = "def take(*args, **more):\n    pass\n\n" + "".join(
    f"def {name}():\n    return {value}\n\n" for name, value in RESULTS.items()
)
REASONS = {
    ("args", "text"): "`args` must be a list, but `${tasks.text.result}` is a string",
    ("args", "nothing"): "`args` must be a list, but `${tasks.nothing.result}` is null",
    ("kwargs", "list"): "`kwargs` must be a mapping, but `${tasks.list.result}` is a list",
    (
        "command",
        "mapping",
    ): "`command` must be a string or a list of words, but `${tasks.mapping.result}` is a mapping",
    ("command", "none"): "`command` must not be empty",
    ("command", "nul"): "`command` must not contain a NUL character",
    ("env", "nul"): "`env` must not contain a NUL character",
    ("cwd", "list"): "`cwd` must be a path, but `${tasks.list.result}` is a list",
    ("foreach", "number"): "`foreach` must be a list, but `${tasks.number.result}` is a number",
}


def test_a_type_that_is_known_late_fails_its_task_with_a_reason_C54(tmp_path):
    tasks = [f"  - {{name: {name}, target: 'made:{name}'}}" for name in RESULTS]
    tasks += [
        f"  - {{name: {key} {name}, {text.replace('NAME', name)}}}"
        for key, text in KEYS.items()
        for name in RESULTS
    ]
    (tmp_path / "made.py").write_text(MADE)
    (tmp_path / "job.yaml").write_text("\n".join(["tasks:", *tasks]))
    run = mprun("run", "job.yaml", "-q", "-j", "2", cwd=tmp_path)
    assert run.code == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert run.one("run_finished")["exit_code"] == 1
    finished = {event["task"]: event for event in run.of("task_finished")}
    assert {name.partition("[")[0] for name in finished} >= {
        f"{key} {name}" for key in KEYS for name in RESULTS
    }
    for (key, name), reason in REASONS.items():
        assert finished[f"{key} {name}"]["reason"] == reason
        assert finished[f"{key} {name}"]["outcome"] == "failed"


def test_a_result_that_is_gone_when_a_retry_starts_fails_the_task_and_not_the_engine_C54(tmp_path):
    (tmp_path / "made.py").write_text(
        "import glob, os\n\n"
        "def first():\n    return [1]\n\n"
        "def second(one):\n"
        "    for path in glob.glob('.mprun/runs/*/results/first*'):\n"
        "        open(path, 'w').write('\"no list\"')\n"
        "    raise OSError\n"
    )
    (tmp_path / "job.yaml").write_text(
        "tasks:\n"
        "  - {name: first, target: 'made:first'}\n"
        "  - {name: other, target: 'made:first', depends_on: first}\n"
        "  - {name: second, target: 'made:second', args: '${tasks.first.result}', retry: 2}\n"
        "  - {name: third, target: 'made:first', depends_on: {second: finished}}\n"
    )
    run = mprun("run", "job.yaml", "-q", cwd=tmp_path)
    assert (run.code, "Traceback" in run.stderr) == (1, False)
    assert run.outcome("third") == "succeeded"
    assert run.one("task_finished", "second")["outcome"] == "failed"


NAMES = {
    "whole": "kwargs: {'${tasks.NAME.result}': 1}",
    "part": "kwargs: {'a ${tasks.NAME.result}': 1}",
    "inner": "kwargs: {a: {'${tasks.NAME.result}': 1}}",
    "argument": "args: [{'${tasks.NAME.result}': 1}]",
    "item": "kwargs: {'${item}': 1}, foreach: ['${tasks.NAME.result}']",
    "axis": "kwargs: {'${matrix.a}': 1}, matrix: {a: ['${tasks.NAME.result}']}",
    "recipe": "uses: recipe.yaml, with: {name: '${tasks.NAME.result}'}",
}


def test_a_name_of_an_argument_that_is_known_late_is_filled_in_or_fails_its_task_C54(tmp_path):
    tasks = [f"  - {{name: {name}, target: 'made:{name}'}}" for name in RESULTS]
    tasks += [
        f"  - {{name: {key} {name}, {'' if key == 'recipe' else 'target: made:given, '}"
        f"{text.replace('NAME', name)}}}"
        for key, text in NAMES.items()
        for name in RESULTS
    ]
    (tmp_path / "made.py").write_text(f"{MADE}def given(*args, **more):\n    return [*args, more]\n")
    (tmp_path / "job.yaml").write_text("\n".join(["tasks:", *tasks]))
    (tmp_path / "recipe.yaml").write_text(
        "params: {name: {type: string}}\n"
        "tasks: [{name: one, target: 'made:given', kwargs: {'${params.name}': 1}}]\n"
    )
    run = mprun("run", "job.yaml", "-q", "-j", "2", cwd=tmp_path)
    assert run.code == 1, run.stderr
    finished = {event["task"]: event for event in run.of("task_finished")}
    text = {"hello": 1}
    for key, suffix, given in (
        ("whole", "", [text]),
        ("part", "", [{"a hello": 1}]),
        ("inner", "", [{"a": text}]),
        ("argument", "", [text, {}]),
        ("item", "[0]", [text]),
        ("axis", "[a=hello]", [text]),
        ("recipe", "/one", [text]),
    ):
        (name,) = [name for name in finished if name.startswith(f"{key} text")]
        assert name == f"{key} text{suffix}"
        assert finished[name]["outcome"] == "succeeded"
        assert run.result(name) == given
    for key in ("whole", "item", "recipe"):
        (number,) = [event for name, event in finished.items() if name.startswith(f"{key} number")]
        assert number["reason"] == "the keys of `kwargs` must be strings"
    assert finished["argument list"]["reason"] == (
        "`${tasks.list.result}` is a list, which cannot be used as a key"
    )


def test_names_of_arguments_that_differ_between_instances_are_all_checked_C54(tmp_path):
    (tmp_path / "made.py").write_text("def take(a):\n    pass\n")
    (tmp_path / "job.yaml").write_text(
        "tasks: [{name: t, target: 'made:take', kwargs: {'${item}': 1}, foreach: [a, b]}]\n"
    )
    run = mprun("run", "job.yaml", "-q", cwd=tmp_path)
    assert run.code == 2, run.stderr
    assert "unexpected keyword argument 'b'" in run.stderr or "missing a required argument" in run.stderr
    assert not run.of("task_started")
