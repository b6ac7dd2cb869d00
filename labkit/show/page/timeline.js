// Timelines: stacked memory over the events of each, side by side on one scale, with what is in use at a point.

const WIDE = 720; // pixels: from here on the table has a column for each fact
const ROWS = 10; // of the table, until more are asked for
const LAYERS = 8; // with a colour of their own
const OUTLINED = 80; // blocks whose borders are drawn
const HELP =
  "Point at a block to see what it is; click for the table of that point in time. Drag, or turn the wheel on a chart that was clicked, to zoom; double-click for all of it. " +
  "Keys: ← → move in time, ↑ ↓ go from block to block, P to the peak, + and − zoom, 0 shows all, Esc closes.";

class TimelinePane {
  constructor(memory, view) {
    this.memory = memory;
    this.view = view;
    this.unit = memory.peakUnit;
    this.range = [memory.start, memory.finish];
    this.chosen = null;
    this.rows = ROWS;
    this.build();
  }

  build() {
    this.plot = element("div", {
      class: "labkit-plot", tabindex: 0, role: "slider", "aria-label": `${this.memory.label} point in time`.trim(),
      "aria-valuemin": 0, "aria-valuemax": this.memory.units.length - 1, "data-lm-suppress-shortcuts": "true",
    });
    const button = (text, title, action) => {
      const made = element("button", { type: "button", title }, text);
      made.addEventListener("click", action);
      return made;
    };
    const buttons = element("div", { class: "labkit-tools" },
      button("Peak", "Go to the peak", () => this.toPeak()),
      button("Zoom in", "Show less of the time, larger", () => this.zoom(0.5)),
      button("Zoom out", "Show more of the time", () => this.zoom(2)),
      button("All", "Show all of the time", () => this.show(this.memory.start, this.memory.finish)));
    this.said = element("p", { class: "labkit-in-use" });
    this.table = element("div", { class: "labkit-table" });
    this.box = element("section", { class: "labkit-pane", "aria-label": this.memory.label || "timeline" },
      this.view.titled ? null : element("h4", {}, this.memory.headline), this.plot, buttons, this.said, this.table);
    this.listen();
  }

  // Drawing

  draw() {
    const [width, height] = [this.plot.clientWidth, this.view.height(this.plot.clientWidth)];
    if (width < 60) return;
    this.svg = shape("svg", { width, height, "aria-hidden": "true" });
    this.plot.replaceChildren(this.svg);
    const labels = new Labels(this.svg, this.view.root, width, height);
    this.labels = labels;
    const { ticks, unit } = this.view.scale();
    const names = ticks.map((tick) => formatNumber(tick / unit.bytes));
    const left = Math.max(...names.map((name) => labels.width(name)), labels.width(unit.name)) + 10;
    this.area = { left, right: width - 6, top: 1.7 * labels.size, bottom: height - 2.9 * labels.size };
    this.drawn = this.columns();
    this.frame(labels, ticks, names, unit);
    this.areas();
    this.outlines();
    this.marks(labels);
    this.cursor();
    this.readout();
  }

  x(at) {
    const { left, right } = this.area;
    return left + ((right - left) * (at - this.range[0])) / (this.range[1] - this.range[0]);
  }

  // Where a unit is marked: in its middle, if it is narrow.
  middle(unit) {
    const [from, to] = this.memory.span(unit).map((at) => this.x(at));
    return Math.min((from + to) / 2, from + 6);
  }

  y(size) {
    const { top, bottom } = this.area;
    return bottom - ((bottom - top) * size) / this.view.top;
  }

