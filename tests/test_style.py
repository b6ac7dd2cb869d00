"""Every lesson has the same shape, and was saved as one clean run from top to bottom."""

import re
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import save_lessons  # noqa: E402

LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(path for room in ("benchmarks", "docs", "workshop") for path in sorted((ROOT / room).rglob("*.md"))),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
TAGS = {"nbval-check-output", "nbval-ignore-output", "raises-exception", "extra"}
TRIAL = re.compile(
    r"%%trial|labkit\.(run|sweep|estimate|find_batch_size|try_fixes)\(|\blab\.run\(|\.resume\("
)
MACHINE_FOLDER = re.compile(r"(?<![\w.])/\S+/site-packages/")
WIDGET = "application/vnd.jupyter.widget-view+json"
SECTIONS = ["## Predict", "## Exercise", "## Take home", "## With your own model", "## Next lesson"]


def problems(notebook) -> list[str]:
    """What a lesson lacks, a sentence each."""
    found = [*metadata_problems(notebook), *opening_problems(notebook), *flow_problems(notebook)]
    found += extra_problems(notebook)
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            found += [f"cell {number}: {problem}" for problem in code_problems(cell)]
        found += [
            f"cell {number}: unknown tag {tag!r}" for tag in cell.metadata.get("tags", []) if tag not in TAGS
        ]
    return found


def metadata_problems(notebook):
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec is not named python3"
    if "widgets" in notebook.metadata:
        yield "metadata.widgets is saved: GitHub refuses such a notebook"
    counts = [c.execution_count for c in code_cells(notebook) if c.execution_count]
    if any(later <= earlier for earlier, later in pairwise(counts)):
        yield "the cells were not run in order"
    sizes = [len(lines_of(cell)) for cell in code_cells(notebook)]
    if sizes and statistics.median(sizes) > 5:
        yield f"the median code cell has {statistics.median(sizes)} lines, more than 5"


def opening_problems(notebook):
    first = notebook.cells[0]
    title, *rest = lines_of(first) or [""]
    if first.cell_type != "markdown" or not title.startswith("# "):
        yield "the first cell is not a title"
    # A badge is a link on a picture, written in Markdown or in HTML.
    text = " ".join(line for line in rest if not line.lstrip().startswith(("[![", "<")))
    if len(re.findall(r"[.!?](?=\s|$)", text)) != 1:
        yield "the first cell does not promise something in one sentence"
    for badge, host in {"Binder": "mybinder.org", "Colab": "colab.research.google.com"}.items():
        if host not in first.source:
            yield f"the first cell has no {badge} badge"
    opening = ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            break
        opening += cell.source.lower()
    if not re.search(r"\d+\s+minutes", opening):
        yield "the opening does not say how many minutes"
    for word in ("objectives", "prerequisites"):
        if word not in opening:
            yield f"the opening states no {word}"


def flow_problems(notebook):
    places = [first_cell(notebook, "markdown", f"^{section}") for section in SECTIONS]
    for section, place in zip(SECTIONS, places, strict=True):
        if place is None:
            yield f"there is no section {section}"
    known = [place for place in places if place is not None]
    if known != sorted(known):
        yield "the sections are out of order"
    trial = first_cell(notebook, "code", "^%%trial")
    if trial is not None and places[0] is not None and trial < places[0]:
        yield "a trial runs before the prediction"
    measured = first_cell(notebook, "code", TRIAL.pattern)
    if measured is None or measured >= 9:
        yield "nothing is measured before the tenth cell"
    for call in ("check", "hint", "solution"):
        if first_cell(notebook, "code", rf"\.{call}\(") is None:
            yield f"there is no .{call}()"
    last = notebook.cells[-1].source.lower()
    if "next lesson" not in last or "shut" not in last:
        yield "the last cell does not name the next lesson and shut the kernel down"


