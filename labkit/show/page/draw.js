// What all charts share: elements, round numbers, labels that keep clear of each other, tooltips, themes.
// Text reaches the page as text nodes only, never as HTML: a layer may be called anything.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// A size in bytes to three significant digits, as labkit.format_size writes it.
function formatSize(size) {
  if (Math.abs(size) < 1024) return `${Math.round(size)} B`;
  let unit = 0;
  while (unit < UNITS.length - 1 && (unit === 0 || Math.abs(size) >= 999.5)) {
    size /= 1024;
    unit += 1;
  }
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.max(Math.abs(size), 1))));
  return `${size.toFixed(digits)} ${UNITS[unit]}`;
}

const formatNumber = (number) => number.toLocaleString("en", { maximumFractionDigits: 6 });

// {step, values}: round numbers from 0 to `top`, at most `most` steps.
function roundSteps(top, most = 6) {
  const power = 10 ** Math.floor(Math.log10(top / most));
  const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => top / s <= most);
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, n) => Number((n * step).toPrecision(12)));
}

// The largest unit of which `top` bytes are at least one, as {name, bytes}.
function unitFor(top) {
  const power = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, top)) / 10)));
  return { name: UNITS[power], bytes: 1024 ** power };
}

const fontOf = (node) => {
  const style = getComputedStyle(node);
  return { size: parseFloat(style.fontSize), name: `${style.fontSize} ${style.fontFamily}` };
};

// Writes texts into an SVG where they overlap neither each other nor its edges.
class Labels {
  constructor(svg, root, width, height) {
    const font = fontOf(root);
    this.svg = svg;
    this.size = font.size;
    this.edge = [width, height];
    this.taken = [];
    this.lines = []; // [x, y] along lines, which texts cross only where there is no other place
    this.context = document.createElement("canvas").getContext("2d");
    this.context.font = font.name;
  }

  width(text) {
    return this.context.measureText(text).width;
  }

  box(text, { x, y, anchor = "start" }, bold) {
    const width = this.width(text) * (bold ? 1.1 : 1.02);
    const left = x - { start: 0, middle: width / 2, end: width }[anchor];
    return [left, y - 0.8 * this.size, left + width, y + 0.25 * this.size];
  }

  free([left, top, right, bottom]) {
    if (left < -1 || top < -1 || right > this.edge[0] + 1 || bottom > this.edge[1] + 1) return false;
    return !this.taken.some((other) => left < other[2] + 3 && right + 3 > other[0] && top < other[3] && bottom > other[1]);
  }

  reserve(left, top, right, bottom) {
    this.taken.push([left, top, right, bottom]);
  }

  // Keep texts off the line through `points`.
  avoid(points) {
    points.slice(1).forEach(([x2, y2], n) => {
      const [x1, y1] = points[n];
      const steps = Math.ceil(Math.hypot(x2 - x1, y2 - y1) / 3) || 1;
      for (let k = 0; k <= steps; k++) this.lines.push([x1 + ((x2 - x1) * k) / steps, y1 + ((y2 - y1) * k) / steps]);
    });
  }

  isClear([left, top, right, bottom]) {
    return !this.lines.some(([x, y]) => x > left && x < right && y > top && y < bottom);
  }

  // Write `text` at the first of `places`, {x, y, anchor}, where there is room; false if there is none.
  write(text, places, attributes = {}) {
    const boxOf = (one) => this.box(text, one, attributes["font-weight"]);
    const free = places.filter((one) => this.free(boxOf(one)));
    const place = free.find((one) => this.isClear(boxOf(one))) || free[0];
    if (!place) return false;
    this.taken.push(boxOf(place));
    const at = { x: place.x.toFixed(1), y: place.y.toFixed(1), "text-anchor": place.anchor };
    this.svg.append(shape("text", { ...at, ...attributes }, text));
    return true;
  }
}

// Places for the label of a horizontal line: above it or below it, from the left, the right and between.
function besideLine(y, left, right, size) {
  const places = [];
  for (const share of [0, 1, 0.5, 0.25, 0.75]) {
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    const x = left + 4 + share * (right - left - 8);
    places.push({ x, y: y - 5, anchor }, { x, y: y + size + 2, anchor });
  }
  return places;
}

// A box beside a point of the chart: a title, aligned [name, value] pairs, and a note.
class Tip {
  constructor(root) {
    this.root = root;
    this.box = element("div", { class: "labkit-tip", role: "tooltip", hidden: "" });
    root.append(this.box);
  }

  show(title, pairs, clientX, clientY, note = "") {
    const list = element("div", { class: "labkit-facts" });
    for (const [name, value] of pairs) {
      if (value) list.append(element("span", {}, name), element("span", {}, value));
    }
    this.box.replaceChildren(element("b", {}, title), list, ...(note ? [element("small", {}, note)] : []));
    this.box.hidden = false;
    const frame = this.root.getBoundingClientRect();
    const [width, height] = [this.box.offsetWidth, this.box.offsetHeight];
    const x = clientX - frame.left;
    const y = clientY - frame.top;
    const left = x + 14 + width <= frame.width ? x + 14 : Math.max(0, x - 14 - width);
    const top = clientY + 14 + height <= window.innerHeight ? y + 14 : Math.max(-frame.top, y - 14 - height);
    Object.assign(this.box.style, { left: `${left}px`, top: `${top}px` });
  }

  hide() {
    this.box.hidden = true;
  }
}

function luminance(colour) {
  const [red, green, blue, alpha = 1] = (colour.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  return { alpha, light: (0.299 * red + 0.587 * green + 0.114 * blue) / 255 };
}

// Whether the page is dark where `node` stands: by the nearest background, or by the color of its text.
function isDark(node) {
  for (let one = node; one; one = one.parentElement) {
    const { alpha, light } = luminance(getComputedStyle(one).backgroundColor);
    if (alpha > 0.5) return light < 0.5;
  }
  if (luminance(getComputedStyle(node).color).light > 0.5) return true;
  const declared = getComputedStyle(document.documentElement).colorScheme;
  return declared.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches;
}

// An empty chart in `el`, which takes the page's theme and is drawn again when its width or the theme changes.
function frame(el, kind, draw) {
  const root = element("div", { class: `labkit-chart labkit-live labkit-${kind}`, "data-lm-suppress-shortcuts": "true" });
  el.replaceChildren(root);
  let waiting = 0;
  const redraw = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => root.clientWidth > 0 && draw());
  };
  const dress = () => {
    // JupyterLab's colors may be defined elsewhere too, by ipywidgets, as if every page were light.
    const themed = document.body.dataset.jpThemeLight !== undefined;
    root.dataset.theme = themed ? "jupyterlab" : isDark(el) ? "dark" : "light";
    const box = el.closest(".labkit-box");
    if (!box) return redraw();
    if (!box.dataset.theme) nameControls(box);
    box.dataset.theme = root.dataset.theme;
    redraw();
  };
  let width = 0;
  const sized = new ResizeObserver(() => {
    if (el.clientWidth === width) return; // drawing changes the height alone
    width = el.clientWidth;
    dress();
  });
  sized.observe(el);
  const watched = new MutationObserver(dress);
  for (const node of [document.documentElement, document.body]) watched.observe(node, { attributes: true });
  const preference = matchMedia("(prefers-color-scheme: dark)");
  preference.addEventListener("change", dress);
  dress();
  const close = () => {
    cancelAnimationFrame(waiting);
    sized.disconnect();
    watched.disconnect();
    preference.removeEventListener("change", dress);
  };
  return { root, redraw, close };
}
