"""The web book is built without a warning, is complete, and none of its links leads nowhere."""

import base64
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import records
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import expect

from labkit.show.timelines import headline
from labkit.widgets import TimelineView

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import address  # noqa: E402
import book as maker  # noqa: E402

LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))
PAGES = [
    *(ROOT / "notebooks").glob("*.ipynb"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "workshop").glob("*.md"),
]
MADE = ("genindex.html", "search.html")  # by Sphinx, with links that its JavaScript handles


class Page(HTMLParser):
    """links: what a page links to or loads; ids: the places that can be linked to."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.links, self.loaded, self.ids = path, [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.ids |= {named[name] for name in ("id", "name") if named.get(name)}
        link = named.get("href") or named.get("src")
        if link is not None:
            self.links.append(link)
            if tag not in ("a", "link") or named.get("rel") == "stylesheet":
                self.loaded.append(link)


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The folder of the built book."""
    folder = tmp_path_factory.mktemp("book")
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-s", "book", f"ARGS={folder}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(html):
    return {path: Page(path) for path in html.rglob("*.html") if path.name not in MADE}


def test_everything_is_in_it(html):
    assert LESSONS
    places = [path.relative_to(ROOT).with_suffix(".html") for path in PAGES]
    assert [place for place in places if not (html / place).exists()] == []
    contents = (html / "index.html").read_text()
    assert [place for place in places if f'href="{place.as_posix()}"' not in contents] == []


def dead(page, pages):
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (
            page.path if not parts.path else Path(os.path.normpath(page.path.parent / unquote(parts.path)))
        )
        found = target.exists() and (
            not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].ids
        )
        if not found:
            yield link


def test_no_link_within_it_leads_nowhere(pages):
    found = {str(path): [*dead(page, pages)] for path, page in pages.items()}
    assert {path: links for path, links in found.items() if links} == {}
    assert sum(len(page.links) for page in pages.values()) > 500


def test_a_dead_link_is_found(html, pages, tmp_path):
    path = html / "dead.html"
    path.write_text('<a href="no.html">a</a><a href="index.html#no">b</a><a href="#here" id="here">c</a>')
    assert [*dead(Page(path), pages | {path: Page(path)})] == ["no.html", "index.html#no"]
    path.unlink()


def test_pages_load_nothing_from_elsewhere(pages):
    """So that it can be read without a network, and nobody is told who reads it."""
    loaded = {link for page in pages.values() for link in page.loaded}
    assert {link for link in loaded if urlsplit(link).netloc} == set()


def pictures(lesson) -> int:
    """The pictures in the saved outputs of a lesson."""
    cells = nbformat.read(lesson, as_version=4).cells
    return sum("image/png" in o.get("data", {}) for cell in cells for o in cell.get("outputs", []))


def test_lessons_show_their_saved_outputs_and_no_dead_widgets(html):
    for lesson in LESSONS:
        text = (html / "notebooks" / f"{lesson.stem}.html").read_text()
        assert 'class="cell_output' in text and text.count("<img") >= pictures(lesson), lesson.name
        assert not re.search(
            "Error displaying widget|model not found|kernel required|widget-view", text, re.I
        )


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_can_be_launched_at_the_projects_address(html, lesson):
    text = (html / "notebooks" / f"{lesson.stem}.html").read_text()
    repo = address.held(ROOT)
    for place in (
        f"https://mybinder.org/v2/gh/{repo}/HEAD?labpath=",
        f"https://colab.research.google.com/github/{repo}/blob/HEAD/",
    ):
        assert re.search(rf'class="launch" href="{re.escape(place)}notebooks/{lesson.name}"', text)


def test_links_are_made_to_fit(tmp_path):
    for name in ("docs/a.md", "docs/images/d.png", "notebooks/b.ipynb", "benchmarks/c.py", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "pyproject.toml").write_text('Repository = "https://github.com/o/n"\n')
    made = maker.Book(tmp_path)
    own = "https://github.com/o/n/blob/HEAD"
    for written, link in {
        "../notebooks/b.ipynb#x": "../notebooks/b.ipynb#x",
        f"{own}/notebooks/b.ipynb": "../notebooks/b.ipynb",
        f"{own}/docs/a.md#x": "a.md#x",
        "../notebooks/b.ipynb#cell-id=b-1": "#cell-b-1",
        "../README.md": "../index.md",
        "https://raw.githubusercontent.com/o/n/HEAD/docs/images/d.png": "images/d.png",
        "../benchmarks/c.py": f"{own}/benchmarks/c.py",
        "../benchmarks": "https://github.com/o/n/tree/HEAD/benchmarks",
        "https://github.com/o/other/blob/HEAD/docs/a.md": "https://github.com/o/other/blob/HEAD/docs/a.md",
        "#x": "#x",
    }.items():
        assert made.text(f"[a]({written})", "docs/a.md") == f"[a]({link})"
    with pytest.raises(SystemExit, match="docs/a.md links to docs/no.md"):
        made.text("[a](no.md)", "docs/a.md")


