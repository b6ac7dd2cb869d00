"""One version of everything: the lock, conda's file, Binder's folder and the Makefile agree."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ["requirements.lock", "requirements-gpu.lock", "requirements-test.lock"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
MACHINES = {
    "linux-x86": ("linux", "x86_64", "posix"),
    "linux-arm": ("linux", "aarch64", "posix"),
    "macos-arm": ("darwin", "arm64", "posix"),
    "windows": ("win32", "AMD64", "nt"),
}
MET_BY_THE_READER = {
    "anywidget",
    "keras",
    "numpy",
    "matplotlib",
    "jupyterlab",
    "ipykernel",
    "ipywidgets",
    "nbval",
    "cloudpickle",
    "psutil",
    "scikit-learn",
}


def environment(python: str, machine: str = "linux-x86") -> dict[str, str]:
    """The values that markers ask for, as that machine gives them."""
    platform, processor, os_name = MACHINES[machine]
    return {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "platform_machine": processor,
        "os_name": os_name,
        "implementation_name": "cpython",
        "extra": "",
    }


def locked(lock: str, python: str, machine: str = "linux-x86") -> dict[str, str]:
    """What a lock installs there: {package: version}."""
    lines = (ROOT / lock).read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return pins(requirements, python, machine)


def pins(requirements: Iterable[Requirement], python: str, machine: str) -> dict[str, str]:
    """{package: version} of those that are for that machine."""
    chosen: dict[str, str] = {}
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate(environment(python, machine)):
            continue
        (pin,) = requirement.specifier
        name = canonicalize_name(requirement.name)
        assert pin.operator == "==" and name not in chosen, requirement
        chosen[name] = pin.version
    return chosen


def locked_for_tests(python: str, machine: str = "linux-x86") -> dict[str, str]:
    """What `make test` installs there: the course's lock, and the tests' on top, which agree."""
    course, tests = (
        locked(lock, python, machine) for lock in ("requirements.lock", "requirements-test.lock")
    )
    assert {name: tests[name] for name in tests if name in course} == {
        name: course[name] for name in course if name in tests
    }
    return course | tests


def conda_file(path: str) -> tuple[str, list[str]]:
    """Python's version and the lines of the pip section."""
    dependencies = yaml.safe_load((ROOT / path).read_text())["dependencies"]
    (python,) = (d for d in dependencies if isinstance(d, str) and d.startswith("python="))
    (pip,) = (d["pip"] for d in dependencies if isinstance(d, dict))
    return python.removeprefix("python="), pip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_satisfies_pyproject_with_one_tensorflow(python, machine):
    versions = locked_for_tests(python, machine)
    extras = PROJECT["optional-dependencies"]
    for text in PROJECT["dependencies"] + extras["tf"] + extras["lab"] + extras["test"]:
        wanted = Requirement(text)
        if not wanted.marker or wanted.marker.evaluate(environment(python, machine)):
            assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), text
    has_cpu_wheel = machine in ("linux-x86", "windows")
    assert ("tensorflow-cpu" in versions) == has_cpu_wheel
    assert ("tensorflow" in versions) != has_cpu_wheel


@pytest.mark.parametrize("python", PYTHONS)
def test_the_books_lock_satisfies_pyproject_without_tensorflow(python):
    versions = locked("requirements-book.lock", python)
    for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["book"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), text
    assert not [name for name in versions if name.startswith(("tensorflow", "keras"))]


@pytest.mark.parametrize("over", [[], ["requirements-kaggle.lock"]], ids=["colab", "kaggle"])
def test_colab_and_kaggle_have_what_labkit_needs(over):
    """So that their set-up cells can install it alone; make test-colab asks pip."""
    versions = locked("requirements-colab.lock", "3.13")
    for lock in over:
        versions |= locked(lock, "3.12")
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), text


@pytest.mark.parametrize("python", PYTHONS)
def test_gpu_lock_is_the_lock_with_another_tensorflow(python):
    cpu, gpu = locked("requirements.lock", python), locked("requirements-gpu.lock", python)
    assert gpu.pop("tensorflow") == cpu.pop("tensorflow-cpu")
    cuda = {name for name in gpu if name.startswith("nvidia-")}
    assert "nvidia-cudnn-cu12" in cuda
    assert {name: gpu[name] for name in gpu if name not in cuda} == cpu


@pytest.mark.parametrize("machine", MACHINES)
def test_conda_and_binder_say_the_versions_of_the_lock(machine):
    python, pip = conda_file("environment.yml")
    assert pip[-1] == "-e ."
    pinned = pins(map(Requirement, pip[:-1]), python, machine)
    versions = locked_for_tests(python, machine)
    assert set(pinned) - {"tensorflow", "tensorflow-cpu"} == MET_BY_THE_READER
    assert pinned == {name: versions[name] for name in pinned}
    assert ("tensorflow" in pinned) == ("tensorflow" in versions)
    assert ("tensorflow-cpu" in pinned) == ("tensorflow-cpu" in versions)
    # In Binder, postBuild installs the package, so that a new commit reuses the packages' layer.
    assert conda_file("binder/environment.yml") == (python, pip[:-1])


def test_binder_installs_the_package_without_asking_for_more():
    script = ROOT / "binder" / "postBuild"
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    assert lines[1] == "set -e"
    assert "pip install --no-deps -e ." in lines
    assert os.access(script, os.X_OK)


def test_binder_start_hands_over():
    start = ROOT / "binder" / "start"
    if start.exists():
        assert start.read_text().splitlines()[-1] == 'exec "$@"'
        assert os.access(start, os.X_OK)


