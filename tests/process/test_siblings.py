"""C43: results of siblings during a run, also where the instances are known only then."""

from __future__ import annotations

import pytest
from support.runs import START_METHODS, mprun, write

WORK = """\
    import os
    import time

    def names():
        return ["a", "b", "a"]

    def fetch(name, after=None):
        # The last one ends only after the sibling of the first has run.
        while after and not os.path.exists(after):
            time.sleep(0.01)
        return {"name": name}

    def mark(found, path=None):
        if path:
            open(path, "w").close()
        return found

    def fail(name):
        assert name == "a" or os.path.exists("mended")
        return name

    def nothing():
        return []
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_an_instance_waits_for_its_sibling_alone(tmp_path, method):
    write(tmp_path, work=WORK)
    write(
        tmp_path,
        job=f"""\
        start_method: {method}
        tasks:
        - {{name: dl, target: 'work:fetch', matrix: {{f: [a, b], include: [{{f: b, after: used-a}}]}},
           args: ["${{matrix.f}}"], kwargs: {{after: "${{matrix.after}}"}}}}
        - {{name: use, target: 'work:mark', matrix: {{f: [a, b]}},
           args: ["${{tasks.dl[f=${{matrix.f}}].result.name}}"], kwargs: {{path: "used-${{matrix.f}}"}}}}
        """,
    )
    run = mprun("-q", "job.yaml", "--timeout", "40", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert [run.result(f"use[f={name}]") for name in "ab"] == ["a", "b"]


LATE = """\
    tasks:
    - {name: names, target: 'work:names'}
    - {name: dl, target: 'work:fetch', foreach: "${tasks.names.result}", args: ["${item}"]}
    - {name: use, target: 'work:mark', foreach: "${tasks.names.result}",
       args: ["${tasks.dl[${item}].result.name}"]}
    - {name: known, target: 'work:fetch', matrix: {f: [a, b, c]}, args: ["${matrix.f}"]}
    - {name: of_known, target: 'work:mark', foreach: "${tasks.names.result}",
       args: ["${tasks.known[${item}].result.name}"]}
    - {name: of_late, target: 'work:mark', matrix: {f: [b, c]},
       args: ["${tasks.dlm[${matrix.f}].result.name}"]}
    - {name: dlm, target: 'work:fetch', matrix: {f: "${tasks.names.result}"}, args: ["${matrix.f}"]}
"""


def test_siblings_may_be_known_only_during_the_run(tmp_path):
    write(tmp_path, work=WORK, job=LATE)
    run = mprun("job.yaml", cwd=tmp_path)
    assert [run.result(f"use[{n}]") for n in range(3)] == ["a", "b", "a"]
    assert [run.result(f"of_known[{n}]") for n in range(3)] == ["a", "b", "a"]
    assert run.result("of_late[f=b]") == "b"
    assert run.one("task_finished", "of_late[f=c]")["reason"] == (
        "`${tasks.dlm[c].result.name}`: no such instance of `dlm`"
    )
    assert run.code == 1


def test_a_late_instance_waits_for_its_sibling_alone_and_is_skipped_if_that_fails(tmp_path):
    write(tmp_path, work=WORK)
    write(
        tmp_path,
        job="""\
        tasks:
        - {name: names, target: 'work:names'}
        - {name: dl, target: 'work:fail', matrix: {f: "${tasks.names.result}"}, args: ["${matrix.f}"]}
        - {name: use, target: 'work:mark', matrix: {f: "${tasks.names.result}"},
           args: ["${tasks.dl[${matrix.f}].result}"]}
        - {name: nothing, target: 'work:nothing'}
        - {name: none, target: 'work:mark', foreach: "${tasks.nothing.result}", args: ["${item}"]}
        - {name: of_none, target: 'work:mark', foreach: "${tasks.names.result}",
           args: ["${tasks.none[${item}].result}"]}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.result("use[f=a]") == "a"
    assert run.outcome("use[f=b]") == "skipped"
    assert run.one("task_finished", "use[f=b]")["reason"].startswith("`dl[f=b]` ")
    assert (
        run.one("task_finished", "of_none[0]")["reason"]
        == "`${tasks.none[a].result}`: `none` has no instances"
    )
    (tmp_path / "mended").touch()
    again = mprun("resume", cwd=tmp_path)
    assert again.result("use[f=b]") == "b"
    assert again.one("task_finished", "use[f=a]")["reused"]


def test_who_selects_an_instance_is_run_with_it(tmp_path):
    write(tmp_path, work=WORK, job=LATE)
    run = mprun("-q", "-k", "use", "job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert {event["task"] for event in run.of("task_started")} == {
        "names",
        *(f"{k}[{n}]" for k in ("dl", "use") for n in range(3)),
    }
    (tmp_path / "job.yaml").write_text((tmp_path / "job.yaml").read_text().replace("[b, c]", "[b]"))
    assert mprun("-q", "-k", "of_known", "--no-deps", "job.yaml", cwd=tmp_path).code == 2


def test_a_condition_of_instances_known_only_during_the_run_may_select(tmp_path):
    write(tmp_path, work=WORK)
    write(
        tmp_path,
        job="""\
        tasks:
        - {name: names, target: 'work:names'}
        - {name: known, target: 'work:mark', matrix: {f: [a, b]}, args: ["${matrix.f}"]}
        - {name: use, target: 'work:mark', foreach: "${tasks.names.result}", args: ["${item}"],
           when: "${tasks.known[${item}].result}"}
        - {name: off, target: 'work:mark', matrix: {f: [a, b]}, args: [false]}
        - {name: not_used, target: 'work:mark', foreach: "${tasks.names.result}", args: ["${item}"],
           when: "${tasks.off[${item}].result}"}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert [run.result(f"use[{n}]") for n in range(3)] == ["a", "b", "a"]
    assert {run.outcome(f"not_used[{n}]") for n in range(3)} == {"skipped"}
