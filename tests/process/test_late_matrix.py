"""C46: axes of mappings, and matrices that are known only during the run."""

from __future__ import annotations

import pytest
from support.runs import START_METHODS, mprun, write

WORK = """\
    def names():
        return ["a", "b"]

    def whole():
        return {"os": [{"name": "a", "n": 1}, {"name": "b", "n": "2"}], "v": [1],
                "exclude": [{"os": {"name": "b"}}], "include": [{"os": {"name": "c", "n": 3}, "v": 9}]}

    def entries():
        return [{"f": "a", "more": 1}, {"f": "z", "more": 2}]

    def nothing():
        return []

    def text():
        return "a"

    def gather(found):
        return sorted(map(str, found))

    def join(*parts):
        return "-".join(map(str, parts))
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_an_axis_may_be_the_result_of_a_task(tmp_path, method):
    write(tmp_path, work=WORK)
    write(
        tmp_path,
        job=f"""\
        start_method: {method}
        params: {{versions: [1.5, 2]}}
        tasks:
        - {{name: names, target: 'work:names'}}
        - name: each
          target: work:join
          matrix: {{f: "${{tasks.names.result}}", v: "${{params.versions}}",
                   include: [{{f: a, v: 2, extra: x}}]}}
          args: ["${{matrix.f}}", "${{matrix.v}}", "${{matrix.extra}}"]
        - {{name: all, target: 'work:gather', args: ["${{tasks.each.result}}"]}}
        """,
    )
    run = mprun("-q", "job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.result("all") == ["a-1.5-None", "a-2-x", "b-1.5-None", "b-2-None"]
    assert run.outcome("each[f=a,v=2,extra=x]") == "succeeded"


def test_a_whole_matrix_may_be_a_result_with_mappings_and_entries(tmp_path):
    write(tmp_path, work=WORK)
    write(
        tmp_path,
        job="""\
        tasks:
        - {name: whole, target: 'work:whole'}
        - name: each
          target: work:join
          matrix: ${tasks.whole.result}
          args: ["${matrix.os.name}", "${matrix.os.n}", "${matrix.v}"]
          timeout: ${matrix.os.n}
        - {name: all, target: 'work:gather', args: ["${tasks.each.result}"]}
        - {name: entries, target: 'work:entries'}
        - name: more
          target: work:join
          matrix: {f: [a, b], include: "${tasks.entries.result}"}
          args: ["${matrix.f}", "${matrix.more}"]
        - {name: rest, target: 'work:gather', args: ["${tasks.more.result}"]}
        """,
    )
    run = mprun("-q", "job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.result("all") == ["a-1-1", "c-3-9"]
    assert run.result("rest") == ["a-1", "b-None", "z-2"]
    assert run.outcome("each[os=a:1,v=1]") == run.outcome("each[os=c:3,v=9]") == "succeeded"


def test_an_empty_axis_makes_no_instance_and_what_is_not_a_list_fails_with_its_reason(tmp_path):
    write(tmp_path, work=WORK)
    write(
        tmp_path,
        job="""\
        defaults: {target: 'work:join'}
        tasks:
        - {name: nothing, target: 'work:nothing'}
        - {name: none, matrix: {f: "${tasks.nothing.result}", g: [1, 2]}}
        - {name: after, depends_on: none}
        - {name: text, target: 'work:text'}
        - {name: wrong, matrix: {f: "${tasks.text.result}"}}
        - {name: worse, matrix: "${tasks.nothing.result}"}
        - {name: entries, matrix: {f: [1], include: ["${tasks.text.result}"]}}
        - {name: unknown, matrix: "${tasks.whole.result}", args: ["${matrix.x}"]}
        - {name: whole, target: 'work:whole'}
        - {name: late, matrix: {f: ["${tasks.text.result}", "0"]}, timeout: "${matrix.f}"}
        """.replace('include: ["${tasks.text.result}"]', 'include: "${tasks.names.result}"')
        + "- {name: names, target: 'work:names'}\n",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.outcome("none") == run.outcome("after") == "succeeded"
    reasons = {
        name: run.one("task_finished", name)["reason"]
        for name in ("wrong", "worse", "entries", "unknown", "late")
    }
    assert reasons == {
        "wrong": "`matrix.f` must be a list, but `${tasks.text.result}` is a string",
        "worse": "`matrix` must be a mapping of lists, but `${tasks.nothing.result}` is a list",
        "entries": "`matrix.include` must be a list of mappings",
        "unknown": "unknown axis `x`",
        "late": "`timeout` of task `late` must be a duration: seconds, or a string such as `500ms`, `1m30s` "
        'or `2h`, not the string `a` (`"${matrix.f}"`)',
    }


def test_resume_runs_the_instances_of_a_late_matrix_that_are_missing(tmp_path):
    write(
        tmp_path,
        work=WORK
        + """\

    def pass_or_fail(name):
        import os
        assert name == "a" or os.path.exists("mended")
        return name
""",
    )
    write(
        tmp_path,
        job="""\
        tasks:
        - {name: names, target: 'work:names'}
        - {name: each, target: 'work:pass_or_fail', matrix: {f: "${tasks.names.result}"},
           args: ["${matrix.f}"]}
        - {name: all, target: 'work:gather', args: ["${tasks.each.result}"]}
        """,
    )
    assert mprun("-q", "job.yaml", cwd=tmp_path).code == 1
    (tmp_path / "mended").touch()
    run = mprun("resume", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.one("task_finished", "each[f=a]")["reused"]
    assert run.result("all") == ["a", "b"]
