"""Timeline: the memory of a trial, allocation by allocation, by layer and by category.

It is made from the record that labkit.trace reads; it needs no TensorFlow and knows nothing of processes.
"""

import collections
import re
from dataclasses import dataclass

import numpy as np

from .diagnose import layer_of
from .unfold import of_block, unfold

CATEGORIES = ("weights", "optimizer", "gradients", "activations", "inputs", "workspace", "other")
ROUNDED = 0.005  # XLA says its size in three digits
HELD = "(held before the record began)"
_BACKWARD = re.compile(r"gradient_tape/|^gradients/|(Grad|Backprop)[A-Za-z0-9]*(_\d+)?$")
_FUNCTION = re.compile(r"^(__inference_|__forward_|__backward_)")


@dataclass(frozen=True)
class Row:
    """One allocation: `bytes` as the allocator gave them, of which `requested_bytes` were asked for.

    `op` is the op that asked, or the path of the variable that it holds; `layer` is None where there is none.
    """

    layer: str | None
    op: str
    category: str
    shape: str
    dtype: str
    bytes: int
    requested_bytes: int


class Timeline:
    """Every allocation and deallocation of the device's allocator during a trial, to the byte.

    How an allocation gets its category:

    weights, optimizer   it holds a variable of a model, or of an optimizer (its slots), by its address
    gradients            the output of an op of the backward pass
    activations          the output of an op of the forward pass that is still there when the backward
                         pass begins, so it was kept for it; without a backward pass, every such output
    inputs               what comes from Python (arrays, batches) and from tf.data
    workspace            what passes: an op's scratch memory, outputs of the forward pass that are freed
                         before the backward pass, the optimizer's intermediate results
    other                what was held before the record began, metrics, handles

    A step that XLA compiled takes one block for all that is in it. It is shown divided, as XLA planned it: a
    result of the forward pass is an activation where an op of the backward pass, or the optimizer, needs it;
    XLA's own scratch, and what is idle in the block for the moment, is workspace.

    The layer is the one whose name scope the op ran in, by the name that `model.summary()` prints.
    Ops that run eagerly carry no scope: they have no layer.
    """

    def __init__(self, record, limit=None, refused_bytes=None):
        """record: of labkit.trace; limit, refused_bytes: the memory limit and the failed request, or None."""
        self.limit_bytes, self.refused_bytes = limit, refused_bytes
        self.record, self._shown = record, unfold(record)
        columns = self._shown["allocations"]
        self._begin, self._end = columns["begin"], columns["end"]
        self._bytes, self._requested = columns["bytes"], columns["requested"]
        self._events = self._shown["events"]
        self._end = np.where(self._end < 0, self._events, self._end)
        self._held = max(0, record["held"] - int(self._bytes[self._begin < 0].sum()))
        self._find_variables()
        self._find_layers()
        self._find_categories()

    @property
    def steps(self):
        """Places in the order of events at which training steps ended."""
        return list(self._shown["steps"])

    @property
    def events(self):
        """How many allocations and deallocations there are."""
        return self._events

    @property
    def peak_bytes(self):
        """The most in use at once, by the allocator's own measure."""
        return int(self.total().max())

    @property
    def peak_at(self):
        """The place of the peak in the order of events; of several, that where most of it is in use."""
        return int(self.fullness().argmax())

    def total(self):
        """Bytes in use after each event, an array."""
        return self._held + self._sums(np.ones(len(self._bytes), dtype=bool))

    def filled(self):
        """Bytes in use after each event but for what is idle in the blocks of compiled steps, an array."""
        return self.total() - self._sums(self._shown["allocations"]["idle"].astype(bool))

    def fullness(self):
        """An array to find the fullest moments by: the total, and where that is the same, what is filled."""
        total = self.total()
        return total + self.filled() / (total.max() + 1)

    def alive(self, place):
        """Rows of what is in use just after the event at `place`, the largest first."""
        chosen = np.flatnonzero((self._begin <= place) & (self._end > place))
        rows = [self.row(i) for i in chosen[np.argsort(-self._bytes[chosen], kind="stable")]]
        return rows + ([Row(None, HELD, "other", "", "", self._held, 0)] if self._held else [])

    def at_peak(self):
        """Rows of what was in use at the peak, the largest first."""
        return self.alive(self.peak_at)

    def by_category(self, place=None):
        """Bytes of each category at the peak, or at another place."""
        found = dict.fromkeys(CATEGORIES, 0)
        for row in self.alive(self.peak_at if place is None else place):
            found[row.category] += row.bytes
        return found

    def by_layer(self, place=None):
        """Bytes of each layer at the peak, or at another place, the largest first; None for what has none."""
        found = collections.Counter()
        for row in self.alive(self.peak_at if place is None else place):
            found[row.layer] += row.bytes
        return dict(found.most_common())

    def during(self, phase):
        """The Timeline of one phase: "building" (up to the first step), or a step, counted from 1."""
        ends = [0, *self.steps]
        number = 0 if phase == "building" else phase
        if not isinstance(number, int) or not 0 <= number < len(ends):
            raise ValueError(f"{phase!r}: there are 'building' and the steps 1 to {len(ends) - 1}")
        return _Part(self, *self._span(number))

    def until(self, seconds):
        """The Timeline up to a moment, in seconds since 1970: that of a failure, say."""
        record = self._shown
        at = seconds - record["began"] - record["first_event"]
        return _Part(self, 0, max(1, int(np.searchsorted(record["seconds"], at))))

    def curves(self, by="category", most=8):
        """Bytes in use after each event: {label: array}. by: "category", or "layer" (the `most` largest)."""
        if by == "category":
            curves = {c: self._sums(self._category == i) for i, c in enumerate(CATEGORIES)}
            curves["other"] = curves["other"] + self._held
            rest = "workspace"
        elif by == "layer":
            names = [name for name in self.by_layer() if name][:most]
            curves = {name: self._sums(self._layer == self._layer_number[name]) for name in names}
            rest = "all others"
            curves[rest] = self.total() - sum(curves.values())
        else:
            raise ValueError(f"by={by!r}: give 'category' or 'layer'")
        curves["idle in XLA's block"] = idle = self.total() - self.filled()
        curves[rest] = curves[rest] - idle
        return {label: curve for label, curve in curves.items() if curve.any() or label == "all others"}

    def plot(self, by="category", title=""):
        """The figure: memory in use, stacked by category or by layer, the peak marked."""
        from . import plots

        return plots.timeline(self, by=by, title=title)

    def __repr__(self):
        shares = {c: b for c, b in self.by_category().items() if b}
        named = ", ".join(f"{c} {100 * b / self.peak_bytes:.0f} %" for c, b in shares.items())
        return f"Timeline: {self.events} events, peak {self.peak_bytes} bytes: {named}"

    def _span(self, number):
        """(first, last) place of building (0) or of a step."""
        calls = [p for p in self._shown["snapshots_at"] if p <= (self.steps or [self._events])[0]]
        first_call = calls[-2] if len(calls) > 1 else 0
        edges = [0, first_call, *self.steps]
        return edges[number], edges[number + 1]

    def _sums(self, chosen):
        change = np.zeros(self._events + 1, dtype=np.int64)
        np.add.at(change, np.maximum(self._begin[chosen], 0), self._bytes[chosen])
        np.subtract.at(change, self._end[chosen], self._bytes[chosen])
        return np.cumsum(change[:-1])

    def row(self, i):
        """The Row at place `i`: first come the recorded allocations, then what lies in blocks of XLA's."""
        record, columns = self._shown, self._shown["allocations"]
        held = self._begin[i] < 0
        op = self._variable.get(i) or (HELD if held else record["ops"][columns["op"][i]])
        return Row(
            self._layer_name[self._layer[i]],
            op,
            CATEGORIES[self._category[i]],
            record["shapes"][columns["shape"][i]],
            record["dtypes"][columns["dtype"][i]],
            int(self._bytes[i]),
            int(self._requested[i]),
        )

    @property
    def blocks(self):
        """Places, among the recorded allocations, of the blocks of compiled steps that are shown divided."""
        return sorted({*self._shown["allocations"]["inside"][self._end > self._begin].tolist()} - {-1})

    def parts(self, i):
        """(Row, share of the bytes) of what a recorded allocation holds: itself, unless XLA divided it."""
        of_block = self._shown["allocations"]["inside"] == i
        inside = np.flatnonzero(of_block & (self._end > self._begin))
        if not len(inside):
            return [(self.row(i), 1.0)]
        idle = inside[self._shown["allocations"]["idle"][inside] > 0]
        fullest = self._begin[idle[self._bytes[idle].argmin()]]
        alive = inside[(self._begin[inside] <= fullest) & (self._end[inside] > fullest)]
        return [(self.row(j), self._bytes[j] / self._bytes[i]) for j in alive]

    def held_at_peak(self):
        """Which of the recorded allocations are in use at the peak, as an array of truths."""
        place, columns = self.peak_at, self.record["allocations"]
        alive = np.flatnonzero((self._begin <= place) & (self._end > place))
        inside = self._shown["allocations"]["inside"][alive]
        held = np.zeros(len(columns["begin"]), dtype=bool)
        held[np.where(inside < 0, alive, inside)] = True
        return held

    def refused_block(self):
        """The Timeline of the block that a compiled step asked for and did not get, as if it had; or None."""
        programs = [p for p in self.record.get("programs", ()) if self.refused_bytes]
        program = min(programs, key=lambda p: abs(p["bytes"] - self.refused_bytes), default=None)
        if program is None or abs(program["bytes"] - self.refused_bytes) > ROUNDED * self.refused_bytes:
            return None
        return Timeline(self.record | of_block(program))

    def weight_shapes(self):
        """The shapes, as texts, that weights had at any time."""
        weights = [i for i, kind in self._kind.items() if kind == "weights"]
        return {self.row(i).shape for i in weights} - {""}

    @property
    def in_pipeline(self):
        """Which of the recorded allocations tf.data's own threads make, as an array of truths."""
        return self._made_by("tf_data", self.record)

    def _made_by(self, threads, record):
        made = np.array([threads in thread for thread in record["threads"]])
        return made[record["allocations"]["thread"]]

    def _find_variables(self):
        """Which allocation is which variable: the one at its address when the snapshot was taken."""
        self._variable, self._kind, self._owner = {}, {}, {}
        address = self._shown["allocations"]["address"]
        snapshots = zip(self._shown["snapshots_at"], self.record["snapshots"], strict=False)
        for place, variables in snapshots:
            alive = np.flatnonzero((self._begin < place) & (self._end >= place))
            by_address = dict(zip(address[alive].tolist(), alive.tolist(), strict=True))
            for at, kind, path, layer in variables:
                i = by_address.get(at)
                if i is not None:
                    self._variable[i], self._kind[i], self._owner[i] = path, kind, layer

    def _find_layers(self):
        scopes, ops = self.record["scopes"], self._shown["ops"]
        names = sorted({*scopes.values(), *filter(None, self._owner.values())})
        self._layer_name = [None, *names]
        self._layer_number = {name: number for number, name in enumerate(self._layer_name)}
        of_op = np.array([self._layer_number[layer_of(op, scopes)] for op in ops], dtype=np.int64)
        columns = self._shown["allocations"]
        self._layer = np.where(columns["idle"], 0, of_op[columns["op"]])
        for i, layer in self._owner.items():
            self._layer[i] = self._layer_number[layer]

    def _find_categories(self):
        columns, number = self._shown["allocations"], {c: i for i, c in enumerate(CATEGORIES)}
        kind_of_op = np.array([self._kind_of(op) for op in self._shown["ops"]])
        kinds = kind_of_op[columns["op"]]
        recorded, temp = columns["inside"] < 0, columns["temp"].astype(bool)
        from_python = self._made_by("python", self._shown)
        unscoped = np.array(["/" not in op for op in self._shown["ops"]])[columns["op"]]
        backward = np.sort(self._begin[(kinds == "backward") & recorded])
        in_backward = self._in_backward(backward)
        kinds[(kinds == "forward") & unscoped & ~from_python & in_backward] = "backward"

        category = np.full(len(self._bytes), number["workspace"])
        forward = (kinds == "forward") & ~temp
        category[forward & self._outlives_forward(backward)] = number["activations"]
        category[(kinds == "backward") & ~temp] = number["gradients"]
        in_pipeline = self._made_by("tf_data", self._shown)
        category[(kinds == "input") | ((kinds == "unnamed") & from_python) | in_pipeline] = number["inputs"]
        category[kinds == "slot"] = number["optimizer"]
        category[(kinds == "handle") | (self._begin < 0)] = number["other"]
        category[columns["idle"].astype(bool)] = number["workspace"]
        compiled = self._in_compiled(kind_of_op)
        category[~recorded] = [number[name] for name in compiled]
        for i, kind in self._kind.items():
            category[i] = number[kind]
        self._category = category

    def _in_compiled(self, kind_of_op):
        """The categories of what lies in the blocks of compiled steps: there it is known what needs it."""
        columns = self._shown["allocations"]
        inside = np.flatnonzero(columns["inside"] >= 0)
        kept = np.array([any(map(self._is_after_forward, users)) for users in self._shown["users"]])
        makers, needed = kind_of_op[columns["op"][inside]], kept[columns["users"][inside]]
        for maker, is_kept, own in zip(makers, needed, columns["own"][inside], strict=True):
            if maker == "forward" and is_kept:
                yield "activations"
            else:
                yield "gradients" if maker == "backward" and not own else "workspace"

    def _is_after_forward(self, op):
        return self._kind_of(op) in ("backward", "update")  # XLA joins gradients and their use in one

    def _kind_of(self, op):
        path = op.removeprefix("StatefulPartitionedCall/")
        last = path.rpartition("/")[2]
        if not path:
            return "unnamed"
        if last.startswith("VarHandleOp"):
            return "handle"
        if path.partition("/")[0] in self.record["optimizers"]:
            return "slot" if "/Initializer/" in path else "update"
        if _BACKWARD.search(path):
            return "backward"
        if last.startswith(("IteratorGetNext", "TensorSliceDataset")):
            return "input"
        return "update" if _FUNCTION.match(path) else "forward"

    def _in_backward(self, backward):
        """Whether an allocation comes after the first of the backward pass in its step."""
        edges = np.array([0, *self.steps])
        start = edges[np.searchsorted(edges, np.maximum(self._begin, 0), side="right") - 1]
        first = np.searchsorted(backward, start)
        padded = np.append(backward, self._events + 1)
        return padded[first] < self._begin

    def _outlives_forward(self, backward):
        """Whether it is still there when the next backward pass begins; true where there is none to come."""
        padded = np.append(backward, -1)
        following = padded[np.searchsorted(backward, self._begin)]
        return (following < 0) | (self._end > following)


class _Part(Timeline):
    """A stretch of a Timeline, from one place to another; what began earlier is still in it."""

    def __init__(self, whole, first, last):
        self.__dict__.update(whole.__dict__)
        self._first, self._last = first, last
        inside = (whole._begin < last) & (whole._end > first)
        self._events = max(1, last - first)
        self._begin = np.where(inside, np.maximum(whole._begin - first, 0), 0)
        self._end = np.where(inside, np.minimum(whole._end - first, self._events), 0)

    @property
    def steps(self):
        inside = (place for place in self._shown["steps"] if self._first < place <= self._last)
        return [place - self._first for place in inside]
