"""What a page draws of timelines and trials, read back from the page in a real browser."""

import html.parser
import json
import random
import re

import pytest
import records
from playwright.sync_api import expect
from records import HOSTILE, MIB

import labkit
from labkit.show import pages
from labkit.widgets.parts import runs
from labkit.widgets.parts.chart import map_data, trials_data

SIZES = [((1024, 768), "light"), ((1280, 720), "dark"), ((1440, 900), "light")]
SMALLEST_TEXT = 40 / 3  # CSS pixels: 10 pt

# Texts that overprint each other or reach out of their chart, and the smallest text.
LOOK = """() => {
    const faults = [];
    let smallest = 1000;
    for (const svg of document.querySelectorAll(".labkit-plot svg")) {
        const frame = svg.getBoundingClientRect();
        const written = [...svg.querySelectorAll("text")];
        const texts = written.map((one) => [one.textContent, one.getBoundingClientRect()]);
        texts.forEach(([text, box], n) => {
            if (box.left < frame.left - 2 || box.right > frame.right + 2) faults.push(`${text} reaches out`);
            for (const [other, there] of texts.slice(n + 1)) {
                const wide = Math.min(box.right, there.right) - Math.max(box.left, there.left);
                const high = Math.min(box.bottom, there.bottom) - Math.max(box.top, there.top);
                if (wide > 1 && high > 4) faults.push(`${text} over ${other}`);
            }
        });
    }
    const walker = document.createTreeWalker(document.querySelector(".labkit-chart"), NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const style = getComputedStyle(walker.currentNode.parentElement);
        if (walker.currentNode.textContent.trim()) smallest = Math.min(smallest, parseFloat(style.fontSize));
    }
    for (const list of document.querySelectorAll("ul, .labkit-pane, .labkit-table")) {
        if (list.scrollWidth > list.clientWidth + 1) faults.push(`${list.className} is cut`);
    }
    return { faults, smallest };
}"""

