// Timelines: stacked memory over the events of each, side by side on one scale.

const LAYERS = 8; // with a color of their own
const LEAST = 0.001; // of the peak: less is not seen, and has no place in the legend
const HELP = [
  "Point at a block to see what it is, or click for the table of that point in time.",
  "Drag, or turn the wheel on a chart that was clicked, to zoom in; double-click for all of it.",
  "Keys: ← → move in time, ↑ ↓ go from block to block, P to the peak, + and − zoom, 0 shows all, Esc closes.",
].join(" ");

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
    this.legend = element("ul", { class: "labkit-legend", "aria-label": "colors" });
    this.choice = element("div", { class: "labkit-choice", role: "group", "aria-label": "color by" }, "color by ");
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
      labels.forEach((label, n) => { if (curves[n].some((size) => size > LEAST * memory.peak)) seen.set(n, label); });
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
