"""How diagnostics are rendered: position, source line, caret, help."""

import json
import re
import sys
import threading
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.timing import quick

from mprun import secret_forms
from mprun.diagnostic_text import render
from mprun.diagnostics import (
    _CONTROLS,
    QUOTE_LIMIT,
    Comparisons,
    Diagnostic,
    SourceLines,
    SourceText,
    Span,
    closest,
    did_you_mean,
    is_visible,
    quote,
    suggest,
    visible,
)
from mprun.errors import JobFileError
from mprun.jobfile.schema import job_schema
from mprun.jobfile.schema.synonyms import SYNONYMS
from mprun.jobfile.syntax.document import parse

JOB = json.loads(job_schema.schema_text("job"))


def diagnostic(
    line_text="    retires: 2", line=1, column=5, width=7, message="wrong", help="", path="f.yaml"
):
    source = SourceText(path=path, lines=SourceLines("\n" * (line - 1) + line_text))
    span = Span(line=line, column=column, width=width)
    return Diagnostic(message=message, source=source, span=span, help=help)


def columns(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def test_a_diagnostic_looks_as_the_design_shows_it():
    shown = render(
        [
            diagnostic(
                line=10,
                message="unknown key `retires` in task `crunch`",
                help="did you mean `retry`?",
                path="jobs/demo.yaml",
            )
        ]
    )
    assert shown == (
        "error: unknown key `retires` in task `crunch`\n"
        "  --> jobs/demo.yaml:10:5\n"
        "   |\n"
        "10 |     retires: 2\n"
        "   |     ^^^^^^^ did you mean `retry`?"
    )


def test_the_gutter_is_as_wide_as_the_line_number():
    shown = render([diagnostic("a: 1", line=1234, column=1, width=1)]).splitlines()
    assert shown[1].startswith("    --> ")
    assert shown[2] == "     |"
    assert shown[3] == "1234 | a: 1"


def test_diagnostics_are_separated_by_an_empty_line():
    assert "\n\nerror: two\n" in render([diagnostic(message="one"), diagnostic(message="two")])


def test_without_colour_no_escape_code_is_written():
    assert "\x1b" not in render([diagnostic(help="x")])


def test_the_error_is_bold_red_the_position_blue_and_the_caret_red():
    shown = render([diagnostic(help="mend it")], colour=True)
    assert "\x1b[1;31merror:\x1b[0m wrong" in shown
    assert "\x1b[34m-->\x1b[0m" in shown
    assert "\x1b[31m^^^^^^^ mend it\x1b[0m" in shown


def test_the_caret_lines_up_behind_tabs():
    source, caret = render([diagnostic("\ta:\tx", column=5, width=1)]).splitlines()[3:]
    assert "\t" not in source
    # The `x` of the text: that of an escape such as `\x1b` comes before it.
    assert source.rindex("x") == caret.index("^")


def test_wide_characters_count_two_columns():
    source, caret = render([diagnostic("名前: 値だ", column=5, width=2)]).splitlines()[3:]
    assert columns(source[: source.index("値")]) == caret.index("^")
    assert caret.count("^") == 4


@pytest.mark.parametrize("mark", ["\u0301", "\ufe0f", "\u20dd"])
def test_combining_characters_count_none(mark):
    caret = render([diagnostic(f"e{mark}: x", column=5, width=1)]).splitlines()[4]
    assert caret.index("^") == len("1 | ") + 3


@pytest.mark.parametrize(
    "char", ["\x00", "\x1b", "\x7f", "\x85", "\x9b", "\u202e", "\u2066", "\u200b", "\ufeff"]
)
def test_characters_that_act_or_hide_are_made_visible(char):
    shown = render([diagnostic(f"a: {char}x", column=5, width=1, path=f"f{char}.yaml")])
    assert char not in shown
    source, caret = shown.splitlines()[3:]
    # The `x` of the text: that of an escape such as `\x1b` comes before it.
    assert source.rindex("x") == caret.index("^")


def test_a_long_line_is_cut_to_a_window_around_the_caret():
    line = "x" * 5000 + "HERE" + "y" * 5000
    source, caret = render([diagnostic(line, column=5001, width=4)]).splitlines()[3:]
    assert len(source) <= QUOTE_LIMIT
    assert source[caret.index("^") : caret.rindex("^") + 1] == "HERE"
    assert source.startswith("1 | …")
    assert source.endswith("…")


def test_a_span_that_is_longer_than_the_window_ends_with_it():
    source, caret = render([diagnostic("x" * 9000, column=1, width=9000)]).splitlines()[3:]
    assert len(caret) <= len(source) <= QUOTE_LIMIT


def test_a_span_past_the_end_of_the_file_still_shows_the_help():
    far = Diagnostic(
        message="m",
        source=SourceText(path="f", lines=SourceLines("a")),
        span=Span(line=9, column=1),
        help="mend",
    )
    assert "mend" in render([far])


@given(
    text=st.text(max_size=600).filter(lambda t: "\n" not in t and "\r" not in t),
    column=st.integers(1, 700),
    width=st.integers(0, 700),
)
def test_any_line_renders_within_limits_and_without_control_characters(text, column, width):
    lines = render([diagnostic(text, column=column, width=width)], colour=False).split("\n")
    assert len(lines) == 5
    assert all(map(is_visible, "".join(lines)))
    assert "^" in lines[4]


def test_quote_shortens_to_two_hundred_characters():
    assert quote("ab") == "`ab`"
    assert quote("x" * 1000) == "`" + "x" * (QUOTE_LIMIT - 1) + "…`"


def test_quote_makes_escape_codes_visible():
    assert quote("\x1b[31m") == "`\\x1b[31m`"


def test_visible_leaves_ordinary_text_alone():
    assert visible("Dancing··· 名前 é") == "Dancing··· 名前 é"


def test_visible_shows_lone_surrogates_so_that_the_message_can_be_encoded():
    visible("a\ud800b").encode("utf-8")


TASK_KEYS = sorted(JOB["definitions"]["task"]["properties"])
JOB_KEYS = sorted(JOB["properties"])


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("retires", "retry"),
        ("retries", "retry"),
        ("Target", "target"),
        ("tag", "tags"),
        ("function", "target"),
        ("callable", "target"),
        ("depends", "depends_on"),
        ("needs", "depends_on"),
        ("dependencies", "depends_on"),
        ("dependsOn", "depends_on"),
        ("depends-on", "depends_on"),
        ("cmd", "command"),
        ("run", "command"),
        ("shell", "command"),
        ("argument", "args"),
        ("arguments", "args"),
        ("environment", "env"),
        ("workdir", "cwd"),
        ("working_dir", "cwd"),
        ("timout", "timeout"),
        ("kwarg", "kwargs"),
        ("deamon", "daemon"),
        ("if", "when"),
    ],
)
def test_a_key_of_a_task_is_guessed(word, meant):
    assert did_you_mean(word, TASK_KEYS, SYNONYMS) == f"did you mean `{meant}`?"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("processes", "tasks"),
        ("jobs", "tasks"),
        ("task", "tasks"),
        ("parallel", "max_parallel"),
        ("workers", "max_parallel"),
        ("max_workers", "max_parallel"),
        ("parameters", "params"),
        ("max-parallel", "max_parallel"),
        ("failfast", "fail_fast"),
    ],
)
def test_a_key_of_a_job_is_guessed(word, meant):
    assert did_you_mean(word, JOB_KEYS, SYNONYMS) == f"did you mean `{meant}`?"


