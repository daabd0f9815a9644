"""What GitHub's and GitLab's runners read of a run: annotations, folded logs, the summary of the step."""

import html
import os
import re

import pytest
from support.ci_job import NAMES, write_job
from support.runs import mprun, write

from mprun.reporters import ci
from mprun.reporters.step_summary import escape_markdown

RAISES = NAMES[1]
COMMAND = re.compile(r"^::(?!group|endgroup|error)|^##\[", re.MULTILINE)


def github(directory, *options, job="job.yaml", **env):
    """Run a job as a step of GitHub Actions does; the run, and the summary of the step."""
    summary = directory / "summary.md"
    there = {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(directory)}
    run = mprun(job, *options, cwd=directory, env={**there, "GITHUB_STEP_SUMMARY": str(summary), **env})
    return run, summary.read_text() if summary.exists() else ""


def errors(run):
    return re.findall(r"^::error .*$", run.stdout + run.stderr, re.MULTILINE)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    directory = tmp_path_factory.mktemp("five")
    write_job(directory)
    return (directory, *github(directory))


def test_each_failed_task_is_one_annotation_at_its_place(five):
    _, run, _ = five
    raises, killed = errors(run)
    assert killed == "::error file=job.yaml,line=6,title=killed::failed: killed by SIGKILL"
    title = RAISES.replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    assert raises.startswith(
        f"::error file=job.yaml,line=5,title={title}::failed: exit 1 (ValueError: no <b>"
    )


def test_the_log_of_each_failure_is_a_group_and_nothing_in_it_is_obeyed(five):
    _, run, _ = five
    groups = re.findall(r"^::group::(.*)\n((?:.*\n)*?)::endgroup::$", run.stderr, re.MULTILINE)
    assert [title.split(": ")[-1] for title, _ in groups][1] == "killed by SIGKILL"
    assert len(groups) == 2
    for _, log in groups:
        assert ": :error file=x,line=1,title=evil::pwned\n" in log
        assert "## [error]pwned\n" in log
    assert not COMMAND.search(run.stdout + run.stderr)
    assert "::" not in {line[:2] for line in run.stdout.splitlines()}
    assert run.stderr.count("\n::endgroup::\n") == 2


def test_the_summary_has_the_table_and_the_failures_and_no_markup_of_others(five):
    _, _, summary = five
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", summary, flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"</?(\w+)", outside)) == {"code", "details", "summary"}
    rows = [line for line in outside.splitlines() if line.startswith("| <code>")]
    assert [line.count("|") for line in rows] == [7] * 5
    assert "succeeded (flaky)" in rows[2]
    assert f"<code>{RAISES}</code>" in [html.unescape(row).split(" | failed")[0][2:] for row in rows]
    assert "\nfailed in" in summary
    assert (outside.count("<details>"), outside.count("</details>")) == (2, 2)
    fences = re.findall(r"^(`{3,})text$", summary, re.MULTILINE)
    assert fences == ["`" * 13] * 2


def test_the_summary_of_repeated_tasks_has_their_rates_and_not_each_success(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: "a|<b>", command: "test $MPRUN_COPY != 3"}
          - {name: sound, command: "true"}
        """,
    )
    run, summary = github(tmp_path, "--repeat", 8, "--seed", 1)
    assert run.code == 1
    shown = html.unescape(summary)
    assert "\n| task | runs | failures | rate | 95 % interval |\n| --- | --: | --: | --: | --: |\n" in shown
    rates = re.findall(r"^\| <code>(.*)</code> \| 8 \| (\d) \| ", shown, re.MULTILINE)
    assert rates == [("a|<b>", "1"), ("sound", "0")]
    assert "\nfirst failure: a|<b>@3; to repeat it: mprun job.yaml " in shown
    assert [line for line in shown.splitlines() if "@" in line and "succeeded" in line] == []
    assert shown.count("| <code>a|<b>@3</code> | failed: exit 1 |") == 1
    run, summary = github(tmp_path, "sound", "--repeat", 2)
    assert run.code == 0
    assert "| outcome |" not in summary.rpartition("###")[2]
    assert "| <code>sound</code> | 2 | 0 |" in summary


def test_more_than_nine_failures_are_nine_annotations_and_one_that_counts(tmp_path):
    tasks = "\n".join(f"              - {{name: t{number}, command: exit 1}}" for number in range(12))
    write(tmp_path, job=f"tasks:\n{tasks}")
    run, summary = github(tmp_path)
    found = errors(run)
    assert len(found) == 10
    assert [line.split("title=")[1].partition("::")[0] for line in found[:9]] == [f"t{n}" for n in range(9)]
    assert found[9] == "::error title=job::3 more tasks failed; the log of this step names all"
    assert summary.count("<details>") == 12
    run, _ = github(tmp_path, "t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8")
    assert len(errors(run)) == 9


def test_a_run_that_failed_although_no_task_did_has_one_annotation(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: a, command: exit 1, allow_failure: true}
          - {name: b, command: "true", depends_on: {a: succeeded}}
        """,
    )
    run, _ = github(tmp_path)
    assert errors(run) == ["::error title=job::failed: `b` was skipped: `a` did not succeed"]