  frame(labels, ticks, names, unit) {
    const { left, right, top, bottom } = this.area;
    ticks.forEach((tick, n) => {
      const y = this.y(tick);
      this.svg.append(shape("line", { class: "labkit-grid", x1: left, x2: right, y1: y, y2: y }));
      labels.write(names[n], [{ x: left - 6, y: y + 0.35 * labels.size, anchor: "end" }], { class: "labkit-tick" });
    });
    labels.write(unit.name, [{ x: left - 6, y: top - 0.6 * labels.size, anchor: "end" }]);
    for (const [name, from, to] of this.memory.phases) {
      const [x1, x2] = [this.memory.xOf(from), this.memory.xOf(to)].map((at) => this.x(at));
      if (x2 < left || x1 > right) continue;
      if (x1 > left + 1) this.svg.append(shape("line", { class: "labkit-step", x1, x2: x1, y1: top, y2: bottom + 6 }));
      const middle = (Math.max(left, x1) + Math.min(right, x2)) / 2;
      if (Math.min(right, x2) - Math.max(left, x1) > labels.width(name)) {
        labels.write(name, [{ x: middle, y: bottom + 1.2 * labels.size, anchor: "middle" }]);
      }
    }
    const words = ["allocations and deallocations in the order of events", "allocations and deallocations, in order", "events in order"];
    const text = words.find((one) => labels.width(one) < right - left) || "events";
    labels.write(text, [{ x: (left + right) / 2, y: bottom + 2.5 * labels.size, anchor: "middle" }], { class: "labkit-axis" });
  }

  // [x1, x2, place, unit] of what is drawn, from left to right.
  columns() {
    const { memory, range } = this;
    const units = memory.drawn(range[0], range[1], Math.max(50, Math.floor(this.area.right - this.area.left)));
    const { left, right } = this.area;
    return units.map((unit, n) => {
      const from = this.x(memory.units[unit].x);
      const to = n + 1 < units.length ? this.x(memory.units[units[n + 1]].x) : this.x(memory.span(unit)[1]);
      return [Math.max(left, from), Math.min(right, to), memory.units[unit].place, unit];
    });
  }

  // The path around [x1, x2, lower size, upper size] from left to right.
  outline(parts) {
    const upper = [];
    const lower = [];
    for (const [x1, x2, low, high] of parts) {
      const [y1, y2] = [this.y(high).toFixed(1), this.y(low).toFixed(1)];
      upper.push(`${x1.toFixed(1)},${y1}`, `${x2.toFixed(1)},${y1}`);
      lower.push(`${x1.toFixed(1)},${y2}`, `${x2.toFixed(1)},${y2}`);
    }
    return parts.length ? `M${upper.join("L")}L${lower.reverse().join("L")}Z` : "M0,0";
  }

  areas() {
    const { labels, curves } = this.grouped();
    const below = new Float64Array(this.drawn.length);
    labels.forEach((label, n) => {
      const parts = this.drawn.map(([x1, x2, place], at) => [x1, x2, below[at], (below[at] += curves[n][place])]);
      if (parts.some(([, , low, high]) => high > low)) {
        this.svg.append(shape("path", { class: "labkit-area", "data-label": label, fill: this.view.colour(label, n), d: this.outline(parts) }));
      }
    });
    const top = this.drawn.map(([x1, x2], at) => `${x1.toFixed(1)},${this.y(below[at]).toFixed(1)}L${x2.toFixed(1)},${this.y(below[at]).toFixed(1)}`);
    this.svg.append(shape("path", { class: "labkit-total", d: `M${top.join("L")}` }));
  }

  grouped() {
    return this.view.groupedOf(this.memory);
  }

  // The borders of the blocks that take most room in the picture.
  outlines() {
    const { memory } = this;
    const smallest = (4 * this.view.top) / (this.area.bottom - this.area.top);
    const rooms = new Map();
    const stacks = this.drawn.map(([x1, x2, place]) => {
      const stack = memory.stack(place, this.grouped()).filter(([i]) => memory.bytes[i] >= smallest);
      for (const [i] of stack) rooms.set(i, (rooms.get(i) || 0) + (x2 - x1) * memory.bytes[i]);
      return stack;
    });
    const largest = [...rooms.keys()].sort((a, b) => rooms.get(b) - rooms.get(a)).slice(0, OUTLINED);
    const parts = new Map(largest.map((i) => [i, []]));
    this.drawn.forEach(([x1, x2], at) => {
      for (const [i, low] of stacks[at]) if (parts.has(i)) parts.get(i).push([x1, x2, low, low + memory.bytes[i]]);
    });
    const borders = [...parts.values()].map((one) => shape("path", { d: this.outline(one) }));
    this.svg.append(shape("g", { class: "labkit-blocks" }, ...borders));
  }

