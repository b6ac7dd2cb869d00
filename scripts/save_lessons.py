"""Runs lessons from top to bottom and saves them with their outputs: make lessons.

Nothing else should run meanwhile: what a lesson measures is saved in it. A lesson that fails keeps its old
outputs. Times of cells are left out, which differ at every run, the folder of this checkout, and widgets,
which are dead in a saved notebook: what they say in words is there instead.
"""

import json
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
TIMEOUT = 600  # seconds for a cell


def without_widgets(notebook):
    notebook.metadata.pop("widgets", None)
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    for output in outputs:
        output.get("data", {}).pop(WIDGET, None)


def without_folder(notebook):
    """Warnings name files of .venv: leave out where it is."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            outputs = json.dumps(cell.outputs).replace(f"{ROOT}/", "")
            cell.outputs = [nbformat.from_dict(output) for output in json.loads(outputs)]


def save(path: Path) -> float:
    """Run a lesson and write it back; returns the seconds that it took."""
    notebook = nbformat.read(path, as_version=4)
    start = time.monotonic()
    NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    seconds = time.monotonic() - start
    without_widgets(notebook)
    without_folder(notebook)
    nbformat.write(notebook, path)
    return seconds


def main(paths: list[str]) -> int:
    failed = 0
    for path in map(Path, paths):
        try:
            print(f"{path.name}: {save(path):.0f} s", flush=True)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            failed += 1
            print(f"{path.name} failed, and is as it was:\n{error}", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
