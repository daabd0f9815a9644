"""Matrices: their combinations, the order, and the names."""

import re
import tracemalloc
from collections import deque
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.timing import quick

from mprun.jobfile.instance_names import LABEL_LIMIT, SUFFIX_LIMIT, item_suffix
from mprun.jobfile.matrix import MAX_STEPS, TooManyCombinations, combinations


def suffixes(axes, include=(), exclude=()):
    return [suffix for _, suffix in combinations(axes, include, exclude)[1]]


def rows(axes, include=(), exclude=()):
    """The keys and values of each combination, without the keys that it lacks."""
    keys, found = combinations(axes, include, exclude)
    return [dict(zip(keys, values, strict=True)) for values, _ in found]


def label(value, *others):
    """How a name shows a value of an axis that has others."""
    (first, *_) = suffixes({"k": [value, *others]})
    return first.removeprefix("[k=").removesuffix("]")


def test_the_last_axis_varies_fastest():
    keys, found = combinations({"model": ["a", "b"], "n": [1, 2]})
    assert keys == ("model", "n")
    assert list(found) == [
        (("a", 1), "[model=a,n=1]"),
        (("a", 2), "[model=a,n=2]"),
        (("b", 1), "[model=b,n=1]"),
        (("b", 2), "[model=b,n=2]"),
    ]


def test_an_axis_without_values_gives_no_combination():
    assert suffixes({"a": [1], "b": []}) == []
    assert suffixes({"a": []}, include=[{"a": 1}]) == ["[a=1]"]


def test_a_repeated_value_counts_once_at_its_first_position():
    assert suffixes({"n": ["b", "a", "b", "a"]}) == ["[n=b]", "[n=a]"]


# -- exclude


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ([{"os": "l"}], ["[os=w,n=1]", "[os=w,n=2]"]),
        ([{"os": "l", "n": 2}], ["[os=l,n=1]", "[os=w,n=1]", "[os=w,n=2]"]),
        ([{"n": 2, "os": "l"}, {"os": "w"}], ["[os=l,n=1]"]),
        ([{"os": "l"}, {"os": "w"}], []),
        ([{"os": "x"}], ["[os=l,n=1]", "[os=l,n=2]", "[os=w,n=1]", "[os=w,n=2]"]),
        ([{"os": "l", "no": 1}], ["[os=l,n=1]", "[os=l,n=2]", "[os=w,n=1]", "[os=w,n=2]"]),
    ],
)
def test_a_combination_with_all_values_of_an_entry_is_left_out(exclude, left):
    assert suffixes({"os": ["l", "w"], "n": [1, 2]}, exclude=exclude) == left


@pytest.mark.parametrize(
    ("value", "entry", "same"),
    [
        (1, 1, True),
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (1, "1", False),
        (True, "true", False),
        (None, "null", False),
        (None, None, True),
        (None, False, False),
        ("a", "A", False),
        (0.0, -0.0, True),
        (float("nan"), float("nan"), True),
        ("", None, False),
        (2**70, float(2**70), True),
    ],
)
def test_values_are_compared_as_yaml_would(value, entry, same):
    assert bool(suffixes({"k": [value]}, exclude=[{"k": entry}])) is not same
    assert len(suffixes({"k": [value]}, include=[{"k": entry, "more": 1}])) == (1 if same else 2)


def test_a_combination_that_was_left_out_may_be_added_again():
    assert suffixes({"n": [1, 2]}, include=[{"n": 2}], exclude=[{"n": 2}]) == ["[n=1]", "[n=2]"]


# -- include


