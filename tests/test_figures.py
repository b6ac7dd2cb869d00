"""Figures show what their titles say: what was drawn is read back from them."""

import base64
import io
import json
import re
import zlib
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import records
from matplotlib import style
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.text import Text
from nets import convolutional, dense
from PIL import Image
from test_timeline import train

import labkit
from labkit import plots
from labkit.categories import CATEGORIES
from labkit.logs.dumpfile import Chunk, MemoryMap
from labkit.predict.search import BatchSizeSearch
from labkit.show import bars, sweeps
from labkit.show.figure import NARROW
from labkit.widgets.parts import runs

MIB = 2**20
CORPUS = Path(__file__).parent / "corpus" / "real"
STYLES = {
    "as it comes": {},
    "dark": style.library["dark_background"],
    "transparent": {"figure.facecolor": (1, 1, 1, 0), "text.color": "white", "axes.labelcolor": "white",
                    "xtick.color": "white", "ytick.color": "white", "axes.facecolor": "none"},
}  # fmt: skip


def outcome(status="ok", peak=0, limit=None, speed=None, asked=None, layer=None):
    """An Outcome with sizes in MiB."""
    diagnosis = SimpleNamespace(requested_bytes=asked * MIB, layer=layer) if asked else None
    limit_bytes = limit and limit * MIB
    return labkit.Outcome(
        status, peak_bytes=peak * MIB, limit_bytes=limit_bytes, diagnosis=diagnosis, samples_per_second=speed
    )


def swept(limit, *peaks, first=8):
    """A sweep over doubled values; the value after the last that has a peak fails."""
    tried = [(first * 2**n, outcome("ok", peak, limit, 900 + 40 * n)) for n, peak in enumerate(peaks)]
    failed = outcome("oom", 0.9 * limit, limit, asked=limit, layer="block_1_depthwise_convolution")
    return SimpleNamespace(over="batch_size", tried=[*tried, (first * 2 ** len(peaks), failed)])


def estimated(largest):
    """An estimate whose activations take 2 MiB for each row of the batch; one further trial was made."""

    def breakdown(value, limit):
        return {
            "category": {**dict.fromkeys(CATEGORIES, 0), "weights": 9 * MIB, "activations": 2 * value * MIB}
        }

    measured = {4: 17 * MIB, 8: 25 * MIB, 500: 1009 * MIB}
    return SimpleNamespace(over="batch_size", at=(4, 8), rows=None, measured=measured, breakdown=breakdown,
                           largest=lambda limit: largest)  # fmt: skip


OUTCOMES = {
    "batch 512, as it was": outcome("oom", 90, 128, asked=60),
    "$a_b$": outcome("ok", 120, 128, 1500),
    "nothing \u00e9lse " * 9: outcome("ok", 7, 128, 88_000),
}
FIXES = [
    ("as it is", 120 * MIB, 1500, True),
    ("mixed precision", 75 * MIB, 900, False),
    ("another optimizer " * 5, 119 * MIB, None, None),
    ("XLA", 60 * MIB, 33_000, True),
]
LIMITED = {**OUTCOMES, "with less": outcome("oom", 90, 96, asked=5), "a crash": outcome("crashed", 20, 100)}


def mapped():
    """A map of four by three values under 16 MiB: of two places, one was run, and one was not."""
    grid = [[32, 64, 128, 256], [50, 100, 200]]
    points = [(150, 100), (183, 100), (74, 200), (91, 200)]
    values = [*((first, second) for first in grid[0] for second in grid[1]), *points]
    predicted = {(first, second): 900 * first * second for first, second in values}
    tried = [((150, 100), outcome("ok", 13, 16)), ((183, 100), outcome("oom", 15, 16, asked=1))]
    return runs.MapRun(
        {}, SimpleNamespace(tried=tried), 16 * MIB, predicted, {50: 256, 100: 150, 200: 74}, grid, points
    )


