"""make lab, as the README has it: it starts where people are, and what stops it ends in one sentence."""

import contextlib
import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
PATIENCE = 300  # seconds: a shared machine may be slow, and none of this is about speed
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/lab/tree/00-start-here\.ipynb\?token=(\w+)")
OPENED = "The lab is open."
NO_VENV = (
    "Python's venv module is missing: install it (on Debian and Ubuntu, apt install python3-venv), "
    "then run the same command again."
)
NO_NETWORK = (
    "The packages could not be downloaded: check the network (and the proxy, if you need one), "
    "then run the same command again."
)
NO_ROOM = (
    "There is no room left on the disk: the course takes about 3 GB, "
    "so free some space, then run the same command again."
)
OTHERWISE = "The installation failed for the reason above: once that is fixed, run the same command again."


def environment(**more) -> dict[str, str]:
    """As in a fresh shell: without what this make, pip, uv, Jupyter or a desktop have set."""
    others = ("MAKE", "GPU", "PIP_", "UV_", "JUPYTER", "SSH_", "DISPLAY", "WAYLAND_", "BROWSER", "CONDA_")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(others)}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def last_sentence(done) -> str:
    """The last that was said, before make adds where it stopped."""
    return [line for line in done.stderr.splitlines() if not line.startswith("make")][-1]


# The lab itself, from the .venv of the checkout


@pytest.fixture
def lab(tmp_path):
    """A function that runs make lab until it says its address: (that, all that was said, the processes)."""
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(tmp_path / name) for name in ("SETTINGS", "WORKSPACES")}
    if not (ROOT / ".venv" / ".installed").exists():
        pytest.skip("make install has not been run here")
    # It is not for a test to install the course anew, if pyproject.toml is newer.
    make = ["make", "-o", ".venv/.installed", "lab"]
    started = []

    def run(*arguments, **env):
        log = tmp_path / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [*make, *arguments],
                cwd=ROOT,
                env=environment(**own, **env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        started.append(process)
        end = time.monotonic() + PATIENCE
        while not (found := ADDRESS.search(log.read_text())):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        return found, log.read_text(), psutil.Process(process.pid).children(recursive=True)

    yield run
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            processes = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGTERM)
            psutil.wait_procs(processes, timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def listening(processes) -> set[tuple[str, int]]:
    connections = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # what git or a browser's check had been has ended
            connections += process.net_connections("inet")
    return {(each.laddr.ip, each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN}


def get(address: str, token: str | None = None):
    request = urllib.request.Request(address, headers={"Authorization": f"token {token}"} if token else {})
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE)


def assert_only_its_token_opens_it(found):
    port, token = found.groups()
    lesson = f"http://127.0.0.1:{port}/api/contents/00-start-here.ipynb"
    assert json.load(get(lesson, token))["content"]["cells"]
    assert get(found[0]).status == 200
    for wrong in (None, "0" * len(token)):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(lesson, wrong)


def test_make_lab_opens_the_first_lesson_to_this_machine_alone(lab):
    port = free_port()
    found, said, processes = lab(f"ARGS=--no-browser --port={port}")
    assert f"\nJupyterLab is running: to see it, open this address in a browser: {found[0]}\n" in said
    assert listening(processes) == {("127.0.0.1", port)}
    assert_only_its_token_opens_it(found)


def test_what_an_image_or_another_server_has_set_changes_none_of_it(lab, tmp_path):
    # As images for rented machines have it: on every interface, without a token, and 8888 is taken.
    config = {"ServerApp": {"ip": "0.0.0.0", "token": ""}, "IdentityProvider": {"token": ""}}
    (tmp_path / "CONFIG").mkdir()
    (tmp_path / "CONFIG" / "jupyter_server_config.json").write_text(json.dumps(config))
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\ntouch {tmp_path}/opened\n")
    browser.chmod(0o755)
    far = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22", "DISPLAY": ":9", "BROWSER": str(browser)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        found, said, processes = lab(JUPYTER_PORT=str(taken), **far)
    port = int(found[1])
    assert port != taken
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in said
    assert listening(processes) == {("127.0.0.1", port)}
    assert_only_its_token_opens_it(found)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("option", ["--port={}", "--port {}", "--ServerApp.port={}"])
def test_a_port_that_was_asked_for_and_is_taken_gets_one_sentence(option):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [sys.executable, "scripts/lab.py", *option.format(port).split()]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE
        )
    assert done.returncode != 0
    assert done.stderr == (
        f"Port {port} is already in use: choose another, as in make lab ARGS=--port=9999, "
        "or leave it out, and JupyterLab finds a free one.\n"
    )


