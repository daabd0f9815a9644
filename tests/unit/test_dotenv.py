"""Env files: what their lines mean, and that no message contains their values."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.timing import quick

from mprun.diagnostic_text import render
from mprun.errors import JobFileError, UsageError
from mprun.jobfile.dotenv import MAX_DIAGNOSTICS, read_env_file
from mprun.jobfile.text_file import MAX_BYTES


@pytest.fixture
def read(tmp_path):
    """Reads an env file of this text or these bytes."""

    def read(text):
        path = tmp_path / "my.env"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_env_file(str(path))[0]

    return read


@pytest.fixture
def diagnostics(read):
    def diagnostics(text):
        with pytest.raises(JobFileError) as caught:
            read(text)
        return caught.value.diagnostics

    return diagnostics


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=x", "x"),
        ("A=", ""),
        ("A=a b", "a b"),
        ("A=x  ", "x"),
        ("A= x", "x"),
        ("A =x", "x"),
        ("  A=x", "x"),
        ("export A=x", "x"),
        ("\texport\tA=x", "x"),
        ("A=b=c==", "b=c=="),
        ("A=x # why", "x"),
        ("A=x\t#why", "x"),
        ("A=x#y", "x#y"),
        ("A=#y", "#y"),
        ("A= # why", ""),
        ("A=a'b\"c", "a'b\"c"),
        ("A=a\\nb", "a\\nb"),
        ("A=$HOME ${HOME}", "$HOME ${HOME}"),
        ("A=''", ""),
        ("A='a # b'", "a # b"),
        ("A='a\\n\"b'", 'a\\n"b'),
        ("A='x' # why", "x"),
        ("A='x'  ", "x"),
        ('A=""', ""),
        ('A="a # b"', "a # b"),
        ('A="a\\nb\\tc"', "a\nb\tc"),
        ('A="say \\"no\\""', 'say "no"'),
        ('A="a\\\\nb"', "a\\nb"),
        ('A="C:\\dir $X it\'s"', "C:\\dir $X it's"),
        ('A="x"\t# why', "x"),
        ("A=ä€\U0001f600", "ä€\U0001f600"),
        ("A.b-c_1=x", None),
    ],
)
def test_a_line_has_this_value(read, line, value):
    assert read(line) == ({"A.b-c_1": "x"} if value is None else {"A": value})


def test_a_variable_may_be_called_export(read):
    assert read("export=1\nexport export=2\nexport = 3\nexported=4") == {"export": "3", "exported": "4"}


def test_blank_lines_and_comments_mean_nothing(read):
    assert read("\n  \t\n# A=x\n   # 'not closed\n\n#\0\nB=y\n") == {"B": "y"}
    assert read("") == {}


def test_the_order_is_the_files_and_the_last_of_a_name_holds(read):
    assert list(read("B=1\nA=2\nB=3\n").items()) == [("B", "3"), ("A", "2")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_anywhere_and_the_file_may_begin_with_a_mark(read, end):
    assert read(f"\ufeffA=x{end}B='y'{end}C=\"z\" # c{end}") == {"A": "x", "B": "y", "C": "z"}


PEM = "-----BEGIN PRIVATE KEY-----\nMIIEhunter2+/==\nhunter2=\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["'", '"'])
def test_a_quoted_value_may_span_lines(read, mark, end):
    """C45: a private key, as every secret store writes it, with either line end."""
    text = f"export KEY=|{PEM}|  # rotated\nB=|\n|\n\nC=|\n\n # no comment\n|\nD=1\n".replace("|", mark)
    assert read(text.replace("\n", end)) == {"KEY": PEM, "B": "\n", "C": "\n\n # no comment\n", "D": "1"}


def test_escapes_hold_in_a_value_that_spans_lines(read):
    assert read('A="say \\"no\\"\n\\tin it\\\\"\nB=x') == {"A": 'say "no"\n\tin it\\', "B": "x"}


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        (f"A=1\nKEY='{PEM}\nB=2\nC=hunter2\n", "unclosed quote", 2),
        (f"KEY='{PEM}\nB='hunter2'\nC=\"x\"\n", "unclosed quote", 1),
        (f'KEY="{PEM}\n# don"t\nC=x\n', "unclosed quote", 1),
        (f"KEY={PEM}\nB=2\n", "value of several lines without quotes", 1),
        (f"\n KEY={PEM[:-25]}", "value of several lines without quotes", 2),
        ("A=1\n\nB='hunter\n2\n\0'\nC=3\n", "NUL character in a value", 3),
    ],
)
def test_a_mistake_in_a_value_of_several_lines_is_one_error(diagnostics, text, message, line):
    """C45: and nothing of the key is shown."""
    (diagnostic,) = diagnostics(text)
    assert (diagnostic.message, diagnostic.span.line) == (message, line)
    assert "hunter2" not in repr(diagnostic) + render([diagnostic])


@pytest.mark.parametrize(
    ("line", "message", "column", "shown"),
    [
        ("hunter2", "missing `=`", 1, "***"),
        ("  export hunter2", "missing `=`", 10, "  export ***"),
        ("hunter2 MIIEp+==", "invalid environment variable name", 1, "***"),
        ("2hunter=x", "invalid environment variable name", 1, "***"),
        ("hunter 2=x", "invalid environment variable name", 1, "***"),
        ("hunter\0=x", "invalid environment variable name", 1, "***"),
        ("=hunter2", "missing name before the `=`", 1, "***"),
        ("A=hunter2\0", "NUL character in a value", 3, "A=***"),
        ("A='hunter2", "unclosed quote", 3, "A=***"),
        ('export A="hunter2', "unclosed quote", 10, "export A=***"),
        ('A="hunter2\\"', "unclosed quote", 3, "A=***"),
        ('A = "hunter"2', "text after a quoted value", 5, "A = ***"),
        ("A='hunter'#2", "text after a quoted value", 3, "A=***"),
        ("A='hunter''2'", "text after a quoted value", 3, "A=***"),
    ],
)
def test_an_invalid_line_is_reported_by_position_without_its_value(diagnostics, line, message, column, shown):
    (diagnostic,) = diagnostics(f"GOOD=hunter2\n{line}\nMORE='hunter2'\n")
    assert diagnostic.message == message
    assert (diagnostic.span.line, diagnostic.span.column) == (2, column)
    assert diagnostic.source.path.endswith("my.env")
    assert diagnostic.source.lines[1] == shown
    assert "hunter" not in repr(diagnostic) + render([diagnostic])
    assert diagnostic.help


def test_up_to_a_hundred_invalid_lines_are_reported_at_once(diagnostics):
    assert [diagnostic.span.line for diagnostic in diagnostics("a\nB=1\nc\n'd'\n")] == [1, 3, 4]
    assert len(diagnostics("x\n" * 1000)) == MAX_DIAGNOSTICS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "env file `"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b"A=x\nB=hunter\xff2"), "invalid UTF-8 in"),
        (lambda path: path.write_bytes(b"A=" + b"x" * (MAX_BYTES - 1)), "is too large"),
        (lambda path: path.symlink_to(path), "cannot read env file "),
    ],
    ids=["missing", "directory", "latin", "large", "loop"],
)
def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path, make, message):
    path = tmp_path / "my.env"
    make(path)
    with pytest.raises(UsageError) as caught:
        read_env_file(str(path))
    assert not isinstance(caught.value, JobFileError)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "hunter" not in str(caught.value)


def test_a_name_that_no_file_can_have_is_a_usage_error():
    with pytest.raises(UsageError, match=r"cannot read .*: embedded null"):
        read_env_file("a\0b")


def test_a_file_without_an_end_is_not_read_to_its_end():
    with pytest.raises(UsageError, match="is a device, not a regular file"):
        read_env_file("/dev/zero")


def test_the_largest_file_is_read(read):
    assert len(read(b"A=" + b"x" * (MAX_BYTES - 2))["A"]) == MAX_BYTES - 2


@pytest.mark.parametrize(
    "text",
    ["A=" + '"' * (MAX_BYTES - 2), 'A="' + "\\n" * 500_000, "A=" + "\t" * 1_000_000, "A" + " " * 1_000_000,
     "x\n" * 500_000, "A=x #" * 200_000, "A='" + " #'" * 300_000, " \n" * 500_000],
    ids=["quotes", "escapes", "blanks", "no equals", "lines", "comments", "rest", "empty"],
)  # fmt: skip
def test_a_hostile_file_is_read_quickly(read, text):
    with quick(5), suppress(JobFileError):
        read(text)


@given(st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"])))
@example("\\")
@example('"\\"')
def test_any_value_can_be_quoted(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("env") / "my.env"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    path.write_text(f'A="{escaped}"\n', "utf-8")
    assert read_env_file(str(path))[0] == {"A": value}


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_any_text_is_read_or_refused_with_positions_inside_it(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("env") / "my.env"
    path.write_bytes(text.encode())
    variables, diagnostics = {}, []
    try:
        variables, _ = read_env_file(str(path))
    except JobFileError as error:
        diagnostics = error.diagnostics
    assert all(name and "\0" not in name + value for name, value in variables.items())
    assert all(1 <= diagnostic.span.line <= len(text) + 1 for diagnostic in diagnostics)
    render(diagnostics)