FIGURES = {
    "map": lambda: sweeps.area_map(("batch_size", "length"), mapped()),
    "crash": lambda: records.crash().plot(title="Batch 512"),
    "crash by layer": lambda: records.crash().plot(by="layer", title="many words " * 12),
    "two": lambda: plots.timelines({"before " * 9: records.crash(), "after": records.step()}, title="Both"),
    "two by layer": lambda: plots.timelines({"a": records.crash(), "b": records.step()}, by="layer"),
    "memory map in a lab": lambda: plots.memory_map(
        labkit.diagnose((CORPUS / "activations_a.txt").read_text()), width=NARROW
    ),
    "layers": lambda: plots.peak_by_layer(records.crash(), "Batch 512"),
    "memory map": lambda: plots.memory_map(labkit.diagnose((CORPUS / "activations_a.txt").read_text())),
    "outcomes": lambda: bars.outcomes(OUTCOMES, "The same network"),
    "limits": lambda: bars.outcomes(LIMITED, "The same network, other limits"),
    "no speed": lambda: bars.outcomes({"a": outcome("ok", 7, 10), "b": outcome("oom", 9, 10, asked=8)}),
    "sweep": lambda: sweeps.sweeps({"": swept(128, 40, 60, 100)}, "batch_size 32 fits"),
    "sweep without speed": lambda: sweeps.sweeps({"": swept(128)}, "nothing fits"),
    "runs": lambda: sweeps.sweeps(
        {"run 1 " * 30: swept(512, 40, 60, 100, 180, 350), "run 2: nothing fits": swept(128)},
        predicted={"run 2: nothing fits": {8: 150 * MIB, 32: 300 * MIB}},
    ),
    "near limits": lambda: sweeps.sweeps(
        {"run 1: fits 64": swept(512, 40, 60, 100, 180), "run 2: fits 64": swept(440, 41, 62, 110, 190)}
    ),
    "estimate": lambda: sweeps.prediction(estimated(59), 128 * MIB, "A net", [(60, outcome("oom", 99, 128))]),
    "nothing fits": lambda: sweeps.prediction(estimated(None), 12 * MIB),
    "frontier": lambda: sweeps.frontier(("batch_size", "length"), {32: 200, 64: 100, 128: 51}, 2**28, "LSTM"),
    "fixes": lambda: bars.bytes_against_speed(FIXES, 128 * MIB, "What each fix saves"),
}


def axes_of(figure):
    return [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]


def texts(figure):
    """The texts that are seen once it is drawn: of the ticks, those within the axis."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    ticks = {id(tick.label1): tick for axis in axes_of(figure) for tick in axis.get_major_ticks()}
    seen = {id(tick) for axis in axes_of(figure) for tick in axis._update_ticks()}
    return [text for text in found if id(text) not in ticks or id(ticks[id(text)]) in seen]


def dashed(figure):
    return [line for axes in figure.axes for line in axes.lines if line.get_linestyle() == "--"]


@pytest.fixture(scope="module", params=FIGURES)
def figure(request):
    return FIGURES[request.param]()


def test_every_text_is_large_enough_and_within_the_figure(figure):
    written = texts(figure)
    assert len(written) > 5 and min(text.get_fontsize() for text in written) >= 10
    for text in written:
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, text


def test_no_text_is_written_over_another(figure):
    written = [(text, text.get_window_extent()) for text in texts(figure)]
    for place, (text, box) in enumerate(written):
        for other, its in written[place + 1 :]:
            across = min(box.x1, its.x1) - max(box.x0, its.x0)
            assert across < -4 or min(box.y1, its.y1) - max(box.y0, its.y0) < 2, (text, other)


def test_a_number_on_an_axis_is_where_it_says(figure):
    figure.draw_without_rendering()
    for axis in axes_of(figure):
        for tick in axis.get_major_ticks():
            if re.fullmatch(r"-?[\d,.]+", tick.label1.get_text()):
                assert float(tick.label1.get_text().replace(",", "")) == pytest.approx(tick.get_loc())


def contrast(one, other):
    """The contrast of two colours by WCAG 2.2, from 1 to 21 (w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    lights = []
    for colour in (one, other):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


ONE_GROUND = "outcomes"  # that stands for all where the style's own ground is transparent
LOOKED_AT = [
    (name, look) for name in FIGURES for look in STYLES if look != "transparent" or name == ONE_GROUND
]


@pytest.mark.parametrize(("name", "look"), LOOKED_AT)
def test_every_text_can_be_read_on_white_and_on_dark_pages(name, look):
    """The figure brings its ground: no grey has a contrast of 4.5 both to white and to a page of #111111."""
    with matplotlib.rc_context(STYLES[look]):
        figure = FIGURES[name]()
        written, image = texts(figure), Image.open(io.BytesIO(figure._repr_png_()))
    assert "transparency" not in image.info and image.width == round(200 * figure.get_size_inches()[0])
    ground = np.array(image.convert("RGB").getpixel((3, 3))) / 255
    assert all(contrast(text.get_color(), ground) >= 4.5 for text in written)
    assert all(contrast(line.get_color(), ground) >= 4.5 for line in dashed(figure))


def test_no_grey_can_be_read_on_both_pages():
    assert not any(contrast((c, c, c), "white") >= 4.5 and contrast((c, c, c), "#111111") >= 4.5
                   for c in np.linspace(0, 1, 1001))  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("frontier", "layers", "map")])