# Contrast of each text with the page, by the formula of the W3C's WCAG 2.
CONTRAST = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
        const share = part / 255;
        return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    const weigh = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
    const light = (colour) => weigh(parts(colour));
    const page = light(getComputedStyle(document.body).backgroundColor);
    const texts = document.querySelectorAll(".labkit-chart :is(text, td, li, button)");
    return Math.min(...[...texts].map((one) => {
        const style = getComputedStyle(one);
        const ink = light(one.tagName === "text" ? style.fill : style.color);
        return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
    }));
}"""


@pytest.fixture
def show(browser, tmp_path):
    """Opens a page that is offline, by its HTML; what goes wrong in it fails the test."""
    opened = []

    def show(text, size=(1280, 720), scheme="light", drawn=".labkit-plot svg"):
        context = browser.new_context(
            viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme, offline=True
        )
        page, problems = context.new_page(), []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("request", lambda request: request.url.startswith("file:") or problems.append(request.url))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        path = tmp_path / f"{len(opened)}.html"
        path.write_text(text, encoding="utf-8")
        page.goto(path.as_uri())
        page.locator(drawn).first.wait_for(state="attached")
        opened.append((context, problems))
        return page

    yield show
    for context, problems in opened:
        context.close()
        assert problems == []


def heights(page, pane=0):
    """{label: [(x1, x2, bytes), ...]} of the areas that are drawn, from the pixels, by the axis."""
    plot = page.locator(".labkit-plot").nth(pane)
    ticks = plot.locator(".labkit-tick").all_text_contents()
    lines = [float(line.get_attribute("y1")) for line in plot.locator(".labkit-grid").all()]
    highest = float(ticks[-1].replace(",", ""))
    per_pixel = highest * MIB / (lines[0] - lines[-1])
    drawn = {}
    for area in plot.locator(".labkit-area").all():
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", area.get_attribute("d"))]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        upper, lower = points[: len(points) // 2], points[: len(points) // 2 - 1 : -1]
        drawn[area.get_attribute("data-label")] = [
            (x1, x2, (below - above) * per_pixel)
            for (x1, above), (x2, _), (_, below) in zip(upper[::2], upper[1::2], lower[::2], strict=True)
        ]
    return drawn


def total(drawn):
    """(x1, x2, bytes) of all areas together."""
    return [(x1, x2, sum(part[n][2] for part in drawn.values()))
            for n, (x1, x2, _) in enumerate(next(iter(drawn.values())))]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "by", "width"),
    [
        (records.crash, "layer", 1280),
        (records.step, "category", 1024),
        (records.many, "layer", 1440),
        (records.spikes, "category", 400),
    ],
)
def test_a_page_draws_the_peak_and_the_end_as_high_as_they_are(show, made, by, width):
    timeline = made()
    page = show(timeline.to_html(by=by), (width, 720))
    columns = total(heights(page))
    pixel = 0.01 * timeline.peak_bytes
    assert max(size for *_, size in columns) == pytest.approx(timeline.peak_bytes, abs=pixel)
    x1, x2, size = columns[-1]
    assert size == pytest.approx(timeline.total()[-1], abs=pixel) and x2 - x1 > 2
    assert f"peak {labkit.format_size(timeline.peak_bytes)}" in page.locator("svg text").all_text_contents()
    assert page.locator("b").first.inner_text() == labkit.format_size(timeline.peak_bytes)
    curves = timeline.curves(by)
    shares = {label: curve[timeline.peak_at] for label, curve in curves.items() if curve.any()}
    at_peak = max(range(len(columns)), key=lambda n: columns[n][2])
    for label, drawn in heights(page).items():
        if label in shares and (by == "category" or label != "all others"):
            assert drawn[at_peak][2] == pytest.approx(shares[label], abs=pixel)


def test_a_crash_shows_what_was_refused_on_top_of_what_was_in_use(show):
    page = show(records.crash().to_html())
    refused = page.locator(".labkit-refused")
    box, area = refused.bounding_box(), page.locator(".labkit-area").first.bounding_box()
    assert box["width"] > 20
    assert box["y"] + box["height"] == pytest.approx(area["y"], abs=2)
    texts = page.locator("svg text").all_text_contents()
    assert {"refused: 30.0 MiB", "limit 40.0 MiB"} <= set(texts)
    limit = page.locator(".labkit-limit").bounding_box()["y"]
    assert box["y"] < limit < area["y"]
    drawn = page.locator("svg :is(.labkit-cursor, .labkit-note)").evaluate_all(
        "nodes => nodes.map((one) => one.classList[0])"
    )
    assert drawn[0] == "labkit-cursor" and len(drawn) == 4  # texts are written over it


def test_layers_come_in_the_models_order_in_colours_that_no_category_has(show):
    page = show(records.step().to_html())
    page.get_by_role("button", name="layer", exact=True).click()
    expect(page.locator(".labkit-area").first).to_have_attribute("data-label", "first")
    areas = page.locator(".labkit-area").all()
    assert [area.get_attribute("data-label") for area in areas] == ["first", "middle", "last", "all others"]
    colours = [area.get_attribute("fill") for area in areas]
    assert len(set(colours)) == 4 and not set(colours[:3]) & set(pages.CATEGORY_COLOURS.values())
    assert page.locator(".labkit-legend li").all_text_contents() == ["first", "middle", "last", "all others"]


def test_blocks_say_what_they_are_to_pointer_and_keyboard(show):
    page = show(records.step().to_html())
    plot, tip = page.locator(".labkit-plot"), page.locator(".labkit-tip")
    expect(tip).to_be_hidden()
    (x1, x2, _) = max(total(heights(page)), key=lambda column: column[2])
    box = plot.bounding_box()
    page.mouse.move(box["x"] + (x1 + x2) / 2, box["y"] + box["height"] * 0.7)
    for fact in ("op", "shape", "bytes", "lifetime", "MiB"):
        expect(tip).to_contain_text(fact)
    page.mouse.move(1, 1)
    expect(tip).to_be_hidden()
    plot.focus()
    said = []
    for _ in range(4):
        page.keyboard.press("ArrowUp")
        said.append(tip.inner_text())
    assert [re.search(r"scope\d/(\w)", text)[1] for text in said] == list("ABCD")
    assert "event 3 to event 8" in said[2]
    assert page.locator("[aria-live]").inner_text().startswith("layer first; op scope0/D; shape float32")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_time_is_walked_through_by_the_keyboard_and_the_table_follows(show):
    timeline = records.step()
    page = show(timeline.to_html())
    plot, said = page.get_by_role("slider"), page.locator(".labkit-in-use b")
    plot.focus()
    page.keyboard.press("Home")
    for place in range(timeline.events - 2):
        expect(said).to_have_text(labkit.format_size(int(timeline.total()[place])))
        assert labkit.format_size(int(timeline.total()[place])) in plot.get_attribute("aria-valuetext")
        rows = [row.op.rpartition("/")[2] for row in timeline.alive(place)]
        shown = page.locator("tbody tr td.labkit-op").all_text_contents()
        assert [text.rpartition("/")[2] for text in shown] == rows
        page.keyboard.press("ArrowRight")
    page.keyboard.press("p")
    expect(said).to_have_text("37.0 MiB")


def test_zoom_by_wheel_drag_buttons_and_keyboard_and_back(show):
    page = show(records.many().to_html())
    plot = page.locator(".labkit-plot")
    box = plot.bounding_box()
    middle = box["y"] + box["height"] / 2

    def drawn():
        return page.locator(".labkit-total").get_attribute("d")

    whole = drawn()
    page.mouse.move(box["x"] + 400, middle)
    page.mouse.wheel(0, -400)
    page.wait_for_function("d => document.querySelector('.labkit-total').getAttribute('d') !== d", arg=whole)
    page.mouse.dblclick(box["x"] + 400, middle)
    assert drawn() == whole
    page.mouse.move(box["x"] + 300, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, middle, steps=3)
    page.mouse.up()
    dragged = drawn()
    assert dragged != whole
    page.get_by_role("button", name="All").click()
    assert drawn() == whole
    plot.focus()
    page.keyboard.press("+")
    assert drawn() not in (whole, dragged)
    page.keyboard.press("0")
    assert drawn() == whole


@pytest.mark.parametrize(("size", "scheme"), SIZES)
def test_two_side_by_side_stand_level_and_can_be_read(show, size, scheme):
    first, second = records.crash(), records.step()
    page = show(first.to_html(label="before <b>", beside={"after " * 9: second}), size, scheme)
    for by in ("layer", "category"):
        page.get_by_role("button", name=by, exact=True).click()
        tops = [plot.bounding_box()["y"] for plot in page.locator(".labkit-plot").all()]
        assert len(tops) == 2 and tops[0] == pytest.approx(tops[1], abs=1)
        looked = page.evaluate(LOOK)
        assert looked["faults"] == [] and looked["smallest"] >= SMALLEST_TEXT
        assert page.evaluate(CONTRAST) >= 4.5
    tallest = [max(size for *_, size in total(heights(page, pane))) for pane in (0, 1)]
    assert tallest == [pytest.approx(t.peak_bytes, rel=0.02) for t in (first, second)]  # on one scale


class Elements(html.parser.HTMLParser):
    """The start tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_a_page_is_one_small_file_in_which_names_stay_names(show):
    text = records.many().to_html(label=HOSTILE[1], beside={name: records.crash() for name in HOSTILE[2:4]})
    assert len(text.encode()) < 2**20
    found = Elements(text).found
    assert [tag for tag, _ in found].count("script") == 2
    assert not [tag for tag, _ in found if tag in ("svg", "link", "iframe", "object")]
    for tag, attributes in found:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert tag != "img" or attributes["src"].startswith("data:image/png")
    page = show(text)
    page.get_by_role("button", name="layer", exact=True).click()
    assert set(HOSTILE) <= {*page.locator(".labkit-legend li").all_text_contents()}
    assert page.locator(".labkit-chart img, .labkit-chart script").count() == 0
    assert page.title() != "broken"


