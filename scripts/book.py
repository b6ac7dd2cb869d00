"""Builds the web book: make book.

The lessons with their saved outputs (nothing is run), docs/ and workshop/ are copied to build/book/source,
with links made to fit, and Sphinx makes build/book/html of them. What is copied is found, not listed; the
settings are in docs/book/conf.py. A warning, such as one of a link that leads nowhere, ends it.
Figures of timelines become charts, as the page itself draws them where scripts run.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import address
import nbformat
from nbformat.v4 import new_markdown_cell

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from labkit.show import pages  # noqa: E402

FOLDER = ROOT / "build" / "book"
PAGES = ("README.md", "docs/*.md", "workshop/*.md", "notebooks/*.ipynb")
PICTURES = ("docs/images/*", "notebooks/images/*")
BADGE = re.compile(r"\[!\[(?P<name>[^]]+)\]\([^)]+\)\]\((?P<link>[^)]+)\)")
LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?(?=\))")
DRAW = """
for (const el of document.querySelectorAll(".timelines")) {
  renderAlone(el, { kind: "timelines", by: el.dataset.by, data: el.dataset.packed });
}
"""
CONTENTS = """
```{toctree}
:hidden:
:glob:
:caption: Lessons

notebooks/index
notebooks/[0-9]*
```

```{toctree}
:hidden:
:glob:
:caption: How it works

docs/*
```

```{toctree}
:hidden:
:glob:
:caption: Teaching

workshop/README
workshop/*
```
"""


class Book:
    """root: the project; repo: its address, as owner/name."""

    def __init__(self, root: Path):
        self.root, self.repo = root, address.held(root)
        self.pages = {self.place(path) for pattern in PAGES for path in root.glob(pattern)}
        self.pictures = {self.place(path) for pattern in PICTURES for path in root.glob(pattern)}

    def place(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def stage(self, folder: Path):
        """Write the book's sources into a folder, which is emptied first."""
        shutil.rmtree(folder, ignore_errors=True)
        for place in sorted(self.pages | self.pictures):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            if place in self.pictures:
                shutil.copy(self.root / place, folder / place)
            elif place.endswith(".ipynb"):
                nbformat.write(self.notebook(place), folder / place)
            else:
                (folder / place).write_text(self.text((self.root / place).read_text(), place))
        title = (folder / "README.md").rename(folder / "index.md")
        title.write_text(title.read_text() + CONTENTS)

    def text(self, markdown: str, place: str) -> str:
        """The Markdown of a page as the book has it: badges as plain links, and links that lead within it."""
        markdown = BADGE.sub(r'<a class="launch" href="\g<link>">Open in \g<name></a>', markdown)
        return LINK.sub(lambda link: self.link(link["target"], link["anchor"] or "", place), markdown)

    def link(self, target: str, anchor: str, place: str) -> str:
        """Where a link leads from a page of the book: to another page, or else to the project's files."""
        repo = re.escape(self.repo)
        own = re.match(
            rf"https://(?:github\.com/{repo}/\w+|raw\.githubusercontent\.com/{repo})/HEAD/(.+)", target
        )
        if "://" in target and not own or not target:
            return target + anchor
        path = own[1] if own else os.path.normpath(os.path.join(os.path.dirname(place), target))
        if not (self.root / path).exists():
            sys.exit(f"{place} links to {path}, which is not there.")
        if path not in self.pages | self.pictures:
            kind = "tree" if (self.root / path).is_dir() else "blob"
            return f"https://github.com/{self.repo}/{kind}/HEAD/{path}{anchor}"
        if anchor.startswith("#cell-id="):
            return f"#cell-{anchor.removeprefix('#cell-id=')}"
        path = "index.md" if path == "README.md" else path
        return os.path.relpath(path, os.path.dirname(place) or ".") + anchor

    def notebook(self, place: str):
        """A lesson: with its number, an anchor at each cell of code, and no empty outputs."""
        notebook = nbformat.read(self.root / place, as_version=4)
        cells = []
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = self.text(cell.source, place)
            else:
                show_less(cell)
                cells.append(new_markdown_cell(f"(cell-{cell.id})="))
            cells.append(cell)
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        charts = [output for output in outputs if pages.MIME in output.get("data", {})]
        for output in charts:
            become_chart(output, script=output is charts[0])
        number = re.match(r"\d\d", Path(place).name)
        if number:
            cells[0].source = cells[0].source.replace("# ", f"# {number[0]} · ", 1)
        notebook.cells = cells
        return notebook


def show_less(cell):
    """Fold what the lesson folds, and the cell that installs labkit; leave out outputs that show nothing."""
    if cell.metadata.get("jupyter", {}).get("source_hidden") or "%pip install" in cell.source:
        cell.metadata.tags = [*cell.metadata.get("tags", []), "hide-input"]
    cell.outputs = [
        output for output in cell.outputs if "data" not in output or output.data.get("text/html") != ""
    ]


def become_chart(output, script):
    """Make a figure of timelines a chart; where scripts do not run, the picture stays.

    script: whether to bring the JavaScript and the style of all the charts of a page.
    """
    kept, said = output.data[pages.MIME], html.escape(output.data["text/plain"])
    size = f'width="{output.metadata["image/png"]["width"]}"'
    picture = f'<img alt="{said}" {size} src="data:image/png;base64,{output.data["image/png"]}">'
    chart = f'<div class="timelines" data-by="{kept["by"]}" data-packed="{kept["data"]}">{picture}</div>'
    if script:
        chart += f"<style>{pages.css()}</style>\n<script type=module>{pages.script()}{DRAW}</script>"
    output.data = {"text/html": chart}


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else FOLDER
    Book(ROOT).stage(folder / "source")
    shutil.rmtree(folder / "html", ignore_errors=True)
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", "-j", "auto"]
    places = ["-c", ROOT / "docs" / "book", "-d", folder / "doctrees", folder / "source", folder / "html"]
    done = subprocess.run([*sphinx, *places])
    if done.returncode == 0:
        print(f"The book is in {folder / 'html' / 'index.html'}.")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