def test_the_dev_container_installs_with_commands_that_are_there():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    target = container["postCreateCommand"].removeprefix("make ")
    assert make("-n", target).returncode == 0
    python = container["image"].partition("python:")[2].partition("-")[0]
    assert python in PYTHONS
    editor = container["customizations"]["vscode"]
    assert editor["settings"]["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
    (lesson,) = container["customizations"]["codespaces"]["openFiles"]
    assert (ROOT / lesson).exists()


def test_repo2docker_reads_the_binder_folder():
    # Without another user's id it refuses to run for root, which one is in a container.
    user = ["--user-id", "1000", "--user-name", "reader"]
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", *user, "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    python, _ = conda_file("binder/environment.yml")
    assert f"Building conda environment for python={python}\n" in done.stderr
    assert re.findall(r'env update .* --file "(.*?)"', done.stdout) == ["binder/environment.yml"]
    assert "RUN ./binder/postBuild" in done.stdout
    assert done.stdout.index("COPY --chown=1000:1000 src/ ") < done.stdout.index("RUN ./binder/")


def make(*arguments: str, cwd: Path = ROOT, path: Path | None = None):
    """Run make as from a shell: not as a part of the make that may be running this test."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    env.pop("GPU", None)
    if path:
        env["PATH"] = f"{path}{os.pathsep}{env['PATH']}"
    return subprocess.run(["make", *arguments], cwd=cwd, env=env, capture_output=True, text=True)


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path):
    for name in ("Makefile", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_make_alone_lists_the_targets():
    listed = make().stdout
    for target in (
        "install",
        "lab",
        "test",
        "lint",
        "gpu-check",
        "lock",
        "clean",
        "test-colab",
        "address",
        "book",
    ):
        assert f"make {target} " in listed


@pytest.mark.parametrize("version", ["(2, 7)", "(3, 9)", "(3, 14)"])
def test_a_wrong_python_gets_one_sentence(checkout, version):
    pretend = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    python = script(checkout / "old-python", f'exec {sys.executable} -c "{pretend}" "$2"')
    done = make("install", f"PYTHON={python}", cwd=checkout)
    assert done.returncode != 0
    first, *rest = done.stderr.splitlines()
    assert first.startswith("labkit needs Python 3.10 to 3.13")
    assert all(line.startswith("make: ") for line in rest)
    assert not (checkout / ".venv").exists()


def test_a_gpu_that_answers_selects_the_gpu_lock(checkout):
    script(checkout / "nvidia-smi", "echo 'GPU 0: NVIDIA T4'")
    assert "requirements-gpu.lock" in make("-n", "install", cwd=checkout, path=checkout).stdout
    refused = make("-n", "install", "GPU=0", cwd=checkout, path=checkout).stdout
    assert "requirements.lock" in refused and "requirements-gpu.lock" not in refused
    script(checkout / "nvidia-smi", "echo 'No devices were found'")
    assert "requirements-gpu.lock" not in make("-n", "install", cwd=checkout, path=checkout).stdout


def test_the_gpu_check_installs_nothing_where_there_is_no_gpu(checkout):
    script(checkout / "nvidia-smi", "echo 'No devices were found'")
    done = make("gpu-check", cwd=checkout, path=checkout)
    assert done.returncode == 2
    assert done.stdout == "There is no NVIDIA GPU here: nvidia-smi -L lists none.\n"
    assert not (checkout / ".venv").exists()


def test_the_gpu_check_runs_with_the_gpu_lock(checkout):
    script(checkout / "nvidia-smi", "echo 'GPU 0: NVIDIA T4'")
    planned = make("-n", "gpu-check", cwd=checkout, path=checkout).stdout
    assert "requirements-gpu.lock" in planned
    assert planned.splitlines()[-1] == ".venv/bin/python benchmarks/gpu/check.py "


def test_the_gpu_check_says_in_one_sentence_that_there_is_no_gpu(tmp_path):
    command = [sys.executable, "benchmarks/gpu/check.py", "--out", str(tmp_path)]
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("There is no GPU here") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_damaged_and_missing_parts_are_named(tmp_path):
    parts = [sys.executable, "benchmarks/gpu/parts.py", "install"]
    (tmp_path / "sha256").write_text(f"{'0' * 64}  00\n{'1' * 64}  01\n")
    (tmp_path / "00").write_bytes(b"damaged")
    done = subprocess.run([*parts, tmp_path, tmp_path / "site"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Missing or damaged: parts 00, 01. Bring them again.\n"


def test_no_tracked_file_names_a_registry():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    hosts = [f"{name}.org" for name in ("pypi", "pythonhosted", "npmjs", "anaconda")]
    patterns = [part for host in hosts for part in ("-e", host)]
    found = subprocess.run(
        ["git", "grep", "-l", "-I", "-F", *patterns], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 1, found.stdout + found.stderr


@pytest.mark.parametrize(
    "lock", [*LOCKS, "requirements-book.lock", "requirements-colab.lock", "requirements-kaggle.lock"]
)
def test_lock_names_no_place_of_its_own(lock):
    text = (ROOT / lock).read_text()
    assert not re.search(r"^\s*-|://| @ ", text, re.MULTILINE)


def test_without_keras_there_is_everything_that_needs_none():
    code = """
        import sys
        sys.modules["keras"] = sys.modules["tensorflow"] = None
        from labkit import *
        import labkit
        assert {*labkit.__all__, "MemoryMeter", "Timeline"} <= set(dir(labkit))
        assert diagnose("OOM when allocating tensor with shape[64,9]").found and Timeline
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
