"""The memory of JupyterLab, a kernel, the launcher and the trials together while a lesson runs.

Starts a real JupyterLab server, runs the lesson in a kernel beside it, and sums the proportional set sizes
of the server, the kernel and its descendants (shared pages counted once), several times a second.
"""

import os
import sys
import threading
import time
from pathlib import Path

import psutil
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from report import Report

import labkit

LESSON = Path(__file__).parent.parent / "notebooks" / "01-one-big-array.ipynb"
KINDS = ("server", "kernel", "launcher", "trial")
BINDER_BYTES = 1.8e9


def start_server(folder):
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.token=", "--port-retries=50"]
    root = ["--allow-root"] if os.getuid() == 0 else []
    log = open(os.devnull, "w")  # noqa: SIM115 - open as long as the server
    server = psutil.Popen([*command, *root, f"--ServerApp.root_dir={folder}"], stdout=log, stderr=log)
    time.sleep(8)
    return server


def pss(process):
    try:
        return process.memory_full_info().pss
    except (psutil.Error, OSError):
        return 0


def by_kind(server, kernel):
    """The current memory of each kind of process, in bytes."""
    sizes = dict.fromkeys(KINDS, 0)
    sizes["server"] = pss(server)
    sizes["kernel"] = pss(kernel)
    for child in kernel.children(recursive=True):
        own = "launcher" if child.ppid() == kernel.pid else "trial"
        sizes[own] += pss(child)
    return sizes


def main():
    import nbformat

    report = Report("memory_of_a_lesson")
    server = start_server(LESSON.parent)
    manager = KernelManager(kernel_name="python3")
    client = NotebookClient(nbformat.read(LESSON, as_version=4), km=manager, timeout=180)
    worst, finished = dict.fromkeys(KINDS, 0), threading.Event()

    def watch():
        nonlocal worst
        while not finished.is_set():
            if manager.has_kernel and manager.provisioner.process:
                try:
                    now = by_kind(server, psutil.Process(manager.provisioner.process.pid))
                except psutil.Error:
                    continue
                worst = max(worst, now, key=lambda sizes: sum(sizes.values()))
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        client.execute(cwd=str(LESSON.parent))
    finally:
        finished.set()
        watcher.join()
        server.terminate()
    total = sum(worst.values())
    report(f"{LESSON.stem}, at its highest:")
    for kind, size in worst.items():
        report(f"  {kind:9} {labkit.format_size(size):>9}")
    report(f"  together  {total / 1e9:.2f} GB (target: under {BINDER_BYTES / 1e9} GB)")
    report.save()
    return total > BINDER_BYTES


if __name__ == "__main__":
    sys.exit(main())
