// The chart of a lab: peak and samples per second of each trial against the parameter that is swept.

const NEAR = 11; // pixels between points that count as one on top of another
const MARKS = [
  (x, y) => `M${x - 5},${y}a5,5 0 1,0 10,0a5,5 0 1,0 -10,0`,
  (x, y) => `M${x - 5},${y - 5}h10v10h-10z`,
  (x, y) => `M${x},${y - 6}l6,6l-6,6l-6,-6z`,
  (x, y) => `M${x},${y - 6}l6,11h-12z`,
  (x, y) => `M${x - 2},${y - 6}h4v4h4v4h-4v4h-4v-4h-4v-4h4z`,
];
const SMALL_CROSS = (x, y) => `M${x - 4},${y - 4}l8,8m0,-8l-8,8`;
const CROSS = (x, y) => `M${x - 6},${y - 6}l12,12m0,-12l-12,12`;
// The mark of a run: another where the colors begin again.
const markOf = (run) => MARKS[(run + Math.floor(run / MARKS.length)) % MARKS.length];

// A function from a value to its place, 0 to 1; logarithmic if the values span a factor of 8.
function placeOf(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) return () => 0.5;
  if (low > 0 && high >= 8 * low) return (value) => Math.log(value / low) / Math.log(high / low);
  return (value) => (value - low) / (high - low);
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

class TrialsPanel {
  // heightOf: the number that is drawn of a trial, null for none
  constructor(chart, name, heightOf) {
    Object.assign(this, { chart, name, heightOf, box: element("div", { class: "labkit-plot" }) });
  }

  draw() {
    const width = this.box.clientWidth;
    const { root, data, height } = this.chart;
    this.svg = shape("svg", { width, height, role: "group", "aria-label": `${this.name}: ${data.summary}` });
    this.box.replaceChildren(this.svg);
    this.labels = new Labels(this.svg, root, width, height);
    const size = this.labels.size;
    this.scale();
    const names = this.ticks.map((tick) => formatNumber(tick / this.unit.bytes));
    const left = Math.max(0, ...names.map((name) => this.labels.width(name))) + 10;
    this.area = { left, right: width - 6, top: 1.8 * size, bottom: height - 2.9 * size };
    this.frame(names);
    this.collect();
    for (const { x, y } of this.points) this.labels.reserve(x - 6, y - 6, x + 6, y + 6);
    this.lines();
    this.limits();
    this.points.forEach((point) => this.mark(point));
    this.failures();
    if (!this.points.length && data.runs.length && this.name !== "peak") {
      const { left: from, right, top, bottom } = this.area;
      this.labels.write("no training steps to time", [{ x: (from + right) / 2, y: (top + bottom) / 2, anchor: "middle" }]);
    }
  }

  scale() {
    this.place = placeOf(this.chart.data.ticks);
    const { runs, limits } = this.chart.data;
    const heights = runs.flatMap((run) => run.trials.map((trial) => this.heightOf(trial) || 0));
    if (this.name === "peak") heights.push(...(limits.length ? limits : runs.flatMap((run) => run.predicted.map(([, size]) => size))));
    const most = Math.max(0, ...heights);
    this.unit = this.name === "peak" ? unitFor(most) : { name: "", bytes: 1 };
    this.top = 1.14 * most || 1;
    this.ticks = most ? roundSteps(this.top / this.unit.bytes).map((tick) => tick * this.unit.bytes) : [];
  }

  x(value) {
    const { left, right } = this.area;
    return left + (right - left) * (0.06 + 0.88 * this.place(value));
  }

  y(size) {
    const { top, bottom } = this.area;
    return bottom - ((bottom - top) * size) / this.top;
  }

  frame(names) {
    const { labels } = this;
    const { left, right, top, bottom } = this.area;
    labels.write(this.name === "peak" && this.ticks.length ? `peak, ${this.unit.name}` : this.name, [{ x: 0, y: top - 0.8 * labels.size, anchor: "start" }], { "font-weight": 600 });
    this.ticks.forEach((tick, n) => {
      const y = this.y(tick);
      this.svg.append(shape("line", { class: "labkit-grid", x1: left, x2: right, y1: y, y2: y }));
      labels.write(names[n], [{ x: left - 6, y: y + 0.35 * labels.size, anchor: "end" }], { class: "labkit-tick" });
    });
    const values = this.chart.data.ticks;
    for (const value of [values[0], values[values.length - 1], ...values.slice(1, -1)]) {
      labels.write(formatNumber(value), [{ x: this.x(value), y: bottom + 1.3 * labels.size, anchor: "middle" }], { class: "labkit-tick" });
    }
    labels.write(this.chart.data.over, [{ x: (left + right) / 2, y: bottom + 2.6 * labels.size, anchor: "middle" }]);
  }