def test_without_scripts_a_page_has_the_picture_and_the_table(browser, tmp_path):
    path = tmp_path / "page.html"
    records.crash().to_html(path)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("img").evaluate("image => image.complete && image.naturalWidth") == 1600
    assert page.locator("tbody tr").count() == len(HOSTILE)
    expect(page.get_by_text("21.0 MiB in use at the peak")).to_be_visible()
    context.close()


def test_sizes_and_ticks_are_those_of_python(browser):
    def computed(expression, given):
        code = pages.script().replace("export default { render };", "")
        body = f"{code} return given.map((one) => {expression});"
        return page.evaluate("([body, given]) => new Function('given', body)(given)", [body, given])

    page, numbers = browser.new_page(), random.Random(1)
    sizes = [0, 1, 999, 1023, 1024, 1023 * 1024, 2**20 - 1, 2**30, 999.4 * 2**20, 999.6 * 2**30, 2**45]
    sizes += [int(2 ** (45 * numbers.random())) for _ in range(500)]
    assert computed("formatSize(one)", sizes) == [labkit.format_size(size) for size in sizes]
    tops = [0.001, 1, 2.6, 7, 18, 1023.9, *(10 ** (6 * numbers.random()) for _ in range(200))]
    ticks = computed("roundSteps(one).map((tick) => [tick, formatNumber(tick)])", tops)
    for top, marked in zip(tops, ticks, strict=True):
        step, last = marked[1][0], marked[-1][0]
        assert 3 <= len(marked) <= 7 and last <= top * (1 + 1e-9) < last + 1.001 * step
        assert all(float(text.replace(",", "")) == pytest.approx(tick) for tick, text in marked)
    page.close()