def test_every_limit_that_is_drawn_has_its_label(name):
    figure = FIGURES[name]()
    said = " ".join(text.get_text() for text in texts(figure))
    lines = [line.get_ydata()[0] for line in dashed(figure)]
    pieces = [path.vertices[0, 0] for axes in figure.axes for drawn in axes.collections
              if isinstance(drawn, LineCollection) for path in drawn.get_paths()]  # fmt: skip
    assert lines or pieces
    for limit in {*lines, *pieces}:
        assert f"limit {labkit.sizes.format_size(limit * MIB)}" in said


@pytest.mark.parametrize("by", ["category", "layer"])
def test_the_legend_of_a_timeline_names_what_is_drawn(by):
    for figure in (records.crash().plot(by=by), plots.timelines({"a": records.step()}, by=by)):
        drawn = {
            area.get_label()
            for area in figure.axes[0].collections
            if isinstance(area, PolyCollection) and any(thickness(area, x) > 0 for x in np.arange(0.5, 12))
        }
        [legend] = figure.legends
        said = {text.get_text().rstrip("…") for text in legend.get_texts()}
        assert len(said) == len(drawn) and all(any(d.startswith(s) for d in drawn) for s in said)


def test_bars_are_as_long_as_what_is_written_beside_them():
    def drawn(axes):
        return [patch.get_width() for patch in axes.patches]

    peaks, speeds = bars.outcomes(OUTCOMES).axes
    assert drawn(peaks) == pytest.approx([90, 60, 120, 7])
    assert drawn(speeds) == pytest.approx([0, 1500, 88_000])
    peaks, speeds = bars.bytes_against_speed(FIXES, 128 * MIB).axes
    assert drawn(peaks) == pytest.approx([120, 75, 119, 60])
    assert drawn(speeds) == pytest.approx([1500, 900, 0, 33_000])
    for axes in (peaks, speeds):
        for patch, label in zip(axes.patches, axes.texts, strict=False):
            number = re.match(r"[\d,.]+", label.get_text())
            assert (float(number[0].replace(",", "")) if number else 0) == pytest.approx(patch.get_width())


def test_a_memory_map_draws_what_its_title_says():
    found = labkit.diagnose((CORPUS / "activations_a.txt").read_text())
    [axes] = plots.memory_map(found).axes
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    asked, free = ([box for box in boxes if abs(box.get_y() + 0.3 - row) < 0.1] for row in (1, 2))
    assert [patch.get_width() * MIB for patch in asked] == pytest.approx([found.requested_bytes])
    assert [patch.get_width() * MIB for patch in free] == pytest.approx([found.largest_free_bytes])
    chunks = drawn_chunks(axes)
    assert [width * MIB for _, width, _ in chunks] == pytest.approx([c.size for c in found.memory_map.chunks])
    in_use = sum(width for _, width, colour in chunks if colour[3] > 0) * MIB
    assert in_use == pytest.approx(found.memory_map.in_use_bytes)


