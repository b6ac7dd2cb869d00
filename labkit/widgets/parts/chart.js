// A click on a point of the chart selects its trial in the list of trials, as if it were selected there.
const point = event.target.closest("[data-trial]");
const list = this.closest(".labkit-box").querySelector(".labkit-pick select");
if (point) {
  list.selectedIndex = point.dataset.trial;
  list.dispatchEvent(new Event("change", { bubbles: true }));
}
