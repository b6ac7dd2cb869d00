"""Timeline: the memory of a trial, allocation by allocation, by layer and by category.

It is made from a Record; it needs no TensorFlow and knows nothing about processes.
"""

import collections
import copy
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..categories import BEFORE, CATEGORIES, OTHERS, UNUSED
from ..errors import LabkitError
from ..sizes import counted, format_size, plain
from .labels import Labels, made_by, replicas
from .opnames import sums_gradients
from .profiles.autotuning import tried_out
from .record import Record
from .xla_blocks import divide_blocks, record_of_block

ROUNDED = 0.005  # XLA prints a size to three significant digits
HELD = "(held before the record began)"
LASTING = "weights, optimizer state and whatever else there was; the profile does not tell them apart"
YEAR = 365 * 86400  # seconds


@dataclass(frozen=True)
class Row:
    """One allocation: `bytes` as handed out by the allocator, of which `requested_bytes` were requested.

    `op` is the op that requested it, or the path of the variable that it holds; `layer` is None if
    there is none.
    """

    layer: str | None
    op: str
    category: str
    shape: str
    dtype: str
    bytes: int
    requested_bytes: int


def _table(texts):
    """(the different texts, the index of each of `texts` among them)."""
    numbers = {}
    index = np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)
    return list(numbers), index


