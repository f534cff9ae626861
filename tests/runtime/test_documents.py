"""YAML and JSON of any content: what it holds, or a ValueError of one line, at once."""

import contextlib
import datetime as dt
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facetry.runtime.documents import MAX_DEPTH, parse_json, parse_yaml


def bomb(num_levels: int) -> str:
    """Lists of ten aliases each to the list before."""
    lists = [f"a{each}: &a{each} [{', '.join([f'*a{each - 1}'] * 10)}]" for each in range(1, num_levels)]
    return "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x, x]", *lists])


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", None),
        ("a: [1, x]\nb: {c: ~}", {"a": [1, "x"], "b": {"c": None}}),
        ("a: &a [1]\nb: [*a, *a]", {"a": [1], "b": [[1], [1]]}),
        ("a: &a {b: 1}\nc: {<<: *a, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("a: 2024-05-01", {"a": dt.date(2024, 5, 1)}),
        ("\ufeffa: 1", {"a": 1}),
        ("1: a\n'1': b", {1: "a", "1": "b"}),
    ],
)
def test_sound_yaml(text: str, content: object) -> None:
    assert parse_yaml(text) == content


REFUSED_YAML = [
    ("bomb", bomb(9), "line 5: aliases stand for more than 100,000 values"),
    ("list in itself", "members: &m {a: *m}", "line 1: '&m' contains itself"),
    ("anchor used twice", "a: &a [1]\nb: &a [*a]", "line 2: found duplicate anchor"),
    ("deep lists", "a: " + "[" * 100_000, "nested more than 64 deep"),
    ("deep entries", "- " * 100_000, "nested more than 64 deep"),
    ("deep mappings", "{a: " * 100_000, "nested more than 64 deep"),
    ("repeated key", "a: 1\nb: 2\na: 3", "line 3: names the key 'a' twice"),
    ("repeated key further in", "a: {b: 1, b: 1}", "names the key 'b' twice"),
    ("open list", "a: [1", "line 2: "),
    ("two colons", "a: b: c", "line 1: mapping values are not allowed"),
    ("unknown alias", "a: *b", "line 1: found undefined alias"),
    ("two documents", "--- a\n--- b", "line 2: "),
    ("an object", "a: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
    ("no date", "a: 2024-13-45", "a malformed value: month must be in 1..12"),
    ("no timestamp", "!!timestamp x", "a malformed value"),
    ("no number", "!!int ''", "a malformed value"),
    ("no truth value", "!!bool x", "a malformed value"),
    ("list as a key", "? [a]\n: b", "line 1: while constructing a mapping, found unhashable key"),
    ("long number", "a: " + "9" * 5000, "line 1: a number of 5,000 characters"),
    ("long number of base 60", "a: " + "1:" * 500_000 + "1", "a number of 1,000,001 characters"),
    ("zero byte", "a: \0", "unacceptable character"),
    ("half a character", "a: '\ud800'", "surrogates not allowed"),
]


@pytest.mark.parametrize(
    ("text", "message"), [row[1:] for row in REFUSED_YAML], ids=[row[0] for row in REFUSED_YAML]
)
def test_refused_yaml(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        parse_yaml(text)
    assert "\n" not in str(raised.value)


def test_as_deep_as_is_allowed() -> None:
    parse_yaml("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "4300 digits"),
        ('"\\ud800"', "surrogates not allowed"),
        ("{", "property name"),
        (b"\xff{}", "can't decode"),
        ("", "Expecting value"),
    ],
)
def test_refused_json(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


# Pieces that meet in every way: what a parser stumbles over lies between them.
PIECES = st.sampled_from(
    ["a", ": ", "- ", "\n", " ", "[", "]", "{", "}", ", ", "&a ", "*a", "<<: ", "!!int ", "!!set ", "? ",
     "'", '"', "|\n", "#", "---\n", "%", "1", "1:2", "~", "\t", "2024-02-31", "\\", "\0"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=24).map("".join) | st.text(max_size=40))
def test_whatever_a_text_holds(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        with contextlib.suppress(ValueError):
            parse(text)
