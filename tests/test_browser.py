"""A lab in JupyterLab, in a real browser, as a reader uses it.

Needs Debian's chromium, or the one of `playwright install chromium`. Screenshots go to tests/screenshots.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import expect
from test_processes import marked

SCREENSHOTS = Path(__file__).parent / "screenshots"
LONG = 180_000  # milliseconds: a trial on a busy machine
HOLD = "hold"  # as long as there is a file of this name, batches of more than 64 wait
TRAIN = f"""\
def train(batch_size=32, steps=3, width=512, activation="relu"):
    import os
    import time

    import keras
    import numpy as np
    from keras import layers

    while batch_size > 64 and os.path.exists("{HOLD}"):
        time.sleep(0.1)
    hidden = layers.Dense(width, activation=activation)
    model = keras.Sequential([hidden, layers.GlobalAveragePooling1D(), layers.Dense(1)])
    model.compile("adam", "mse")
    for _ in range(steps):
        model.train_on_batch(np.zeros((batch_size, 256, 64), "float32"), np.zeros(batch_size))
"""
CELLS = [
    "import labkit\nfrom labkit.widgets import BatchSizeLab, LogDoctor, MemoryGauge, TimelineView\n\n\n"
    + TRAIN,
    "lab = BatchSizeLab(train, memory_limit='100 MiB', smallest=32, largest=128)\nlab",
    "print('the kernel', 'is free')",
    "MemoryGauge(0.2)",
    "TimelineView(labkit.run(train, batch_size=8, profile=True).timeline)",
    "LogDoctor()",
]
MAP_CELLS = [
    CELLS[0],
    "BatchSizeLab(train, over=('batch_size', 'width'), smallest=(16, 256), largest=(512, 512),\n"
    "             memory_limit='100 MiB')",
]
CONNECTED = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return context?.isReady && context.session?.kernel?.connectionStatus === 'connected';
}"""
LOG = Path(__file__).parent / "corpus" / "real" / "activations_a.txt"


@contextlib.contextmanager
def serving(folder, module):
    """Run JupyterLab or Notebook on a folder: (address, mark). Its processes carry the mark."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, "--no-browser", "--allow-root", f"--port={port}",
               "--ServerApp.token=", "--LabApp.expose_app_in_browser=True",
               "--JupyterNotebookApp.expose_app_in_browser=True",
               f"--ServerApp.root_dir={folder}"]  # fmt: skip
    log = (folder / "server.log").open("w")
    own = {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "work"),
    }
    mark = f"LABKIT_TEST_{uuid.uuid4().hex}"
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **own, mark: "1"})
    address = f"http://127.0.0.1:{port}"
    wait_for(lambda: answers(address), 60)
    yield address, mark
    process.terminate()
    process.wait(120)


def write(path, cells):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [new_markdown_cell(f"# {path.stem}"), *map(new_code_cell, cells)]
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def server(folder):
    """(address, mark) of a JupyterLab on a folder with two notebooks."""
    write(folder / "lab.ipynb", CELLS)
    write(folder / "map.ipynb", MAP_CELLS)
    with serving(folder, "jupyterlab") as served:
        yield served


def answers(address):
    try:
        return urllib.request.urlopen(f"{address}/api").status == 200
    except OSError:
        return False


def wait_for(true, seconds):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def page(browser, server):
    page = browser.new_page(viewport={"width": 1024, "height": 1100})
    open_notebook(page, f"{server[0]}/lab/tree/lab.ipynb", CELLS)
    shoot(page, "begun")
    yield page


def open_notebook(page, address, cells):
    """Open a notebook and run its first two cells, so that its lab is there."""
    page.goto(address)
    expect(page.locator(".jp-CodeCell")).to_have_count(len(cells), timeout=LONG)
    for number in range(2):
        run_cell(page, number)
    expect(button(page, "Run")).to_be_visible(timeout=LONG)


def run_cell(page, number):
    """Run a code cell by its keys, once they are not lost to a kernel that is still connecting."""
    page.wait_for_function(CONNECTED, timeout=LONG)
    page.locator(".jp-CodeCell").nth(number).scroll_into_view_if_needed()
    page.locator(".jp-CodeCell").nth(number).locator(".jp-InputArea").click()
    page.keyboard.press("Shift+Enter")


def button(page, name):
    return page.locator(f".jp-OutputArea button:has-text('{name}')")


def gauge(page):
    return page.locator(".labkit-lab-gauge .labkit-gauge")


def points(page):
    return page.locator(".labkit-trials [role=button][data-trial]")


def legend(page):
    return page.locator(".labkit-trials .labkit-runs")


def shoot(page, name):
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def trials_of(server):
    """Launchers and trials of the server's kernels, their own children or not."""
    return marked(server[1], "labkit.process.server")