  // The path around block `i`.
  block(i) {
    const parts = this.drawn.filter(([, , place]) => this.memory.isAlive(i, place)).map(([x1, x2, place]) => {
      const entry = this.memory.stack(place, this.grouped()).find(([one]) => one === i);
      return [x1, x2, entry[1], entry[1] + this.memory.bytes[i]];
    });
    return this.outline(parts);
  }

  marks(labels) {
    const { memory, area } = this;
    const { left, right, top } = area;
    if (memory.refused) this.refusal(labels);
    const x = this.middle(memory.peakUnit);
    if (memory.limit && memory.limit <= this.view.top) {
      const y = this.y(memory.limit);
      this.svg.append(shape("line", { class: "labkit-limit", x1: left, x2: right, y1: y, y2: y }));
      labels.reserve(left, y - 1, right, y + 1);
    }
    if (x >= left - 1 && x <= right + 1) {
      const y = this.y(memory.peak);
      const [near, far] = [Math.min(right, Math.max(left, x)), 0.6 * labels.size];
      this.svg.append(shape("path", { class: "labkit-peak", d: `M${x},${y - 1}l-5,-9h10z` }));
      labels.reserve(x - 5, y - 10, x + 5, y);
      const text = `peak ${formatSize(memory.peak)}`;
      const places = [-far / 3, -far - 8, far + 4, 2.6 * far].flatMap((up) => [
        { x: near - 10, y: y + up, anchor: "end" }, { x: near + 10, y: y + up, anchor: "start" }]);
      labels.write(text, places, { class: "labkit-note", "font-weight": 600 });
    }
    if (memory.limit) {
      const above = memory.limit > this.view.top;
      const text = `limit ${formatSize(memory.limit)}${above ? ", above this chart" : ""}`;
      const y = above ? top - 0.6 * labels.size : this.y(memory.limit);
      const places = above ? [{ x: right, y, anchor: "end" }, { x: left + 4, y, anchor: "start" }] : besideLine(y, left, right, labels.size);
      labels.write(text, places, { class: "labkit-note" });
    }
  }

  // What was asked for and refused, on top of what is in use at the end.
  refusal(labels) {
    const { memory, area } = this;
    const last = memory.units.length - 1;
    const [from, to] = memory.span(last).map((at) => this.x(at));
    if (from > area.right) return;
    const inUse = memory.total[memory.events - 1];
    const [y1, y2] = [this.y(inUse + memory.refused), this.y(inUse)];
    const x1 = Math.max(area.left, from);
    this.svg.append(shape("rect", { class: "labkit-refused", x: x1, y: y1, width: Math.max(4, Math.min(area.right, to) - x1), height: y2 - y1, fill: `url(#${this.view.hatch})` }));
    labels.reserve(x1, y1, area.right, y2);
    const text = `refused: ${formatSize(memory.refused)}`;
    labels.write(text, [
      { x: area.right, y: y1 - 5, anchor: "end" }, { x: x1 - 6, y: y1 + labels.size, anchor: "end" },
      { x: x1 - 6, y: (y1 + y2) / 2, anchor: "end" }, { x: x1 - 6, y: y2 - 4, anchor: "end" }], { class: "labkit-note" });
  }

  // The point in time and the chosen block, on top of all else.
  cursor() {
    this.svg.querySelectorAll(".labkit-cursor, .labkit-chosen").forEach((one) => one.remove());
    const x = this.middle(this.unit);
    if (x >= this.area.left - 1 && x <= this.area.right + 1) {
      this.svg.append(shape("line", { class: "labkit-cursor", x1: x, x2: x, y1: this.area.top, y2: this.area.bottom }));
    }
    if (this.chosen !== null) this.svg.append(shape("path", { class: "labkit-chosen", d: this.block(this.chosen) }));
  }

  get place() {
    return this.memory.units[this.unit].place;
  }