def test_the_example_of_github_gives_what_github_says():
    axes = {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]}
    include = [
        {"color": "green"},
        {"color": "pink", "animal": "cat"},
        {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    keys, found = combinations(axes, include)
    assert keys == ("fruit", "animal", "color", "shape")
    assert list(found) == [
        (("apple", "cat", "pink", "circle"), "[fruit=apple,animal=cat,color=pink,shape=circle]"),
        (("apple", "dog", "green", "circle"), "[fruit=apple,animal=dog,color=green,shape=circle]"),
        (("pear", "cat", "pink", None), "[fruit=pear,animal=cat,color=pink]"),
        (("pear", "dog", "green", None), "[fruit=pear,animal=dog,color=green]"),
        (("banana", None, None, None), "[fruit=banana]"),
        (("banana", "cat", None, None), "[fruit=banana,animal=cat]"),
    ]


def test_entries_that_match_nothing_are_combinations_of_their_own():
    assert suffixes({}, include=[{"site": "a", "n": 1}, {"site": "b"}]) == ["[site=a,n=1]", "[site=b]"]


def test_an_entry_that_only_repeats_values_changes_nothing():
    assert suffixes({"n": [1, 2]}, include=[{"n": 1}]) == ["[n=1]", "[n=2]"]


def test_a_later_entry_does_not_match_what_an_earlier_one_adds():
    found = suffixes({"n": [1]}, include=[{"n": 1, "os": "l"}, {"os": "l", "n": 2, "gpu": True}])
    assert found == ["[n=1,os=l]", "[n=2,os=l,gpu=true]"]


def test_the_same_entry_twice_is_one_combination():
    assert suffixes({"n": [1]}, include=[{"n": 2}, {"n": 2}]) == ["[n=1]", "[n=2]"]


def test_a_key_that_is_null_is_shown_and_one_that_is_missing_is_not():
    found = list(combinations({"n": [1, None]}, include=[{"m": 1, "n": 1}])[1])
    assert found == [((1, 1), "[n=1,m=1]"), ((None, None), "[n=null]")]


# -- names


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (None, "null"),
        (3, "3"),
        (-3, "-3"),
        (1.5, "1.5"),
        (1.0, "1.0"),
        (1e20, "1e+20"),
        (float("inf"), ".inf"),
        (float("-inf"), "-.inf"),
        (float("nan"), ".nan"),
        ("text", "text"),
        ("3.10", "3.10"),
        ("true", "true"),
        ("two words", "two words"),
        ("meta/llama-3:8b", "meta/llama-3:8b"),
        ("跳舞", "跳舞"),
        ("", '""'),
        ("a" * 40, "a" * 40),
    ],
)
def test_a_value_is_shown_as_yaml_writes_it_plainly(value, shown):
    assert label(value) == shown


@pytest.mark.parametrize(
    ("value", "readable"),
    [
        ("a,b", "a_b"),
        ("a=b", "a_b"),
        ("[x]", "_x_"),
        ("*.csv", "_.csv"),
        ("${x}", "__x_"),
        ("a\nb", "a_b"),
        ("\x1b[31m", "__31m"),
        ("a\u202eb", "a_b"),
        ("\ud800", "_"),
        ("a" * 41, "a" * 40),
        (10**50, "1" + "0" * 39),
        ({"a": ["[1]", None]}, "_1_:null"),
        ({1: "a,b", "b": 2}, "a_b:2"),
    ],
)
def test_unsafe_values_in_a_name_are_replaced_and_distinguished_by_a_hash(value, readable):
    found = label(value)
    assert re.fullmatch(re.escape(readable) + "~[0-9a-f]{4}", found)
    # The name depends on the value alone: another value does not change it.
    assert label(value, "other", 7) == found


def test_similar_values_have_different_suffixes():
    assert suffixes({"k": ["1", 1, True, "true", "null", None]}) == [
        '[k="1"]',
        "[k=1]",
        "[k=true]",
        '[k="true"]',
        '[k="null"]',
        "[k=null]",
    ]
    assert suffixes({"k": ["1", "3.10"]}) == ["[k=1]", "[k=3.10]"]
    assert suffixes({"k": ["1", '"1"', 1]}) == ['[k="1"]', '[k=""1""]', "[k=1]"]


def test_a_text_that_imitates_a_replaced_one_gets_another_name():
    made = label("a,b")
    found = suffixes({"k": ["a,b", made]})
    assert found[1] == f"[k={made}]"
    assert len(set(found)) == 2


