// A timeline to walk through: its plot, the table of what is in use, and how pointer and keyboard move in it.

const WIDE = 720; // pixels: from here on the table has a column for each fact
const ROWS = 10; // of the table, until more are asked for

class TimelinePane extends TimelineDrawing {
  constructor(memory, view) {
    super();
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