def test_where_the_limit_is_unknown_a_memory_map_names_what_the_allocator_held():
    whole = (CORPUS / "activations_a.txt").read_text()
    chunks_alone = re.match(r".*Sum Total of in-use.*?\n", whole, re.DOTALL)[0]
    for text, limit, line in (
        (whole, "limit 200 MiB", "limit 200 MiB"),
        (chunks_alone, "limit unknown", "held 200 MiB"),
    ):
        figure = plots.memory_map(labkit.diagnose(text))
        assert figure.get_suptitle().endswith(limit)
        assert line in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("in_use", [True, False])
def test_a_memory_map_may_be_full_or_empty(in_use):
    facts = {"requested_bytes": 2**30, "largest_free_bytes": 0, "limit_bytes": 2**22}
    chunks = (Chunk(0, 2**20, 0, in_use), Chunk(2**20, 2**20, 0, in_use))
    found = SimpleNamespace(memory_map=MemoryMap(chunks, in_use * 2**21, 0), **facts)
    figure = plots.memory_map(found)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert [(left, width, colour[3]) for left, width, colour in drawn_chunks(figure.axes[0])] == [
        (0, 1, in_use), (1, 1, in_use),
    ]  # fmt: skip


def drawn_chunks(axes):
    """(left end, width, color) of each chunk in a memory map, from left to right."""
    drawn = []
    for collection in axes.collections:
        if isinstance(collection, PolyCollection):
            boxes = [path.get_extents() for path in collection.get_paths()]
            colours = np.resize(collection.get_facecolor(), (len(boxes), 4)) if len(boxes) else []
            drawn += [(box.x0, box.width, tuple(c)) for box, c in zip(boxes, colours, strict=True)]
    return sorted(drawn)


def test_a_memory_map_of_thousands_of_chunks_is_drawn_at_once():
    sizes = [256, 2**16, 2**20, 2**22, 0, 2**18]
    chunks, at = [], 0
    for number in range(6000):
        chunks.append(Chunk(at, sizes[number % 6], 0, number % 5 > 0))
        at += chunks[-1].size
    used = sum(chunk.size for chunk in chunks if chunk.in_use)
    facts = {"requested_bytes": 2**30, "largest_free_bytes": 2**22, "limit_bytes": 2 * at}
    found = SimpleNamespace(memory_map=MemoryMap(tuple(chunks), used, used), **facts)
    [axes] = plots.memory_map(found).axes
    assert len(axes.patches) + len(axes.collections) < 20
    drawn, shown = drawn_chunks(axes), [chunk for chunk in chunks if chunk.size]
    drawn = [chunk for chunk in drawn if chunk[1]]
    assert [left * MIB for left, *_ in drawn] == pytest.approx([chunk.address for chunk in shown])
    for (_, width, colour), chunk in zip(drawn, shown, strict=True):
        assert (width * MIB, bool(colour[3])) == (chunk.size, chunk.in_use)
    [hatched] = [patch for patch in axes.patches if isinstance(patch, PathPatch) and patch.get_hatch()]
    free = sum(not chunk.in_use for chunk in chunks)
    assert list(hatched.get_path().codes).count(hatched.get_path().MOVETO) == free
    colours = {chunk.size: colour for (*_, colour), chunk in zip(drawn, shown, strict=True) if chunk.in_use}
    handles, labels = axes.get_legend_handles_labels()
    assert labels == ["800 of 4.00 MiB", "800 of 1.00 MiB"]
    assert [handle[0].get_facecolor() for handle in handles] == [colours[2**22], colours[2**20]]


def test_what_is_no_timeline_is_refused_in_a_sentence():
    for drawn in (plots.timelines, plots.peak_by_layer):
        with pytest.raises(labkit.LabkitError, match="This is not a timeline but None: .*profile=True"):
            drawn(None)
    with pytest.raises(labkit.LabkitError, match="'a' is not a timeline but None: .*profile=True"):
        plots.timelines({"b": records.step(), "a": None})
    with pytest.raises(labkit.LabkitError, match="no timeline to show"):
        plots.timelines({})


def test_one_timeline_alone_needs_no_label():
    [axes] = plots.timelines(records.step()).axes
    assert axes.get_title(loc="left") == "37.0 MiB"


@pytest.mark.parametrize("given", [None, records.step()])
def test_what_has_no_memory_map_is_refused_in_a_sentence(given):
    with pytest.raises(labkit.LabkitError, match="Give an outcome that ran out of memory, or its diagnosis"):
        plots.memory_map(given)