class Timeline:
    """Every allocation and deallocation of the device's allocator during a trial, to the byte.

    The category of an allocation:

    weights, optimizer   it holds a variable of a model, or of an optimizer (its slots), by its address
    gradients            the output of an op of the backward pass
    activations          the output of an op of the forward pass that is still alive when the backward
                         pass begins, so was kept for it; without a backward pass, every such output
    inputs               what comes from Python (arrays, batches) and from tf.data
    workspace            what is temporary: an op's scratch memory, outputs of the forward pass that are
                         freed before the backward pass, the optimizer's intermediate results
    other                what was held before the record began, metrics, resource handles

    A profile from elsewhere tells less: there, categories, layers and steps are told by the names of ops, and
    what was held before it began is one row. `notes` says what is in doubt.

    A step that XLA compiled allocates one block for everything in it. It is shown divided, as XLA planned it:
    a result of the forward pass is an activation if an op of the backward pass, or the optimizer, needs it;
    XLA's own scratch memory is workspace, unless the backward pass needs it too; so are idle parts.

    The layer is the one in whose name scope the op ran, under the name that `model.summary()` prints.
    Ops that run eagerly have no scope, and so no layer.
    """

    def __init__(self, record, limit=None, refused_bytes=None):
        """limit, refused_bytes: the memory limit and the failed request in bytes, or None."""
        self.limit_bytes, self.refused_bytes = limit, refused_bytes
        self.record, self._shown = record, divide_blocks(record)
        columns = self._shown.allocations
        self._bytes, self._requested = columns["bytes"], columns["requested"]
        before = columns["begin"] < 0
        self._held = max(0, record.held_bytes - int(self._bytes[before].sum()))
        self._labels = Labels(self._shown)
        self._restrict(0, self._shown.events)
        self._training_at = self._first_call()

    def _restrict(self, first, last):
        """Show only the events from one place to another; what was allocated earlier and is alive counts."""
        columns, self._first, self._events = self._shown.allocations, first, max(1, last - first)
        begin, end = columns["begin"], columns["end"]
        end = np.where(end < 0, self._shown.events, end)
        inside = (begin < last) & (end > first)
        self._begin = np.where(inside, np.maximum(begin - first, 0), 0)
        self._end = np.where(inside, np.minimum(end - first, self._events), 0)

    def _part(self, first, last):
        """The Timeline of the events from one place of this one to another."""
        part = copy.copy(self)
        part._restrict(self._first + first, self._first + last)
        return part

    @property
    def steps(self):
        """Places in the order of events at which training steps ended."""
        last = self._first + self._events
        return [place - self._first for place in self._shown.steps if self._first < place <= last]

    @property
    def _earlier(self):
        """How many training steps had ended before the first event."""
        return sum(place <= self._first for place in self._shown.steps)

    @property
    def phases(self):
        """(name, first place, place behind its last) of building and each step; [] if no step ended.

        What was refused after a step may have been for the next one, or for an evaluation or prediction.
        """
        training_at = min(max(0, self._training_at - self._first), self._events)
        earlier = self._earlier
        edges = [training_at, *self.steps]
        found = [("building", 0, training_at)] if training_at and self.steps else []
        for number, first, last in zip(range(1, len(edges)), edges, edges[1:], strict=False):
            found.append((f"step {earlier + number}", first, last))
        if self.refused_bytes and self.steps and edges[-1] < self._events:
            found.append((f"after step {earlier + len(self.steps)}", edges[-1], self._events))
        return found

    @property
    def events(self):
        """Number of allocations and deallocations."""
        return self._events

    @property
    def peak_bytes(self):
        """The most in use at once, by the allocator's own measure."""
        return int(self.total().max())

    @property
    def peak_at(self):
        """The place of the peak in the order of events; of several, the one where the least of it is idle."""
        return int(self.fullness().argmax())

    def total(self):
        """Bytes in use after each event, an array."""
        return self._held + self._sums(np.ones(len(self._bytes), dtype=bool))

    def filled(self):
        """Bytes in use after each event without what is idle in the blocks of compiled steps, an array."""
        return self.total() - self._idle()

    def fullness(self):
        """An array that ranks points in time by the total and, where that is equal, by what is filled."""
        total = self.total()
        return total + (total - self._idle()) / (total.max() + 1)

    def alive(self, place):
        """Rows of everything in use just after the event at `place`, the largest first."""
        chosen = np.flatnonzero((self._begin <= place) & (self._end > place))
        rows = [self.row(i) for i in chosen[np.argsort(-self._bytes[chosen], kind="stable")]]
        return rows + self._held_rows()

    def _held_rows(self):
        return [Row(None, HELD, "other", "", "", self._held, 0)] if self._held else []

    def at_peak(self):
        """Rows of everything in use at the peak, the largest first."""
        return self.alive(self.peak_at)

    def by_category(self, place=None):
        """Bytes of each category at the peak, or at another place."""
        totals = dict.fromkeys(CATEGORIES, 0)
        for row in self.alive(self.peak_at if place is None else place):
            totals[row.category] += row.bytes
        return totals

    def shares(self):
        """Bytes of each category at the peak; what was held before a profile began is one of its own."""
        before = self.curves().get(BEFORE)
        if before is None:
            return self.by_category()
        held = int(before[self.peak_at])
        sizes = self.by_category()
        return {BEFORE: held, **sizes, "other": sizes["other"] - held}

    def by_layer(self, place=None):
        """Bytes of each layer at the peak, or at another place, the largest first; the key None: no layer."""
        totals = collections.Counter()
        for row in self.alive(self.peak_at if place is None else place):
            totals[row.layer] += row.bytes
        return dict(totals.most_common())

    def during(self, phase):
        """The Timeline of one phase: "building" (up to the first step), or a step by its number, from 1.

        A profile that covers no whole step has only a step 1, all of it. Raises ValueError for a phase that
        does not exist.
        """
        spans = self._spans()
        number = 0 if phase == "building" else plain(phase)
        if isinstance(number, bool) or not isinstance(number, int) or number not in spans:
            whole = ["'building'"] if 0 in spans else []
            steps = [f"one of the steps 1 to {max(spans)}"] if max(spans) else []
            known = " or ".join([*whole, *steps])
            raise ValueError(f"phase {phase!r}: give {known}")
        first, last = spans[number]
        part = self._part(first, last)
        if last < self._events:
            part.refused_bytes = None
        return part

    def _spans(self):
        """{phase: (first place, place after the last)}: 0 for building, then the steps by their number."""
        if not self.record.source:
            training_at = min(max(0, self._training_at - self._first), self._events)
            edges = [0, training_at, *self.steps]
            return dict(enumerate(zip(edges[:-1], edges[1:], strict=True)))
        last = self._first + self._events
        whole = [
            (max(0, start - self._first), end - self._first)
            for start, end in zip(self._shown.starts, self._shown.steps, strict=True)
            if self._first < end <= last
        ]
        return dict(enumerate(whole or [(0, self._events)], 1))

    def until(self, seconds):
        """The Timeline up to a point in time, such as that of a failure, in seconds since 1970.

        Some profiles do not say when they began: there, and wherever `seconds` is less than a year, it counts
        from the first event. Raises LabkitError for a date in a profile that does not know its own.
        """
        at = seconds
        if seconds > YEAR:
            if self._shown.began is None:
                raise LabkitError(
                    "This profile does not say when it was recorded: give seconds since its first event, "
                    f"up to {self._shown.seconds[-1]:.3g}."
                )
            at = seconds - self._shown.began - self._shown.first_event
        place = int(np.searchsorted(self._shown.seconds, at)) - self._first
        return self._part(0, min(max(1, place), self._events))

    @property
    def device(self):
        """Whose memory this is, such as "GPU:4"; the stand-in is "CPU:0"."""
        return self.record.device

    @property
    def allocator(self):
        """The name of the allocator, such as "GPU_4_bfc"."""
        return self.record.allocator

    @property
    def devices(self):
        """{device: Timeline} of every device that was recorded, this one among them; each as a whole."""
        known = self._records()
        return {name: self if name == self.device else self._of(name, known) for name in known}

    def on(self, device):
        """The Timeline of another device: "GPU:4", 4, or the name of its allocator.

        Raises LabkitError for one that was not recorded.
        """
        known, wanted = self._records(), str(device).strip().lower()
        wanted = wanted.rpartition("device:")[2]
        names = {name.lower(): name for name in known}
        names |= {record.allocator.lower(): name for name, record in known.items() if record.allocator}
        name = names.get(wanted) or names.get(f"gpu:{wanted}")
        if name is None:  # of several hosts
            ends = (f" {wanted}", f" gpu:{wanted}")
            found = [name for name in known if name.lower().endswith(ends)]
            name = max(found, key=lambda name: known[name].events, default=None)
        if name is None:
            had = ", ".join(f"{name} ({counted(record.events, 'event')})" for name, record in known.items())
            raise LabkitError(f"There is no device {device!r} in it. It has {had}.")
        return self if name == self.device else self._of(name, known)

    def _records(self):
        """{device: its Record}, in the order of their numbers; or the replicas that share this one's pool."""
        known = {self.device: self.record, **self.record.others}
        if not self.record.others:
            known |= {record.device: record for record in replicas(self.record, self._labels).values()}
        return {name: known[name] for name in sorted(known, key=_natural)}

    def _of(self, name, known):
        others = {device: replace(record, others={}) for device, record in known.items() if device != name}
        record = replace(known[name], others=others)
        return Timeline(record, record.pool_bytes if record.source else self.limit_bytes)

    @property
    def covers(self):
        """What the record covers: "whole steps 1 to 3", "part of a step: ...", or "no training step"."""
        count = len(self.steps)
        if self.record.source and not count:
            return self.record.covers
        if not count:
            return "no training step"
        first = self._earlier + 1
        return f"whole step {first}" if count == 1 else f"whole steps {first} to {self._earlier + count}"

    @property
    def notes(self):
        """Sentences on what the record does not show, and on what was concluded from names alone."""
        held = self.record.held_bytes
        notes = [*self.record.notes, *self.tries()]
        if self.record.source and held:
            what = "" if "host" in (self.allocator or "") else f": {LASTING}"
            notes.insert(0, f"{format_size(held)} were held before the record began{what}.")
        return notes

    def tries(self):
        """A list: a sentence on what a GPU took to try out algorithms; empty if it took nothing."""
        tried = tried_out(self._shown)
        if not tried.any():
            return []
        without = self._held + int(self._sums(~tried).max())
        if without == self.peak_bytes:
            return []
        return [
            "The GPU tried out algorithms, each with scratch memory of its own: without that the peak is "
            f"{format_size(without)} instead of {format_size(self.peak_bytes)}."
        ]

    @property
    def pool_bytes(self):
        """Bytes that the allocator may hand out in all; None if unknown."""
        return self.record.pool_bytes

    @property
    def held_bytes(self):
        """Bytes that were in use before the first event."""
        return self.record.held_bytes

    def save(self, path):
        """Write the timeline to a file, with those of the other devices: arrays and JSON, compressed.

        Loading it cannot run any code. Raises LabkitError if the file cannot be written.

        >>> timeline.save("before.timeline")
        >>> Timeline.load("before.timeline").peak_bytes == timeline.peak_bytes
        True
        """
        view = {"limit": self.limit_bytes, "refused": self.refused_bytes}
        self.record.save(path, {**view, "part": [self._first, self._first + self._events]})

    @classmethod
    def load(cls, path):
        """Read a file that save() wrote. Raises LabkitError for any other."""
        record, view = Record.load_with_view(path)
        try:
            view = view or {"limit": None, "refused": None, "part": None}
            sizes = [size for size in (view["limit"], view["refused"]) if size is not None]
            if not all(isinstance(size, int) and 0 <= size < 2**62 for size in sizes):
                raise ValueError(f"its limit is {view['limit']!r}")
            timeline = cls(record, view["limit"], view["refused"])
            if view["part"]:
                first, last = map(int, view["part"])
                if not 0 <= first <= last <= max(1, timeline._shown.events):
                    raise ValueError("it is a part of what is not there")
                timeline._restrict(first, last)
            return timeline
        except Exception as e:  # numbers that are damaged
            raise LabkitError(f"{path} cannot be read as a labkit record: {e!r}.") from None

    @property
    def layers(self):
        """The names of all layers, in the order in which the model calls them."""
        return self._labels.layer_names[1:]

    def curves(self, by="category", layers=None):
        """{label: bytes in use after each event}, arrays.

        by       "category" or "layer"
        layers   which layers have a curve of their own; by default the eight largest at the peak
        """
        if by == "category":
            curves = {c: self._sums(self._labels.category == i) for i, c in enumerate(CATEGORIES)}
            other = self._labels.category == CATEGORIES.index("other")
            before = self._sums(other & (self._shown.allocations["begin"] < 0)) + self._held
            curves["other"] = curves["other"] + self._held
            if self.record.source:
                curves = {BEFORE: before, **curves, "other": curves["other"] - before}
            rest = "workspace"
        elif by == "layer":
            largest = [name for name in self.by_layer() if name][:8] if layers is None else layers
            names = [name for name in self.layers if name in largest and name not in (OTHERS, UNUSED)]
            rows = {name: self._labels.layer == self._labels.layer_names.index(name) for name in names}
            curves = {name: self._sums(chosen) for name, chosen in rows.items()}
            rest = OTHERS
            curves[rest] = self.total() - sum(curves.values())
        else:
            raise ValueError(f"by={by!r}: give 'category' or 'layer'")
        curves[UNUSED] = self._idle()
        curves[rest] = curves[rest] - curves[UNUSED]
        return {label: curve for label, curve in curves.items() if curve.any() or label == OTHERS}

    def allocations(self):
        """The allocations of this timeline as {column: array or table}, in the order of the record.

        begin, end        places, -1 for what was there before the first event, `events` for what stays
        bytes, requested  as in Row; idle: which rows are idle parts of XLA's blocks
        category, layer, op, tensor   indices into `categories`, `layers` (-1 for none), `ops`, `tensors`
        """
        labels, columns = self._labels, self._shown.allocations
        rows = np.flatnonzero(self._end > self._begin)
        described = [self.row(i) for i in rows] + self._held_rows()
        ops, op = _table([row.op for row in described])
        tensors, tensor = _table([f"{row.dtype}{row.shape}" for row in described])
        early, held = columns["begin"][rows] < self._first, len(self._held_rows())
        return {
            "begin": np.append(np.where(early, -1, self._begin[rows]), [-1] * held).astype(int),
            "end": np.append(self._end[rows], [self._events] * held).astype(int),
            "bytes": np.array([row.bytes for row in described], dtype=int),
            "requested": np.array([row.requested_bytes for row in described], dtype=int),
            "idle": np.flatnonzero(columns["idle"][rows]),
            "category": np.array([CATEGORIES.index(row.category) for row in described], dtype=int),
            "layer": np.append(labels.layer[rows] - 1, [-1] * held).astype(int),
            "layers": labels.layer_names[1:],
            "ops": ops, "op": op, "tensors": tensors, "tensor": tensor,
        }  # fmt: skip

    def to_html(self, path=None, *, label="", beside=None, by="category"):
        """This timeline as one interactive HTML file, which needs neither network nor kernel.

        It shows the memory stacked by category or by layer; each block says its layer, op, shape, bytes and
        lifetime. Returns the text.

        path            where to write it as well
        label, beside   what to call this one, and a dict of label -> Timeline to show beside it on one scale
        by              "category" or "layer": the initial coloring

        Raises LabkitError if one in `beside` has the same label.

        >>> before.timeline.to_html("both.html", label="before", beside={"after": after.timeline})
        """
        from ..show.pages import timelines_page

        if label in (beside or {}):
            raise LabkitError(f"Two timelines have the same label, {label!r}: give each a label of its own.")
        text = timelines_page({label: self, **(beside or {})}, by=by)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def plot(self, by="category", title=""):
        """A figure of the memory in use, stacked by category or by layer, with the peak marked."""
        from ..show import pages, timelines

        figure = timelines.timeline(self, by=by, title=title)
        return pages.with_chart(figure, lambda: pages.pack(pages.timelines_data({title: self})), by)

    def __repr__(self):
        sizes = {label: size for label, size in self.shares().items() if size}
        shares = ", ".join(f"{label} {100 * size / self.peak_bytes:.0f} %" for label, size in sizes.items())
        return f"Timeline: {counted(self.events, 'event')}, peak {self.peak_bytes} bytes: {shares}"

    def _first_call(self):
        """The place at which the call that ran the first step began: before it, the model was built."""
        if not self._shown.steps:
            return self._shown.events
        calls = [place for place in self._shown.snapshots_at if place <= self._shown.steps[0]]
        return calls[-2] if len(calls) > 1 else 0

    def _idle(self):
        return self._sums(self._shown.allocations["idle"].astype(bool))

    def _sums(self, chosen):
        change = np.zeros(self._events + 1, dtype=np.int64)
        np.add.at(change, np.maximum(self._begin[chosen], 0), self._bytes[chosen])
        np.subtract.at(change, self._end[chosen], self._bytes[chosen])
        return np.cumsum(change[:-1])

    def row(self, i):
        """The Row at index `i`: the recorded allocations come first, then the results in XLA's blocks."""
        record, columns, labels = self._shown, self._shown.allocations, self._labels
        held = columns["begin"][i] < 0
        op = record.ops[columns["op"][i]]
        name, shape, dtype = labels.forms.get(i, ("", "", ""))
        if not name:
            name = HELD if held else f"{op} (a sum of gradients)" if sums_gradients(op) else op
        return Row(
            labels.layer_names[labels.layer[i]],
            name,
            CATEGORIES[labels.category[i]],
            shape or record.shapes[columns["shape"][i]],
            dtype or record.dtypes[columns["dtype"][i]],
            int(self._bytes[i]),
            int(self._requested[i]),
        )

    @property
    def blocks(self):
        """Indices, among the recorded allocations, of the compiled steps' blocks that are shown divided."""
        return sorted({*self._shown.allocations["inside"][self._end > self._begin].tolist()} - {-1})

    def parts(self, i):
        """(Row, share of the bytes) of what a recorded allocation holds: itself, unless it is divided."""
        columns, inside = self._shown.allocations, ()
        if columns["idle"][i]:
            inside = np.flatnonzero((columns["inside"] == i) & (self._end > self._begin))
        if not len(inside):
            return [(self.row(i), 1.0)]
        idle = inside[columns["idle"][inside] > 0]
        fullest = self._begin[idle[self._bytes[idle].argmin()]]
        alive = inside[(self._begin[inside] <= fullest) & (self._end[inside] > fullest)]
        return [(self.row(j), self._bytes[j] / self._bytes[i]) for j in alive]

    def held_at_peak(self):
        """Which of the recorded allocations are in use at the peak, as a boolean array."""
        place, columns = self.peak_at, self.record.allocations
        alive = np.flatnonzero((self._begin <= place) & (self._end > place))
        inside = self._shown.allocations["inside"][alive]
        held = np.zeros(len(columns["begin"]), dtype=bool)
        held[np.where(inside < 0, alive, inside)] = True
        return held

    def refused_block(self):
        """The Timeline of the block that a compiled step was refused, as if it had been granted; or None."""
        programs = [p for p in self.record.programs if self.refused_bytes]
        program = min(programs, key=lambda p: abs(p.bytes - self.refused_bytes), default=None)
        if program is None or abs(program.bytes - self.refused_bytes) > ROUNDED * self.refused_bytes:
            return None
        return Timeline(record_of_block(self.record, program))

    def weight_shapes(self):
        """The shapes that weights had at any time, as strings such as "[3,3,64]"."""
        weights = [i for i, kind in self._labels.kinds.items() if kind == "weights"]
        return {self.row(i).shape for i in weights} - {""}

    @property
    def in_pipeline(self):
        """Which of the recorded allocations tf.data's own threads made, as a boolean array."""
        return made_by("tf_data", self.record)


def _natural(name):
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
