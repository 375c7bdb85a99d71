"""Hostile text is shown harmlessly wherever the package shows it: Markdown, CSV, one line of a terminal.

Nothing is rendered here. What has no active character left, and decodes to what was to be shown, cannot be active.
"""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cowrie_assets.report.escaping import csv_text, markdown_code, markdown_text, visible
from cowrie_assets.report.tables import QueryResult, Row, Value, markdown_table, shown, write_csv
from cowrie_assets.sandbox.oddities import HOSTILE_TEXTS, NUL_TEXT

MORE_HOSTILE_TEXTS = (
    "",
    " ",
    "![x](http://198.51.100.7/pixel.png)",
    "&lt;script&gt; &#60;script&#62; &amp;",
    "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg",
    "\u202eevil\u202c \u2066iso\u2069 \u200f \ufeff",
    "| --- |\n| x |",
    "1. one\n2. two\n\n    code\n\n***\n===",
    "- [ ] task\n+ plus\n> quote",
    "~~~\nfence\n~~~",
    "trailing\\",
    "``` ` ``",
    "half \ud83d of a character, a byte \udcff",
    "\U000e0041\U000e0042 tags, \ue000 private, \uffff none",
    "no\u00a0break, em\u2003space",
)
TEXTS = st.sampled_from((*HOSTILE_TEXTS, NUL_TEXT, *MORE_HOSTILE_TEXTS)) | st.text() | st.text(st.characters())
CHARACTERS = st.text("\\`*_{}[]()#+-.!|~<>&:@/=\n\r\t \"'x1", max_size=30)
many = settings(max_examples=120, deadline=None)

# Every character that CommonMark and GitHub's tables, links and task lists give a meaning to. `=` underlines a heading,
# but only on a line of its own, and a text never begins one.
ACTIVE = set("\\`*_{}[]()#+-.!|~<>&:@/")


# --- one line of a terminal -------------------------------------------------------------------------------------------


@given(TEXTS)
@many
def test_visible_text_is_one_line_without_control_format_or_bidi_characters(text: str) -> None:
    line = visible(text)
    assert line.splitlines() in ([line], [])
    assert all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in line)
    assert all(
        unicodedata.bidirectional(char) not in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI") for char in line
    )
    line.encode("utf-8")  # fails on a surrogate


@given(st.text(st.characters(categories=("L", "N", "P", "S", "M"))))
@many
def test_visible_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\0b", r"a\x00b"),
        ("\t\r\n", r"\x09\x0d\x0a"),
        ("\x9b", r"\x9b"),
        ("\u202e", r"\u202e"),
        ("\u2028", r"\u2028"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
        ("naïve 海 🌊", "naïve 海 🌊"),
    ],
)
def test_what_cannot_be_seen_is_spelt(text: str, expected: str) -> None:
    assert visible(text) == expected


# --- Markdown ---------------------------------------------------------------------------------------------------------


def unescaped(markdown: str) -> str:
    """What a reader sees: a character of no width, which may keep a link apart, is none of the text."""
    return re.sub("[\u200b\u2060]", "", html.unescape(markdown))


@given(TEXTS | CHARACTERS)
@many
def test_markdown_text_has_no_active_character_and_shows_the_text(text: str) -> None:
    escaped = markdown_text(text)
    bare = re.sub(r"&#\d{1,6};", "", escaped)
    assert not set(bare) & ACTIVE
    assert unescaped(escaped) == visible(text)
    assert "\n" not in escaped


@pytest.mark.parametrize("text", ["https://evil.example/x", "see www.evil.example", "write to a@evil.example"])
def test_markdown_text_becomes_no_link(text: str) -> None:
    # remark-gfm, which Dagster's UI is built with, looks for addresses once more after it has decoded the entities.
    shown_text = html.unescape(markdown_text(text))
    assert not re.search(r"(https?://|www(?=\.))([-.\w]+)", shown_text, re.IGNORECASE)
    assert not re.search(r"([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)", shown_text)


@given(TEXTS.filter(bool) | CHARACTERS.filter(bool))
@many
def test_markdown_code_cannot_be_left(text: str) -> None:
    code = markdown_code(text)
    assert (code[0], code[-1]) == ("`", "`")
    # A backtick ends the code, and a bar the table's cell, wherever they stand.
    assert not set(code[1:-1]) & set("`|\n")
    assert code[1:-1].translate({ord("ˋ"): "`", ord("¦"): "|"}) == visible(text).translate(
        {ord("ˋ"): "`", ord("¦"): "|"}
    )


def test_empty_markdown_code_swallows_nothing() -> None:
    # Two backticks would begin code that runs to the next two.
    assert not re.search("``", markdown_code("") + " and " + markdown_code(""))


def result(rows: list[Row]) -> QueryResult:
    return QueryResult(12, "asn_infrastructure", "Networks", "as_name", rows, sessions=9, eligible=8, covered=6)


@given(st.lists(TEXTS, min_size=1, max_size=4))
@many
def test_a_markdown_table_keeps_its_cells_whatever_they_hold(names: list[str]) -> None:
    table = markdown_table(result([{"as_name": name, "session_count": 5, "country": None} for name in names]), 99)
    header, rule, *rows, empty, basis = table.split("\n")
    assert (header, rule, empty) == ("| as_name | session_count | country |", "| --- | --- | --- |", "")
    assert [row.count("|") for row in rows] == [4] * len(names)
    assert [unescaped(row) for row in rows] == [f"| {visible(name)} | 5 | – |" for name in names]
    assert basis.startswith("n = 9 sessions, 8 with a public source; coverage 75.0%")


def test_a_table_without_rows_says_on_what_that_rests() -> None:
    assert markdown_table(result([]), 5).startswith("no row (n = 9 sessions")


def test_a_table_shows_no_more_rows_than_asked_for() -> None:
    rows: list[Row] = [{"as_name": str(number)} for number in range(5)]
    assert markdown_table(result(rows), 2).count("\n") == 1 + 2 + 2


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "–"), (0, "0"), (1_234_567, "1,234,567"), (0.5, "0.5"), ("", "")]
)
def test_what_is_unknown_is_a_dash_and_never_a_zero(value: Value, expected: str) -> None:
    assert shown(value) == expected


# --- CSV --------------------------------------------------------------------------------------------------------------


@given(TEXTS | CHARACTERS)
@many
def test_no_csv_text_begins_like_a_formula(text: str) -> None:
    safe = csv_text(text)
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert safe.removeprefix("'") == text.removeprefix("'")
    assert (safe != text) is text.startswith(("=", "+", "-", "@", "\t", "\r"))


@given(names=st.lists(st.sampled_from((*HOSTILE_TEXTS, '"', ",", "a,b\n", "=1,2", "'", "")), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_csv_file_holds_one_record_a_row_whatever_they_hold(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "csv"
    path = write_csv(folder, result([{"as_name": name, "session_count": -5, "country": None} for name in names]))
    text = path.read_bytes().decode("utf-8")
    header, *records = csv.reader(io.StringIO(text, newline=""))
    assert header == ["as_name", "session_count", "country"]
    # A number is no text: that it begins with a minus makes it no formula.
    assert records == [[csv_text(name), "-5", ""] for name in names]
    assert [file.name for file in folder.iterdir()] == ["asn_infrastructure.csv"]


def test_a_csv_file_without_rows_is_empty(tmp_path: Path) -> None:
    assert write_csv(tmp_path, result([])).read_bytes() == b""