@pytest.mark.parametrize("by", ["category", "layer"])
def test_a_building_in_which_nothing_happened_can_be_drawn(by):
    building = records.timeline([(0, -1, 4 * MIB, "a", "A"), (1, 4, MIB, "a", "B")], steps=[5], events=6)
    nothing = building.during("building")
    assert nothing.peak_bytes == 0
    assert nothing.plot(by=by)._repr_png_().startswith(b"\x89PNG")
    assert nothing.to_html(by=by).startswith("<!")
    assert len(plots.timelines({"building": nothing, "all": building}, by=by).axes) == 2


def test_a_title_of_several_lines_keeps_them_and_needs_no_glyph_for_their_ends(recwarn):
    figure = records.step().plot(title="before\nafter" + " and after that" * 14)
    first, second, *others = figure.get_suptitle().split("\n")
    assert first == "before" and second.startswith("after and") and others
    [axes] = plots.timelines({"one\r\ntwo": records.step()}).axes
    assert axes.get_title(loc="left") == "one\ntwo: 37.0 MiB"
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_two_timelines_of_one_label_are_refused():
    first, second = records.step(), records.crash()
    for options in ({"label": "a", "beside": {"a": second}}, {"beside": {"": second}}):
        with pytest.raises(labkit.LabkitError, match="the same label"):
            first.to_html(**options)


def test_an_estimate_stays_under_its_limit_up_to_what_should_fit():
    [axes] = FIGURES["estimate"]().axes
    assert height_at(axes, 59 - 1e-9) == pytest.approx(127) and height_at(axes, 65) > 128
    assert axes.get_ylim()[1] < 250  # the trial with a batch of 500 is not in the figure


def test_a_search_marks_its_answer_and_not_what_was_predicted():
    tried = [(60, outcome("oom", 99, 128)), (48, outcome("ok", 105, 128))]
    search = BatchSizeSearch("batch_size", 128 * MIB, 48, 4, 1, 9.0, tried, estimated(60))
    figure = search.plot("A net")
    assert figure.get_suptitle() == "A net: batch_size 48 fits 128 MiB"
    [axes] = figure.axes
    [line] = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert set(line.get_xdata()) == {48}
    [cross] = [line for line in axes.lines if line.get_marker() == "x"]
    assert list(cross.get_xdata()) == [60] and axes.get_xlim()[1] > 60
    assert height_at(axes, 48) == pytest.approx(9 + 2 * 48)  # the answer is among the values drawn


def test_the_answer_of_a_search_is_in_view_where_it_is_far_above_the_prediction():
    search = BatchSizeSearch(
        "batch_size", 128 * MIB, 90, 3, 0, 9.0, [(90, outcome("ok", 99, 128))], estimated(59)
    )
    [axes] = search.plot().axes
    assert axes.get_xlim()[1] > 90
    points = next(line for line in axes.lines if line.get_marker() == "o")
    assert 90 in points.get_xdata()


def test_each_of_seven_runs_has_a_sign_of_its_own():
    memory, _ = sweeps.sweeps({f"run {number}": swept(128, 40 + number, 60) for number in range(7)}).axes
    drawn = [line for line in memory.lines if line.get_label().startswith("run")]
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == 7


def test_a_sweep_draws_each_trial_and_each_failure_at_its_limit():
    run = swept(128, 40, 60, 100)
    memory, speed = sweeps.sweeps({"": run}).axes
    [line] = [line for line in memory.lines if line.get_marker() == "o"]
    [cross] = [line for line in memory.lines if line.get_marker() == "x"]
    assert list(line.get_xdata()) == [8, 16, 32] and list(line.get_ydata()) == pytest.approx([40, 60, 100])
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (64, 128)
    assert list(speed.lines[0].get_ydata()) == [900, 940, 980]


