// The door: a widget of anywidget, or a page of its own, hands over a model and the element to draw in.

// {data} packed by labkit.show.pages.pack: JSON, compressed, in base64.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

async function drawTimelines(model, el) {
  const data = await unpacked(model.get("data"));
  return new TimelineChart(el, data, model.get("by"), model.get("alone"), (by) => {
    model.set("by", by);
    model.save_changes();
  });
}

// Tells the kernel in which page it is shown: after a reload it is another.
function sayPage(model) {
  window.labkitPage = window.labkitPage || Math.random().toString(36).slice(2);
  if (model.get("page") === window.labkitPage) return;
  model.set("page", window.labkitPage);
  model.save_changes();
}

async function render({ model, el }) {
  sayPage(model);
  const chart = await (model.get("kind") === "timelines" ? drawTimelines(model, el) : drawTrials(model, el));
  return () => chart.close();
}

export default { render };