def test_a_name_of_many_axes_is_cut():
    axes = {f"axis{n}": ["x" * 30, "y" * 30] for n in range(6)}
    found = suffixes(axes)
    assert len(set(found)) == 64
    assert all(len(name) == SUFFIX_LIMIT and name[0] == "[" and name[-1] == "]" for name in found)


def test_an_unsafe_key_is_made_safe_in_a_name():
    (found,) = suffixes({}, include=[{"a=b]": 1, "k" * 99: 2}])
    assert found.count("[") == found.count("]") == 1
    assert found.count("=") == 2


def test_the_items_of_a_foreach_are_numbered():
    assert [item_suffix(place) for place in (0, 10)] == ["[0]", "[10]"]


texts = st.text(alphabet=st.sampled_from('ab1,=[]~"_ \n'), max_size=4)
scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | texts | st.text(max_size=60)
entries = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), scalars, min_size=1), max_size=4)
matrices = st.dictionaries(st.sampled_from(["a", "b"]), st.lists(scalars, min_size=1, max_size=4))


@given(matrices, entries, entries)
def test_every_name_is_safe_short_and_unique(axes, include, exclude):
    keys, found = combinations(axes, include, exclude)
    found = list(found)
    names = [name for _, name in found]
    assert len(set(names)) == len(names)
    for values, name in found:
        assert len(values) == len(keys)
        assert len(name) <= SUFFIX_LIMIT
        assert name.isprintable()
        assert not set("[]{},=*?$") & set("".join(part.partition("=")[2] for part in name[1:-1].split(",")))
        assert all(len(part) <= LABEL_LIMIT + 20 for part in name.split(","))


def same(one, other):
    """Whether two values are equal in YAML."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other))
    nan = numbers and one != one and other != other
    return nan or (one == other and (numbers or type(one) is type(other)))


def plainly(axes, include, exclude):
    """GitHub's rules, word for word: rows of the original combinations, then the others."""
    combos = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []

    def has(combo, entry):
        return all(key in combo and same(combo[key], value) for key, value in entry.items())

    left = [combo for combo in combos if not any(has(combo, entry) for entry in exclude)]
    made = [dict(combo) for combo in left]
    others = []
    for entry in include:
        named = {key: value for key, value in entry.items() if key in axes}
        fits = [place for place, combo in enumerate(left) if has(combo, named)]
        for place in fits:
            made[place].update({key: value for key, value in entry.items() if key not in axes})
        if not fits:
            others.append(entry)
    return made, others


few = st.sampled_from([1, True, "1", None])
small = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), few, min_size=1), max_size=4)


@given(
    st.dictionaries(st.sampled_from(["a", "b"]), st.lists(few, min_size=1, max_size=4, unique_by=repr)),
    small,
    small,
)
def test_the_combinations_are_those_of_githubs_rules(axes, include, exclude):
    keys, found = combinations(axes, include, exclude)
    made, others = plainly(axes, include, exclude)
    unique = {repr(sorted(entry.items())): entry for entry in reversed(others)}
    expected = [tuple(combo.get(key) for key in keys) for combo in made]
    found = [values for values, _ in found]
    assert repr(found[: len(made)]) == repr(expected)
    rest = {repr(tuple(entry.get(key) for key in keys)) for entry in unique.values()}
    assert {repr(values) for values in found[len(made) :]} == rest
    assert len(found) == len(made) + len(unique)


# -- speed


