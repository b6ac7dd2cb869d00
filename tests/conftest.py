"""What tests share: a real browser, turns among themselves only, and the trials of one exercise."""

import os
import re
import shutil
import sys

import nbval.kernel
import pytest
from answers import once
from hypothesis import HealthCheck, settings
from playwright.sync_api import Error, expect, sync_playwright

from labkit import exercises

# Nothing here is about speed: an example may take as long as it does on a busy machine. Examples are the
# same in each run, which does not fail by chance; HYPOTHESIS_PROFILE=search tries others each time.
EACH = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **EACH)
settings.register_profile("search", derandomize=False, **EACH)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def twice(start):
    """Start a kernel, once more if it dies at once.

    Of the ports that were free when it was started, another of these processes may have taken one before it.
    """

    def started(*args, **options):
        try:
            return start(*args, **options)
        except RuntimeError:
            return start(*args, **options)

    return started


nbval.kernel.start_new_kernel = twice(nbval.kernel.start_new_kernel)

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE = 20_000  # milliseconds: a page on a busy machine
HOW = "no Chromium: apt-get install chromium, or python -m playwright install chromium"


# A file runs in one process: begun last, one of these would keep the others waiting for it.
LONG = "first_command|estimate|exercises_13|fixes|browser|widgets|timeline|xla|figures"


def pytest_collection_modifyitems(items):
    """Lessons, which take longest, begin before files of tests, and the LONG ones of these before others."""
    short = re.compile(rf"test_(?!({LONG})\.py)")
    items.sort(key=lambda item: bool(short.match(item.path.name)))


def pytest_collection_finish(session):
    """Each of six processes collects all tests, and imports whatever one of them is collected with."""
    slow = {"tensorflow", "keras"} & sys.modules.keys()
    assert not slow, f"{slow} imported to collect tests: import it in the tests that need it."


@pytest.fixture(scope="session", autouse=True)
def turns(tmp_path_factory):
    """No trial of these tests waits for other trials on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_TURNS", str(tmp_path_factory.mktemp("turns")))
        yield


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


@pytest.fixture(scope="module")
def each_trial_once():
    """The checks of the exercises run each of their trials once, not once for each answer."""
    with pytest.MonkeyPatch.context() as patch:
        for name, lesson in vars(exercises).items():
            if name.startswith("lesson"):
                patch.setattr(lesson, "run", once(lesson.run))
        yield