DESKTOP = {"DISPLAY": ":0", "BROWSER": "true"}
PLACES = [
    (True, 1000, False, DESKTOP),
    (True, 0, False, DESKTOP),
    (True, 1000, True, {"WAYLAND_DISPLAY": "wayland-0", "BROWSER": "true"}),
    (False, 0, True, DESKTOP),
    (False, 1000, False, {**DESKTOP, "SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}),
    (False, 1000, False, {"BROWSER": "true"}),
    (False, 1000, False, {"DISPLAY": ":0", "PATH": "/nowhere"}),
]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS always has a browser and no DISPLAY")
@pytest.mark.parametrize(("expected", "user", "container", "variables"), PLACES)
def test_a_browser_opens_only_where_one_is_seen(expected, user, container, variables, monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("lab_script", ROOT / "scripts" / "lab.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name in ("SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "container"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(script, "CONTAINER_FILES", [str(tmp_path)] if container else [])
    # Where webbrowser has looked once, it remembers.
    monkeypatch.setattr(script.webbrowser, "_tryorder", None)
    monkeypatch.setattr(script.webbrowser, "_browsers", {})
    assert script.browser_is_here() == expected


def test_what_python_compiles_is_kept_whatever_the_image_has_set():
    printing = "include Makefile\nvariables:; @env\n"
    command = ["make", "-f", "-", "variables"]
    env = environment(PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, cwd=ROOT, env=env, input=printing, capture_output=True, text=True)
    assert done.returncode == 0 and "PATH=" in done.stdout, done
    assert "PYTHONDONTWRITEBYTECODE" not in done.stdout


# What stops an installation, in a copy that installs one small package from a server of its own


def write_wheel(folder: Path, name: str, version: str = "1.0", **files: str | bytes):
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\njupyter = {name}:main\n" if "part" in name else "",
    }
    files[f"{about}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)


class Course:
    """The Makefile in a folder of its own, with a lock that asks for one package, part."""

    def __init__(self, folder: Path, uv: str | None):
        self.folder = folder / "course"
        self.index = folder / "index"
        self.stamp = self.folder / ".venv" / ".installed"
        self.port = free_port()
        self.uv = uv
        (self.folder / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", self.folder)
        self.write("requirements.lock", "part==1.0\n")
        self.write("scripts/lab.py", f"import part; print({OPENED!r})\n")
        # Its own build backend, as everything else would have to be downloaded.
        build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        self.write("pyproject.toml", f'{build}[project]\nname = "labkit"\nversion = "1.0"\n')
        write_wheel(self.folder, "labkit")
        self.write(
            "backend.py",
            "import shutil\n\n\ndef build_editable(folder, *_):\n"
            "    return shutil.copy('labkit-1.0-py3-none-any.whl', folder).rpartition('/')[2]\n",
        )
        self.make_part()
        path = [each for each in os.environ["PATH"].split(os.pathsep) if not Path(each, "uv").exists()]
        if uv:
            (folder / "bin").mkdir()
            (folder / "bin" / "uv").symlink_to(uv)
            path.insert(0, str(folder / "bin"))
        where = f"http://127.0.0.1:{self.port}"
        self.environment = environment(
            PATH=os.pathsep.join(path),
            PIP_INDEX_URL=where,
            PIP_CONFIG_FILE=os.devnull,
            PIP_NO_CACHE_DIR="1",
            PIP_RETRIES="1",
            UV_DEFAULT_INDEX=where,
            UV_NO_CONFIG="1",
            UV_NO_CACHE="1",
            UV_HTTP_RETRIES="0",
        )

    def write(self, name: str, text: str):
        (self.folder / name).write_text(text)

    def make_part(self, version: str = "1.0", size: int = 0):
        content = {"part.py": "def main(): pass\n", "part_data": b"\0" * size}
        write_wheel(self.index / "part", "part", version, **content)

    def lab(self, *arguments, python=sys.executable, before=("make", "lab")):
        command = [*before, "GPU=0", f"PYTHON={python}", *arguments]
        options = {"cwd": self.folder, "env": self.environment, "timeout": PATIENCE}
        return subprocess.run(command, capture_output=True, text=True, **options)

    def assert_opens(self, **options):
        done = self.lab(**options)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == OPENED
        assert self.stamp.read_text() == "requirements.lock\n"

    def assert_stops(self, sentence: str, **options):
        done = self.lab(**options)
        assert done.returncode != 0
        assert last_sentence(done) == sentence, done.stdout + done.stderr
        assert OPENED not in done.stdout
        return done

    @contextlib.contextmanager
    def network(self):
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=self.index)

        with http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler) as server:
            threading.Thread(target=server.serve_forever).start()
            try:
                yield
            finally:
                server.shutdown()


@pytest.fixture(params=["uv", "pip"])
def course(request, tmp_path):
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if request.param == "uv" and not uv:
        pytest.skip("there is no uv here")
    return Course(tmp_path, uv if request.param == "uv" else None)


def test_what_stops_it_has_its_sentence_and_it_goes_on_once_that_is_mended(course):
    course.assert_stops(NO_NETWORK)
    assert not course.stamp.exists()
    with course.network():
        course.assert_opens()
    # What is installed is not lost to an update that cannot be downloaded.
    course.write("requirements.lock", "part==1.1\n")
    course.assert_stops(NO_NETWORK)
    assert course.stamp.exists()
    with course.network():
        done = course.assert_stops(OTHERWISE)
        assert "part==1.1" in done.stderr


# What Debian's Python prints where python3-venv is not installed; it has begun a .venv by then.
WITHOUT_VENV = """\
#!/bin/sh
if [ "$1 $2" = "-m venv" ] && [ -e {folder}/without-venv ]; then
    mkdir -p .venv/bin && ln -s /nowhere/python3 .venv/bin/python && touch .venv/pyvenv.cfg
    echo "The virtual environment was not created successfully because ensurepip is not"
    echo "available.  On Debian/Ubuntu systems, you need to install the python3-venv"
    echo "package using the following command."
    exit 1
fi
exec {python} "$@"
"""


@pytest.mark.parametrize("course", ["pip"], indirect=True)
def test_without_the_venv_module_it_says_so_and_goes_on_once_there_is_one(course, tmp_path):
    python = tmp_path / "python3"
    python.write_text(WITHOUT_VENV.format(folder=tmp_path, python=sys.executable))
    python.chmod(0o755)
    (tmp_path / "without-venv").touch()
    done = course.assert_stops(NO_VENV, python=python)
    assert done.stdout == ""
    (tmp_path / "without-venv").unlink()
    with course.network():
        course.assert_opens(python=python)


@pytest.mark.parametrize("course", ["pip"], indirect=True)
def test_a_python_without_any_venv_gets_the_same_sentence(course, tmp_path):
    python = tmp_path / "python3"
    lines = ['#!/bin/sh\n[ "$1 $2" != "-m venv" ]', "{ echo 'python3: No module named venv' >&2; exit 1; }"]
    python.write_text(" || ".join(lines) + f'\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = course.assert_stops(NO_VENV, python=python)
    assert done.stderr.splitlines()[0] == NO_VENV


# A disk of its own for .venv, which is gone with the namespace; then the same command with room enough.
SMALL_DISK = """\
mkdir .venv && mount -t tmpfs -o size="$1" none .venv && shift || exit 99
if [ -e next.lock ]; then
    "$@" >first 2>&1 || exit 98
    cat next.lock >requirements.lock
fi
"$@"
code=$?
ls .venv/.installed 2>/dev/null
mount -t tmpfs -o remount,size=300m none .venv && "$@" >again 2>&1
stat -c %s .venv/lib/python*/site-packages/part_data >>again
exit $code
"""
NAMESPACE = ["unshare", "--mount", "--map-root-user"]


DISKS = [("pip", "4m", False), ("pip", "48m", False), ("uv", "48m", True)]


@pytest.mark.parametrize(("course", "disk", "update"), DISKS, indirect=["course"])
def test_on_a_full_disk_it_says_so_and_goes_on_once_there_is_room(course, disk, update, tmp_path):
    can_mount = [*NAMESPACE, "mount", "-t", "tmpfs", "none", tmp_path]
    if not shutil.which("unshare") or subprocess.run(can_mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be had: this user may not mount one, even in a namespace of its own")
    course.make_part("1.1", size := 60_000_000)
    course.write("next.lock" if update else "requirements.lock", "part==1.1\n")
    with course.network():
        before = [*NAMESPACE, "sh", "-c", SMALL_DISK, "sh", disk, "make", "lab"]
        done = course.assert_stops(NO_ROOM, before=before)
    assert ".installed" not in done.stdout
    if course.uv:
        assert "Installing with pip" not in done.stdout
    again = (course.folder / "again").read_text().splitlines()
    assert again[-2:] == [OPENED, str(size)], again


@pytest.mark.parametrize("course", ["uv"], indirect=True)
def test_what_an_installation_that_was_killed_left_does_not_count_as_installed(course):
    with course.network():
        course.assert_opens()
        course.stamp.unlink()
        for part in course.folder.glob(".venv/lib/python*/site-packages/part.py"):
            part.unlink()
        course.assert_opens()


# It stops, without a word of why, when a part of the package is there.
HALF_A_UV = """\
#!/bin/sh
for site in .venv/lib/python*/site-packages; do
    mkdir -p $site/part-1.0.dist-info && cd $site/part-1.0.dist-info || exit 2
    printf 'Metadata-Version: 2.1\\nName: part\\nVersion: 1.0\\n' >METADATA
    printf 'part-1.0.dist-info/METADATA,,\\npart-1.0.dist-info/RECORD,,\\n' >RECORD
done
exit 1
"""


def test_pip_does_not_trust_what_a_uv_that_failed_has_left(tmp_path):
    uv = tmp_path / "half-a-uv"
    uv.write_text(HALF_A_UV)
    uv.chmod(0o755)
    course = Course(tmp_path, str(uv))
    with course.network():
        course.assert_opens()
