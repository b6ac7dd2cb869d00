"""Which allocation of one trial is the counterpart of which in another.

Allocations are compared within groups of the same op, type, rank and step. Within a group they are aligned
in order, as two versions of a text are, so that an allocation that only one of the trials makes shifts no
other. A pair costs nothing if every dimension (or, without a shape, the size) is the same in both trials or
is proportional to the parameter; what would have to shrink, or to grow faster than that, is rather left
without a counterpart. What `tf.data` allocates without a name comes from threads in no certain order: it is
paired by size, and a size that fits two of the other trial's is left to a further trial to decide.
"""

import collections
import itertools
import math
import re

import numpy as np

from ..record.profiles.autotuning import tried_out
from ..record.xla_blocks import blocks_of

LEFT_OUT = 10  # the cost of an allocation without a counterpart
SAME, AFFINE, ODD = 0, 3, 25  # costs of pairs; an odd one is worse than two left without a counterpart
OTHER_LIFE = 2  # the cost of a pair of which one is kept beyond its step and the other is not
FASTEST = 4  # the highest power of the parameter with which anything grows
TRIED = "tried out"  # instead of the dimensions of what a GPU's autotuning allocates
MOST = 4_000_000  # pairs compared within a group; in larger ones, only those of at least SMALL bytes
SMALL = 1024
SCRATCH = 15  # the cost of an odd pair of an op's scratch memory, which may shrink as tensors grow
_RUN_DEPENDENT = re.compile(
    r"(?<=__inference_)\w+?_\d+$|(?<=__forward_)\w+?_\d+$|(?<=__backward_)\w+?_\d+$"
    r"|(?<=/_)\d+(?=/|$)|(?<=__cf__)\d+$"
)


class Tokens:
    """What is compared of the allocations of one trial.

    point      {parameter: value} of the trial
    groups     {key: indices, in order} of allocations that may be counterparts
    pipeline   {size: indices} of what tf.data allocates without a name
    workspace  which are scratch memory of an algorithm that a GPU has chosen, as a boolean array
    """

    def __init__(self, timeline, point):
        self.timeline, self.point, self.record = timeline, point, timeline.record
        columns = self.record.allocations
        self.requested, self.kept = columns["requested"], columns["end"] < 0
        self.temp = columns["temp"] > 0
        self.workspace = self.temp & _is_bytes(self.record) & ("GPU" in self.record.device)
        self.shapes = [_dimensions(shape) for shape in self.record.shapes]
        self.shape = columns["shape"]
        self.segments = _segments(self.record, columns["begin"])
        self.programs, self.tried = blocks_of(self.record), tried_out(self.record)
        nameless = timeline.in_pipeline & (columns["op"] == 0)
        self.groups, self.pipeline = collections.defaultdict(list), collections.defaultdict(list)
        self._group(nameless)

    def _group(self, nameless):
        columns, segments = self.record.allocations, self.segments.copy()
        segments[self.timeline.in_pipeline] = -1  # the step varies from run to run
        ops = [_RUN_DEPENDENT.sub("", op) for op in self.record.ops]
        names = zip(*(columns[name].tolist() for name in ("op", "shape", "dtype", "temp")), strict=True)
        for place, (op, shape, dtype, temp) in enumerate(names):
            if self.tried[place]:
                continue
            if nameless[place]:
                self.pipeline[int(self.requested[place])].append(place)
            elif place in self.programs and not op:
                self.groups["XLA", self.programs[place].name, int(segments[place])].append(place)
            else:
                rank = len(self.shapes[shape]) if self.shapes[shape] is not None else -1
                key = (ops[op], rank, self.record.dtypes[dtype], temp, int(segments[place]))
                self.groups[key].append(place)

    def dimensions(self, place):
        """The dimensions of an allocation as a tuple; None if it has no shape."""
        return self.shapes[self.shape[place]]

    def seen(self, place):
        """(dimensions, or the program whose block it is, or TRIED; bytes requested)."""
        what = TRIED if self.tried[place] else self.programs.get(place) or self.dimensions(place)
        return what, int(self.requested[place])


def match(one, other):
    """For each allocation of `one`, the index of its counterpart in `other`, or -1; and the doubtful ones.

    one, other   Tokens

    Returns two arrays: the indices, and whether a pair was chosen among several that are as good.
    """
    counterpart, doubtful = _match_groups(one, other), np.zeros(len(one.requested), dtype=bool)
    for size, (fellow, doubt) in _sizes(one, other).items():
        counterpart[one.pipeline[size]] = other.pipeline[fellow][0]
        doubtful[one.pipeline[size]] = doubt
    return counterpart, doubtful


def _match_groups(one, other):
    """The counterpart of each within its group: by its own name, without numbers in it, then by its layer."""
    counterpart = np.full(len(one.requested), -1)
    taken = np.zeros(len(other.requested), dtype=bool)
    for rename in (lambda key: key, _without_numbers, _without_op):
        others = _left(other.groups, rename, taken)
        for key, places in _left(one.groups, rename, counterpart >= 0).items():
            if key in others:
                places, fellows = _align(one, places, other, others[key])
                counterpart[places], taken[fellows] = fellows, True
    return counterpart


class Results:
    """What is compared of the results of one compiled program, as Tokens of a trial.

    point   {parameter: value} of the trial
    """

    def __init__(self, program, point):
        self.program, self.point, results = program, point, program.results
        self.requested = np.array(results["bytes"])
        self.temp = self.kept = np.zeros(len(self.requested), dtype=bool)
        self._dimensions = [_dimensions(shape) for shape in results["shape"]]
        self.groups = collections.defaultdict(list)
        for i in np.argsort(results["begin"], kind="stable").tolist():
            rank = len(self._dimensions[i]) if self._dimensions[i] is not None else -1
            self.groups[results["op"][i], bool(results["own"][i]), rank, results["dtype"][i]].append(i)

    def dimensions(self, place):
        """The dimensions of a result as a tuple; None if it has no shape."""
        return self._dimensions[place]

    def seen(self, place):
        """(dimensions, bytes)."""
        return self._dimensions[place], int(self.requested[place])


