"""The lessons on a GPU: all at once, each in a kernel of its own, and what differs from what is saved.

    python benchmarks/gpu/lessons.py run FOLDER --seconds 300       # needs nbclient and ipykernel
    python benchmarks/gpu/lessons.py compare FOLDER --save NAME     # no GPU needed

`run` writes each lesson to FOLDER after every cell, so that one cut off keeps what it has. A cell that fails
does not end its lesson. `compare` lists the cells that failed, and those whose checked output (tag
nbval-check-output) differs. The kernels run with TF_FORCE_GPU_ALLOW_GROWTH=true: they share the GPU.
"""

import argparse
import datetime
import difflib
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
LAST = """from labkit import gpus
print("The kernel has opened the GPU:", gpus.is_open())"""


def run(path, folder, deadline):
    """Run a lesson until the deadline; returns how far it came, in words."""
    from nbclient import NotebookClient

    notebook, done = nbformat.read(path, as_version=4), 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata["saved"] = cell.outputs
            cell.outputs, cell.execution_count = [], None
    notebook.cells.append(nbformat.v4.new_code_cell(LAST, id="opened"))
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        allow_errors=True,
        store_widget_state=False,
        resources={"metadata": {"path": path.parent}},
    )
    start = time.monotonic()
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            client.timeout = max(1, int(deadline - time.monotonic()))
            try:
                client.execute_cell(cell, number)
            except Exception as error:  # out of time, or the kernel has died
                return f"{path.stem}: {done} cells, then {type(error).__name__} in {cell.id}"
            done += cell.cell_type == "code"
            nbformat.write(notebook, folder / path.name)
    return f"{path.stem}: all {done} cells in {time.monotonic() - start:.0f} s"


def run_all(folder, seconds, numbers):
    os.environ |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "LABKIT_TURNS": "off"}
    folder.mkdir(parents=True, exist_ok=True)
    lessons = [
        path
        for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
        if not numbers or path.name[:2] in numbers
    ]
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(len(lessons)) as pool:
        for text in pool.map(lambda lesson: run(lesson, folder, deadline), lessons):
            print(text, flush=True)


def text_of(outputs):
    """What a cell printed and showed, as text."""
    parts = []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        elif output.output_type in ("execute_result", "display_data"):
            parts.append(output.data.get("text/plain", "") + "\n")
        elif output.output_type == "error":
            parts.append(f"RAISED {output.ename}: {output.evalue}\n")
    return re.sub(r"<Figure size.*?>|0x[0-9a-f]+", "", "".join(parts)).strip()


def compare(path, report):
    """Report what differs in one lesson."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    ran = [c for c in cells if c.execution_count]
    report(f"\n{path.stem}: {len(ran)} of {len(cells)} cells ran")
    for cell in ran:
        tags = cell.metadata.get("tags", [])
        failed = any(o.output_type == "error" for o in cell.outputs)
        now, saved = text_of(cell.outputs), text_of(cell.metadata.get("saved", []))
        if cell.id == "opened":
            report(f"  {now}")
        elif (failed and "raises-exception" not in tags) or ("nbval-check-output" in tags and now != saved):
            report(f"  {cell.id}:")
            lines = difflib.unified_diff(saved.splitlines(), now.splitlines(), n=0, lineterm="")
            for line in lines:
                if not line.startswith(("---", "+++", "@@")):
                    report(f"    {line[:200]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run")
    one.add_argument("folder", type=Path)
    one.add_argument("--seconds", type=float, default=300, help="for all of them; default 300")
    one.add_argument("--lessons", nargs="+", help="their numbers, 00 and others; default all")
    one = commands.add_parser("compare")
    one.add_argument("folder", type=Path)
    one.add_argument("--save", help="save the report under this name in benchmarks/results/gpu")
    options = parser.parse_args()
    if options.command == "run":
        return run_all(options.folder, options.seconds, options.lessons)
    lines = []
    for path in sorted(options.folder.glob("*.ipynb")):
        compare(path, lines.append)
    device = re.search(r"Trials run on (.*?),", (options.folder / "00-start-here.ipynb").read_text())
    day = datetime.date.fromtimestamp((options.folder / "00-start-here.ipynb").stat().st_mtime)
    lines[:0] = [f"{options.save or options.folder} · run on {day} on {device and device[1]}"]
    print(*lines, sep="\n")
    if options.save:
        target = ROOT / "benchmarks" / "results" / "gpu" / f"{options.save}.txt"
        target.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