def test_points_arrive_while_another_cell_runs(page, folder):
    expect(page.get_by_label("show trial")).to_have_value("no trial")
    (folder / HOLD).touch()
    button(page, "Run").click()
    expect(gauge(page)).to_contain_text("of 3 trials", timeout=LONG)
    page.locator(".jp-CodeCell").nth(2).click(position={"x": 300, "y": 10})
    page.keyboard.press("Shift+Enter")
    expect(page.get_by_text("the kernel is free")).to_be_visible()
    expect(button(page, "Run")).to_be_disabled()
    wait_for(lambda: points(page).count() >= 2, 180)


def test_out_of_memory_is_counted_down_and_explained(page, folder):
    (folder / HOLD).unlink()
    expect(gauge(page)).to_contain_text("TensorFlow is waiting for some to be freed", timeout=LONG)
    shoot(page, "waiting")
    expect(button(page, "Run")).to_be_enabled(timeout=LONG)
    button(page, "Explain").click()
    said = page.locator("[aria-label='outcome of the trial']")
    expect(said).to_contain_text("out of memory")
    expect(said).to_contain_text("in layer")
    expect(points(page).last).to_have_attribute("aria-label", re.compile("out of memory in"))
    expect(said).to_be_in_viewport()
    shoot(page, "explained")


def test_a_click_on_a_mark_shows_its_trial(page):
    expect(page.get_by_alt_text("memory map at the failure")).to_be_visible()  # nothing moves from here on
    points(page).first.click()
    said = page.locator("[aria-label='outcome of the trial']")
    expect(said).to_contain_text("it fits")
    expect(page.get_by_label("show trial")).to_have_value(re.compile("batch_size 32 .* it fits"))
    expect(page.locator(".labkit-trials .labkit-ring")).to_have_count(2)


def test_a_limit_can_be_moved_and_run_by_the_keyboard_alone(page):
    slider = page.get_by_role("slider", name="memory limit")
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".widget-readout").first).to_contain_text("192 MiB")
    expect(slider).to_have_attribute("aria-valuetext", "192 MiB")
    estimated = page.get_by_label("estimate first")
    estimated.focus()
    page.keyboard.press("Space")
    expect(estimated).not_to_be_checked()
    button(page, "Run").focus()
    page.keyboard.press("Enter")
    expect(gauge(page)).to_contain_text("of 3 trials", timeout=LONG)
    expect(button(page, "Run")).to_be_enabled(timeout=LONG)
    expect(legend(page)).to_contain_text(re.compile(r"run 2: batch_size \d+ fits · 192 MiB"))


def test_a_change_still_on_its_way_counts_when_run_is_pressed(page):
    """While the kernel handles one change of a control, the page keeps the next back, but never a click."""
    page.locator(".labkit-box").first.evaluate(
        """box => {
            const slider = box.querySelector("[role=slider]");
            for (let i = 0; i < 2; i++) {
                slider.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
            }
            [...box.querySelectorAll("button")].find(one => one.textContent.includes("Run")).click();
        }"""
    )
    expect(gauge(page)).to_contain_text("of 3 trials", timeout=LONG)
    expect(button(page, "Run")).to_be_enabled(timeout=LONG)
    expect(page.locator(".widget-readout").first).to_contain_text("384 MiB")
    expect(legend(page)).to_contain_text(re.compile(r"run 3: batch_size \d+ fits · 384 MiB"))