def match_results(one, other):
    """For each result of a compiled program, the index of its counterpart in another's; -1 if none."""
    return _match_groups(one, other)


def _left(groups, rename, taken):
    """What is not taken yet of some groups, under the keys that `rename` makes of theirs."""
    left = collections.defaultdict(list)
    for key, places in groups.items():
        remaining = [place for place in places if not taken[place]]
        if remaining:
            left[rename(key)] += remaining
    return {key: sorted(places) for key, places in left.items()}


def _without_numbers(key):
    """A key in which the name of the op has no numbers: they can differ from trial to trial."""
    return (re.sub(r"\d+", "", key[0]), *key[1:])


def _without_op(key):
    """A key that all ops of a layer share: which of two ops overwrites its input can differ, too."""
    name = re.sub(r"\d+", "", key[0])
    return (name.rpartition("/")[0] or name, *key[1:])


def ratios(one, other):
    """The factors by which something proportional to a parameter, or to several of them, differs."""
    single = [other.point[name] / one.point[name] for name in one.point]
    several = range(1, len(single) + 1)
    return {math.prod(chosen) for count in several for chosen in itertools.combinations(single, count)}


def _align(one, places, other, others):
    """(places, their counterparts) within a group, of the lowest cost in all."""
    if len(places) * len(others) > MOST:
        places = [i for i in places if one.requested[i] >= SMALL]
        others = [i for i in others if other.requested[i] >= SMALL]
    if not places or not others:
        return [], []
    costs = _costs(one, places, other, others)
    straight = len(places) == len(others) and costs.diagonal()
    if straight is not False and not (straight >= AFFINE).any():
        return places, others
    pairs = _cheapest(costs)
    return [places[i] for i, _ in pairs], [others[j] for _, j in pairs]


def _costs(one, places, other, others):
    """The cost of each pair, an array."""
    factors = ratios(one, other)
    (first, rows), (second, columns) = (
        _kinds(tokens, chosen) for tokens, chosen in ((one, places), (other, others))
    )
    table = np.array([[_cost(a, b, factors) for b in second] for a in first]).reshape(len(first), -1)
    if one.temp[places[0]]:
        table = np.minimum(table, SCRATCH)
    lives = one.kept[places][:, None] != other.kept[others][None, :]
    return table[rows][:, columns] + OTHER_LIFE * lives


def _kinds(tokens, places):
    """The different (dimensions, size) among some allocations, and the number of its kind for each."""
    kinds = {}
    numbers = [kinds.setdefault((tokens.dimensions(i), int(tokens.requested[i])), len(kinds)) for i in places]
    return list(kinds), np.array(numbers, dtype=int)


def _cost(one, other, factors):
    (dimensions, size), (others, other_size) = one, other
    if dimensions is None or others is None:
        return _cost_of_pair(size, other_size, factors)
    return max((_cost_of_pair(*pair, factors) for pair in zip(dimensions, others, strict=True)), default=SAME)


def _cost_of_pair(one, other, factors):
    if one == other or any(abs(other - one * factor) < 0.5 for factor in factors):
        return SAME
    small, large, most = min(one, other), max(one, other), max([*factors, *(1 / f for f in factors)])
    follows = (other > one) == (max(factors, default=1.0) > 1)
    return AFFINE if follows and large <= small * most**FASTEST + 1 else ODD


def _cheapest(costs):
    """The pairs (i, j) of the alignment in order with the lowest cost."""
    rows, columns = costs.shape
    free = LEFT_OUT * np.arange(columns + 1)
    total = np.empty((rows + 1, columns + 1), dtype=int)
    total[0] = free
    for i in range(rows):
        best = np.minimum(total[i] + LEFT_OUT, np.append(total[i][0] + LEFT_OUT, total[i][:-1] + costs[i]))
        total[i + 1] = np.minimum.accumulate(best - free) + free
    pairs, i, j = [], rows, columns
    while i and j:
        if total[i, j] == total[i - 1, j - 1] + costs[i - 1, j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif total[i, j] == total[i - 1, j] + LEFT_OUT:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _sizes(one, other):
    """{size of `one`: (size of `other`, whether another would do as well)} for what has no name."""
    found = {}
    for size, places in one.pipeline.items():
        candidates = {size, *(round(size * factor) for factor in ratios(one, other))} & set(other.pipeline)
        if candidates:
            counts = {c: abs(len(places) - len(other.pipeline[c])) for c in candidates}
            best = min(candidates, key=lambda c: (counts[c], c == size))
            found[size] = best, len(candidates) > 1
    return found


def _segments(record, begin):
    """The number of the part of the trial, such as a training step, in which each allocation was made."""
    return np.searchsorted(sorted([*record.steps, *(place for place, _ in record.moments)]), begin, "right")


def _is_bytes(record):
    """Which allocations are requested as a number of bytes, as cuDNN's are, not as numbers of some type."""
    return np.array([dtype == "uint8" for dtype in record.dtypes])[record.allocations["dtype"]]


def _dimensions(shape):
    """(32, 10) of "[32,10]"; None if there is no shape."""
    if not shape:
        return None
    inside = shape.strip("[]")
    try:
        return tuple(int(part) for part in inside.split(",")) if inside else ()
    except ValueError:
        return None