def small(folder, *cells):
    """A project with a lesson of these cells, and its command that builds the book."""
    for name in ("scripts", "docs/book", "labkit"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    python = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    lesson = new_notebook(cells=[new_markdown_cell("# A lesson"), *cells], metadata=python)
    for place in ("notebooks/index.ipynb", "notebooks/00-a.ipynb"):
        (folder / place).parent.mkdir(exist_ok=True)
        nbformat.write(lesson, folder / place)
    (folder / "workshop").mkdir()
    for place in ("workshop/README.md", "workshop/b.md", "docs/a.md"):
        (folder / place).write_text("# A page\n")

    def build(readme="# A book\n\n[page](docs/a.md)\n"):
        (folder / "README.md").write_text(readme)
        command = [ROOT / ".venv-book/bin/python", "scripts/book.py"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    return build


def test_a_warning_ends_the_build(html, tmp_path):
    """A heading that is not there, in a project of two pages."""
    done = small(tmp_path)("# A book\n\n[here](#a-book) [there](#no-such-heading) [page](docs/a.md#a-page)\n")
    assert done.returncode != 0 and "no-such-heading" in done.stderr
    assert "a-book" not in done.stderr and "a-page" not in done.stderr


def saved(shown):
    """A cell whose saved output is what a notebook keeps of a figure or of a lab's picture."""
    data, metadata = shown._repr_mimebundle_()
    data["image/png"] = base64.b64encode(data["image/png"]).decode()
    return new_code_cell("shown", outputs=[new_output("display_data", data, metadata=metadata)])


VIEW = {"kept": records.step(), "recomputed": records.many()}


@pytest.fixture(scope="module")
def shown(html, tmp_path_factory):
    """The address of a page of a book, with a timeline and a lab of two."""
    folder = tmp_path_factory.mktemp("shown")
    step = saved(records.step().plot(by="layer", title="A step"))
    done = small(folder, step, saved(TimelineView(VIEW).plot()))()
    assert done.returncode == 0, done.stderr
    return (folder / "build/book/html/notebooks/00-a.html").as_uri()


def test_timelines_can_be_pointed_at(browser, shown):
    page = browser.new_page(viewport={"width": 1024, "height": 800})
    page.goto(shown)
    plots = page.locator(".labkit-plot")
    expect(plots).to_have_count(3)
    assert page.locator(".timelines img").count() == 0
    assert page.locator(".labkit-pane h4").all_inner_texts() == [
        headline(timeline, label) for label, timeline in [("A step", records.step()), *VIEW.items()]
    ]
    for number, tip in enumerate((0, 1, 1)):
        box = plots.nth(number).bounding_box()
        plots.nth(number).hover(position={"x": box["width"] / 2, "y": 0.8 * box["height"]})
        for fact in ("op", "shape", "bytes", "category", "event"):
            expect(page.locator(".labkit-tip").nth(tip)).to_contain_text(fact)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1024
    page.close()


def test_without_scripts_timelines_are_pictures(browser, shown):
    page = browser.new_page(java_script_enabled=False)
    page.goto(shown)
    assert page.locator(".timelines img").count() == 2
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1024, "light"), (1440, "dark")])
def test_pages_fit_a_phone_and_laptops_and_figures_are_readable(browser, html, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    for place in ("index.html", f"notebooks/{LESSONS[1].stem}.html", "docs/xla.html", "workshop/README.html"):
        page.goto((html / place).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, place
        for color in page.eval_on_selector_all(
            "article img", "all => all.map(i => getComputedStyle(i).backgroundColor)"
        ):
            assert color == "rgb(255, 255, 255)", place
    page.close()


def test_the_workflow_builds_what_make_builds():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())
    steps = workflow["jobs"]["book"]["steps"]
    assert "make book" in [step.get("run") for step in steps]
    (uploaded,) = (step["with"]["path"] for step in steps if "upload-pages-artifact" in step.get("uses", ""))
    assert uploaded == maker.FOLDER.relative_to(ROOT).as_posix() + "/html"