  // The points of this panel: {run, trial, x, y, failed}.
  collect() {
    this.points = this.chart.data.runs.flatMap((run, number) => run.trials.flatMap((trial) => {
      const failed = !trial.ok;
      if (failed && this.name !== "peak") return [];
      const height = failed ? trial.limit || trial.peak || 0 : this.heightOf(trial);
      return height === null || height === undefined ? [] : [{ run: number, trial, failed, x: this.x(trial.value), y: this.y(height) }];
    }));
  }

  lines() {
    this.chart.data.runs.forEach((run, number) => {
      const fits = this.points.filter((point) => point.run === number && !point.failed);
      const values = [...new Set(fits.map((point) => point.x))].sort((a, b) => a - b);
      const path = values.map((x) => [x, median(fits.filter((point) => point.x === x).map((point) => point.y))]);
      this.line(path, "labkit-run", run.colour);
      if (this.name !== "peak") return;
      const places = run.predicted.map(([value, size]) => [this.x(value), this.y(size)]);
      this.line(this.upTo(places), "labkit-estimate", run.colour);
      places.filter(([, y], n) => run.tooLarge.includes(run.predicted[n][0]) && y >= this.area.top).forEach(([x, y]) => {
        this.svg.append(shape("path", { class: "labkit-too-large", stroke: run.colour, d: SMALL_CROSS(x, y) }));
        this.labels.avoid([[x - 4, y - 4], [x + 4, y + 4]]);
      });
    });
  }

  line(points, kind, colour) {
    if (points.length < 2) return;
    this.svg.append(shape("path", { class: kind, stroke: colour, d: `M${points.join("L")}` }));
    this.labels.avoid(points);
  }

  // The points of a line up to where it leaves the panel at its top.
  upTo(points) {
    const { top } = this.area;
    const out = points.findIndex(([, y]) => y < top);
    if (out < 0) return points;
    if (out === 0) return [];
    const [[x1, y1], [x2, y2]] = [points[out - 1], points[out]];
    return [...points.slice(0, out), [x1 + ((x2 - x1) * (y1 - top)) / (y1 - y2), top]];
  }

  limits() {
    if (this.name !== "peak") return;
    const { left, right } = this.area;
    const lines = this.chart.data.limits.map((limit) => [limit, this.y(limit)]);
    for (const [, y] of lines) {
      this.svg.append(shape("line", { class: "labkit-limit", x1: left, x2: right, y1: y, y2: y }));
      this.labels.reserve(left, y - 1, right, y + 1);
    }
    for (const [limit, y] of lines) {
      this.labels.write(`limit ${formatSize(limit)}`, besideLine(y, left, right, this.labels.size), { class: "labkit-note" });
    }
  }

  // How a trial ended beside its cross, where there is room: the tooltip says it in any case.
  failures() {
    const { size } = this.labels;
    const failed = this.points.filter((point) => point.failed);
    const alike = (one, other) => Math.hypot(one.x - other.x, one.y - other.y) < NEAR && one.trial.ended === other.trial.ended;
    for (const { x, y, trial } of failed.filter((one, n) => failed.findIndex((other) => alike(one, other)) === n)) {
      const places = [1.6, 2.8, 4, -0.9, -2.1].flatMap((lines) => [
        { x: x - 4, y: y + lines * size, anchor: "end" }, { x: x + 4, y: y + lines * size, anchor: "start" }]);
      this.labels.write(trial.ended, places, { class: "labkit-note" });
    }
  }

  mark({ run, trial, x, y, failed }) {
    const { chart } = this;
    const main = this.name === "peak" || trial.peak === null;
    const colour = failed ? chart.data.failure : chart.data.runs[run].colour;
    const path = failed ? shape("path", { class: "labkit-fail", stroke: colour, d: CROSS(x, y) }) : shape("path", { fill: colour, d: markOf(run)(x, y) });
    const ring = trial.index === chart.chosen ? shape("circle", { class: "labkit-ring", cx: x, cy: y, r: 10 }) : null;
    const target = shape("circle", { cx: x, cy: y, r: 12, fill: "transparent" });
    const tab = trial.index === chart.entry() ? 0 : -1;
    const group = shape("g", {
      class: "labkit-point", "data-trial": trial.index, ...(main ? { role: "button", tabindex: tab, "aria-label": chart.told(run, trial) } : { "aria-hidden": "true" }),
    }, target, path, ring);
    group.addEventListener("pointerenter", (event) => this.tell([run, trial], event.clientX, event.clientY, [x, y]));
    group.addEventListener("pointerleave", () => chart.tip.hide());
    group.addEventListener("click", () => chart.choose(this.next([x, y], trial)));
    if (main) {
      group.addEventListener("focus", () => {
        const box = group.getBoundingClientRect();
        if (group.matches(":focus-visible")) this.tell([run, trial], box.right, box.bottom, [x, y]);
      });
      group.addEventListener("blur", () => chart.tip.hide());
      group.addEventListener("keydown", (event) => chart.key(event, trial));
    }
    this.svg.append(group);
  }

