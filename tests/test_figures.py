"""Figures show what their titles say: what was drawn is read back from them."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
import records
from matplotlib.collections import PolyCollection
from matplotlib.text import Text
from nets import convolutional, dense
from test_timeline import train

import labkit
from labkit import plots

MIB = 2**20


def height_at(axes, x):
    """How high the stacked areas reach at x, in MiB."""
    stacked = [collection for collection in axes.collections if isinstance(collection, PolyCollection)]
    heights = [crossings(collection.get_paths()[0].vertices, x) for collection in stacked]
    return sum(max(found) - min(found) for found in heights if len(found))


def crossings(vertices, x):
    """The heights at which a polygon's border crosses x."""
    pairs = zip(vertices[:-1], vertices[1:], strict=True)
    return np.array(
        [y1 + (y2 - y1) * (x - x1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if (x1 < x) != (x2 < x)]
    )


@pytest.fixture(scope="module", params=["crash", "whole", "step"])
def timeline(request):
    if request.param == "crash":
        facts = {"memory_limit": "12 MiB", "batch_size": 512, "build": convolutional, "steps": 1}
        return labkit.run(train, profile=True, **facts).timeline
    whole = labkit.run(train, profile=True, batch_size=64, build=dense, steps=3).timeline
    return whole if request.param == "whole" else whole.during(2)


@pytest.mark.parametrize("by", ["category", "layer"])
def test_the_peak_and_the_end_of_a_timeline_are_drawn(timeline, by):
    [axes] = timeline.plot(by=by).axes
    _, right = axes.get_xlim()
    peak = next(line.get_xdata()[0] for line in axes.lines if line.get_marker() == "v")
    assert height_at(axes, peak + 0.5) == pytest.approx(timeline.peak_bytes / MIB, rel=1e-6)
    wide = [
        x for x in np.linspace(0, right, 2001)[1:-1] if height_at(axes, x) > 0.999 * timeline.peak_bytes / MIB
    ]
    assert len(wide) >= 2  # what the title says takes room in the figure
    end = height_at(axes, right - 0.01)
    assert end >= timeline.total()[-1] / MIB * 0.999
    if timeline.refused_bytes:
        refused = next(patch for patch in axes.patches if patch.get_hatch())
        assert refused.get_x() + refused.get_width() == pytest.approx(right)
        assert refused.get_width() > 0.02 * right
        assert refused.get_y() == pytest.approx(timeline.total()[-1] / MIB, rel=0.01)


def test_texts_have_ten_points_and_a_legend_is_not_cut():
    shown = {"before " * 5: records.crash(), "after": records.step()}
    for figure in (records.crash().plot(by="layer"), plots.timelines(shown, by="layer")):
        figure.draw_without_rendering()
        written = [text for text in figure.findobj(Text) if text.get_text()]
        assert len(written) > 10 and min(text.get_fontsize() for text in written) >= 10
        [legend] = figure.legends
        box = legend.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0
        assert figure._repr_png_()[16:20] == (1600).to_bytes(4, "big")  # twice the pixels of the page


def test_a_layer_has_one_colour_in_all_figures_that_stand_side_by_side():
    blocks = [(0, -1, 4 * MIB, "a", "A"), (1, -1, 8 * MIB, "b", "B"), (2, -1, 2 * MIB, "c", "C")]
    shown = {"all": records.timeline(blocks), "two": records.timeline(blocks[1:], layers=["b", "c"])}
    colours = [
        {area.get_label(): tuple(area.get_facecolor()[0]) for area in axes.collections}
        for axes in plots.timelines(shown, by="layer").axes
    ]
    assert list(colours[0])[:3] == ["a", "b", "c"] and len(set(colours[0].values())) == len(colours[0])
    assert {label: colours[0][label] for label in colours[1]} == colours[1]


def test_many_small_allocations_show_as_what_they_are_together():
    grown = records.many()
    [axes] = grown.plot().axes
    middle = sum(axes.get_xlim()) / 2
    assert 0.3 * grown.peak_bytes / MIB < height_at(axes, middle) < 0.7 * grown.peak_bytes / MIB


def test_a_page_has_every_block_and_ten_thousand_events_take_less_than_a_mebibyte(tmp_path):
    grown, path = records.many(10_000), tmp_path / "page.html"
    text = grown.to_html(path)
    assert grown.events == 10_000 and path.read_bytes() == text.encode() and len(text.encode()) < 2**20
    packed = re.search(r'<script type="application/octet-stream" id="data">([\w+/=]+)</script>', text)[1]
    [drawn] = json.loads(zlib.decompress(base64.b64decode(packed)))["timelines"]
    assert sum(drawn["bytes"]) == sum(grown.record.allocations["bytes"])
    alive = [size for begin, end, size in zip(drawn["begin"], drawn["end"], drawn["bytes"], strict=True)
             if begin <= 7000 < end]  # fmt: skip
    assert sum(alive) == grown.total()[7000]


def test_what_should_fit_is_drawn_below_the_limit():
    def fit(batch_size):
        train(batch_size, build=convolutional, steps=4)

    estimate = labkit.estimate(fit)
    for value in (24, 100):
        limit = estimate.peak_bytes(value) // MIB + 1
        largest = estimate.largest(f"{limit} MiB")
        [axes] = estimate.plot(f"{limit} MiB").axes
        assert f"up to batch_size {largest} should fit" in axes.get_title(loc="left")
        values = axes.collections[0].get_paths()[0].vertices[:, 0]
        shown = max(value for value in values if value <= largest)
        assert height_at(axes, shown - 1e-6) <= limit
        assert estimate.breakdown(largest, f"{limit} MiB")["category"]
        assert sum(estimate.breakdown(largest, f"{limit} MiB")["category"].values()) == estimate.peak_bytes(
            largest, f"{limit} MiB"
        )


def test_ticks_say_where_they_stand():
    outcomes = {name: labkit.Outcome("ok", peak_bytes=size * MIB) for name, size in (("a", 7), ("b", 9))}
    figure = labkit.compare(outcomes).plot()
    figure.draw_without_rendering()
    for tick, label in zip(figure.axes[0].get_xticks(), figure.axes[0].get_xticklabels(), strict=True):
        assert float(label.get_text().replace(",", "")) == pytest.approx(tick)
