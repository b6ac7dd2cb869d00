// The map of a lab over two parameters: predicted peaks as cells, the frontier of what fits, the trials beside it.

const CIRCLE = MARKS[0];
const ASIDE = 9; // pixels: trials that fit stand so far to the left of their value, those that do not to the right

// A function from a value to its place, 0 to 1.
function logarithmic(values) {
  const [low, high] = [values[0], values[values.length - 1]];
  return low === high ? () => 0.5 : (value) => Math.log(value / low) / Math.log(high / low);
}

// Borders of the cells around places in ascending order, 0 to 1, which they stretch beyond at both ends.
function bordersOf(places) {
  if (places.length < 2) return [0, 1];
  const middles = places.slice(1).map((place, n) => (place + places[n]) / 2);
  const last = places.length - 1;
  return [2 * places[0] - middles[0], ...middles, 2 * places[last] - middles[last - 1]];
}

class MapPanel extends TrialsPanel {
  draw() {
    const { root, data, height } = this.chart;
    const width = this.box.clientWidth;
    this.svg = shape("svg", { width, height, role: "group", "aria-label": `what fits ${formatSize(data.limit || 0)}: ${data.summary}` });
    this.box.replaceChildren(this.svg);
    this.labels = new Labels(this.svg, root, width, height);
    const { size } = this.labels;
    const [firsts, seconds] = data.ticks;
    const left = Math.max(...firsts.map((value) => this.labels.width(formatNumber(value)))) + 10;
    this.area = { left, right: width - 6, top: 1.8 * size, bottom: height - 2.9 * size };
    this.places = [logarithmic(firsts), logarithmic(seconds)];
    this.borders = data.ticks.map((values, n) => bordersOf(values.map(this.places[n])));
    this.frame();
    this.points = data.runs.flatMap((run, number) => run.trials.map((trial) => (
      { run: number, trial, failed: !trial.ok, x: this.x(trial.value[1]) + (trial.ok ? -ASIDE : ASIDE), y: this.y(trial.value[0]) })));
    data.cells.forEach((cell) => this.cell(cell));
    this.frontier();
    const spots = [...this.points, ...data.waiting.map(({ value }) => ({ x: this.x(value[1]), y: this.y(value[0]) }))];
    for (const { x, y } of spots) this.labels.reserve(x - 8, y - 8, x + 8, y + 8);
    this.names(data.cells);
    data.waiting.forEach((point) => this.waiting(point));
    this.points.forEach((point) => this.mark(point));
  }

  at(place, borders) {
    return (place - borders[0]) / (borders[borders.length - 1] - borders[0]);
  }

  x(second) {
    const { left, right } = this.area;
    return left + (right - left) * this.at(this.places[1](second), this.borders[1]);
  }

  y(first) {
    const { top, bottom } = this.area;
    return bottom - (bottom - top) * this.at(this.places[0](first), this.borders[0]);
  }

  frame() {
    const { labels } = this;
    const { left, right, top, bottom } = this.area;
    const { data } = this.chart;
    const [firsts, seconds] = data.ticks;
    const limit = data.limit ? ` · limit ${formatSize(data.limit)}` : " · choose a memory limit";
    const title = [{ x: 0, y: top - 0.8 * labels.size, anchor: "start" }];
    labels.write(`${data.over[0]}${limit}${data.cells.length ? " · cells: predicted peak" : ""}`, title, { "font-weight": 600 }) || labels.write(`${data.over[0]}${limit}`, title);
    this.svg.append(shape("rect", { class: "labkit-empty", x: left, y: top, width: right - left, height: bottom - top }));
    firsts.forEach((value) => labels.write(formatNumber(value), [{ x: left - 6, y: this.y(value) + 0.35 * labels.size, anchor: "end" }], { class: "labkit-tick" }));
    seconds.forEach((value) => labels.write(formatNumber(value), [{ x: this.x(value), y: bottom + 1.3 * labels.size, anchor: "middle" }], { class: "labkit-tick" }));
    labels.write(data.over[1], [{ x: (left + right) / 2, y: bottom + 2.6 * labels.size, anchor: "middle" }]);
  }

