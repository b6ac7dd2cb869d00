// The blocks of one timeline, and what is computed from them. Nothing here touches the page.

class Memory {
  // data: what labkit.show.pages.timeline_data makes of a Timeline
  constructor(data) {
    Object.assign(this, data);
    this.blocks = this.bytes.length;
    this.isIdle = new Uint8Array(this.blocks);
    for (const i of this.idle) this.isIdle[i] = 1;
    this.total = this.sums(() => true);
    const idle = this.sums((i) => this.isIdle[i]);
    const most = this.total.reduce((a, b) => Math.max(a, b), 0);
    this.fullness = this.total.map((size, place) => size + (size - idle[place]) / (most + 1));
    this.findUnits();
    this.peakUnit = this.fullest(0, this.units.length);
    this.peak = this.total[this.units[this.peakUnit].place];
  }

  // Bytes in use after each event by the blocks for which `chosen(i)` is true.
  sums(chosen) {
    const change = new Float64Array(this.events + 1);
    for (let i = 0; i < this.blocks; i++) {
      if (!chosen(i)) continue;
      change[Math.max(0, this.begin[i])] += this.bytes[i];
      change[this.end[i]] -= this.bytes[i];
    }
    for (let place = 1; place < this.events; place++) change[place] += change[place - 1];
    return change.subarray(0, this.events);
  }

  // Units of the axis: each larger event begins one, and its fullest point in time stands for it.
  findUnits() {
    const starts = this.advances.length && this.advances[0] === 0 ? [...this.advances] : [0, ...this.advances];
    const first = this.advances[0] === 0 ? 1 : 0;
    this.units = starts.map((start, n) => {
      const end = n + 1 < starts.length ? starts[n + 1] : this.events;
      let place = start;
      for (let p = start; p < end; p++) if (this.fullness[p] > this.fullness[place]) place = p;
      return { x: n + first, place };
    });
    const last = this.units[this.units.length - 1].x;
    this.start = this.units[0].x;
    this.finish = last + Math.max(1, (this.refused ? 0.04 : 0.01) * last); // what is in use at the end has a width
  }

  // The unit with the most in use among those from `first` up to `last`.
  fullest(first, last) {
    let found = first;
    for (let n = first; n < last; n++) {
      if (this.fullness[this.units[n].place] > this.fullness[this.units[found].place]) found = n;
    }
    return found;
  }

  unitAt(x) {
    let low = 0;
    let high = this.units.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.units[middle].x <= x) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // Where a unit begins and ends on the axis.
  span(unit) {
    const next = this.units[unit + 1];
    return [this.units[unit].x, next ? next.x : this.finish];
  }

  // The units to draw between two places of the axis, at most `most`: of each interval the fullest.
  drawn(from, to, most) {
    const [first, last] = [this.unitAt(from), this.unitAt(to)];
    const count = last - first + 1;
    if (count <= most) return Array.from({ length: count }, (_, n) => first + n);
    const edges = Array.from({ length: most + 1 }, (_, n) => first + Math.floor((n * count) / most));
    return edges.slice(0, -1).map((edge, n) => this.fullest(edge, edges[n + 1]));
  }

  // Where a place in the order of events is on the axis.
  xOf(place) {
    let [low, high] = [0, this.advances.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.advances[middle] <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  isAlive(i, place) {
    return this.begin[i] <= place && this.end[i] > place;
  }

  alive(place) {
    const found = [];
    for (let i = 0; i < this.blocks; i++) if (this.isAlive(i, place)) found.push(i);
    return found.sort((a, b) => this.bytes[b] - this.bytes[a]);
  }

  at(place) {
    const phase = this.phases.find(([, from, to]) => from <= place && place < to);
    return `event ${formatNumber(place + 1)}${phase ? ` (${phase[0]})` : ""}`;
  }

  // [name, value] pairs that say what block `i` is.
  describe(i) {
    const asked = this.requested[i];
    const rounded = asked && asked !== this.bytes[i] ? `, asked for ${formatSize(asked)}` : "";
    return [
      ["layer", this.layerOf(i)],
      ["op", this.ops[this.op[i]]],
      ["shape", this.tensors[this.tensor[i]]],
      ["bytes", `${formatNumber(this.bytes[i])} (${formatSize(this.bytes[i])}${rounded})`],
      ["category", this.categoryOf(i)],
      ["lifetime", this.lifetime(i)],
    ];
  }

  lifetime(i) {
    const until = this.end[i] >= this.events ? "" : `to ${this.at(this.end[i])}`;
    if (this.begin[i] < 0) return until ? `from before ${until}` : "throughout";
    return `${this.at(this.begin[i])} ${until || "to the end"}`;
  }

  layerOf(i) {
    return this.layer[i] < 0 ? "" : this.layers[this.layer[i]];
  }

  categoryOf(i) {
    return this.isIdle[i] ? this.unused : this.categories[this.category[i]];
  }

  // Whether a block is in use at the fullest point in time of any unit: others are never drawn.
  isSeen(i) {
    let [low, high] = [0, this.units.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.units[middle].place < this.begin[i]) low = middle + 1;
      else high = middle;
    }
    return low < this.units.length && this.units[low].place < this.end[i];
  }

  // The blocks in groups: {labels, curves of their bytes after each event, order of the blocks in the stack}.
  // shown: the layers that get a group of their own, or null to group by category
  grouped(shown) {
    const labels = shown ? [...shown, this.others] : [...this.categories];
    const rest = labels.length - 1;
    const numbers = shown && this.layers.map((name) => (shown.includes(name) ? shown.indexOf(name) : rest));
    labels.push(this.unused);
    const group = new Uint16Array(this.blocks);
    for (let i = 0; i < this.blocks; i++) {
      const own = numbers ? (this.layer[i] < 0 ? rest : numbers[this.layer[i]]) : this.category[i];
      group[i] = this.isIdle[i] ? rest + 1 : own;
    }
    const order = Array.from({ length: this.blocks }, (_, i) => i).sort((a, b) => group[a] - group[b] || this.begin[a] - this.begin[b] || a - b);
    const curves = labels.map((_, n) => this.sums((i) => group[i] === n));
    return { labels, curves, order: order.filter((i) => this.isSeen(i)) };
  }

  // The blocks in use at a place, [block, bytes below it], from the bottom of the stack.
  stack(place, { order }) {
    const found = [];
    let below = 0;
    for (const i of order) {
      if (!this.isAlive(i, place)) continue;
      found.push([i, below]);
      below += this.bytes[i];
    }
    return found;
  }

  // Bytes of each layer at the peak.
  layersAtPeak() {
    const sizes = new Map();
    const { place } = this.units[this.peakUnit];
    for (let i = 0; i < this.blocks; i++) {
      if (this.layer[i] >= 0 && this.isAlive(i, place)) {
        const name = this.layers[this.layer[i]];
        sizes.set(name, (sizes.get(name) || 0) + this.bytes[i]);
      }
    }
    return sizes;
  }
}

// The layers that get a color of their own: the `most` largest at any of the peaks, in the model's order.
function largestLayers(memories, most) {
  const sizes = new Map();
  const order = [];
  for (const memory of memories) {
    for (const [name, size] of memory.layersAtPeak()) sizes.set(name, Math.max(size, sizes.get(name) || 0));
    for (const name of memory.layers) if (!order.includes(name)) order.push(name);
  }
  const largest = [...sizes.keys()].sort((a, b) => sizes.get(b) - sizes.get(a)).slice(0, most);
  return order.filter((name) => largest.includes(name));
}
