"""Tries the course with the packages of Colab or of Kaggle, in an environment of its own: make test-colab.

It installs requirements-colab.lock (and over it requirements-kaggle.lock) into .venv-colab or .venv-kaggle,
asks pip what installing labkit there would bring, and runs the tests of labs, set-up and trials, then the
lessons one by one. Whatever fails, the rest goes on, and the exit status is 1.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

LOCKS = {
    "colab": ["requirements-colab.lock"],
    "kaggle": ["requirements-colab.lock", "requirements-kaggle.lock"],
}
PYTHONS = {"colab": (3, 13), "kaggle": (3, 12)}
OWN, MISSING = "keras-memory-labkit", "jedi"  # which IPython 7.34 asks for, and Colab leaves out
TESTS = [f"tests/test_{name}.py" for name in ("setup", "magics", "widgets", "run", "selfcheck", "classic")]
LESSON = ["--nbval-lax", "--nbval-cell-timeout=300"]


def pythons() -> list[tuple[tuple[int, int], str]]:
    """(version, command) of each Python 3.11 to 3.13 that is here; of pyenv's too."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    commands = [sys.executable, *(f"python3.{minor}" for minor in (11, 12, 13))]
    commands += map(str, pyenv.glob("versions/3.1[123].*/bin/python"))
    found = []
    for command in commands:
        try:
            code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
            done = subprocess.run([command, "-c", code], capture_output=True, text=True)
        except OSError:
            continue
        if done.returncode == 0:
            found.append((tuple(map(int, done.stdout.split())), command))
    return [(version, command) for version, command in found if (3, 11) <= version <= (3, 13)]


def build(host: str, wanted: tuple[int, int]) -> Path:
    """The environment's folder, with the host's packages and this course."""
    folder = Path(f".venv-{host}")
    here = pythons()
    if not here:
        sys.exit("There is no Python 3.11, 3.12 or 3.13 with venv here: install one, then try again.")
    version, command = min(here, key=lambda found: abs(found[0][1] - wanted[1]))
    nearest = "so has this machine" if version == wanted else "the nearest here is {}.{}".format(*version)
    print("{} has Python {}.{}; {}.".format(host.capitalize(), *wanted, nearest), flush=True)
    subprocess.run([command, "-m", "venv", "--clear", folder], check=True)
    pip = [folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    for lock in LOCKS[host]:
        subprocess.run([*pip, "-r", lock], check=True)
    subprocess.run([*pip, "-e", "."], check=True)
    return folder


def what_it_brings(folder: Path) -> set[str]:
    """The packages that pip would install or replace there with labkit, by its dry run."""
    report = folder / "report.json"
    subprocess.run([folder / "bin/pip", "install", "-q", "--dry-run", "--report", report, "."], check=True)
    return {package["metadata"]["name"] for package in json.loads(report.read_text())["install"]}


def run_tests(folder: Path, *arguments: str | Path) -> bool:
    """Whether pytest, run there, finds nothing wrong."""
    python = (folder / "bin/python").absolute()
    env = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run([python, "-m", "pytest", "-q", "-W", "ignore", *arguments], env=env).returncode == 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("host", choices=LOCKS)
    parser.add_argument("lessons", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    folder = build(options.host, PYTHONS[options.host])
    brought = what_it_brings(folder)
    print(f"Installing labkit there brings: {', '.join(sorted(brought))}", flush=True)
    failed = [] if brought - {MISSING} == {OWN} else ["the installation brings more than labkit"]
    for tests in (TESTS, *([*LESSON, path] for path in options.lessons)):
        if not run_tests(folder, *tests):
            failed.append("the tests" if tests is TESTS else str(tests[-1]))
    said = f"Failed: {', '.join(failed)}" if failed else "All of it works"
    print(f"{said} with the packages of {options.host.capitalize()}.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