def test_a_name_that_is_twice_among_the_candidates_is_named_once():
    assert suggest("crunch", ["x", "y", "x"], "tasks") == "known tasks: `x`, `y`"


def test_an_unfamiliar_word_gets_no_suggestion():
    assert did_you_mean("zzzzzz", TASK_KEYS, SYNONYMS) == ""
    assert did_you_mean("a", []) == ""


def test_a_word_of_megabytes_costs_no_time():
    with quick(1):
        assert did_you_mean("ab" * 4_000_000, TASK_KEYS, SYNONYMS) == ""


def test_nine_of_ten_typos_of_every_key_are_mended():
    found = total = 0
    for key in TASK_KEYS:
        for i in range(len(key) if len(key) > 3 else 0):
            swapped = key[:i] + key[i + 1 : i + 2] + key[i] + key[i + 2 :]
            for typo in {key[:i] + key[i + 1 :], swapped, key[:i] + key[i] + key[i:]} - {key}:
                total += 1
                found += did_you_mean(typo, TASK_KEYS, SYNONYMS) == f"did you mean `{key}`?"
    assert found >= 0.9 * total


# What a terminal obeys, and what no one sees (C70): controls, bidi, line ends of Unicode, characters without
# a width, tags. Some of them are printable to Python.
ACT_OR_HIDE = [
    *map(chr, [*range(9), *range(11, 32), *range(127, 160), 0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4]),
    *map(chr, [0x180B, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070)]),
    *map(chr, [0x3164, 0xFEFF, 0xFFA0, 0xFFF9, 0x1D173, 0xE0001, 0xE0041, 0xE007F, 0xE0100, 0xE01EF]),
]


