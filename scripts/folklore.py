"""Writes what the course measured of each claim into lesson 12 and docs/folklore.md: make folklore.

notebooks/claims.json has each claim with its verdict and its effect. In an effect, {cell: pattern} stands for
what the pattern finds in the saved output of that cell (its first group), so that no number is written by
hand.
In the lesson only the cells WALL and DETAILS are written; the rest of it is edited like any other lesson.
"""

import json
import re
import sys
from functools import cache
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
LESSON = NOTEBOOKS / "12-folklore-measured.ipynb"
POSTER = ROOT / "docs" / "folklore.md"
WALL, DETAILS = "l12-wall", "l12-details"
GROUPS = {
    "Examples that are widely copied": "ABCDE",
    "Memory": "M",
    "Input pipelines": "F",
    "Tools and habits": "T",
}
QUOTE = re.compile(r"\{([\w-]+): ([^{}]+)\}")
VERDICTS = {"true": "**true**", "partly": "*partly*", "false": "**false**"}


def claims() -> dict:
    return json.loads((NOTEBOOKS / "claims.json").read_text())


@cache
def cells() -> dict:
    """{id of a cell: (its lesson, the cell)}, of all cells of code."""
    lessons = [path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb")) if path != LESSON]
    read = {lesson.stem: nbformat.read(lesson, as_version=4) for lesson in lessons}
    return {c.id: (name, c) for name, book in read.items() for c in book.cells if c.cell_type == "code"}


def output(cell) -> str:
    """What a cell says in its saved outputs, as text."""
    said = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(said)


def quoted(effect: str, known: dict) -> str:
    """An effect with what the cells show in the place of their patterns. KeyError, LookupError: not found."""

    def quote(match):
        cell, pattern = match.groups()
        found = re.search(pattern, output(known[cell][1]), re.MULTILINE)
        if not found:
            raise LookupError(f"The saved output of {cell} shows no {pattern!r}:\n{output(known[cell][1])}")
        return " ".join((found[1] if found.groups() else found[0]).replace("'", "").split())

    return QUOTE.sub(quote, effect)


def places(effect: str, shown: dict, known: dict) -> list[str]:
    """The cells that show a claim: those that are quoted, then those of the lessons named for it."""
    ids = [cell for cell, _ in QUOTE.findall(effect)] + [cell for ids in shown.values() for cell in ids]
    return [cell for cell in dict.fromkeys(ids) if cell in known]


def link(cell: str, text: str, folder: str, known: dict) -> str:
    return f"[{text}]({folder}{known[cell][0]}.ipynb#cell-id={cell})"


def table(folder: str, known: dict) -> str:
    """All claims with their verdicts, in Markdown. folder: where the lessons are, seen from the page."""
    rows = []
    for title, letters in GROUPS.items():
        rows.append(
            f"\n**{title}**\n\n| | claim | verdict | measured | lesson |\n| --- | --- | --- | --- | --- |"
        )
        for name, claim in claims().items():
            if name[0] in letters:
                first = places(claim["effect"], claim["cells"], known)[0]
                shown = link(first, known[first][0][:2], folder, known)
                effect = quoted(claim["effect"], known)
                rows.append(
                    f"| {name} | {claim['claim']} | {VERDICTS[claim['verdict']]} | {effect} | {shown} |"
                )
    return "\n".join(rows).strip()


def details(known: dict) -> str:
    """For each claim why it has its verdict, and all cells that show it."""
    items = []
    for name, claim in claims().items():
        shown = [link(cell, cell, "", known) for cell in places(claim["effect"], claim["cells"], known)]
        items.append(f"- **{name}, {claim['verdict']}.** {claim['because']} {' · '.join(shown)}")
    return "\n".join(items)


def written(known: dict) -> dict[str, str]:
    """{id: source} of the cells of the lesson that are written from the claims."""
    summary = "<b>The table of all claims.</b> Open it when you have made up your mind."
    return {
        WALL: f"<details>\n<summary>{summary}</summary>\n\n{table('', known)}\n\n</details>",
        DETAILS: f"## Extra: why, and where\n\nA link leads to the cell that shows it.\n\n{details(known)}",
    }


def lesson(known: dict):
    """Lesson 12 as it should be."""
    notebook, sources = nbformat.read(LESSON, as_version=4), written(known)
    for cell in notebook.cells:
        cell.source = sources.get(cell.id, cell.source)
    return notebook


def poster(known: dict) -> str:
    """docs/folklore.md as it should be."""
    return (
        "# Folklore, measured\n\n"
        f"{len(claims())} claims about Keras and memory, each measured in the "
        "[lessons](../notebooks/index.ipynb), on TensorFlow's CPU device behind the allocator that it uses "
        "on GPUs. The numbers are those of the saved lessons.\n\n"
        f"{table('../notebooks/', known)}\n"
    )


def main() -> int:
    nbformat.write(lesson(cells()), LESSON)
    POSTER.write_text(poster(cells()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