  readout() {
    const { memory, place } = this;
    const total = formatSize(memory.total[place]);
    const where = `${this.unit === memory.peakUnit ? "At the peak, " : "At "}${memory.at(place)} of ${formatNumber(memory.events)}`;
    this.plot.setAttribute("aria-valuenow", this.unit);
    this.plot.setAttribute("aria-valuetext", `${where}, ${total} in use`);
    const alive = memory.alive(place);
    const rows = alive.slice(0, this.rows);
    const more = rows.length < alive.length ? `, the ${rows.length} largest of ${formatNumber(alive.length)} blocks` : "";
    this.said.replaceChildren(`${where}: `, element("b", {}, total), ` in use${more}.`);
    const columns = this.plot.clientWidth < WIDE ? ["bytes", "block"] : ["bytes", "category", "layer", "shape", "op", "lifetime"];
    const head = element("tr", {}, ...columns.map((name) => element("th", { scope: "col", class: `labkit-${name}` }, name)));
    const body = rows.map((i) => {
      const row = element("tr", { "data-block": i }, ...columns.map((name) => this.cell(i, name)));
      row.addEventListener("pointerenter", () => this.choose(i));
      row.addEventListener("pointerleave", () => this.choose(null));
      return row;
    });
    const caption = element("caption", { class: "labkit-hidden" }, `What is in use, ${this.memory.label}`);
    this.table.replaceChildren(element("table", {}, caption, element("thead", {}, head), element("tbody", {}, ...body)));
    if (rows.length < alive.length) {
      const more = element("button", { type: "button" }, `Show more of the ${formatNumber(alive.length)} blocks`);
      more.addEventListener("click", () => { this.rows *= 4; this.readout(); });
      this.table.append(more);
    }
  }

  // A cell of the table; "block" holds all but the bytes, where there is no room for columns.
  cell(i, name) {
    const facts = { ...Object.fromEntries(this.memory.describe(i)), bytes: formatSize(this.memory.bytes[i]) };
    if (name !== "block") return element("td", { class: `labkit-${name}` }, facts[name]);
    const line = (...names) => element("div", {}, names.map((one) => facts[one]).filter((fact) => fact).join(" · "));
    return element("td", {}, line("category", "layer", "shape"), line("op", "lifetime"));
  }

  // Moving

  move(unit) {
    const { memory } = this;
    this.unit = Math.max(0, Math.min(memory.units.length - 1, unit));
    const [from, to] = memory.span(this.unit);
    const [a, b] = this.range;
    if (from < a || from >= b) {
      const middle = (from + Math.min(to, from + 1)) / 2;
      this.show(middle - (b - a) / 2, middle + (b - a) / 2);
    } else if (this.svg) this.cursor();
    this.readout();
  }

  toPeak() {
    this.choose(null);
    this.move(this.memory.peakUnit);
  }

  // Show the axis from one place to another.
  show(from, to) {
    const { start, finish } = this.memory;
    const least = Math.min(4, finish - start);
    const width = Math.max(least, Math.min(finish - start, to - from));
    const middle = (from + to) / 2;
    const low = Math.max(start, Math.min(finish - width, middle - width / 2));
    this.range = [low, low + width];
    this.draw();
  }

  // Show `factor` of the range, around a place of the axis: without one, the cursor, if it is in view.
  zoom(factor, around) {
    const [a, b] = this.range;
    const [from, to] = this.memory.span(this.unit);
    const at = around !== undefined ? around : from >= a && from <= b ? (from + Math.min(to, b)) / 2 : (a + b) / 2;
    this.show(at - (at - a) * factor, at + (b - at) * factor);
  }

  choose(i) {
    this.chosen = i;
    if (this.svg) this.cursor();
    if (i === null) this.view.tip.hide();
  }

  // Choose a block and say what it is, beside a point of the page.
  tell(i, clientX, clientY, aloud) {
    this.choose(i);
    if (i === null) return;
    const pairs = this.memory.describe(i);
    const title = this.memory.layerOf(i) || this.memory.categoryOf(i);
    this.view.tip.show(title, pairs.filter(([name, value]) => value !== title), clientX, clientY);
    if (aloud) this.view.aloud.textContent = pairs.filter(([, value]) => value).map((pair) => pair.join(" ")).join("; ");
  }

  // Pointing