def test_each_cross_at_a_limit_says_how_its_trial_ended_where_there_is_room():
    def told(*runs):
        figure = sweeps.sweeps({str(number): run for number, run in enumerate(runs)})
        return [text.get_text() for text in figure.axes[0].texts if "out of memory" in text.get_text()]

    few, many, next_to_it = swept(256, 128, 248), swept(256, 30, 62, 104, 250), swept(256, 64, 128, 249)
    for run, layer in ((few, "classes"), (many, "pool_1"), (next_to_it, "hidden")):
        run.tried[-1][1].diagnosis.layer = layer
    assert told(few, many) == ["out of memory\nin classes", "out of memory\nin pool_1"]
    assert len(told(few, next_to_it, many)) == 2


@pytest.mark.parametrize("size", [150, 170])
def test_the_small_crosses_are_explained_where_one_is_in_view(size):
    run = swept(128, 40, 60, 100)
    predicted = {8: 40 * MIB, 64: size * MIB}
    figure = sweeps.sweeps({"": run}, predicted={"": predicted}, too_large={"": [64]})
    figure._repr_png_()
    memory, _ = figure.axes
    is_in_view = size <= memory.get_ylim()[1]
    assert is_in_view == (size == 150)
    assert ("small ×" in memory.get_ylabel()) == is_in_view
    [told] = [text for text in memory.texts if "out of memory" in text.get_text()]
    box = told.get_window_extent()
    assert not box.contains(*memory.transData.transform((64, size)))


def height_at(axes, x):
    """How high the stacked areas reach at x, in MiB."""
    stacked = [collection for collection in axes.collections if isinstance(collection, PolyCollection)]
    return sum(thickness(collection, x) for collection in stacked)


def thickness(area, x):
    """How thick an area is at x, in MiB."""
    found = crossings(area.get_paths()[0].vertices, x)
    return np.ptp(found) if len(found) else 0


def crossings(vertices, x):
    """The heights at which a polygon's border crosses x."""
    across = np.flatnonzero((vertices[:-1, 0] < x) != (vertices[1:, 0] < x))
    (x1, y1), (x2, y2) = vertices[across].T, vertices[across + 1].T
    return y1 + (y2 - y1) * (x - x1) / (x2 - x1)


@pytest.fixture(scope="module")
def whole():
    return labkit.run(train, profile=True, batch_size=64, build=dense, steps=3).timeline


@pytest.fixture(scope="module", params=["by hand", "step by hand", "crash", "whole", "step"])
def timeline(request, whole):
    if "by hand" in request.param:
        return records.step() if request.param == "step by hand" else records.crash()
    if request.param == "crash":
        facts = {"memory_limit": "12 MiB", "batch_size": 512, "build": convolutional, "steps": 1}
        return labkit.run(train, profile=True, **facts).timeline
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
        assert f"up to batch_size {largest} should fit" in axes.figure.get_suptitle()
        assert f"limit {limit}" in " ".join(text.get_text() for text in axes.texts)
        assert height_at(axes, largest - 1e-6) <= limit
        assert height_at(axes, largest) * MIB == pytest.approx(
            estimate.peak_bytes(largest, f"{limit} MiB"), rel=1e-6
        )
        points = next(line for line in axes.lines if line.get_marker() == "o")
        assert dict(zip(*points.get_data(), strict=True)) == pytest.approx(
            {v: peak / MIB for v, peak in estimate.measured.items() if v <= axes.get_xlim()[1]}
        )
        assert max(*points.get_ydata(), limit) > 0.3 * axes.get_ylim()[1]  # the axis ends where the data do
        assert estimate.breakdown(largest, f"{limit} MiB")["category"]
        assert sum(estimate.breakdown(largest, f"{limit} MiB")["category"].values()) == estimate.peak_bytes(
            largest, f"{limit} MiB"
        )


@pytest.mark.parametrize("at", [(0.25, 0.5), (0.5, 1.5), (4, 8)])
def test_an_estimate_is_drawn_at_whole_values_only_of_what_is_whole(at):
    asked = []
    estimate = estimated(None)
    estimate.at, estimate.measured = at, dict.fromkeys(at, MIB)
    breakdown = estimate.breakdown
    estimate.breakdown = lambda value, limit: asked.append(value) or breakdown(value, limit)
    sweeps.prediction(estimate)
    assert min(asked) == at[0] and max(asked) == 32 * at[1]
    assert {type(value) for value in asked} == {type(at[0])} and len(asked) == sweeps.POINTS
