"""Lesson 12 and its poster say what the saved lessons show of each claim, and nothing else."""

import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import folklore  # noqa: E402

CLAIMS = folklore.claims()


def test_the_lesson_is_what_the_script_writes():
    assert nbformat.read(folklore.LESSON, as_version=4) == folklore.lesson(folklore.cells()), (
        "run make folklore"
    )


def test_the_poster_is_what_the_script_writes():
    assert folklore.POSTER.read_text() == folklore.poster(folklore.cells()), "run make folklore"


@pytest.mark.parametrize("name", CLAIMS)
def test_each_claim_is_in_the_table_with_a_quoted_effect_and_a_link(name):
    claim, known = CLAIMS[name], folklore.cells()
    (row,) = (line for line in folklore.table("", known).splitlines() if line.startswith(f"| {name} |"))
    assert folklore.QUOTE.search(claim["effect"]) and "{" not in row
    assert folklore.quoted(claim["effect"], known) in row
    assert f"**{name}, {claim['verdict']}.**" in folklore.details(known)
    first = folklore.QUOTE.search(claim["effect"])[1]
    assert f"({known[first][0]}.ipynb#cell-id={first})" in row


def test_what_a_cell_does_not_show_cannot_be_quoted():
    cell = new_code_cell(
        "print()",
        outputs=[
            new_output("stream", text="peak  1.5 MiB\n"),
            new_output("execute_result", {"text/plain": "x"}),
        ],
    )
    known = {"a-1": ("01-a", cell)}
    assert folklore.quoted(r"a {a-1: peak +([\d.]+ MiB)} b", known) == "a 1.5 MiB b"
    with pytest.raises(LookupError, match="a-1 shows no"):
        folklore.quoted(r"{a-1: peak (\d+) GiB}", known)
    with pytest.raises(KeyError):
        folklore.quoted("{a-2: x}", known)
