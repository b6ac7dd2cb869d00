// Names, values and keys for what ipywidgets leaves without: sliders, and titles that fold.

function nameSlider(slider) {
  const name = slider.querySelector(".widget-label").textContent;
  const readout = slider.querySelector(".widget-readout");
  const handles = [...slider.querySelectorAll(".noUi-handle, .ui-slider-handle")]; // of ipywidgets 8, 7
  const ends = handles.length > 1 ? [", smallest", ", largest"] : [""];
  const say = () => handles.forEach((handle, n) => {
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-label", name + ends[n]);
    handle.setAttribute("aria-valuetext", readout.textContent);
  });
  new MutationObserver(say).observe(readout, { childList: true, characterData: true, subtree: true });
  say();
}

function nameFold(header) {
  const fold = header.parentElement;
  const say = () => header.setAttribute("aria-expanded", /Collapse-open/.test(fold.className));
  for (const [name, value] of [["role", "button"], ["tabindex", 0], ["data-lm-suppress-shortcuts", "true"]]) header.setAttribute(name, value);
  header.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    header.click();
  });
  new MutationObserver(say).observe(fold, { attributes: true, attributeFilter: ["class"] });
  say();
}

// Name what is in a lab's box, and what comes into it later.
function nameControls(box) {
  const named = new WeakSet();
  const name = () => {
    for (const [selector, action] of [[".widget-slider", nameSlider], ['[class*="Collapse-header"]', nameFold]]) {
      for (const one of box.querySelectorAll(selector)) {
        if (!named.has(one)) action(one);
        named.add(one);
      }
    }
  };
  let waiting = 0;
  new MutationObserver(() => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(name);
  }).observe(box, { childList: true, subtree: true });
  name();
}
