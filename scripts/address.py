"""Sets the project's address wherever it stands: make address REPO=owner/name.

pyproject.toml holds it. Badges and links of README, docs and lessons, and the cells that install labkit,
repeat it: all of them are rewritten, and nothing else in these files.
"""

import re
import sys
from pathlib import Path

HOLDER = "pyproject.toml"
REPEATED = ("README.md", "docs/**/*.md", "notebooks/*.ipynb")
HOLDS = re.compile(r'^Repository = "https://github\.com/(.+)"$', re.MULTILINE)
OWNER_AND_NAME = r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[\w.-]{1,100}"
BEFORE = (  # what an address follows
    "https://github.com",
    "https://raw.githubusercontent.com",
    "https://mybinder.org/v2/gh",
    "https://colab.research.google.com/github",
    "https://codespaces.new",
)


def files(root: Path) -> list[Path]:
    return [root / HOLDER, *(path for pattern in REPEATED for path in sorted(root.glob(pattern)))]


def held(root: Path) -> str:
    """The address, as owner/name."""
    return HOLDS.search((root / HOLDER).read_text()).group(1)


def addresses(repo: str) -> re.Pattern:
    """Finds each place where owner/name stands as an address, with what it follows in group 1."""
    before = "|".join(map(re.escape, BEFORE))
    return re.compile(rf"((?:{before})/){re.escape(repo)}(?![\w-]|\.\w)", re.ASCII)


def parsed(text: str) -> str:
    """owner/name, also from the address of the repository's page or of its clone."""
    repo = text.strip().removeprefix("https://github.com/").removeprefix("git@github.com:")
    repo = repo.removesuffix("/").removesuffix(".git")
    if not re.fullmatch(OWNER_AND_NAME, repo, re.ASCII) or repo.endswith(("/.", "/..")):
        sys.exit(f"{text!r} is not the address of a repository: make address REPO=owner/name")
    return repo


def replace(root: Path, repo: str) -> tuple[int, int]:
    """Put owner/name wherever the present address stands; returns the numbers of places and of files."""
    texts = {path: path.read_text() for path in files(root)}
    old = addresses(held(root))
    if held(root) != repo and any(addresses(repo).search(text) for text in texts.values()):
        sys.exit(f"The course links to {repo} as to another project: its own address must be another.")
    places = 0
    for path, text in texts.items():
        text, count = old.subn(lambda match: match.group(1) + repo, text)
        path.write_text(text)
        places += count
    return places, len(texts)


def main(arguments: list[str]):
    root = Path.cwd()
    if not any(arguments):
        sys.exit(f"The address is {held(root)}. To set another: make address REPO=owner/name")
    repo = parsed(arguments[0])
    places, number = replace(root, repo)
    print(f"The address is {repo}, in {places} places of {number} files.")


if __name__ == "__main__":
    main(sys.argv[1:])