  // {at, unit, block}: the place of the axis, its unit and the block under a point of the page.
  under(event) {
    const box = this.plot.getBoundingClientRect();
    const { left, right, top, bottom } = this.area;
    const x = Math.max(left, Math.min(right - 0.01, event.clientX - box.left));
    const at = this.range[0] + ((x - left) / (right - left)) * (this.range[1] - this.range[0]);
    const column = this.drawn.find(([x1, x2]) => x >= x1 && x < x2);
    const unit = column ? column[3] : this.memory.unitAt(at);
    const size = ((bottom - (event.clientY - box.top)) / (bottom - top)) * this.view.top;
    const { place } = this.memory.units[unit];
    const found = size < 0 ? null : this.memory.stack(place, this.grouped()).find(([i, below]) => size >= below && size < below + this.memory.bytes[i]);
    return { at, unit, block: found ? found[0] : null };
  }

  listen() {
    const { plot } = this;
    let drag = null;
    plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.svg) return;
      drag = { from: event.clientX, at: this.under(event).at };
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener("pointermove", (event) => {
      if (!this.svg) return;
      const under = this.under(event);
      if (drag && Math.abs(event.clientX - drag.from) > 5) this.select(drag.at, under.at);
      else this.tell(under.block, event.clientX, event.clientY);
    });
    plot.addEventListener("pointerup", (event) => {
      if (!drag) return;
      const { from, at } = drag;
      drag = null;
      const under = this.under(event);
      if (Math.abs(event.clientX - from) > 5) this.show(Math.min(at, under.at), Math.max(at, under.at));
      else {
        this.move(under.unit);
        this.tell(under.block, event.clientX, event.clientY, true);
      }
    });
    plot.addEventListener("pointercancel", () => { drag = null; });
    plot.addEventListener("pointerleave", () => { if (!drag) this.choose(null); });
    plot.addEventListener("dblclick", () => this.show(this.memory.start, this.memory.finish));
    plot.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    plot.addEventListener("keydown", (event) => this.key(event));
    plot.addEventListener("blur", () => this.choose(null));
  }

  // Mark the part of the axis that a drag has covered so far.
  select(from, to) {
    this.svg.querySelectorAll(".labkit-selection").forEach((one) => one.remove());
    const [x1, x2] = [this.x(Math.min(from, to)), this.x(Math.max(from, to))];
    const { top, bottom } = this.area;
    this.svg.append(shape("rect", { class: "labkit-selection", x: x1, y: top, width: x2 - x1, height: bottom - top }));
  }

  // The wheel zooms; in a notebook only with Ctrl, or when the chart has the focus, so that the page still scrolls.
  wheel(event) {
    const wanted = this.view.alone || event.ctrlKey || event.metaKey || document.activeElement === this.plot;
    const [a, b] = this.range;
    const whole = b - a >= this.memory.finish - this.memory.start - 1e-9;
    if (!wanted || !this.svg || (whole && event.deltaY > 0)) return;
    event.preventDefault();
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (sideways) this.show(a + ((b - a) * event.deltaX) / 500, b + ((b - a) * event.deltaX) / 500);
    else this.zoom(2 ** (Math.sign(event.deltaY) * Math.min(1, Math.abs(event.deltaY) / 200)), this.under(event).at);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 10 : 1;
    const page = Math.max(10, Math.round(this.memory.units.length / 20));
    const actions = {
      ArrowLeft: () => this.stepTo(this.unit - step), ArrowRight: () => this.stepTo(this.unit + step),
      PageDown: () => this.stepTo(this.unit - page), PageUp: () => this.stepTo(this.unit + page),
      Home: () => this.stepTo(0), End: () => this.stepTo(this.memory.units.length - 1),
      ArrowUp: () => this.climb(1), ArrowDown: () => this.climb(-1), Escape: () => this.choose(null),
      p: () => this.toPeak(), "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
      0: () => this.show(this.memory.start, this.memory.finish),
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  stepTo(unit) {
    this.choose(null);
    this.move(unit);
  }

  // Choose the next block up or down the stack at the cursor, among those that can be seen.
  climb(by) {
    const pixel = this.view.top / (this.area.bottom - this.area.top);
    const stack = this.memory.stack(this.place, this.grouped());
    const visible = stack.filter(([i]) => this.memory.bytes[i] >= pixel);
    const blocks = visible.length ? visible : stack;
    if (!blocks.length) return;
    const now = blocks.findIndex(([i]) => i === this.chosen);
    const next = now < 0 ? (by > 0 ? 0 : blocks.length - 1) : Math.max(0, Math.min(blocks.length - 1, now + by));
    const [i, below] = blocks[next];
    const box = this.plot.getBoundingClientRect();
    this.tell(i, box.left + this.middle(this.unit), box.top + this.y(below + this.memory.bytes[i] / 2), true);
  }
}

class TimelineChart {
  // data: what labkit.show.pages.timelines_data makes; alone: whether it has a page of its own
  constructor(el, data, by, alone, recoloured) {
    this.alone = alone;
    this.by = by;
    this.recoloured = recoloured;
    this.data = data;
    this.titled = alone && data.timelines.length === 1; // the page's own title says the same
    this.memories = data.timelines.map((one) => new Memory({ ...one, categories: Object.keys(data.categories), others: data.others[0], unused: data.unused[0] }));
    this.layers = largestLayers(this.memories, LAYERS);
    this.groups = new Map();
    const { root, redraw, close } = frame(el, "timeline", () => this.draw());
    Object.assign(this, { root, redraw, close });
    this.build();
  }

  build() {
    this.legend = element("ul", { class: "labkit-legend", "aria-label": "colours" });
    this.choice = element("div", { class: "labkit-choice", role: "group", "aria-label": "colour by" }, "colour by ");
    for (const by of ["category", "layer"]) {
      const button = element("button", { type: "button", "aria-pressed": by === this.by }, by);
      button.addEventListener("click", () => this.recolour(by));
      this.choice.append(button);
    }
    this.panes = this.memories.map((memory) => new TimelinePane(memory, this));
    this.aloud = element("div", { class: "labkit-hidden", "aria-live": "polite" });
    this.hatch = `labkit-hatch-${Math.random().toString(36).slice(2)}`;
    this.root.append(element("div", { class: "labkit-head" }, this.choice, this.legend), hatch(this.hatch),
      element("div", { class: "labkit-panes" }, ...this.panes.map((pane) => pane.box)),
      element("p", { class: "labkit-help" }, HELP), this.aloud);
    this.tip = new Tip(this.root);
  }

  recolour(by) {
    this.by = by;
    this.choice.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", one.textContent === by));
    this.groups.clear();
    this.draw();
    this.recoloured(by);
  }

  groupedOf(memory) {
    if (!this.groups.has(memory)) this.groups.set(memory, memory.grouped(this.by === "layer" ? this.layers : null));
    return this.groups.get(memory);
  }

  colour(label, n) {
    const { labels } = this.groupedOf(this.memories[0]);
    if (n === labels.length - 1) return this.data.unused[1];
    if (this.by === "category") return this.data.categories[label];
    return n < this.layers.length ? this.data.layerColours[n] : this.data.others[1];
  }

  // The top of all panes in bytes: room for the highest peak, what was refused, and a limit that is near.
  get top() {
    let most = 1;
    for (const { peak, total, refused, events } of this.memories) most = Math.max(most, peak, total[events - 1] + (refused || 0));
    const near = this.memories.map(({ limit }) => limit).filter((limit) => limit && limit < 2 * most);
    return 1.12 * Math.max(most, ...near);
  }

  scale() {
    const unit = unitFor(this.top / 1.12);
    return { unit, ticks: roundSteps(this.top / unit.bytes).map((tick) => tick * unit.bytes) };
  }

  height(width) {
    return Math.round(Math.max(230, Math.min(360, 0.5 * width)));
  }

  draw() {
    this.panes.forEach((pane) => pane.draw());
    const seen = new Map();
    for (const memory of this.memories) {
      const { labels, curves } = this.groupedOf(memory);
      labels.forEach((label, n) => { if (curves[n].some((size) => size)) seen.set(n, label); });
    }
    const shown = [...seen.keys()].sort((a, b) => a - b);
    this.legend.replaceChildren(...shown.map((n) => {
      const swatch = element("span", { class: "labkit-swatch", style: `background:${this.colour(seen.get(n), n)}` });
      return element("li", {}, swatch, seen.get(n));
    }));
  }
}

function hatch(id) {
  const line = shape("path", { class: "labkit-hatching", d: "M-2,2l4,-4M0,8l8,-8M6,10l4,-4" });
  const pattern = shape("pattern", { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" }, line);
  return shape("svg", { width: 0, height: 0, "aria-hidden": "true", style: "position:absolute" }, shape("defs", {}, pattern));
}