  // The trials whose points lie at a place.
  near([x, y]) {
    return this.points.filter((point) => Math.hypot(point.x - x, point.y - y) < NEAR);
  }

  // Of several trials at one place, the one after the one that is chosen.
  next(place, trial) {
    const here = this.near(place).map((point) => point.trial.index).sort((a, b) => a - b);
    const now = here.indexOf(this.chart.chosen);
    return now < 0 ? trial.index : here[(now + 1) % here.length];
  }

  tell([run, trial], clientX, clientY, place) {
    const here = this.near(place);
    const others = here.filter((point) => point.trial !== trial).map((point) => this.chart.nameOf(point.run, point.trial));
    const note = others.length ? `Also here: ${others.join("; ")}. A click shows one after another.` : "A click shows its details.";
    this.chart.tip.show(this.chart.nameOf(run, trial), trial.facts, clientX, clientY, note);
  }
}

class TrialsChart {
  // select: called with the index of a trial that is clicked
  constructor(el, data, chosen, select) {
    Object.assign(this, { data, chosen, select });
    this.el = el;
    const { root, redraw, close } = frame(el, "trials", () => this.draw());
    Object.assign(this, { root, redraw, close });
    this.panels = this.panelsOf();
    this.root.classList.toggle("labkit-single", this.panels.length === 1);
    this.runs = element("ul", { class: "labkit-runs", "aria-label": "runs" });
    this.common = element("p", { class: "labkit-common" });
    this.root.append(element("div", { class: "labkit-panels" }, ...this.panels.map((panel) => panel.box)), this.runs, this.common);
    this.tip = new Tip(this.root);
  }

  panelsOf() {
    return [
      new TrialsPanel(this, "peak", (trial) => trial.peak),
      new TrialsPanel(this, "samples per second", (trial) => trial.speed),
    ];
  }

  update(data, chosen) {
    Object.assign(this, { data, chosen });
    this.redraw();
  }

  draw() {
    const focused = this.root.contains(document.activeElement) && document.activeElement.dataset.trial;
    const width = this.root.clientWidth;
    this.height = this.heightFor(width);
    this.root.classList.toggle("labkit-narrow", width < 600);
    this.panels.forEach((panel) => panel.draw());
    this.legend();
    if (focused) this.focus(Number(focused));
  }

  heightFor(width) {
    return Math.round(Math.max(210, Math.min(310, 0.36 * width)));
  }

  legend() {
    this.runs.replaceChildren(...this.data.runs.map((run, number) => {
      const mark = shape("svg", { width: 14, height: 14, "aria-hidden": "true" }, shape("path", { fill: run.colour, d: markOf(number)(7, 7) }));
      return element("li", {}, mark, element("span", {}, `run ${number + 1}: `, element("b", {}, run.result), run.text));
    }));
    const crosses = this.root.querySelector(".labkit-too-large") ? ["small ✗: estimated not to fit"] : [];
    this.common.textContent = [this.data.common, ...crosses].filter(Boolean).join(" · ");
  }

  all() {
    return this.data.runs.flatMap((run, number) => run.trials.map((trial) => [number, trial]));
  }

  // The trial that the Tab key comes to.
  entry() {
    const drawn = this.all().map(([, trial]) => trial.index);
    return drawn.includes(this.chosen) ? this.chosen : drawn[0];
  }

  nameOf(run, trial) {
    return `run ${run + 1}, ${this.data.over} ${formatNumber(trial.value)}`;
  }

  told(run, trial) {
    return `${this.nameOf(run, trial)}: ${trial.facts.filter(([, value]) => value).map((pair) => pair.join(" ")).join(", ")}`;
  }

  focus(index) {
    const point = this.root.querySelector(`[role=button][data-trial="${index}"]`);
    if (point) point.focus();
  }

  key(event, trial) {
    const order = this.all().map(([, one]) => one.index);
    const now = order.indexOf(trial.index);
    const to = { ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1, Home: 0, End: order.length - 1 }[event.key];
    if (to === undefined && event.key !== "Enter" && event.key !== " " && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Escape") this.tip.hide();
    else if (to === undefined) this.choose(trial.index);
    else this.focus(order[Math.max(0, Math.min(order.length - 1, to))]);
  }

  choose(index) {
    this.chosen = index;
    this.redraw();
    this.select(index);
  }
}

function drawTrials(Kind, model, el) {
  const now = () => [model.get("data"), model.get("chosen")];
  const chart = new Kind(el, ...now(), (index) => {
    model.set("chosen", index);
    model.save_changes();
  });
  const update = () => chart.update(...now());
  model.on("change:data", update);
  model.on("change:chosen", update);
  const { close } = chart;
  chart.close = () => {
    close();
    model.off("change:data", update);
    model.off("change:chosen", update);
  };
  return chart;
}
