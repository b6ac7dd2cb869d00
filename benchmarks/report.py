"""What every benchmark prints first, and where it saves its output."""

import datetime
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import labkit

RESULTS = Path(__file__).parent / "results"


class Report:
    """Prints lines as they come; `save` writes them to NAME.txt in `folder`."""

    def __init__(self, name, folder=RESULTS):
        self.name, self.folder, self.lines = name, Path(folder), []
        packages = " ".join(_versions("tensorflow-cpu", "tensorflow", "keras", "numpy"))
        self(f"{name} · {datetime.date.today()} · Python {platform.python_version()} · {packages}")
        self(f"{os.cpu_count()} cores · {labkit.format_size(labkit.device().memory_bytes)} · {sys.platform}")
        self("")

    def __call__(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def save(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{self.name}.txt").write_text("\n".join(self.lines) + "\n")


def _versions(*packages):
    """Name and version of each package that is installed: TensorFlow has one of two names."""
    for package in packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