  // The rectangle around a value: {x, y, width, height}.
  around([first, second]) {
    const { left, right, top, bottom } = this.area;
    const [rows, columns] = this.borders;
    const [row, column] = [this.chart.data.ticks[0].indexOf(first), this.chart.data.ticks[1].indexOf(second)];
    const [x1, x2] = [column, column + 1].map((n) => left + (right - left) * this.at(columns[n], columns));
    const [y1, y2] = [row + 1, row].map((n) => bottom - (bottom - top) * this.at(rows[n], rows));
    return { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
  }

  cell(cell) {
    const { data, tip } = this.chart;
    const share = Math.min(1, cell.peak / data.limit);
    const fill = cell.fits ? data.colour : data.failure;
    const rect = shape("rect", { class: "labkit-cell", ...this.around(cell.value), fill, "fill-opacity": cell.fits ? (0.06 + 0.5 * share).toFixed(3) : 0.22 });
    rect.addEventListener("pointermove", (event) => tip.show(cell.name, cell.facts, event.clientX, event.clientY));
    rect.addEventListener("pointerleave", () => tip.hide());
    this.svg.append(rect);
  }

  names(cells) {
    for (const { value, peak, fits } of cells) {
      const { x, y, width, height } = this.around(value);
      const text = `${formatSize(peak)}${fits ? "" : " ✗"}`;
      if (this.labels.width(text) + 8 > width) continue;
      const places = [0.5, 0.85].map((share) => ({ x: x + width / 2, y: y + share * height + 0.35 * this.labels.size, anchor: "middle" }));
      this.labels.write(text, places, { class: "labkit-peak-of" });
    }
  }

  // A line through what is predicted to fit, inside the map only: an own SVG cuts it off.
  frontier() {
    const { left, right, top, bottom } = this.area;
    const points = this.chart.data.frontier.map(([first, second]) => first && `${this.x(second) - left},${this.y(first) - top}`);
    const path = points.map((point, n) => point && `${n && points[n - 1] ? "L" : "M"}${point}`).filter(Boolean).join("");
    const inside = shape("svg", { x: left, y: top, width: right - left, height: bottom - top, class: "labkit-inside" });
    inside.append(shape("path", { class: "labkit-frontier", d: path || "M0,0" }));
    this.svg.append(inside);
  }

  waiting(point) {
    const [x, y] = [this.x(point.value[1]), this.y(point.value[0])];
    const mark = shape("path", { class: "labkit-waiting", d: CIRCLE(x, y) });
    mark.addEventListener("pointerenter", (event) => this.chart.tip.show(point.name, point.facts, event.clientX, event.clientY, "Not run yet."));
    mark.addEventListener("pointerleave", () => this.chart.tip.hide());
    this.svg.append(mark);
  }
}

class MapChart extends TrialsChart {
  panelsOf() {
    return [new MapPanel(this, "peak", (trial) => trial.peak)];
  }

  // The signs of the map; the latest run is the one that it shows.
  kinds() {
    const { runs, failure, colour } = this.data;
    const last = Math.max(0, runs.length - 1);
    const small = (name, path, more = {}) => element("li", {}, shape("svg", { class: "labkit-sign", width: 18, height: 14, "aria-hidden": "true" }, shape("path", { ...more, d: path })), name);
    return [
      small("predicted frontier: what fits is below it", "M0,7h18", { class: "labkit-frontier" }),
      small("predicted, not run", CIRCLE(9, 7), { class: "labkit-waiting" }),
      small("run: it fits", markOf(last)(9, 7), { fill: runs.length ? runs[last].colour : colour }),
      small("run: it did not fit, or failed", CROSS(9, 7), { class: "labkit-fail", stroke: failure }),
    ];
  }

  heightFor(width) {
    return Math.round(Math.max(260, Math.min(420, 0.42 * width)));
  }

  legend() {
    super.legend();
    this.runs.prepend(element("li", {}, element("ul", { class: "labkit-legend" }, ...this.kinds())));
  }

  nameOf(run, trial) {
    return `run ${run + 1}, ${trial.name}`;
  }
}
