"""How Sphinx makes the web book; scripts/book.py puts its pages in place."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import address  # noqa: E402

project = "Keras memory lab kit"
html_title = "Why Keras runs out of memory"
copyright = "the labkit authors"
extensions = ["myst_nb"]
root_doc = "index"
highlight_language = "none"

nb_execution_mode = "off"  # the lessons were run and saved on a quiet machine: make lessons
nb_merge_streams = True
myst_heading_anchors = 4  # as GitHub makes them, so that links to headings lead somewhere here too
myst_enable_extensions = ["html_image"]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "footer_icons": [
        {
            "name": "The project on GitHub",
            "url": f"https://github.com/{address.held(ROOT)}",
            "html": "GitHub",
            "class": "",
        }
    ]
}
