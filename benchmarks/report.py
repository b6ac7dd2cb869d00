"""What every benchmark says first, and where it keeps what it said."""

import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import labkit

RESULTS = Path(__file__).parent / "results"


class Report:
    """Prints lines as they come; `save` keeps them in results/NAME.txt."""

    def __init__(self, name):
        self.name, self.lines = name, []
        packages = " ".join(f"{p} {version(p)}" for p in ("tensorflow-cpu", "keras", "numpy"))
        self(f"{name} · {datetime.date.today()} · Python {platform.python_version()} · {packages}")
        self(f"{os.cpu_count()} cores · {labkit.format_size(labkit.device().memory_bytes)} · {sys.platform}")
        self("")

    def __call__(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def save(self):
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.txt").write_text("\n".join(self.lines) + "\n")
