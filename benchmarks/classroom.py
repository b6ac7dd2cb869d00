"""A class on one machine: learners log in to a real JupyterHub, and all run a lesson at once.

    .venv/bin/python benchmarks/classroom.py --learners 8 --budget "8 GiB"

Each learner logs in, gets a server and a kernel, and runs every cell of the lesson without a pause, as nobody
in a class does: it is the worst minute of a class, not a typical one. Needs JupyterHub's proxy (make hub).
"""

import argparse
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import psutil
import requests
from report import Report
from running_cells import RunningCells

from labkit import format_size, machine

COURSE = Path(__file__).resolve().parent.parent
LESSON = "00-start-here.ipynb"


class Hub:
    """A JupyterHub of its own on three free ports, with what it starts ended at the end."""

    def __init__(self, folder, budget):
        self.folder, self.password = Path(folder), secrets.token_urlsafe(12)
        self.port = free_ports()
        self.address = f"http://127.0.0.1:{self.port}"
        environ = {
            "LABKIT_CLASS_FOLDER": str(folder),
            "LABKIT_CLASS_PASSWORD": self.password,
            "LABKIT_CLASS_PORT": str(self.port),
            "LABKIT_BUDGET": budget,
        }
        bin_folder = Path(sys.executable).parent
        path = os.pathsep.join([str(bin_folder), os.environ["PATH"]])
        self.log = open(self.folder / "hub.log", "w")  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(
            [sys.executable, COURSE / "scripts" / "hub.py"],
            env=os.environ | environ | {"PATH": path}, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip
        self.family = set()

    def __enter__(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.address}/hub/api", timeout=5).ok:
                    return self
            time.sleep(0.2)
        self.__exit__()
        raise RuntimeError(f"JupyterHub did not start:\n{(self.folder / 'hub.log').read_text()[-2000:]}")

    def __exit__(self, *_):
        self.look()
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        for process in self.family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.log.close()

    def look(self):
        """Bytes of all the processes that the hub has started; pages that they share count once."""
        with contextlib.suppress(psutil.Error):
            self.family |= set(psutil.Process(self.process.pid).children(recursive=True))
        return sum(map(_held, self.family))

    def left_running(self, seconds=30):
        """How many processes of kernels and trials still run, so long after the last session ended."""
        deadline = time.monotonic() + seconds
        while left := [process for process in self.family if _is_of_a_kernel(process)]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        return len(left)


def _is_of_a_kernel(process):
    with contextlib.suppress(psutil.Error):
        command = " ".join(process.cmdline())
        return "ipykernel" in command or "labkit.process.server" in command
    return False


def _held(process):
    with contextlib.suppress(psutil.Error):
        return process.memory_full_info().pss
    return 0


def free_ports():
    """The first of three free ports in a row."""
    while True:
        port = secrets.randbelow(20_000) + 20_000
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for offset in range(3):
                stack.enter_context(socket.create_server(("127.0.0.1", port + offset)))
            return port


class Learner:
    """One learner: logs in, opens a lesson, and runs its cells, a RunningCells."""

    def __init__(self, hub, name):
        self.hub, self.name = hub, name
        self.web = requests.Session()
        self.cells, self.seconds = RunningCells(), None

    def attend(self, lesson, cells=None):
        """Run the lesson, or the first so many code cells of it."""
        start = time.monotonic()
        self.log_in()
        kernel = self.open(lesson)
        notebook = nbformat.read(COURSE / "notebooks" / lesson, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"][:cells]
        request = requests.Request("GET", self.server + "/")
        cookie = self.web.prepare_request(request).headers["Cookie"]
        headers = {"Cookie": cookie, "Origin": self.hub.address}
        self.cells.run(f"{self.server}/api/kernels/{kernel}/channels", headers, code)
        self.web.delete(f"{self.server}/api/sessions/{self.session}", headers=self._token())
        self.seconds = time.monotonic() - start

    def log_in(self):
        login = f"{self.hub.address}/hub/login"
        self.web.get(login).raise_for_status()
        data = {"username": self.name, "password": self.hub.password, "_xsrf": self.web.cookies["_xsrf"]}
        self.web.post(login, data=data).raise_for_status()
        self.web.get(f"{self.hub.address}/hub/spawn").raise_for_status()
        self.server = f"{self.hub.address}/user/{self.name}"
        deadline = time.monotonic() + 120
        while not self._page_opens():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} got no server")
            time.sleep(0.5)

    def _page_opens(self):
        answer = self.web.get(f"{self.server}/lab")
        return answer.ok and answer.url.startswith(self.server)

    def _token(self):
        cookies = [c for c in self.web.cookies if c.name == "_xsrf" and c.path.startswith("/user/")]
        return {"X-XSRFToken": cookies[0].value} if cookies else {}

    def open(self, lesson):
        """Start a kernel for the lesson; returns its id."""
        what = {"path": lesson, "name": lesson, "type": "notebook", "kernel": {"name": "python3"}}
        answer = self.web.post(f"{self.server}/api/sessions", json=what, headers=self._token())
        answer.raise_for_status()
        self.session = answer.json()["id"]
        return answer.json()["kernel"]["id"]


def hold(learners, lesson, budget, cells=None, every=1.0):
    """Hold the class; returns (the Learners, peak bytes of all their processes, processes left behind)."""
    folder = tempfile.mkdtemp(prefix="class-")
    try:
        with Hub(folder, budget) as hub:
            class_ = [Learner(hub, f"learner{number}") for number in range(learners)]
            threads = [threading.Thread(target=_attend, args=(one, lesson, cells)) for one in class_]
            for thread in threads:
                thread.start()
            peak = 0
            while any(thread.is_alive() for thread in threads):
                peak = max(peak, hub.look())
                time.sleep(every)
            return class_, peak, hub.left_running()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _attend(learner, lesson, cells):
    try:
        learner.attend(lesson, cells)
    except Exception as e:  # one learner's trouble is not the others'
        learner.cells.errors.append((learner.cells.done, repr(e)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", type=int, default=8)
    parser.add_argument("--lesson", default=LESSON)
    parser.add_argument("--budget", default="8 GiB", help="LABKIT_BUDGET of the class")
    parser.add_argument("--cells", type=int, help="only the first so many code cells")
    asked = parser.parse_args()
    report = Report("classroom")
    kills = machine.kernel_oom_kills()
    report(f"{asked.learners} learners run {asked.lesson} at once, within {asked.budget} for their trials\n")
    class_, peak, left = hold(asked.learners, asked.lesson, asked.budget, asked.cells)
    report("learner    minutes  waited  cells  failed  kernels lost")
    for one in class_:
        minutes, cells = f"{one.seconds / 60:7.1f}" if one.seconds else "      -", one.cells
        failed = len(cells.errors)
        report(f"{one.name:10} {minutes} {cells.waited:6.0f} s {cells.done:5}  {failed:6}  {cells.deaths:12}")
        for number, error in cells.errors:
            report(f"    cell {number}: {error[-300:]}")
    told = sum(bool(one.cells.told) for one in class_)
    report(f"\npeak of all their processes together: {format_size(peak)}")
    report(f"{told} of {len(class_)} were told that they wait for room")
    for text in sorted(set().union(*(one.cells.told for one in class_)))[:3]:
        report(f"    {text}")
    report(f"processes that the kernel killed for lack of memory: {machine.kernel_oom_kills() - kills}")
    report(f"processes of kernels and trials left behind: {left}")
    report.save()


if __name__ == "__main__":
    main()
