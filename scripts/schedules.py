"""The schedules of workshop/README.md: their parts, the cells of each, and what the dry runs measured."""

import re
from dataclasses import dataclass
from pathlib import Path

from lesson_minutes import GUIDE, ROOT, cells_of, core, sections

REHEARSAL = ROOT / "benchmarks" / "results" / "rehearsal.txt"
_SCHEDULE = re.compile(r"^### (.+)\n\n\| from .*\n\|.*\n((?:\|.*\n)+)", re.MULTILINE)
_MEASURED = re.compile(r"^(\d\d-\S+) +(.+?) +[\d.]+ +(\d+) +(\d+) +\d+ +0$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """Some sections of a lesson, or its core.

    named   the sections in quotation marks, with "as far as" before them for all from the top; "core" without
    """

    lesson: Path
    named: str

    @property
    def cells(self) -> list:
        """Its cells; raises ValueError if the lesson has no section of a name."""
        cells, names = cells_of(self.lesson), re.findall("“(.+?)”", self.named)
        if not names:
            return core(cells)
        known = sections(cells)
        if missing := [name for name in names if name not in known]:
            raise ValueError(f"{self.lesson.name} has no section of that name: {', '.join(missing)}")
        if self.named.startswith("as far as"):
            names = list(known)[: list(known).index(names[0]) + 1]
        return [cell for name in names for cell in known[name]]


@dataclass(frozen=True)
class Row:
    """A row of a schedule: when it begins ("0:10"), its minutes, and what is done."""

    begins: str
    minutes: int
    what: str

    @property
    def parts(self) -> list[Part]:
        links = re.findall(r"\]\(\.\./notebooks/(.+?\.ipynb)\)", self.what)
        named = re.search("(?:as far as )?“.+”", self.what)
        return [Part(ROOT / "notebooks" / link, named[0] if named else "core") for link in links]


def schedules() -> dict[str, list[Row]]:
    """The rows of each schedule, by its heading."""

    def row(line):
        begins, minutes, what = (cell.strip() for cell in line.strip("|").split("|"))
        return Row(begins, int(minutes), what)

    tables = _SCHEDULE.findall(GUIDE.read_text())
    return {name: [row(line) for line in table.splitlines()] for name, table in tables}


def rehearsed() -> dict[tuple[str, str], list[int]]:
    """The seconds that the cells of each part took in two dry runs, if none failed, by lesson and `named`."""
    found = _MEASURED.findall(REHEARSAL.read_text())
    return {(lesson, named): [int(first), int(second)] for lesson, named, first, second in found}
