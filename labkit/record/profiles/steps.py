"""Which training steps a profile covers: as it says itself, or as the ops that come again and again show."""

import collections
from typing import NamedTuple

import numpy as np

from .xspace import STEP, number

_LITTLE, _TINY = 0.01, 0.001  # shares of bytes that say nothing
_RUNS = ("train", "batch")  # in the names of events that mark training steps, unlike those of evaluation


REST = "No whole step: what the rest of the step takes, its peak among it, is not in the profile."
BEGINS = "as the backward pass begins"
EARLY = "Where it ends is told by names: an op of the backward pass that waits for no other may come early."


class Steps(NamedTuple):
    """Places in the order of events: where each whole step begins and ends.

    backward  [(first place, last place)] of each backward pass, of parts of steps too
    covers   what the record covers, in words
    notes    sentences on what is in doubt
    """

    starts: list
    ends: list
    backward: list
    covers: str
    notes: list


def steps_of(record, spans, marks, kinds):
    """The Steps of a Record.

    spans     [(start, end)] of the steps, as places, if they are known
    marks     events of the profile that tell the number of a step, counted from the first of the record
    kinds     of the allocations' ops: "forward", "backward", "update" or another, an array
    """
    columns = record.allocations
    notes = []
    if not spans:
        spans, numbers = _marked(marks, record.seconds * 1e12)
        lasting = np.where(columns["temp"] == 0, kinds, "")  # scratch memory differs from step to step
        repeated = _repeated(_flow(record, lasting), record, lasting)
        within = sum(any(a <= (c + d) / 2 < b for a, b in spans) for c, d in repeated)
        if len(repeated) > len(spans) >= within:  # it may begin or end within a step that it marks
            spans = repeated
            notes = ["Not all steps are marked in the profile: they are told apart by ops that come again."]
        elif numbers != list(range(1, len(spans) + 1)):
            notes = [f"By their own number, {_counted(numbers)} of the training."]
    flow = _flow(record, kinds)
    backward = [found for found in (_backward(flow, *part) for part in _parts(spans, record.events)) if found]
    if spans:
        covers = f"whole step{'s 1 to ' if len(spans) > 1 else ' '}{len(spans)}"
    else:
        covers = _part(record, kinds)
        notes += [EARLY, REST] if covers.endswith(BEGINS) else [REST]
    return Steps([start for start, _ in spans], [end for _, end in spans], backward, covers, notes)


def _marked(marks, times):
    """([(start, end)], [number]) of the steps that a profile marks, as places; its own numbers for them."""
    by_name = collections.defaultdict(dict)
    for mark in marks:
        if mark.lasts > 0:
            spans = by_name[mark.name]
            step = number(mark.stats, STEP)
            if step not in spans or spans[step].lasts < mark.lasts:
                spans[step] = mark
    trains = [name for name in by_name if any(word in name.lower() for word in _RUNS)]
    name = max(trains or by_name, key=lambda name: len(by_name[name]), default=None)
    found = []
    for step, mark in sorted(by_name.get(name, {}).items(), key=lambda item: item[1].at):
        start, end = (int(place) for place in np.searchsorted(times, [mark.at, mark.at + mark.lasts]))
        if end > start:
            found.append(((start, end), step))
    return [span for span, _ in found], [step for _, step in found]


def _counted(numbers):
    if len(numbers) == 1:
        return f"it is step {numbers[0]}"
    return f"they are the steps {numbers[0]} to {numbers[-1]}"


def _flow(record, kinds):
    """Bytes allocated so far by the forward pass, less those by the backward pass, after each event."""
    columns, change = record.allocations, np.zeros(record.events + 1, dtype=np.int64)
    for kind, sign in (("forward", 1), ("backward", -1)):
        chosen = (kinds == kind) & (columns["begin"] >= 0)
        np.add.at(change, columns["begin"][chosen], sign * columns["requested"][chosen])
    return np.cumsum(change[:-1])


def _parts(spans, events):
    """[(start, end)] of the whole steps, and of what lies between them and at either end."""
    edges = [0, *(edge for span in spans for edge in span), events]
    return [(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True) if a < b]


def _backward(flow, start, end):
    """(first, last place) of the backward pass in a step: from there on it allocates more than the forward
    pass. None if there is none."""
    turn = start + int(flow[start:end].argmax()) + 1
    return (turn, end) if turn < end and flow[end - 1] < flow[turn - 1] else None


def _repeated(flow, record, kinds):
    """[(start, end)] of whole steps, between which the flow is lowest; none if nothing comes again."""
    anchors = _anchors(record, kinds)
    if len(anchors) < 2:
        return []
    cuts = [_trough(flow, a, b) for a, b in zip(anchors, [*anchors[1:], len(flow)], strict=True)]
    spans = list(zip([0, *cuts[:-1]], cuts, strict=True))
    rises, falls = np.array([_swing(flow, *span) for span in spans]).T
    whole = (rises >= (1 - _LITTLE) * np.median(rises)) & (falls >= (1 - _LITTLE) * np.median(falls))
    return [span for n, span in enumerate(spans) if whole[n] or 0 < n < len(spans) - 1]


def _trough(flow, start, end):
    """The last place up to which the flow is about as low as it gets."""
    part = flow[start:end]
    low = part.min() + _TINY * (part.max() - part.min())
    return start + int(np.flatnonzero(part <= low)[-1]) + 1


def _swing(flow, start, end):
    """Bytes by which the flow rises in a step, with the forward pass, and falls, with the backward pass."""
    top = flow[start:end].max()
    return int(top - (flow[start - 1] if start else 0)), int(top - flow[end - 1])


def _anchors(record, kinds):
    """Places of the largest op of the backward pass among those that come as often as most, loops aside."""
    columns = record.allocations
    once = np.array(["while" not in op for op in record.ops])[columns["op"]]
    chosen = np.flatnonzero((kinds == "backward") & once & (columns["begin"] >= 0))
    if not len(chosen):
        return []
    ops, counts = np.unique(columns["op"][chosen], return_counts=True)
    size = {op: columns["requested"][chosen][columns["op"][chosen] == op].sum() for op in ops}
    usual = np.bincount(counts).argmax()
    largest = max(ops[counts == usual], key=size.get)
    return np.sort(columns["begin"][chosen][columns["op"][chosen] == largest]).tolist()


def _part(record, kinds):
    """What a record without a whole step covers, in words."""
    size = record.allocations["requested"]
    forward, backward, update = (int(size[kinds == kind].sum()) for kind in ("forward", "backward", "update"))
    whole = forward + backward + update
    if whole <= _TINY * max(size.sum(), record.held_bytes):
        return "no step: next to nothing in it is of a forward or a backward pass"
    if backward <= _LITTLE * whole:
        ends = BEGINS if backward else "before a backward pass"
        return f"part of a step: it ends {ends}"
    if forward <= _LITTLE * whole:
        return "part of a step: it begins in the backward pass"
    return "part of a step: forward and backward pass, and it is not known whether to their end"
