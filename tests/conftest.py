"""A real browser: Debian's chromium, or the one of `playwright install chromium`."""

import os
import shutil

import pytest
from playwright.sync_api import Error, expect, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 20_000  # milliseconds: a page on a busy machine
HOW = "no Chromium: apt-get install chromium, or python -m playwright install chromium"


@pytest.fixture(scope="module")
def browser():
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        own = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        try:
            browser = playwright.chromium.launch(executable_path=own, args=FLAGS)
        except Error:
            if os.environ.get("LABKIT_BROWSER") == "required":
                raise
            pytest.skip(HOW)
        yield browser
        browser.close()
