"""A dry run of the workshop's schedules with nobody in the room: what a class would wait for.

    .venv/bin/python benchmarks/rehearsal.py [LESSON.ipynb ...]

Each part of a lesson that a schedule names is run twice, each time in a new kernel, as the guide asks: its
cells in their order, each exercise as it stands and with its solution. What people do meanwhile is not
rehearsed: the minutes to read, type and answer are those that scripts/lesson_minutes.py computes. A cell is
waited for in seconds of wall-clock time, the ten that TensorFlow waits in vain for memory among them.
"""

import argparse
import re
import sys
import time
from pathlib import Path

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from report import Report

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
import lesson_minutes  # noqa: E402
import schedules  # noqa: E402


class Rehearsal:
    """The cells of a part of a lesson, run in a new kernel, and what came of them.

    seconds   how long each cell took
    failed    what each said that failed and was not meant to, and checks that did not accept a solution
    """

    def __init__(self, part):
        self.seconds, self.failed = [], []
        self._notebook = new_notebook(cells=[cell for cell in part.cells if cell.cell_type == "code"])
        options = {"timeout": 600, "allow_errors": True, "extra_arguments": ["--log-level=ERROR"]}
        self._client = NotebookClient(self._notebook, kernel_name="python3", **options)
        with self._client.setup_kernel(cwd=str(part.lesson.parent)):
            for number, cell in enumerate(list(self._notebook.cells)):
                self._run(cell, number)
                if asked := re.match(r"(\w+)\.check\(", cell.source):
                    self._solve(asked[1], cell)

    def _solve(self, exercise, check):
        shown = self._run_also(f"print({exercise}.solution())")
        self._run_also("".join(part.get("text", "") for part in shown))
        verdict = "".join(
            part["data"]["text/plain"] for part in self._run_also(check.source) if "data" in part
        )
        if "✓" not in verdict:
            self.failed.append(f"{exercise}: {verdict}")

    def _run_also(self, source):
        self._notebook.cells.append(new_code_cell(source))
        return self._run(self._notebook.cells[-1], len(self._notebook.cells) - 1)

    def _run(self, cell, number):
        start = time.monotonic()
        cell = self._client.execute_cell(cell, number)
        self.seconds.append(time.monotonic() - start)
        if "raises-exception" not in cell.metadata.get("tags", []):
            errors = [part for part in cell.outputs if part.output_type == "error"]
            self.failed += [f"{part.ename}: {part.evalue}" for part in errors]
        return cell.outputs


def main():
    parser = argparse.ArgumentParser(description="A dry run of the workshop's schedules, without a class.")
    parser.add_argument("lessons", nargs="*", type=lesson_minutes.notebook, help="only parts of these")
    asked = [path.resolve() for path in parser.parse_args().lessons]
    rows = [row for schedule in schedules.schedules().values() for row in schedule]
    parts = dict.fromkeys(part for row in rows for part in row.parts if not asked or part.lesson in asked)
    report = Report("rehearsal")
    report("read: minutes to read, to type code and to answer, computed · waited: seconds, in two runs")
    report("longest: seconds of one cell · failed: cells, and solutions that a check did not accept\n")
    report(f"{'lesson':30} {'part':24} {'read':>6}  waited  waited  longest  failed")
    for part in parts:
        runs = [Rehearsal(part), Rehearsal(part)]
        read = lesson_minutes.minutes(part.cells, None).total
        waited = "".join(f"{sum(run.seconds):8.0f}" for run in runs)
        longest, failed = max(max(run.seconds) for run in runs), [text for run in runs for text in run.failed]
        report(f"{part.lesson.stem:30} {part.named:24} {read:6.1f}{waited} {longest:8.0f} {len(failed):7}")
        for text in failed:
            report(f"    {text[:300]}")
    if not asked:
        report.save()


if __name__ == "__main__":
    main()
