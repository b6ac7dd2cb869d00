"""What a teacher reads agrees with the course: minutes, schedules, sections, quotes, commands, the survey."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_style import prose

import labkit
import labkit.plots
import labkit.widgets

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import lesson_minutes  # noqa: E402
import schedules  # noqa: E402

GUIDE = ROOT / "workshop" / "README.md"
SURVEY = ROOT / "workshop" / "survey.md"
HANDOUT = ROOT / "workshop" / "handout.md"
PAGES = [path for path in sorted((ROOT / "workshop").glob("*.md")) if path.name != "shared-machine.md"]
LONGEST_STRETCH = 90
SCHEDULES = schedules.schedules()
EXTRA = {"tags": ["extra"]}


def test_the_guide_has_the_minutes_of_today():
    assert lesson_minutes.TABLE.search(GUIDE.read_text())[0] == lesson_minutes.table(), "run make minutes"


def test_minutes_by_the_rules():
    cells = [
        new_markdown_cell("# One\n\n[![Badge](b)](https://c.d) " + "word " * 199),
        new_code_cell("x = 1\n\n" * 15),
        new_code_cell("x = 1\n" * 15, metadata={"jupyter": {"source_hidden": True}}),
        new_code_cell("q1.check(x)\n# again\n" + "x\n" * 13),
        new_code_cell("# q1.check(x)\n" + "x\n" * 14, metadata=EXTRA),
    ]
    assert lesson_minutes.minutes(cells, 90) == lesson_minutes.Minutes(1, 3, 1.5, 5)
    alone = lesson_minutes.minutes(lesson_minutes.core(cells), None)
    assert (alone, alone.total) == (lesson_minutes.Minutes(1, 2, None, 5), 8)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("two words", 2),
        ("a [link of four words](https://github.com/a/b)", 5),
        ("![no words](picture.png)", 0),
        ("| one | two |\n| --- | ---: |\n- three × 4", 4),
        ("<b>bold</b>", 1),
    ],
)
def test_words_are_those_that_a_reader_sees(text, count):
    assert lesson_minutes.words(text) == count


@pytest.mark.parametrize("lesson", lesson_minutes.LESSONS, ids=lambda path: path.stem)
def test_sections_together_are_the_lesson(lesson):
    cells = lesson_minutes.cells_of(lesson)
    parts = [lesson_minutes.minutes(part, None) for part in lesson_minutes.sections(cells).values()]
    whole = lesson_minutes.minutes(cells, None)
    assert sum(part.total for part in parts) == pytest.approx(whole.total, abs=0.01)


@pytest.mark.parametrize("lesson", lesson_minutes.LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_a_core_of_twenty_minutes_and_states_its_minutes(lesson):
    assert lesson_minutes.wrong_statements([lesson]) == []


@pytest.mark.parametrize(
    ("said", "core", "extras", "wrong"),
    [
        ("Core 20 minutes, extras 10.", 4, 2, False),
        ("Core 24 minutes, extras 12.", 4, 2, False),
        ("Core 26 minutes, extras 10.", 4, 2, True),
        ("Core 14 minutes, extras 10.", 4, 2, True),
        ("Core 20 minutes, extras 13.", 4, 2, True),
        ("Core 20 minutes.", 4, 2, True),
        ("Core 20 minutes.", 4, 0, False),
        ("20 minutes", 4, 0, True),
        ("Core 30 minutes.", 6, 0, True),
        ("Core 10 minutes.", 2, 0, True),
    ],
)
def test_minutes_that_a_lesson_states_are_compared_with_those_it_takes(tmp_path, said, core, extras, wrong):
    checks = [new_code_cell("q1.check(1)") for _ in range(core)]
    checks += [new_code_cell("q2.check(1)", metadata=EXTRA) for _ in range(extras)]
    lesson = tmp_path / "42-answers.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell(said), *checks]), lesson)
    assert lesson_minutes.main(["--check", str(lesson)]) == wrong


def test_there_are_three_schedules():
    assert list(SCHEDULES) == ["90 minutes", "Half a day", "A day"]


@pytest.mark.parametrize(("name", "rows"), SCHEDULES.items(), ids=list(SCHEDULES))
def test_a_schedule_adds_up_and_has_breaks(name, rows):
    clock = stretch = 0
    for row in rows:
        assert row.begins == f"{clock // 60}:{clock % 60:02}", row
        clock += row.minutes
        stretch = 0 if re.match("Break|Lunch", row.what) else stretch + row.minutes
        assert stretch <= LONGEST_STRETCH, row
    assert name != "90 minutes" or clock == 90


ROWS = [(name, row) for name, rows in SCHEDULES.items() for row in rows if row.parts]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name} {row.begins}" for name, row in ROWS])
def test_a_schedule_gives_each_part_the_minutes_that_the_script_and_two_dry_runs_tell(name, row):
    for part in row.parts:
        waited = max(schedules.rehearsed()[part.lesson.stem, part.named])
        assert lesson_minutes.minutes(part.cells, waited).total <= row.minutes


def test_each_lesson_has_its_place_in_the_guide():
    numbers = re.findall(r"^### (\d\d) · ", GUIDE.read_text(), re.MULTILINE)
    assert numbers == [lesson.stem[:2] for lesson in lesson_minutes.LESSONS]
    for part in re.split(r"^### \d\d · ", GUIDE.read_text(), flags=re.MULTILINE)[1:]:
        bold = re.findall(r"^\*\*(.+?)\.\*\*", part, re.MULTILINE)
        assert bold == [
            "The one idea",
            "Where learners go wrong",
            "Ask before running",
            "When a cell fails",
            "Skip",
        ]


def said_by_checks() -> list[str]:
    """Pieces of text in the exercises, and in the tests that hold them to what they say."""
    paths = [*(ROOT / "labkit" / "exercises").glob("*.py"), *(ROOT / "tests").glob("test_exercises*.py")]
    nodes = (node for path in paths for node in ast.walk(ast.parse(path.read_text())))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def test_what_checks_say_is_quoted_as_they_say_it():
    wrong = re.findall(r"^\*\*Where learners go wrong\.\*\*(.+)$", GUIDE.read_text(), re.MULTILINE)
    pieces = [
        piece.strip()
        for text in wrong
        for quote in re.findall("“(.+?)”", text)
        for piece in quote.split("...")
    ]
    known = said_by_checks()
    assert len(pieces) > 30
    assert [p for p in pieces if re.search(r"\w", p) and not any(p in text for text in known)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_what_a_page_names_is_there(page):
    """Commands of make and of labkit, names of labkit, files of the project."""
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    help_text = subprocess.run(
        [sys.executable, "-m", "labkit", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in re.findall(r"python -m labkit ([a-z-]+)", text):
        assert re.search(rf"^    {command}\b", help_text, re.MULTILINE), command
    for name in re.findall(r"\blabkit\.([A-Za-z_.]+)\(", text):
        found = labkit
        for part in name.split("."):
            found = getattr(found, part, None) or pytest.fail(f"labkit.{name}")
            if callable(found):
                break
    files = re.findall(r"\b((?:benchmarks|docs|notebooks|scripts|tests|workshop)/[\w./-]+\.\w+)", text)
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_the_survey_has_ten_questions_with_an_answer_each():
    questions, answers = prose(SURVEY).split("## Answers")
    options = re.findall(
        r"^\*\*(\d+)\.\*\* .+\n\(a\) .+ \(b\) .+ \(c\) .+ \(d\) .+$", questions, re.MULTILINE
    )
    given = re.findall(r"^\| (\d+) \| ([a-d]) \| .+ \| \[\d\d\]", answers, re.MULTILINE)
    assert options == [number for number, _ in given] == [str(n) for n in range(1, 11)]
    assert len({letter for _, letter in given}) == 4


def told_of_lessons() -> list[tuple[str, list[str]]]:
    """What the pages say of lessons, and the numbers of these."""
    guide = re.split(r"^### (\d\d) · ", GUIDE.read_text(), flags=re.MULTILINE)[1:]
    told = [(text, [number]) for number, text in zip(guide[::2], guide[1::2], strict=True)]
    answers = re.findall(r"^\| \d+ \| [a-d] \| .+$", SURVEY.read_text(), re.MULTILINE)
    told += [(row, re.findall(r"\[(\d\d)\]", row)) for row in answers]
    fixes = re.findall(r"^\| .+ \((\d\d[\d, ]*)\) (\|.+)$", HANDOUT.read_text(), re.MULTILINE)
    return told + [(row, numbers.split(", ")) for numbers, row in fixes]


def quantities(text: str) -> list[tuple[float, str]]:
    """Sizes and ratios: (124.0, "MiB"), (0.62, "×")."""
    sizes = re.findall(r"([\d.]+) (KiB|MiB|GiB)", text)
    listed = [ratio for row in re.findall(r"× \[([\d., ]+)\]", text) for ratio in row.split(", ")]
    ratios = re.findall(r"× ([\d.]*\d)", text) + re.findall(r"([\d.]*\d) x\b", text) + listed
    return [(float(number), unit) for number, unit in [*sizes, *((ratio, "×") for ratio in ratios)]]


@pytest.mark.parametrize(("text", "numbers"), told_of_lessons(), ids=lambda value: str(value)[:20])
def test_numbers_are_those_of_the_saved_lessons(text, numbers):
    """Within a twentieth: another run of a lesson may move its peaks a little."""
    lessons = [lesson for lesson in lesson_minutes.LESSONS if lesson.stem[:2] in numbers]
    saved = quantities("".join(lesson.read_text() for lesson in lessons))
    assert len(lessons) == len(numbers)
    unknown = [
        (number, unit)
        for number, unit in quantities(text)
        if not any(unit == other and abs(number - found) <= 0.05 * number for found, other in saved)
    ]
    assert unknown == []
