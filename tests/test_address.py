"""The project's address stands in one place; one command, or the workflow of a fork, sets it everywhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import address  # noqa: E402

OWNERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True)
REPOS = st.builds("{}/{}".format, OWNERS, NAMES).filter(lambda repo: not repo.endswith(("/.", "/..", ".git")))
LONGEST = f"{'o' * 39}/{'n' * 100}"
REPO = address.held(ROOT)


def copy(folder):
    """A folder with the files that have the address."""
    for path in address.files(ROOT):
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.relative_to(ROOT))
    return folder


def texts(folder):
    return {path.relative_to(folder): path.read_bytes() for path in address.files(folder)}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the course's files with an address that stands nowhere else."""
    folder = copy(tmp_path_factory.mktemp("course"))
    address.replace(folder, "zz-own-zz/zz.name-zz")
    return folder


@settings(max_examples=20)
@given(repo=REPOS)
def test_every_address_is_set_and_can_be_set_back(course, repo):
    before, old = texts(course), address.held(course)
    address.replace(course, repo)
    assert address.held(course) == repo
    assert not any(old.encode() in text for text in texts(course).values())
    address.replace(course, repo)  # once more changes nothing
    address.replace(course, old)
    assert texts(course) == before


@given(repo=REPOS)
def test_it_may_be_given_as_a_page_or_a_clone_address(repo):
    forms = [repo, f"https://github.com/{repo}", f"https://github.com/{repo}/", f"git@github.com:{repo}.git"]
    assert {address.parsed(form) for form in forms} == {repo}


@pytest.mark.parametrize(
    "text", ["name", "a/b/c", "/b", "a/", "a b/c", "-a/b", "a/..", "https://example.com/a/b"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(SystemExit, match="owner/name"):
        address.parsed(text)


def test_other_projects_keep_their_addresses(tmp_path):
    copy(tmp_path)
    for repo in ("tensorflow/tensorflow", "tensorflow/tensor"):
        before = texts(tmp_path)
        if repo == "tensorflow/tensorflow":  # lessons link to its issues
            with pytest.raises(SystemExit, match="another project"):
                address.replace(tmp_path, repo)
            assert texts(tmp_path) == before
        else:
            address.replace(tmp_path, repo)
            address.replace(tmp_path, REPO)
            assert texts(tmp_path) == before


@pytest.mark.parametrize("repo", ["a/b", LONGEST])
def test_lessons_stay_in_form_with_every_length_of_address(tmp_path, repo):
    address.replace(copy(tmp_path), repo)
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", ROOT / "pyproject.toml", "--no-cache", tmp_path / "notebooks"]
    subprocess.run([*ruff, "check", *config], check=True)
    subprocess.run([*ruff, "format", "--check", *config], check=True)


def test_the_address_is_written_nowhere_else():
    """In no other file, and in these only as an address: nothing that make address would miss."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    found = subprocess.run(["git", "grep", "-lIF", REPO], cwd=ROOT, capture_output=True, text=True)
    known = {str(path.relative_to(ROOT)) for path in address.files(ROOT)}
    assert {*found.stdout.split()} - known == set()
    for path in address.files(ROOT):
        text = path.read_text()
        places = len(address.addresses(REPO).findall(text))
        assert places == len(re.findall(rf"{re.escape(REPO)}(?![\w-])", text)), path


def git(folder, *arguments):
    someone = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {**os.environ, **someone}
    done = subprocess.run(["git", *arguments], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_workflow_of_a_fork_sets_the_forks_address(tmp_path):
    """The commands of the workflow's steps, run in a clone as GitHub runs them."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/address.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["address"]["steps"] if "run" in step]
    fork, clone = tmp_path / "fork.git", tmp_path / "clone"
    copy(clone)
    for name in ("Makefile", "scripts/address.py"):
        (clone / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(fork))
    for step in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "course"],
                 ["remote", "add", "origin", str(fork)], ["push", "-qu", "origin", "main"]):  # fmt: skip
        git(clone, *step)
    for _ in range(2):  # the second time there is nothing to do
        for command in commands:
            env = {**os.environ, "GITHUB_REPOSITORY": "a-learner/their-fork", "PYTHON": sys.executable}
            subprocess.run(["bash", "-e", "-c", command], cwd=clone, env=env, check=True)
        assert 'github.com/a-learner/their-fork"' in git(fork, "show", "main:pyproject.toml")
    assert len(git(fork, "log", "--oneline", "main").splitlines()) == 2
