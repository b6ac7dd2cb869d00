"""The picture of a GPU's own profile in docs/how-far-to-trust.md, drawn from the page of its timeline.

    .venv/bin/python benchmarks/gpu_picture.py PATH

PATH is of the public profile that benchmarks/gpu_replay.py names.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import labkit

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "gpu_profile.png"


def main(path):
    timeline = labkit.read_profile(path)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "timeline.html"
        timeline.to_html(page_file, label=f"BERT-large on one of eight GPUs, {timeline.device}")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1024, "height": 760}, device_scale_factor=1.5)
        page.goto(page_file.as_uri())
        page.wait_for_selector("path.labkit-area", state="attached")
        page.wait_for_timeout(500)
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
