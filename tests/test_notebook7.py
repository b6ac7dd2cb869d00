"""The labs in Notebook 7, in a real browser; tests/test_browser.py has them in JupyterLab at length."""

import pytest
from playwright.sync_api import expect
from test_browser import (
    CELLS,
    LOG,
    LONG,
    button,
    gauge,
    open_notebook,
    points,
    run_cell,
    serving,
    shoot,
    wait_for,
    write,
)


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook7")
    write(folder / "lab.ipynb", CELLS)
    with serving(folder, "notebook") as (address, _):
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        open_notebook(page, f"{address}/notebooks/lab.ipynb", CELLS)
        yield page
        page.close()


def test_a_lab_runs_and_stops(page):
    button(page, "Run").click()
    wait_for(lambda: points(page).count() >= 1, LONG / 1000)
    expect(button(page, "Run")).to_be_disabled()
    button(page, "Stop").click()
    expect(button(page, "Run")).to_be_enabled(timeout=LONG)
    expect(gauge(page)).to_contain_text("Nothing is running")
    shoot(page, "notebook7")


def test_a_log_is_explained(page):
    run_cell(page, 5)
    doctor = page.locator(".jp-CodeCell").nth(5)
    doctor.locator("textarea").fill(LOG.read_text())
    doctor.get_by_role("button", name="Explain").click()
    expect(doctor.locator("[aria-label=diagnosis]").first).to_contain_text("activations")