def test_a_fix_is_chosen_in_its_fold_and_swept(page):
    fold = page.locator(".jp-OutputArea").get_by_role("button", name="Fixes")
    expect(fold).to_have_attribute("aria-expanded", "false")
    fold.focus()
    page.keyboard.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    page.get_by_label("optimizer").select_option("SGD")
    expect(page.locator(".jp-OutputArea").get_by_text("Fixes: SGD", exact=True)).to_be_visible()
    button(page, "Run").click()
    expect(gauge(page)).to_contain_text("looking at the code as it is", timeout=LONG)
    expect(gauge(page)).to_contain_text("of 3 trials", timeout=LONG)
    expect(button(page, "Run")).to_be_enabled(timeout=LONG)
    expect(page.locator(".labkit-trials")).to_contain_text("SGD")
    shoot(page, "fixes")
    page.get_by_label("optimizer").select_option("as it is")
    page.locator(".jp-OutputArea").get_by_text("Fixes", exact=True).first.click()


def test_it_can_be_read_in_the_dark(page):
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    expect(page.locator("body[data-jp-theme-name='JupyterLab Dark']")).to_have_count(1)
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    shoot(page, "dark")
    ink = page.locator(".labkit-trials text").first.evaluate("e => getComputedStyle(e).fill")
    assert int(re.search(r"\d+", ink).group()) > 128, ink


def test_gauge_moves_and_a_timeline_can_be_walked_through(page):
    run_cell(page, 3)
    bars = page.locator(".jp-CodeCell").nth(3).locator("[role=progressbar]")
    expect(bars.first).to_have_attribute("aria-valuetext", re.compile("this notebook and its trials"))
    before = bars.first.get_attribute("aria-valuetext")
    run_cell(page, 4)
    expect(bars.first).not_to_have_attribute("aria-valuetext", before)
    view = page.locator(".jp-CodeCell").nth(4)
    total = view.locator(".labkit-in-use b")
    expect(total).to_have_text(re.compile("[KM]iB"), timeout=LONG)
    at_peak = total.inner_text()
    view.get_by_role("slider").focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expect(total).not_to_have_text(at_peak)
    page.keyboard.press("ArrowUp")
    expect(view.locator(".labkit-tip")).to_contain_text("lifetime")
    shoot(page, "timeline")
    view.get_by_role("button", name="Peak").click()
    expect(total).to_have_text(at_peak)
    expect(view.locator(".labkit-saved")).to_be_hidden()


PASTE_AND_CLICK = """(area, text) => {
    area.value = text;
    area.dispatchEvent(new Event("input", { bubbles: true }));
    const buttons = [...area.closest(".jp-CodeCell").querySelectorAll("button")];
    buttons.find((button) => button.textContent.includes("Explain")).click();
    area.dispatchEvent(new Event("change", { bubbles: true }));
}"""


def test_a_log_is_pasted_and_explained_with_its_picture(page):
    run_cell(page, 5)
    doctor = page.locator(".jp-CodeCell").nth(5)
    doctor.locator("textarea").fill("an earlier text")
    doctor.locator("textarea").press("Tab")
    doctor.locator("textarea").evaluate(PASTE_AND_CLICK, LOG.read_text())  # in one tick, as by a quick hand
    said = doctor.locator("[aria-label=diagnosis]").first
    expect(said).to_contain_text("activations")
    expect(said.locator("img")).to_be_visible()
    picture, fixes = said.locator("img"), said.get_by_text("What helps, the most effective first")
    assert fixes.bounding_box()["x"] == pytest.approx(picture.bounding_box()["x"], abs=2)  # below it
    expect(said.get_by_text("Activations do not fit")).to_be_in_viewport()
    shoot(page, "doctor")