# The chart of a lab


class Tried:
    """As much of a Sweep as a chart needs."""

    def __init__(self, outcomes):
        self.over, self.tried = "batch_size", outcomes
        self.frontier = max((value for value, outcome in outcomes if outcome.ok), default=None)
        self.summary = f"batch_size {self.frontier} fits"


def outcome(peak, limit, ok=True, layer="conv2d"):
    failed = None if ok else labkit.diagnose(f"OOM when allocating tensor with shape[9,9] in {layer}")
    return labkit.Outcome(
        "ok" if ok else "oom", peak_bytes=peak * MIB, limit_bytes=limit * MIB,
        samples_per_second=100.0 * peak if ok else None, diagnosis=failed,
    )  # fmt: skip


@pytest.fixture
def lab_runs():
    """Four runs: two with the same peaks, all out of memory somewhere, under limits close to each other."""
    made = []
    for number, limit in enumerate((100, 100, 102, 200)):
        tried = [(8 * 2**n, outcome(30 + 20 * n, limit)) for n in range(3)]
        tried.append((64, outcome(limit - 3, limit, ok=False)))
        settings = {"memory limit": f"{limit} MiB", "precision": "float32", "width": f"width {number}"}
        settings |= {f"p{n}": f"parameter_number_{n} {number // 2}" for n in range(7)}
        made.append(runs.Run(settings, Tried(tried), limit * MIB, {value: 40 * MIB for value, _ in tried}))
    return made


LAB = """<!DOCTYPE html><meta charset="utf-8"><style>%s body { background: #fff }
    :root { --jp-ui-font-color1: #222; --jp-layout-color0: #fff } /* as ipywidgets 7 says */
    @media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #eee } }</style>
    <main></main><script type="module">%s
    const state = { kind: "trials", chosen: 0, data: %s };
    window.chosen = [];
    const model = { get: (name) => state[name], on() {}, off() {}, save_changes() {},
        set(name, value) { state[name] = value; if (name === "chosen") window.chosen.push(value); } };
    render({ model, el: document.querySelector("main") });</script>"""