def test_a_hundred_thousand_take_well_under_a_second_and_no_memory():
    axes = {"a": list(range(100)), "b": [f"v{n}" for n in range(1000)]}
    with quick(2):
        assert len(suffixes(axes)) == 100_000
        include, exclude = [{"a": 5, "c": 1}, {"a": 500}], [{"a": 1, "b": "v1"}]
        assert len(suffixes(axes, include, exclude)) == 100_000
    tracemalloc.start()
    deque(combinations(axes)[1], maxlen=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("axes", "include", "message"),
    [
        ({f"a{n}": [*range(100)] for n in range(20)}, [], "too many combinations: over 1,000,000,000,000"),
        ({"a": [*range(MAX_STEPS + 1)]}, [], f"too many combinations: {MAX_STEPS + 1:,}"),
        (
            {"a": [*range(10_000)]},
            [{"x": n} for n in range(1000)],
            "too many combinations: 10,000 to compare with 1,000 entries",
        ),
        (
            {"a": [1], "b": [*range(10_000)]},
            [{"a": 1, "x": n} for n in range(1000)],
            "too many combinations: 10,000 to compare with 1,000 entries",
        ),
    ],
)
def test_a_matrix_that_would_take_very_long_is_refused_at_once(axes, include, message):
    with quick(1), pytest.raises(TooManyCombinations, match=message):
        combinations(axes, include)


# ---- axes of mappings (C46)


def test_a_mapping_is_named_by_its_plain_values():
    oses = [{"name": "a", "n": 1}, {"name": "a", "n": 2}, {"deep": {"x": [True, None]}}, [1, "b"], {}]
    assert suffixes({"os": oses, "v": [1]}) == [
        "[os=a:1,v=1]", "[os=a:2,v=1]", "[os=true:null,v=1]", "[os=1:b,v=1]", f"[os={label({})},v=1]"
    ]  # fmt: skip


def test_names_of_mappings_are_unique_short_and_do_not_depend_on_the_values_after_them():
    same = [{"a": 1, "b": 2}, {"b": 1, "a": 2}, "1:2", {"c": "1:2"}]
    names = suffixes({"k": same})
    assert len(set(names)) == 4
    assert names[2] == "[k=1:2]"
    assert suffixes({"k": [{"a": 1}, {"a": 2}]})[0] == suffixes({"k": [{"a": 1}, {"a": 3}, {"b": 9}]})[0]
    assert len(label({"a": "x" * 100})) <= LABEL_LIMIT + len("~0000")
    assert len(set(suffixes({"k": [{"a": "x" * 100 + "1"}, {"a": "x" * 100 + "2"}]}))) == 2


def test_the_same_mapping_twice_counts_once_whatever_the_order_of_its_keys():
    assert suffixes({"k": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]}) == ["[k=1:2]"]


def test_an_entry_matches_every_mapping_that_has_its_values():
    oses = [{"name": "a", "n": 1}, {"name": "a", "n": 2}, {"name": "b", "n": 1, "more": {"x": 1, "y": 2}}]
    axes = {"os": oses, "v": [1, 2]}
    assert [(row["os"]["n"], row["v"]) for row in rows(axes, exclude=[{"os": {"name": "a"}, "v": 2}])] == [
        (1, 1), (2, 1), (1, 1), (1, 2)
    ]  # fmt: skip
    assert len(rows(axes, exclude=[{"os": {"more": {"y": 2}}}])) == 4
    assert len(rows(axes, exclude=[{"os": {"name": "a", "more": 1}}])) == 6
    assert len(rows(axes, exclude=[{"os": {"n": "1"}}, {"os": {}, "v": 1}])) == 3
    found = rows(axes, include=[{"os": {"name": "b"}, "extra": "z"}, {"os": {"name": "c"}}])
    assert [row["extra"] for row in found] == [None] * 4 + ["z"] * 2 + [None]
    assert found[-1]["os"] == {"name": "c"}


def test_many_mappings_in_entries_are_refused_quickly():
    axis = [{"n": n, "k": 0} for n in range(20_000)]
    with quick(5):
        with pytest.raises(TooManyCombinations):
            combinations({"a": axis}, exclude=[{"a": {"n": n}} for n in range(20_000)])
        with pytest.raises(TooManyCombinations):
            combinations({"a": axis[:2000], "b": axis[:2000]}, exclude=[{"a": {"k": 0}, "b": {"k": 0}}])