def test_stop_ends_a_trial_and_a_restart_leaves_no_process(page, server):
    page.locator(".jp-OutputArea input[type=number]").first.fill("1000000")
    page.keyboard.press("Tab")
    button(page, "Run").click()
    expect(gauge(page)).to_contain_text("· step", timeout=LONG)
    button(page, "Stop").click()
    expect(button(page, "Run")).to_be_enabled()
    button(page, "Run").click()
    expect(gauge(page)).to_contain_text("· step", timeout=LONG)
    assert trials_of(server)
    page.locator("[data-command='notebook:restart-kernel'], [title^='Restart the kernel']").first.click()
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    wait_for(lambda: not trials_of(server), 60)


def test_a_notebook_that_is_opened_again_shows_its_labs_with_a_kernel_and_their_pictures_without(
    page, folder
):
    for cell in (0, 1, 3, 4):
        run_cell(page, cell)
    page.get_by_label("estimate first").uncheck()
    (folder / HOLD).touch()  # its last trial does not end before the notebook is saved
    button(page, "Run").click()
    wait_for(lambda: "of it that were done: 2" in saved_text(page), 180)
    page.keyboard.press("Control+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    button(page, "Stop").click()
    expect(button(page, "Run")).to_be_enabled()
    (folder / HOLD).unlink()
    page.reload()
    expect(points(page).first).to_be_visible(timeout=LONG)
    expect(page.get_by_text("This notebook was opened again while its kernel ran on.")).to_be_visible()
    expect(page.locator(".labkit-saved").first).to_be_hidden()
    page.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
    page.reload()
    saved = page.locator(".labkit-saved").first
    expect(saved).to_contain_text("while a run was going on; trials of it that were done: 2", timeout=LONG)
    place = page.locator(".jp-OutputArea-child").first
    told = place.evaluate("one => getComputedStyle(one, '::before').content")
    assert told == '"This part is interactive: run the cell to use it."'
    for text in ("Error displaying widget", "Loading widget"):
        assert not [one for one in page.get_by_text(text).all() if one.is_visible()]
    shoot(page, "reopened")


def saved_text(page):
    return page.locator(".labkit-saved").first.text_content()


def test_a_map_is_drawn_and_its_points_arrive(browser, server):
    page = browser.new_page(viewport={"width": 1024, "height": 1100})
    open_notebook(page, f"{server[0]}/lab/workspaces/map/tree/map.ipynb", MAP_CELLS)
    button(page, "Run").click()
    expect(gauge(page)).to_contain_text("estimating", timeout=LONG)
    expect(page.locator(".labkit-plot .labkit-waiting").first).to_be_visible(timeout=LONG)
    expect(button(page, "Run")).to_be_enabled(timeout=LONG)
    assert points(page).count() == 4 and page.locator(".labkit-cell").count() == 12
    expect(legend(page)).to_contain_text(re.compile("[34] of 4 trials as predicted"))  # near the limit
    chart = page.locator(".labkit-plot > svg")
    expect(chart).to_have_attribute("aria-label", re.compile("width 512: up to batch_size .*out of memory"))
    page.locator(".labkit-plot").scroll_into_view_if_needed()  # the chart in it is drawn anew
    points(page).first.hover()
    expect(page.locator(".labkit-tip")).to_contain_text("it fits")
    shoot(page, "map")
    points(page).nth(1).click()
    expect(page.get_by_label("show trial")).to_have_value(re.compile("batch_size .*, width .*out of memory"))
    page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    expect(page.locator("body[data-jp-theme-name='JupyterLab Dark']")).to_have_count(1)
    expect(page.locator("#jupyterlab-splash")).to_have_count(0)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.locator(".labkit-plot").scroll_into_view_if_needed()
    shoot(page, "map-dark")
    page.close()