def lab_page(made, values=(8, 16, 32, 64, 128, 256, 512, 1024)):
    data = json.dumps(trials_data(made, "batch_size", values, 100 * MIB))
    return LAB % (pages.css(), pages.script(), data)


@pytest.mark.parametrize(("size", "scheme"), [((560, 720), "dark"), *SIZES])
def test_a_labs_chart_can_be_read(show, lab_runs, size, scheme):
    page = show(lab_page(lab_runs), size, scheme)
    looked = page.evaluate(LOOK)
    assert looked["faults"] == [] and looked["smallest"] >= SMALLEST_TEXT
    assert page.evaluate(CONTRAST) >= 4.5
    texts = page.locator(".labkit-plot").first.locator("text").all_text_contents()
    assert {"limit 100 MiB", "limit 102 MiB", "limit 200 MiB", "batch_size"} <= set(texts)
    assert any("out of memory" in text for text in texts)
    entries = page.locator(".labkit-runs li").all_text_contents()
    assert [entry.partition(" · ")[0] for entry in entries] == [
        f"run {n}: batch_size 32 fits" for n in range(1, 5)
    ]
    assert "float32" not in "".join(entries)
    assert "float32" in page.locator(".labkit-common").inner_text()


CROSSED = """() => [...document.querySelectorAll(".labkit-plot svg")].flatMap((svg) => {
    const notes = [...svg.querySelectorAll(".labkit-note")];
    const lines = [...svg.querySelectorAll(".labkit-run, .labkit-estimate")];
    const { left, top } = svg.getBoundingClientRect();
    return notes.filter((note) => {
        const box = note.getBoundingClientRect();
        const inside = ({ x, y }) => x + left > box.left && x + left < box.right
            && y + top > box.top && y + top < box.bottom;
        return lines.some((line) => {
            const length = line.getTotalLength();
            const places = Array.from({ length: 500 }, (_, n) => line.getPointAtLength(length * n / 499));
            return places.some(inside);
        });
    }).map((note) => note.textContent);
})"""


@pytest.mark.parametrize("width", [700, 990, 1280])
def test_no_line_goes_through_what_is_written_of_a_failure(show, width):
    made = []
    for first, predicted in ((39, 70), (37, 60), (47, 107)):
        tried = [(4 * 2**n, outcome(first + 5 * n * n, 96)) for n in range(3)]
        tried.append((32, outcome(79, 96, ok=False)))
        sizes = {value: one.peak_bytes for value, one in tried} | {
            32: predicted * MIB,
            64: 2 * predicted * MIB,
        }
        made.append(runs.Run({"memory limit": "96 MiB"}, Tried(tried), 96 * MIB, sizes))
    page = show(lab_page(made, values=(4, 8, 16, 32, 64)), (width, 720))
    assert page.locator(".labkit-plot").get_by_text("out of memory").count() == 1
    assert page.evaluate(CROSSED) == []


@pytest.mark.parametrize("predicted", [105, 400])
def test_small_crosses_are_explained_where_one_is_drawn(show, predicted):
    tried = [(8, outcome(40, 100)), (64, outcome(97, 100, ok=False))]
    sizes = {8: 40 * MIB, 64: predicted * MIB}
    page = show(lab_page([runs.Run({}, Tried(tried), 100 * MIB, sizes)]))
    crosses = page.locator(".labkit-too-large").count()
    assert crosses == (predicted == 105)
    assert ("small ✗" in page.locator(".labkit-common").inner_text()) == bool(crosses)


