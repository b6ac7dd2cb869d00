"""Every lesson within Binder's budget: one CPU and 2 GB for JupyterLab's server, the kernel and its trials.

    .venv/bin/python benchmarks/lessons_on_binder.py [LESSON.ipynb ...]

It runs in a memory cgroup, as on Binder, and so needs root on Linux. The peak is that of the working set, as
Kubernetes counts it: all of the container's memory but what can be given back at once. "yardstick" is the CPU
time of a fixed piece of Python just before each lesson: on a shared machine the same work may take half as
much time again an hour later.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import requests
from classroom import COURSE, free_ports
from report import Report
from running_cells import RunningCells

from labkit import format_size

LIMIT = 2_000_000_000
LONGEST_CELL, MOST_CPU, MOST_MEMORY = 60, 120, 1_800_000_000  # seconds, seconds, bytes
ENTER = (
    "import os, sys\n"
    "for folder in sys.argv[1].split(':'): open(folder + '/cgroup.procs', 'w').write('0')\n"
    "os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\n"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
YARDSTICK = (
    "import os, time\n"
    "os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})\n"
    "start = time.process_time()\n"
    "len({str(i): i for i in range(2_000_000)})\n"
    "print(time.process_time() - start)"
)


class Container:
    """A memory cgroup of LIMIT bytes, version 1 or 2, with a count of the CPU time used in it."""

    def __init__(self):
        name, root = f"labkit-binder-{os.getpid()}", Path("/sys/fs/cgroup")
        self.version = 2 if (root / "cgroup.controllers").exists() else 1
        if self.version == 2:
            self.memory = self.cpu = root / name
        else:
            self.memory, self.cpu = root / "memory" / name, root / "cpuacct" / name
        self.folders = list(dict.fromkeys([self.memory, self.cpu]))
        try:
            for folder in self.folders:
                folder.mkdir()
            limit = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
            (self.memory / limit).write_text(str(LIMIT))
        except OSError as e:
            sys.exit(f"No cgroup can be made here ({e}): this needs root on Linux.")
        if self.version == 2:  # as Kubernetes sets it: one killed is all killed
            (self.memory / "memory.oom.group").write_text("1")

    def _stat(self, folder, file, key):
        lines = (folder / file).read_text().splitlines()
        return int(next((line.split()[1] for line in lines if line.split()[0] == key), 0))

    def working_set(self):
        usage = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        cache = "inactive_file" if self.version == 2 else "total_inactive_file"
        held = int((self.memory / usage).read_text())
        return max(0, held - self._stat(self.memory, "memory.stat", cache))

    def cpu_seconds(self):
        if self.version == 2:
            return self._stat(self.cpu, "cpu.stat", "usage_usec") / 1e6
        return int((self.cpu / "cpuacct.usage").read_text()) / 1e9

    def kills(self):
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        return self._stat(self.memory, file, "oom_kill")

    def remove(self):
        for folder in self.folders:
            while pids := (folder / "cgroup.procs").read_text().split():
                for pid in pids:
                    with contextlib.suppress(psutil.Error):
                        psutil.Process(int(pid)).kill()
                time.sleep(0.1)
            time.sleep(0.3)
            folder.rmdir()


class Server:
    """JupyterLab in a Container, on one CPU."""

    def __init__(self, container):
        port, self.token = free_ports(), secrets.token_hex(8)
        self.address = f"http://127.0.0.1:{port}"
        jupyter = Path(sys.executable).parent / "jupyter-lab"
        self.process = subprocess.Popen(
            [
                sys.executable, "-c", ENTER, ":".join(map(str, container.folders)), sys.executable, jupyter,
                "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0",
                f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={COURSE / 'notebooks'}",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.headers = {"Authorization": f"token {self.token}"}
        while self.process.poll() is None:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"{self.address}/api/status", headers=self.headers, timeout=5)
                break
            time.sleep(0.2)

    def run(self, lesson):
        """Run a lesson in a new kernel; returns the RunningCells."""
        what = {"name": "python3", "path": lesson.name}
        kernel = requests.post(f"{self.address}/api/kernels", json=what, headers=self.headers).json()["id"]
        cells = RunningCells()
        code = [cell for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == "code"]
        cells.run(f"{self.address}/api/kernels/{kernel}/channels", self.headers, code)
        requests.delete(f"{self.address}/api/kernels/{kernel}", headers=self.headers)
        return cells


def measure(lesson):
    """(RunningCells, CPU seconds, peak of the working set in bytes, processes that the kernel killed)."""
    container, peak, over = Container(), 0, threading.Event()

    def watch():
        nonlocal peak
        while not over.wait(0.1):
            peak = max(peak, container.working_set())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        cells = Server(container).run(lesson)
        return cells, container.cpu_seconds(), peak, container.kills()
    finally:
        over.set()
        watcher.join()
        container.remove()


def yardstick():
    """CPU seconds of YARDSTICK here and now."""
    return float(subprocess.check_output([sys.executable, "-c", YARDSTICK]))


def main():
    asked = [Path(name) for name in sys.argv[1:]]
    lessons = asked or sorted((COURSE / "notebooks").glob("[0-9]*.ipynb"))
    report = Report("lessons_on_binder")
    report(
        f"one CPU and {LIMIT / 1e9:g} GB for JupyterLab's server, the kernel, its launcher and its trials\n"
    )
    report(f"{'lesson':36}  CPU s  longest cell s  peak, of 1.80 GB  failed  killed  yardstick s")
    over, total = [], 0
    for lesson in lessons:
        speed = yardstick()
        cells, cpu, peak, kills = measure(lesson)
        longest, failed = max(cells.seconds), len(cells.errors)
        times = f"{lesson.stem:36} {cpu:6.0f} {longest:15.0f} {peak / 1e9:14.2f} GB"
        report(f"{times} {failed:7} {kills:7} {speed:12.2f}")
        for number, error in cells.errors:
            report(f"    cell {number}: {error[-300:]}")
        total += cpu
        over += [lesson.stem] * (longest > LONGEST_CELL or cpu > MOST_CPU or peak > MOST_MEMORY)
    report(f"\nthe course: {total / 60:.1f} minutes of CPU; over a limit: {', '.join(over) or 'none'}")
    report(f"limits: {LONGEST_CELL} s a cell, {MOST_CPU} s of CPU a lesson, {format_size(MOST_MEMORY)}")
    if not asked:
        report.save()


if __name__ == "__main__":
    main()
