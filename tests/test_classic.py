"""The labs in classic Notebook 6, whose pages draw ipywidgets 7, in a real browser: make test-colab.

It stands in for Colab, which cannot be had here: the same Python packages, the same widgets, another page.
"""

import importlib.util
import re
import socket
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect
from test_browser import LOG, TRAIN, answers, shoot, wait_for

if not (importlib.util.find_spec("notebook") and importlib.util.find_spec("notebook.notebookapp")):
    pytest.skip("classic Notebook 6 is not here: make test-colab", allow_module_level=True)

PATIENCE = 60_000  # milliseconds: a trial on a busy machine
CELLS = [
    "import labkit\nfrom labkit.widgets import BatchSizeLab, LogDoctor, MemoryGauge, TimelineView\n\n\n"
    + TRAIN,
    "earlier = globals().get('lab')\n"
    "lab = BatchSizeLab(train, memory_limit='100 MiB', smallest=32, largest=128)\nlab",
    "print('closed:', earlier.widget.comm is None, '· running:', earlier.running)",
    "MemoryGauge(0.2)",
    "TimelineView(labkit.run(train, batch_size=8, profile=True).timeline)",
    "LogDoctor()",
]
LAB, CLOSED, GAUGE, TIMELINE, DOCTOR = range(1, 6)


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """The notebook in classic Notebook, with its first cell run."""
    folder = tmp_path_factory.mktemp("classic")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=[*map(new_code_cell, CELLS)], metadata=kernel), folder / "lab.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "notebook", "--no-browser", "--allow-root", f"--port={port}",
               "--NotebookApp.token=", f"--NotebookApp.notebook_dir={folder}"]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    wait_for(lambda: answers(f"http://127.0.0.1:{port}"), 60)
    page = browser.new_page(viewport={"width": 1024, "height": 1100})
    page.goto(f"http://127.0.0.1:{port}/notebooks/lab.ipynb")
    kernel = "window.Jupyter?.notebook?.kernel"
    page.wait_for_function(f"{kernel}?.is_connected() && {kernel}.widget_manager", timeout=PATIENCE)
    # As it opens, the page asks the kernel for widgets, twice: one shown meanwhile is only half drawn.
    for count in "12":
        expect(run(page, 0).locator(".input_prompt")).to_contain_text(count, timeout=PATIENCE)
    yield page
    page.close()
    server.terminate()
    server.wait(30)


def run(page, number):
    """Run a cell, as the page's own button does; returns what it shows."""
    page.evaluate(f"Jupyter.notebook.execute_cells([{number}])")
    return page.locator(".code_cell").nth(number)


def button(cell, name):
    return cell.locator(f"button:has-text('{name}')")


def test_a_sweep_runs_and_its_failure_is_explained(page):
    lab = run(page, LAB)
    button(lab, "Run").click(timeout=PATIENCE)
    expect(lab.locator(".labkit-gauge")).to_contain_text("trials", timeout=PATIENCE)
    expect(button(lab, "Run")).to_be_enabled(timeout=2 * PATIENCE)
    button(lab, "Explain").click()
    expect(lab.locator("[aria-label='outcome of the trial']")).to_contain_text("in layer dense")
    shoot(page, "classic-lab")


def test_the_table_of_trials_opens_under_its_name(page):
    lab = page.locator(".code_cell").nth(LAB)
    lab.get_by_text("Table of trials").click()
    table = lab.locator(".widget-accordion table")
    expect(table).to_be_visible()
    expect(table).to_contain_text("it fits")


def test_the_saved_copy_is_hidden_beside_the_live_lab(page):
    shown = page.locator(".code_cell").nth(LAB).locator(".output_area")
    expect(shown).to_have_count(3)  # the lab, its figure, its table
    assert [area.is_visible() for area in shown.all()] == [True, False, False]


def test_the_lab_of_an_earlier_run_of_its_cell_is_closed(page):
    lab = page.locator(".code_cell").nth(LAB)
    button(lab, "Run").click()
    expect(lab.locator(".labkit-gauge")).to_contain_text("trials", timeout=PATIENCE)
    run(page, LAB)
    run(page, CLOSED)
    expect(page.locator(".code_cell").nth(CLOSED)).to_contain_text("closed: True", timeout=PATIENCE)


def test_the_gauge_moves_and_a_timeline_can_be_walked_through(page):
    bars = run(page, GAUGE).locator("[role=progressbar]")
    expect(bars.first).to_have_attribute("aria-valuetext", re.compile("this notebook"), timeout=PATIENCE)
    before = bars.first.get_attribute("aria-valuetext")
    view = run(page, TIMELINE)
    expect(bars.first).not_to_have_attribute("aria-valuetext", before, timeout=PATIENCE)
    total = view.locator(".labkit-in-use b").first
    expect(total).to_have_text(re.compile("[KM]iB"), timeout=PATIENCE)
    at_peak = total.inner_text()
    view.get_by_role("slider").focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    expect(total).not_to_have_text(at_peak)
    shoot(page, "classic-timeline")


def test_an_uploaded_log_is_explained(page):
    doctor = run(page, DOCTOR)
    with page.expect_file_chooser() as chooser:
        button(doctor, "Log file").click(timeout=PATIENCE)
    chooser.value.set_files(LOG)
    expect(doctor.locator("[aria-label=diagnosis]").first).to_contain_text("activations", timeout=PATIENCE)
    shoot(page, "classic-doctor")