def test_where_panels_stand_below_each_other_the_results_follow_the_peaks(show, lab_runs):
    page = show(lab_page(lab_runs), (560, 720))
    peak, results, speed = (
        page.locator(place).bounding_box()
        for place in (".labkit-plot >> nth=0", ".labkit-runs", ".labkit-plot >> nth=1")
    )
    assert peak["y"] + peak["height"] <= results["y"]
    assert results["y"] + results["height"] <= speed["y"]


# A lab without a chart, in a page as those of ipywidgets are outside of JupyterLab.
BOX = """<!DOCTYPE html><meta charset="utf-8"><style>%s :root { --jp-widgets-color: #222 }
    .jupyter-widgets { color: var(--jp-widgets-color) } body { background: #fff }
    @media (prefers-color-scheme: dark) { body { background: #1b1b1b } }</style>
    <div class="labkit-box jupyter-widgets">
        <div style="height: 500px">above</div>
        <div class="jupyter-widgets labkit-detail"></div><main></main></div>
    <div style="height: 3000px"></div><script type="module">%s
    const called = {}, state = { kind: "none" };
    const model = { get: (name) => state[name], set() {}, save_changes() {}, off() {},
                    on: (name, call) => { called[name] = call; } };
    render({ model, el: document.querySelector("main") });
    window.fill = (text) => {
        document.querySelector(".labkit-detail").innerHTML = text;
        return called["change:revealed"]();
    };
    window.complete = () => called["change:completed"]();</script>"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_a_lab_without_a_chart_says_can_be_read_in_any_page(show, scheme):
    page = show(BOX % (pages.css(), pages.script()), (1024, 768), scheme, drawn=".labkit-none")
    page.locator("[data-theme]").first.wait_for()
    ink = page.locator(".labkit-detail").evaluate("e => getComputedStyle(e).color")
    red = int(re.search(r"\d+", ink).group())
    assert red > 200 if scheme == "dark" else red < 60, ink


@pytest.mark.parametrize("height", [200, 2000])
def test_what_was_filled_is_brought_into_view_and_stays_where_it_is_read(show, height):
    page = show(BOX % (pages.css(), pages.script()), (1024, 400), drawn=".labkit-none")
    filled = f"<b style='display: block'>explained</b><p style='height: {height}px'></p>"
    page.evaluate("text => window.fill(text)", filled)
    expect(page.get_by_text("explained")).to_be_in_viewport()
    page.evaluate("window.scrollBy(0, -100)")
    before = page.evaluate("window.scrollY")
    page.evaluate("text => window.fill(text)", filled.replace("explained", "again"))
    expect(page.get_by_text("again")).to_be_in_viewport()
    if height > 400:
        assert page.evaluate("window.scrollY") == before


def test_who_goes_on_while_pictures_are_drawn_is_not_moved(show):
    page = show(BOX % (pages.css(), pages.script()), (1024, 400), drawn=".labkit-none")
    page.evaluate("text => window.fill(text)", "<b>explained</b>")
    shown = page.evaluate("window.scrollY")
    page.evaluate("window.scrollTo(0, 0)")
    page.evaluate("window.complete()")
    assert page.evaluate("window.scrollY") == shown > 0
    page.evaluate("window.scrollTo(0, 0)")
    page.mouse.click(200, 200)
    page.evaluate("window.complete()")
    assert page.evaluate("window.scrollY") == 0
    page.evaluate("text => window.fill(text)", "<b>explained again</b>")
    assert page.evaluate("window.scrollY") == shown


def test_points_stand_where_their_peaks_are(show, lab_runs):
    page = show(lab_page(lab_runs[3:]))
    lines = [
        float(one.get_attribute("y1"))
        for one in page.locator(".labkit-plot").first.locator(".labkit-grid").all()
    ]
    ticks = page.locator(".labkit-plot").first.locator(".labkit-tick").all_text_contents()
    per_pixel = float(ticks[len(lines) - 1]) / (lines[0] - lines[-1])
    marks = page.locator("[role=button][data-trial]")
    found = [float(one.locator("circle").first.get_attribute("cy")) for one in marks.all()]
    assert [(lines[0] - y) * per_pixel for y in found] == pytest.approx([30, 50, 70, 200], rel=0.01)
    limit = float(page.locator(".labkit-limit").last.get_attribute("y1"))
    assert (lines[0] - limit) * per_pixel == pytest.approx(200, rel=0.01)


def test_each_of_seven_runs_has_a_sign_of_its_own(show):
    made = [
        runs.Run({"width": f"width {n}"}, Tried([(8, outcome(30 + n, 100))]), 100 * MIB) for n in range(7)
    ]
    signs = show(lab_page(made)).locator(".labkit-runs path")
    assert len({(one.get_attribute("fill"), one.get_attribute("d")) for one in signs.all()}) == 7


def wait_for_chosen(page, count):
    """Wait until so many trials have been chosen, and the chart has been drawn anew."""
    page.wait_for_function("count => window.chosen.length >= count", arg=count)
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def test_points_on_top_of_each_other_can_all_be_reached(show, lab_runs):
    page = show(lab_page(lab_runs[:2]))
    first = page.locator("[role=button][data-trial='1']").bounding_box()
    at = [first["x"] + first["width"] / 2, first["y"] + first["height"] / 2]
    page.mouse.move(*at)
    expect(page.locator(".labkit-tip")).to_contain_text("Also here: run 1, batch_size 8")
    for number in range(1, 4):
        page.mouse.click(*at)
        wait_for_chosen(page, number)
    chosen = page.evaluate("window.chosen")
    assert set(chosen) == {1, 5} and chosen[0] != chosen[1] != chosen[2]
    page.locator("[role=button][tabindex='0']").focus()
    page.keyboard.press("Home")
    names = []
    for _ in range(8):
        names.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
        page.keyboard.press("ArrowRight")
    assert len(set(names)) == 8 and all("batch_size" in name for name in names)
    assert "out of memory" in names[3] and "peak 30.0 MiB of 100 MiB" in names[4]
    page.keyboard.press("Enter")
    wait_for_chosen(page, 4)
    assert page.evaluate("window.chosen").pop() == 8
    assert page.locator(".labkit-ring").count() == 1


@pytest.fixture
def map_page():
    """A map of three by two values under 100 MiB: one place of the frontier run, one not yet."""
    grid, over = [[8, 16, 32], [64, 128]], ("batch_size", "length")
    predicted = {(first, second): first * second * MIB // 21 for first in grid[0] for second in grid[1]}
    points = [(16, 128), (17, 128), (32, 64), (34, 64)]
    predicted |= {(first, second): first * second * MIB // 21 for first, second in points}
    tried = [((16, 128), outcome(97, 100)), ((17, 128), outcome(99, 100, ok=False))]
    run = runs.MapRun(
        {"memory limit": "100 MiB"}, Tried(tried), 100 * MIB, predicted, {64: 32, 128: 16}, grid, points
    )
    run.sweep.over = over
    data = json.dumps(map_data([run], over, grid, 100 * MIB))
    return (LAB % (pages.css(), pages.script(), data)).replace('kind: "trials"', 'kind: "map"')


@pytest.mark.parametrize(("size", "scheme"), [((560, 720), "dark"), *SIZES])
def test_a_map_can_be_read(show, map_page, size, scheme):
    page = show(map_page, size, scheme)
    looked = page.evaluate(LOOK)
    assert looked["faults"] == [] and looked["smallest"] >= SMALLEST_TEXT
    assert page.evaluate(CONTRAST) >= 4.5
    texts = set(page.locator(".labkit-plot text").all_text_contents())
    assert {"8", "16", "32", "64", "128", "length", "24.4 MiB", "195 MiB ✗"} <= texts
    assert any("batch_size · limit 100 MiB" in text for text in texts)
    said = "length 64: up to batch_size 32; length 128: up to batch_size 16 (measured: 16 it fits, 17 out of"
    assert said in page.locator(".labkit-plot > svg").get_attribute("aria-label")


def test_a_maps_marks_differ_in_shape_and_say_what_they_are(show, map_page):
    page = show(map_page)
    marks = page.locator("[role=button][data-trial]")
    assert marks.count() == 2 and page.locator(".labkit-plot .labkit-waiting").count() == 2
    fits, fails = (marks.nth(n).locator("path").first.get_attribute("d") for n in (0, 1))
    assert "a5,5" in fits and "a5,5" not in fails
    page.locator(".labkit-cell").first.hover()
    expect(page.locator(".labkit-tip")).to_contain_text("batch_size 8, length 64")
    expect(page.locator(".labkit-tip")).to_contain_text("estimate24.4 MiB")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    said = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert said.startswith("run 1, batch_size 17, length 128: outcome ✗ out of memory") and "estimate" in said
    page.keyboard.press("Enter")
    wait_for_chosen(page, 1)
    assert page.evaluate("window.chosen") == [2]


def test_a_frontier_goes_through_what_fits(show, map_page):
    page = show(map_page)
    line = page.locator(".labkit-plot .labkit-frontier").evaluate(
        "path => [path.getPointAtLength(0), path.getPointAtLength(1e6)].map((p) => [p.x, p.y])"
    )
    (left, top), (right, bottom) = (
        (float(cell.get_attribute("x")) + float(cell.get_attribute("width")) / 2, cell.get_attribute("y"))
        for cell in (page.locator(".labkit-cell").nth(4), page.locator(".labkit-cell").nth(3))
    )
    inside = float(page.locator(".labkit-inside").get_attribute("x"))
    assert [x + inside for x, _ in line] == pytest.approx([left, right], abs=1)
    assert line[0][1] < line[1][1]


def test_charts_become_narrower_with_their_page(show, lab_runs, map_page):
    for made in (records.step().to_html(), lab_page(lab_runs), map_page):
        page = show(made, (1440, 900))
        drawn = page.locator(".labkit-plot > svg").first
        before = drawn.get_attribute("width")
        page.set_viewport_size({"width": 1024, "height": 900})
        expect(drawn).not_to_have_attribute("width", before)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1024


CHANGING = """<!doctype html><html lang="en"><head><meta charset="utf-8">
    <style>:root { color-scheme: light dark }</style>
    <style>%s</style></head><body><main></main><script type="module">%s
    const state = { kind: "timelines", by: "category", data: "%s" }, called = {};
    const model = { get: (name) => state[name], on: (name, call) => { called[name] = call; }, off() {},
                    save_changes() {}, set(name, value) { state[name] = value; } };
    render({ model, el: document.querySelector("main") });
    window.change = (data) => { state.data = data; return called["change:data"](); };</script>"""


@pytest.mark.parametrize(("size", "scheme"), [((1024, 768), "light"), ((1280, 720), "dark")])
def test_the_timeline_of_a_chosen_trial_comes_changes_and_goes(show, size, scheme):
    data = [
        pages.pack(pages.timelines_data({label: timeline}))
        for label, timeline in (("batch_size 8", records.step()), ("batch_size 16", records.crash()))
    ]
    page = show(CHANGING % (pages.css(), pages.script(), data[0]), size, scheme)
    chart = page.locator(".labkit-timeline.labkit-live")
    expect(chart).to_contain_text("batch_size 8")
    page.evaluate("data => window.change(data)", data[1])
    expect(chart).to_contain_text("batch_size 16")
    expect(chart).to_have_count(1)
    looked = page.evaluate(LOOK)
    assert looked["faults"] == [] and looked["smallest"] >= SMALLEST_TEXT
    page.evaluate("window.change('')")
    expect(chart).to_have_count(0)
    page.evaluate("data => window.change(data)", data[0])
    expect(chart).to_contain_text("batch_size 8")