def extra_problems(notebook):
    """The core ends with "With your own model"; then come sections "Extra: ...", which have that tag."""
    titles = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            titles += re.findall("^## (.+)", cell.source, re.MULTILINE)
        extra = bool(titles) and titles[-1].startswith("Extra: ")
        if extra != ("extra" in cell.metadata.get("tags", [])):
            yield f"cell {number}: the tag extra and the heading 'Extra: ...' do not go together"
    core = [title for title in titles if not title.startswith("Extra: ")]
    extras = [title for title in titles if title.startswith("Extra: ")]
    if titles != [*core[:-1], *extras, *core[-1:]] or core[-2:] != ["With your own model", "Next lesson"]:
        yield "the extras do not stand between 'With your own model' and 'Next lesson'"


def code_problems(cell):
    lines, tags = lines_of(cell), cell.metadata.get("tags", [])
    if len(lines) > 15:
        yield f"{len(lines)} lines, more than 15"
    if "execution" in cell.metadata:
        yield "the times of its run are saved in metadata.execution: they change with every run"
    if not cell.execution_count:
        yield "not run: it has no execution count"
    if "nbval-check-output" in tags and not cell.outputs:
        yield "nbval-check-output, but no output to check"
    if "nbval-check-output" in tags and TRIAL.search(cell.source):
        yield "checked, but it runs a trial, whose progress may stay in the output"
    printed = [line for output in cell.outputs for line in output.get("text", "").splitlines()]
    folded = cell.metadata.get("jupyter", {}).get("source_hidden")
    if printed and all(line.endswith(": True") for line in printed) and not folded:
        yield "it only prints that claims are true: fold it (jupyter.source_hidden)"
    if MACHINE_FOLDER.search("\n".join(printed)):
        yield "a folder of the machine is in its output"
    if any(WIDGET in output.get("data", {}) for output in cell.outputs):
        yield "a widget is saved, which shows as an error when the notebook is opened again"
    failed = any(output.output_type == "error" for output in cell.outputs)
    if failed and "raises-exception" not in tags:
        yield "saved with an error, without the tag raises-exception"
    for line in lines:
        if re.search(r"\.(hint|solution)\(", line) and not line.startswith("#"):
            yield f"{line.strip()} is not commented out"
        if re.match(r"#\s*(NBVAL|PYTEST)_", line):
            yield f"{line.strip()}: use a tag, not a comment"


def lines_of(cell) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def first_cell(notebook, kind, pattern) -> int | None:
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == kind and re.search(pattern, cell.source, re.MULTILINE):
            return number
    return None


def prose(path) -> str:
    """The text of a page or a notebook, without its code."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def cell_anchors(path) -> set[str]:
    """The anchors by which JupyterLab finds the cells of a notebook."""
    if path.suffix != ".ipynb":
        return set()
    return {f"cell-id={cell.id}" for cell in nbformat.read(path, as_version=4).cells}


def dead_links(path) -> list[str]:
    """The links to files and headings of this project that lead nowhere."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        written = target.suffix in (".md", ".ipynb")
        if "://" not in link and not (
            target.exists() and (not anchor or written and anchor in headings(target) | cell_anchors(target))
        ):
            found.append(link)
    return found