def test_a_path_is_that_in_the_checkout_and_quiet_and_json_change_nothing(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", job="tasks: [{name: a, command: exit 1}]")
    for option in ("-q", "--json"):
        run = mprun(
            "job.yaml",
            option,
            "--ci",
            "github",
            cwd=tmp_path / "sub",
            env={"GITHUB_WORKSPACE": str(tmp_path)},
        )
        assert errors(run) == ["::error file=sub/job.yaml,line=1,title=a::failed: exit 1"]


def test_the_summary_is_appended_and_one_that_cannot_be_written_is_a_warning(tmp_path):
    write(tmp_path, job="tasks: [{name: a, command: 'true'}]")
    (tmp_path / "summary.md").write_text("before\n")
    _, summary = github(tmp_path)
    assert summary.startswith("before\n### job\n")
    os.mkfifo(tmp_path / "fifo")
    for path in ("fifo", "missing/file"):
        run, _ = github(tmp_path, GITHUB_STEP_SUMMARY=str(tmp_path / path))
        assert run.code == 0
        assert "warning: cannot write the summary of this step: " in run.stderr


def test_the_summary_is_cut_at_900_kib_and_says_so(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - name: t
            foreach: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
            command: "head -c 70000 /dev/zero | tr '\\\\0' x; exit 1"
        """,
    )
    _, summary = github(tmp_path, "--output", "none")
    assert 700 << 10 < len(summary.encode()) <= 900 << 10
    assert summary.endswith("failed tasks are not shown here; `mprun logs --failed` shows them.\n")
    assert summary.count("<details>") == summary.count("</details>")
    # Another command of the step has used nearly all of it.
    (tmp_path / "summary.md").write_bytes(b"x" * ((900 << 10) - 100))
    _, summary = github(tmp_path, "--output", "none")
    assert len(summary) == (900 << 10) - 100


def test_the_end_of_a_log_begins_with_a_whole_line_unless_most_of_it_would_be_lost(tmp_path):
    write(
        tmp_path,
        job="""
        tasks:
          - {name: long, command: "head -c 200000 /dev/zero | tr '\\\\0' x; echo; echo last; exit 1"}
          - {name: short, command: "seq 100000 199999; exit 1"}
        """,
    )
    run, _ = github(tmp_path, "--output", "none")
    long, short = re.findall(r"^::group::.*\n((?:.*\n)*?)::endgroup::$", run.stderr, re.MULTILINE)
    assert re.fullmatch("x{65530}\nlast\n", long)
    assert re.fullmatch(r"\d{6}\n", short.splitlines(keepends=True)[0])
    assert 65500 < len(short) <= 64 << 10


def test_none_writes_nothing_and_still_neutralises(tmp_path):
    write_job(tmp_path)
    run, summary = github(tmp_path, "--ci", "none")
    assert (errors(run), summary) == ([], "")
    assert "::group::" not in run.stderr
    assert " ## [error]pwned" in run.stdout


SECTION = re.compile(r"section_(start|end):(\d+):([a-zA-Z0-9_.-]+)(\[[^]]*\])?\r\x1b\[0K")


def test_gitlab_gets_a_section_for_each_failure_and_none_of_a_task(tmp_path):
    write_job(tmp_path)
    runs = [mprun("job.yaml", cwd=tmp_path, env={"GITLAB_CI": "true"}) for _ in range(2)]
    names = []
    for run in runs:
        found = SECTION.findall(run.stdout + run.stderr)
        assert [kind for kind, *_ in found] == ["start", "end"] * 2
        assert all(name.startswith("mprun_") for _, _, name, _ in found)
        names += [name for kind, _, name, _ in found if kind == "start"]
        assert "section_start :1:evil" in run.stdout
    assert len(set(names)) == 4


def test_the_functions_keep_their_promises(monkeypatch):
    assert escape_markdown("a|b\n<i> www.x.y http://z @me `c`") == (
        "a&#124;b &#60;i&#62; &#119;&#119;&#119;&#46;x.y http&#58;&#47;&#47;z &#64;me &#96;c&#96;"
    )
    assert len(ci._property("x" * 1000)) == 200
    assert ci._data("a%\r\n", 100) == "a%25\\r\\n"
