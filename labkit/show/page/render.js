// The door: a widget of anywidget, or a page of its own, hands over a model and the element to draw in.

// {data} packed by labkit.show.pages.pack: JSON, compressed, in base64.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

// The chart of timelines, drawn anew when the data change; without data there is none.
async function drawTimelines(model, el) {
  let chart = null;
  const close = () => chart && chart.close();
  const draw = async () => {
    const packed = model.get("data");
    const data = packed && (await unpacked(packed));
    if (packed !== model.get("data")) return; // another came meanwhile
    close();
    el.replaceChildren();
    chart = data && new TimelineChart(el, data, model.get("by"), model.get("alone"), (by) => {
      model.set("by", by);
      model.save_changes();
    });
  };
  await draw();
  model.on("change:data", draw);
  return {
    close: () => {
      close();
      model.off("change:data", draw);
    },
  };
}

// Tells the kernel in which page it is shown: after a reload it is another.
function sayPage(model) {
  window.labkitPage = window.labkitPage || Math.random().toString(36).slice(2);
  if (model.get("page") === window.labkitPage) return;
  model.set("page", window.labkitPage);
  model.save_changes();
}

// When the reader last did something. Who does is not moved to what is being filled.
let acted = 0;
for (const kind of ["pointerdown", "wheel", "keydown"]) {
  addEventListener(kind, () => { acted = performance.now(); }, { capture: true, passive: true });
}

// Bring the part of the lab that was filled at a time into view, when its pictures are there.
async function reveal(el, filled) {
  const box = el.closest(".labkit-box");
  const part = box && box.querySelector(".labkit-detail");
  if (!part) return;
  await new Promise((done) => setTimeout(done, 150));
  await Promise.all([...part.querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
  if (acted > filled) return;
  if (part.offsetHeight < window.innerHeight * 0.7) part.scrollIntoView({ block: "nearest" });
  else if (!isBegun(part)) part.scrollIntoView({ block: "start" });
}

// Whether the first line of a part is seen, in the upper half of the window.
function isBegun(part) {
  const { left, top } = part.getBoundingClientRect();
  return top < window.innerHeight / 2 && part.contains(document.elementFromPoint(left + 5, top + 5));
}

const KINDS = {
  timelines: drawTimelines,
  trials: (model, el) => drawTrials(TrialsChart, model, el),
  map: (model, el) => drawTrials(MapChart, model, el),
  none: (model, el) => frame(el, "none", () => {}), // its page's theme, and what is below it
};

async function render({ model, el }) {
  sayPage(model);
  let filled = 0;
  const revealed = () => {
    filled = performance.now();
    return reveal(el, filled);
  };
  const completed = () => reveal(el, filled);
  model.on("change:revealed", revealed);
  model.on("change:completed", completed);
  const chart = await KINDS[model.get("kind")](model, el);
  return () => {
    model.off("change:revealed", revealed);
    model.off("change:completed", completed);
    chart.close();
  };
}

// Draws where there is no kernel, from a state that has what a widget's model would have.
function renderAlone(el, state) {
  const set = (name, value) => { state[name] = value; };
  return render({ model: { get: (name) => state[name], set, save_changes() {}, on() {}, off() {} }, el });
}

export default { render };
