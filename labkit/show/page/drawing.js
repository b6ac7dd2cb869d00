// How a timeline is drawn in a pane: axes, stacked areas, blocks, the marks of peak, limit and refusal, the cursor.

const OUTLINED = 80; // blocks whose borders are drawn

// A subclass has: memory, view (the TimelineChart), plot (the element), range of the axis, unit (at the cursor),
// chosen (a block, or null).
class TimelineDrawing {
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
    this.pointed = shape("g", {}); // below the texts, so that they can be read
    this.svg.append(this.pointed);
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

  // The point in time and the chosen block.
  cursor() {
    this.pointed.replaceChildren();
    const x = this.middle(this.unit);
    if (x >= this.area.left - 1 && x <= this.area.right + 1) {
      this.pointed.append(shape("line", { class: "labkit-cursor", x1: x, x2: x, y1: this.area.top, y2: this.area.bottom }));
    }
    if (this.chosen !== null) this.pointed.append(shape("path", { class: "labkit-chosen", d: this.block(this.chosen) }));
  }
}
