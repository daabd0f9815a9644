"""What the reading of large files does not do (C55): counts, which a busy machine does not change."""

import random

import pytest

from mprun.diagnostics import SourceLines, SourceText
from mprun.jobfile import (
    budget,
    dependency_checks,
    dotenv,
    interpolation,
    matrix,
    names,
    reference_syntax,
    references,
    task_checks,
)
from mprun.jobfile.syntax.document import parse
from mprun.jobfile.syntax.other_file import has_tasks


class Counted(str):
    """A text that counts the characters that are copied out of it."""

    copied = 0

    def __getitem__(self, index):
        piece = super().__getitem__(index)
        Counted.copied += len(piece)
        return piece


@pytest.fixture
def count_calls(monkeypatch):
    def count_calls(module, name):
        calls = []
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: calls.append(given) or function(*given))
        return calls

    return count_calls


def test_of_a_string_with_many_references_no_rest_is_copied_for_each():
    text = "${params.b}" * 3000
    source = SourceText(path="job.yaml", lines=SourceLines(text))
    Counted.copied = 0
    node = reference_syntax.parse(Counted(text), "", source, len(text))
    assert len(node.parts) == 3000
    assert [one.mark for one in node.parts[:2]] == [11, (11 << 24) | 11]
    assert Counted.copied < 3 * len(text)


def test_a_reference_that_is_written_often_is_parsed_once(count_calls):
    reference_syntax._parsed.cache_clear()
    parsed = count_calls(reference_syntax, "_reference")
    reference_syntax.parse("a ${params.b} and ${params.b}${env.C}" * 100)
    assert len(parsed) == 2


@pytest.mark.parametrize("values", [list(range(10_000)), dict.fromkeys(range(10_000), "x")])
def test_plain_values_take_no_call_each(count_calls, values):
    calls = [
        count_calls(references, "references"),
        count_calls(budget, "node_count"),
        count_calls(interpolation, "marked"),
    ]
    assert list(references.references([values])) == []
    assert budget.node_count([values]) == 2 + len(values) * (2 if isinstance(values, dict) else 1)
    assert interpolation.marked([values], 7) == [values]
    assert [len(called) for called in calls] == [2, 2, 2]


def test_a_list_that_is_in_many_places_is_searched_for_references_once():
    value = ["x"]
    for _ in range(200):
        value = [value, {"a": value}]
    # In each of its places it would be searched 2 ** 200 times.
    assert not references.refers([value])
    assert references.refers([value, {"b": reference_syntax.parse("a${item}")}])
    for _ in range(100_000):
        value = [value]
    assert not references.refers(value)


def test_a_column_too_many_is_found_before_any_entry_is_compared(monkeypatch):
    monkeypatch.setattr(matrix._Entries, "add", lambda *given: pytest.fail("compared"))
    with pytest.raises(matrix.TooManyCombinations, match="too many keys in `include`: 3,001"):
        matrix.combinations({"a": [1, 2]}, [{f"c{n}": 1} for n in range(3000)], [{"a": 1}])


def test_only_names_that_contain_a_piece_of_the_pattern_are_compared(monkeypatch):
    compared = []
    compiled = names.compile_glob

    def compile_glob(pattern):
        matches = compiled(pattern)
        return lambda name: compared.append(name) or matches(name)

    monkeypatch.setattr(names, "compile_glob", compile_glob)
    known = names.SortedNames([f"u{n}y" for n in range(5000)])
    assert known.that_match("*u77?y") == [f"u77{n}y" for n in range(10)]
    assert known.that_match("?") == []
    assert known.compared == 10_000
    assert len(compared) < 5100


def test_a_plain_line_of_an_env_file_is_read_at_once(tmp_path, monkeypatch):
    read = []
    one_line = dotenv._read_line
    monkeypatch.setattr(dotenv, "_read_line", lambda *given: read.append(given) or one_line(*given))
    (tmp_path / "e").write_text("".join(f"V{n}=a#{n}$\n" for n in range(1000)) + "A= b # c\nB=\nC='d'\n")
    variables, _ = dotenv.read_env_file(str(tmp_path / "e"))
    assert len(read) == 2
    assert variables["V999"] == "a#999$"
    assert [variables[name] for name in "ABC"] == ["b", "", "d"]


def test_any_env_file_has_the_variables_that_its_lines_have_one_by_one(tmp_path, monkeypatch):
    pieces = ["A", "b1", "=", '"', "'", "#", " ", "\t", "\n", "\0", "\xa0", "\x85", "export", "$", "\\", "."]
    chance, plain = random.Random(7), dotenv._PLAIN_LINE
    for _ in range(1000):
        text = "A=" + "".join(chance.choices(pieces, k=chance.randrange(20))) + "\n"
        (tmp_path / "e").write_text(text)
        found = []
        for form in (plain, dotenv.re.compile("(?!)")):
            monkeypatch.setattr(dotenv, "_PLAIN_LINE", form)
            try:
                found.append(dotenv.read_env_file(str(tmp_path / "e"))[0])
            except dotenv.JobFileError as error:
                found.append(str(error))
        assert found[0] == found[1], repr(text)


@pytest.mark.parametrize(
    "word", ["tasks", "TASK", "tsaks", "stask", "asks", "tasxks", "taxks", "xtasks", "tasksx"]
)
def test_a_key_with_one_typo_may_be_tasks(word):
    assert has_tasks(["x", word])


@pytest.mark.parametrize("word", ["toxks", "taxxs", "tasxy", "tallks", "skat", "masksx", "V1234"])
def test_a_key_with_more_typos_is_not(word):
    assert not has_tasks(["x", word])


def tasks_with_defaults(needs, count, own=""):
    tasks = "".join(f"- {{target: a:b{own}}}\n" for _ in range(count))
    return parse(f"defaults: {{depends_on: [{', '.join(needs)}]}}\ntasks:\n{tasks}", "f")


def test_the_dependencies_of_the_defaults_are_resolved_once(count_calls):
    resolved = count_calls(dependency_checks.DependencyChecks, "_resolve")
    document = tasks_with_defaults([f"Process-{n + 1}" for n in range(300)], 2000)
    assert task_checks.check(document)[0].message.startswith("dependency cycle: ")
    assert len(resolved) < 1000


def test_too_many_dependencies_by_default_are_refused_at_the_one_that_is_too_much(count_calls):
    resolved = count_calls(dependency_checks.DependencyChecks, "_resolve")
    document = tasks_with_defaults([f"Process-{n + 1}" for n in range(1500)], 1500)
    (diagnostic,) = task_checks.check(document)
    assert diagnostic.message.startswith("too many dependencies, patterns expanded (limit: 1,000,000)")
    # Each of 667 tasks has 1,499 of them: without itself, the 668th reaches a million with its 167th.
    column = document.source.lines[0].index("Process-168,") + 1
    assert (diagnostic.span.line, diagnostic.span.column) == (1, column)
    assert len(resolved) < 4000


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (["Process-1", "nope"], "unknown task `nope`"),
        (["'x*'"], "no task matches `x*`"),
        (["Process-2", "'Process-*'"], "dependency cycle: `Process-1` -> `Process-2` -> `Process-1`"),
    ],
)
def test_the_dependencies_of_the_defaults_are_checked(needs, message):
    assert task_checks.check(tasks_with_defaults(needs, 3))[0].message == message
