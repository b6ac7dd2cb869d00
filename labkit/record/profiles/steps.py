"""Which training steps a profile covers: as it says itself, or as the ops that come again and again show."""

import collections
from typing import NamedTuple

import numpy as np

_LITTLE = 0.01  # a share of bytes that says nothing
_RUNS = ("train", "batch")  # in the names of events that mark training steps, unlike those of evaluation


class Steps(NamedTuple):
    """Places in the order of events: where each whole step begins and ends, and its backward pass begins.

    covers   what the record covers, in words
    notes    sentences on what is in doubt
    """

    starts: list
    ends: list
    backward: list
    covers: str
    notes: list


def steps_of(spans, marks, times, columns, kinds):
    """The Steps of a record.

    spans     [(start, end)] of the steps, as places, if they are known
    marks     events of the profile that tell the number of a step
    times     of the allocator's events, in picoseconds
    columns   {name: array} of the allocations: `begin`, `bytes`, `op`
    kinds     of their ops: "forward", "backward", "update" or another, an array
    """
    flow = _flow(len(times), columns, kinds)
    numbers, notes = list(range(1, len(spans) + 1)), []
    if not spans:
        spans, numbers = _marked(marks, times)
    if spans and numbers != list(range(1, len(spans) + 1)):
        notes = [f"By their own number, {_counted(numbers)} of the training."]
    elif not spans:
        spans = _repeated(flow, columns, kinds)
        if spans:
            notes = ["The profile does not mark steps: they are told apart by ops that come again."]
    segments = spans or [(0, len(times))]
    backward = [start for start in (_turn(flow, *segment) for segment in segments) if start is not None]
    if spans:
        covers = f"whole step{'s 1 to ' if len(spans) > 1 else ' '}{len(spans)}"
    else:
        covers = _part(columns["bytes"], kinds)
        notes += ["No whole step: what the rest of the step takes, its peak among it, is not in the profile."]
    return Steps([start for start, _ in spans], [end for _, end in spans], backward, covers, notes)


def _marked(marks, times):
    """([(start, end)], [number]) of the steps that a profile marks, as places; its own numbers for them."""
    by_name = collections.defaultdict(dict)
    for mark in marks:
        if mark.lasts > 0:
            spans = by_name[mark.name]
            step = int(mark.stats.get("step_num") or 0)
            if step not in spans or spans[step].lasts < mark.lasts:
                spans[step] = mark
    trains = [name for name in by_name if any(word in name.lower() for word in _RUNS)]
    name = max(trains or by_name, key=lambda name: len(by_name[name]), default=None)
    found = []
    for number, mark in sorted(by_name.get(name, {}).items(), key=lambda item: item[1].at):
        start, end = (int(place) for place in np.searchsorted(times, [mark.at, mark.at + mark.lasts]))
        if end > start:
            found.append(((start, end), number))
    return [span for span, _ in found], [number for _, number in found]


def _counted(numbers):
    if len(numbers) == 1:
        return f"it is step {numbers[0]}"
    return f"they are the steps {numbers[0]} to {numbers[-1]}"


def _flow(events, columns, kinds):
    """Bytes allocated so far by the forward pass, less those by the backward pass, after each event."""
    change = np.zeros(events + 1, dtype=np.int64)
    for kind, sign in (("forward", 1), ("backward", -1)):
        chosen = (kinds == kind) & (columns["begin"] >= 0)
        np.add.at(change, columns["begin"][chosen], sign * columns["bytes"][chosen])
    return np.cumsum(change[:-1])


def _turn(flow, start, end):
    """Where the backward pass begins in a step: from there on it allocates more than the forward pass."""
    if end <= start:
        return None
    turn = start + int(flow[start:end].argmax()) + 1
    return turn if turn < end and flow[end - 1] < flow[turn - 1] else None


def _repeated(flow, columns, kinds):
    """[(start, end)] of whole steps, between which the flow is lowest; none if nothing comes again."""
    anchors = _anchors(columns, kinds)
    if len(anchors) < 2:
        return []
    cuts = [int(a + flow[a:b].argmin()) + 1 for a, b in zip(anchors[:-1], anchors[1:], strict=True)]
    spans = list(zip(cuts[:-1], cuts[1:], strict=True))
    usual = float(np.median([_rise(flow, *span) for span in spans] or [_rise(flow, 0, len(flow))]))
    if _rise(flow, 0, cuts[0]) > (1 - _LITTLE) * usual:
        spans.insert(0, (0, cuts[0]))
    return spans + ([(cuts[-1], len(flow))] if _fall(flow, cuts[-1], spans) else [])


def _rise(flow, start, end):
    """How many bytes the forward pass of a step allocates before the backward pass begins."""
    return int(flow[start:end].max() - (flow[start - 1] if start else 0))


def _fall(flow, cut, spans):
    """Whether what comes after the last cut goes through a backward pass as the other steps do."""
    if not spans:
        return False
    start, end = spans[-1]
    usual = int(flow[start:end].max() - flow[end - 1])
    last = flow[cut:]
    return len(last) > 0 and int(last.max() - last[-1]) > (1 - _LITTLE) * usual


def _anchors(columns, kinds):
    """Places of an op of the backward pass that runs once a step: one that comes the fewest times."""
    begin, op, size = columns["begin"], columns["op"], columns["bytes"]
    chosen = np.flatnonzero((kinds == "backward") & (begin >= 0) & (op > 0))
    if not len(chosen):
        return []
    large = chosen[size[chosen] * 1000 >= size[chosen].max()]
    numbers, counts = np.unique(op[large], return_counts=True)
    rarest = numbers[counts == counts.min()]
    largest = max(rarest, key=lambda number: size[large][op[large] == number].sum())
    return sorted(begin[large][op[large] == largest].tolist())


def _part(size, kinds):
    """What a record without a whole step covers, in words."""
    forward, backward, update = (int(size[kinds == kind].sum()) for kind in ("forward", "backward", "update"))
    whole = forward + backward + update
    if not whole:
        return "no step: nothing in it is of a forward or a backward pass"
    if backward <= _LITTLE * whole:
        ends = "as the backward pass begins" if backward else "before a backward pass"
        return f"part of a step: it ends {ends}"
    if forward <= _LITTLE * whole:
        return "part of a step: it begins in the backward pass"
    return "part of a step: forward and backward pass, and it is not known whether to their end"
