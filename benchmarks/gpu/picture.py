"""The picture of the first step on an H200 in docs/how-far-to-trust.md: python benchmarks/gpu/picture.py"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
from labkit.record.timeline import Timeline  # noqa: E402

timeline = Timeline.load(ROOT / "tests" / "h200" / "convolutional-False-64.timeline")
figure = timeline.plot(title="Four steps on an H200")
figure.savefig(ROOT / "docs" / "images" / "h200_first_step.png", dpi=150, bbox_inches="tight")
