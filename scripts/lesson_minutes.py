"""Computes how long the lessons take: make minutes writes the table in workshop/README.md.

Text is read at 200 words a minute; a line of code takes 4 s, folded cells none; an exercise takes 5 minutes.
The run time is the CPU time in benchmarks/results/lessons_on_binder.txt, measured on one CPU. The ten seconds
that TensorFlow waits before a trial runs out of memory are not in it. It is not known by cell, so it counts
in full for a part too. Cells with the tag `extra` are not part of a lesson's core, which takes about twenty
minutes; each lesson states the minutes of both ("Core 20 minutes, extras 15").
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))
RUN_TIMES = ROOT / "benchmarks" / "results" / "lessons_on_binder.txt"
GUIDE = ROOT / "workshop" / "README.md"
TABLE = re.compile(r"(?<=<!-- minutes: make minutes -->\n\n).*?(?=\n\n<!-- end of minutes -->)", re.DOTALL)
WORDS_A_MINUTE, SECONDS_A_LINE, MINUTES_AN_EXERCISE = 200, 4, 5
CORE_MINUTES, TOLERANCE, LEAST_TOLERANCE = 20, 0.25, 2


@dataclass(frozen=True)
class Minutes:
    """The minutes that some cells take. run: None if it was not measured."""

    reading: float
    code: float
    run: float | None
    exercises: int

    @property
    def total(self) -> float:
        return self.reading + self.code + (self.run or 0) + self.exercises


def words(markdown: str) -> int:
    """The words that a reader sees: no badges, pictures, addresses of links, rules of tables."""
    text = re.sub(r"\[!\[.*?\]\(.*?\)\]\(.*?\)|!\[.*?\]\(.*?\)|<[^>]+>", "", markdown)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return sum(any(map(str.isalnum, word)) for word in text.split())


def minutes(cells, run_seconds: float | None) -> Minutes:
    """The Minutes of some cells of a lesson, and of its run time."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    seen = [cell for cell in code if not cell.metadata.get("jupyter", {}).get("source_hidden")]
    lines = sum(bool(line.strip()) for cell in seen for line in cell.source.splitlines())
    return Minutes(
        sum(words(cell.source) for cell in cells if cell.cell_type == "markdown") / WORDS_A_MINUTE,
        lines * SECONDS_A_LINE / 60,
        run_seconds and run_seconds / 60,
        MINUTES_AN_EXERCISE * sum(bool(re.match(r"\w+\.check\(", cell.source)) for cell in code),
    )


def cells_of(lesson: Path) -> list:
    return nbformat.read(lesson, as_version=4).cells


def core(cells) -> list:
    return [cell for cell in cells if "extra" not in cell.metadata.get("tags", [])]


def sections(cells) -> dict[str, list]:
    """The cells below each heading, text divided where a heading comes; first what stands before them all."""
    found, name = {}, "the opening"
    for cell in cells:
        parts = [cell]
        if cell.cell_type == "markdown":
            texts = re.split(r"^(?=## )", cell.source, flags=re.MULTILINE)
            parts = [new_markdown_cell(text, metadata=cell.metadata) for text in texts]
        for part in parts:
            heading = part.cell_type == "markdown" and re.match("## (.+)", part.source)
            name = heading[1] if heading else name
            found.setdefault(name, []).append(part)
    return found


def run_times() -> dict[str, float]:
    """The CPU seconds of each lesson, by the name of its file."""
    return {
        name: float(seconds)
        for name, seconds in re.findall(r"^(\d\d-\S+) +(\d+) ", RUN_TIMES.read_text(), re.MULTILINE)
    }


def of_lesson(lesson: Path) -> tuple[Minutes, Minutes]:
    """The Minutes of the whole lesson, and of its core."""
    cells, seconds = cells_of(lesson), run_times().get(lesson.stem)
    return minutes(cells, seconds), minutes(core(cells), seconds)


def stated(cells) -> list[int]:
    """The minutes that a lesson states before its first cell of code: of its core, and of its extras."""
    opening = []
    for cell in cells:
        if cell.cell_type == "code":
            break
        opening.append(cell.source)
    found = re.search(r"Core (\d+) minutes(?:, extras (\d+))?", "\n".join(opening))
    return [int(number or 0) for number in found.groups()] if found else []


def agree(said: float, real: float) -> bool:
    return abs(said - real) <= max(TOLERANCE * real, LEAST_TOLERANCE)


def table() -> str:
    """The minutes of all lessons, in Markdown."""
    rows = ["| lesson | reading | code | run | exercises | in all | the core |", "| --- |" + " ---: |" * 6]
    for lesson in LESSONS:
        whole, alone = of_lesson(lesson)
        parts = [whole.reading, whole.code, whole.run, whole.exercises, whole.total, alone.total]
        shown = ["?" if part is None else f"{part:.0f}" for part in parts]
        rows.append(f"| [{lesson.stem}](../notebooks/{lesson.name}) | {' | '.join(shown)} |")
    return "\n".join(rows)


def wrong_statements(lessons) -> list[str]:
    """A sentence for each lesson whose core is too long or short, or that states minutes that are off."""
    found = []
    for lesson in lessons:
        whole, alone = (part.total for part in of_lesson(lesson))
        said, real = stated(cells_of(lesson)), (alone, whole - alone)
        takes = f"{lesson.name}: the core takes {alone:.0f} minutes, the extras {whole - alone:.0f}"
        if abs(alone - CORE_MINUTES) > TOLERANCE * CORE_MINUTES:
            found.append(f"{takes}, but a core has about {CORE_MINUTES}.")
        if not said or not all(map(agree, said, real)):
            found.append(f"{takes}, but it states {' and '.join(map(str, said)) or 'no'} minutes.")
    return found


def show(lesson: Path):
    whole, alone = of_lesson(lesson)
    print(f"{lesson.stem}: {whole.total:.0f} minutes" + (f", core {alone.total:.0f}" * (alone != whole)))
    for name, cells in sections(cells_of(lesson)).items():
        print(f"  {minutes(cells, None).total:5.1f}  {name}{' (extra)' * (not core(cells))}")
    run = "not measured" if whole.run is None else f"{whole.run:.1f}"
    print(f"  {run:>5}  running all of it")


def notebook(name: str) -> Path:
    path = Path(name)
    if path.suffix != ".ipynb" or not path.is_file():
        raise argparse.ArgumentTypeError(f"{name} is not a notebook: give a lesson, notebooks/01-....ipynb")
    return path


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="How long the lessons take, in minutes.")
    parser.add_argument("lessons", nargs="*", type=notebook, help="show the sections of these lessons")
    parser.add_argument(
        "--check", action="store_true", help="compare with the minutes that lessons state and should have"
    )
    parser.add_argument("--write", action="store_true", help="write the table into workshop/README.md")
    options = parser.parse_args(arguments)
    if options.write:
        GUIDE.write_text(TABLE.sub(lambda _: table(), GUIDE.read_text()))
    for lesson in options.lessons:
        show(lesson)
    if not options.lessons and not options.check:
        print(table())
    wrong = wrong_statements(options.lessons or LESSONS) if options.check else []
    print(*wrong, sep="\n", end="\n" * bool(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