def trial_bodies(notebook) -> list[str]:
    sources = [cell.source for cell in code_cells(notebook)]
    return [source.partition("\n")[2] for source in sources if source.startswith("%%trial")]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_has_the_shape_of_a_lesson(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert problems(notebook) == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_file_is_written_as_jupyter_writes_it(path):
    """A line of source is a line of the file, so that a diff shows only what changed."""
    assert path.read_text() == nbformat.writes(nbformat.read(path, as_version=4)) + "\n"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    """To a file that is there, and to a heading of it."""
    assert dead_links(path) == []


def test_dead_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `page`: of links\n\n[a](page.md) [b](https://example.org/x) [c](#a-page-of-links) [d](no.md) "
        "[e](page.md#no) ![f](no.png)\n```\n[g](no.md)\n# not a heading\n```\n[h](#not-a-heading)\n"
    )
    assert dead_links(page) == ["no.md", "page.md#no", "no.png", "#not-a-heading"]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_code_in_trial_cells_passes_ruff(path, tmp_path):
    # Ruff itself skips a cell whose magic it does not know.
    for number, body in enumerate(trial_bodies(nbformat.read(path, as_version=4))):
        (tmp_path / f"trial_{number}.py").write_text(body.rstrip("\n") + "\n")
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", ROOT / "pyproject.toml", "--no-cache", tmp_path]
    # Names may come from the magic's own line, and the last expression is what the cell shows.
    ignored = "B018,E402,F403,F405,F821"
    subprocess.run([*ruff, "check", f"--ignore={ignored}", *config], check=True)
    subprocess.run([*ruff, "format", "--diff", *config], check=True)


def good_lesson():
    badges = "[![B](b)](https://mybinder.org/v2) [![C](c)](https://colab.research.google.com/x)"
    aims = "**Objectives**: ...\n\n**Prerequisites**: none. 15 minutes to read."
    checked = new_code_cell(
        "print(1 + 1)",
        outputs=[new_output("stream", text="2\n")],
        metadata={"tags": ["nbval-check-output"]},
    )
    lesson = new_notebook(
        cells=[
            new_markdown_cell(f"# One big array\n\nYou will see where 2.5 GB go.\n\n{badges}"),
            new_markdown_cell(aims),
            new_code_cell("import labkit"),
            new_markdown_cell("## Predict first\n\nWill it fit?"),
            checked,
            new_code_cell("labkit.run(train)"),
            new_markdown_cell("## Exercise 1\n\nMake it fit."),
            new_code_cell("q1.check()"),
            new_code_cell("# q1.hint()\n# q1.solution()"),
            new_markdown_cell("## Take home\n\nOne thing."),
            new_markdown_cell("## With your own model\n\nRun it."),
            new_markdown_cell("## Extra: more\n\nFor another day.", metadata={"tags": ["extra"]}),
            new_code_cell("x = 1", metadata={"tags": ["extra"]}),
            new_markdown_cell("## Next lesson\n\nAnother. First shut down this kernel."),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    for count, cell in enumerate(code_cells(lesson), start=1):
        cell.execution_count = count
    return lesson


def test_lint_passes_a_good_lesson():
    lesson = good_lesson()
    nbformat.validate(lesson)
    assert problems(lesson) == []


def in_cell(number, **changes):
    def spoil(lesson):
        for name, value in changes.items():
            lesson.cells[number][name] = value

    return spoil


def replace(number, old, new):
    def spoil(lesson):
        cell = lesson.cells[number]
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return spoil


def tag(number, name):
    return lambda lesson: lesson.cells[number].metadata.setdefault("tags", []).append(name)


ERROR = new_output("error", ename="E", evalue="", traceback=[])
WAYS_TO_SPOIL = [
    ("kernelspec", lambda lesson: lesson.metadata.pop("kernelspec")),
    ("metadata.widgets", lambda lesson: lesson.metadata.update(widgets={})),
    ("not a title", replace(0, "# One", "One")),
    ("one sentence", replace(0, "You will see", "It is late. You will see")),
    ("one sentence", replace(0, "You will see where 2.5 GB go.", "")),
    ("Binder badge", replace(0, "mybinder", "elsewhere")),
    ("Colab badge", replace(0, "colab.", "elsewhere.")),
    ("minutes", replace(1, "15 minutes", "some time")),
    ("objectives", replace(1, "Objectives", "Aims")),
    ("prerequisites", replace(1, "Prerequisites", "Before")),
    ("no section ## Predict", replace(3, "## Predict", "## Guess")),
    ("no section ## Exercise", replace(6, "## Exercise", "## Task")),
    ("no section ## Take home", replace(9, "## Take home", "## End")),
    ("no section ## With your own", replace(10, "## With your", "## Your")),
    ("no section ## Next lesson", replace(-1, "## Next", "**Next**")),
    ("out of order", lambda lesson: lesson.cells.insert(1, lesson.cells.pop(9))),
    ("before the tenth", replace(5, "labkit.run(train)", "x = 1")),
    ("before the tenth", lambda lesson: lesson.cells.insert(9, lesson.cells.pop(5))),
    ("go together", tag(9, "extra")),
    ("go together", lambda lesson: lesson.cells[12].metadata.tags.remove("extra")),
    ("between", lambda lesson: lesson.cells.insert(9, lesson.cells.pop(11))),
    ("between", replace(10, "## With your own model", "## With your own model\n\n## And more")),
    ("before the prediction", replace(2, "import labkit", "%%trial\nimport labkit")),
    ("no .check()", replace(7, "check", "look")),
    ("no .hint()", replace(8, "hint", "help")),
    ("no .solution()", replace(8, "solution", "answer")),
    ("not commented out", replace(8, "# q1.solution", "q1.solution")),
    ("next lesson", replace(-1, "Next lesson", "Later")),
    ("next lesson", replace(-1, "shut down", "leave")),
    ("more than 15", replace(2, "import labkit", "x = 1\n\n" * 16)),
    ("median", lambda lesson: [in_cell(n, source="x = 1\n" * 6)(lesson) for n in (2, 4, 7, 8)]),
    ("no execution count", in_cell(2, execution_count=None)),
    ("not run in order", in_cell(2, execution_count=9)),
    ("metadata.execution", in_cell(2, metadata={"execution": {"iopub.execute_input": "2025-01-01"}})),
    ("a widget is saved", in_cell(2, outputs=[new_output("display_data", {WIDGET: {"model_id": "1"}})])),
    ("no output to check", in_cell(4, outputs=[])),
    ("runs a trial", replace(4, "print(1 + 1)", "labkit.run(train)")),
    ("runs a trial", replace(4, "print", "%%trial\nprint")),
    ("saved with an error", in_cell(4, outputs=[ERROR])),
    ("only prints", in_cell(5, outputs=[new_output("stream", text="it fits: True\nit is true: True\n")])),
    ("a folder", in_cell(5, outputs=[new_output("stream", text="/a/site-packages/b.py:1: Warning\n")])),
    ("unknown tag", tag(2, "nbval-check-outputs")),
    ("unknown tag", tag(3, "raise-exception")),
    ("not a comment", replace(2, "import", "# NBVAL_SKIP\nimport")),
]


@pytest.mark.parametrize(("complaint", "spoil"), WAYS_TO_SPOIL)
def test_lint_bites(complaint, spoil):
    lesson = good_lesson()
    spoil(lesson)
    assert any(complaint in problem for problem in problems(lesson)), problems(lesson)


def test_lint_allows_an_error_that_is_meant():
    lesson = good_lesson()
    lesson.cells[4].outputs = [ERROR]
    tag(4, "raises-exception")(lesson)
    assert problems(lesson) == []


def test_a_lesson_is_saved_without_the_folder_of_the_checkout():
    warning = new_output("stream", name="stderr", text=f"{ROOT}/.venv/lib/a.py:1: UserWarning\n")
    card = new_output("display_data", {"text/html": f"<pre>{ROOT}/labkit/b.py</pre>"})
    lesson = new_notebook(cells=[new_markdown_cell("# One"), new_code_cell("x", outputs=[warning, card])])
    save_lessons.without_folder(lesson)
    nbformat.validate(lesson)
    assert lesson.cells[1].outputs[0].text == ".venv/lib/a.py:1: UserWarning\n"
    assert lesson.cells[1].outputs[1].data["text/html"] == "<pre>labkit/b.py</pre>"


@pytest.mark.parametrize(
    "cell", ["1 / 0", "import os; os._exit(1)", "import time\nwhile True: time.sleep(1)"]
)
def test_a_lesson_that_fails_is_left_as_it_was_and_the_next_is_run(cell, tmp_path, monkeypatch, capsys):
    """It raises, its kernel dies, or a cell does not end."""
    failing, good = tmp_path / "failing.ipynb", tmp_path / "good.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell)]), failing)
    nbformat.write(new_notebook(cells=[]), good)
    before = failing.read_bytes()
    monkeypatch.setattr(save_lessons, "TIMEOUT", 1)
    assert save_lessons.main([str(failing), str(good)]) == 1
    told = capsys.readouterr()
    assert "failing.ipynb failed, and is as it was" in told.err and "good.ipynb: " in told.out
    assert failing.read_bytes() == before