@given(st.text(st.characters() | st.sampled_from(ACT_OR_HIDE)), st.booleans())
def test_visible_text_cannot_act_on_a_terminal(text, multiline):
    shown = visible(text, multiline=multiline)
    assert not set(shown) & set(ACT_OR_HIDE)
    assert multiline or not {"\t", "\n"} & set(shown)
    if all(map(is_visible, text)):
        assert shown == text


@pytest.mark.parametrize("char", ACT_OR_HIDE, ids=ascii)
@pytest.mark.parametrize("multiline", [False, True])
def test_every_character_that_acts_or_hides_is_written_out(char, multiline):
    shown = char.encode("unicode_escape").decode()
    assert visible(f"a{char}b", multiline=multiline) == f"a{shown}b"
    assert visible(f"é{char}\n", multiline=True) == f"é{shown}\n"


def test_in_no_text_is_a_character_left_that_acts_or_hides():
    every_one = "".join([chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000])
    controls = re.findall(_CONTROLS, every_one)
    assert len(controls) > 4000
    for char in controls:
        shown = char.encode("unicode_escape").decode()
        assert visible(f"{char}├─ \n", multiline=True) == f"{shown}├─ \n"
    assert all(
        visible(f"{char}\n", multiline=True) == f"{char}\n" for char in "├─└│…\u00a0\U0001f469\u200d\t"
    )


def test_controls_are_shown_as_python_writes_them():
    text = "a\x1b[31m\x07\x9b\u202e\r\nb\tc"
    assert visible(text, multiline=True) == "a\\x1b[31m\\x07\\x9b\\u202e\\r\nb\tc"
    assert visible(text) == "a\\x1b[31m\\x07\\x9b\\u202e\\r\\nb\\tc"


def test_spaces_are_shown_in_a_single_line_only():
    assert visible("a\u200bb\u00a0c") == "a\\u200bb\\xa0c"
    assert visible("a\u200bb\u00a0c\n", multiline=True) == "a\\u200bb\u00a0c\n"
    woman_at_a_computer = "\U0001f469\u200d\U0001f4bb"
    assert visible(woman_at_a_computer) == woman_at_a_computer


def test_the_remedy_of_a_long_value_is_in_sight_below_it():
    with pytest.raises(JobFileError) as caught:
        parse("env: {ID: " + "9" * 5000 + "}\n", "job.yaml")
    *_, carets, help = render(caught.value.diagnostics).splitlines()
    assert carets.endswith("^^^")
    assert help == "  = quote it if it is meant as a string"


def test_the_searches_of_a_block_spend_from_one_budget():
    names = [f"taskname{n:06}" for n in range(20_000)]
    with Comparisons() as comparisons:
        found = [closest(f"tasknaem{n:06}", names) for n in range(50)]
        # The last search may go beyond the end: by what it takes to look at the names.
        assert comparisons.left > -600_000
        assert suggest("tasknaem000000", names, "tasks") == ""
    assert found[0].startswith("taskname0")
    assert found[-1] == ""
    assert closest("tasknaem000049", names).startswith("taskname0")


class ReadSlowly(str):
    """A text of which one thread has read nothing when another one looks for its own secrets."""

    def __getitem__(self, key):
        thread = threading.Thread(target=secret_forms.possible_in, args=("", {"another"}))
        thread.start()
        thread.join()
        return str(self)[key]


@pytest.mark.parametrize(
    ("look", "found"),
    [(secret_forms.possible_in, ["secret"]), (secret_forms.end_before_unfinished, len("it is "))],
)
def test_a_secret_is_found_while_another_thread_looks_for_others(look, found):
    """A program may run a job in each thread; it was in one of some hundred messages meanwhile."""
    assert look(ReadSlowly("it is secre" if found == 6 else "it is secret"), {"secret"}) == found


def test_a_secret_is_found_after_others_that_are_gone():
    """Python gives new objects the places of old ones in memory."""

    def is_found(number):
        secrets = [f"secret{number}"]
        return secret_forms.possible_in(secrets[0], secrets) == secrets

    assert all(is_found(number) for number in range(100))


def test_each_thread_has_what_its_own_searches_may_spend():
    """Of two loads, the one that had begun first was the limit of all searches after both."""
    has_begun, may_end = threading.Event(), threading.Event()

    def load():
        with Comparisons(0):
            has_begun.set()
            may_end.wait()

    thread = threading.Thread(target=load)
    with Comparisons(0):
        thread.start()
        has_begun.wait()
    assert closest("nmae", ["name"]) == "name"
    may_end.set()
    thread.join()
    assert closest("nmae", ["name"]) == "name"
